"""Get the records of trials: from the store where it holds good ones, else by running them."""

from __future__ import annotations

import secrets
from collections.abc import Callable, Mapping, Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime
from functools import partial
from pathlib import Path
from typing import Any, Protocol

from peftcore.errors import RecordNotStored, StoreError
from peftcore.measuring.environment import describe_environment, environment_key
from peftcore.measuring.weights import Keep, KeptWeights
from peftcore.results.records import Measurement, Record
from peftcore.results.store import Store
from peftcore.running.claims import Claim, claimed, left_behind
from peftcore.running.leases import gpu_for
from peftcore.running.neighbours import present
from peftcore.running.process import ChildReport, run_in_child
from peftcore.training.checkpoints import Checkpoints
from peftcore.trials import Outcome, Trial

CAN_GO_ON = {Outcome.CRASHED, Outcome.TIMEOUT, Outcome.CANCELLED, Outcome.OOM}
"""Outcomes that came from outside, after which another run goes on from the last checkpoint.

One that failed or whose loss became NaN would go the very same way again, and of one that ended
well nothing is left to do."""


Runner = Callable[..., ChildReport]
"""Runs a trial in a process of its own, as :func:`peftcore.running.process.run_in_child` does."""


class Display(Protocol):
    """What shows the progress of trials."""

    def show(self, label: str, event: Mapping[str, Any]) -> None:
        """Show one event of the trial that ``label`` names."""

    def done(self, label: str, summary: str) -> None:
        """Show how the trial ended."""


@dataclass
class Collector:
    """Gets records of trials, and keeps count of which were run and which were there.

    Attributes:
        folder: of the store.
        display: shows the progress of trials that run.
        timeout_seconds: the longest a trial may take.
        fresh: whether to run again what the store already had when the session began.
        session: what tells the processes of this session from those of another.
        began: when the session began, in UTC, ISO 8601, in seconds.
        worker: the name of the worker of pytest-xdist that this process is, if it is one.
        checkpoint_seconds: of training between two checkpoints; ``None`` for as often as costs
            little.
        gpu_places: how many trials may be on one GPU at a time.
        runner: runs a trial; ``None`` for what trains and evaluates it.
        ran: ids of the trials that were run.
        reused: ids of the trials whose records were there when the session began.
    """

    folder: Path
    display: Display
    timeout_seconds: float | None = None
    fresh: bool = False
    session: str = field(default_factory=lambda: secrets.token_hex(8))
    began: str = field(default_factory=lambda: _now())
    worker: str | None = None
    checkpoint_seconds: float | None = None
    gpu_places: int = 1
    runner: Runner | None = None
    ran: list[str] = field(default_factory=list)
    reused: list[str] = field(default_factory=list)

    def stored(self, trial: Trial) -> Record | None:
        """Return the record that may stand for running ``trial`` here and now, if there is one.

        It must have ended well, with the same package versions, on the same hardware, and from the
        same sources of peftcore.
        """
        with Store(self.folder) as store:
            record = store.find(trial.id, environment_key(describe_environment()))
        if record is None or record.outcome is not Outcome.OK:
            return None
        if trial.id in self.ran:
            return record
        # In the second in which the session began there is no telling.
        before = (record.created or "") <= self.began
        if self.fresh and before:
            return None
        if before:
            self.reused.append(trial.id)
        return record

    def run(
        self, trial: Trial, *, beside: KeptWeights | None = None, model: Path | None = None
    ) -> Record:
        """Run ``trial``, commit its record whatever its outcome, and return it.

        A trial that the user interrupts is committed as cancelled, and the interrupt goes on. One
        that a killed process of this session was in is committed as crashed, and not run again.

        Args:
            trial: what to run.
            beside: where its trained weights are put and compared with those of earlier trials;
                ``None`` keeps none.
            model: a folder for what is needed to use what was trained; ``None`` keeps nothing.

        Raises:
            StoreError: the record could not be stored.
        """
        with self._claimed(trial) as lost:
            return self._run(trial, beside, model) if lost is None else self._lost(trial, lost)

    def collect(self, trial: Trial) -> Record:
        """Return the record of ``trial``, reused where it can be.

        Where another session runs the very trial, its record is waited for.

        Raises:
            StoreError: the record could not be stored.
        """
        record = self.stored(trial)
        if record is not None:
            return record
        with self._claimed(trial) as lost:
            if lost is not None:
                return self._lost(trial, lost)
            record = self.stored(trial)
            if record is None:
                return self._run(trial)
        self.display.done(trial.label, f"run by another session: {record.summary()}")
        return record

    def committed(self, trials: Sequence[Trial]) -> list[Record]:
        """Return the records that the store has of these trials in this environment."""
        key = environment_key(describe_environment())
        with Store(self.folder) as store:
            found = [store.find(trial.id, key) for trial in trials]
        return [record for record in found if record is not None]

    def missing(self, trials: Sequence[Trial]) -> list[Trial]:
        """Return those of these trials of which the store has no record that counts here.

        What counts is a record made since the session began, whatever its outcome, or one from
        before that ended well, unless all were to be run again.
        """
        counted = {
            record.id
            for record in self.committed(trials)
            if (record.created or "") >= self.began
            or (record.outcome is Outcome.OK and not self.fresh)
        }
        return [trial for trial in trials if trial.id not in counted]

    def settle(self, trials: Sequence[Trial]) -> list[str]:
        """Commit as crashed the trials that killed processes of this session were in.

        Args:
            trials: among which they are looked for.

        Returns:
            A line on each.
        """
        if not self.folder.is_dir():
            return []
        left = {claim.trial: claim for claim in left_behind(self.folder, self.session)}
        found = [(trial, left[trial.id]) for trial in trials if trial.id in left]
        return [f"{trial.label}: {self._lost(trial, claim).summary()}" for trial, claim in found]

    def _claimed(self, trial: Trial) -> AbstractContextManager[Claim | None]:
        # Makes the folder; and a store that can't be opened must not cost a training run.
        Store(self.folder).close()
        claim = Claim(trial=trial.id, session=self.session, worker=self.worker)
        waiting = {"phase": "waits for another session that runs it"}
        return claimed(self.folder, claim, waiting=lambda: self.display.show(trial.label, waiting))

    def _run(
        self, trial: Trial, beside: KeptWeights | None = None, model: Path | None = None
    ) -> Record:
        weights = None if beside is None else beside.of(trial.id)
        environment = environment_key(describe_environment())
        checkpoints = Checkpoints.of(self.folder, trial.id, environment, self.checkpoint_seconds)
        if self.fresh and trial.id not in self.ran:
            checkpoints.remove()
        self.ran.append(trial.id)
        waiting = {"phase": "waits for a GPU"}
        told = partial(self.display.show, trial.label, waiting)
        try:
            with (
                gpu_for(trial, places=self.gpu_places, waiting=told) as device,
                present() as presence,
            ):
                report = (self.runner or run_in_child)(
                    trial,
                    timeout_seconds=self.timeout_seconds,
                    progress=lambda event: self.display.show(trial.label, event),
                    keep=Keep(weights=weights, model=model),
                    device=device,
                    checkpoints=checkpoints,
                )
                shared = presence.shared
            if report.measurement is not None:
                compared = {} if beside is None else beside.compare(trial.id)
                measurement = {**report.measurement, **compared, "shared": shared}
                report = replace(report, measurement=measurement)
        except KeyboardInterrupt:
            report = ChildReport(outcome=Outcome.CANCELLED, error="interrupted by the user")
            self._commit(_record(trial, report))
            raise
        record = _record(trial, report)
        self._commit(record)
        if record.outcome not in CAN_GO_ON:
            checkpoints.remove()
        self.display.done(trial.label, record.summary())
        return record

    def _commit(self, record: Record) -> None:
        # Opened only now: another session may have put a fresh store in a damaged one's place.
        try:
            with Store(self.folder) as store:
                store.commit(record)
        except StoreError as error:
            raise RecordNotStored(str(error), record.to_line(), self.folder) from None

    def _lost(self, trial: Trial, claim: Claim) -> Record:
        """Return the record of a trial that a process of this session was killed in."""
        with Store(self.folder) as store:
            found = store.find(trial.id, environment_key(describe_environment()))
            if found is not None and (found.created or "") >= self.began:
                return found
            error = f"{claim.whose} of this session, which ran it, was killed"
            record = _record(trial, ChildReport(outcome=Outcome.CRASHED, error=error))
            store.commit(record)
        self.display.done(trial.label, record.summary())
        return record


def _record(trial: Trial, report: ChildReport) -> Record:
    measurement = report.measurement
    return Record(
        trial=trial.describe(),
        outcome=report.outcome,
        error=report.error,
        measurement=None if measurement is None else Measurement.from_json(measurement),
        environment=describe_environment(),
        predictions=report.predictions,
        labels=report.labels,
        created=_now(),
    )


def _now() -> str:
    return datetime.now(UTC).isoformat(timespec="seconds")

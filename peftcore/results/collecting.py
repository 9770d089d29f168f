"""Get the records of trials: from the store where it holds good ones, else by running them."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, Protocol

from peftcore.measuring.environment import describe_environment, environment_key
from peftcore.measuring.weights import KeptWeights
from peftcore.results.records import Measurement, Record
from peftcore.results.store import Store
from peftcore.running.process import ChildReport, run_in_child
from peftcore.trials import Outcome, Trial


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
        fresh: whether to run again what the store already has.
        ran: ids of the trials that were run.
        reused: ids of the trials whose records were there.
    """

    folder: Path
    display: Display
    timeout_seconds: float | None = None
    fresh: bool = False
    ran: list[str] = field(default_factory=list)
    reused: list[str] = field(default_factory=list)

    def stored(self, trial: Trial) -> Record | None:
        """Return the record that may stand for running ``trial`` here and now, if there is one.

        It must have ended well, with the same package versions, on the same hardware, and from the
        same sources of peftcore.
        """
        if self.fresh and trial.id not in self.ran:
            return None
        with Store(self.folder) as store:
            record = store.find(trial.id, environment_key(describe_environment()))
        if record is None or record.outcome is not Outcome.OK:
            return None
        if trial.id not in self.ran:
            self.reused.append(trial.id)
        return record

    def run(self, trial: Trial, *, beside: KeptWeights | None = None) -> Record:
        """Run ``trial``, commit its record whatever its outcome, and return it.

        A trial that the user interrupts is committed as cancelled, and the interrupt goes on.

        Args:
            trial: what to run.
            beside: where its trained weights are put and compared with those of earlier trials;
                ``None`` keeps none.

        Raises:
            StoreError: the record could not be stored.
        """
        # Opened for each trial: a store that can't be written must not cost a training run.
        with Store(self.folder) as store:
            self.ran.append(trial.id)
            try:
                report = run_in_child(
                    trial,
                    timeout_seconds=self.timeout_seconds,
                    progress=lambda event: self.display.show(trial.label, event),
                    keep=None if beside is None else beside.of(trial.id),
                )
                if beside is not None and report.measurement is not None:
                    report = replace(
                        report, measurement={**report.measurement, **beside.compare(trial.id)}
                    )
            except KeyboardInterrupt:
                report = ChildReport(outcome=Outcome.CANCELLED, error="interrupted by the user")
                store.commit(_record(trial, report))
                raise
            record = _record(trial, report)
            store.commit(record)
        self.display.done(trial.label, record.summary())
        return record

    def collect(self, trial: Trial) -> Record:
        """Return the record of ``trial``, reused where it can be."""
        return self.stored(trial) or self.run(trial)

    def committed(self, trials: Sequence[Trial]) -> list[Record]:
        """Return the records that the store has of these trials in this environment."""
        key = environment_key(describe_environment())
        with Store(self.folder) as store:
            found = [store.find(trial.id, key) for trial in trials]
        return [record for record in found if record is not None]


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
        created=datetime.now(UTC).isoformat(timespec="seconds"),
    )

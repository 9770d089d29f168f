"""Serve one method in a child process of its own, and have it measured round by round."""

from __future__ import annotations

import contextlib
import dataclasses
import json
import queue
import subprocess
import threading
import time
from collections.abc import Callable, Mapping
from typing import IO, Any

from peftcore.data.examples import draw
from peftcore.data.sources import read_data
from peftcore.errors import UsageError
from peftcore.measuring.environment import sources_sha256
from peftcore.measuring.weights import KEEP_NOTHING, Keep
from peftcore.running.process import (
    ChildReport,
    NotStarted,
    Progress,
    as_report,
    how_it_died,
    seconds_until,
    started,
)
from peftcore.serving.child import END, READY, ROUND, WARM_UP
from peftcore.serving.trials import ServingTrial
from peftcore.training.checkpoints import Checkpoints
from peftcore.trials import Outcome, Trial

Drive = Callable[[Callable[[], None], int, int], None]
"""Calls what it is given as often as there are rounds that don't count, and then that do."""


def drive_plainly(measure: Callable[[], None], warm_up_rounds: int, rounds: int) -> None:
    """Call ``measure`` as often as there are rounds."""
    for _ in range(warm_up_rounds + rounds):
        measure()


class _Ended(Exception):
    """The child ended before it was told to."""

    def __init__(self, report: ChildReport) -> None:
        super().__init__(report.error)
        self.report = report


def run_serving(
    trial: Trial,
    *,
    drive: Drive = drive_plainly,
    timeout_seconds: float | None,
    progress: Progress,
    keep: Keep = KEEP_NOTHING,  # noqa: ARG001 (nothing is trained)
    device: str | None = None,
    checkpoints: Checkpoints | None = None,  # noqa: ARG001
) -> ChildReport:
    """Have ``trial`` measured in a new process and return how it ended.

    Args:
        trial: what to measure: a :class:`~peftcore.serving.trials.ServingTrial`.
        drive: calls for the rounds; what it raises ends the process.
        timeout_seconds: the longest it may take; ``None`` for as long as it takes.
        progress: called with each progress event, in the calling thread.
        keep: not used: nothing is trained.
        device: the only GPU that it sees; ``None`` for those that this process sees.
        checkpoints: not used: there is nothing to go on from.
    """
    assert isinstance(trial, ServingTrial)
    try:
        sample = draw(read_data(trial.data, trial.task), trial.task, trial.seed)
    except UsageError as error:
        return ChildReport(outcome=Outcome.FAILED, error=str(error))
    job = {
        "trial": trial.to_job(),
        "sample": [dataclasses.asdict(examples) for examples in sample],
        "sources_sha256": sources_sha256(),
    }
    deadline = None if timeout_seconds is None else time.monotonic() + timeout_seconds
    try:
        with started("peftcore.serving.child", device) as (child, errors):
            talk = _Conversation(child, errors, deadline, progress, timeout_seconds)
            try:
                return _measured(trial, talk, json.dumps(job), drive, progress)
            finally:
                # The pipes break with it, so that nobody waits for them.
                child.kill()
                child.wait()
                talk.close()
    except NotStarted as error:
        return ChildReport(outcome=Outcome.CRASHED, error=str(error))
    except _Ended as end:
        return end.report


def _measured(
    trial: ServingTrial, talk: _Conversation, job: str, drive: Drive, progress: Progress
) -> ChildReport:
    talk.say(job)
    talk.hear(READY)
    serving = trial.serving
    of = serving.warm_up_rounds + serving.rounds
    done = 0

    def measure() -> None:
        nonlocal done
        # Whoever drives may call once more, as pytest-benchmark does for a profile.
        command = ROUND if serving.warm_up_rounds <= done < of else WARM_UP
        talk.say(command)
        talk.hear(command)
        done += 1
        progress({"phase": f"round {done} of {of}"})

    drive(measure, serving.warm_up_rounds, serving.rounds)
    if done < of:
        raise RuntimeError(f"whoever drives called for {done} of {of} rounds")
    talk.say(END)
    return talk.hear("result")


class _Conversation:
    """Words with a child: each that is said is answered, or it has ended."""

    def __init__(
        self,
        child: subprocess.Popen[str],
        errors: IO[str],
        deadline: float | None,
        progress: Progress,
        limit: float | None,
    ) -> None:
        assert child.stdin is not None
        assert child.stdout is not None
        self._child, self._errors = child, errors
        self._in, self._out = child.stdin, child.stdout
        self._deadline, self._progress, self._limit = deadline, progress, limit
        self._lines: queue.Queue[str | None] = queue.Queue()
        self._senders: list[threading.Thread] = []
        threading.Thread(target=self._read, daemon=True).start()

    def say(self, words: str) -> None:
        """Send one line; a child that died breaks the pipe, and how it ended tells more."""
        # A job larger than the pipe waits until the child reads it, and time counts meanwhile.
        sender = threading.Thread(target=self._send, args=(words,), daemon=True)
        sender.start()
        self._senders.append(sender)

    def hear(self, wanted: str) -> ChildReport:
        """Wait for an answer; of a result, return it.

        Raises:
            _Ended: the child ended, failed or took too long.
        """
        while True:
            try:
                line = self._lines.get(timeout=seconds_until(self._deadline))
            except queue.Empty:
                error = f"stopped after {self._limit:g} s, the longest a trial may take"
                raise _Ended(ChildReport(outcome=Outcome.TIMEOUT, error=error)) from None
            # Without its end, a line is the half that a dying child got out.
            if line is None or not line.endswith("\n"):
                error = how_it_died(self._child.wait(), self._errors)
                raise _Ended(ChildReport(outcome=Outcome.CRASHED, error=error))
            event: Mapping[str, Any] = json.loads(line)
            if event["event"] == "result":
                report = as_report(event)
                if wanted != "result":
                    raise _Ended(report)
                return report
            if event["event"] == wanted:
                return ChildReport(outcome=Outcome.OK)
            self._progress({name: value for name, value in event.items() if name != "event"})

    def close(self) -> None:
        """Close the pipes of a child that has ended."""
        for sender in self._senders:
            sender.join()
        self._out.close()
        with contextlib.suppress(BrokenPipeError):
            self._in.close()

    def _read(self) -> None:
        with contextlib.suppress(ValueError):
            for line in self._out:
                self._lines.put(line)
        self._lines.put(None)

    def _send(self, words: str) -> None:
        with contextlib.suppress(BrokenPipeError):
            self._in.write(words + "\n")
            self._in.flush()

"""Run one trial in a child process of its own, and never wait for it for ever.

A trial gets a fresh process so that no memory, no cache and no thread pool of one method reaches
the next. The child reads its job from standard input and answers with JSON lines on standard
output; when its input ends because the parent is gone, it ends too.
"""

from __future__ import annotations

import contextlib
import dataclasses
import json
import os
import queue
import signal
import subprocess
import sys
import sysconfig
import tempfile
import threading
import time
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import IO, Any

from peftcore.data.examples import draw, drawn_from
from peftcore.data.sources import read_data
from peftcore.errors import PeftcoreError, UsageError
from peftcore.measuring.environment import sources_sha256
from peftcore.measuring.weights import KEEP_NOTHING, Keep
from peftcore.training.checkpoints import Checkpoints
from peftcore.trials import Outcome, Trial

Progress = Callable[[Mapping[str, Any]], None]
"""Gets each progress event of a trial: ``phase`` and, in training, ``step``, ``loss`` …"""

_LAST_WORDS = 15
"""Lines of a dead child's standard error that go into its record."""


@dataclass(frozen=True, kw_only=True)
class ChildReport:
    """How a trial's process ended, and what it measured.

    Attributes:
        outcome: how the trial ended.
        error: what went wrong, in words.
        measurement: the ``measurement`` part of the record, as JSON values.
        predictions: the predicted label of each test example.
        labels: the true label of each.
    """

    outcome: Outcome
    error: str | None = None
    measurement: Mapping[str, Any] | None = None
    predictions: tuple[int, ...] | None = None
    labels: tuple[int, ...] | None = None


def run_in_child(
    trial: Trial,
    *,
    timeout_seconds: float | None,
    progress: Progress,
    keep: Keep = KEEP_NOTHING,
    device: str | None = None,
    checkpoints: Checkpoints | None = None,
) -> ChildReport:
    """Run ``trial`` in a new process and return how it ended.

    Should that process die, another goes on from the newest checkpoint, as often as the one before
    it got further than any had: what kills a trial at one and the same place ends it.

    Args:
        trial: what to run.
        timeout_seconds: the longest it may take, from start to end, all its parts together;
            ``None`` for as long as it takes.
        progress: called with each progress event, in the calling thread.
        keep: what is kept of what it trains.
        device: the only GPU that it sees, as ``CUDA_VISIBLE_DEVICES`` has it; ``None`` for those
            that this process sees.
        checkpoints: where those of the trial are; ``None`` keeps none.
    """
    try:
        corpus = read_data(trial.data, trial.task)
        sample = draw(corpus, trial.task, trial.seed)
    except UsageError as error:
        # It was there when the trial was planned: now only this trial is lost, not the session.
        return ChildReport(outcome=Outcome.FAILED, error=str(error))
    job = {
        "trial": trial.to_job(),
        "sample": [dataclasses.asdict(examples) for examples in sample],
        "sources_sha256": sources_sha256(),
        "keep": keep.to_job(),
        "checkpoints": None if checkpoints is None else checkpoints.to_job(),
    }
    limit = None
    if timeout_seconds is not None:
        earlier = 0.0 if checkpoints is None else checkpoints.seconds_spent()
        limit = _Limit(timeout_seconds, time.monotonic() + timeout_seconds - earlier)
    furthest = None if checkpoints is None else checkpoints.newest()
    while True:
        try:
            report = _run_once(json.dumps(job), limit, progress, device)
        except NotStarted as error:
            return ChildReport(outcome=Outcome.CRASHED, error=str(error))
        reached = None if checkpoints is None else checkpoints.newest()
        if report.outcome is not Outcome.CRASHED or reached is None or reached <= (furthest or 0):
            return _with_origin(report, drawn_from(corpus, trial.task))
        furthest = reached
        progress({"phase": f"going on after step {reached}, the trial's process having died"})


@dataclass(frozen=True)
class _Limit:
    """The longest a trial may take, and when that is over, by the monotonic clock."""

    seconds: float
    deadline: float


def _run_once(
    job: str, limit: _Limit | None, progress: Progress, device: str | None
) -> ChildReport:
    """Start a process, give it this job and return how it ended."""
    with started("peftcore.running.child", device) as (child, errors):
        assert child.stdin is not None
        assert child.stdout is not None
        # A job larger than the pipe waits until the child reads it, and time counts meanwhile.
        sender = threading.Thread(target=_send, args=(child.stdin, job), daemon=True)
        sender.start()
        try:
            report = _listen(child.stdout, None if limit is None else limit.deadline, progress)
            if report is not None:
                return report
            if limit is not None and time.monotonic() >= limit.deadline:
                return ChildReport(
                    outcome=Outcome.TIMEOUT,
                    error=f"stopped after {limit.seconds:g} s, the longest a trial may take",
                )
            return ChildReport(outcome=Outcome.CRASHED, error=how_it_died(child.wait(), errors))
        finally:
            child.kill()
            child.wait()
            # The pipe is broken by now, so a sender that still waited has ended.
            sender.join()
            child.stdout.close()
            with contextlib.suppress(BrokenPipeError):
                child.stdin.close()


_NOT_STARTED = "no process could be started for it"


def did_not_start(error: str | None) -> bool:
    """Return whether it was the system that refused a trial its process, by the trial's error."""
    return error is not None and error.startswith(_NOT_STARTED)


class NotStarted(PeftcoreError):
    """The system had no room for a trial's process, or for its scratch files."""


@contextlib.contextmanager
def started(module: str, device: str | None) -> Iterator[tuple[subprocess.Popen[str], IO[str]]]:
    """Give the process of a trial, to be spoken to over its standard input and output.

    It ends with the block at the latest. A child that is killed can't clear up behind itself: its
    scratch files are in a folder that is removed here.

    Args:
        module: what it runs.
        device: the GPU that it sees; ``None`` for those that this process sees.

    Returns:
        The process, and the file that takes what it writes to standard error.

    Raises:
        NotStarted: it could not be started.
    """
    with contextlib.ExitStack() as stack:
        try:
            scratch = stack.enter_context(
                # What it left half removed must not hide how it ended.
                tempfile.TemporaryDirectory(prefix="peftcore-", ignore_cleanup_errors=True)
            )
            errors = stack.enter_context(
                tempfile.TemporaryFile("w+", encoding="utf-8", errors="replace")
            )
            child = subprocess.Popen(
                # -P: a file in the working folder must not stand in for a library.
                [sys.executable, "-P", "-m", module],
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                stderr=errors,
                text=True,
                encoding="utf-8",
                env={**child_environment(device), "TMPDIR": scratch},
                # Ctrl-C is for this process, which then ends the child in its own time.
                start_new_session=True,
            )
        except OSError as error:
            where = "" if error.filename is None else f" ({error.filename})"
            raise NotStarted(f"{_NOT_STARTED}: {error.strerror or error}{where}") from None
        try:
            yield child, errors
        finally:
            child.kill()
            child.wait()


def child_environment(device: str | None) -> dict[str, str]:
    """Return the child's environment: this peftcore, no hub, no forked tokenizer threads."""
    environment = {
        **os.environ,
        # All it needs was located before it started.
        "HF_HUB_OFFLINE": "1",
        "TOKENIZERS_PARALLELISM": "false",
        # As the driver counts GPUs: by default CUDA takes the fastest first.
        "CUDA_DEVICE_ORDER": "PCI_BUS_ID",
        **({} if device is None else {"CUDA_VISIBLE_DEVICES": device}),
    }
    package = str(Path(__file__).resolve().parents[2])
    # Named first, an environment's packages would stand before the standard library.
    if package != sysconfig.get_path("purelib"):
        inherited = os.environ.get("PYTHONPATH")
        environment["PYTHONPATH"] = os.pathsep.join([package, *([inherited] if inherited else [])])
    return environment


def _send(stream: IO[str], job: str) -> None:
    """Write the job; a child that died at once breaks the pipe, and how it ended tells more."""
    with contextlib.suppress(BrokenPipeError):
        stream.write(job + "\n")
        stream.flush()


def _listen(stream: IO[str], deadline: float | None, progress: Progress) -> ChildReport | None:
    """Hand on events until the result comes; ``None`` when the stream or the time ends first."""
    lines: queue.Queue[str | None] = queue.Queue()

    def read() -> None:
        for line in stream:
            lines.put(line)
        lines.put(None)

    threading.Thread(target=read, daemon=True).start()
    while True:
        try:
            line = lines.get(timeout=seconds_until(deadline))
        except queue.Empty:
            return None
        # Without its end, a line is the half that a dying child got out.
        if line is None or not line.endswith("\n"):
            return None
        event = json.loads(line)
        if event.pop("event") == "result":
            return as_report(event)
        progress(event)


def seconds_until(deadline: float | None) -> float | None:
    """Return how long there is to wait, as the system takes it; ``None`` for as long as it takes.

    Args:
        deadline: by the monotonic clock.
    """
    if deadline is None:
        return None
    return min(max(0.0, deadline - time.monotonic()), threading.TIMEOUT_MAX)


def as_report(event: Mapping[str, Any]) -> ChildReport:
    """Return what the result of a child tells."""
    predictions, labels = event["predictions"], event["labels"]
    return ChildReport(
        outcome=Outcome(event["outcome"]),
        error=event["error"],
        measurement=event["measurement"],
        predictions=None if predictions is None else tuple(predictions),
        labels=None if labels is None else tuple(labels),
    )


def _with_origin(report: ChildReport, size: int) -> ChildReport:
    """Return a report that tells how many examples the evaluated ones were drawn from.

    The child has the sample alone, and can't know.
    """
    if report.measurement is None:
        return report
    return dataclasses.replace(report, measurement={**report.measurement, "drawn_from": size})


def how_it_died(status: int, errors: IO[str]) -> str:
    """Return how a child ended without a result, and its last words."""
    errors.seek(0)
    words = errors.read().strip().splitlines()[-_LAST_WORDS:]
    if status < 0:
        cause = f"the trial's process was killed by {signal.Signals(-status).name}"
        if -status == signal.SIGKILL:
            cause += " (often the system's own when memory runs out)"
    else:
        cause = f"the trial's process ended with status {status} and no result"
    return "\n".join([cause, *words])

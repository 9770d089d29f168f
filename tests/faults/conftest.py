"""Trials in processes of their own that can be killed, at little cost."""

from __future__ import annotations

import json
import multiprocessing
import os
import signal
import time
from collections.abc import Callable
from dataclasses import dataclass
from multiprocessing.context import ForkServerProcess
from pathlib import Path
from typing import Any

import pytest

from peftcore.training.checkpoints import Checkpoints
from peftcore.trials import Trial
from tests.conftest import sample_of

PATIENCE_SECONDS = 120.0

# Torch is imported once, by the server from which every trial's process is forked.
_SERVER = multiprocessing.get_context("forkserver")
_SERVER.set_forkserver_preload(["peftcore.training.trial", "peftcore.training.loop"])


def _run(job: dict[str, Any], checkpoints: Checkpoints | None, told: str, result: str) -> None:
    from peftcore.training.trial import quiet_libraries, run_trial

    quiet_libraries()
    trial = Trial.from_job(job)

    def tell(event: dict[str, Any]) -> None:
        with Path(told).open("a", encoding="utf-8") as stream:
            stream.write(json.dumps(event) + "\n")

    done = run_trial(trial, sample_of(trial), tell, checkpoints=checkpoints)
    content = {"measurement": done.measurement, "predictions": done.predictions}
    scratch = Path(result + ".new")
    scratch.write_text(json.dumps(content), encoding="utf-8")
    scratch.rename(result)


@dataclass
class Running:
    """A trial that runs in another process."""

    process: ForkServerProcess
    told: Path
    result: Path

    def events(self) -> list[dict[str, Any]]:
        """What it told of its progress; the last line may be half written."""
        lines = self.told.read_text(encoding="utf-8").split("\n")[:-1] if self.told.exists() else []
        return [json.loads(line) for line in lines]

    def kill_when(self, reached: Moment, checkpoints: Checkpoints) -> None:
        """Send SIGKILL as soon as that is so; it must come true while the trial runs."""
        assert self.process.pid is not None
        until = time.monotonic() + PATIENCE_SECONDS
        while not reached(self, checkpoints):
            assert self.process.is_alive(), "the trial ended before it could be killed"
            assert time.monotonic() < until
            time.sleep(0.001)
        os.kill(self.process.pid, signal.SIGKILL)
        self.process.join()
        assert self.process.exitcode == -signal.SIGKILL, "the trial ended before it was killed"
        assert not self.result.exists()

    def finish(self) -> dict[str, Any]:
        """Wait for the end, and return measurement and predictions."""
        self.process.join(PATIENCE_SECONDS)
        assert self.process.exitcode == 0
        found: dict[str, Any] = json.loads(self.result.read_text(encoding="utf-8"))
        return found


Moment = Callable[[Running, Checkpoints], bool]
"""Whether a running trial has come to where it is to be killed."""

Start = Callable[..., Running]


@pytest.fixture
def start(tmp_path: Path) -> Start:
    """Return a function that starts a trial in a process of its own."""
    count = 0

    def begin(trial: Trial, checkpoints: Checkpoints | None = None) -> Running:
        nonlocal count
        count += 1
        told, result = tmp_path / f"told-{count}", tmp_path / f"result-{count}"
        process = _SERVER.Process(
            target=_run, args=(trial.to_job(), checkpoints, str(told), str(result))
        )
        process.start()
        return Running(process, told, result)

    return begin


@pytest.fixture
def checkpoints(tmp_path: Path) -> Checkpoints:
    """A folder for checkpoints, one after each step."""
    return Checkpoints(folder=tmp_path / "checkpoints", environment="here", seconds=0)


def outcome_of(result: dict[str, Any]) -> dict[str, Any]:
    """All that must be equal to the bit, whether a trial was cut off or not."""
    measured = result["measurement"]
    names = ("weights_sha256", "losses", "epoch_accuracies", "accuracy", "tensor_bytes")
    return {"predictions": result["predictions"], **{name: measured[name] for name in names}}

"""Within a session a killed trial goes on; after a killed session only what is missing runs."""

from __future__ import annotations

import os
import signal
import subprocess
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import psutil
import pytest

from peftcore.results.collecting import Collector
from peftcore.results.records import Record
from peftcore.results.store import Store, has_store
from peftcore.trials import Outcome, Trial
from tests.conftest import MakeTrial
from tests.faults import kill_loop

# A second or two of training with a checkpoint after each step: time enough to be killed in.
GRID = {"epochs": 2, "train_examples": 160}


class Killer:
    """Kills the trial's process when it comes to one of these steps; stands for the display."""

    def __init__(self, collector_folder: Path, at: list[int]) -> None:
        self.folder = collector_folder
        self.at = at
        self.phases: list[str] = []

    def show(self, label: str, event: Mapping[str, Any]) -> None:
        self.phases.append(event["phase"])
        if self.at and event.get("step", 0) >= self.at[0]:
            del self.at[0]
            for child in psutil.Process().children():
                if kill_loop.CHILD in child.cmdline():
                    child.kill()

    def done(self, label: str, summary: str) -> None:
        pass


def collect(trial: Trial, folder: Path, at: list[int]) -> tuple[Record, Killer]:
    killer = Killer(folder, at)
    return Collector(folder, killer, checkpoint_seconds=0).run(trial), killer


def test_a_killed_trial_goes_on_within_the_session(make_trial: MakeTrial, tmp_path: Path) -> None:
    trial = make_trial("lora", **GRID)
    cut, killer = collect(trial, tmp_path / "cut", [2])
    assert killer.at == [], "it was not killed"
    assert any(phase.startswith("going on after step") for phase in killer.phases)
    through, _ = collect(trial, tmp_path / "through", [])
    assert cut.outcome is through.outcome is Outcome.OK
    assert cut.measurement is not None
    assert through.measurement is not None
    assert (cut.measurement.resumed, through.measurement.resumed) == (1, 0)
    assert cut.measurement.weights_sha256 == through.measurement.weights_sha256
    assert cut.measurement.losses == through.measurement.losses
    assert cut.predictions == through.predictions
    # After a record that ended well there is nothing to go on from.
    assert not list((tmp_path / "cut" / "checkpoints").iterdir())


@pytest.mark.slow
def test_after_kills_of_pytest_and_its_trials_nothing_is_lost(
    tiny_bert: Path, tiny_data: Path, tmp_path: Path
) -> None:
    options = [
        *("--peft-scenario", "embedded", "--peft-model", str(tiny_bert)),
        *("--peft-data", str(tiny_data), "--peft-set", "epochs=2", "--peft-set", "max_length=32"),
        *("--peft-set", "train_examples=160", "--peft-set", "test_examples=24"),
        *("--peft-set", "learning_rate=0.001", "--peft-seeds", "1", "--peft-method", "full,lora"),
        *("--peft-checkpoint-seconds", "0", "-p", "no:warnings"),
    ]
    summary = kill_loop.compare(tmp_path, kills=3, seed=1, options=options, longest=9.0)
    assert summary["equal"], summary
    assert summary["trials"] == 2
    assert summary["kills"] >= 1
    assert summary["checkpoints_left"] == 0


@pytest.mark.slow
def test_after_pytest_is_killed_its_trial_goes_on_in_the_next_session(
    tiny_bert: Path, tiny_data: Path, tmp_path: Path
) -> None:
    options = [
        *("--peft-scenario", "embedded", "--peft-model", str(tiny_bert)),
        *("--peft-data", str(tiny_data), "--peft-set", "epochs=3", "--peft-set", "max_length=32"),
        *("--peft-set", "train_examples=200", "--peft-set", "test_examples=24"),
        *("--peft-seeds", "1", "--peft-method", "bow,lora", "--peft-checkpoint-seconds", "0"),
    ]
    running = kill_loop.session(tmp_path, options)
    kill_in_training(running, tmp_path / "store" / "checkpoints")
    with Store(tmp_path / "store", create=False) as store:
        (first,) = store.records()
    assert first.method == "bow"
    kill_loop.session(tmp_path, options).wait()
    with Store(tmp_path / "store", create=False) as store:
        last = {record.method: record for record in store.records()}
    # To the last byte the record that was there, and not one made again.
    assert last["bow"] == first
    assert last["lora"].outcome is Outcome.OK
    assert last["lora"].measurement is not None
    assert last["lora"].measurement.resumed == 1


def kill_in_training(running: subprocess.Popen[bytes], checkpoints: Path) -> None:
    """Kill pytest once the trial has written three checkpoints."""
    until = time.monotonic() + 120
    while not list(checkpoints.glob("*/step-*[3-9]")):
        assert running.poll() is None
        assert time.monotonic() < until
        time.sleep(0.002)
    os.kill(running.pid, signal.SIGKILL)
    running.wait()
    assert has_store(checkpoints.parent)

from __future__ import annotations

import json
import os
import re
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import psutil
import pytest

from peftcore.conformance.tiny import write_tiny_model
from peftcore.results.collecting import CAN_GO_ON
from peftcore.results.records import Measurement
from peftcore.running import process
from peftcore.running.process import ChildReport, run_in_child
from peftcore.trials import Outcome, Trial, Weights
from tests.conftest import MakeTrial, write_csv

GONE_SECONDS = 10.0
"""How long a process may take to disappear, on a machine that is busy."""

Children = list[int]
StandIn = Callable[[str], None]


@pytest.fixture
def children(monkeypatch: pytest.MonkeyPatch) -> Children:
    """The process ids of the children that were started."""
    started: Children = []

    class Noted(subprocess.Popen):  # type: ignore[type-arg]
        def __init__(self, *arguments: Any, **options: Any) -> None:
            super().__init__(*arguments, **options)
            started.append(self.pid)

    monkeypatch.setattr(process.subprocess, "Popen", Noted)
    return started


@pytest.fixture
def instead_of_torch(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> StandIn:
    """Return a function that lets the child run other code where it would import torch.

    ``wire`` writes to the child's own pipe to its parent, as the child itself does.
    """

    def stand_in(code: str) -> None:
        folder = tmp_path / "in torch's place"
        folder.mkdir()
        (folder / "torch.py").write_text(WIRE + code, encoding="utf-8")
        monkeypatch.setenv("PYTHONPATH", str(folder))

    return stand_in


WIRE = """
import fcntl, os, signal, stat, sys, time

def wire(text):
    for name in sorted(os.listdir("/proc/self/fd"), key=int):
        try:
            mode = os.fstat(int(name)).st_mode
        except OSError:
            continue
        if stat.S_ISFIFO(mode) and fcntl.fcntl(int(name), fcntl.F_GETFL) & os.O_WRONLY:
            os.write(int(name), text.encode())

"""
BEGUN = 'wire(\'{"event": "progress", "phase": "load"}\\n\')\n'


def run(
    trial: Trial,
    *,
    timeout_seconds: float | None = 120.0,
    progress: process.Progress = lambda _: None,
) -> ChildReport:
    return run_in_child(trial, timeout_seconds=timeout_seconds, progress=progress)


def is_gone(pid: int, seconds: float = GONE_SECONDS) -> bool:
    """Return whether this process has ended, or does so soon; one left unreaped has ended."""
    try:
        found = psutil.Process(pid)
        until = time.monotonic() + seconds
        while time.monotonic() < until:
            if not found.is_running() or found.status() == psutil.STATUS_ZOMBIE:
                return True
            time.sleep(0.05)
    except psutil.NoSuchProcess:
        return True
    return False


# Trials that run


def test_a_trial_comes_back_whole_whatever_libraries_print(
    make_trial: MakeTrial, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, children: Children
) -> None:
    """Standard output is the wire; what libraries and their subprocesses print stays off it."""
    (tmp_path / "sitecustomize.py").write_text(
        "import os, sys\n"
        "class Noisy:\n"
        "    def find_spec(self, name, *_):\n"
        "        if name in ('torch', 'peftcore.training.trial', 'sklearn.linear_model'):\n"
        '            print(\'{"event": "result"}\', flush=True)\n'
        "            os.write(1, b'not JSON')\n"
        "            os.system('echo from a subprocess')\n"
        "sys.meta_path.insert(0, Noisy())\n",
        encoding="utf-8",
    )
    monkeypatch.setenv("PYTHONPATH", str(tmp_path))
    phases: list[str] = []
    report = run(make_trial("bow"), progress=lambda event: phases.append(event["phase"]))
    assert report.outcome is Outcome.OK, report.error
    assert report.error is None
    assert phases[-2:] == ["train", "evaluate"]
    assert report.predictions is not None
    assert report.labels is not None
    assert len(report.predictions) == len(report.labels) == 24
    assert set(report.labels) == {0, 1}
    assert report.measurement is not None
    right = [a == b for a, b in zip(report.predictions, report.labels, strict=True)]
    assert report.measurement["accuracy"] == sum(right) / 24
    assert is_gone(children[0])


def test_a_bag_of_words_is_measured_without_torch(
    make_trial: MakeTrial, instead_of_torch: StandIn
) -> None:
    """Neither its start nor its memory is that of libraries that it has no use for."""
    instead_of_torch("raise ImportError('torch is not needed here')\n")
    report = run(make_trial("bow"))
    assert report.outcome is Outcome.OK, report.error
    report = run(make_trial("lora"))
    assert report.outcome is Outcome.CRASHED
    assert "not needed here" in str(report.error)


def test_an_adapter_is_trained_and_every_number_comes_back(make_trial: MakeTrial) -> None:
    events: list[dict[str, Any]] = []
    report = run(make_trial("lora", epochs=2), progress=lambda event: events.append(dict(event)))
    assert report.outcome is Outcome.OK, report.error
    assert report.measurement is not None
    assert report.predictions is not None
    assert report.labels is not None
    assert len(report.predictions) == len(report.labels) == 24
    # Known to the record to the last key: none is dropped, and none that this trial has is missing.
    known = Measurement.from_json(report.measurement)
    assert report.measurement.keys() <= vars(known).keys()
    of_a_gpu = {"peak_reserved_bytes", "peak_process_bytes"}
    of_kept_weights = {"weights_moved", "weights_apart"}
    of_whoever_started_it = {"shared"}
    of_serving = {"serving"}
    missing = {name for name, value in vars(known).items() if value is None}
    assert missing <= of_a_gpu | of_kept_weights | of_whoever_started_it | of_serving
    assert [step for step, _ in known.losses] == list(range(1, 13))
    assert {"load", "train", "evaluate", "reload"} <= known.phases.keys()
    assert {check["name"] for check in known.checks} >= {"reload", "trained weights"}
    assert "train" in [event["phase"] for event in events]
    assert all("event" not in event for event in events)


# Trials that end badly


def test_a_child_that_is_killed_in_training_is_crashed(
    make_trial: MakeTrial, children: Children
) -> None:
    steps: list[int] = []

    def kill_in_training(event: Any) -> None:
        if "step" in event and not steps:
            steps.append(event["step"])
            os.kill(children[0], signal.SIGKILL)

    report = run(make_trial("lora", epochs=1000), progress=kill_in_training)
    assert 0 < steps[0] < 6000
    assert report.outcome is Outcome.CRASHED
    assert "SIGKILL" in str(report.error)
    assert report.measurement is None
    assert report.predictions is None


def test_a_loss_that_explodes_is_nan_with_its_step(make_trial: MakeTrial) -> None:
    report = run(make_trial("lora", learning_rate=1e30))
    assert report.outcome is Outcome.NAN, report.error
    # The first loss is taken before the first update.
    assert report.error in {
        f"the training loss became {value} at step {step}"
        for value in ("nan", "inf")
        for step in (2, 3, 4, 5, 6)
    }
    assert report.measurement is None


def test_an_allocation_that_fails_is_oom(make_trial: MakeTrial, tmp_path: Path) -> None:
    """A real one: no machine has an address space for the embeddings of this vocabulary."""
    model = write_tiny_model(tmp_path / "vast")
    config = json.loads((model / "config.json").read_text(encoding="utf-8"))
    (model / "config.json").write_text(json.dumps({**config, "vocab_size": 10**13}))
    report = run(make_trial("full", model=model, weights=Weights.RANDOM))
    assert report.outcome is Outcome.OOM, report.error
    assert "allocate" in str(report.error)
    assert report.measurement is None


def test_an_exception_is_failed_with_its_message_and_its_place(
    make_trial: MakeTrial, tiny_bert: Path, tmp_path: Path
) -> None:
    model = shutil.copytree(tiny_bert, tmp_path / "model")
    trial = make_trial("lora", model=model)
    (model / "model.safetensors").write_bytes(b"not what was planned")
    report = run(trial)
    assert report.outcome is Outcome.FAILED
    message, place = str(report.error).rsplit("\n", 1)
    assert re.match(r"\w+: \S", message)
    assert re.fullmatch(r"raised at \w+\.py:\d+", place)
    assert report.measurement is None


def test_a_child_that_ends_without_a_result_is_crashed_with_its_last_words(
    make_trial: MakeTrial, instead_of_torch: StandIn
) -> None:
    instead_of_torch(
        "for number in range(40):\n"
        "    print('line', number, file=sys.stderr)\n"
        "print('last words', flush=True)\n"
        "os._exit(3)\n"
    )
    report = run(make_trial("lora"))
    assert report.outcome is Outcome.CRASHED
    words = str(report.error).splitlines()
    assert words[0] == "the trial's process ended with status 3 and no result"
    assert words[-1] == "last words"
    assert words[1:3] == ["line 26", "line 27"]


@pytest.mark.parametrize("name", ["SIGSEGV", "SIGABRT"])
def test_a_signal_is_named(make_trial: MakeTrial, instead_of_torch: StandIn, name: str) -> None:
    instead_of_torch(f"os.kill(os.getpid(), signal.{name})\n")
    report = run(make_trial("lora"))
    assert report.outcome is Outcome.CRASHED
    assert f"was killed by {name}" in str(report.error)
    assert "memory" not in str(report.error)


def test_a_child_that_is_killed_leaves_no_scratch_files(
    make_trial: MakeTrial,
    instead_of_torch: StandIn,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """A whole backbone may be among them, and it can't clear up behind itself."""
    place = tmp_path / "scratch"
    place.mkdir()
    monkeypatch.setattr(tempfile, "tempdir", str(place))
    instead_of_torch(
        "import tempfile\n"
        "print(tempfile.mkdtemp(), file=sys.stderr, flush=True)\n"
        "os.kill(os.getpid(), signal.SIGKILL)\n"
    )
    report = run(make_trial("lora"))
    assert report.outcome is Outcome.CRASHED
    assert str(report.error).splitlines()[-1].startswith(f"{place}/")
    assert list(place.iterdir()) == []


def test_a_trial_for_which_there_is_no_room_ends_with_its_reason(
    make_trial: MakeTrial, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It came from outside: the trial would do well another time, and keeps its checkpoints."""
    trial = make_trial("bow")
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path / "gone"))
    report = run(trial)
    assert report.outcome in CAN_GO_ON
    assert str(report.error).startswith("no process could be started for it: No such file")
    assert process.did_not_start(report.error)
    assert not process.did_not_start("it was killed")
    assert not process.did_not_start(None)


def test_gpus_are_counted_as_the_driver_counts_them() -> None:
    """The fastest first, which is CUDA's own order, is not what leases and records go by."""
    assert process.child_environment("1")["CUDA_DEVICE_ORDER"] == "PCI_BUS_ID"


def test_a_timeout_longer_than_the_system_can_wait_is_one(make_trial: MakeTrial) -> None:
    report = run(make_trial("bow"), timeout_seconds=1e12)
    assert report.outcome is Outcome.OK, report.error


def test_a_child_that_is_killed_while_it_speaks_is_crashed(
    make_trial: MakeTrial, instead_of_torch: StandIn
) -> None:
    instead_of_torch(
        'wire(\'{"event": "result", "predictions": [0, 1\')\nos.kill(os.getpid(), signal.SIGKILL)\n'
    )
    report = run(make_trial("lora"))
    assert report.outcome is Outcome.CRASHED
    assert "SIGKILL" in str(report.error)


def test_a_child_that_can_not_even_start_is_crashed(
    make_trial: MakeTrial, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(process.sys, "executable", shutil.which("true"))
    report = run(make_trial("bow"))
    assert report.outcome is Outcome.CRASHED
    assert "status 0 and no result" in str(report.error)


# Trials that don't end


def test_a_trial_that_hangs_is_stopped_at_the_timeout(
    make_trial: MakeTrial, instead_of_torch: StandIn, children: Children
) -> None:
    instead_of_torch(BEGUN + "signal.signal(signal.SIGTERM, signal.SIG_IGN)\ntime.sleep(600)\n")
    seen: list[str] = []
    began = time.monotonic()
    report = run(
        make_trial("lora"), timeout_seconds=4, progress=lambda event: seen.append(event["phase"])
    )
    assert report.outcome is Outcome.TIMEOUT
    assert report.error == "stopped after 4 s, the longest a trial may take"
    assert seen == ["load"]
    assert 4 <= time.monotonic() - began < 4 + GONE_SECONDS
    assert is_gone(children[0])


def test_a_trial_that_talks_on_and_on_is_stopped_at_the_timeout(
    make_trial: MakeTrial, instead_of_torch: StandIn, children: Children
) -> None:
    instead_of_torch(f"while True:\n    {BEGUN}    time.sleep(0.01)\n")
    report = run(make_trial("lora"), timeout_seconds=3)
    assert report.outcome is Outcome.TIMEOUT
    assert is_gone(children[0])


def test_a_child_that_never_reads_its_job_is_stopped_at_the_timeout(
    make_trial: MakeTrial, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    texts = [
        (f"{'good' if label else 'bad'} {number} " + 4000 * "x", label)
        for number in range(24)
        for label in (0, 1)
    ]
    for name in ("train.csv", "test.csv"):
        write_csv(tmp_path / name, texts, ("text", "label"))
    trial = make_trial("bow", data=tmp_path)
    (tmp_path / "sitecustomize.py").write_text("import time\ntime.sleep(8)\n", encoding="utf-8")
    monkeypatch.setenv("PYTHONPATH", str(tmp_path))
    began = time.monotonic()
    assert run(trial, timeout_seconds=1).outcome is Outcome.TIMEOUT
    assert time.monotonic() - began < 6


def test_an_interrupt_ends_the_child(
    make_trial: MakeTrial, instead_of_torch: StandIn, children: Children
) -> None:
    instead_of_torch(BEGUN + "time.sleep(600)\n")

    def interrupt(_: Any) -> None:
        assert psutil.pid_exists(children[0])
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        run(make_trial("lora"), progress=interrupt)
    assert is_gone(children[0])


def test_the_terminals_interrupt_does_not_reach_the_child(
    make_trial: MakeTrial, instead_of_torch: StandIn, children: Children
) -> None:
    """It is told to end by its parent alone, who then says that the user ended it."""
    instead_of_torch(BEGUN + "time.sleep(1)\nos._exit(5)\n")
    groups: list[int] = []
    run(make_trial("lora"), progress=lambda _: groups.append(os.getpgid(children[0])))
    assert groups == [children[0]]
    assert os.getpgid(0) != children[0]


PARENT = """
import json, sys
from peftcore.running.process import run_in_child
from peftcore.trials import Trial

def tell(event):
    print(json.dumps(dict(event)), flush=True)

run_in_child(Trial.from_job(json.loads(sys.argv[1])), timeout_seconds=None, progress=tell)
"""


def test_a_child_dies_with_its_parent_in_mid_training(make_trial: MakeTrial) -> None:
    job = json.dumps(make_trial("lora", epochs=100_000).to_job())
    with subprocess.Popen(
        [sys.executable, "-c", PARENT, job], stdout=subprocess.PIPE, text=True
    ) as parent:
        try:
            assert parent.stdout is not None
            # A step is told only once training is well under way.
            assert any("step" in json.loads(line) for line in parent.stdout)
            (child,) = psutil.Process(parent.pid).children()
            assert child.is_running()
        finally:
            parent.kill()
    assert is_gone(child.pid)


# What the child is given


def test_the_child_stays_off_the_hub_and_finds_this_peftcore(
    make_trial: MakeTrial, instead_of_torch: StandIn, tmp_path: Path
) -> None:
    told = tmp_path / "told.json"
    instead_of_torch(
        "import json, peftcore\n"
        f"with open({str(told)!r}, 'w') as stream:\n"
        "    json.dump([peftcore.__file__, dict(os.environ)], stream)\n"
        "os._exit(0)\n"
    )
    run(make_trial("lora"))
    file, environment = json.loads(told.read_text(encoding="utf-8"))
    assert Path(file).parent == Path(process.__file__).parents[1]
    assert environment["HF_HUB_OFFLINE"] == "1"
    assert environment["TOKENIZERS_PARALLELISM"] == "false"
    assert "HF_HUB_OFFLINE" not in os.environ or os.environ["HF_HUB_OFFLINE"] == "1"


def test_a_file_in_the_working_folder_stands_in_for_no_library(
    make_trial: MakeTrial,
    instead_of_torch: StandIn,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    instead_of_torch("os._exit(7)\n")
    for name in ("torch.py", "json.py", "peftcore.py"):
        (tmp_path / name).write_text("raise SystemExit(9)\n", encoding="utf-8")
    monkeypatch.chdir(tmp_path)
    assert "status 7" in str(run(make_trial("lora")).error)


def test_a_child_of_other_sources_than_the_sessions_says_so(
    make_trial: MakeTrial, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Its record would name those that the session began with."""
    monkeypatch.setattr(process, "sources_sha256", lambda: "0" * 64)
    report = run(make_trial("bow"))
    assert report.outcome is Outcome.FAILED
    assert "sources have changed since the session began" in str(report.error)


def test_a_child_sees_the_gpu_that_it_is_given_and_no_other(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "0,1")
    assert process.child_environment("1")["CUDA_VISIBLE_DEVICES"] == "1"
    assert process.child_environment(None)["CUDA_VISIBLE_DEVICES"] == "0,1"

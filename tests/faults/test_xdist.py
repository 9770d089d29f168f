"""Workers of pytest-xdist that are killed, and ways of handing out tests that would lose some."""

from __future__ import annotations

import contextlib
import subprocess
import sys
import time
from pathlib import Path

import psutil
import pytest

from peftcore.results.records import Record
from peftcore.results.store import Store
from peftcore.trials import Outcome

BENCHMARK = Path(__file__).resolve().parents[2] / "benchmarks" / "test_methods.py"
USAGE_ERROR = 4


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder with the benchmark, on a machine without a GPU where no other trial is seen."""
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "")
    monkeypatch.setenv("PEFTCORE_RUNTIME", str(tmp_path / "runtime"))
    (tmp_path / "test_methods.py").write_bytes(BENCHMARK.read_bytes())
    return tmp_path


@pytest.fixture
def tiny(tiny_bert: Path, tiny_data: Path) -> list[str]:
    """Options for trials that take seconds."""
    return [
        *("--peft-scenario", "embedded", "--peft-model", str(tiny_bert)),
        *("--peft-data", str(tiny_data), "--peft-set", "epochs=1", "--peft-set", "max_length=32"),
        *("--peft-set", "train_examples=48", "--peft-set", "test_examples=24"),
    ]


def stored(folder: Path) -> list[Record]:
    with Store(folder / ".peftcore", create=False) as store:
        return store.records()


def start(folder: Path, *options: str) -> subprocess.Popen[str]:
    return subprocess.Popen(
        [sys.executable, "-m", "pytest", "-p", "no:cacheprovider", *options],
        cwd=folder,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
    )


def worker_with_a_trial(running: subprocess.Popen[str]) -> psutil.Process:
    """Wait until a worker has started the process of a trial."""
    until = time.monotonic() + 120
    while time.monotonic() < until:
        for worker in psutil.Process(running.pid).children():
            with contextlib.suppress(psutil.NoSuchProcess):
                if any("peftcore.running.child" in c.cmdline() for c in worker.children()):
                    return worker
        time.sleep(0.05)
    raise AssertionError("no trial was started")


def killed(running: subprocess.Popen[str]) -> str:
    """Kill the first worker that runs a trial, and return what the session said to its end."""
    worker_with_a_trial(running).kill()
    output, _ = running.communicate(timeout=180)
    return output


def test_a_killed_workers_other_seeds_are_run_and_its_trial_is_crashed(
    folder: Path, tiny: list[str]
) -> None:
    options = [*tiny, "--peft-method", "bow", "--peft-seeds", "2", "-n", "1"]
    options += ["--dist", "worksteal"]
    output = killed(start(folder, *options))
    records = {record.seed: record for record in stored(folder)}
    assert {seed: str(record.outcome) for seed, record in records.items()} == {
        42: "crashed",
        43: "ok",
    }, output
    assert records[42].error == "worker gw0 of this session, which ran it, was killed"
    assert "1 failed" in output or "2 failed" in output
    assert "embedded bow seed 42: crashed" in output
    assert "without a record" not in output
    assert sorted(path.name for path in (folder / ".peftcore").iterdir()) == [
        "progress",
        "store.lock",
        "store.sqlite3",
    ]
    # The next session runs what is missing, and nothing else.
    running = start(folder, *options)
    output, _ = running.communicate(timeout=180)
    assert running.returncode == 0, output
    assert "reused 1 of 2 records" in output
    assert {record.outcome for record in stored(folder)} == {Outcome.OK}
    assert records[43] in stored(folder)


def test_what_no_worker_is_left_for_fails_the_session_by_name(
    folder: Path, tiny: list[str]
) -> None:
    options = [*tiny, "--peft-method", "bow", "--peft-seeds", "2"]
    running = start(folder, *options, "-n", "1", "--max-worker-restart", "0")
    output = killed(running)
    assert running.returncode == pytest.ExitCode.TESTS_FAILED, output
    assert [(r.seed, r.outcome) for r in stored(folder)] == [(42, Outcome.CRASHED)]
    assert "planned, but without a record: embedded bow seed 43" in output


def test_a_trial_without_a_record_fails_a_session_whose_tests_all_pass(
    folder: Path, tiny: list[str]
) -> None:
    """As after a store that another program has emptied."""
    (folder / "conftest.py").write_text(
        "import pathlib, pytest\n"
        "@pytest.hookimpl(wrapper=True)\n"
        "def pytest_runtest_teardown(item):\n"
        "    yield\n"
        "    for path in pathlib.Path('.peftcore').glob('store*'):\n"
        "        path.unlink()\n"
    )
    running = start(folder, *tiny, "--peft-method", "bow", "--peft-seeds", "1")
    output, _ = running.communicate(timeout=180)
    assert "1 passed" in output
    assert "planned, but without a record: embedded bow seed 42" in output
    assert running.returncode == pytest.ExitCode.TESTS_FAILED


def test_what_was_never_to_run_is_not_missing(folder: Path, tiny: list[str]) -> None:
    """Left out by ``-k``, or behind a failure with ``-x``."""
    (folder / "test_methods.py").write_text(
        "def test_method(peft_cell):\n    assert peft_cell.cell.method != 'head'\n"
    )
    options = [*tiny, "--peft-method", "lora,head,bow", "--peft-seeds", "1"]
    running = start(folder, *options, "-k", "lora")
    output, _ = running.communicate(timeout=60)
    assert running.returncode == 0, output
    running = start(folder, *options, "-x")
    output, _ = running.communicate(timeout=60)
    assert running.returncode == pytest.ExitCode.TESTS_FAILED
    assert "without a record" not in output


def test_a_distribution_that_loses_tests_is_refused(folder: Path, tiny: list[str]) -> None:
    running = start(folder, *tiny, "-n", "2", "--dist", "loadgroup")
    output, _ = running.communicate(timeout=60)
    assert running.returncode == USAGE_ERROR
    (line,) = [line for line in output.splitlines() if line.strip()]
    assert "--dist loadgroup can't be used for trials" in line
    assert "use --dist worksteal" in line


def test_it_is_refused_where_no_option_tells_that_trials_will_run(folder: Path) -> None:
    running = start(folder, "-n", "1", "--dist", "loadscope")
    output, _ = running.communicate(timeout=60)
    assert running.returncode == USAGE_ERROR, output
    assert "--dist loadscope can't be used for trials" in output
    assert not (folder / ".peftcore" / "store.sqlite3").exists()


def test_other_projects_tests_may_be_distributed_as_they_like(folder: Path) -> None:
    (folder / "test_methods.py").write_text("def test_other():\n    pass\n")
    running = start(folder, "-n", "1", "--dist", "loadscope")
    output, _ = running.communicate(timeout=60)
    assert running.returncode == 0, output

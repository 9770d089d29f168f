"""A disk that is full, and a limit on the size of files, while a record is stored."""

from __future__ import annotations

import json
import os
import resource
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from peftcore.errors import StoreError
from peftcore.results.store import Store
from tests.results.conftest import build

LONG = [[step, 0.123456] for step in range(1, 20_000)]


@pytest.fixture
def small_disk(tmp_path: Path) -> Iterator[Path]:
    """A real file system of 256 KiB."""
    folder = tmp_path / "disk"
    folder.mkdir()
    command = ["mount", "-t", "tmpfs", "-o", "size=256k", "tmpfs", str(folder)]
    try:
        subprocess.run(command, check=True, capture_output=True)
    except (OSError, subprocess.CalledProcessError):
        pytest.skip("only root may mount a file system of 256 KiB")
    yield folder
    subprocess.run(["umount", "--lazy", str(folder)], check=True)


def kept(folder: Path) -> list[int]:
    with Store(folder, create=False) as store:
        return [record.seed for record in store.records()]


def test_on_a_full_disk_earlier_records_stay_and_the_message_says_what_is_needed(
    small_disk: Path,
) -> None:
    with Store(small_disk) as store:
        store.commit(build(seed=1))
        (small_disk / "other").write_bytes(b"\0" * 64_000)
        with pytest.raises(StoreError, match=r"it takes about [\d,]+ bytes there, and") as told:
            store.commit(build(seed=2, losses=LONG))
        assert "make room" in str(told.value)
    assert kept(small_disk) == [1]
    # What it says is enough is enough.
    (small_disk / "other").unlink()
    with Store(small_disk) as store:
        store.commit(build(seed=3))
    assert kept(small_disk) == [1, 3]


def started(folder: Path, size: int, *command: str) -> subprocess.CompletedProcess[str]:
    """Run Python in a process that may write no file longer than ``size`` bytes."""
    return subprocess.run(
        [sys.executable, *command],
        cwd=folder,
        capture_output=True,
        text=True,
        timeout=120,
        env={
            **os.environ,
            "PEFTCORE_RUNTIME": str(folder / "runtime"),
            # Compiled modules would be cut off at the limit, too, and break whatever imports them.
            "PYTHONDONTWRITEBYTECODE": "1",
        },
        preexec_fn=lambda: resource.setrlimit(resource.RLIMIT_FSIZE, (size, size)),
    )


@pytest.fixture
def full(tmp_path: Path) -> Iterator[int]:
    """A store in ``.peftcore`` with one record, and a limit that lets no other one in.

    While the store is open here, its log keeps that record, and the next would make it longer.
    """
    with Store(tmp_path / ".peftcore") as store:
        store.commit(build(seed=1, losses=LONG))
        yield 40_000


def options(prefix: str, tiny_bert: Path, tiny_data: Path) -> list[str]:
    named = [("model", str(tiny_bert)), ("data", str(tiny_data)), ("method", "bow")]
    named += [("set", "train_examples=48"), ("set", "test_examples=24")]
    return [word for name, value in named for word in (f"--{prefix}{name}", value)]


def test_a_run_that_can_not_be_stored_exits_with_3_and_its_record_is_printed(
    tmp_path: Path, full: int, tiny_bert: Path, tiny_data: Path
) -> None:
    result = started(tmp_path, full, "-m", "peftcore", "run", *options("", tiny_bert, tiny_data))
    assert result.returncode == 3, result.stderr
    assert "could not be stored" in result.stderr
    assert "it takes about" in result.stderr
    assert kept(tmp_path / ".peftcore") == [1]
    # What was measured is not lost: the line goes back into a store with room.
    line = json.loads(result.stdout)
    assert line["outcome"] == "ok"
    (tmp_path / "kept.jsonl").write_text(result.stdout, encoding="utf-8")
    again = ("-m", "peftcore", "import", "kept.jsonl")
    assert subprocess.run([sys.executable, *again], cwd=tmp_path, timeout=60).returncode == 0
    assert sorted(kept(tmp_path / ".peftcore")) == [1, line["trial"]["seed"]]


def test_in_a_session_the_test_fails_and_keeps_the_record(
    tmp_path: Path, full: int, tiny_bert: Path, tiny_data: Path
) -> None:
    benchmark = Path(__file__).resolve().parents[2] / "benchmarks" / "test_methods.py"
    (tmp_path / "test_methods.py").write_bytes(benchmark.read_bytes())
    named = options("peft-", tiny_bert, tiny_data)
    named += ["--peft-scenario", "embedded", "--peft-seeds", "1", "-p", "no:cacheprovider"]
    result = started(tmp_path, full, "-m", "pytest", *named)
    assert result.returncode == pytest.ExitCode.TESTS_FAILED, result.stdout
    assert "could not be stored" in result.stdout
    assert "planned, but without a record: embedded bow seed 42" in result.stdout
    lines = [line for line in result.stdout.splitlines() if line.startswith('{"created"')]
    assert [json.loads(line)["outcome"] for line in lines] == ["ok"]
    assert kept(tmp_path / ".peftcore") == [1]

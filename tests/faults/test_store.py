"""Stores that were cut short or had bits flipped, and two sessions that run the same trial."""

from __future__ import annotations

import json
import shutil
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from peftcore.errors import StoreError
from peftcore.results.records import Record
from peftcore.results.repairing import mend, mend_stores
from peftcore.results.store import STORE_FILE, Store, engine_store
from tests.results.conftest import build

COUNT = 8


def made(seed: int) -> Record:
    """Return a record as long as a real one: several pages of the file."""
    return build(seed=seed, losses=[[step, 0.123456] for step in range(1, 400)])


@pytest.fixture(scope="module")
def intact(tmp_path_factory: pytest.TempPathFactory) -> bytes:
    """A store with eight records, as a file."""
    folder = tmp_path_factory.mktemp("intact")
    with Store(folder) as store:
        for seed in range(COUNT):
            store.commit(made(seed))
    return (folder / STORE_FILE).read_bytes()


@pytest.fixture
def store(tmp_path: Path, intact: bytes) -> Path:
    (tmp_path / STORE_FILE).write_bytes(intact)
    return tmp_path


def damage(folder: Path, change: Callable[[bytearray], None]) -> bytes:
    content = bytearray((folder / STORE_FILE).read_bytes())
    change(content)
    (folder / STORE_FILE).write_bytes(content)
    return bytes(content)


def kept(folder: Path) -> list[Record]:
    with Store(folder, create=False) as opened:
        return opened.records()


def flip(position: int) -> Callable[[bytearray], None]:
    def change(content: bytearray) -> None:
        content[position] ^= 0b100

    return change


def flip_within(text: bytes) -> Callable[[bytearray], None]:
    """Flip a bit in the middle of the first place where ``text`` stands."""

    def change(content: bytearray) -> None:
        content[content.index(text) + len(text) // 2] ^= 0b1

    return change


def test_an_intact_store_is_left_alone(store: Path, intact: bytes) -> None:
    assert mend(store) is None
    assert (store / STORE_FILE).read_bytes() == intact
    assert len(kept(store)) == COUNT


@pytest.mark.parametrize(
    ("change", "saved"),
    [
        pytest.param(flip_within(b"0.123456"), COUNT - 1, id="a number in a record"),
        pytest.param(flip_within(b'"seed": 5'), COUNT - 1, id="the seed in a record"),
        pytest.param(flip(3), COUNT, id="the file's first bytes"),
        pytest.param(flip(20), COUNT, id="the size of a page"),
        pytest.param(flip(60), COUNT, id="the schema version"),
    ],
)
def test_flipped_bits_are_noticed_and_whole_records_are_saved(
    store: Path, change: Callable[[bytearray], None], saved: int
) -> None:
    damaged = damage(store, change)
    repair = mend(store)
    assert repair is not None
    assert repair.saved == saved
    records = kept(store)
    # Nothing is invented: what is there is what was written, to the letter.
    assert len(records) == saved
    lost = {made(seed).id for seed in range(COUNT)} - {record.id for record in records}
    assert all(record == made(record.seed) for record in records)
    assert set(repair.lost) >= lost
    assert all(name in str(repair) for name in lost)
    # Moved aside as it was, for whoever wants to look.
    assert repair.moved_to.read_bytes() == damaged
    assert repair.moved_to.name.startswith("store.sqlite3.damaged-20")
    assert mend(store) is None


def test_any_flipped_byte_is_noticed_or_changes_nothing(tmp_path: Path, intact: bytes) -> None:
    """A sample of places over the whole file: no record is ever read as another."""
    folder = tmp_path / "flipped"
    for position in range(0, len(intact), 3989):
        shutil.rmtree(folder, ignore_errors=True)
        folder.mkdir()
        (folder / STORE_FILE).write_bytes(intact)
        damage(folder, flip(position))
        repair = mend(folder)
        records = kept(folder)
        assert all(record == made(record.seed) for record in records), position
        assert len({record.id for record in records}) == len(records)
        assert repair is not None or len(records) == COUNT, position


@pytest.mark.parametrize("share", [0.0, 0.001, 0.3, 0.7, 0.99])
def test_a_store_that_was_cut_short_is_noticed(store: Path, intact: bytes, share: float) -> None:
    left = int(share * len(intact))
    damage(store, lambda content: content.__delitem__(slice(left, None)))
    repair = mend(store)
    assert repair is not None
    assert repair.moved_to.stat().st_size == left
    records = kept(store)
    assert len(records) == repair.saved < COUNT
    assert all(record == made(record.seed) for record in records)
    if share >= 0.3:
        assert records
        assert {record.id for record in records}.isdisjoint(repair.lost)


def test_a_store_of_another_release_is_not_damaged(store: Path) -> None:
    damage(store, lambda content: content.__setitem__(slice(60, 64), (2).to_bytes(4, "big")))
    before = (store / STORE_FILE).read_bytes()
    with pytest.raises(StoreError, match="schema version 2"):
        mend(store)
    assert (store / STORE_FILE).read_bytes() == before


def test_the_store_of_the_engines_is_looked_at_too(store: Path, intact: bytes) -> None:
    inner = engine_store(store)
    inner.mkdir()
    (inner / STORE_FILE).write_bytes(intact[:9000])
    (repair,) = mend_stores(store)
    assert repair.moved_to.parent == inner


# On the command line and in a session


def peftcore(folder: Path, *arguments: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-m", "peftcore", *arguments],
        cwd=folder,
        capture_output=True,
        text=True,
        timeout=120,
    )


def test_check_says_what_it_did_and_exits_with_3(store: Path, tmp_path: Path) -> None:
    damage(store, flip_within(b"0.123456"))
    report = peftcore(store, "report", "--store", ".", "--out", "out")
    assert report.returncode == 3
    assert "`peftcore check` moves it aside" in report.stderr
    result = peftcore(store, "check", "--store", ".")
    assert result.returncode == 3
    assert f"{COUNT - 1} of its records were whole and are in a fresh store" in result.stderr
    assert "are lost and will be run again" in result.stderr
    again = peftcore(store, "check", "--store", ".")
    assert (again.returncode, again.stderr) == (
        0,
        f"{COUNT - 1} records in ., each as it was written\n",
    )
    assert peftcore(store, "check", "--store", "nowhere").returncode == 2


def options(tiny_bert: Path, tiny_data: Path) -> list[str]:
    return [
        *("run", "--method", "bow", "--model", str(tiny_bert), "--data", str(tiny_data)),
        *("--set", "train_examples=48", "--set", "test_examples=24", "--json", "-"),
    ]


def test_two_sessions_with_one_trial_run_it_once(
    tmp_path: Path, tiny_bert: Path, tiny_data: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("PEFTCORE_RUNTIME", str(tmp_path / "runtime"))
    command = [sys.executable, "-m", "peftcore", *options(tiny_bert, tiny_data)]
    sessions = [
        subprocess.Popen(
            command, cwd=tmp_path, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
        )
        for _ in range(2)
    ]
    told = [session.communicate(timeout=120) for session in sessions]
    assert [session.returncode for session in sessions] == [0, 0], told
    one, two = (json.loads(output) for output, _ in told)
    assert one == two
    assert sum("run by another session" in errors for _, errors in told) == 1
    assert [record.to_json() for record in kept(tmp_path / ".peftcore")] == [one]
    # Nobody else ran while it did: the other waited.
    assert one["measurement"]["shared"] is False

import math
import signal
import sqlite3
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor, wait
from contextlib import closing

import pytest

from peftcore.errors import StoreError
from peftcore.measuring.environment import environment_key
from peftcore.results.store import LOCK_FILE, STORE_FILE, Store
from peftcore.running.locks import wait_for
from peftcore.trials import Outcome

WRITER = """
import json, os, signal, sys, time
from pathlib import Path
from peftcore.results.records import Record
from peftcore.results.store import Store

folder, first, count, ending = Path(sys.argv[1]), int(sys.argv[2]), int(sys.argv[3]), sys.argv[4]
content = json.loads(sys.stdin.readline())
print("ready", flush=True)
sys.stdin.readline()
for seed in range(first, first + count):
    content["trial"] |= {"seed": seed, "id": f"lora-embedded-s{seed}-0123456789ab"}
    with Store(folder) as store:
        store.commit(Record.from_json(content))
        if ending == "killed":
            os.kill(os.getpid(), signal.SIGKILL)
"""


def start_writer(folder, record, first, count, ending="well"):
    """Start a process that commits ``count`` records once it is told to."""
    process = subprocess.Popen(
        [sys.executable, "-c", WRITER, str(folder), str(first), str(count), ending],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    )
    process.stdin.write(record.to_line() + "\n")
    process.stdin.flush()
    assert process.stdout.readline() == "ready\n"
    return process


def find(store, record):
    return store.find(record.id, environment_key(record.environment))


def change(folder, statement):
    with closing(sqlite3.connect(folder / STORE_FILE)) as connection, connection:
        assert connection.execute(statement).rowcount == 1


def test_what_was_committed_is_found_by_the_next_session(record, tmp_path):
    kept = record()
    with Store(tmp_path / "new" / "store") as store:
        store.commit(kept)
    with Store(tmp_path / "new" / "store") as store:
        assert find(store, kept) == kept
        assert store.records() == [kept]


def test_a_record_is_found_by_trial_and_environment(record, environment, tmp_path):
    with Store(tmp_path) as store:
        store.commit(record())
        assert find(store, record(seed=43)) is None
        elsewhere = {**environment, "threads": 1}
        assert find(store, record(environment=elsewhere)) is None
        store.commit(record(environment=elsewhere, accuracy=0.5))
        assert find(store, record()).measurement.accuracy == 0.75
        assert find(store, record(environment=elsewhere)).measurement.accuracy == 0.5
        assert len(store.records()) == 2


@pytest.mark.parametrize(
    ("first", "second"),
    [
        (Outcome.OK, Outcome.OK),
        (Outcome.FAILED, Outcome.OK),
        (Outcome.CANCELLED, Outcome.OK),
        (Outcome.FAILED, Outcome.CANCELLED),
        (Outcome.OK, Outcome.CRASHED),
    ],
)
def test_the_later_record_takes_the_place_of_the_earlier(record, tmp_path, first, second):
    later = record(outcome=second, created="2026-02-01T00:00:00+00:00")
    with Store(tmp_path) as store:
        store.commit(record(outcome=first))
        store.commit(later)
        assert store.records() == [later]


def test_a_cancelled_trial_never_takes_the_place_of_one_that_ended_well(record, tmp_path):
    with Store(tmp_path) as store:
        store.commit(record())
        store.commit(record(outcome=Outcome.CANCELLED))
        assert store.records() == [record()]


def test_what_ended_well_and_what_is_newer_is_better(record, tmp_path):
    def made(outcome, day):
        return record(outcome=outcome, created=f"2026-02-{day}T00:00:00+00:00")

    with Store(tmp_path) as store:
        assert not store.has_better(made(Outcome.FAILED, "01"))
        store.commit(made(Outcome.OK, "02"))
        assert store.has_better(made(Outcome.FAILED, "03"))
        assert store.has_better(made(Outcome.OK, "01"))
        assert not store.has_better(made(Outcome.OK, "02"))
        assert not store.has_better(made(Outcome.OK, "03"))


def test_records_come_oldest_first_and_by_scenario(record, tmp_path):
    times = [f"2026-01-0{day}T00:00:00+00:00" for day in (3, 1, 2)]
    with Store(tmp_path) as store:
        store.commit(record(seed=1, created=times[0]))
        store.commit(record(seed=2, created=times[1], scenario="imdb-minilm"))
        store.commit(record(seed=3, created=times[2]))
        assert [kept.seed for kept in store.records()] == [2, 3, 1]
        assert [kept.seed for kept in store.records("embedded")] == [3, 1]
        assert store.records("imdb-roberta") == []


def test_a_number_that_is_not_finite_is_not_stored(record, tmp_path):
    with Store(tmp_path) as store:
        with pytest.raises(StoreError, match=r"measurement\.accuracy is nan"):
            store.commit(record(accuracy=math.nan))
        assert store.records() == []


def test_a_commit_is_on_the_disk_when_it_returns(tmp_path):
    with Store(tmp_path) as store:
        assert store._connection.execute("PRAGMA journal_mode").fetchone() == ("wal",)
        full = 2
        assert store._connection.execute("PRAGMA synchronous").fetchone() == (full,)
        assert store._connection.isolation_level is None


def test_a_committed_record_survives_a_kill(record, tmp_path):
    writer = start_writer(tmp_path, record(), first=5, count=3, ending="killed")
    writer.communicate("go\n")
    assert writer.returncode == -signal.SIGKILL
    with Store(tmp_path) as store:
        assert [kept.seed for kept in store.records()] == [5]


@pytest.mark.parametrize(
    "statement",
    [
        "UPDATE records SET record = replace(record, '0.75', '0.95')",
        "UPDATE records SET sha256 = 'f' || substr(sha256, 2) || 'f'",
        "UPDATE records SET record = substr(record, 1, 100)",
    ],
)
def test_a_record_that_was_changed_is_detected_and_named(record, tmp_path, statement):
    with Store(tmp_path) as store:
        store.commit(record())
    change(tmp_path, statement)
    with Store(tmp_path) as store:
        with pytest.raises(StoreError, match=f"{record().id} is not what was written"):
            find(store, record())
        with pytest.raises(StoreError, match="SHA-256"):
            store.records()


def test_another_schema_version_is_refused_and_left_alone(record, tmp_path):
    with Store(tmp_path) as store:
        store.commit(record())
    with closing(sqlite3.connect(tmp_path / STORE_FILE)) as connection:
        connection.execute("PRAGMA user_version = 2")
    before = (tmp_path / STORE_FILE).read_bytes()
    with pytest.raises(StoreError, match="has schema version 2, this release reads 1"):
        Store(tmp_path)
    assert (tmp_path / STORE_FILE).read_bytes() == before


def test_a_file_that_is_no_database_is_refused_and_left_alone(tmp_path):
    (tmp_path / STORE_FILE).write_bytes(b"these are notes, and no database at all\n" * 100)
    before = (tmp_path / STORE_FILE).read_bytes()
    with pytest.raises(StoreError, match=rf"{STORE_FILE} can't be opened as a store"):
        Store(tmp_path)
    assert (tmp_path / STORE_FILE).read_bytes() == before


def test_a_truncated_store_is_detected(record, tmp_path):
    with Store(tmp_path) as store:
        for seed in range(30):
            store.commit(record(seed=seed))
    path = tmp_path / STORE_FILE
    path.write_bytes(path.read_bytes()[: path.stat().st_size // 2])

    def read():
        with Store(tmp_path) as store:
            return store.records()

    with pytest.raises(StoreError, match=STORE_FILE):
        read()


def test_a_folder_that_can_not_be_made_is_refused(tmp_path):
    (tmp_path / "file").write_text("in the way")
    with pytest.raises(StoreError, match="can't be opened as a store"):
        Store(tmp_path / "file" / "store")


def test_a_full_disk_is_told_and_costs_no_earlier_record(record, tmp_path):
    big = record(seed=43, losses=[[step, 0.5] for step in range(20_000)])
    with Store(tmp_path) as store:
        store.commit(record())
        (pages,) = store._connection.execute("PRAGMA page_count").fetchone()
        # SQLite answers SQLITE_FULL beyond this, as it does on a disk without space.
        store._connection.execute(f"PRAGMA max_page_count = {pages + 1}")
        with pytest.raises(StoreError) as told:
            store.commit(big)
        assert big.id in str(told.value)
        assert f"{len(big.to_line())} bytes" in str(told.value)
        assert store.records() == [record()]
    with Store(tmp_path) as store:
        assert store.records() == [record()]


def test_two_connections_see_each_others_commits(record, tmp_path):
    with Store(tmp_path) as one, Store(tmp_path) as other:
        one.commit(record(seed=1))
        other.commit(record(seed=2))
        assert find(other, record(seed=1)) == record(seed=1)
        assert find(one, record(seed=2)) == record(seed=2)
        # The same trial in both: one row, and both see it.
        other.commit(record(seed=1, accuracy=0.5))
        assert find(one, record(seed=1)).measurement.accuracy == 0.5
        assert len(one.records()) == len(other.records()) == 2


def test_two_processes_write_at_once_and_nothing_is_lost(record, tmp_path):
    # The second half of the first writer's seeds is the first half of the second one's.
    writers = [start_writer(tmp_path, record(), first=first, count=40) for first in (0, 20)]
    for writer in writers:
        writer.stdin.write("go\n")
        writer.stdin.flush()
    for writer in writers:
        writer.communicate(timeout=60)
        assert writer.returncode == 0
    with Store(tmp_path) as store:
        assert sorted(kept.seed for kept in store.records()) == list(range(60))


def test_a_commit_waits_for_another_session_that_is_writing(record, tmp_path):
    with Store(tmp_path) as store:
        other = sqlite3.connect(tmp_path / STORE_FILE, isolation_level=None)
        other.execute("BEGIN IMMEDIATE")
        writer = start_writer(tmp_path, record(), first=7, count=1)
        writer.stdin.write("go\n")
        writer.stdin.flush()
        with pytest.raises(subprocess.TimeoutExpired):
            writer.wait(timeout=0.5)
        other.execute("COMMIT")
        other.close()
        writer.communicate(timeout=30)
        assert writer.returncode == 0
        assert [kept.seed for kept in store.records()] == [7]


def test_a_store_that_is_just_being_made_is_waited_for(tmp_path):
    """SQLite makes an empty file first: whoever reads it then must not call it cut short."""
    made, folder = tmp_path / "made", tmp_path / "store"
    Store(made).close()
    folder.mkdir()
    (folder / STORE_FILE).touch()
    with ThreadPoolExecutor(1) as pool:
        with wait_for(folder / LOCK_FILE, waiting=lambda: None):
            reading = pool.submit(lambda: Store(folder, create=False).close())
            assert wait([reading], timeout=0.5).not_done
            (folder / STORE_FILE).write_bytes((made / STORE_FILE).read_bytes())
        assert reading.result(timeout=30) is None


def test_an_empty_file_that_nobody_makes_a_store_of_was_cut_short(tmp_path):
    (tmp_path / STORE_FILE).touch()
    with pytest.raises(StoreError, match="is empty: it was cut short"):
        Store(tmp_path, create=False)

"""The store: every record that was committed, in one SQLite file.

SQLite in WAL mode makes a commit atomic and lets several sessions write. A record is kept as the
very line that ``records.jsonl`` would hold, with its SHA-256: SQLite checks its pages' structure,
not what is in them.
"""

from __future__ import annotations

import json
import shutil
import sqlite3
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from types import TracebackType

from peftcore.errors import StoreError, UsageError
from peftcore.measuring.environment import environment_key
from peftcore.results.records import SCHEMA_VERSION, Record, checksum
from peftcore.running.locks import wait_for
from peftcore.trials import Outcome

STORE_FILE = "store.sqlite3"
LOCK_FILE = "store.lock"
"""Locked while a store is made or mended, and stays."""

_ENGINE_FOLDER = "engine"
_SERVING_FOLDER = "serving"
_SIZES_FOLDER = "sizes"
_BUSY_SECONDS = 60.0
_RETRY_SECONDS = 0.02

_PAGE_BYTES = 4096
_PAGES_AROUND = 4
"""Pages that a record changes besides those it fills: of the tree, its index and the log's head."""
_MEND = "`peftcore check` moves it aside and saves the records that are whole"
_NO_ROOM = (sqlite3.SQLITE_FULL, sqlite3.SQLITE_IOERR)
"""A full disk, and a limit on the size of files."""

_TABLE = """
CREATE TABLE IF NOT EXISTS records (
    trial_id TEXT NOT NULL,
    environment_key TEXT NOT NULL,
    scenario TEXT NOT NULL,
    outcome TEXT NOT NULL,
    sha256 TEXT NOT NULL,
    record TEXT NOT NULL,
    PRIMARY KEY (trial_id, environment_key)
)
"""

_INSERT = """
INSERT INTO records VALUES (?, ?, ?, ?, ?, ?)
ON CONFLICT (trial_id, environment_key) DO UPDATE
SET outcome = excluded.outcome, sha256 = excluded.sha256, record = excluded.record
WHERE excluded.outcome != 'cancelled' OR records.outcome != 'ok'
"""


def engine_store(folder: Path) -> Path:
    """Return the folder, in that of a store, for the records of comparisons of the engines."""
    return folder / _ENGINE_FOLDER


def serving_store(folder: Path) -> Path:
    """Return the folder, in that of a store, for the records of what serving costs."""
    return folder / _SERVING_FOLDER


def sizes_store(folder: Path) -> Path:
    """Return the folder, in that of a store, for the records of trials by size of their data."""
    return folder / _SIZES_FOLDER


def all_stores(folder: Path) -> tuple[Path, ...]:
    """Return the folder of a store and those of the stores in it, whether or not they are there."""
    return (folder, engine_store(folder), serving_store(folder), sizes_store(folder))


def has_store(folder: Path) -> bool:
    """Return whether a folder holds a store."""
    return (folder / STORE_FILE).is_file()


class Store:
    """Committed records, one per trial and environment.

    Args:
        folder: where the store's file is.
        create: whether to make it if it is not there.

    Raises:
        UsageError: there is no store, and none was to be made.
        StoreError: the file is no store, or one of another schema version.
    """

    def __init__(self, folder: Path, *, create: bool = True) -> None:
        self.path = folder / STORE_FILE
        if not create and not has_store(folder):
            raise UsageError(f"there is no store in {folder}: run a trial or import records first")
        try:
            folder.mkdir(parents=True, exist_ok=True)
            self._connection = sqlite3.connect(
                self.path, timeout=_BUSY_SECONDS, isolation_level=None
            )
        except (sqlite3.Error, OSError) as error:
            raise StoreError(f"{self.path} can't be opened as a store: {error}") from None
        try:
            if has_store(folder) and self.path.stat().st_size:
                self._prepare_when_free()
            else:
                # Whoever mends a store takes an empty file for one that was cut short, and so does
                # who reads it, unless another process is making it just now.
                with wait_for(folder / LOCK_FILE, waiting=lambda: None):
                    if not create and not self.path.stat().st_size:
                        raise StoreError(f"{self.path} is empty: it was cut short; {_MEND}")
                    self._prepare_when_free()
        except OSError as error:
            self._connection.close()
            raise StoreError(f"{self.path} can't be opened as a store: {error}") from None
        except StoreError:
            self._connection.close()
            raise
        except sqlite3.Error as error:
            self._connection.close()
            mend = "" if isinstance(error, sqlite3.OperationalError) else f"; {_MEND}"
            raise StoreError(f"{self.path} can't be opened as a store: {error}{mend}") from None

    def _prepare_when_free(self) -> None:
        """Prepare the file; where another process is doing so, wait for it.

        SQLite itself does not wait for the change to WAL mode: it reports a lock at once.
        """
        deadline = time.monotonic() + _BUSY_SECONDS
        while True:
            try:
                return self._prepare()
            except sqlite3.OperationalError as error:
                # The low byte is the kind of error, what is above it the occasion.
                busy = error.sqlite_errorcode & 0xFF in (sqlite3.SQLITE_BUSY, sqlite3.SQLITE_LOCKED)
                if not busy or time.monotonic() >= deadline:
                    raise
            time.sleep(_RETRY_SECONDS)

    def _prepare(self) -> None:
        (version,) = self._connection.execute("PRAGMA user_version").fetchone()
        if version not in (0, SCHEMA_VERSION):
            raise StoreError(
                f"{self.path} has schema version {version}, this release reads {SCHEMA_VERSION}: "
                "use another --peft-store, or the release that wrote it"
            )
        self._connection.execute("PRAGMA journal_mode = WAL")
        self._connection.execute("PRAGMA synchronous = FULL")
        if version == 0:
            self._connection.execute(_TABLE)
            self._connection.execute(f"PRAGMA user_version = {SCHEMA_VERSION}")

    def __enter__(self) -> Store:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.close()

    def close(self) -> None:
        """Close the file; a closed store can't be used any more."""
        self._connection.close()

    def commit(self, record: Record) -> None:
        """Keep ``record`` in place of any other of the same trial and environment.

        A cancelled trial says nothing, so it never takes the place of a record that ended well.

        Raises:
            StoreError: it holds a number that is not finite, or could not be written.
        """
        line = record.to_line()
        row = (
            record.id,
            environment_key(record.environment),
            record.scenario,
            str(record.outcome),
            checksum(line),
            line,
        )
        what = f"the record of {record.id} ({len(line)} bytes) could not be stored"
        with self._told(what, needed=_needed(line)):
            self._connection.execute(_INSERT, row)

    def has_better(self, record: Record) -> bool:
        """Return whether there is another of the same trial and environment, and is to be kept.

        One that ended well is better than one that did not, and of two alike the newer one.
        """
        kept = self.find(record.id, environment_key(record.environment))

        def rank(one: Record) -> tuple[bool, str]:
            return one.outcome is Outcome.OK, one.created or ""

        return kept is not None and rank(kept) > rank(record)

    def find(self, trial_id: str, environment: str) -> Record | None:
        """Return the record of this trial in this environment, whatever its outcome.

        Args:
            trial_id: the trial's id.
            environment: from :func:`peftcore.measuring.environment.environment_key`.
        """
        query = (
            "SELECT trial_id, sha256, record FROM records "
            "WHERE trial_id = ? AND environment_key = ?"
        )
        return next(self._select(query, trial_id, environment), None)

    def records(self, scenario: str | None = None) -> list[Record]:
        """Return all records, or those of one scenario, oldest first."""
        query = "SELECT trial_id, sha256, record FROM records"
        if scenario is None:
            found = list(self._select(query))
        else:
            found = list(self._select(query + " WHERE scenario = ?", scenario))
        return sorted(found, key=lambda record: record.created or "")

    def _select(self, query: str, *values: str) -> Iterator[Record]:
        with self._told("its records could not be read"):
            rows = self._connection.execute(query, values).fetchall()
        for trial_id, sha256, line in rows:
            if checksum(line) != sha256:
                raise StoreError(
                    f"{self.path}: the record of {trial_id} is not what was written (its SHA-256 "
                    f"differs); {_MEND}"
                )
            yield Record.from_json(json.loads(line), where=f"{self.path}, {trial_id}")

    @contextmanager
    def _told(self, what: str, *, needed: int = 0) -> Iterator[None]:
        """Turn SQLite's errors into ours.

        Args:
            what: could not be done.
            needed: how many bytes on the disk it takes.
        """
        try:
            yield
        except sqlite3.Error as error:
            advice = ""
            if getattr(error, "sqlite_errorcode", 0) & 0xFF in _NO_ROOM and needed:
                free = shutil.disk_usage(self.path.parent).free
                advice = (
                    f"; it takes about {needed:,} bytes there, and {free:,} are free: make room, "
                    "lift a limit on the size of files, or name another --peft-store"
                )
            raise StoreError(f"{self.path}: {what}: {error}{advice}") from None


def _needed(line: str) -> int:
    """Return how many bytes a record takes in the store: in the log first, then in the file."""
    pages = len(line.encode()) // _PAGE_BYTES + _PAGES_AROUND
    return 2 * pages * _PAGE_BYTES

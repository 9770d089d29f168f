"""A store that was damaged: noticed, moved aside, and what is whole of it saved.

SQLite checks the structure of its pages, and only when it reads them; what stands in a record is
checked by its SHA-256. What fails either way is never guessed at: the records that are whole go
into a fresh store, and the trials of the others are run again.
"""

from __future__ import annotations

import json
import shutil
import sqlite3
import struct
import tempfile
from collections.abc import Iterator
from contextlib import closing, suppress
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path

from peftcore.errors import PeftcoreError, StoreError, printable
from peftcore.measuring.environment import environment_key
from peftcore.results.records import SCHEMA_VERSION, Record, checksum
from peftcore.results.store import LOCK_FILE, STORE_FILE, Store, all_stores, has_store
from peftcore.running.locks import wait_for

_BESIDE = ("-wal", "-shm")
"""What SQLite keeps beside the file of a store that is open."""

_SMALLEST_ROW_BYTES = 512
"""No record is shorter: where a damaged file can't tell its rows, this bounds their number."""

_BUSY_SECONDS = 60.0

_LAST_VERSION = 999
"""No release will have a higher schema version: a file that claims one is damaged."""

_PAGE_BYTES = 4096
_HEADER = b"SQLite format 3\0" + struct.pack(">HBBBBBB", _PAGE_BYTES, 2, 2, 0, 64, 32, 32)
"""The first bytes of any store, in WAL mode with pages of the usual size."""


@dataclass(frozen=True, kw_only=True)
class Repair:
    """What was done about a damaged store.

    Attributes:
        moved_to: where the damaged file is now.
        fault: what was wrong with it.
        saved: how many of its records are in the fresh store.
        lost: ids of the trials whose records could not be saved, as far as they can be told.
    """

    moved_to: Path
    fault: str
    saved: int
    lost: tuple[str, ...]

    def __str__(self) -> str:
        if self.lost:
            lost = f"those of {', '.join(self.lost)} are lost and will be run again"
        else:
            lost = "whether it held others can't be told; what is missing will be run again"
        return printable(
            f"the store was damaged ({self.fault}) and is now {self.moved_to}: {self.saved} of its "
            f"records were whole and are in a fresh store; {lost}"
        )


def mend_stores(folder: Path) -> list[Repair]:
    """Look at a store and those in it, and mend what is damaged.

    Raises:
        StoreError: one is of another schema version, or can't be mended.
    """
    repairs = [mend(place) for place in all_stores(folder) if has_store(place)]
    return [repair for repair in repairs if repair is not None]


def mend(folder: Path) -> Repair | None:
    """Look at a store; if it is damaged, move it aside and save what is whole of it.

    All of it is read: a second for some thousand records.

    Raises:
        StoreError: it is of another schema version, or can't be mended.
    """
    if fault(folder) is None:
        return None
    try:
        with wait_for(folder / LOCK_FILE, waiting=lambda: None):
            # Another session may have mended it by now.
            found = fault(folder)
            return None if found is None else _replace(folder, found)
    except (OSError, sqlite3.Error) as error:
        raise StoreError(f"{folder / STORE_FILE} is damaged and can't be mended: {error}") from None


def fault(folder: Path) -> str | None:
    """Return what is wrong with the store in a folder; ``None`` if nothing is.

    Raises:
        StoreError: it is of another schema version.
    """
    path = folder / STORE_FILE
    if path.stat().st_size == 0 and not _beside(path, "-wal").exists():
        return "the file is empty"
    try:
        with closing(_opened(path)) as database:
            (version,) = database.execute("PRAGMA user_version").fetchone()
            if not 0 <= version <= _LAST_VERSION:
                return f"it claims schema version {version}"
            if version not in (0, SCHEMA_VERSION):
                # Not damaged, as far as can be told: opening it says what to do.
                Store(folder).close()
            if version == 0 and not database.execute("SELECT * FROM sqlite_master").fetchall():
                return None  # Its maker was killed before anything was in it.
            (verdict,) = database.execute("PRAGMA quick_check(1)").fetchone()
            if verdict != "ok":
                return str(verdict).replace("\n", " ").strip("* ")
            rows = database.execute(f"SELECT {_COLUMNS} FROM records")
            bad = [str(row[0]) for row in rows if _whole(row) is None]
    except sqlite3.OperationalError as error:
        if "no such table" in str(error):
            return "it has no records table"
        raise StoreError(f"{path} can't be looked at: {error}") from None
    except sqlite3.DatabaseError as error:
        return str(error)
    return None if not bad else f"{len(bad)} of its records are not what was written"


def _opened(path: Path) -> sqlite3.Connection:
    database = sqlite3.connect(path, timeout=_BUSY_SECONDS)
    # A byte that is no letter is for the SHA-256 to find.
    database.text_factory = lambda data: data.decode("utf-8", "replace")
    return database


_COLUMNS = "trial_id, environment_key, scenario, outcome, sha256, record"


def _whole(row: tuple[object, ...]) -> Record | None:
    """Return the record of a row that is what was written, in all its columns; else ``None``."""
    record = _saved(row)
    if record is None:
        return None
    named = (record.id, environment_key(record.environment), record.scenario, str(record.outcome))
    return record if named == row[:4] else None


def _replace(folder: Path, found: str) -> Repair:
    path = folder / STORE_FILE
    with tempfile.TemporaryDirectory(prefix="mending-", dir=folder) as scratch:
        copy, fresh = Path(scratch) / "damaged", Path(scratch) / "fresh"
        copy.mkdir()
        # On a copy: SQLite would write to the file that is to be kept as it is.
        for suffix in ("", "-wal"):
            with suppress(FileNotFoundError):
                shutil.copyfile(_beside(path, suffix), _beside(copy / STORE_FILE, suffix))
        _make_readable(copy / STORE_FILE)
        rows = list(_rows(copy / STORE_FILE))
        names = _names(copy / STORE_FILE) | {str(row[0]) for row in rows}
        saved = [record for row in rows if (record := _saved(row)) is not None]
        with Store(fresh) as store:
            for record in saved:
                store.commit(record)
        # To the microsecond: no other file has that name.
        moment = datetime.now(UTC).strftime("%Y%m%dT%H%M%S.%fZ")
        aside = path.with_name(f"{STORE_FILE}.damaged-{moment}")
        for suffix in _BESIDE:
            with suppress(FileNotFoundError):
                _beside(path, suffix).rename(_beside(aside, suffix))
        with suppress(OSError):
            # Under both names at once: at no moment is there no store, as if there never had been.
            aside.hardlink_to(path)
        if not aside.exists():
            path.rename(aside)
        (fresh / STORE_FILE).replace(path)
    lost = names - {record.id for record in saved}
    return Repair(moved_to=aside, fault=found, saved=len(saved), lost=tuple(sorted(lost)))


def _make_readable(copy: Path) -> None:
    """Restore what is the same in every store and without which SQLite reads no row at all.

    That is the header, and the length that it promises: a file cut short is filled up with zeros.
    """
    with copy.open("r+b") as stream:
        stream.write(_HEADER)
        stream.seek(28)
        content = stream.read(4)
        pages = int.from_bytes(content, "big") if len(content) == 4 else 0
        size = copy.stat().st_size
        # A count that was hit itself could be anything: a file that lost nine tenths is lost.
        if size < pages * _PAGE_BYTES <= 10 * size:
            stream.truncate(pages * _PAGE_BYTES)


def _saved(row: tuple[object, ...]) -> Record | None:
    """Return the record of a row whose line is what was written, whatever its other columns say."""
    line = row[-1]
    if not isinstance(line, str) or checksum(line) != row[-2]:
        return None
    with suppress(PeftcoreError, ValueError):
        return Record.from_json(json.loads(line))
    return None


def _rows(path: Path) -> Iterator[tuple[object, ...]]:
    """Yield the rows that can be read, each by itself: a bad page costs only those on it."""
    try:
        with closing(_opened(path)) as database:
            last = path.stat().st_size // _SMALLEST_ROW_BYTES + 1
            with suppress(sqlite3.Error):
                last = database.execute("SELECT max(rowid) FROM records").fetchone()[0] or 0
            for number in range(1, last + 1):
                with suppress(sqlite3.Error):
                    query = f"SELECT {_COLUMNS} FROM records WHERE rowid = ?"
                    yield from database.execute(query, (number,)).fetchall()
    except sqlite3.Error:
        return


def _names(path: Path) -> set[str]:
    """Return the ids of all trials that the index still knows."""
    found: set[str] = set()
    with suppress(sqlite3.Error), closing(_opened(path)) as database:
        query = "SELECT trial_id FROM records INDEXED BY sqlite_autoindex_records_1"
        for (name,) in database.execute(query):
            found.add(str(name))
    return found


def _beside(path: Path, suffix: str) -> Path:
    return path.with_name(path.name + suffix)

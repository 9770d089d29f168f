"""Read what was published: the report's text and its records, each line on its own.

Nothing read here is trusted: files are only opened up to a size, and a line that can't be read is a
finding and no error.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from functools import lru_cache
from importlib import resources
from pathlib import Path
from typing import Any

import jsonschema

from peftcore.audit.findings import Ledger, shown
from peftcore.errors import UsageError
from peftcore.report.render import RECORDS_NAME, REPORT_NAME
from peftcore.results.records import Record

MOST_BYTES = 20_000_000
"""No file of a report is larger than this, but for its records."""

MOST_RECORD_BYTES = 256_000_000
"""Of a report's records: those of a test set of 25,000 take 150 kB a trial."""

MOST_FAULTS = 3
"""Of one record that is not of the published form, no more faults are told than this."""


@dataclass(frozen=True, kw_only=True)
class PublishedRecord:
    """One line of the records' file that is a whole record.

    Attributes:
        where: names it in findings.
        content: the JSON object.
        record: the same as every other part of peftcore reads it.
    """

    where: str
    content: Mapping[str, Any]
    record: Record


@dataclass(frozen=True, kw_only=True)
class Published:
    """A report as it was published.

    Attributes:
        folder: where it lies.
        text: of ``report.md``.
        records: those that could be read.
        whole: whether all could.
    """

    folder: Path
    text: str
    records: tuple[PublishedRecord, ...]
    whole: bool


class _Refused(Exception):
    """A line of JSON that different readers could understand differently, or none at all."""


def read_published(folder: Path, ledger: Ledger) -> Published:
    """Return the report in a folder; lines that are no records become findings.

    Raises:
        UsageError: the folder holds no report.
    """
    for name in (REPORT_NAME, RECORDS_NAME):
        if not (folder / name).is_file():
            raise UsageError(
                f"{folder} is no report: it has no {name}; name a folder that peftcore report wrote"
            )
    text = read_text(folder / REPORT_NAME)
    lines = read_text(folder / RECORDS_NAME, most=MOST_RECORD_BYTES).split("\n")
    records = []
    whole = True
    for number, line in enumerate(lines, start=1):
        if not line.strip():
            continue
        found = _read_line(line, f"{RECORDS_NAME}, line {number}", ledger)
        if found is None:
            whole = False
        else:
            records.append(found)
    ledger.that(bool(records), RECORDS_NAME, "it holds no record")
    return Published(
        folder=folder, text=text, records=tuple(records), whole=whole and bool(records)
    )


def read_text(path: Path, *, most: int = MOST_BYTES) -> str:
    """Return the text of one file of a report, with a mark where it is no UTF-8.

    Raises:
        UsageError: it can't be read, or is larger than ``most`` bytes.
    """
    return read_bytes(path, most=most).decode(errors="replace")


def read_bytes(path: Path, *, most: int = MOST_BYTES) -> bytes:
    """Return the bytes of one file of a report; see :func:`read_text`."""
    try:
        with path.open("rb") as stream:
            content = stream.read(most + 1)
    except OSError as error:
        raise UsageError(f"{path} can't be read: {error.strerror or error}") from None
    if len(content) > most:
        raise UsageError(f"{path} is larger than {most:,} bytes, which no report's file is")
    return content


def _read_line(line: str, where: str, ledger: Ledger) -> PublishedRecord | None:
    try:
        content = json.loads(line, object_pairs_hook=_without_doubles, parse_constant=_no_number)
    except RecursionError:
        ledger.that(False, where, "it is nested too deep for a record")
        return None
    except (ValueError, _Refused) as error:
        ledger.that(False, where, f"it is no JSON that can be read in one way: {shown(str(error))}")
        return None
    faults = list(zip(range(MOST_FAULTS), _schema().iter_errors(content), strict=False))
    for _, fault in faults:
        ledger.that(
            False,
            where,
            f"it is not of the form of a record: {shown(fault.json_path)}: {shown(fault.message)}",
        )
    if faults:
        return None
    try:
        record = Record.from_json(content, where=where)
    except UsageError as error:
        ledger.that(False, where, shown(str(error)))
        return None
    ledger.checked += 1
    return PublishedRecord(
        where=f"{where} ({shown(record.id, 60)})", content=content, record=record
    )


def _without_doubles(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    """Refuse an object that has a key twice: one reader takes the first, another the last."""
    found = dict(pairs)
    if len(found) < len(pairs):
        raise _Refused("an object has the same key twice")
    return found


def _no_number(name: str) -> Any:
    raise _Refused(f"{name} is no number of JSON")


@lru_cache(maxsize=1)
def _schema() -> jsonschema.Draft202012Validator:
    text = resources.files("peftcore.results").joinpath("record.schema.json").read_text("utf-8")
    return jsonschema.Draft202012Validator(json.loads(text))

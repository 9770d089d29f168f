"""The files of a data set, row by row: parquet, CSV and JSON lines."""

from __future__ import annotations

import csv
import json
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from itertools import islice
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as parquet

from peftcore.errors import UsageError

SUFFIXES = ("parquet", "csv", "jsonl", "json")
SPLITS = ("train", "test")

Row = tuple[str, tuple[object, ...]]
"""Where a row stands, in words, and its values."""


def files_of(folder: Path, split: str) -> list[Path]:
    """Return the files of one split: ``train.csv``, or shards, ``train-00000-of-2.parquet`` ….

    What lies in hidden folders, where notebooks keep earlier versions, is no part of a data set.

    Raises:
        UsageError: there are none, or they lie in several folders.
    """
    for suffix in SUFFIXES:
        found = sorted(
            path
            for path in folder.rglob(f"{split}*.{suffix}")
            if path.is_file()
            and (path.stem == split or path.stem.startswith(f"{split}-"))
            and not any(part.startswith(".") for part in path.relative_to(folder).parts)
        )
        if len({path.parent for path in found}) > 1:
            first, other = found[0], next(p for p in found if p.parent != found[0].parent)
            raise UsageError(
                f"{folder} has {split} files in several folders ({first.relative_to(folder)} and "
                f"{other.relative_to(folder)}): name the folder of those that are meant"
            )
        if found:
            return found
    expected = ", ".join(f"{split}.{suffix}" for suffix in SUFFIXES[:3])
    raise UsageError(f"{folder} has no {split} file: expected one of {expected}")


def read_rows(file: Path, columns: Sequence[str]) -> Iterator[Row]:
    """Yield the values of these columns, row by row, each with its place.

    Raises:
        UsageError: the file can't be read, or a column is not there.
    """
    readers = {".parquet": _parquet_rows, ".csv": _csv_rows}
    with _readable(file):
        yield from readers.get(file.suffix, _json_rows)(file, columns)


def read_head(file: Path, most: int) -> dict[str, list[object]]:
    """Return the first rows of a file, all columns, by the name of the column.

    Args:
        file: which.
        most: how many rows; fewer where there are no more.

    Raises:
        UsageError: it can't be read.
    """
    with _readable(file):
        if file.suffix == ".parquet":
            with _as_parquet(file), parquet.ParquetFile(file) as opened:
                batch = next(opened.iter_batches(most), None)
                try:
                    return {} if batch is None else {n: batch[n].to_pylist() for n in _names(batch)}
                except UnicodeDecodeError as error:
                    raise _not_utf8(file, f"in its first {most} rows", error) from None
        dicts = _csv_dicts(file) if file.suffix == ".csv" else _json_dicts(file)
        rows: list[Mapping[str, Any]] = [row for _, row in islice(dicts, most)]
    columns = dict.fromkeys(name for row in rows for name in row)
    return {name: [row.get(name) for row in rows] for name in columns}


def _names(batch: pa.RecordBatch) -> list[str]:
    """Return the names of the columns, of two alike one."""
    return list(dict.fromkeys(batch.schema.names))


@contextmanager
def _readable(file: Path) -> Iterator[None]:
    try:
        yield
    except OSError as error:
        raise UsageError(f"{file} can't be read: {error.strerror or error}") from None


@contextmanager
def _as_parquet(file: Path) -> Iterator[None]:
    try:
        yield
    except pa.ArrowException as error:
        raise UsageError(f"{file} can't be read as parquet: {error}") from None


def _require_columns(file: Path, present: Iterable[str], wanted: Sequence[str]) -> None:
    known = list(present)
    for column in wanted:
        if column not in known:
            raise UsageError(
                f"{file} has no column {column!r}: it has "
                f"{', '.join(map(repr, known)) or 'none'}; rename one, or name it with "
                "--peft-set text_column=… or --peft-set label_column=…"
            )


def _parquet_rows(file: Path, columns: Sequence[str]) -> Iterator[Row]:
    with _as_parquet(file):
        _require_columns(file, parquet.read_schema(file).names, columns)
        table = parquet.read_table(file, columns=list(dict.fromkeys(columns)))
    for number, values in enumerate(zip(*(table.column(name) for name in columns), strict=True)):
        try:
            yield f"row {number}", tuple(value.as_py() for value in values)
        except UnicodeDecodeError as error:
            raise _not_utf8(file, f"row {number}", error) from None


def _csv_rows(file: Path, columns: Sequence[str]) -> Iterator[Row]:
    for place, row in _csv_dicts(file, columns):
        yield place, tuple(row[name] for name in columns)


def _csv_dicts(file: Path, wanted: Sequence[str] = ()) -> Iterator[tuple[str, dict[str, Any]]]:
    # Its default, 131,072 characters a cell, is less than a long document has.
    csv.field_size_limit(2**31 - 1)
    # The standard library's reader keeps cells such as NA and null as the words they are.
    with file.open(encoding="utf-8-sig", newline="") as stream:
        reader = csv.DictReader(stream)
        try:
            names = reader.fieldnames or ()
            _require_commas(file, names)
            _require_columns(file, names, wanted)
            for row in reader:
                if None in row:
                    raise UsageError(
                        f"{file}, line {reader.line_num}, has more cells than the header: put "
                        "texts with commas in quotes"
                    )
                yield f"line {reader.line_num}", row
        except UnicodeDecodeError as error:
            raise _not_utf8(file, f"after line {reader.line_num}", error) from None
        except csv.Error as error:
            raise UsageError(f"{file}, line {reader.line_num}, is not CSV: {error}") from None


def _require_commas(file: Path, names: Sequence[str]) -> None:
    """Check that what stands between the columns is a comma: other programs have others."""
    for mark, word in ((";", "semicolons"), ("\t", "tabs"), ("|", "bars")):
        if len(names) == 1 and mark in names[0]:
            raise UsageError(
                f"{file} has one column, {names[0]!r}, which looks like several with {word} in "
                "between: save it with commas, and texts in quotes"
            )


def _json_rows(file: Path, columns: Sequence[str]) -> Iterator[Row]:
    for place, row in _json_dicts(file):
        if any(name not in row for name in columns):
            _require_columns(file, row, columns)
        yield place, tuple(row[name] for name in columns)


def _json_dicts(file: Path) -> Iterator[tuple[str, dict[str, Any]]]:
    with file.open("rb") as stream:
        for number, line in enumerate(stream, start=1):
            place = f"line {number}"
            try:
                row = json.loads(line.decode("utf-8")) if line.strip() else None
            except UnicodeDecodeError as error:
                raise _not_utf8(file, place, error) from None
            except (ValueError, RecursionError) as error:
                # Beside what is no JSON: a number of thousands of digits, and a deep nest of lists.
                why = error.msg if isinstance(error, json.JSONDecodeError) else error
                raise UsageError(
                    f"{file}, {place}, is not JSON ({why}): expected one object a line"
                ) from None
            if row is None:
                continue
            if not isinstance(row, dict):
                raise UsageError(f"{file}, {place}, is no JSON object: expected one a line")
            yield place, row


def _not_utf8(file: Path, place: str, error: UnicodeDecodeError) -> UsageError:
    byte = error.object[error.start]
    return UsageError(
        f"{file}, {place}: the text is not UTF-8 (byte 0x{byte:02x}): save the file as UTF-8"
    )

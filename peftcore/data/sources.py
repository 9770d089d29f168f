"""Find a data set, read it, and refuse what can't be learned from, before any model is loaded."""

from __future__ import annotations

import csv
import json
from collections.abc import Iterable, Iterator
from functools import lru_cache
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as parquet

from peftcore.data.corpus import CORPUS_VERSION, write_corpus
from peftcore.data.examples import TEST_SIZES, Corpus, Examples, require_enough
from peftcore.errors import UsageError
from peftcore.hub import fetch, is_hub_id, split_hub_id
from peftcore.scenarios import Task
from peftcore.trials import Source

EMBEDDED_TRAIN_EXAMPLES = 5000
EMBEDDED_TEST_EXAMPLES = TEST_SIZES["embedded"]

IMDB = ("stanfordnlp/imdb", "e6281661ce1c48d982bc483cf8a173c1bbeb5d31")
_IMDB_CONTENT = "43451d1899f9bda51c67cb1451fff176d553dc2fb0d46b8253dcaeddea6a2758"
"""What :meth:`Corpus.content` gives for the Large Movie Review Dataset, whatever its row order."""

_EXPECTED = (
    "expected 'embedded', 'imdb', a folder with train and test files, or OWNER/NAME@REVISION"
)

_SUFFIXES = ("parquet", "csv", "jsonl", "json")
_SPLITS = ("train", "test")


def locate_data(name: str, task: Task, *, where: str = "data") -> Source:
    """Find, read and check a data set, and return where and what it is.

    Args:
        name: ``"embedded"``, ``"imdb"``, a folder, or a hub id with its revision.
        task: which columns it must have, and how many examples are asked for.
        where: what named it, for the message.

    Raises:
        UsageError: it can't be found, or it can't be learned from; the message names the file,
            the row and the value.
    """
    if not name:
        raise UsageError(f"{where} is empty: {_EXPECTED}")
    if name == "embedded":
        require_enough(_embedded(), task)
        return Source(name=name, identity=f"embedded-corpus-v{CORPUS_VERSION}")
    revision = None
    if name == "imdb":
        mend = "pass --peft-data FOLDER with train.parquet and test.parquet"
        folder = _fetch_data(*IMDB, mend)
        revision = "@".join(IMDB)
    elif Path(name).is_dir():
        folder = Path(name)
    elif is_hub_id(name):
        repository, commit = split_hub_id(name, where=where)
        folder = _fetch_data(repository, commit, "pass --peft-data FOLDER")
        revision = name
    else:
        raise UsageError(f"{where} {name!r} is neither a folder nor a known data set: {_EXPECTED}")
    corpus = _read_folder(folder.resolve(), task.text_column, task.label_column, task.labels)
    require_enough(corpus, task)
    # The very reviews in another file, or in another order, are the same data set.
    if name != "imdb" and corpus.content() == _IMDB_CONTENT:
        name = "imdb"
    elif revision is None:
        last = folder.resolve().name
        name = f"folder:{last}" if last in ("imdb", "embedded") else last
    return Source(
        name=name,
        identity=corpus.identity(),
        revision=revision,
        path=str(folder.resolve()),
    )


def read_data(source: Source, task: Task) -> Corpus:
    """Return the examples of a data set that :func:`locate_data` found."""
    if source.path is None:
        return _embedded()
    return _read_folder(Path(source.path), task.text_column, task.label_column, task.labels)


def _fetch_data(repository: str, revision: str, mend: str) -> Path:
    patterns = [f"*{split}*.{suffix}" for split in _SPLITS for suffix in _SUFFIXES]
    return fetch(repository, revision, kind="dataset", files=patterns, mend=mend)


@lru_cache(maxsize=1)
def _embedded() -> Corpus:
    def examples(split: str, count: int) -> Examples:
        written = write_corpus("train" if split == "train" else "test", count, seed=0)
        return Examples([e.text for e in written], [e.label for e in written])

    return Corpus(
        train=examples("train", EMBEDDED_TRAIN_EXAMPLES),
        test=examples("test", EMBEDDED_TEST_EXAMPLES),
    )


def _read_folder(folder: Path, text_column: str, label_column: str, labels: int) -> Corpus:
    """Read a folder's two splits, again only if its files have changed."""
    files = [file for split in _SPLITS for file in _files_of(folder, split)]
    versions = tuple((file.stat().st_size, file.stat().st_mtime_ns) for file in files)
    return _read_version(folder, text_column, label_column, labels, versions)


@lru_cache(maxsize=1)
def _read_version(
    folder: Path,
    text_column: str,
    label_column: str,
    labels: int,
    versions: tuple[tuple[int, int], ...],  # noqa: ARG001 (a cache key)
) -> Corpus:

    def examples(split: str) -> Examples:
        files = _files_of(folder, split)
        texts: list[str] = []
        classes: list[int] = []
        for file in files:
            for place, text, label in _rows(file, text_column, label_column):
                texts.append(_text(text, file, place, text_column))
                classes.append(_label(label, file, place, label_column, labels))
        shown = ", ".join(file.name for file in files)
        if not classes:
            raise UsageError(f"{folder}: the {split} set ({shown}) is empty: it needs examples")
        if len(set(classes)) == 1:
            raise UsageError(
                f"{folder}: all {len(classes)} labels of the {split} set ({shown}) are "
                f"{classes[0]}: there is nothing to tell apart; shuffle before cutting a sample"
            )
        return Examples(texts, classes)

    return Corpus(train=examples("train"), test=examples("test"))


def _files_of(folder: Path, split: str) -> list[Path]:
    """Return the files of one split: ``train.csv``, or shards, ``train-00000-of-2.parquet`` …."""
    for suffix in _SUFFIXES:
        found = sorted(
            path
            for path in folder.rglob(f"{split}*.{suffix}")
            if path.is_file() and (path.stem == split or path.stem.startswith(f"{split}-"))
        )
        if found:
            return found
    expected = ", ".join(f"{split}.{suffix}" for suffix in _SUFFIXES[:3])
    raise UsageError(f"{folder} has no {split} file: expected one of {expected}")


def _rows(file: Path, text: str, label: str) -> Iterator[tuple[str, object, object]]:
    """Yield place, text and label of each row of a file; the place names the row in messages."""
    readers = {".parquet": _parquet_rows, ".csv": _csv_rows}
    try:
        yield from readers.get(file.suffix, _json_rows)(file, text, label)
    except OSError as error:
        raise UsageError(f"{file} can't be read: {error.strerror or error}") from None


def _require_columns(file: Path, present: Iterable[str], *wanted: str) -> None:
    known = list(present)
    for column in wanted:
        if column not in known:
            raise UsageError(
                f"{file} has no column {column!r}: it has {', '.join(map(repr, known))}; rename "
                "one, or name it with --peft-set text_column=… or --peft-set label_column=…"
            )


def _parquet_rows(file: Path, text: str, label: str) -> Iterator[tuple[str, object, object]]:
    try:
        _require_columns(file, parquet.read_schema(file).names, text, label)
        table = parquet.read_table(file, columns=[text, label])
    except pa.ArrowException as error:
        raise UsageError(f"{file} can't be read as parquet: {error}") from None
    labels = table.column(label).to_pylist()
    for row, (value, kind) in enumerate(zip(table.column(text), labels, strict=True)):
        try:
            yield f"row {row}", value.as_py(), kind
        except UnicodeDecodeError as error:
            raise _not_utf8(file, f"row {row}", error) from None


def _csv_rows(file: Path, text: str, label: str) -> Iterator[tuple[str, object, object]]:
    # Its default, 131,072 characters a cell, is less than a long document has.
    csv.field_size_limit(2**31 - 1)
    # The standard library's reader keeps cells such as NA and null as the words they are.
    with file.open(encoding="utf-8-sig", newline="") as stream:
        reader = csv.DictReader(stream)
        try:
            _require_columns(file, reader.fieldnames or (), text, label)
            for row in reader:
                if None in row:
                    raise UsageError(
                        f"{file}, line {reader.line_num}, has more cells than the header: put "
                        "texts with commas in quotes"
                    )
                yield f"line {reader.line_num}", row[text], row[label]
        except UnicodeDecodeError as error:
            raise _not_utf8(file, f"after line {reader.line_num}", error) from None
        except csv.Error as error:
            raise UsageError(f"{file}, line {reader.line_num}, is not CSV: {error}") from None


def _json_rows(file: Path, text: str, label: str) -> Iterator[tuple[str, object, object]]:
    with file.open("rb") as stream:
        for number, line in enumerate(stream, start=1):
            place = f"line {number}"
            try:
                row = json.loads(line.decode("utf-8")) if line.strip() else None
            except UnicodeDecodeError as error:
                raise _not_utf8(file, place, error) from None
            except json.JSONDecodeError as error:
                raise UsageError(
                    f"{file}, {place}, is not JSON ({error.msg}): expected one object a line"
                ) from None
            if row is None:
                continue
            if not isinstance(row, dict):
                raise UsageError(f"{file}, {place}, is no JSON object: expected one a line")
            if text not in row or label not in row:
                _require_columns(file, row, text, label)
            yield place, row[text], row[label]


def _not_utf8(file: Path, place: str, error: UnicodeDecodeError) -> UsageError:
    byte = error.object[error.start]
    return UsageError(
        f"{file}, {place}: the text is not UTF-8 (byte 0x{byte:02x}): save the file as UTF-8"
    )


def _text(value: object, file: Path, place: str, column: str) -> str:
    if not isinstance(value, str):
        raise UsageError(f"{file}, {place}: {column!r} is {value!r}: expected a text")
    try:
        value.encode()
    except UnicodeEncodeError:
        raise UsageError(
            f"{file}, {place}: {column!r} holds half of a surrogate pair: save the file as UTF-8"
        ) from None
    return value


def _label(value: object, file: Path, place: str, column: str, labels: int) -> int:
    """Return a label as a whole number of the task's range.

    CSV gives text, and other tools write 1.0: both stand for a whole number, ``True`` does not.
    """
    label: int | None = None
    if isinstance(value, int) and not isinstance(value, bool):
        label = value
    elif (isinstance(value, float) and value.is_integer()) or (
        isinstance(value, str) and value.strip().removeprefix("-").isdecimal()
    ):
        label = int(value)
    if label is None or not 0 <= label < labels:
        raise UsageError(
            f"{file}, {place}: {column!r} is {value!r}: expected a whole number from 0 to "
            f"{labels - 1}; for more classes pass --peft-set labels=N"
        )
    return label

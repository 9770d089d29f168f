"""Find a data set, read it, and refuse what can't be learned from, before any model is loaded."""

from __future__ import annotations

from collections.abc import Collection, Sequence
from functools import lru_cache
from pathlib import Path

from peftcore.data.adapting import Adapted, adapt, class_name
from peftcore.data.corpus import CORPUS_VERSION, write_corpus
from peftcore.data.examples import TEST_SIZES, Corpus, Examples, require_enough
from peftcore.data.reading import SPLITS, SUFFIXES, files_of, read_rows
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


def adapt_task(
    name: str, task: Task, *, named: Collection[str] = (), where: str = "data"
) -> Adapted:
    """Return a task with what it leaves open as a data set has it: columns and classes.

    Args:
        name: as :func:`locate_data` takes it.
        task: what was asked for.
        named: which of its fields were asked for by name, and are not guessed.
        where: what named the data set, for the message.

    Raises:
        UsageError: the data can't be found or read, or it leaves open what is meant.
    """
    if name in ("embedded", "imdb"):
        return Adapted(task)
    return adapt(_folder_of(name, where)[0].resolve(), task, named)


def locate_data(name: str, task: Task, *, where: str = "data") -> Source:
    """Find, read and check a data set, and return where and what it is.

    Args:
        name: ``"embedded"``, ``"imdb"``, a folder, or a hub id with its revision.
        task: which columns and classes it must have, and how many examples are asked for.
        where: what named it, for the message.

    Raises:
        UsageError: it can't be found, or it can't be learned from; the message names the file,
            the row and the value.
    """
    if name == "embedded":
        require_enough(_embedded(), task)
        return Source(name=name, identity=f"embedded-corpus-v{CORPUS_VERSION}")
    folder, revision = _folder_of(name, where)
    corpus = _read_folder(folder.resolve(), task)
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


def _folder_of(name: str, where: str) -> tuple[Path, str | None]:
    """Return the folder of a data set that has one, and its revision on the hub."""
    if not name:
        raise UsageError(f"{where} is empty: {_EXPECTED}")
    if name == "imdb":
        mend = "pass --peft-data FOLDER with train.parquet and test.parquet"
        return _fetch_data(*IMDB, mend), "@".join(IMDB)
    if Path(name).is_dir():
        return Path(name), None
    if is_hub_id(name):
        repository, commit = split_hub_id(name, where=where)
        return _fetch_data(repository, commit, "pass --peft-data FOLDER"), name
    raise UsageError(f"{where} {name!r} is neither a folder nor a known data set: {_EXPECTED}")


def read_data(source: Source, task: Task) -> Corpus:
    """Return the examples of a data set that :func:`locate_data` found."""
    if source.path is None:
        return _embedded()
    return _read_folder(Path(source.path), task)


def _fetch_data(repository: str, revision: str, mend: str) -> Path:
    patterns = [f"*{split}*.{suffix}" for split in SPLITS for suffix in SUFFIXES]
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


def _read_folder(folder: Path, task: Task) -> Corpus:
    """Read a folder's two splits, again only if its files have changed."""
    files = [file for split in SPLITS for file in files_of(folder, split)]
    versions = tuple((file.stat().st_size, file.stat().st_mtime_ns) for file in files)
    # How many examples are asked for, and how long they may be, is not what is read.
    kept = {"text_column", "pair_column", "label_column", "labels", "classes"}
    whole = Task(**{name: getattr(task, name) for name in kept})
    return _read_version(folder, whole, versions)


@lru_cache(maxsize=1)
def _read_version(
    folder: Path,
    task: Task,
    versions: tuple[tuple[int, int], ...],  # noqa: ARG001 (a cache key)
) -> Corpus:
    return Corpus(train=_read_split(folder, "train", task), test=_read_split(folder, "test", task))


def _read_split(folder: Path, split: str, task: Task) -> Examples:
    return read_examples(files_of(folder, split), task, what=f"the {split} set")


def read_examples(files: Sequence[Path], task: Task, *, what: str) -> Examples:
    """Return all examples of these files, in their order.

    Args:
        files: of one folder.
        task: which columns and classes they must have.
        what: what they hold, for the message.

    Raises:
        UsageError: they can't be read or learned from; the message names the file, the row and the
            value.
    """
    pair = task.pair_column
    texts: list[str] = []
    pairs: list[str] = []
    labels: list[int] = []
    columns = [task.text_column, task.label_column, *([] if pair is None else [pair])]
    for file in files:
        for place, (text, label, *second) in read_rows(file, columns):
            texts.append(_text(text, file, place, task.text_column))
            labels.append(_label(label, file, place, task))
            if pair is not None:
                pairs.append(_text(second[0], file, place, pair))
    folder, shown = files[0].parent, ", ".join(file.name for file in files)
    if not labels:
        raise UsageError(f"{folder}: {what} ({shown}) is empty: it needs examples")
    if len(set(labels)) == 1:
        raise UsageError(
            f"{folder}: all {len(labels)} labels of {what} ({shown}) are "
            f"{task.class_of(labels[0])}: there is nothing to tell apart; shuffle before cutting a "
            "sample"
        )
    return Examples(texts, labels, None if pair is None else pairs)


def _text(value: object, file: Path, place: str, column: str) -> str:
    if not isinstance(value, str):
        raise UsageError(
            f"{file}, {place}: {column!r} is {value!r}: expected a text; fill it in, or leave "
            "the row out"
        )
    try:
        value.encode()
    except UnicodeEncodeError:
        raise UsageError(
            f"{file}, {place}: {column!r} holds half of a surrogate pair: save the file as UTF-8"
        ) from None
    return value


def _label(value: object, file: Path, place: str, task: Task) -> int:
    """Return a label as a whole number of the task's range.

    CSV gives text, and other tools write 1.0: both stand for a whole number, ``True`` does not.
    """
    label: int | None = None
    if task.classes:
        name = class_name(value)
        if name in task.classes:
            return task.classes.index(name)
        raise UsageError(
            f"{file}, {place}: {task.label_column!r} is {value!r}: expected one of "
            f"{', '.join(map(repr, task.classes))}"
        )
    if isinstance(value, int) and not isinstance(value, bool):
        label = value
    elif (isinstance(value, float) and value.is_integer()) or (
        isinstance(value, str) and value.strip().removeprefix("-").isdecimal()
    ):
        label = int(value)
    if label is None or not 0 <= label < task.labels:
        raise UsageError(
            f"{file}, {place}: {task.label_column!r} is {value!r}: expected a whole number from 0 "
            f"to {task.labels - 1}; for more classes pass --peft-set labels=N"
        )
    return label

"""What a task leaves open and the data itself can tell: its columns, and its classes."""

from __future__ import annotations

from collections import Counter
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from statistics import fmean

from peftcore.data.reading import files_of, read_head, read_rows
from peftcore.errors import UsageError
from peftcore.scenarios import Task

ROWS_SEEN = 500
"""Columns are guessed from so many rows."""

MOST_CLASSES = 200
"""A column of more values is no class label, or none that a few thousand examples could teach."""

FEW_CLASSES = 10
"""So many values may be classes although each has few examples."""

FEWEST_OF_A_CLASS = 2
"""A value that the training set has only once is taken for a slip."""

_LABELS = ("label", "labels", "class", "category", "target", "sentiment", "intent", "topic", "y")
_TEXTS = (
    "text",
    "sentence",
    "review",
    "content",
    "body",
    "comment",
    "message",
    "tweet",
    "document",
)
_PAIRS = (
    ("premise", "hypothesis"),
    ("sentence1", "sentence2"),
    ("question1", "question2"),
    ("text1", "text2"),
    ("text_a", "text_b"),
    ("question", "sentence"),
    ("question", "passage"),
    ("query", "passage"),
)

_NAME_IT = "name it with --peft-set label_column=…"


@dataclass(frozen=True)
class Adapted:
    """A task as the data has it.

    Attributes:
        task: with the columns and the classes of the data.
        note: in words, what was guessed; ``None`` where nothing was.
    """

    task: Task
    note: str | None = None


def adapt(folder: Path, task: Task, named: Collection[str]) -> Adapted:
    """Return a task with the columns and the classes that a data set has.

    A column is guessed only where the usual one is not there and none was named; classes are
    taken from the training set only where its labels are not whole numbers as the task has them.

    Args:
        folder: of the data set.
        task: what was asked for.
        named: which of its fields were asked for by name, and are not guessed.

    Raises:
        UsageError: the data can't be read, or leaves open what is meant; the message says what to
            name.
    """
    return adapt_files(files_of(folder, "train"), task, named)


def adapt_files(files: Sequence[Path], task: Task, named: Collection[str]) -> Adapted:
    """Do as :func:`adapt` does, by the files that hold the training set.

    Raises:
        UsageError: as there.
    """
    head = read_head(files[0], ROWS_SEEN)
    found = _find_columns(files[0], head, task, named)
    if "labels" in named or task.classes:
        return found
    return replace(found, task=_with_classes(files, found.task))


def _find_columns(
    file: Path, head: Mapping[str, Sequence[object]], task: Task, named: Collection[str]
) -> Adapted:
    if not head:
        # An empty file is refused where it is read.
        return Adapted(task)
    guessed: dict[str, str] = {}
    label = task.label_column
    if label not in head and "label_column" not in named:
        label = guessed["label"] = _label_column(file, head, label)
    text, pair = task.text_column, task.pair_column
    if text not in head and not {"text_column", "pair_column"} & set(named):
        text, pair = _text_columns(file, head, label)
        guessed["text"] = text
        if pair is not None:
            guessed["second text"] = pair
    if not guessed:
        return Adapted(task)
    words = ", ".join(f"{kind} is {column!r}" for kind, column in guessed.items())
    taken = replace(task, text_column=text, pair_column=pair, label_column=label)
    return Adapted(taken, f"columns were guessed: {words}")


def _label_column(file: Path, head: Mapping[str, Sequence[object]], usual: str) -> str:
    by_name = _by_name(head, _LABELS)
    if by_name is not None:
        return by_name
    texts = {*_TEXTS, *(name for pair in _PAIRS for name in pair)}
    few = [
        name
        for name, values in head.items()
        if name.lower() not in texts
        and 2 <= len(set(map(repr, values))) <= max(2, min(MOST_CLASSES, len(values) // 3))
    ]
    if len(few) == 1:
        return few[0]
    shown = ", ".join(map(repr, head))
    which = f"{', '.join(map(repr, few))} could all be it" if few else "none looks like it"
    raise UsageError(f"{file} has no column {usual!r}: it has {shown}, and {which}; {_NAME_IT}")


def _text_columns(
    file: Path, head: Mapping[str, Sequence[object]], label: str
) -> tuple[str, str | None]:
    known = {name.lower(): name for name in head}
    for first, second in _PAIRS:
        if first in known and second in known:
            return known[first], known[second]
    by_name = _by_name(head, _TEXTS)
    if by_name is not None and by_name != label:
        return by_name, None
    lengths = {
        name: fmean(len(value) for value in values if isinstance(value, str))
        for name, values in head.items()
        if name != label and any(isinstance(value, str) for value in values)
    }
    ordered = sorted(lengths, key=lambda name: -lengths[name])
    if not ordered:
        raise UsageError(
            f"{file} has no column of texts beside {label!r}: name it with --peft-set text_column=…"
        )
    if len(ordered) > 1 and lengths[ordered[1]] > lengths[ordered[0]] / 2:
        raise UsageError(
            f"{file}: {ordered[0]!r} and {ordered[1]!r} could both be the text: name one with "
            f"--peft-set text_column=…, or the other as well with --peft-set pair_column=…"
        )
    return ordered[0], None


def _by_name(head: Mapping[str, object], names: Sequence[str]) -> str | None:
    known = {name.lower(): name for name in head}
    return next((known[name] for name in names if name in known), None)


def _with_classes(files: Sequence[Path], task: Task) -> Task:
    """Return the task with the classes of the training set, where they are not 0 to N − 1."""
    counts: Counter[str] = Counter()
    places: dict[str, str] = {}
    for file in files:
        for place, (value,) in read_rows(file, [task.label_column]):
            name = class_name(value)
            if name is None or not _is_text(name):
                raise UsageError(
                    f"{file}, {place}: {task.label_column!r} is {value!r}: expected the number or "
                    "the name of a class; fill it in, or leave the row out"
                )
            counts[name] += 1
            places.setdefault(name, f"{file}, {place}")
    if {*counts} <= {str(number) for number in range(task.labels)}:
        return task
    where = f"{files[0]}: {task.label_column!r}"
    rows = counts.total()
    if len(counts) > MOST_CLASSES or len(counts) > max(FEW_CLASSES, rows / 2):
        raise UsageError(
            f"{where} has {len(counts):,} values in {rows:,} rows, which are no classes: name the "
            "column that holds them with --peft-set label_column=…"
        )
    hidden = sorted(name for name in counts if name.startswith("-"))
    if hidden:
        raise UsageError(
            f"{places[hidden[0]]}: {task.label_column!r} is {hidden[0]}, by which data sets hide "
            "labels: take a split that has them, or, where it is a class, name it without the sign"
        )
    rare = [name for name, count in counts.items() if count < FEWEST_OF_A_CLASS]
    if rare:
        raise UsageError(
            f"{places[rare[0]]}: {task.label_column!r} is {rare[0]!r}, which no other row of the "
            "training set has: correct it, or leave the row out; or say how many classes there are "
            "with --peft-set labels=N"
        )
    names = _ordered(counts)
    if len(names) == 1:
        raise UsageError(f"{where} is {names[0]!r} in all {rows:,} rows: nothing to tell apart")
    if names == [str(number) for number in range(len(names))]:
        return replace(task, labels=max(len(names), 2))
    return replace(task, classes=tuple(names))


def class_name(value: object) -> str | None:
    """Return a label as the name of its class; ``None`` where it can't be one.

    CSV gives text for whole numbers, and other tools write 1.0: all are the class "1".
    """
    if isinstance(value, bool):
        return str(value).lower()
    if isinstance(value, float) and value.is_integer():
        value = int(value)
    if isinstance(value, int):
        return str(value)
    return value.strip() or None if isinstance(value, str) else None


def _is_text(name: str) -> bool:
    """Return whether a name can be written: JSON can hold half of a surrogate pair."""
    try:
        name.encode()
    except UnicodeEncodeError:
        return False
    return True


def _ordered(names: Collection[str]) -> list[str]:
    """Return the names in the order of their numbers, if all are numbers, or else of letters."""
    if all(name.isdecimal() for name in names):
        return sorted(names, key=int)
    return sorted(names)

"""One's own data in three parts: to train on, to judge the race by, and to test the winner once.

A single file is cut by its content alone, so that the same file is always cut alike. Classes keep
their shares, and equal texts stay together: none is tested that was trained on. A folder's own test
set is left whole, and used for the last test only.
"""

from __future__ import annotations

import hashlib
import json
from collections import Counter, defaultdict
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np

from peftcore.data.adapting import adapt_files
from peftcore.data.examples import Examples, evaluated_rows
from peftcore.data.reading import SUFFIXES, files_of
from peftcore.data.sources import read_examples
from peftcore.errors import UsageError
from peftcore.running.planning import FIRST_SEED
from peftcore.scenarios import Task
from peftcore.writing import write_whole

VALIDATION_SHARE = 0.2
TEST_SHARE = 0.2
MOST_VALIDATION = 1000
"""Every trial answers all of them: more would cost time and tell little more."""
MOST_TEST = 2000

FEWEST_EXAMPLES = 60
FEWEST_OF_A_CLASS = 5
"""Of each class some must be left in each part."""

TEXT, PAIR, LABEL = "text", "second_text", "label"
"""Columns of the files that the parts are written to."""


@dataclass(frozen=True, kw_only=True)
class Parts:
    """Where the parts are, and what is in them.

    Attributes:
        name: what the data set is called.
        folder: what belongs to this data set alone: the parts, and what is kept between sessions.
        task: columns and classes, as the written files have them.
        train: how many examples are trained on in the race.
        validation: how many the race is judged by.
        test: how many are kept apart for the end.
        own_test: whether the data came with a test set.
        counts: of each class, how many examples there are beside those kept for the end.
        majority: the share of the validation examples that are of their most frequent class.
        seen_tests: how many of the test texts are trained on too.
        notes: what a reader should know of how they came about, in sentences.
    """

    name: str
    folder: Path
    task: Task
    train: int
    validation: int
    test: int
    own_test: bool
    counts: tuple[int, ...]
    majority: float
    seen_tests: int = 0
    notes: tuple[str, ...] = ()

    @property
    def race(self) -> Path:
        """A data folder whose test set is what the race is judged by."""
        return self.folder / "race"

    @property
    def final(self) -> Path:
        """A data folder whose training set is all but the test set."""
        return self.folder / "final"


def divide(data: Path, task: Task, *, named: set[str], within: Path) -> Parts:
    """Read a data set, check it, divide it, and write the parts where trials can read them.

    Args:
        data: a file, or a folder with a training set and maybe a test set.
        task: what was asked for; sizes are left as they are.
        named: which of its fields were asked for by name.
        within: the folder in which that of this data set is made.

    Raises:
        UsageError: the data can't be used; the message says what to change.
    """
    files, own_test = _files(data)
    adapted = adapt_files(files, task, named)
    found = adapted.task
    examples = read_examples(files, found, what="the data")
    tested = read_examples(own_test, found, what="the test set") if own_test else None
    _require_enough(data, examples, found)
    notes = [] if adapted.note is None else [f"{adapted.note[0].upper()}{adapted.note[1:]}."]
    notes += _peculiarities(examples)
    digest = _digest(examples, tested)
    train, validation, test = cut(
        examples, digest=digest, test_share=0.0 if tested is not None else TEST_SHARE
    )
    kept = examples.select(test) if tested is None else tested
    known = set(examples.select([*train, *validation]).joined())
    last = replace(found, test_examples=min(len(kept), MOST_TEST))
    tests = kept.select(evaluated_rows(last.describe(), len(kept), FIRST_SEED))
    seen = sum(text in known for text in tests.joined())
    if seen:
        notes.append(
            f"{seen:,} of {len(tests):,} test texts are in the training set too: the test "
            "accuracy is too good by what was learned by heart."
        )
    counts = Counter(examples.labels[position] for position in [*train, *validation])
    written = replace(
        found,
        text_column=TEXT,
        label_column=LABEL,
        pair_column=None if examples.pairs is None else PAIR,
    )
    parts = Parts(
        name=data.resolve().stem,
        folder=within / digest[:12],
        task=written,
        train=len(train),
        validation=len(validation),
        test=len(tests),
        own_test=tested is not None,
        counts=tuple(counts[label] for label in range(found.labels)),
        majority=max(Counter(examples.labels[one] for one in validation).values())
        / len(validation),
        seen_tests=seen,
        notes=tuple(notes),
    )
    write_part(parts.race / "train.jsonl", examples.select(train), written)
    write_part(parts.race / "test.jsonl", examples.select(validation), written)
    write_part(parts.final / "train.jsonl", examples.select([*train, *validation]), written)
    write_part(parts.final / "test.jsonl", kept, written)
    return parts


def cut(
    examples: Examples, *, digest: str, test_share: float
) -> tuple[list[int], list[int], list[int]]:
    """Return the positions of what is trained on, judged by, and tested on, each in random order.

    Args:
        examples: what is divided.
        digest: draws the parts; of the same examples always the same.
        test_share: of the examples that are kept for the test; 0 where there is a test set.
    """
    random = np.random.default_rng(int(digest[:16], 16))
    by_text: dict[str, list[int]] = defaultdict(list)
    for position, text in enumerate(examples.joined()):
        by_text[text].append(position)
    by_label: dict[int, list[list[int]]] = defaultdict(list)
    for group in by_text.values():
        by_label[examples.labels[group[0]]].append(group)
    size = len(examples)
    shares = (
        min(test_share, MOST_TEST / size),
        min(VALIDATION_SHARE, MOST_VALIDATION / size),
    )
    parts: tuple[list[int], list[int], list[int]] = ([], [], [])
    for label in sorted(by_label):
        groups = by_label[label]
        drawn = [groups[number] for number in random.permutation(len(groups))]
        for place, group in zip(_places(list(map(len, drawn)), shares), drawn, strict=True):
            parts[place].extend(group)
    test, validation, train = ([part[i] for i in random.permutation(len(part))] for part in parts)
    return train, validation, test


def _places(sizes: Sequence[int], shares: Sequence[float]) -> list[int]:
    """Return in which part each group of equal texts of a class goes.

    A text that is repeated more often than a part has room for is trained on: the part would be of
    it alone. What is left is shared out as if it were all.

    Args:
        sizes: of the groups, in the order in which they were drawn.
        shares: of the parts 0, 1, …; each gets one group at least, unless its share is 0. All else
            goes to the part after them.
    """
    counted = list(sizes)
    while True:
        wanted = [0 if share == 0 else max(1, round(share * sum(counted))) for share in shares]
        room = min(most for most in wanted if most)
        fitting = [size for size in counted if size <= room]
        if fitting == counted:
            break
        counted = fitting
    rest, taken, places = len(shares), [0] * len(shares), []
    for size in sizes:
        open_to = (n for n, most in enumerate(wanted) if size <= room and taken[n] + size <= most)
        place = next(open_to, rest)
        if place < rest:
            taken[place] += size
        places.append(place)
    for part, most in enumerate(wanted):
        if most and not taken[part]:
            left = [number for number, place in enumerate(places) if place == rest]
            places[min(left, key=sizes.__getitem__)] = part
    return places


def _files(data: Path) -> tuple[list[Path], list[Path]]:
    """Return the files of the training set, and those of a test set of its own, if there is one."""
    endings = ", ".join(f".{suffix}" for suffix in SUFFIXES)
    if data.is_dir():
        train = files_of(data, "train")
        try:
            return train, files_of(data, "test")
        except UsageError:
            return train, []
    if not data.is_file():
        raise UsageError(
            f"--data {data} is not there: name a file ({endings}) or a folder with a train file"
        )
    if data.suffix.removeprefix(".") not in SUFFIXES:
        raise UsageError(
            f"--data {data} is none of the files that are read: save it as one of {endings}, with "
            "a column for the text and one for the label"
        )
    return [data], []


def _require_enough(data: Path, examples: Examples, task: Task) -> None:
    # Equal texts are one: they stay in one part, with the class of the first of them.
    label_of: dict[str, int] = {}
    for text, label in zip(examples.joined(), examples.labels, strict=True):
        label_of.setdefault(text, label)
    what = "examples" if len(label_of) == len(examples) else "different texts"
    if len(label_of) < FEWEST_EXAMPLES:
        raise UsageError(
            f"{data} has {len(label_of)} {what}: at least {FEWEST_EXAMPLES} are needed to train, "
            "to compare and to test; add some"
        )
    rows, counts = Counter(examples.labels), Counter(label_of.values())
    for label in range(task.labels):
        if rows[label] and counts[label] < FEWEST_OF_A_CLASS:
            raise UsageError(
                f"{data} has {counts[label]} {what} of the class {task.class_of(label)!r}: at "
                f"least {FEWEST_OF_A_CLASS} of each are needed; add some, or leave the class out"
            )


def _peculiarities(examples: Examples) -> list[str]:
    """Return what the texts have that their owner may not know of, in sentences."""
    labels_of: dict[str, set[int]] = defaultdict(set)
    for text, label in zip(examples.joined(), examples.labels, strict=True):
        labels_of[text].add(label)
    notes = []
    repeated = len(examples) - len(labels_of)
    if repeated:
        notes.append(
            f"{repeated:,} of {len(examples):,} texts are repeated; equal texts were kept in one "
            "part."
        )
    torn = sum(len(labels) > 1 for labels in labels_of.values())
    if torn:
        notes.append(f"{torn:,} of the repeated texts have different classes: no answer suits all.")
    empty = sum(not text.strip() for text in examples.joined())
    if empty:
        notes.append(f"{empty:,} of {len(examples):,} texts are empty; they were kept.")
    return notes


def _digest(examples: Examples, tested: Examples | None) -> str:
    digest = hashlib.sha256()
    for part in (examples, *(() if tested is None else (tested,))):
        for text, label in zip(part.joined(), part.labels, strict=True):
            encoded = text.encode()
            digest.update(b"%d %d " % (label, len(encoded)) + encoded)
        digest.update(b"|")
    return digest.hexdigest()


def write_part(file: Path, examples: Examples, task: Task) -> None:
    """Write examples to a file of JSON lines, in the columns that all parts have.

    Args:
        file: where to.
        examples: what is written.
        task: has the names of their classes, if they have any.
    """
    pairs: Sequence[str | None] = examples.pairs or [None] * len(examples)
    lines = []
    for text, pair, label in zip(examples.texts, pairs, examples.labels, strict=True):
        row = {TEXT: text, LABEL: task.class_of(label) if task.classes else label}
        lines.append(json.dumps(row if pair is None else {**row, PAIR: pair}, ensure_ascii=False))
    write_whole(file, "\n".join(lines) + "\n")

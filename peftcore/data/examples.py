"""Labelled texts: what is read from a data set, checked once, and sampled."""

from __future__ import annotations

import hashlib
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple

import numpy as np

from peftcore.errors import UsageError
from peftcore.scenarios import Split, Task

TEST_SEED = 42
"""The shuffle that fixes the test set, whatever a trial's seed: the source study's."""

TEST_SIZES: Mapping[str, int] = {"embedded": 2000, "imdb": 25_000}
"""How many examples the test sets of these names hold, for records that don't tell."""


@dataclass(frozen=True)
class Examples:
    """Texts and their labels, in step with each other.

    Attributes:
        texts: the texts.
        labels: a whole number from 0 per text.
        pairs: of each text the second one that goes with it; ``None`` where texts stand alone.
    """

    texts: Sequence[str]
    labels: Sequence[int]
    pairs: Sequence[str] | None = None

    def __len__(self) -> int:
        return len(self.labels)

    def select(self, indices: Sequence[int]) -> Examples:
        """Return the examples at these positions, in this order."""
        return Examples(
            [self.texts[i] for i in indices],
            [self.labels[i] for i in indices],
            None if self.pairs is None else [self.pairs[i] for i in indices],
        )

    def joined(self) -> list[str]:
        """Return each text, and where it is one of a pair, the second below it."""
        if self.pairs is None:
            return list(self.texts)
        return [f"{text}\n{second}" for text, second in zip(self.texts, self.pairs, strict=True)]

    def majority_share(self) -> float:
        """Return the share of the most frequent label."""
        return max(Counter(self.labels).values()) / len(self)


@dataclass(frozen=True)
class Corpus:
    """A data set: the examples that may be trained on, and those held back for testing."""

    train: Examples
    test: Examples

    def identity(self) -> str:
        """Return a SHA-256 of all texts and labels in their order: the order decides each draw."""
        digest = hashlib.sha256()
        for examples in (self.train, self.test):
            columns = [examples.texts, *([] if examples.pairs is None else [examples.pairs])]
            for label, *texts in zip(examples.labels, *columns, strict=True):
                digest.update(b"%d " % label)
                for encoded in (text.encode() for text in texts):
                    # With its length: where one text ends and the next begins is a part of it.
                    digest.update(b"%d " % len(encoded) + encoded)
            digest.update(b"|")
        return f"sha256:{digest.hexdigest()}"

    def content(self) -> str:
        """Return a SHA-256 of all texts and labels that is blind to their order within a split."""
        digest = hashlib.sha256()
        for examples in (self.train, self.test):
            rows = sorted(
                hashlib.sha256(b"%d " % label + text.encode()).digest()
                for text, label in zip(examples.joined(), examples.labels, strict=True)
            )
            digest.update(b"".join(rows) + b"|")
        return digest.hexdigest()


class Sample(NamedTuple):
    """What one trial gets of a data set: examples to train on, and examples to be evaluated on."""

    train: Examples
    test: Examples


def draw(corpus: Corpus, task: Task, seed: int) -> Sample:
    """Return what a trial with this seed trains on, and what it is evaluated on.

    The order is that of ``datasets.Dataset.shuffle(seed).select(range(n))``, so that seed 42 draws
    the source study's reviews from the same rows.

    Raises:
        UsageError: more examples are asked for than there are.
    """
    train_order = np.random.default_rng(seed).permutation(len(corpus.train))
    require_enough(corpus, task)
    rows = evaluated_rows(task.describe(), drawn_from(corpus, task), seed)
    if task.split is Split.TUNING:
        # From the far end of the shuffle: the protocol's own sample stands at its beginning.
        unused = train_order[::-1].tolist()
        chosen = task.repeats * unused[: task.train_examples]
        return Sample(corpus.train.select(chosen), corpus.train.select(rows))
    chosen = task.repeats * train_order[: task.train_examples].tolist()
    return Sample(corpus.train.select(chosen), corpus.test.select(rows))


def drawn_from(corpus: Corpus, task: Task) -> int:
    """Return how many examples there are to draw those from that are evaluated."""
    return len(corpus.train if task.split is Split.TUNING else corpus.test)


def evaluated_rows(task: Mapping[str, Any], size: int, seed: int) -> list[int]:
    """Return which examples of the test set (of a search: of the training set) are evaluated.

    Args:
        task: the fields of a :class:`~peftcore.scenarios.Task`, as a record has them.
        size: how many examples there are to draw from.
        seed: the trial's.

    Returns:
        Their positions in the data, counted from 0, in the order in which they are evaluated.
    """
    train, test = task["train_examples"], task["test_examples"]
    if task["split"] == Split.TUNING:
        order = np.random.default_rng(seed).permutation(size)
        return [int(row) for row in order[::-1][train : train + test]]
    order = np.random.default_rng(TEST_SEED).permutation(size)
    return [int(row) for row in order[:test]]


def require_enough(corpus: Corpus, task: Task) -> None:
    """Check that the data holds as many examples as the task asks for.

    Raises:
        UsageError: it does not; the message says how many there are.
    """
    if task.split is Split.TUNING:
        needed = 2 * task.train_examples + task.test_examples
        if needed > len(corpus.train):
            raise UsageError(
                f"split=tuning needs {needed} training examples (2 x train_examples="
                f"{task.train_examples} + test_examples={task.test_examples}), but the data has "
                f"{len(corpus.train)}: ask for fewer"
            )
        return
    for name, examples in (("train", corpus.train), ("test", corpus.test)):
        asked = getattr(task, f"{name}_examples")
        if asked > len(examples):
            raise UsageError(
                f"{name}_examples={asked} is more than the {len(examples)} examples of the "
                f"{name} set: ask for at most {len(examples)}"
            )

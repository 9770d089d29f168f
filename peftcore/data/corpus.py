"""The embedded corpus: short film reviews written by a seeded grammar.

A review is positive or negative by what it comes down to: its opinions may be denied,
set against each other, or overruled by the verdict, and words of both polarities stand
under both labels.  The corpus serves smoke runs, demonstrations and tests of the
machinery; nothing about the methods is concluded from it.
"""

from __future__ import annotations

import random
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal, TypeVar

from peftcore.data.lexicon import TEST, TRAIN, Grammar, Step

CORPUS_VERSION = 1
"""Changes whenever any text of the corpus would change."""

MAX_EXAMPLES = 20_000
"""The most examples one call writes; each grammar holds many times as many reviews."""

Split = Literal["train", "test"]

T = TypeVar("T")

_GRAMMARS: dict[Split, Grammar] = {"train": TRAIN, "test": TEST}
_DENIED = 0.2  # share of the opinions that are put as the denial of their opposite


@dataclass(frozen=True)
class CorpusExample:
    """One review and its label: 0 for negative, 1 for positive."""

    text: str
    label: int


def write_corpus(split: Split, examples: int, seed: int) -> list[CorpusExample]:
    """Write the reviews of one split.

    Returns ``examples`` reviews in shuffled order, no two alike, half of them positive
    (an odd number has one more negative).  The same arguments give the same reviews on
    every platform and Python version.

    Raises ``ValueError`` when the split is unknown, the number of examples is not from
    1 to ``MAX_EXAMPLES``, or the seed is negative.
    """
    if split not in _GRAMMARS:
        raise ValueError(f"split is {split!r}; expected 'train' or 'test'")
    if not 1 <= examples <= MAX_EXAMPLES:
        raise ValueError(f"examples is {examples!r}; expected a number from 1 to {MAX_EXAMPLES}")
    if seed < 0:
        # Random drops the sign, so -1 would silently be the corpus of 1.
        raise ValueError(f"seed is {seed!r}; expected 0 or more")
    writer = _Writer(_GRAMMARS[split], seed)
    labels: dict[str, int] = {}
    while len(labels) < examples:
        label = len(labels) % 2
        # A repeated text leaves the number of texts, and so the next label, as it was.
        labels.setdefault(writer.review(label), label)
    return writer.shuffled([CorpusExample(text, label) for text, label in labels.items()])


class _Writer:
    """Expands a grammar into reviews.

    All chance comes from ``Random.random``, the one method whose sequence for a given
    seed Python promises to keep.
    """

    def __init__(self, grammar: Grammar, seed: int) -> None:
        self._grammar = grammar
        self._random = random.Random(seed).random
        self._used: list[object] = []  # table entries that the current review has drawn

    def review(self, label: int) -> str:
        """Return a review that comes down to the label."""
        self._used = []
        plan = self._draw(self._grammar.plans)
        return " ".join(_sentence(self._clause(step, label)) for step in plan)

    def shuffled(self, examples: list[CorpusExample]) -> list[CorpusExample]:
        """Return the examples in random order."""
        left = list(examples)
        return [left.pop(int(self._random() * len(left))) for _ in examples]

    def _clause(self, step: Step, label: int) -> str:
        grammar = self._grammar
        opposite = 1 - label
        match step:
            case "scene":
                return self._draw(grammar.scenes)
            case "for":
                return self._opinion(label)
            case "against":
                return self._opinion(opposite)
            case "concede":
                return self._contrast(opposite, label)
            case "regret":
                return self._contrast(label, opposite)
            case "verdict":
                return self._draw(grammar.verdicts)[label]
            case "turn":
                verdict = self._draw(grammar.verdicts)[label]
                return self._draw(grammar.turns).format(verdict=verdict)

    def _contrast(self, first: int, second: int) -> str:
        """Return two opinions of the given polarities, set against each other."""
        frame = self._draw(self._grammar.contrasts)
        return frame.format(first=self._opinion(first), second=self._opinion(second))

    def _opinion(self, polarity: int) -> str:
        """Return an opinion of one aspect: a statement, or the denial of its opposite."""
        grammar = self._grammar
        if self._random() < _DENIED:
            frame = self._draw(grammar.denials)[polarity]
            polarity = 1 - polarity
        else:
            frame = self._draw(grammar.statements)
        return frame.format(
            aspect=self._draw(grammar.aspects),
            intensifier=self._draw(grammar.intensifiers),
            opinion=self._draw(grammar.opinions)[polarity],
        )

    def _draw(self, table: Sequence[T]) -> T:
        """Return a random entry of the table that this review has not drawn before."""
        fresh = [entry for entry in table if entry not in self._used]
        entry = fresh[int(self._random() * len(fresh))]
        self._used.append(entry)
        return entry


def _sentence(clause: str) -> str:
    return clause[0].upper() + clause[1:] + "."

"""Two methods on the same test examples: how far apart they are, and whether that can be told.

Everything here is about one test set. What another seed would give, only other seeds can show.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from enum import StrEnum

from scipy.stats import binomtest

from peftcore.results.records import Record

SIGNIFICANCE = 0.05
"""Below this p, two accuracies are told apart."""

_NORMAL_95 = 1.959963984540054


class Standing(StrEnum):
    """Where one method's accuracy stands against another's."""

    ABOVE = "above"
    BELOW = "below"
    OPEN = "can't be told apart"
    UNTESTED = "untested"


@dataclass(frozen=True, kw_only=True)
class PairedSeed:
    """Two methods' accuracy with one seed.

    Attributes:
        seed: the seed.
        points: accuracy of the first less that of the second, in percentage points.
        discordant: how many examples only the first, and only the second, gets right; ``None``
            where the predictions were not kept.
        examples: how many examples both answered; ``None`` where the predictions were not kept.
    """

    seed: int
    points: float
    discordant: tuple[int, int] | None = None
    examples: int | None = None

    @property
    def p_value(self) -> float | None:
        """The exact McNemar test: two-sided binomial on the examples that one of them gets right.

        McNemar, "Note on the sampling error of the difference between correlated proportions",
        Psychometrika 12 (1947).
        """
        if self.discordant is None:
            return None
        first, second = self.discordant
        if first + second == 0:
            return 1.0
        return float(binomtest(first, first + second, 0.5).pvalue)

    @property
    def interval_points(self) -> tuple[float, float] | None:
        """A 95% interval of the difference in points, for this seed's two models.

        Wald's interval with half an example added to each cell (Agresti and Min, Statistics in
        Medicine 24, 2005), so that no discordant example does not mean no uncertainty.
        """
        if self.discordant is None or self.examples is None:
            return None
        first, second = self.discordant
        total = self.examples + 2
        centre = (first - second) / total
        variance = (first + second + 1 - (first - second) ** 2 / total) / total**2
        half = _NORMAL_95 * math.sqrt(variance)
        return 100 * (centre - half), 100 * (centre + half)


@dataclass(frozen=True, kw_only=True)
class PairedAccuracy:
    """Two methods' accuracy over the seeds that both finished; there is at least one."""

    seeds: tuple[PairedSeed, ...]

    @property
    def mean_points(self) -> float:
        """The mean difference over seeds, in percentage points."""
        return sum(seed.points for seed in self.seeds) / len(self.seeds)

    @property
    def range_points(self) -> tuple[float, float]:
        """The smallest and the largest difference of a seed, in percentage points."""
        points = [seed.points for seed in self.seeds]
        return min(points), max(points)

    @property
    def changes_sign(self) -> bool:
        """Whether neither method is ahead with every seed."""
        low, high = self.range_points
        return low < 0 < high

    @property
    def largest_p_value(self) -> float | None:
        """The p of the seed that tells the two apart least; ``None`` where any was not tested."""
        values = [seed.p_value for seed in self.seeds]
        known = [value for value in values if value is not None]
        return max(known) if len(known) == len(values) else None

    @property
    def standing(self) -> Standing:
        """Where the first stands: told apart only if McNemar says so with every seed, one way."""
        p_value = self.largest_p_value
        if p_value is None:
            return Standing.UNTESTED
        low, high = self.range_points
        if p_value < SIGNIFICANCE and low > 0:
            return Standing.ABOVE
        if p_value < SIGNIFICANCE and high < 0:
            return Standing.BELOW
        return Standing.OPEN


def pair(first: Sequence[Record], second: Sequence[Record]) -> PairedAccuracy | None:
    """Pair the finished trials of two methods by seed.

    Args:
        first: finished trials with an accuracy, one a seed.
        second: the same of the other method.

    Returns:
        The pairs in order of their seeds; ``None`` if no seed is in both.
    """
    others = {record.seed: record for record in second}
    seeds = [
        _pair_of_seed(record, others[record.seed])
        for record in sorted(first, key=lambda record: record.seed)
        if record.seed in others
    ]
    return PairedAccuracy(seeds=tuple(seeds)) if seeds else None


def _pair_of_seed(first: Record, second: Record) -> PairedSeed:
    points = 100 * (_accuracy(first) - _accuracy(second))
    ours, theirs = _right(first), _right(second)
    if ours is None or theirs is None or first.labels != second.labels:
        return PairedSeed(seed=first.seed, points=points)
    only_first = sum(a and not b for a, b in zip(ours, theirs, strict=True))
    only_second = sum(b and not a for a, b in zip(ours, theirs, strict=True))
    return PairedSeed(
        seed=first.seed,
        points=points,
        discordant=(only_first, only_second),
        examples=len(ours),
    )


def _accuracy(record: Record) -> float:
    if record.measurement is None or record.measurement.accuracy is None:
        raise ValueError(f"{record.id} has no accuracy to be paired")
    return record.measurement.accuracy


def _right(record: Record) -> list[bool] | None:
    """Return which examples were predicted right; ``None`` where that was not kept whole."""
    if record.predictions is None or record.labels is None:
        return None
    if not record.labels or len(record.predictions) != len(record.labels):
        return None
    return [a == b for a, b in zip(record.predictions, record.labels, strict=True)]

"""The statistics of a report computed in a second way, which shares no code with the first.

Counts are whole numbers here and sums of squares fractions of them, exact to the last digit; tests
and intervals that scipy has are scipy's; what is solved by Newton's method there, by bisection
here. The methods and their sources are those of :mod:`peftcore.statistics`.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from fractions import Fraction

import numpy as np
from numpy.typing import NDArray
from scipy import optimize, special, stats

Answers = NDArray[np.int64]
"""Seeds × examples: 1 where right and 0 where wrong, or the difference of two such."""


@dataclass(frozen=True)
class Squares:
    """The mean squares of a two-way table, in squared points of accuracy."""

    mean: float
    seeds: int
    examples: int
    of_seeds: float
    of_examples: float
    of_rest: float


def squares(values: Answers) -> Squares:
    """Return mean squares from the sums of rows, of columns and of all, in whole numbers."""
    s, n = values.shape
    rows = [int(total) for total in values.sum(axis=1)]
    columns = [int(total) for total in values.sum(axis=0)]
    correction = Fraction(sum(rows) ** 2, s * n)
    total = Fraction(int((values * values).sum())) - correction
    between_seeds = Fraction(sum(row * row for row in rows), n) - correction
    between_examples = Fraction(sum(column * column for column in columns), s) - correction
    rest = total - between_seeds - between_examples
    return Squares(
        mean=float(100 * Fraction(sum(rows), s * n)),
        seeds=s,
        examples=n,
        of_seeds=float(10_000 * between_seeds / (s - 1)),
        of_examples=float(10_000 * between_examples / (n - 1)) if n > 1 else 0.0,
        of_rest=float(10_000 * rest / ((s - 1) * (n - 1))) if n > 1 else 0.0,
    )


@dataclass(frozen=True)
class Prior:
    """What the variances over seeds of several methods have in common."""

    variance: float
    degrees: float


def common_variance(means_by_seed: Sequence[Sequence[float]]) -> Prior | None:
    """Return Smyth's prior of variances over seeds, no heavier than one more seed.

    Its degrees of freedom solve an equation in the trigamma function, here by bisection.
    """
    several = [np.asarray(means, dtype=np.float64) for means in means_by_seed if len(means) > 1]
    variances = np.array([means.var(ddof=1) for means in several])
    degrees = np.array([len(means) - 1.0 for means in several])
    if len(several) < 3 or np.median(variances) <= 0:
        return None
    logs = np.log(np.maximum(variances, np.median(variances) / 100_000))
    centred = logs - special.digamma(degrees / 2) + np.log(degrees / 2)
    excess = centred.var(ddof=1) - special.polygamma(1, degrees / 2).mean()
    if excess <= 0:
        pooled = float((degrees * variances).sum() / degrees.sum())
        return Prior(pooled, 1.0)
    half = float(
        optimize.brentq(lambda y: math.log(special.polygamma(1, y) / excess), 1e-9, 1e9, xtol=1e-14)
    )
    level = math.exp(float(centred.mean()) + float(special.digamma(half)) - math.log(half))
    return Prior(level, min(2 * half, 1.0))


@dataclass(frozen=True)
class Estimate:
    """A mean with its standard error and degrees of freedom, in points."""

    mean: float
    error: float
    degrees: float

    def interval(self) -> tuple[float, float]:
        """Return the 95% interval."""
        if self.error == 0:
            return self.mean, self.mean
        low, high = stats.t.interval(0.95, self.degrees, loc=self.mean, scale=self.error)
        return float(low), float(high)

    def p(self) -> float:
        """Return the p of there being no difference."""
        return 2 * self._beyond(abs(self.mean))

    def equivalence_p(self, margin: float) -> float:
        """Return the larger p of the two one-sided tests."""
        return max(self._beyond(margin - self.mean), self._beyond(margin + self.mean))

    def _beyond(self, distance: float) -> float:
        if self.error == 0:
            return 0.0 if distance > 0 else 0.5 if distance == 0 else 1.0
        return float(1 - special.stdtr(self.degrees, distance / self.error))


def on_this_test_set(found: Squares, prior: Prior | None) -> Estimate:
    """Return the mean over other seeds on the same examples."""
    variance, degrees = _of_seeds(found, prior)
    return Estimate(found.mean, math.sqrt(variance / found.seeds), degrees)


def on_texts_like_these(found: Squares, prior: Prior | None) -> Estimate:
    """Return the mean over other seeds and other examples, with Satterthwaite's degrees."""
    variance, degrees = _of_seeds(found, prior)
    n, s = found.examples, found.seeds
    terms = [(variance * n, degrees)]
    if found.of_examples > found.of_rest:
        terms += [
            (found.of_examples, n - 1.0),
            (-found.of_rest, (s - 1.0) * (n - 1.0)),
        ]
    total = sum(square for square, _ in terms)
    below = sum(square**2 / free for square, free in terms)
    error = max(math.sqrt(total / (s * n)), 200 / n)
    return Estimate(found.mean, error, total**2 / below if below else (s - 1.0) * (n - 1.0))


def _of_seeds(found: Squares, prior: Prior | None) -> tuple[float, float]:
    own, degrees = found.of_seeds / found.examples, found.seeds - 1.0
    if prior is None:
        # Equal counts of different answers are a coincidence.
        return (own if own > 0 else found.of_rest / found.examples), degrees
    weights, values = [degrees, prior.degrees], [own, prior.variance]
    return max(own, float(np.average(values, weights=weights))), degrees + prior.degrees


def holm(p_values: Sequence[float]) -> list[float]:
    """Return each p corrected: the largest of (m − k) p over all that are no larger than it."""
    ordered = sorted(p_values)
    steps = [min(1.0, (len(ordered) - k) * p) for k, p in enumerate(ordered)]
    return [
        max(step for p, step in zip(ordered, steps, strict=True) if p <= one) for one in p_values
    ]


def mcnemar(only_first: int, only_second: int) -> float:
    """Return the exact two-sided p of the discordant examples: twice the smaller tail."""
    count, least = only_first + only_second, min(only_first, only_second)
    return min(1.0, 2 * float(stats.binom.cdf(least, count, 0.5)))


def wilson(right: int, examples: int) -> tuple[float, float]:
    """Return scipy's interval of one model's accuracy, in percent."""
    found = stats.binomtest(right, examples).proportion_ci(0.95, method="wilson")
    return 100 * float(found.low), 100 * float(found.high)


def agresti_min(only_first: int, only_second: int, examples: int) -> tuple[float, float]:
    """Return the interval of two models' difference in points, from a table made up by a half."""
    shares = np.array([only_first + 0.5, only_second + 0.5]) / (examples + 2)
    difference = shares[0] - shares[1]
    error = math.sqrt((shares.sum() - difference**2) / (examples + 2))
    low, high = stats.norm.interval(0.95, loc=difference, scale=error)
    return 100 * float(low), 100 * float(high)


def sure_by_chance(right: Sequence[int], seeds: int, least: int) -> float:
    """Return how many examples would flip one way by chance, by counting ways to deal models.

    Args:
        right: of each example, how many of both methods' models are right.
        seeds: how many models each method has.
        least: how many of one must be right, and of the other wrong.
    """
    total = Fraction(0)
    for count in right:
        for ours in range(least, seeds + 1):
            theirs = count - ours
            if 0 <= theirs <= seeds - least:
                ways = math.comb(seeds, ours) * math.comb(seeds, theirs)
                total += Fraction(ways, math.comb(2 * seeds, count))
    return float(total)


def kappa(first: Sequence[int], second: Sequence[int]) -> float | None:
    """Return Cohen's kappa of two models' answers from their table of counts."""
    size = max(*first, *second) + 1
    counts = np.bincount(np.asarray(first) * size + np.asarray(second), minlength=size * size)
    table = counts.reshape(size, size) / len(first)
    chance = float(table.sum(axis=0) @ table.sum(axis=1))
    return None if math.isclose(chance, 1) else (float(np.trace(table)) - chance) / (1 - chance)


def by_class(predictions: Sequence[int], labels: Sequence[int], classes: int) -> list[float]:
    """Return macro-F1 in percent, Matthews' correlation, and the recall of each class in percent.

    All from one table of counts, rows what is right and columns what was answered; the recall of a
    class that is not there is not a number. One that is neither there nor answered is not in
    macro-F1.
    """
    cells = np.asarray(labels) * classes + np.asarray(predictions)
    counts = np.bincount(cells, minlength=classes * classes).reshape(classes, classes)
    of_class, answered, hit = counts.sum(axis=1), counts.sum(axis=0), np.diag(counts)
    either = of_class + answered
    f1 = 2 * hit[either > 0] / either[either > 0]
    n, right = int(counts.sum()), int(hit.sum())
    covariance = right * n - int(of_class @ answered)
    spreads = (n**2 - int(answered @ answered)) * (n**2 - int(of_class @ of_class))
    matthews = covariance / math.sqrt(spreads) if spreads else 0.0
    recalls = np.divide(100 * hit, of_class, out=np.full(classes, np.nan), where=of_class > 0)
    return [100 * float(f1.mean()), matthews, *(float(one) for one in recalls)]

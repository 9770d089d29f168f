"""Variance components of seeds crossed with test examples, and intervals from them.

Every seed of a method answers the same test examples: seeds and examples are *crossed*. The value
of seed i on example j is y[i, j] = mean + seed[i] + example[j] + rest[i, j], with random effects
of mean zero. y is 0 or 1 (wrong or right) for one method, and −1, 0 or 1 for the paired difference
of two, whose seeds and examples are matched so that what they share drops out.

With s seeds and n examples, the mean squares of the two-way analysis of variance have these
expectations (Searle, Casella and McCulloch, "Variance Components", Wiley 1992, chapter 4)::

    seeds       n Var(seed)    + Var(rest)        s − 1 degrees of freedom
    examples    s Var(example) + Var(rest)        n − 1
    rest                         Var(rest)        (s − 1)(n − 1)

Two questions are asked of the grand mean, and both are named:

* *On this test set* the examples are given and seeds are drawn. The squared standard error is
  MS(seeds) / (s n), the variance of the seeds' means over s: Student's t with s − 1 degrees.
* *On texts like these* both are drawn. The squared standard error is
  (MS(seeds) + MS(examples) − MS(rest)) / (s n), a sum of mean squares, whose degrees of freedom
  are Satterthwaite's ("An approximate distribution of estimates of variance components",
  Biometrics Bulletin 2, 1946).

Few seeds say little of their own variance. Where several methods were measured,
:func:`fit_prior` lends each the others' (Smyth 2004).
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from enum import StrEnum

import numpy as np
from numpy.typing import ArrayLike
from scipy.special import polygamma, psi
from scipy.stats import norm
from scipy.stats import t as student

CONFIDENCE = 0.95
"""Of every interval, unless another is asked for."""

FEWEST_VARIANCES = 3
"""Under this many, how far variances differ can't be told, and none lends to another."""


MOST_PRIOR_DEGREES = 1.0
"""What other methods tell of a variance over seeds weighs no more than one more seed would."""


class Estimand(StrEnum):
    """What an interval is about."""

    TEST_SET = "on this test set"
    TEXTS = "on texts like these"


@dataclass(frozen=True, kw_only=True)
class Mean:
    """An estimated mean whose error has Student's distribution.

    Attributes:
        estimate: the mean.
        standard_error: in the same unit.
        degrees: of freedom; may be infinite.
    """

    estimate: float
    standard_error: float
    degrees: float

    def interval(self, confidence: float = CONFIDENCE) -> tuple[float, float]:
        """Return the two-sided interval."""
        half = float(student.ppf((1 + confidence) / 2, self.degrees)) * self.standard_error
        return self.estimate - half, self.estimate + half

    def p_value(self) -> float:
        """Return the p of the two-sided test that the mean is zero."""
        return min(1.0, 2 * self._tail(abs(self.estimate)))

    def equivalence_p(self, margin: float) -> float:
        """Return the p of the two one-sided tests that the mean is within ±``margin`` (TOST).

        The larger of the two one-sided p; under 0.05 just where the 90% interval is within the
        margin. Schuirmann, "A comparison of the two one-sided tests procedure and the power
        approach", Journal of Pharmacokinetics and Biopharmaceutics 15 (1987).
        """
        return self._tail(margin - abs(self.estimate))

    def p_above(self, threshold: float) -> float:
        """Return the p of the one-sided test that the mean is ``threshold`` or less."""
        return self._tail(self.estimate - threshold)

    def upper(self, confidence: float = CONFIDENCE) -> float:
        """Return the one-sided bound that the mean is below with this confidence."""
        return self.estimate + float(student.ppf(confidence, self.degrees)) * self.standard_error

    def _tail(self, distance: float) -> float:
        """Return the chance of an error larger than ``distance``, one-sided."""
        if self.standard_error == 0:
            # No error was seen at all: no test, but no doubt either.
            return 0.0 if distance > 0 else 1.0
        return float(student.sf(distance / self.standard_error, self.degrees))


@dataclass(frozen=True, kw_only=True)
class Prior:
    """What the variances over seeds of several methods tell of any one.

    Attributes:
        variance: the one that single variances are drawn towards.
        degrees: how much it weighs, in degrees of freedom: as many more seeds.
    """

    variance: float
    degrees: float

    def shrink(self, variance: float, degrees: float) -> tuple[float, float]:
        """Return a variance drawn towards the prior one, and its degrees of freedom.

        (d0 s0² + d s²) / (d0 + d) with d0 + d degrees: Smyth, "Linear models and empirical Bayes
        methods for assessing differential expression in microarray experiments", Statistical
        Applications in Genetics and Molecular Biology 3 (2004). It is never less than s² itself: a
        method that differs more between seeds than others keeps its own variance.
        """
        total = self.degrees + degrees
        drawn = (self.degrees * self.variance + degrees * variance) / total
        return max(variance, drawn), total


@dataclass(frozen=True, kw_only=True)
class Components:
    """The analysis of variance of values by seed and example.

    Attributes:
        mean: of all values.
        seeds: how many.
        examples: how many.
        seed_square: mean square of seeds.
        example_square: mean square of examples.
        rest_square: mean square of what neither explains; zero with a single seed.
        unit: what a right answer counts.
    """

    mean: float
    seeds: int
    examples: int
    seed_square: float
    example_square: float
    rest_square: float
    unit: float = 1.0

    @property
    def variance_of_seeds(self) -> float:
        """The variance of the seeds' means on this test set: what :func:`fit_prior` takes."""
        return self.seed_square / self.examples

    def on_this_test_set(self, prior: Prior | None = None) -> Mean | None:
        """Return the mean over other seeds on these examples; ``None`` with a single seed."""
        if self.seeds < 2:
            return None
        variance, degrees = self._shrunk(prior)
        return Mean(
            estimate=self.mean,
            standard_error=math.sqrt(variance / self.seeds),
            degrees=degrees,
        )

    def on_texts_like_these(self, prior: Prior | None = None) -> Mean | None:
        """Return the mean over other seeds and other examples; ``None`` with a single seed.

        The part of examples, MS(examples) − MS(rest), is set to zero where chance makes it
        negative. The standard error is no less than two answers' worth over n: n examples without
        an error exclude an error rate above about 4 / n, not above 0 (the rule of three: Hanley
        and Lippman-Hand, "If nothing goes wrong, is everything all right?", JAMA 249, 1983).
        """
        if self.seeds < 2 or self.examples < 2:
            return None
        variance, degrees = self._shrunk(prior)
        seeds = variance * self.examples
        rest_degrees = (self.seeds - 1) * (self.examples - 1)
        examples, rest = self.example_square, self.rest_square
        total = seeds + max(0.0, examples - rest)
        squares = seeds**2 / degrees
        if examples > rest:
            squares += examples**2 / (self.examples - 1) + rest**2 / rest_degrees
        error = math.sqrt(total / (self.seeds * self.examples))
        return Mean(
            estimate=self.mean,
            standard_error=max(error, 2 * self.unit / self.examples),
            degrees=total**2 / squares if squares else float(rest_degrees),
        )

    def _shrunk(self, prior: Prior | None) -> tuple[float, float]:
        """Return the variance of the seeds' means and its degrees of freedom."""
        variance, degrees = self.variance_of_seeds, float(self.seeds - 1)
        if prior is not None:
            return prior.shrink(variance, degrees)
        if variance == 0 and self.rest_square > 0:
            # Equal counts of different right answers are a coincidence: in expectation, seeds
            # differ by no less than the rest makes them.
            return self.rest_square / self.examples, degrees
        return variance, degrees


def components(values: ArrayLike, *, unit: float = 1.0) -> Components:
    """Return the two-way analysis of variance of values, one a seed and example.

    Args:
        values: seeds × examples; 0 or 1 for one method, −1, 0 or 1 for a difference of two.
        unit: what a value of 1 counts in the result: 100 for percentage points.

    Raises:
        ValueError: there is no seed or no example.
    """
    table = unit * np.asarray(values, dtype=np.float64)
    if table.ndim != 2 or not table.size:
        raise ValueError(f"expected seeds × examples, got an array of shape {table.shape}")
    seeds, examples = table.shape
    mean = float(table.mean())
    of_seeds, of_examples = table.mean(axis=1) - mean, table.mean(axis=0) - mean
    seed_sum = examples * float(of_seeds @ of_seeds)
    example_sum = seeds * float(of_examples @ of_examples)
    centred = (table - mean).ravel()
    rest_sum = max(0.0, float(centred @ centred) - seed_sum - example_sum)
    return Components(
        mean=mean,
        seeds=seeds,
        examples=examples,
        seed_square=_over(seed_sum, seeds - 1),
        example_square=_over(example_sum, examples - 1),
        rest_square=_over(rest_sum, (seeds - 1) * (examples - 1)),
        unit=unit,
    )


def mean_of_seeds(means: Sequence[float], prior: Prior | None = None) -> Mean | None:
    """Return the mean over seeds on this test set from the seeds' own means alone.

    For where single answers were not kept. ``None`` with a single seed, or where the means are all
    alike and nothing else tells of their spread: accuracies come in steps, so that a few may agree
    by chance.
    """
    if len(means) < 2:
        return None
    # Not the variance of equal numbers, which rounding may leave above zero by a hair.
    variance = float(np.var(means, ddof=1)) if np.ptp(means) > 1e-9 else 0.0
    degrees = float(len(means) - 1)
    if prior is not None:
        variance, degrees = prior.shrink(variance, degrees)
    if variance == 0:
        return None
    return Mean(
        estimate=float(np.mean(means)),
        standard_error=math.sqrt(variance / len(means)),
        degrees=degrees,
    )


def fit_prior(
    variances: Sequence[float], degrees: Sequence[float], *, most: float = MOST_PRIOR_DEGREES
) -> Prior | None:
    """Return what variances over seeds have in common, or ``None`` where that can't be told.

    Smyth (2004), estimation of the hyperparameters: the mean and the variance of log s², beyond
    what their degrees of freedom explain, matched to those of a scaled F distribution. His weight
    is infinite where variances differ no more than chance makes them, which of a handful of methods
    is hardly ever excluded: a method with three times the spread of others would be covered 80% of
    the time. So the weight is no more than ``most``.

    Args:
        variances: of each method's (or each difference's) means over seeds.
        degrees: of freedom of each, seeds less one.
        most: the largest weight of the prior, in degrees of freedom.

    Returns:
        The prior; ``None`` of fewer than three variances or if most of them are zero.
    """
    known = np.asarray([v for v, d in zip(variances, degrees, strict=True) if d > 0])
    free = np.asarray([d for d in degrees if d > 0])
    if len(known) < FEWEST_VARIANCES or np.median(known) <= 0:
        return None
    # A variance of zero by coincidence must not decide the mean of logarithms (limma does so too).
    logs = np.log(np.maximum(known, 1e-5 * np.median(known)))
    centred = logs - psi(free / 2) + np.log(free / 2)
    excess = float(np.var(centred, ddof=1) - np.mean(polygamma(1, free / 2)))
    if excess <= 0:
        return Prior(variance=float(free @ known / free.sum()), degrees=most)
    prior = 2 * inverse_trigamma(excess)
    variance = math.exp(float(centred.mean()) + float(psi(prior / 2)) - math.log(prior / 2))
    return Prior(variance=variance, degrees=min(prior, most))


def inverse_trigamma(value: float) -> float:
    """Return y > 0 with trigamma(y) = value, by Newton's method (Smyth 2004, appendix)."""
    if value > 1e7:
        return 1 / math.sqrt(value)
    if value < 1e-6:
        return 1 / value
    y = 0.5 + 1 / value
    for _ in range(50):
        trigamma = float(polygamma(1, y))
        step = trigamma * (1 - trigamma / value) / float(polygamma(2, y))
        y += step
        if -step / y < 1e-8:
            break
    return y


def wilson(right: int, examples: int, confidence: float = CONFIDENCE) -> tuple[float, float]:
    """Return the interval of a share of examples that one trained model gets right, as shares.

    It is about other examples and this one model; of other seeds it says nothing. Wilson,
    "Probable inference, the law of succession, and statistical inference", Journal of the American
    Statistical Association 22 (1927).
    """
    if not 0 <= right <= examples or not examples:
        raise ValueError(f"{right} of {examples} is no share of examples")
    z = float(norm.ppf((1 + confidence) / 2))
    share = right / examples
    scale = 1 + z**2 / examples
    centre = (share + z**2 / (2 * examples)) / scale
    half = z * math.sqrt(share * (1 - share) / examples + z**2 / (4 * examples**2)) / scale
    # At the ends rounding would leave 0 or 1 by a hair.
    low = 0.0 if right == 0 else centre - half
    return low, 1.0 if right == examples else centre + half


def _over(total: float, degrees: int) -> float:
    return total / degrees if degrees else 0.0

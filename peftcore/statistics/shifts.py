"""Whether one set of runs is worse than another: two groups of seeds, and what both tell of spread.

The question is that of a gate: would other seeds, on this very test set, give the same? Each run
counts as one number, so what a seed draws (sample, weights, order, dropout) is all the chance there
is. The two groups are taken for independent even where they share seeds. A seed in both makes two
numbers alike, if anything (the accuracies of two engines over the same seeds correlate by 0.0 to
0.65 in ``reports/engine``), so that the difference is then known better than is claimed: a test
that pairs would gain little from it and lose most of its degrees of freedom.

The variance is that within both groups: of equal spread if nothing changed, which is what is
tested. Methods lend each other what few seeds don't tell (:func:`moderated`).
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, replace
from statistics import fmean, median

import numpy as np
from numpy.typing import NDArray
from scipy.special import stdtrit

from peftcore.statistics.variance import FEWEST_VARIANCES, Mean, fit_prior

FEW_DEGREES = 8
"""With fewer degrees of freedom, three and five seeds, runs of two modes may all show one."""

POWER = 0.8
"""How likely a verdict should be with the number of seeds that is said to settle it."""

MOST_SEEDS = 200
"""No more seeds than this are ever proposed."""

_ANY_WEIGHT = 1e6


@dataclass(frozen=True, kw_only=True)
class Spread:
    """The variance over seeds, and how well it is known.

    Attributes:
        variance: of one run.
        degrees: of freedom.
    """

    variance: float
    degrees: float


def spread_within(*groups: Sequence[float], least: float = 0.0) -> Spread | None:
    """Return the variance over seeds within groups; ``None`` where no group has two.

    Args:
        groups: one number a run.
        least: the smallest standard deviation that is believed: numbers that come in steps may
            all agree by chance.
    """
    degrees = sum(len(group) - 1 for group in groups if group)
    if degrees < 1:
        return None
    squares = sum((value - fmean(group)) ** 2 for group in groups if group for value in group)
    return Spread(variance=max(squares / degrees, least**2), degrees=float(degrees))


def moderated(spreads: Sequence[Spread]) -> list[Spread]:
    """Return each variance drawn towards what all have in common, in the same order.

    The empirical Bayes of Smyth (2004) as in :func:`peftcore.statistics.variance.fit_prior`, with
    restraints that keep false alarms rare where one method is unlike the others: what others tell
    weighs no more than a method's own seeds do, and no variance is made smaller than it was seen.
    With fewer than :data:`FEW_DEGREES` degrees of freedom, none is smaller than the median of all
    either: a few runs of a method that ends in one of two places may all have ended in the same.

    Fewer than three variances are left as they are.
    """
    prior = fit_prior(
        [one.variance for one in spreads], [one.degrees for one in spreads], most=_ANY_WEIGHT
    )
    if prior is None:
        return list(spreads)
    usual = median(one.variance for one in spreads)
    drawn = []
    for one in spreads:
        own = replace(prior, degrees=min(prior.degrees, one.degrees))
        variance, degrees = own.shrink(one.variance, one.degrees)
        if one.degrees < FEW_DEGREES and len(spreads) >= FEWEST_VARIANCES:
            variance = max(variance, usual)
        drawn.append(Spread(variance=variance, degrees=degrees))
    return drawn


def shift(before: Sequence[float], after: Sequence[float], spread: Spread) -> Mean:
    """Return how much larger the mean after is than the one before, over other seeds.

    Args:
        before: one number a run, at least one.
        after: likewise.
        spread: the variance of one run, the same in both.
    """
    return Mean(
        estimate=fmean(after) - fmean(before),
        standard_error=math.sqrt(spread.variance * (1 / len(before) + 1 / len(after))),
        degrees=spread.degrees,
    )


@dataclass(frozen=True, kw_only=True)
class Rule:
    """What decides on a loss.

    Attributes:
        margin: the loss that does not matter.
        drift: the loss that nothing need have caused.
        significance: a loss above the drift is believed below this p.
        confidence: of the one-sided bound that is to exclude a loss above the margin.
    """

    margin: float
    drift: float
    significance: float
    confidence: float


@dataclass(frozen=True, kw_only=True)
class Wanted:
    """How many seeds would settle a comparison.

    Attributes:
        more: further seeds after the change, the baseline as it is; ``None`` where no number
            would do.
        each: of a baseline and a run of as many seeds, if both were made again; ``None`` where
            no number up to :data:`MOST_SEEDS` would do.
    """

    more: int | None
    each: int | None


def seeds_wanted(loss: Mean, spread: Spread, before: int, after: int, rule: Rule) -> Wanted:
    """Return how many seeds would settle a comparison four times in five, were the loss as seen.

    Settled is what ends as a loss that is believed or as one above the margin that is excluded.

    Args:
        loss: as seen, positive where it is worse.
        spread: of one run.
        before: seeds of the baseline.
        after: seeds of the run.
        rule: what decides.
    """

    def fewest(firsts: NDArray[np.int64], seconds: NDArray[np.int64]) -> int | None:
        degrees = spread.degrees + (firsts - before) + (seconds - after)
        error = np.sqrt(spread.variance * (1 / firsts + 1 / seconds))
        # What scipy.stats.t.ppf computes, without its checks of each argument.
        often = stdtrit(degrees, POWER)
        excluded = stdtrit(degrees, rule.confidence)
        believed = -stdtrit(degrees, rule.significance)
        settled = (rule.margin - loss.estimate >= (excluded + often) * error) | (
            loss.estimate - rule.drift >= (believed + often) * error
        )
        return int(seconds[settled.argmax()]) if settled.any() else None

    counts = np.arange(after + 1, MOST_SEEDS + 1)
    both = np.arange(max(before, after) + 1, MOST_SEEDS + 1)
    count = fewest(np.full_like(counts, before), counts) if len(counts) else None
    return Wanted(
        more=None if count is None else count - after,
        each=fewest(both, both) if len(both) else None,
    )

"""How probable it is that an arm is the best, or within a tolerance of it, once all is trained on.

The accuracy that each arm would reach on texts like these, over seeds, is not known: it was seen
with one seed or a few, on a few hundred validation examples, and of some arms only after training
on a part of the data. What is known of it is written down as a hierarchical normal model, and
computed exactly on a grid:

* true accuracies of the arms in contention are normal around a common mean, with a spread whose
  prior is half-Cauchy with a scale of two points (Gelman, "Prior distributions for variance
  parameters in hierarchical models", Bayesian Analysis 1, 2006): of many arms the one that looks
  best is partly the luckiest, and is drawn back towards the others by as much as the data say;
* seen accuracies differ from the true ones by the sampling of examples, whose covariance between
  arms is that of their paired answers; by the seed, whose variance has a scaled inverse chi-squared
  prior (:data:`SEED_POINTS` at 3,000 examples, as the root of 3,000 over how many there were) that
  repeated arms update; and, where an arm stopped early, by what it would yet have gained.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from statistics import fmean, median, stdev

import numpy as np
from numpy.typing import NDArray
from scipy.stats import chi2

from peftcore.choosing.arms import Arm, Run

SEED_POINTS = 0.7
"""Spread of a trained model's accuracy over seeds at :data:`SEED_EXAMPLES`, before any is seen."""
SEED_EXAMPLES = 3000
SEED_RANGE = (0.4, 3.0)
"""No less and no more of it is assumed, in points, however many examples there were."""
SEED_WEIGHT = 4.0
"""What that assumption weighs, in degrees of freedom: as four more repeats."""

GAIN_LEAST = 0.005
"""What a doubling of the examples may bring more or less than expected, at the least."""
GAIN_UNKNOWN = (0.01, 0.02)
"""Mean and spread of what a doubling brings, where nothing was seen of it."""

FEWEST_GAINS = 4
"""Of fewer arms that went on, how far they differ in what they gained tells little of others."""

OUT_OF_CONTENTION = (4.0, 0.03)
"""So many standard errors, and so far, behind the best an arm does not shape what is believed of
those before it, nor they what is believed of it."""

DRAWS = 4000

_SPREADS = np.geomspace(0.0005, 0.4, 20)
_SPREAD_SCALE = 0.02
_SEED_QUANTILES = (0.1, 0.3, 0.5, 0.7, 0.9)
_VAGUE = 0.25
"""Variance of the common mean's prior: it says nothing."""


@dataclass(frozen=True, kw_only=True, eq=False)
class Standing:
    """What is known of one arm.

    Attributes:
        arm: which.
        examples: the largest part of the training set that it was trained on.
        answers: per validation example, the share of seeds that answered right.
        accuracies: of each seed, shares of 1.
        gain: what training on all would add, and
        gain_spread: how unsure that is.
    """

    arm: Arm
    examples: int
    answers: NDArray[np.float64]
    accuracies: tuple[float, ...]
    gain: float = 0.0
    gain_spread: float = 0.0

    @property
    def accuracy(self) -> float:
        """The mean over seeds, a share of 1."""
        return fmean(self.accuracies)


@dataclass(frozen=True, kw_only=True, eq=False)
class Belief:
    """What is believed of the arms' true accuracies.

    Attributes:
        standings: what it rests on.
        draws: draws × arms, shares of 1.
        seed_spread: of one trained model's accuracy over seeds, at the largest size, in shares.
    """

    standings: tuple[Standing, ...]
    draws: NDArray[np.float64]
    seed_spread: float

    def best(self) -> dict[str, float]:
        """Return by arm the probability that it is the best."""
        first = self.draws.argmax(axis=1)
        shares = np.bincount(first, minlength=len(self.standings)) / len(self.draws)
        return self._by_arm(shares)

    def within(self, tolerance: float) -> dict[str, float]:
        """Return by arm the probability that it is no more than ``tolerance`` below the best."""
        top = self.draws.max(axis=1, keepdims=True)
        return self._by_arm((self.draws >= top - tolerance).mean(axis=0))

    def expected(self) -> dict[str, float]:
        """Return by arm its expected accuracy."""
        return self._by_arm(self.draws.mean(axis=0))

    def interval(self, key: str) -> tuple[float, float]:
        """Return the central 95% of what is believed of an arm, shares of 1."""
        place = [one.arm.key for one in self.standings].index(key)
        # The normal distribution knows of no end; an accuracy has two.
        low, high = np.clip(np.quantile(self.draws[:, place], [0.025, 0.975]), 0.0, 1.0)
        return float(low), float(high)

    def _by_arm(self, values: NDArray[np.float64]) -> dict[str, float]:
        return {
            one.arm.key: float(value) for one, value in zip(self.standings, values, strict=True)
        }


def stand(runs: Sequence[Run], end: int) -> list[Standing]:
    """Return where each arm stands that has a trial which ended well.

    An arm that stopped early would yet have gained what those gained that went on from there, by
    their median, as one of them may have fallen by a bad seed (while none has gone on: as much as
    they gained by their last doubling, for each that is left); and more if its own last doubling
    gained more than theirs: half of what it is ahead by at that pace. It would not have lost: those
    that went on looked better than they were, and are the more likely to have lost what was luck.
    How unsure that is, is that half again, or the spread among the others, and while these are few
    that of all arms in their last doubling, without what is chance.

    Args:
        runs: all trials of the race.
        end: the size at which arms are compared.
    """
    by_arm: dict[str, list[Run]] = {}
    for run in runs:
        if run.right is not None:
            by_arm.setdefault(run.arm.key, []).append(run)
    standings = []
    for mine in by_arm.values():
        size = max(run.examples for run in mine)
        last = [run for run in mine if run.examples == size]
        gain, spread = (0.0, 0.0) if size >= end else _gain(mine, list(by_arm.values()), size, end)
        standings.append(
            Standing(
                arm=last[0].arm,
                examples=size,
                answers=np.mean([run.right for run in last if run.right is not None], axis=0),
                accuracies=tuple(float(run.accuracy or 0.0) for run in last),
                gain=gain,
                gain_spread=spread,
            )
        )
    return standings


def _gain(
    mine: Sequence[Run], everybody: Sequence[Sequence[Run]], size: int, end: int
) -> tuple[float, float]:
    """Return what an arm would gain from ``size`` to ``end``, and how unsure that is."""
    doublings = math.log2(end / size)
    paces = [pace for runs in everybody if (pace := _pace(runs, size)) is not None]
    others = [
        _mean_accuracy(runs, end) - _mean_accuracy(runs, size)
        for runs in everybody
        if {size, end} <= {run.examples for run in runs}
    ]
    if not paces and not others:
        return GAIN_UNKNOWN[0] * doublings, GAIN_UNKNOWN[1] * doublings
    own = _pace(mine, size)
    ahead = 0.0 if own is None else (own - median(paces)) * doublings / 2
    common = median(others) if others else median(paces) * doublings
    spread = stdev(others) if len(others) > 1 else 0.0
    if len(others) < FEWEST_GAINS:
        spread = max(spread, _spread_of_paces(everybody, size) * doublings)
    return max(0.0, common + ahead), max(GAIN_LEAST * doublings, spread, abs(ahead))


def _spread_of_paces(everybody: Sequence[Sequence[Run]], size: int) -> float:
    """Return by how much arms differ in what their last doubling brought, beyond what is chance.

    Where some rise steeply that stood still before, and others yet stand still, the next doubling
    may change places as the last one did.
    """
    paces, chances = [], []
    for runs in everybody:
        pace = _pace(runs, size)
        if pace is not None:
            paces.append(pace)
            chances.append(_chance_of_pace(runs, size))
    if len(paces) < 3:
        return 0.0
    return math.sqrt(max(0.0, float(np.var(paces, ddof=1)) - fmean(chances)))


def _chance_of_pace(runs: Sequence[Run], size: int) -> float:
    """Return the variance that examples and seeds alone give what a doubling brought."""
    before = max(run.examples for run in runs if run.examples < size)
    answers = [
        np.mean([run.right for run in runs if run.examples == at and run.right is not None], axis=0)
        for at in (size, before)
    ]
    seeds = _assumed(size) ** 2 + _assumed(before) ** 2
    apart = float(np.var(answers[0] - answers[1])) / len(answers[0])
    return (apart + seeds) / math.log2(size / before) ** 2


def _pace(runs: Sequence[Run], size: int) -> float | None:
    """Return what an arm gained by each of the doublings that led to ``size``; of one step back."""
    sizes = sorted({run.examples for run in runs if run.examples <= size})
    if len(sizes) < 2 or sizes[-1] != size:
        return None
    rise = _mean_accuracy(runs, size) - _mean_accuracy(runs, sizes[-2])
    return rise / math.log2(size / sizes[-2])


def _mean_accuracy(runs: Sequence[Run], size: int) -> float:
    return fmean(float(run.accuracy or 0.0) for run in runs if run.examples == size)


def believe(standings: Sequence[Standing], end: int) -> Belief:
    """Return what is believed of these arms' accuracies once all are trained on ``end`` examples.

    It is the same whenever it is asked: its draws have a seed of their own.
    """
    seen = np.array([one.accuracy + one.gain for one in standings])
    sampling = _sampling(standings)
    variance, degrees = _seed_variance(standings, end)
    # Fewer examples to train on, more of it.
    scales = np.array([_assumed(one.examples) / _assumed(end) for one in standings]) ** 2
    scales /= [len(one.accuracies) for one in standings]
    gains = np.diag([one.gain_spread**2 for one in standings])
    leader = int(seen.argmax())
    error = sampling + gains + np.diag(scales * variance)
    apart = np.diag(error) + error[leader, leader] - 2 * error[leader]
    behind = seen[leader] - seen
    errors, points = OUT_OF_CONTENTION
    contending = ~((behind > errors * np.sqrt(np.maximum(apart, 0))) & (behind > points))
    chosen, others = np.flatnonzero(contending), np.flatnonzero(~contending)
    within = np.ix_(chosen, chosen)
    random = np.random.default_rng(0)
    draws = np.empty((DRAWS, len(standings)))
    draws[:, chosen] = _posterior(
        seen[chosen],
        (sampling + gains)[within],
        scales[chosen],
        [degrees * variance / chi2.ppf(1 - q, degrees) for q in _SEED_QUANTILES],
        random,
    )
    if len(others):
        draws[:, others] = _as_seen(seen, error, draws[:, chosen], chosen, others, random)
    return Belief(standings=tuple(standings), draws=draws, seed_spread=math.sqrt(variance))


def _posterior(
    seen: NDArray[np.float64],
    known: NDArray[np.float64],
    scales: NDArray[np.float64],
    variances: Sequence[float],
    random: np.random.Generator,
) -> NDArray[np.float64]:
    """Return draws of the true accuracies, arms in columns.

    Args:
        seen: accuracies as observed.
        known: covariance of their errors but for the seed's part.
        scales: what the seed's variance is multiplied by, for each arm.
        variances: equally probable values of the seed's variance.
        random: where chance comes from.
    """
    size = len(seen)
    centre = seen.mean()
    states = []
    for spread in _SPREADS:
        # A half-Cauchy density, on a grid of equal steps in the logarithm.
        prior = spread / (1 + (spread / _SPREAD_SCALE) ** 2)
        truth = spread**2 * np.eye(size) + _VAGUE
        for variance in variances:
            total = truth + known + np.diag(scales * variance)
            sign, logarithm = np.linalg.slogdet(total)
            solved = np.linalg.solve(total, seen - centre)
            weight = math.log(prior) - 0.5 * (logarithm + float((seen - centre) @ solved))
            pull = np.linalg.solve(total, truth)
            covariance = truth - truth @ pull
            states.append((weight if sign > 0 else -math.inf, centre + truth @ solved, covariance))
    weights = np.array([weight for weight, *_ in states])
    weights = np.exp(weights - weights.max())
    counts = random.multinomial(DRAWS, weights / weights.sum())
    drawn = [
        random.multivariate_normal(mean, (covariance + covariance.T) / 2, count, method="eigh")
        for count, (_, mean, covariance) in zip(counts, states, strict=True)
        if count
    ]
    return np.concatenate(drawn)


def _as_seen(
    seen: NDArray[np.float64],
    error: NDArray[np.float64],
    drawn: NDArray[np.float64],
    contending: NDArray[np.intp],
    others: NDArray[np.intp],
    random: np.random.Generator,
) -> NDArray[np.float64]:
    """Return draws of the true accuracies of arms out of contention, by nothing but what was seen.

    Their errors are those to be expected where the contending arms' are as they were drawn: all
    answered the same examples.

    Args:
        seen: accuracies of all arms as observed.
        error: covariance of their errors.
        drawn: true accuracies of the arms in contention.
        contending: which these are.
        others: which are not among them.
        random: where chance comes from.
    """
    cross = error[np.ix_(others, contending)]
    shares = np.linalg.solve(error[np.ix_(contending, contending)], cross.T).T
    covariance = error[np.ix_(others, others)] - shares @ cross.T
    rest = random.multivariate_normal(
        np.zeros(len(others)), (covariance + covariance.T) / 2, len(drawn), method="eigh"
    )
    return np.asarray(seen[others] - (seen[contending] - drawn) @ shares.T - rest)


def _sampling(standings: Sequence[Standing]) -> NDArray[np.float64]:
    """Return the covariance of the arms' accuracies over the drawing of validation examples.

    One more right and one more wrong answer are added, which no arm shares: answers without an
    error don't show that there can be none.
    """
    answers = np.stack([one.answers for one in standings])
    examples = answers.shape[1]
    covariance = np.atleast_2d(np.cov(answers, bias=True)) / examples
    return np.asarray(covariance + np.eye(len(standings)) * 0.5 / examples**2)


def _seed_variance(standings: Sequence[Standing], end: int) -> tuple[float, float]:
    """Return the variance over seeds at ``end`` examples, and its degrees of freedom."""
    total, degrees = SEED_WEIGHT * _assumed(end) ** 2, SEED_WEIGHT
    for one in standings:
        if one.examples == end and len(one.accuracies) > 1:
            free = len(one.accuracies) - 1
            total += free * float(np.var(one.accuracies, ddof=1))
            degrees += free
    return total / degrees, degrees


def _assumed(examples: int) -> float:
    """Return the spread over seeds that is assumed with so many training examples, in shares."""
    low, high = SEED_RANGE
    points = SEED_POINTS * math.sqrt(SEED_EXAMPLES / examples)
    return min(max(points, low), high) / 100

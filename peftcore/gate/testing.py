"""Numbers that chance moves: accuracy, time and memory, tested over the seeds of both sides.

All tests are one-sided and of one family: Holm's procedure over the cells of a run bounds the
chance of even one false REGRESSION. A loss is tested whatever its size; a cell passes where its
one-sided bound excludes a loss larger than the metric's margin.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from statistics import fmean

from peftcore.gate.verdicts import Cell, Look, Tested, Verdict
from peftcore.report.metrics import Metric
from peftcore.report.wording import p_value
from peftcore.statistics.comparing import holm
from peftcore.statistics.shifts import (
    Rule,
    Spread,
    Wanted,
    moderated,
    seeds_wanted,
    shift,
    spread_within,
)
from peftcore.statistics.variance import Mean

FALSE_ALARMS = 0.01
"""The chance that a run in which nothing changed has any REGRESSION by a test."""

WRONG_PASSES = 0.05
"""The chance that a cell passes although its loss is as large as the margin."""

_SHOWN_CONFIDENCE = 1 - 2 * WRONG_PASSES
_LEAST_LOG = 0.001
_LEAST_OF_MARGIN = 0.05


@dataclass(frozen=True, kw_only=True)
class Case:
    """One cell to be tested.

    Attributes:
        method: the method's slug, or what stands for all of them.
        metric: what is compared.
        before: by seed, the baseline's numbers, in the metric's unit.
        after: by seed, the run's.
        least: the smallest standard deviation over seeds that is believed, on the tested scale.
        lends: whether the spread is one method's, so that it tells of other methods' too.
    """

    method: str
    metric: Metric
    before: Mapping[int, float]
    after: Mapping[int, float]
    least: float
    lends: bool = True

    @property
    def spread(self) -> Spread | None:
        """The variance within both sides, on the tested scale."""
        return spread_within(*self.scaled, least=self.least)

    @property
    def scaled(self) -> tuple[list[float], list[float]]:
        """Both sides on the tested scale: points, or logarithms of what is stated in percent."""
        sides = list(self.before.values()), list(self.after.values())
        if self.metric.difference == "percent":
            return [math.log(v) for v in sides[0]], [math.log(v) for v in sides[1]]
        return sides

    def on_scale(self, size: float) -> float:
        """Return a loss in points or percent on the tested scale."""
        return math.log1p(size / 100) if self.metric.difference == "percent" else size


def smallest_spread(metric: Metric, examples: int | None) -> float:
    """Return the smallest standard deviation over seeds that is believed of a metric.

    Args:
        metric: the metric.
        examples: how many examples accuracy is a share of, if known: it comes in steps of one.
    """
    if metric.difference == "percent":
        return _LEAST_LOG
    if metric.difference == "units":
        return _LEAST_OF_MARGIN * (metric.margin or 0.0)
    return 100 / examples if examples else 0.01


def judge_cases(cases: Sequence[Case], look: Look) -> list[Cell]:
    """Return the cell of each case, in the same order: one family of tests."""
    spreads = _spreads(cases)
    losses = [
        None if spread is None else _loss(case, spread)
        for case, spread in zip(cases, spreads, strict=True)
    ]
    known = [n for n, loss in enumerate(losses) if loss is not None]
    worse: dict[int, float] = {}
    better: dict[int, float] = {}
    for found, sign in ((worse, 1), (better, -1)):
        p_values = []
        for n in known:
            loss = losses[n]
            assert loss is not None
            drift = cases[n].on_scale(cases[n].metric.drift)
            turned = Mean(
                estimate=sign * loss.estimate,
                standard_error=loss.standard_error,
                degrees=loss.degrees,
            )
            p_values.append(turned.p_above(drift))
        found.update(zip(known, holm(p_values), strict=True))
    return [
        _untested(case)
        if loss is None or spread is None
        else _cell(case, loss, spread, (worse[n], better[n]), len(known), look)
        for n, (case, loss, spread) in enumerate(zip(cases, losses, spreads, strict=True))
    ]


def _spreads(cases: Sequence[Case]) -> list[Spread | None]:
    """Return each case's variance, drawn towards those of the same metric in other methods."""
    found = [case.spread for case in cases]
    for metric in {case.metric.key for case in cases}:
        lending = [
            n
            for n, case in enumerate(cases)
            if case.metric.key == metric and case.lends and found[n] is not None
        ]
        drawn = moderated([one for n in lending if (one := found[n]) is not None])
        for n, spread in zip(lending, drawn, strict=True):
            found[n] = spread
    return found


def _loss(case: Case, spread: Spread) -> Mean:
    before, after = case.scaled
    if case.metric.better == "higher":
        before, after = after, before
    # Both standard errors are of the same two counts, whichever comes first.
    return shift(before, after, spread)


def _cell(
    case: Case,
    loss: Mean,
    spread: Spread,
    p_values: tuple[float, float],
    family: int,
    look: Look,
) -> Cell:
    metric = case.metric
    rule = Rule(
        margin=case.on_scale(metric.margin or 0.0),
        drift=case.on_scale(metric.drift),
        significance=FALSE_ALARMS * look.share / family,
        confidence=1 - WRONG_PASSES * look.share,
    )
    significance = FALSE_ALARMS * look.share
    bound = loss.upper(rule.confidence)
    wanted = None
    if p_values[0] < significance:
        verdict = Verdict.REGRESSION
    elif bound < rule.margin:
        verdict = Verdict.PASS
    else:
        verdict = Verdict.INCONCLUSIVE
        wanted = seeds_wanted(loss, spread, len(case.before), len(case.after), rule)
    tested = Tested(
        change=_stated(case, loss.estimate),
        interval=_ordered(*(_stated(case, end) for end in loss.interval(_SHOWN_CONFIDENCE))),
        unit={"points": "points", "percent": "%"}.get(metric.difference or "", metric.unit),
        p_worse=p_values[0],
        p_better=p_values[1],
        bound=abs(_stated(case, bound)) * (1 if bound > 0 else -1),
        confidence=rule.confidence,
        margin=metric.margin or 0.0,
        significance=significance,
        wanted=wanted,
    )
    return Cell(
        method=case.method,
        metric=metric,
        verdict=verdict,
        words=_words(verdict, p_values[0], wanted),
        before=_mean(case, 0),
        after=_mean(case, 1),
        seeds=(len(case.before), len(case.after)),
        tested=tested,
        better=p_values[1] < significance,
    )


def _untested(case: Case) -> Cell:
    return Cell(
        method=case.method,
        metric=case.metric,
        verdict=Verdict.INCONCLUSIVE,
        words="one seed on each side says nothing about other seeds: make a baseline of several",
        before=_mean(case, 0),
        after=_mean(case, 1),
        seeds=(len(case.before), len(case.after)),
    )


def _words(verdict: Verdict, p_worse: float, wanted: Wanted | None) -> str:
    if verdict is Verdict.REGRESSION:
        return f"worse beyond chance: p {p_value(p_worse)}, corrected for all that was tested"
    if wanted is None:
        return "a loss above the margin is excluded"
    if wanted.more is not None:
        return f"about {wanted.more} more seed{'s' * (wanted.more > 1)} would settle it"
    if wanted.each is not None:
        return f"no number of seeds settles it against this baseline, {wanted.each} on each side do"
    return "no reasonable number of seeds settles it: the loss seen is about as large as the margin"


def _mean(case: Case, side: int) -> float:
    """Return the mean of one side, in the metric's unit: of logarithms, the geometric one."""
    mean = fmean(case.scaled[side])
    return math.exp(mean) if case.metric.difference == "percent" else mean


def _stated(case: Case, loss: float) -> float:
    """Return a loss as a change of the number, in points or percent."""
    change = -loss if case.metric.better == "higher" else loss
    return 100 * math.expm1(change) if case.metric.difference == "percent" else change


def _ordered(first: float, second: float) -> tuple[float, float]:
    return min(first, second), max(first, second)

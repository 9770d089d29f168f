"""The verdicts on a run against a baseline, in the order in which they are decided."""

from __future__ import annotations

import math
from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from dataclasses import replace
from statistics import fmean
from typing import Any

from peftcore.errors import UsageError
from peftcore.gate import comparable
from peftcore.gate.counting import judge_count
from peftcore.gate.evidence import (
    Evidence,
    by_key,
    differences,
    hyperparameters,
    method_hyperparameters,
)
from peftcore.gate.metrics import GATED
from peftcore.gate.testing import Case, judge_cases, smallest_spread
from peftcore.gate.verdicts import ALL_METHODS, Cell, Look, Verdict, Verdicts
from peftcore.methods import find_method, place_of
from peftcore.report.metrics import ACCURACY, TRAIN_LOSS, Metric
from peftcore.results.records import Record
from peftcore.scenarios import floor_of_trial

Side = Iterable[Record | Evidence]


def judge(
    baseline: Side,
    current: Side,
    *,
    methods: Sequence[str] | None = None,
    metrics: Sequence[Metric] = GATED,
    planned: Collection[tuple[str, int]] | None = None,
    look: Look | None = None,
    earlier: Verdicts | None = None,
) -> Verdicts:
    """Return the verdicts on a run.

    Args:
        baseline: its trials, of one scenario; no more than one a method and seed.
        current: likewise, of the run.
        methods: slugs of those to judge; ``None`` for all that either side has.
        metrics: those to judge; a metric that is left out is said to be, as is a recent one that
            the baseline does not have.
        planned: method and seed of each trial that the run should have; ``None`` where only the
            run itself tells, so that a seed that one method has is expected of all.
        look: at which of several looks the run stands; ``None`` for the only one.
        earlier: what the look before said: what it decided stands.

    Raises:
        UsageError: a side can't be meant as one; the message says why.
    """
    before, after = by_key(baseline, "the baseline"), by_key(current, "the run")
    if not before:
        raise UsageError("the baseline holds no trial: make one of a run that ended well")
    (scenario,) = {one.record.scenario for one in before.values()}
    everything = sorted({slug for slug, _ in [*before, *after, *(planned or ())]}, key=place_of)
    if methods is not None and (unknown := [m for m in methods if m not in everything]):
        raise UsageError(f"neither side has a trial of {', '.join(unknown)}: name other methods")
    asked = [slug for slug in everything if methods is None or slug in methods]
    seeds = {slug: [s for m, s in (planned or after) if m == slug] for slug in asked}
    if planned is None:
        grid = sorted({seed for slug in asked for seed in seeds[slug]})
        seeds = dict.fromkeys(asked, grid)
    pairs = {slug: (_of(before, slug), _of(after, slug)) for slug in asked}
    new = [metric for metric in metrics if _is_new(metric, before.values(), after.values())]
    judged = [metric for metric in metrics if metric not in new]
    cells = {
        (cell.method, cell.metric.key): cell
        for cell in _judge(pairs, seeds, judged, look or Look(seeds=0, share=1.0))
    }
    for decided in earlier.cells if earlier else ():
        key = (decided.method, decided.metric.key)
        if key in cells and _stands(decided, cells[key]):
            cells[key] = decided
    sides = [one for slug in asked for one in pairs[slug][0]], list(after.values())
    return Verdicts(
        scenario=scenario,
        cells=tuple(
            cells[slug, metric.key]
            for slug in [*asked, ALL_METHODS]
            for metric in metrics
            if (slug, metric.key) in cells
        ),
        changed={slug: words for slug, pair in pairs.items() if (words := _changed(*pair))},
        environment=tuple(
            [
                *comparable.hardware_changes(*sides),
                *comparable.environment_changes(*sides),
            ]
            if sides[0] and sides[1]
            else ()
        ),
        left_out=tuple(metric.label for metric in GATED if metric not in metrics),
        not_in_baseline=tuple(metric.label for metric in new),
        not_asked_for=tuple(slug for slug in everything if slug not in asked),
        look=look or Look(seeds=max(map(len, seeds.values()), default=0), share=1.0),
    )


def _is_new(metric: Metric, before: Iterable[Evidence], after: Iterable[Evidence]) -> bool:
    """Return whether the baseline was made before records told this metric, and the run has it.

    Where the run is what lacks it, something is missing.
    """
    if not metric.recent:
        return False
    known, now = (any(metric.value(one.record) is not None for one in s) for s in (before, after))
    return now and not known


def _of(side: Mapping[tuple[str, int], Evidence], slug: str) -> list[Evidence]:
    return [one for (method, _), one in sorted(side.items()) if method == slug]


def _judge(
    pairs: Mapping[str, tuple[list[Evidence], list[Evidence]]],
    planned: Mapping[str, Sequence[int]],
    metrics: Sequence[Metric],
    look: Look,
) -> list[Cell]:
    """Return the cells of all methods; those that are tested are of one family."""
    cells: list[Cell] = []
    cases: list[Case] = []
    verdicts_before_tests: list[Cell | None] = []
    for slug, (before, after) in pairs.items():
        found = comparable.faults(before, after, planned[slug])
        changed = {
            # An epoch more costs more, and makes no parameter.
            "fixed": bool(_changed(before, after, method_hyperparameters)),
            "cost": bool(_changed(before, after)),
            # Another recipe is meant to train to another loss; accuracy says what it is good for.
            TRAIN_LOSS.key: bool(_changed(before, after)),
        }
        for metric in _applying(metrics, before, after, whatever=bool(found)):
            values = _values(metric, before), _values(metric, after)
            told_alone = changed.get(metric.counted or metric.key, False)
            reasons = found or [
                *([] if told_alone else comparable.obstacles(metric, before, after)),
                *_gaps(metric, before, values[0], "the baseline"),
                *_gaps(metric, after, values[1], "the run"),
            ]
            if reasons:
                cells.append(_invalid(slug, metric, values, reasons))
            elif metric.counted or told_alone:
                cells.append(judge_count(slug, metric, *values, changed=told_alone))
            else:
                examples = after[0].measured.evaluated_examples
                cases.append(
                    Case(
                        method=slug,
                        metric=metric,
                        before=values[0],
                        after=values[1],
                        least=smallest_spread(metric, examples),
                    )
                )
                verdicts_before_tests.append(_before_tests(slug, metric, before, after, values))
    # What is equal to the bit is decided, and needs no share of the error rate.
    tested = [
        case
        for case, cell in zip(cases, verdicts_before_tests, strict=True)
        if cell is None or cell.verdict is Verdict.FLOOR
    ]
    judged = judge_cases([*tested, *over_all(tested)], look)
    decided = {
        (cell.method, cell.metric.key): cell for cell in verdicts_before_tests if cell is not None
    }
    for cell in judged:
        known = decided.pop((cell.method, cell.metric.key), None)
        cells.append(cell if known is None else replace(known, tested=cell.tested))
    return [*cells, *decided.values()]


def _applying(
    metrics: Sequence[Metric],
    before: Sequence[Evidence],
    after: Sequence[Evidence],
    *,
    whatever: bool,
) -> list[Metric]:
    """Return the metrics that either side has a number of; one at least of what can't be judged."""
    records = [one.record for one in [*before, *after]]
    found = [m for m in metrics if any(m.value(record) is not None for record in records)]
    return found or (list(metrics[:1]) if whatever else [])


def _values(metric: Metric, side: Sequence[Evidence]) -> dict[int, float]:
    """Return the numbers by seed; of a metric that is stated in percent, those above zero."""
    found = {one.seed: metric.value(one.record) for one in side}
    tested_in_percent = metric.margin is not None and metric.difference == "percent"
    return {
        seed: value
        for seed, value in found.items()
        if value is not None and (value > 0 or not tested_in_percent)
    }


def _gaps(
    metric: Metric, side: Sequence[Evidence], values: Mapping[int, float], name: str
) -> list[str]:
    without = [str(one.seed) for one in side if one.seed not in values]
    return [f"{name} has no {metric.label.lower()} with seed {', '.join(without)}"] * bool(without)


def _invalid(
    slug: str,
    metric: Metric,
    values: tuple[Mapping[int, float], Mapping[int, float]],
    reasons: Sequence[str],
) -> Cell:
    before, after = (fmean(side.values()) if side else None for side in values)
    return Cell(
        method=slug,
        metric=metric,
        verdict=Verdict.INVALID,
        words="; ".join(reasons),
        before=before,
        after=after,
        seeds=(len(values[0]), len(values[1])),
    )


def _before_tests(
    slug: str,
    metric: Metric,
    before: Sequence[Evidence],
    after: Sequence[Evidence],
    values: tuple[Mapping[int, float], Mapping[int, float]],
) -> Cell | None:
    """Return the verdict on what was learned that needs no test: FLOOR or PASS (identical)."""
    if metric not in (ACCURACY, TRAIN_LOSS):
        return None
    cell = Cell(
        method=slug,
        metric=metric,
        verdict=Verdict.FLOOR,
        before=fmean(values[0].values()),
        after=fmean(values[1].values()),
        seeds=(len(before), len(after)),
    )
    under = [words for one in after if (words := _under_floor(one.record))]
    if under and metric is ACCURACY:
        return replace(cell, words="; ".join(under))
    known = {one.seed: one for one in before}
    if all(one.seed in known and one.same_result(known[one.seed]) for one in after):
        count = f"{len(after)} seed{'s' * (len(after) > 1)}"
        return replace(
            cell,
            verdict=Verdict.IDENTICAL,
            words=f"predictions, losses and weights are equal to the bit on {count}",
            # Of the seeds that both have, as nothing else is compared.
            before=cell.after,
            seeds=(len(after), len(after)),
        )
    return None


def _under_floor(record: Record) -> str | None:
    """Return in words how a trial misses its floor; ``None`` where it doesn't or has none."""
    measured = record.measurement
    if measured is None or measured.majority_share is None:
        return None
    try:
        method = find_method(record.method)
    except UsageError:
        # Somebody's own, of which this release knows no floor.
        return None
    overrides = record.trial.get("overrides", ())
    floor = floor_of_trial(record.scenario, method, overrides, majority=measured.majority_share)
    if floor is None or measured.accuracy is None or measured.accuracy >= floor:
        return None
    return f"seed {record.seed}: accuracy {measured.accuracy:.4f} is under the floor {floor:.4f}"


def over_all(cases: Sequence[Case]) -> list[Case]:
    """Return, of each metric, the case of the mean over all methods.

    What is wrong with all methods alike (data, loop, optimiser) shows in their mean long before it
    does in any of them. Seeds draw one sample for all methods, so each seed's mean is one number.
    Reference rows are left out.
    """
    found = []
    for metric in {case.metric.key: case.metric for case in cases}.values():
        parts = [c for c in cases if c.metric is metric and not _is_reference(c.method)]
        sides = [_means([(c.before, c.after)[side] for c in parts], metric) for side in (0, 1)]
        if len(parts) > 1 and all(sides):
            least = max(case.least for case in parts) / math.sqrt(len(parts))
            found.append(
                Case(
                    method=ALL_METHODS,
                    metric=metric,
                    before=sides[0],
                    after=sides[1],
                    least=least,
                    lends=False,
                )
            )
    return found


def _means(sides: Sequence[Mapping[int, float]], metric: Metric) -> dict[int, float]:
    """Return, by seed that all have, the mean; of what is stated in percent the geometric one."""
    common = set(sides[0]).intersection(*sides[1:]) if sides else set()
    if metric.difference == "percent":
        return {s: math.exp(fmean(math.log(one[s]) for one in sides)) for s in sorted(common)}
    return {seed: fmean(one[seed] for one in sides) for seed in sorted(common)}


def _is_reference(slug: str) -> bool:
    try:
        return find_method(slug).reference
    except UsageError:
        return False


def _changed(
    before: Sequence[Evidence],
    after: Sequence[Evidence],
    of: Callable[[Record], dict[str, Any]] = hyperparameters,
) -> list[str]:
    """Return in words which hyperparameters differ, across all trials of one method."""
    if not before or not after:
        return []
    reference = of(before[0].record)
    found = [differences(reference, of(one.record)) for one in [*before, *after]]
    return list(dict.fromkeys(words for one in found for words in one))


def _stands(decided: Cell, now: Cell) -> bool:
    """Return whether what an earlier look decided holds against what the present one says.

    Only a test spends a rate of error: what was found equal is looked at again with each seed.
    """
    final = (Verdict.PASS, Verdict.REGRESSION)
    tested = decided.tested is not None and decided.metric.counted is None
    return (
        tested and decided.verdict in final and now.verdict not in (Verdict.INVALID, Verdict.FLOOR)
    )

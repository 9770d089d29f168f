"""Numbers that one seed always gives again: compared to the last unit."""

from __future__ import annotations

from collections.abc import Mapping
from statistics import fmean

from peftcore.gate.verdicts import Cell, Verdict
from peftcore.report.metrics import Metric


def judge_count(
    method: str,
    metric: Metric,
    before: Mapping[int, float],
    after: Mapping[int, float],
    *,
    changed: bool,
) -> Cell:
    """Return the cell of a counted metric.

    Seeds that both sides have are compared. Where there is none, a number that all seeds of a side
    share is compared with the other side's.

    Args:
        method: the method's slug.
        metric: what was counted.
        before: by seed, the baseline's numbers.
        after: by seed, the run's.
        changed: whether the hyperparameters differ, so that the number may: it is told alone.
    """
    common = sorted(set(before) & set(after))
    pairs = [(before[seed], after[seed]) for seed in common]
    if not common and len(set(before.values())) == len(set(after.values())) == 1:
        pairs = [(next(iter(before.values())), next(iter(after.values())))]

    def cell(verdict: Verdict | None, words: str, *, better: bool = False) -> Cell:
        shown = pairs or [(fmean(before.values()), fmean(after.values()))]
        return Cell(
            method=method,
            metric=metric,
            verdict=verdict,
            words=words,
            before=fmean(one for one, _ in shown),
            after=fmean(other for _, other in shown),
            seeds=(len(before), len(after)),
            better=better,
        )

    if changed:
        return cell(None, "told alone, as hyperparameters changed")
    if not pairs:
        return cell(
            Verdict.INCONCLUSIVE,
            "it differs from seed to seed and no seed is in both: one in common would settle it",
        )
    more = [pair for pair in pairs if pair[1] > pair[0]]
    less = [pair for pair in pairs if pair[1] < pair[0]]
    where = f"on {len(pairs)} seed{'s' * (len(pairs) > 1)}" if common else "on every seed"
    if metric.counted == "fixed" and (more or less):
        return cell(
            Verdict.REGRESSION, f"changed {where} although no hyperparameter did: {_size(pairs)}"
        )
    if more:
        return cell(Verdict.REGRESSION, f"more {where}: {_size(more)}")
    if less:
        return cell(Verdict.PASS, f"less {where}: {_size(less)}", better=True)
    return cell(Verdict.IDENTICAL, f"equal {where}")


def _size(pairs: list[tuple[float, float]]) -> str:
    """Return the largest change in words, such as ``+4 (+0.002%)``, in the metric's unit."""
    before, after = max(pairs, key=lambda pair: abs(pair[1] - pair[0]))
    change = after - before
    sign = "+" if change > 0 else "−"
    share = f" ({sign}{abs(100 * change / before):.2g}%)" if before else ""
    return f"{sign}{abs(change):,.6g}{share}"

"""A difference of two accuracies in words and figures, the same wherever a report speaks of one."""

from __future__ import annotations

from peftcore.report.markdown import signed
from peftcore.report.metrics import MISSING
from peftcore.report.pairing import PairedAccuracy, Standing
from peftcore.statistics.comparing import MARGIN_POINTS

ONE_SEED = "one seed says nothing about other seeds"


def bracketed(interval: tuple[float, float] | None) -> str:
    """Return the interval of a difference in points, such as ``[−1.10, +0.50]``; or nothing."""
    if interval is None:
        return ""
    return f"[{signed(interval[0], 2)}, {signed(interval[1], 2)}]"


def between(interval: tuple[float, float] | None) -> str:
    """Return the interval of an accuracy in percent, such as ``[90.08, 92.55]``; or nothing."""
    return "" if interval is None else f"[{interval[0]:.2f}, {interval[1]:.2f}]"


def p_value(value: float | None) -> str:
    """Return a p with the sign before it, such as ``= 0.031`` or ``< 0.001``."""
    if value is None:
        return MISSING
    if value < 0.001:
        return "< 0.001"
    return f"= {value:.2f}" if value >= 0.1 else f"= {value:.3f}"


def count_of_seeds(count: int) -> str:
    """Return ``1 seed``, ``2 seeds`` and so on."""
    return f"{count} seed{'' if count == 1 else 's'}"


def figures(paired: PairedAccuracy) -> str:
    """Return a difference, such as ``−0.30 points [−1.10, +0.50], 5 seeds``."""
    points = f"{signed(paired.mean_points, 2)} points"
    interval = bracketed(paired.interval_points)
    return f"{f'{points} {interval}'.strip()}, {count_of_seeds(len(paired.seeds))}"


def compared(paired: PairedAccuracy, name: str, other: str) -> str:
    """Return what can be told of two methods, such as ``A and B can't be told apart: …``.

    Args:
        paired: the first's accuracy less the second's.
        name: the first, as Markdown.
        other: the second, as Markdown.
    """
    if paired.standing is Standing.UNTESTED:
        return (
            f"Whether {name} and {other} differ can't be tested, as predictions were not kept: "
            f"{figures(paired)}"
        )
    if paired.standing is Standing.OPEN:
        text = f"{name} and {other} can't be told apart: {figures(paired)}"
        interval = paired.interval_points
        if interval is not None and not interval[0] <= 0 <= interval[1]:
            # The interval stands for itself; the decision is one of many.
            text += f" (p {p_value(paired.adjusted_p)} when corrected for all pairs)"
    else:
        text = f"{name} is {paired.standing} {other}: {figures(paired)}"
    if paired.equivalent:
        text += f"; they are equivalent within ±{MARGIN_POINTS:g} points"
    return text

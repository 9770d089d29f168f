"""Which learning rate to try next, and which was the best.

Rates are searched on a logarithmic scale: by random draws, one in each of equally wide parts of a
first range, then where the best lies. Random draws come closer to the best than a grid of the same
size does (Bergstra and Bengio, JMLR 13, 2012), and tell what a smaller search would have found.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from itertools import count

from numpy.random import default_rng

DECADES = 2.0
"""How wide the first range is."""

GRID_DECADES = 0.5
"""Between two neighbours of a grid."""

FIRST_SHARE = 0.6
"""Share of the trials that are spread over the first range."""


@dataclass(frozen=True, kw_only=True)
class Tried:
    """One trial of a search.

    Attributes:
        rate: the learning rate.
        accuracy: a share of 1; ``None`` where the trial did not end well.
    """

    rate: float
    accuracy: float | None


def next_rate(
    tried: Sequence[Tried], *, around: float, trials: int, draw: Sequence[int]
) -> float | None:
    """Return the rate of the next trial, ``None`` once all have been run.

    It depends on nothing but what was tried, so that a search that was cut off goes on as it would
    have. Where the best rate is the lowest or the highest that was tried, the next lies beyond it;
    otherwise between its neighbours.

    Args:
        tried: what was tried so far, in its order.
        around: the middle of the first range.
        trials: how many the search takes in all.
        draw: what tells this search's chance from another's.
    """
    if len(tried) >= trials:
        return None
    random = default_rng([*draw, len(tried)])
    first = math.ceil(FIRST_SHARE * trials)
    if len(tried) < first:
        # Outer parts come when the inner ones are known: a search that is cut off early has those.
        order = sorted(range(first), key=lambda part: abs(part - (first - 1) / 2))
        part = order[len(tried)]
        place = (part + random.random()) / first - 0.5
        return _new(lambda: around * 10 ** (DECADES * place), tried)
    known = sorted((one for one in tried if one.accuracy is not None), key=lambda one: one.rate)
    if not known:
        # None was stable: far below all of them.
        return _new(lambda: min(one.rate for one in tried) / 10, tried)
    best = max(known, key=lambda one: one.accuracy or 0.0)
    rates = sorted({one.rate for one in tried})
    place = rates.index(best.rate)
    step = DECADES / first
    if place == 0:
        return _new(lambda: best.rate / 10 ** (step * (1 + random.random())), tried)
    if place == len(rates) - 1:
        return _new(lambda: best.rate * 10 ** (step * (1 + random.random())), tried)
    low, high = math.log10(rates[place - 1]), math.log10(rates[place + 1])
    return _new(lambda: 10 ** random.uniform(low, high), tried)


def grid(around: float, count: int) -> list[float]:
    """Return rates half a decade apart, ``around`` first, then those above and below it in turn."""
    steps = [(place + 1) // 2 * (1 if place % 2 else -1) for place in range(count)]
    return [_rounded(around * 10 ** (step * GRID_DECADES)) for step in steps]


def best_of(tried: Sequence[Tried]) -> Tried | None:
    """Return the trial with the highest accuracy; of equal ones that with the lowest rate."""
    known = [one for one in tried if one.accuracy is not None]
    return max(known, key=lambda one: (one.accuracy, -one.rate), default=None)


def _new(draw: Callable[[], float], tried: Sequence[Tried]) -> float:
    """Return a rate that was not tried, which would tell nothing a second time.

    It has three digits where they are enough, and more where the best has close neighbours: it is
    read by people, and its last digits decide nothing.
    """
    known = {one.rate for one in tried}
    return next(rate for digits in count(3) if (rate := _rounded(draw(), digits)) not in known)


def _rounded(rate: float, digits: int = 3) -> float:
    return float(f"{rate:.{digits}g}")

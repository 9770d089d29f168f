"""Which learning rate is tried next, and which was the best."""

from __future__ import annotations

import math
from collections.abc import Callable

import pytest

from peftcore.tuning.rates import DECADES, Tried, best_of, grid, next_rate

TRIALS = 8


def searched(
    accuracy: Callable[[float], float | None], *, around: float = 1e-3, trials: int = TRIALS
) -> list[Tried]:
    """Return a whole search where this function tells what a rate comes to."""
    tried: list[Tried] = []
    while (rate := next_rate(tried, around=around, trials=trials, draw=(1, 2))) is not None:
        tried.append(Tried(rate=rate, accuracy=accuracy(rate)))
    return tried


def peak(at: float) -> Callable[[float], float]:
    return lambda rate: 0.9 - 0.1 * abs(math.log10(rate / at))


def test_every_search_takes_the_trials_that_it_was_given() -> None:
    for trials in (1, 2, 5, 8, 13):
        found = searched(peak(1e-3), trials=trials)
        assert len(found) == trials
        assert len({one.rate for one in found}) == trials


@pytest.mark.parametrize("chance", range(20))
def test_no_rate_is_tried_twice(chance: int) -> None:
    """Between neighbours this close there is no other rate of three digits."""
    tried = [Tried(rate=r, accuracy=a) for r, a in [(0.00128, 0.8), (0.00129, 0.9), (0.0013, 0.8)]]
    rate = next_rate(tried, around=1e-3, trials=4, draw=(chance,))
    assert rate is not None
    assert 0.00128 < rate < 0.0013
    assert rate != 0.00129


def test_the_first_rates_cover_the_first_range_a_part_each() -> None:
    first = sorted(one.rate for one in searched(peak(1e-3)))
    begun = searched(peak(1e-3))[: math.ceil(0.6 * TRIALS)]
    parts = sorted(
        math.floor(len(begun) * (math.log10(one.rate / 1e-3) / DECADES + 0.5)) for one in begun
    )
    assert parts == list(range(len(begun)))
    assert first[0] > 1e-3 / 10
    assert first[-1] < 1e-3 * 10


@pytest.mark.parametrize("at", [1e-5, 1e-1])
def test_the_range_is_extended_where_the_best_lies_at_its_edge(at: float) -> None:
    found = searched(peak(at))
    known = [one.rate for one in found]
    half = math.ceil(0.6 * TRIALS)
    for count in range(half, TRIALS):
        edge = min(known[:count]) if at < 1e-3 else max(known[:count])
        assert (known[count] < edge) if at < 1e-3 else (known[count] > edge)


def test_within_the_range_it_closes_in_on_the_best() -> None:
    found = searched(peak(1.1e-3), trials=20)
    best = best_of(found)
    assert best is not None
    assert abs(math.log10(best.rate / 1.1e-3)) < 0.05


def test_where_nothing_was_stable_it_goes_far_down() -> None:
    found = searched(lambda rate: 0.8 if rate < 1e-5 else None)
    rates = [one.rate for one in found]
    half = math.ceil(0.6 * TRIALS)
    assert rates[half] == pytest.approx(min(rates[:half]) / 10, rel=0.01)
    assert best_of(found) is not None


def test_a_search_goes_on_as_it_would_have() -> None:
    whole = searched(peak(2e-3))
    for cut in range(len(whole)):
        again = next_rate(whole[:cut], around=1e-3, trials=TRIALS, draw=(1, 2))
        assert again == whole[cut].rate
    assert next_rate(whole, around=1e-3, trials=TRIALS, draw=(1, 2)) is None


def test_two_searches_draw_other_rates() -> None:
    one, other = (next_rate([], around=1e-3, trials=8, draw=(1, n)) for n in (2, 3))
    assert one != other


def test_of_equal_rates_the_lower_is_the_best() -> None:
    tried = [Tried(rate=2.0, accuracy=0.8), Tried(rate=1.0, accuracy=0.8)]
    assert best_of([*tried, Tried(rate=0.5, accuracy=None)]) == tried[1]
    assert best_of([Tried(rate=1.0, accuracy=None)]) is None
    assert best_of([]) is None


def test_a_grid_begins_in_the_middle_and_goes_half_a_decade_up_and_down() -> None:
    assert grid(1e-3, 1) == [1e-3]
    assert grid(1e-3, 5) == [1e-3, 3.16e-3, 3.16e-4, 1e-2, 1e-4]

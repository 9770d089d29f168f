"""Two groups of seeds, against scipy and against a simulation with a known truth."""

from __future__ import annotations

import numpy as np
import pytest
from scipy.stats import ttest_ind

from peftcore.statistics.shifts import (
    MOST_SEEDS,
    Rule,
    Spread,
    moderated,
    seeds_wanted,
    shift,
    spread_within,
)

BEFORE, AFTER = [90.1, 91.0, 90.4, 89.7, 90.9], [89.2, 89.9, 88.7]


def test_it_is_students_test_of_two_groups():
    spread = spread_within(BEFORE, AFTER)
    loss = shift(AFTER, BEFORE, spread)
    theirs = ttest_ind(BEFORE, AFTER, alternative="greater")
    assert loss.estimate == pytest.approx(np.mean(BEFORE) - np.mean(AFTER))
    assert loss.p_above(0) == pytest.approx(theirs.pvalue)
    assert loss.degrees == theirs.df == 6
    # A loss of a point or less: the same, with a point taken off.
    moved = ttest_ind(np.array(BEFORE) - 1, AFTER, alternative="greater")
    assert loss.p_above(1) == pytest.approx(moved.pvalue)


def test_the_bound_is_one_sided():
    loss = shift(AFTER, BEFORE, spread_within(BEFORE, AFTER))
    interval = ttest_ind(BEFORE, AFTER, alternative="less").confidence_interval(0.95)
    assert loss.upper(0.95) == pytest.approx(interval.high)
    assert loss.upper(0.95) == pytest.approx(loss.interval(0.9)[1])


def test_one_number_tells_nothing_of_spread_and_two_groups_of_one_neither():
    assert spread_within([1.0], [2.0]) is None
    assert spread_within([1.0], []) is None
    assert spread_within([1.0, 3.0], [2.0]) == Spread(variance=2.0, degrees=1.0)


def test_equal_numbers_are_a_coincidence():
    assert spread_within([88.0] * 3, [88.0] * 3, least=0.05).variance == pytest.approx(0.0025)


def test_variances_are_lent_and_none_is_made_smaller():
    steady = [Spread(variance=v, degrees=12.0) for v in (0.4, 0.5, 0.6, 0.5)]
    drawn = moderated([*steady, Spread(variance=0.05, degrees=12.0)])
    for before, after in zip(steady, drawn, strict=False):
        assert after.variance >= before.variance
        # No more than a method's own weight.
        assert before.degrees < after.degrees <= 2 * before.degrees
    # What seems to be steadier than the others is drawn towards them.
    assert 0.05 < drawn[-1].variance < 0.5


def test_with_few_seeds_none_is_smaller_than_the_usual():
    few = [Spread(variance=v, degrees=4.0) for v in (2.0, 2.5, 3.0, 0.01)]
    assert min(one.variance for one in moderated(few)) >= 2.25
    enough = [Spread(variance=one.variance, degrees=8.0) for one in few]
    assert moderated(enough)[-1].variance < 2.25


def test_two_variances_lend_nothing():
    two = [Spread(variance=1.0, degrees=4.0), Spread(variance=9.0, degrees=4.0)]
    assert moderated(two) == two


RULE = Rule(margin=0.5, drift=0.0, significance=0.01, confidence=0.95)


@pytest.mark.parametrize("drop", [0.0, 0.8], ids=["none", "some"])
def test_as_many_seeds_as_are_wanted_settle_it_four_times_in_five(drop):
    """Simulated: with the number that is named, and the loss as it was seen."""
    before = 40
    loss = shift([0.0] * before, [drop] * 3, Spread(variance=0.49, degrees=41.0))
    wanted = seeds_wanted(loss, Spread(variance=0.49, degrees=41.0), before, 3, RULE)
    assert wanted.more is not None
    rng = np.random.default_rng(3)
    settled = 0
    for _ in range(400):
        ours = 0.7 * rng.standard_normal(before)
        theirs = drop + 0.7 * rng.standard_normal(3 + wanted.more)
        seen = shift(ours, theirs, spread_within(list(ours), list(theirs)))
        settled += seen.p_above(0) < RULE.significance or seen.upper(0.95) < RULE.margin
    # Two standard errors of four hundred repetitions; fewer seeds would not do.
    assert 0.76 <= settled / 400 <= 0.9


def test_a_small_baseline_bounds_what_any_number_of_seeds_can_tell():
    spread = Spread(variance=1.0, degrees=4.0)
    wanted = seeds_wanted(shift([0.0] * 3, [0.0] * 3, spread), spread, 3, 3, RULE)
    assert wanted.more is None
    assert wanted.each is not None
    assert 3 < wanted.each <= MOST_SEEDS


def test_a_loss_as_large_as_the_margin_is_hard_to_settle():
    spread = Spread(variance=100.0, degrees=40.0)
    loss = shift([0.0] * 30, [0.5] * 10, spread)
    wanted = seeds_wanted(loss, spread, 30, 10, RULE)
    assert (wanted.more, wanted.each) == (None, None)

"""What fewer trials of a search would have found."""

from __future__ import annotations

from itertools import combinations
from statistics import fmean, pstdev

import pytest

from peftcore.statistics.expecting import deviation_of_best, expected_best

ACCURACIES = [0.5, 0.71, 0.8, 0.8, 0.88]


@pytest.mark.parametrize("trials", range(1, 6))
def test_it_is_the_mean_over_all_ways_to_have_run_fewer(trials: int) -> None:
    ways = [max(chosen) for chosen in combinations(ACCURACIES, trials)]
    assert expected_best(ACCURACIES, trials) == pytest.approx(fmean(ways))
    assert deviation_of_best(ACCURACIES, trials) == pytest.approx(pstdev(ways), abs=1e-12)


def test_one_trial_is_expected_to_find_the_mean_and_all_the_best() -> None:
    assert expected_best(ACCURACIES, 1) == pytest.approx(fmean(ACCURACIES))
    assert expected_best(ACCURACIES, 5) == 0.88


@pytest.mark.parametrize("trials", [0, 6])
def test_no_more_than_were_run(trials: int) -> None:
    with pytest.raises(ValueError, match="expected 1 to 5"):
        expected_best(ACCURACIES, trials)

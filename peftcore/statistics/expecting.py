"""What a search over hyperparameters can be expected to find with fewer trials."""

from __future__ import annotations

import math
from collections.abc import Sequence


def expected_best(accuracies: Sequence[float], trials: int) -> float:
    """Return the mean of the best over all ways to have run only so many of these trials.

    Of n accuracies, sorted, the i-th is the best of k with probability C(i − 1, k − 1) / C(n, k):
    the expected validation performance of Dodge et al., "Show Your Work", EMNLP 2019, drawn without
    replacement.

    Args:
        accuracies: of the trials of a search; a trial that failed counts as what guessing gets.
        trials: how many of them, from 1 to all.
    """
    return math.fsum(
        accuracy * chance for accuracy, chance in _chances_of_the_best(accuracies, trials)
    )


def deviation_of_best(accuracies: Sequence[float], trials: int) -> float:
    """Return the standard deviation of the best over those ways, in the unit of the accuracies.

    Args and errors as of :func:`expected_best`.
    """
    mean = expected_best(accuracies, trials)
    chances = _chances_of_the_best(accuracies, trials)
    return math.sqrt(math.fsum(chance * (value - mean) ** 2 for value, chance in chances))


def _chances_of_the_best(accuracies: Sequence[float], trials: int) -> list[tuple[float, float]]:
    """Return each accuracy with the chance that it is the best of so many."""
    count = len(accuracies)
    if not 1 <= trials <= count:
        raise ValueError(f"{trials} of {count} trials: expected 1 to {count}")
    ways = math.comb(count, trials)
    return [
        (accuracy, math.comb(place, trials - 1) / ways)
        for place, accuracy in enumerate(sorted(accuracies))
    ]

"""Two methods and many: paired differences, corrected for their number, as letters.

McNemar's test and its interval are for a single seed: they compare two trained models on examples
like these, and say nothing about other seeds. With several seeds,
:class:`peftcore.statistics.variance.Components` of the paired differences takes their place.
"""

from __future__ import annotations

import math
from collections.abc import Collection, Sequence

import numpy as np
from numpy.typing import ArrayLike
from scipy.stats import binomtest, norm

from peftcore.statistics.variance import CONFIDENCE, Components, components

SIGNIFICANCE = 0.05
"""Below this p, corrected for the number of tests, two accuracies are told apart."""

MARGIN_POINTS = 0.5
"""Accuracies that differ by less than this, either way, count as the same."""


def paired_components(first: ArrayLike, second: ArrayLike, *, unit: float = 1.0) -> Components:
    """Return the analysis of variance of the first's right answers less the second's.

    What seeds and examples do to both alike drops out, so the difference is known better than
    either mean.

    Args:
        first: seeds × examples, true or 1 where right.
        second: the same seeds and examples of the other method, in the same order.
        unit: what a right answer counts in the result: 100 for percentage points.

    Raises:
        ValueError: the two are not of one shape.
    """
    ours, theirs = (np.asarray(right, dtype=np.int8) for right in (first, second))
    if ours.shape != theirs.shape:
        raise ValueError(f"answers of shapes {ours.shape} and {theirs.shape} can't be paired")
    return components(ours - theirs, unit=unit)


def mcnemar(only_first: int, only_second: int) -> float:
    """Return the p of the exact McNemar test: two-sided binomial on the discordant examples.

    McNemar, "Note on the sampling error of the difference between correlated proportions",
    Psychometrika 12 (1947). It is about two trained models; of other seeds it says nothing.

    Args:
        only_first: examples that only the first model gets right.
        only_second: examples that only the second gets right.
    """
    discordant = only_first + only_second
    return float(binomtest(only_first, discordant, 0.5).pvalue) if discordant else 1.0


def agresti_min(
    only_first: int, only_second: int, examples: int, confidence: float = CONFIDENCE
) -> tuple[float, float]:
    """Return the interval of the difference of two trained models' shares of right answers.

    Wald's interval with half an example added to each cell, so that no discordant example does not
    mean no uncertainty. Agresti and Min, "Simple improved confidence intervals for comparing
    matched proportions", Statistics in Medicine 24 (2005). Of other seeds it says nothing.
    """
    total = examples + 2
    net = only_first - only_second
    variance = (only_first + only_second + 1 - net**2 / total) / total**2
    half = float(norm.ppf((1 + confidence) / 2)) * math.sqrt(variance)
    return net / total - half, net / total + half


def holm(p_values: Sequence[float]) -> list[float]:
    """Return each p corrected for the number of tests, in the same order.

    Under 0.05 just where Holm's step-down procedure rejects, so that the chance of even one false
    difference is under 5% ("A simple sequentially rejective multiple test procedure", Scandinavian
    Journal of Statistics 6, 1979); it asks nothing of how the tests depend on one another.
    """
    corrected = [1.0] * len(p_values)
    reached = 0.0
    ordered = sorted(range(len(p_values)), key=lambda position: p_values[position])
    for rank, position in enumerate(ordered):
        reached = max(reached, min(1.0, (len(p_values) - rank) * p_values[position]))
        corrected[position] = reached
    return corrected


def letters(ordered: Sequence[str], apart: Collection[tuple[str, str]]) -> dict[str, str]:
    """Return letters such that two methods share one just where they can't be told apart.

    The compact letter display by insertion and absorption: Piepho, "An algorithm for a letter-based
    representation of all-pairwise comparisons", Journal of Computational and Graphical Statistics
    13 (2004). A method can have several: A may be level with B and B with C, and A above C.

    Args:
        ordered: the methods, best first; the best gets ``a``.
        apart: the pairs that are told apart, each once, either way round.
    """
    position = {method: n for n, method in enumerate(ordered)}
    columns = [frozenset(ordered)]
    for first, second in sorted(apart, key=lambda pair: sorted(position[one] for one in pair)):
        split: list[frozenset[str]] = []
        for column in columns:
            if first in column and second in column:
                split += [column - {first}, column - {second}]
            else:
                split.append(column)
        columns = _absorbed(split)
    columns.sort(key=lambda column: sorted(position[method] for method in column))
    return {
        method: "".join(_letter(n) for n, column in enumerate(columns) if method in column)
        for method in ordered
    }


def _absorbed(columns: Sequence[frozenset[str]]) -> list[frozenset[str]]:
    """Return the columns without those that are part of another."""
    unique = list(dict.fromkeys(columns))
    return [column for column in unique if not any(column < other for other in unique)]


def _letter(number: int) -> str:
    """Return ``a`` to ``z``, then ``A`` to ``Z``, then numbers in brackets."""
    alphabet = "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ"
    return alphabet[number] if number < len(alphabet) else f"({number + 1})"

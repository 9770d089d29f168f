"""How far trained models give the same answers, and which examples one method gets and another not.

The yardstick for both is what two seeds of one method do: a method changes an answer only where its
models differ from another's more than its own differ from one another.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike, NDArray
from scipy.stats import hypergeom


@dataclass(frozen=True, kw_only=True)
class Agreement:
    """Of each two of several models, how alike their answers are.

    Attributes:
        shares: models × models, the share of examples that both give the same answer.
        kappas: Cohen's kappa of the same: 1 where all are equal, 0 where no more are than the two
            models' shares of each label would make equal by chance; NaN where that is all of them.
    """

    shares: NDArray[np.float64]
    kappas: NDArray[np.float64]


def agreement(predictions: ArrayLike) -> Agreement:
    """Return how alike each two models answer.

    Cohen, "A coefficient of agreement for nominal scales", Educational and Psychological
    Measurement 20 (1960). All pairs at once: pair by pair, scikit-learn's ``cohen_kappa_score``,
    which the tests compare with, takes minutes for the models of a large report.

    Args:
        predictions: models × examples, the predicted labels.
    """
    answers = np.asarray(predictions)
    models, examples = answers.shape
    shares = np.zeros((models, models))
    expected = np.zeros((models, models))
    for label in np.unique(answers):
        gives = (answers == label).astype(np.float64)
        shares += gives @ gives.T / examples
        expected += np.outer(gives.mean(axis=1), gives.mean(axis=1))
    with np.errstate(invalid="ignore", divide="ignore"):
        kappas = np.where(np.isclose(expected, 1), np.nan, (shares - expected) / (1 - expected))
    return Agreement(shares=shares, kappas=kappas)


@dataclass(frozen=True, kw_only=True)
class Flips:
    """On which examples two methods differ, over the seeds that both have.

    Attributes:
        ours: seeds × examples, whether the first method is right.
        theirs: the same seeds and examples of the second.
    """

    ours: NDArray[np.bool_]
    theirs: NDArray[np.bool_]

    def __post_init__(self) -> None:
        if self.ours.shape != self.theirs.shape or self.ours.ndim != 2:
            raise ValueError(
                f"answers of shapes {self.ours.shape} and {self.theirs.shape} can't be paired"
            )

    @property
    def seeds(self) -> int:
        """How many seeds both have."""
        return len(self.ours)

    @property
    def most(self) -> int:
        """The smallest count of seeds that is more than half of them."""
        return self.seeds // 2 + 1

    @property
    def lost(self) -> NDArray[np.int64]:
        """On each example, with how many seeds the first is right and the second wrong."""
        return np.asarray((self.ours & ~self.theirs).sum(axis=0))

    @property
    def gained(self) -> NDArray[np.int64]:
        """On each example, with how many seeds the first is wrong and the second right."""
        return np.asarray((~self.ours & self.theirs).sum(axis=0))

    def sure(self, least: int) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
        """Return the examples that one method gets right and the other wrong with enough seeds.

        Args:
            least: with at least so many seeds one is right, and with at least so many the other
                wrong; more than half of them, or the two answers would overlap.

        Returns:
            Positions of the examples that the first alone gets right, and the second alone.
        """
        ours, theirs = self.ours.sum(axis=0), self.theirs.sum(axis=0)
        lost = (ours >= least) & (theirs <= self.seeds - least)
        gained = (theirs >= least) & (ours <= self.seeds - least)
        return np.flatnonzero(lost), np.flatnonzero(gained)

    def by_chance(self, least: int) -> float:
        """Return how many examples either of :meth:`sure` would hold if methods made no difference.

        Were the models of both methods drawn from one urn, those that get an example right would
        fall on the two at random: of 2s models of which k are right, the first method's s models
        hold x of them by the hypergeometric distribution. Its sum over the examples is what chance
        gives, in each of the two directions.
        """
        right = self.ours.sum(axis=0) + self.theirs.sum(axis=0)
        total = 0.0
        for count, examples in zip(*np.unique(right, return_counts=True), strict=True):
            first = np.arange(least, self.seeds + 1)
            enough = first[count - first <= self.seeds - least]
            chances = hypergeom(2 * self.seeds, count, self.seeds).pmf(enough)
            total += float(examples * chances.sum())
        return total


def differing(ours: NDArray[np.bool_], theirs: NDArray[np.bool_]) -> NDArray[np.int64]:
    """Return on how many examples each model of the first is right and one of the second not.

    Or the other way round: a matrix, models of the first × models of the second.
    """
    return np.asarray([(mine != theirs).sum(axis=1) for mine in ours])

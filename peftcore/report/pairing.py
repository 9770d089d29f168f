"""Two methods on the same seeds and test examples: how far apart they are, and how sure that is.

With several seeds in common, the difference is one on texts like these: other seeds, other texts.
With one, it is that of two trained models, and what another seed would give, nothing here can say.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from enum import StrEnum
from functools import cached_property
from statistics import fmean

import numpy as np
from numpy.typing import NDArray

from peftcore.results.records import Record
from peftcore.statistics.comparing import (
    MARGIN_POINTS,
    SIGNIFICANCE,
    agresti_min,
    mcnemar,
    paired_components,
)
from peftcore.statistics.variance import Components, Mean, Prior, components, mean_of_seeds


class Standing(StrEnum):
    """Where one method's accuracy stands against another's."""

    ABOVE = "above"
    BELOW = "below"
    OPEN = "can't be told apart"
    UNTESTED = "untested"


@dataclass(frozen=True, kw_only=True)
class PairedSeed:
    """Two methods' accuracy with one seed.

    Attributes:
        seed: the seed.
        points: accuracy of the first less that of the second, in percentage points.
        discordant: how many examples only the first, and only the second, gets right; ``None``
            where the predictions were not kept.
        examples: how many examples both answered; ``None`` where the predictions were not kept.
    """

    seed: int
    points: float
    discordant: tuple[int, int] | None = None
    examples: int | None = None

    @property
    def p_value(self) -> float | None:
        """McNemar's exact test of these two trained models; ``None`` without predictions."""
        return None if self.discordant is None else mcnemar(*self.discordant)

    @property
    def interval_points(self) -> tuple[float, float] | None:
        """A 95% interval of the difference of these two trained models, in points."""
        if self.discordant is None or self.examples is None:
            return None
        low, high = agresti_min(*self.discordant, self.examples)
        return 100 * low, 100 * high


@dataclass(frozen=True, kw_only=True)
class PairedAccuracy:
    """Two methods' accuracy over the seeds that both finished; there is at least one.

    Attributes:
        seeds: the differences, the first's less the second's, in order of the seeds.
        components: the analysis of variance of the differences in points; ``None`` with one seed
            or where not all predictions were kept on the same examples.
        prior: what other pairs tell of the variance over seeds, if anything.
        adjusted_p: the p of :attr:`p_value`, corrected for the number of pairs.
    """

    seeds: tuple[PairedSeed, ...]
    components: Components | None = None
    prior: Prior | None = None
    adjusted_p: float | None = None

    @property
    def mean_points(self) -> float:
        """The mean difference over seeds, in percentage points."""
        return fmean(seed.points for seed in self.seeds)

    @property
    def single(self) -> bool:
        """Whether there is one seed alone, so that nothing is known of others."""
        return len(self.seeds) == 1

    @cached_property
    def test_set(self) -> Mean | None:
        """The difference on this test set over other seeds; ``None`` with one seed."""
        if self.components is not None:
            return self.components.on_this_test_set(self.prior)
        return mean_of_seeds([seed.points for seed in self.seeds], self.prior)

    @cached_property
    def texts(self) -> Mean | None:
        """The difference on texts like these; ``None`` with one seed or without predictions."""
        return self.components.on_texts_like_these(self.prior) if self.components else None

    @property
    def interval_points(self) -> tuple[float, float] | None:
        """The 95% interval on texts like these; with one seed, that of two trained models."""
        if self.single:
            return self.seeds[0].interval_points
        return self.texts.interval() if self.texts else None

    @property
    def p_value(self) -> float | None:
        """The p that the two are equal on texts like these; with one seed, McNemar's."""
        if self.single:
            return self.seeds[0].p_value
        return self.texts.p_value() if self.texts else None

    @property
    def equivalence_p(self) -> float | None:
        """The p of two one-sided tests that they differ by less than the margin, if known."""
        return self.texts.equivalence_p(MARGIN_POINTS) if self.texts else None

    @property
    def equivalent(self) -> bool:
        """Whether it is shown that the two differ by less than the margin."""
        return self.equivalence_p is not None and self.equivalence_p < SIGNIFICANCE

    @property
    def differs(self) -> bool:
        """Whether the interval excludes that they differ by less than the margin."""
        interval = self.texts.interval() if self.texts else None
        return interval is not None and (
            interval[0] > MARGIN_POINTS or interval[1] < -MARGIN_POINTS
        )

    @property
    def standing(self) -> Standing:
        """Where the first stands by the p that is corrected for the number of pairs."""
        p_value = self.p_value if self.adjusted_p is None else self.adjusted_p
        if p_value is None:
            return Standing.UNTESTED
        if p_value >= SIGNIFICANCE:
            return Standing.OPEN
        return Standing.ABOVE if self.mean_points > 0 else Standing.BELOW

    def turned(self) -> PairedAccuracy:
        """Return the same pair with the second method first."""
        seeds = tuple(
            replace(
                seed,
                points=-seed.points,
                discordant=None if seed.discordant is None else seed.discordant[::-1],
            )
            for seed in self.seeds
        )
        turned = self.components and replace(self.components, mean=-self.components.mean)
        return replace(self, seeds=seeds, components=turned)


def pair(first: Sequence[Record], second: Sequence[Record]) -> PairedAccuracy | None:
    """Pair the finished trials of two methods by seed.

    Args:
        first: finished trials with an accuracy, one a seed.
        second: the same of the other method.

    Returns:
        The pairs in order of their seeds; ``None`` if no seed is in both.
    """
    others = {record.seed: record for record in second}
    shared = [
        (record, others[record.seed])
        for record in sorted(first, key=lambda record: record.seed)
        if record.seed in others
    ]
    if not shared:
        return None
    seeds = tuple(_pair_of_seed(ours, theirs) for ours, theirs in shared)
    answers = [answers_of(side) for side in zip(*shared, strict=True)]
    found = None
    if len(seeds) > 1 and shared[0][0].labels == shared[0][1].labels:
        ours, theirs = answers
        if ours is not None and theirs is not None:
            found = paired_components(ours, theirs, unit=100)
    return PairedAccuracy(seeds=seeds, components=found)


def change_of_gap(
    after: tuple[Sequence[Record], Sequence[Record]],
    before: tuple[Sequence[Record], Sequence[Record]],
) -> PairedAccuracy | None:
    """Return by how much a difference between two methods has changed, over the seeds of all four.

    That one of two differences is told from zero and the other is not, is no change that could be
    told (Gelman and Stern, The American Statistician 60, 2006): the change is tested itself.

    Args:
        after: finished trials with an accuracy of the one method and of the other, one a seed.
        before: the same under other circumstances.

    Returns:
        (first − second) after, less that before; ``None`` if no seed is in all four.
    """
    sides = [{record.seed: record for record in side} for side in (*after, *before)]
    shared = sorted(set.intersection(*(set(side) for side in sides)))
    if not shared:
        return None
    signs = (1, -1, -1, 1)
    seeds = tuple(
        PairedSeed(
            seed=seed,
            points=100
            * sum(sign * _accuracy(side[seed]) for sign, side in zip(signs, sides, strict=True)),
        )
        for seed in shared
    )
    answers = [answers_of([side[seed] for seed in shared]) for side in sides]
    alike = all(side[shared[0]].labels == sides[0][shared[0]].labels for side in sides)
    known = [right for right in answers if right is not None]
    found = None
    if len(shared) > 1 and alike and len(known) == len(sides):
        change = sum(s * right.astype(np.int8) for s, right in zip(signs, known, strict=True))
        found = components(change, unit=100)
    return PairedAccuracy(seeds=seeds, components=found)


def _pair_of_seed(first: Record, second: Record) -> PairedSeed:
    points = 100 * (_accuracy(first) - _accuracy(second))
    ours, theirs = answers_of([first]), answers_of([second])
    if ours is None or theirs is None or first.labels != second.labels:
        return PairedSeed(seed=first.seed, points=points)
    return PairedSeed(
        seed=first.seed,
        points=points,
        discordant=(int((ours & ~theirs).sum()), int((theirs & ~ours).sum())),
        examples=ours.size,
    )


def _accuracy(record: Record) -> float:
    if record.measurement is None or record.measurement.accuracy is None:
        raise ValueError(f"{record.id} has no accuracy to be paired")
    return record.measurement.accuracy


def answers_of(records: Sequence[Record]) -> NDArray[np.bool_] | None:
    """Return which examples each record got right, as seeds × examples of bool.

    ``None`` where not all predictions were kept whole, or they are about other examples.
    """
    labels = records[0].labels
    if not labels:
        return None
    rows = []
    for record in records:
        if record.predictions is None or record.labels != labels:
            return None
        if len(record.predictions) != len(labels):
            return None
        rows.append(record.predictions)
    right: NDArray[np.bool_] = np.asarray(rows) == np.asarray(labels)
    return right

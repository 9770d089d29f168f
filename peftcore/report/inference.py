"""What can be told of the accuracies of one report: of each method, of each pair and of all."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from itertools import combinations
from statistics import fmean, stdev
from typing import TypeVar

from peftcore.report.metrics import ACCURACY
from peftcore.report.pairing import PairedAccuracy, Standing, answers_of, pair
from peftcore.results.records import Record
from peftcore.statistics.comparing import holm, letters
from peftcore.statistics.variance import (
    Components,
    Mean,
    Prior,
    components,
    fit_prior,
    mean_of_seeds,
    wilson,
)

Names = TypeVar("Names")


@dataclass(frozen=True, kw_only=True)
class Accuracy:
    """The accuracy of one method, in percent.

    Attributes:
        seeds: the accuracy with each seed.
        components: the analysis of variance of its answers; ``None`` with one seed or where not
            all predictions were kept on the same examples.
        prior: what other methods tell of the variance over seeds, if anything.
        examples: how many examples accuracy is a share of; ``None`` where that is not known.
    """

    seeds: tuple[float, ...]
    components: Components | None
    prior: Prior | None = None
    examples: int | None = None

    @property
    def mean(self) -> float:
        """The mean over seeds."""
        return fmean(self.seeds)

    @property
    def spread(self) -> float | None:
        """The standard deviation over seeds; ``None`` with one."""
        return stdev(self.seeds) if len(self.seeds) > 1 else None

    @cached_property
    def test_set(self) -> Mean | None:
        """The accuracy on this test set over other seeds; ``None`` with one seed."""
        if self.components is not None:
            return self.components.on_this_test_set(self.prior)
        return mean_of_seeds(self.seeds, self.prior)

    @property
    def test_set_interval(self) -> tuple[float, float] | None:
        """The 95% interval on this test set over other seeds; ``None`` with one seed."""
        return _within(self.test_set.interval()) if self.test_set else None

    @cached_property
    def interval(self) -> tuple[float, float] | None:
        """The 95% interval on texts like these; with one seed, that of one trained model."""
        if len(self.seeds) == 1:
            if not self.examples:
                return None
            right = round(self.seeds[0] * self.examples / 100)
            low, high = wilson(right, self.examples)
            return 100 * low, 100 * high
        reviews = self.components and self.components.on_texts_like_these(self.prior)
        return _within(reviews.interval()) if reviews else None


@dataclass(frozen=True, kw_only=True)
class Inference:
    """What can be told of the accuracies of one report.

    Attributes:
        accuracies: of each method that has any, by slug.
        pairs: of each two that share a seed, by their slugs, in one order of the two.
        letters: two methods share a letter just where they can't be told apart; a method that
            could not be tested against every other has none.
    """

    accuracies: Mapping[str, Accuracy]
    pairs: Mapping[tuple[str, str], PairedAccuracy]
    letters: Mapping[str, str]

    def paired(self, first: str, second: str) -> PairedAccuracy | None:
        """Return the difference of the first from the second; ``None`` if they share no seed."""
        if (first, second) in self.pairs:
            return self.pairs[first, second]
        other = self.pairs.get((second, first))
        return other.turned() if other else None


def infer(records: Mapping[str, Sequence[Record]]) -> Inference:
    """Return what can be told of the accuracies of methods.

    Variances over seeds are drawn towards what all methods' have in common, those of differences
    towards what all pairs' have (:func:`peftcore.statistics.variance.fit_prior`). Each p is
    corrected for there being several pairs by Holm's procedure.

    Args:
        records: by method, the finished trials that have an accuracy.
    """
    known = {slug: found for slug, found in records.items() if found}
    accuracies = _with_prior({slug: _accuracy(found) for slug, found in known.items()})
    pairs = {
        (first, second): paired
        for first, second in combinations(known, 2)
        if (paired := pair(known[first], known[second])) is not None
    }
    pairs = tested_together(pairs)
    return Inference(accuracies=accuracies, pairs=pairs, letters=_letters(accuracies, pairs))


def _accuracy(records: Sequence[Record]) -> Accuracy:
    values = tuple(v for record in records if (v := ACCURACY.value(record)) is not None)
    answers = answers_of(records) if len(records) > 1 else None
    measurement = records[0].measurement
    return Accuracy(
        seeds=values,
        components=None if answers is None else components(answers, unit=100),
        examples=measurement.evaluated_examples if measurement else None,
    )


def _with_prior(accuracies: dict[str, Accuracy]) -> dict[str, Accuracy]:
    several = {slug: one for slug, one in accuracies.items() if len(one.seeds) > 1}
    prior = fit_prior(
        [(one.spread or 0.0) ** 2 for one in several.values()],
        [len(one.seeds) - 1 for one in several.values()],
    )
    return {slug: replace(one, prior=prior) for slug, one in accuracies.items()}


def tested_together(
    pairs: Mapping[Names, PairedAccuracy],
) -> dict[Names, PairedAccuracy]:
    """Return the pairs with what they tell of one another: of their variance, and by their number.

    Args:
        pairs: differences of one kind, by any name.
    """
    return _corrected(_pairs_with_prior(pairs))


def _pairs_with_prior(pairs: Mapping[Names, PairedAccuracy]) -> dict[Names, PairedAccuracy]:
    several = [paired for paired in pairs.values() if not paired.single]
    prior = fit_prior(
        [stdev(seed.points for seed in paired.seeds) ** 2 for paired in several],
        [len(paired.seeds) - 1 for paired in several],
    )
    return {names: replace(paired, prior=prior) for names, paired in pairs.items()}


def _corrected(pairs: Mapping[Names, PairedAccuracy]) -> dict[Names, PairedAccuracy]:
    """Return the pairs, each p corrected for the number of those that could be tested."""
    tested = {names: p for names, paired in pairs.items() if (p := paired.p_value) is not None}
    corrected = dict(zip(tested, holm(list(tested.values())), strict=True))
    return {
        names: replace(paired, adjusted_p=corrected.get(names)) for names, paired in pairs.items()
    }


def _letters(
    accuracies: Mapping[str, Accuracy], pairs: Mapping[tuple[str, str], PairedAccuracy]
) -> dict[str, str]:
    tested = {names for names, p in pairs.items() if p.standing is not Standing.UNTESTED}
    shown = sorted(accuracies, key=lambda slug: -accuracies[slug].mean)
    while shown:
        untested = {
            slug: sum(
                (slug, other) not in tested and (other, slug) not in tested
                for other in shown
                if other != slug
            )
            for slug in shown
        }
        worst = max(shown, key=lambda slug: untested[slug])
        if not untested[worst]:
            break
        shown.remove(worst)
    if len(shown) < 2:
        return {}
    apart = {
        names
        for names, paired in pairs.items()
        if set(names) <= set(shown) and paired.standing is not Standing.OPEN
    }
    return letters(shown, apart)


def _within(interval: tuple[float, float]) -> tuple[float, float]:
    """Return the interval without what no accuracy can be."""
    return max(0.0, interval[0]), min(100.0, interval[1])

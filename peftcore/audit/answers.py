"""The finished trials of a report, and what can be told of their answers in a second way."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from itertools import combinations
from typing import Any

import numpy as np

from peftcore.audit import second
from peftcore.audit.second import Answers, Estimate, Prior
from peftcore.audit.tables import slug_of

Content = Mapping[str, Any]


@dataclass(frozen=True)
class Data:
    """The finished trials of a report, by method and then by seed.

    Attributes:
        finished: their records.
    """

    finished: Mapping[str, Mapping[int, Content]]

    @property
    def several(self) -> bool:
        """Whether any method has finished trials of several seeds."""
        return any(len(trials) > 1 for trials in self.finished.values())

    @property
    def kept(self) -> bool:
        """Whether accuracies mean something and all predictions behind them were kept."""
        every = [one for of_method in self.finished.values() for one in of_method.values()]
        return all(
            one["trial"]["weights"] == "pretrained"
            and one["predictions"] is not None
            and one.get("labels") is not None
            and len(one["labels"]) == len(one["predictions"])
            and one["labels"] == every[0]["labels"]
            for one in every
        )

    def slug(self, name: str) -> str | None:
        """Return the method whose name, as Markdown, stands in a cell."""
        return slug_of(name, self.finished)

    @cached_property
    def right(self) -> dict[str, dict[int, Answers]]:
        """Which examples each trial got right."""
        return {
            slug: {
                seed: (np.array(one["predictions"]) == np.array(one["labels"])).astype(np.int64)
                for seed, one in of_method.items()
            }
            for slug, of_method in self.finished.items()
        }

    def means(self, slug: str) -> list[float]:
        """Return the accuracy with each seed, in percent."""
        return [100 * float(right.mean()) for right in self.right[slug].values()]

    def shared(self, first: str, second_: str) -> list[int]:
        """Return the seeds that both finished."""
        return sorted(self.right[first].keys() & self.right[second_].keys())

    def apart(self, first: str, second_: str) -> Answers:
        """Return the differences of two methods, seeds × examples."""
        seeds = self.shared(first, second_)
        return np.array([self.right[first][s] - self.right[second_][s] for s in seeds])

    @cached_property
    def prior(self) -> Prior | None:
        """What the methods' variances over seeds have in common."""
        return second.common_variance([self.means(slug) for slug in self.right])

    @cached_property
    def pair_prior(self) -> Prior | None:
        """What the variances of all pairs' differences have in common."""
        pairs = [self.apart(*pair) for pair in self.pairs]
        return second.common_variance([100 * pair.mean(axis=1) for pair in pairs])

    @cached_property
    def pairs(self) -> list[tuple[str, str]]:
        """All pairs that share a seed."""
        return [pair for pair in combinations(self.right, 2) if self.shared(*pair)]

    @cached_property
    def adjusted(self) -> dict[frozenset[str], float]:
        """The p of each pair, corrected for their number."""
        corrected = second.holm([self.p(*pair) for pair in self.pairs])
        return {frozenset(pair): p for pair, p in zip(self.pairs, corrected, strict=True)}

    def p(self, first: str, second_: str) -> float:
        """Return the p that two methods are equally accurate, not corrected."""
        return p_of(self.apart(first, second_), self.pair_prior)

    def texts(self, first: str, second_: str) -> Estimate:
        """Return the difference on texts like these; there are several seeds."""
        return second.on_texts_like_these(
            second.squares(self.apart(first, second_)), self.pair_prior
        )

    def difference(self, first: str, second_: str) -> list[float]:
        """Return the difference in points with its interval."""
        return difference_of(self.apart(first, second_), self.pair_prior)


def p_of(apart: Answers, prior: Prior | None) -> float:
    """Return the p that there is no difference, not corrected; with one seed, McNemar's."""
    if len(apart) == 1:
        return second.mcnemar(int((apart == 1).sum()), int((apart == -1).sum()))
    return second.on_texts_like_these(second.squares(apart), prior).p()


def difference_of(apart: Answers, prior: Prior | None) -> list[float]:
    """Return a difference in points with its interval; with one seed, that of two models."""
    mean = 100 * float(apart.mean())
    if len(apart) > 1:
        return [mean, *second.on_texts_like_these(second.squares(apart), prior).interval()]
    only = int((apart == 1).sum()), int((apart == -1).sum())
    return [mean, *second.agresti_min(*only, apart.shape[1])]


def gather(contents: Sequence[Content]) -> Data:
    """Return the finished trials by method and seed."""
    finished: dict[str, dict[int, Content]] = {}
    for one in sorted(contents, key=lambda content: int(content["trial"]["seed"])):
        if one["outcome"] == "ok" and one["measurement"] is not None:
            finished.setdefault(str(one["trial"]["method"]), {})[one["trial"]["seed"]] = one
    return Data(finished)

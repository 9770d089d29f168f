"""Records by size of the training set, and what can be told of methods over the sizes."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property

from peftcore.report.inference import Accuracy, Inference, infer, tested_together
from peftcore.report.metrics import ACCURACY
from peftcore.report.pairing import PairedAccuracy, Standing, pair
from peftcore.report.summary import MethodSummary, by_method
from peftcore.results.records import Record


@dataclass(frozen=True)
class BySize:
    """All records of a report by size.

    Attributes:
        records: of one scenario, differing in method, seed and size.
    """

    records: Sequence[Record]

    @property
    def sizes(self) -> list[int]:
        """The numbers of training examples, smallest first."""
        return sorted({size_of(record) for record in self.records})

    @cached_property
    def methods(self) -> tuple[MethodSummary, ...]:
        """All methods, each with its records of all sizes, in the order of the declarations."""
        return by_method(self.records)

    @property
    def seeds(self) -> int:
        """The largest number of seeds that a method finished at a size; at least one."""
        return max(
            len({r.seed for r in method.finished if size_of(r) == size}) or 1
            for method in self.methods
            for size in self.sizes
        )

    @cached_property
    def inference(self) -> Mapping[int, Inference]:
        """What can be told of the accuracies within each size."""
        return {
            size: infer({method.slug: self._measured(method.slug, size) for method in self.methods})
            for size in self.sizes
        }

    def accuracy(self, slug: str, size: int) -> Accuracy | None:
        """Return a method's accuracy on so many examples; ``None`` where it has none."""
        return self.inference[size].accuracies.get(slug)

    def find(self, slug: str) -> MethodSummary | None:
        """Return the method with this slug if it has an accuracy at any size."""
        known = any(self.accuracy(slug, size) for size in self.sizes)
        return next((m for m in self.methods if m.slug == slug and known), None)

    def against(self, slug: str, other: str) -> dict[int, PairedAccuracy]:
        """Return a method's difference from another at each size where they share a seed.

        Tested together: each p is corrected for the number of sizes by Holm's procedure, and the
        sizes' variances over seeds are drawn towards what they have in common.
        """
        found = {
            size: paired
            for size in self.sizes
            if (paired := pair(self._measured(slug, size), self._measured(other, size))) is not None
        }
        return tested_together(found)

    def _measured(self, slug: str, size: int) -> list[Record]:
        method = next(method for method in self.methods if method.slug == slug)
        return [
            record
            for record in method.finished
            if size_of(record) == size and ACCURACY.value(record) is not None
        ]


def size_of(record: Record) -> int:
    """Return on how many examples a trial was trained."""
    return int(record.trial["task"]["train_examples"])


def repeats_of(record: Record) -> int:
    """Return how often each of them comes in an epoch."""
    return int(record.trial["task"].get("repeats", 1))


def standing_from(pairs: Mapping[int, PairedAccuracy], unwanted: Standing) -> int | None:
    """Return the size from which on, to the largest, a pair does not stand so.

    Args:
        pairs: by size; all that were tested count.
        unwanted: the standing that ends the run.

    Returns:
        ``None`` where it stands so, or is not tested, at the largest size.
    """
    found = None
    for size in sorted(pairs, reverse=True):
        if pairs[size].standing in (unwanted, Standing.UNTESTED):
            break
        found = size
    return found

"""What was measured of serving, by method, and the percentiles that tables show."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from peftcore.methods import Trains
from peftcore.report.summary import MethodSummary, by_method
from peftcore.results.records import Record
from peftcore.results.serving import ATTACHED, MEASURED, MERGED, PLAIN, PREDICT


@dataclass(frozen=True)
class Spread:
    """Repeated measurements of one thing.

    Attributes:
        median: half of them are below.
        low: one in twenty is below.
        high: one in twenty is above.
    """

    median: float
    low: float
    high: float

    @classmethod
    def of(cls, values: Sequence[float]) -> Spread | None:
        """Return the spread of values, between neighbours in proportion; ``None`` of none."""
        if not values:
            return None
        low, median, high = np.percentile(values, [5, 50, 95])
        return cls(float(median), float(low), float(high))

    def show(self, times: float = 1.0) -> str:
        """Return median and percentiles, multiplied, with two digits after the point."""
        median, low, high = (f"{times * one:,.2f}" for one in (self.median, self.low, self.high))
        return f"{median} [{low}, {high}]"


@dataclass(frozen=True)
class Served:
    """What was measured of one method.

    Attributes:
        method: the method.
        record: its record; ended well.
    """

    method: MethodSummary
    record: Record

    @property
    def is_adapter(self) -> bool:
        """Whether an adapter was served, and not weights that stand in the place of the model's."""
        return bool(self.record.trial["hyperparameters"]["trains"] == Trains.ADAPTER)

    @property
    def settings(self) -> Mapping[str, Any]:
        """How it was measured."""
        found: Mapping[str, Any] = self.record.trial["serving"]
        return found

    @property
    def serving(self) -> Mapping[str, Any]:
        """What was measured."""
        measured = self.record.measurement
        assert measured is not None
        return measured.serving or {}

    @property
    def figures(self) -> Sequence[Mapping[str, Any]]:
        """All figures, measured or not."""
        return list(self.serving.get("figures", ()))

    def figure(
        self,
        what: str,
        served: str | None = None,
        residents: int | None = None,
        examples: int | None = None,
    ) -> Mapping[str, Any] | None:
        """Return the figure that these words name; ``None`` where the record has none.

        Args:
            what: what was measured.
            served: how the model predicts.
            residents: how many adapters it holds; ``None`` for whatever number.
            examples: how many are predicted together.
        """
        for one in self.figures:
            named = (one["what"], one["served"], one["examples"]) == (what, served, examples)
            if named and residents in (None, one["residents"]):
                return one
        return None

    def seconds(self, *names: Any, **more: Any) -> list[float]:
        """Return the seconds of a figure; nothing where it was not measured."""
        found = self.figure(*names, **more)
        if found is None or found["status"] != MEASURED:
            return []
        return list(found["seconds"])

    def ratios(self, served: str, residents: int, examples: int) -> list[float]:
        """Return predictions' seconds over those of the plain model, each of the same examples."""
        ours = self.seconds(PREDICT, served, residents, examples)
        plain = self.seconds(PREDICT, PLAIN, 0, examples)
        return [a / b for a, b in zip(ours, plain, strict=False) if b]


def gather_served(records: Sequence[Record]) -> list[Served]:
    """Return what was measured of each method, in the order of the declarations."""
    return [Served(method, method.finished[-1]) for method in by_method(records) if method.finished]


def kinds(served: Sequence[Served]) -> list[tuple[str, int, str]]:
    """Return how models predict: the way, how many adapters they hold, and what a table calls it.

    The plain model comes first, then one resident and several, then the merged one.
    """
    counts = sorted({count for one in served for count in one.settings["residents"]})
    attached = [
        (ATTACHED, count, "Attached" if count == 1 else f"{count} resident") for count in counts
    ]
    return [(PLAIN, 0, "Plain model"), *attached, (MERGED, 0, "Merged")]


def batch_size(one: Served) -> int:
    """Return how many examples are predicted together."""
    return int(one.settings["batch_size"])

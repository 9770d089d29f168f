"""Verdicts: of one metric of one method, of a method, of a run; and the exit code that follows."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from enum import StrEnum
from typing import Any

from peftcore.report.metrics import Metric
from peftcore.statistics.shifts import Wanted

ALL_METHODS = "all methods"
"""Stands in a method's place where the mean over all of them is tested."""


class Verdict(StrEnum):
    """What the gate says, in the order in which it is decided: the first that holds."""

    INVALID = "INVALID"
    FLOOR = "FLOOR"
    IDENTICAL = "PASS (identical)"
    REGRESSION = "REGRESSION"
    PASS = "PASS"
    INCONCLUSIVE = "INCONCLUSIVE"


WORST_FIRST = (
    Verdict.INVALID,
    Verdict.FLOOR,
    Verdict.REGRESSION,
    Verdict.INCONCLUSIVE,
    Verdict.PASS,
    Verdict.IDENTICAL,
)
"""The verdict on a method, or on a run, is the first of these that any of its cells has."""

FAILING = frozenset({Verdict.INVALID, Verdict.FLOOR, Verdict.REGRESSION})
"""What fails the gate under ``fail``."""


class GateMode(StrEnum):
    """What a verdict does to the exit code."""

    OFF = "off"
    WARN = "warn"
    FAIL = "fail"
    STRICT = "strict"


@dataclass(frozen=True, kw_only=True)
class Look:
    """One of several looks at a run that adds seeds until it is decided.

    Each look spends its share of the error rates. By the union bound they are kept whatever the
    looks see, as the shares of all looks add up to one.

    Attributes:
        seeds: how many a method has at this look.
        share: of the error rates.
    """

    seeds: int
    share: float


@dataclass(frozen=True, kw_only=True)
class Tested:
    """What a test of a cell found; numbers are in points or in percent, as ``unit`` says.

    Attributes:
        change: the run less the baseline, positive where the number grew.
        interval: 90%, two-sided: its worse end is the one-sided 95% bound.
        unit: ``"points"`` or ``"%"``.
        p_worse: that it is not worse, corrected for the number of cells (Holm).
        p_better: likewise that it is not better.
        bound: the one-sided bound of the loss.
        confidence: of that bound.
        margin: the loss that does not matter.
        significance: what ``p_worse`` must stay under.
        wanted: how many seeds would settle it; ``None`` where it is settled.
    """

    change: float
    interval: tuple[float, float]
    unit: str
    p_worse: float
    p_better: float
    bound: float
    confidence: float
    margin: float
    significance: float
    wanted: Wanted | None = None


@dataclass(frozen=True, kw_only=True)
class Cell:
    """One metric of one method.

    Attributes:
        method: the method's slug, or :data:`ALL_METHODS`.
        metric: what was compared.
        verdict: ``None`` where the numbers are told and not judged.
        words: why, in a sentence without its full stop.
        before: the mean of the baseline, in the metric's unit; ``None`` where there is none.
        after: the mean of the run, likewise.
        seeds: how many of the baseline and of the run.
        tested: what a test found; ``None`` where nothing was tested.
        better: whether it is better than chance would make it.
    """

    method: str
    metric: Metric
    verdict: Verdict | None
    words: str = ""
    before: float | None = None
    after: float | None = None
    seeds: tuple[int, int] = (0, 0)
    tested: Tested | None = None
    better: bool = False

    @property
    def open(self) -> bool:
        """Whether further seeds can settle it, the baseline as it is."""
        wanted = self.tested.wanted if self.tested else None
        if self.verdict is not Verdict.INCONCLUSIVE or wanted is None:
            return False
        return wanted.more is not None or wanted.each is None

    def to_json(self) -> dict[str, Any]:
        """Return this cell as JSON values."""
        tested = self.tested
        return {
            "method": self.method,
            "metric": self.metric.key,
            "verdict": None if self.verdict is None else str(self.verdict),
            "reason": self.words,
            "baseline": self.before,
            "current": self.after,
            "unit": self.metric.unit,
            "seeds": {"baseline": self.seeds[0], "current": self.seeds[1]},
            "better": self.better,
            "test": tested
            and {
                "change": tested.change,
                "interval": list(tested.interval),
                "unit": tested.unit,
                "p_worse": tested.p_worse,
                "p_better": tested.p_better,
                "bound": tested.bound,
                "confidence": tested.confidence,
                "margin": tested.margin,
                "significance": tested.significance,
                "more_seeds": tested.wanted.more if tested.wanted else None,
                "seeds_each": tested.wanted.each if tested.wanted else None,
            },
        }


@dataclass(frozen=True, kw_only=True)
class Verdicts:
    """What the gate says of one run.

    Attributes:
        scenario: its name.
        cells: by method and metric.
        changed: by method, which hyperparameters differ.
        environment: what differs between the environments of the two sides.
        left_out: labels of the metrics that were not to be gated.
        not_in_baseline: labels of those that the baseline was made without, and the run has.
        not_asked_for: methods of the baseline that were not to be run.
        look: at which of several looks this was said.
    """

    scenario: str
    cells: tuple[Cell, ...]
    changed: dict[str, list[str]] = field(default_factory=dict)
    environment: tuple[str, ...] = ()
    left_out: tuple[str, ...] = ()
    not_in_baseline: tuple[str, ...] = ()
    not_asked_for: tuple[str, ...] = ()
    look: Look = field(default_factory=lambda: Look(seeds=0, share=1.0))

    @property
    def methods(self) -> list[str]:
        """The methods in order, the mean over all of them last where there is one."""
        return list(dict.fromkeys(cell.method for cell in self.cells))

    def of(self, method: str) -> list[Cell]:
        """Return the cells of one method."""
        return [cell for cell in self.cells if cell.method == method]

    def cell(self, method: str, metric: str) -> Cell:
        """Return one cell, by the method's slug and the metric's key."""
        return next(c for c in self.cells if (c.method, c.metric.key) == (method, metric))

    def verdict_on(self, method: str) -> Verdict:
        """Return the verdict on one method."""
        return worst(self.of(method))

    @property
    def verdict(self) -> Verdict:
        """The verdict on the run."""
        return worst(self.cells)

    @property
    def better(self) -> list[Cell]:
        """The cells that are better than chance would make them."""
        return [cell for cell in self.cells if cell.better]

    @property
    def open(self) -> bool:
        """Whether nothing has failed, and further seeds can settle what is open."""
        return not any(cell.verdict in FAILING for cell in self.cells) and any(
            cell.open for cell in self.cells
        )

    def fails(self, mode: GateMode) -> bool:
        """Return whether the gate fails."""
        if mode in (GateMode.OFF, GateMode.WARN):
            return False
        return self.verdict in FAILING or (
            mode is GateMode.STRICT and self.verdict is Verdict.INCONCLUSIVE
        )

    def to_json(self) -> dict[str, Any]:
        """Return this as JSON values."""
        return {
            "scenario": self.scenario,
            "verdict": str(self.verdict),
            "methods": {method: str(self.verdict_on(method)) for method in self.methods},
            "cells": [cell.to_json() for cell in self.cells],
            "changed": self.changed,
            "environment": list(self.environment),
            "metrics_left_out": list(self.left_out),
            "metrics_not_in_baseline": list(self.not_in_baseline),
            "methods_not_asked_for": list(self.not_asked_for),
            "look": {"seeds": self.look.seeds, "share": self.look.share},
        }


def worst(cells: Iterable[Cell]) -> Verdict:
    """Return the worst verdict of any cell; nothing that was judged is no pass."""
    given = {cell.verdict for cell in cells}
    return next((verdict for verdict in WORST_FIRST if verdict in given), Verdict.INVALID)


def looks(first: int, most: int, group: int = 3) -> Sequence[Look]:
    """Return the looks of a run that begins with ``first`` seeds and adds groups up to ``most``.

    Each spends as large a share of the error rates as it adds of the seeds, as the spending
    function of Kim and DeMets with exponent 1 does (Biometrika 74, 1987). The shares add up to one.
    """
    counts = [first, *range(first + group, most, group)]
    if most > first:
        counts.append(most)
    return [
        Look(seeds=count, share=(count - before) / counts[-1])
        for before, count in zip([0, *counts], counts, strict=False)
    ]

"""What the sections share: runs found by part and engine, and ratios of the two of one pair."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from statistics import median

from peftcore.report.metrics import MISSING
from peftcore.results.records import Measurement, Record
from peftcore.trials import Engine, Outcome, Part

Cost = Callable[[Measurement], float | None]
"""Reads one figure of a measurement; less of it is better."""

COSTS: dict[str, Cost] = {
    "Wall time": lambda m: m.train_seconds,
    "Step": lambda m: m.step_seconds,
    "CPU time": lambda m: m.train_cpu_seconds,
    "Peak memory": lambda m: m.peak_bytes,
    "Start to trained": lambda m: m.seconds_to_trained,
}
"""What the engines are compared by; the first is the headline."""

NAMES = {Engine.TRAINER: "Trainer", Engine.PEFTCORE: "peftcore"}
"""What the engines are called in tables and plots."""

COLOURS = {Engine.TRAINER: "#777777", Engine.PEFTCORE: "#0072B2"}
LINES = {Engine.TRAINER: "--", Engine.PEFTCORE: "-"}


@dataclass(frozen=True)
class Spread:
    """Ratios of several pairs."""

    ratios: tuple[float, ...]

    @property
    def middle(self) -> float:
        """The median."""
        return median(self.ratios)

    def show(self) -> str:
        """Return the median with the smallest and the largest, or a dash where there is none."""
        if not self.ratios:
            return MISSING
        return f"{self.middle:.2f} [{min(self.ratios):.2f}, {max(self.ratios):.2f}]"


def ratios(
    above: Mapping[int, Measurement], below: Mapping[int, Measurement], cost: Cost
) -> Spread:
    """Return one figure of some runs over that of others, seed by seed."""
    found = []
    for seed in sorted(above.keys() & below.keys()):
        numerator, denominator = cost(above[seed]), cost(below[seed])
        if numerator is not None and denominator:
            found.append(numerator / denominator)
    return Spread(tuple(found))


def of_parts(records: Sequence[Record], *parts: Part) -> list[Record]:
    """Return the records of these parts; one that names no part is of pairs or their ablation.

    Records of before there were other parts name none.
    """
    return [record for record in records if record.trial.get("part", Part.PAIRS) in parts]


def engine_of(record: Record) -> Engine:
    """Return the engine that ran the trial."""
    return Engine(record.trial["engine"])


def accelerations_of(record: Record) -> tuple[str, ...]:
    """Return the names of the accelerations that were asked for."""
    return tuple(record.trial["recipe"].get("accelerations", ()))


def measured(record: Record) -> Measurement | None:
    """Return the numbers of a trial that ended well."""
    return record.measurement if record.outcome is Outcome.OK else None


def not_measured(part: str, *, tried: bool = False) -> str:
    """Return the sentence in the place of a part that has nothing to compare.

    Args:
        part: what ``-k`` takes.
        tried: whether it has records, though not all that a comparison needs ended well.
    """
    if tried:
        return (
            "Not all runs that would be compared ended well, so nothing is said of them: see the "
            "trials without a result."
        )
    return (
        "No record here is of this part, so nothing is said of it; "
        f"`pytest benchmarks/test_engine.py -k {part}` measures it."
    )

"""What the options ask of the gate, checked before anything runs."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path

from peftcore.errors import UsageError, member
from peftcore.gate.evidence import Evidence
from peftcore.gate.metrics import GATED, parse_metrics
from peftcore.gate.sides import read_side
from peftcore.gate.verdicts import GateMode
from peftcore.report.metrics import Metric

SUMMARY_NAME = "gate.md"


@dataclass(frozen=True, kw_only=True)
class Gate:
    """A gate that was asked for.

    Attributes:
        baseline: what to compare with; at least one trial, all of one scenario.
        mode: what a verdict does to the exit code.
        seeds_max: up to how many seeds a method the run may add; ``None`` to add none.
        metrics: those to judge.
        summary: where the Markdown goes; ``None`` for beside the report.
    """

    baseline: Sequence[Evidence] = field(repr=False)
    mode: GateMode
    seeds_max: int | None
    metrics: Sequence[Metric] = GATED
    summary: Path | None = None

    @property
    def scenario(self) -> str:
        """The scenario that the baseline is of."""
        return self.baseline[0].record.scenario


def parse_gate(
    *,
    baseline: str | None,
    mode: str | None,
    seeds_max: str | None,
    metrics: str | None,
    summary: str | None,
    prefix: str,
) -> Gate | None:
    """Return the gate that options ask for; ``None`` where they ask for none, or for it to be off.

    Args:
        baseline: the file, or whatever else a side can be read from.
        mode: by default ``fail`` where there is a baseline.
        seeds_max: a whole number.
        metrics: names with commas between; by default all.
        summary: a file.
        prefix: what the options begin with, for messages.

    Raises:
        UsageError: a value can't be meant, the baseline can't be read, or there is none to
            compare with although the options ask for it.
    """
    chosen = None if mode is None else member(GateMode, mode, where=f"{prefix}gate")
    if baseline is None:
        given = {
            "gate": chosen not in (None, GateMode.OFF),
            "seeds-max": seeds_max is not None,
            "gate-metrics": metrics is not None,
            "gate-summary": summary is not None,
        }
        asked = [name for name, is_given in given.items() if is_given]
        if asked:
            raise UsageError(
                f"{prefix}{asked[0]} compares with a baseline and there is none: name it by "
                f"{prefix}baseline PATH; peftcore baseline --out PATH makes one"
            )
        return None
    if chosen is GateMode.OFF:
        return None
    most = None
    if seeds_max is not None:
        if not seeds_max.strip().isdecimal() or not 1 <= int(seeds_max) <= 1000:
            raise UsageError(
                f"{prefix}seeds-max {seeds_max!r} is not usable: expected how many seeds a method "
                "may have in the end, 1 to 1000"
            )
        most = int(seeds_max)
    return Gate(
        baseline=read_side(Path(baseline)),
        mode=chosen or GateMode.FAIL,
        seeds_max=most,
        metrics=GATED if metrics is None else parse_metrics(metrics, where=f"{prefix}gate-metrics"),
        summary=None if summary is None else Path(summary),
    )

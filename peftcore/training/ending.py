"""What a trial leaves, whatever it trained. Needs no torch."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from peftcore.data.examples import Examples
from peftcore.measuring.phases import Phases


@dataclass(frozen=True)
class TrialResult:
    """What a trial that went well leaves: its numbers and its answers.

    Attributes:
        measurement: the ``measurement`` part of the record, as plain JSON values.
        predictions: the predicted label of each evaluated example.
        labels: the true label of each.
    """

    measurement: dict[str, Any]
    predictions: list[int]
    labels: list[int]


def costs(phases: Phases, *, evaluations: int) -> dict[str, Any]:
    """Return what the phases took, as keys of the measurement."""
    training = phases["train"]
    return {
        "train_seconds": training.seconds,
        "train_cpu_seconds": training.cpu_seconds,
        "eval_seconds": phases["evaluate"].seconds / evaluations,
        "peak_bytes": training.peak_bytes,
        "peak_reserved_bytes": training.peak_reserved_bytes,
        "peak_file_bytes": training.peak_file_bytes,
        "phases": {name: tally.cost() for name, tally in phases.items()},
    }


def about_the_test_set(examples: Examples) -> dict[str, Any]:
    """Return what a reader must know of the evaluated examples, as keys of the measurement."""
    return {
        "evaluated_examples": len(examples),
        "majority_share": examples.majority_share(),
    }

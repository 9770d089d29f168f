"""Runs that look like real ones, made without training anything."""

from __future__ import annotations

import random
from collections.abc import Iterable, Sequence
from dataclasses import replace
from typing import Any

from peftcore.results.records import Record
from tests.report.conftest import STUDY, build

METHODS = ("full", "lora", "ia3")
EXAMPLES = 400


def trial(method: str = "lora", seed: int = 42, *, of: str = "", **changes: Any) -> Record:
    """Return one record; equal arguments give records that are equal to the bit.

    Args:
        method: its slug.
        seed: the seed.
        of: what tells one run's chance from another's.
        changes: fields of the measurement, or arguments of ``build``.
    """
    draw = random.Random(f"{of} {method} {seed}")
    known = STUDY[method]
    numbers = {
        "accuracy": known["accuracy"] + draw.gauss(0, 0.004),
        "train_seconds": known["train_seconds"] * (1 + draw.gauss(0, 0.004)),
        "peak_bytes": round(known["peak_bytes"] * (1 + draw.gauss(0, 0.0005))),
        "operations": 4_321,
        "tensor_bytes": 123_456_789,
        "weights_sha256": f"{draw.getrandbits(256):064x}",
        "shared": False,
        "examples": EXAMPLES,
        "gpu": False,
        # Without one, the scenario's floors would hold.
        "overrides": ("test_examples=400",),
    }
    record = build(method, seed=seed, **{**numbers, **changes})
    return replace(record, trial={**record.trial, "part": None})


def run(
    seeds: Iterable[int] = (42, 43, 44),
    methods: Sequence[str] = METHODS,
    *,
    of: str = "",
    **changes: Any,
) -> list[Record]:
    """Return the records of a whole run."""
    return [trial(method, seed, of=of, **changes) for method in methods for seed in list(seeds)]


def worse(records: Iterable[Record], points: float) -> list[Record]:
    """Return records whose accuracy is lower by these points, with predictions to match."""
    found = []
    for record in records:
        assert record.measurement is not None
        assert record.measurement.accuracy is not None
        accuracy = record.measurement.accuracy - points / 100
        found.append(
            trial(record.method, record.seed, of="worse", accuracy=accuracy) if points else record
        )
    return found


def with_trial(record: Record, **changes: Any) -> Record:
    """Return the record of a trial that differs in these keys."""
    return replace(record, trial={**record.trial, **changes})


def with_measured(record: Record, **changes: Any) -> Record:
    """Return a record whose measurement differs in these fields, and in nothing else."""
    assert record.measurement is not None
    return replace(record, measurement=replace(record.measurement, **changes))


def with_environment(record: Record, **changes: Any) -> Record:
    """Return a record from another environment."""
    return replace(record, environment={**record.environment, **changes})


def with_hardware(record: Record, **changes: Any) -> Record:
    """Return a record from other hardware."""
    hardware = {**record.environment["hardware"], **changes}
    return with_environment(record, hardware=hardware)

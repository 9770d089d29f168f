"""Records and environments made by hand, for tests of what keeps them."""

from __future__ import annotations

import copy
from collections.abc import Callable
from typing import Any

import pytest

from peftcore.results.records import Measurement, PhaseCost, Record
from peftcore.trials import Outcome

MakeRecord = Callable[..., Record]

ENVIRONMENT: dict[str, Any] = {
    "hardware": {"cpu": "Some CPU", "cores": 4, "memory_bytes": 8_000_000_000, "gpu": None},
    "packages": {"numpy": "2.1.0", "torch": "2.13.0"},
    "python": "3.11.7",
    "platform": "Linux-6.1",
    "threads": 4,
    "git_commit": "0" * 40,
    "git_dirty": False,
    "sources_sha256": "a" * 64,
}


@pytest.fixture
def environment() -> dict[str, Any]:
    """An environment that a test may change."""
    return copy.deepcopy(ENVIRONMENT)


def build(
    method: str = "lora",
    *,
    seed: int = 42,
    scenario: str = "embedded",
    setting: str = "0123456789ab",
    outcome: Outcome = Outcome.OK,
    environment: dict[str, Any] | None = None,
    created: str | None = "2026-01-02T03:04:05+00:00",
    **measured: Any,
) -> Record:
    """Return one record; ``measured`` replaces fields of its measurement."""
    ok = outcome is Outcome.OK
    numbers: dict[str, Any] = {
        "accuracy": 0.75,
        "train_seconds": 1.5,
        "peak_bytes": 600_000_000,
        "losses": [[1, 0.7], [2, 0.5]],
        "phases": {"train": PhaseCost(seconds=1.5, cpu_seconds=1.25, peak_bytes=600_000_000)},
        "checks": [{"name": "head", "detail": "is trained"}],
    }
    return Record(
        trial={
            "id": f"{method}-{scenario}-s{seed}-{setting}",
            "method": method,
            "scenario": scenario,
            "seed": seed,
            "setting_id": setting,
            "weights": "pretrained",
        },
        outcome=outcome,
        error=None if ok else f"it was {outcome}",
        measurement=Measurement(**{**numbers, **measured}) if ok else None,
        environment=copy.deepcopy(ENVIRONMENT if environment is None else environment),
        predictions=(0, 1, 1, 0) if ok else None,
        labels=(0, 1, 0, 0) if ok else None,
        created=created,
    )


@pytest.fixture
def record() -> MakeRecord:
    """Return the function that makes one record."""
    return build

"""Runs of a comparison of the engines, made up: no number here was measured."""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence
from typing import Any

import pytest

from peftcore.accelerations import ALL
from peftcore.results.records import Record
from peftcore.trials import Part
from tests.report.conftest import build


def ran(
    method: str,
    seed: int,
    part: Part | None,
    *,
    engine: str = "peftcore",
    accelerations: Sequence[str] | None = None,
    task: dict[str, Any] | None = None,
    recipe: dict[str, Any] | None = None,
    **told: Any,
) -> Record:
    """Return the record of one run of one part."""
    if accelerations is None:
        accelerations = () if engine == "trainer" else ALL
    made = build(method, scenario="imdb-minilm", seed=seed, gpu=False, **told)
    task = {**made.trial["task"], **(task or {})}
    recipe = {
        **made.trial["recipe"],
        "precision": "bf16",
        **(recipe or {}),
        "accelerations": list(accelerations),
    }
    setting = f"{part}-{engine}-{'+'.join(accelerations)}-{task['max_length']}"
    setting += f"-{recipe['batch_size']}-{recipe['precision']}"
    trial = {
        **made.trial,
        "id": f"{made.trial['id']}-{setting}",
        "engine": engine,
        "setting_id": setting,
        "task": task,
        "recipe": recipe,
        "part": part,
    }
    return dataclasses.replace(made, trial=trial)


def row(text: str, *start: str) -> list[str]:
    """Return the cells of the first row of a table that begins with these."""
    for line in text.splitlines():
        cells = [cell.strip() for cell in line.strip("|").split("|")]
        if line.startswith("|") and cells[: len(start)] == list(start):
            return cells
    raise AssertionError(f"no row begins with {start}")


def grown(method: str, part: Part, length: int, batch: int, seed: int = 42) -> list[Record]:
    """Return one pair of a sweep: Trainer takes thrice the time and twice the memory."""
    size: dict[str, Any] = {
        "task": {"max_length": length, "train_examples": 11 * batch},
        "recipe": {"batch_size": batch, "epochs": 1},
        "losses": [[step, 0.7] for step in range(1, 12)],
        "train_tokens": 11 * batch * length // 2,
    }
    step = 1e-5 * length * batch * (1 + 0.01 * (seed - 42))
    memory = 400_000_000 + 1000 * length * batch
    return [
        ran(method, seed, part, step_seconds=step, peak_bytes=memory, **size),
        ran(
            method,
            seed,
            part,
            engine="trainer",
            step_seconds=3 * step,
            peak_bytes=2 * memory,
            **size,
        ),
    ]


def triple(
    method: str,
    seed: int = 42,
    *,
    trainer: float = 0.02,
    engine: float = 0.021,
    between: float = 0.03,
    losses: tuple[Sequence[float], Sequence[float], Sequence[float]] = (
        (0.70, 0.60, 0.50),
        (0.71, 0.60, 0.48),
        (0.70, 0.61, 0.51),
    ),
) -> list[Record]:
    """Return a run in 32 bits and those of Trainer and the engine, with distances of weights."""

    def steps(values: Sequence[float]) -> list[list[float]]:
        return [[step, loss] for step, loss in enumerate(values, start=1)]

    exact = ran(
        method,
        seed,
        Part.EQUALITY,
        accelerations=(),
        recipe={"precision": "fp32", "dropout": 0.0},
        losses=steps(losses[0]),
        weights_moved=2.5,
    )
    theirs = ran(
        method,
        seed,
        Part.EQUALITY,
        engine="trainer",
        recipe={"dropout": 0.0},
        losses=steps(losses[1]),
        weights_moved=2.4,
        weights_apart={exact.id: trainer},
    )
    ours = ran(
        method,
        seed,
        Part.EQUALITY,
        recipe={"dropout": 0.0},
        losses=steps(losses[2]),
        weights_moved=2.6,
        weights_apart={exact.id: engine, theirs.id: between},
    )
    return [exact, theirs, ours]


def learned(method: str, trainer: Sequence[float], engine: Sequence[float]) -> list[Record]:
    """Return pairs that end at these accuracies of 1,000 test examples, seeds from 42 on."""
    return [
        ran(
            method,
            42 + number,
            Part.LEARNING,
            engine=name,
            accuracy=accuracy,
            examples=1000,
            task={"max_length": 128, "train_examples": 1000},
            recipe={"epochs": 1},
        )
        for name, accuracies in (("trainer", trainer), ("peftcore", engine))
        for number, accuracy in enumerate(accuracies)
    ]


def every_part() -> list[Record]:
    """Return a comparison of every part."""
    records = []
    for method in ("full", "lora"):
        for seed in (42, 43):
            for engine, times in (("peftcore", 1.0), ("trainer", 2.0)):
                records.append(
                    ran(
                        method,
                        seed,
                        Part.PAIRS,
                        engine=engine,
                        train_seconds=10 * times,
                        step_seconds=0.1 * times,
                        seconds_to_trained=15 * times,
                    )
                )
            for length in (64, 128, 256, 512):
                records += grown(method, Part.LENGTH, length, 8, seed)
            for batch in (1, 4, 16, 64):
                records += grown(method, Part.BATCH, 128, batch, seed)
            records += grown(method, Part.SHARE, 128, 8, seed)
        records += triple(method)
        records += learned(method, (0.80, 0.81, 0.79), (0.80, 0.812, 0.788))
    records.append(ran("lora", 1042, Part.ABLATION, step_seconds=0.1))
    fewer = [name for name in ALL if name != "cheap-dropout"]
    records.append(ran("lora", 1042, Part.ABLATION, accelerations=fewer, step_seconds=0.2))
    return records


@pytest.fixture
def everything() -> list[Record]:
    """A comparison of every part."""
    return every_part()

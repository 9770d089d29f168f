"""Reports to be audited: the made-up records of the report's tests, made to hold together."""

from __future__ import annotations

import copy
import json
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import pytest

from peftcore.audit.consistency import setting_of
from peftcore.methods import METHODS
from peftcore.results.records import Record
from peftcore.trials import fingerprint
from tests.report.conftest import STUDY, build, over_seeds, record, study  # noqa: F401 (fixtures)

Content = dict[str, Any]

_HYPERPARAMETERS = {method.slug: method.hyperparameters() for method in METHODS}


def whole(made: Record) -> Content:
    """Return a made-up record as JSON with all that must hold together doing so."""
    content: Content = json.loads(made.to_line())
    trial = content["trial"]
    trial["hyperparameters"] = dict(_HYPERPARAMETERS[trial["method"]])
    trial["task"]["train_examples"] = 600
    measured = content["measurement"]
    if measured is not None:
        seconds = measured["train_seconds"]
        measured["train_tokens"] = 250_000
        measured["tokens_per_second"] = 250_000 / seconds
    return named(content)


def named(content: Content) -> Content:
    """Return a record under the ids that its description gives."""
    trial = content["trial"]
    setting = setting_of(trial)
    assert setting is not None
    identity = {
        **setting,
        "method": trial["method"],
        "hyperparameters": trial["hyperparameters"],
        "learning_rate": trial["recipe"]["learning_rate"],
        "seed": trial["seed"],
    }
    name = f"{trial['method']}-{trial['scenario']}-s{trial['seed']}"
    trial["setting_id"] = fingerprint(setting)
    trial["id"] = f"{name}-{fingerprint(identity)}"
    return content


def write_lines(folder: Path, contents: Sequence[Content]) -> None:
    """Write records beside a report as they are, without asking whether they hold together."""
    lines = [json.dumps(content, sort_keys=True) for content in contents]
    (folder / "records.jsonl").write_text("\n".join(lines) + "\n", encoding="utf-8")


@pytest.fixture
def contents() -> list[Content]:
    """Return whole records of three methods and the bag of words, two seeds each."""
    return [
        whole(build(method, seed=seed, examples=400, accuracy=accuracy + 0.01 * (seed - 42)))
        for method, accuracy in (("full", 0.91), ("lora", 0.9), ("ia3", 0.85), ("bow", 0.87))
        for seed in (42, 43)
    ]


@pytest.fixture
def changed(contents: list[Content]) -> Callable[..., list[Content]]:
    """Return a function that changes one value of the first record and returns all."""

    def change(*path: str | int, to: Any) -> list[Content]:
        made = copy.deepcopy(contents)
        place: Any = made[0]
        for key in path[:-1]:
            place = place[key]
        place[path[-1]] = to
        return made

    return change

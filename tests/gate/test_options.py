from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from peftcore.errors import UsageError
from peftcore.gate.baseline import write_baseline
from peftcore.gate.metrics import GATED, GROUPS, parse_metrics
from peftcore.gate.options import Gate, parse_gate
from peftcore.gate.verdicts import GateMode
from peftcore.report.metrics import ACCURACY, METRICS, TRAIN_TIME
from tests.gate.runs import run


@pytest.fixture
def file(tmp_path: Path) -> str:
    write_baseline(tmp_path / "b.json", run())
    return str(tmp_path / "b.json")


def parsed(**given: Any) -> Gate | None:
    nothing = dict.fromkeys(("baseline", "mode", "seeds_max", "metrics", "summary"))
    return parse_gate(**{**nothing, **given}, prefix="--peft-")


def test_a_baseline_alone_means_fail(file: str) -> None:
    gate = parsed(baseline=file)
    assert gate is not None
    assert (gate.mode, gate.seeds_max, gate.metrics) == (GateMode.FAIL, None, GATED)
    assert gate.scenario == "imdb-roberta"


def test_off_compares_nothing_and_reads_nothing() -> None:
    assert parsed() is None
    assert parsed(mode="off") is None
    assert parsed(mode="off", baseline="absent.json") is None


@pytest.mark.parametrize(
    ("given", "option"),
    [
        ({"mode": "fail"}, "--peft-gate "),
        ({"mode": "warn"}, "--peft-gate "),
        ({"seeds_max": "9"}, "--peft-seeds-max "),
        ({"metrics": "accuracy"}, "--peft-gate-metrics "),
        ({"summary": "gate.md"}, "--peft-gate-summary "),
    ],
)
def test_a_gate_without_a_baseline_is_refused(given: dict[str, str], option: str) -> None:
    with pytest.raises(UsageError, match=f"{option}compares with a baseline and there is none"):
        parsed(**given)


@pytest.mark.parametrize("value", ["0", "nine", "-3", "1001", "3.5", ""])
def test_seeds_that_can_not_be_meant(file: str, value: str) -> None:
    with pytest.raises(UsageError, match="--peft-seeds-max"):
        parsed(baseline=file, seeds_max=value)


def test_a_mode_that_does_not_exist(file: str) -> None:
    with pytest.raises(UsageError, match="did you mean 'strict'"):
        parsed(baseline=file, mode="strickt")


def test_metrics_are_named_by_groups_and_keys() -> None:
    assert parse_metrics("time, accuracy", where="x") == (ACCURACY, TRAIN_TIME)
    assert parse_metrics("train_seconds,accuracy", where="x") == (ACCURACY, TRAIN_TIME)
    assert parse_metrics(",".join(GROUPS), where="x") == GATED
    with pytest.raises(UsageError, match="did you mean 'accuracy'"):
        parse_metrics("acuracy", where="x")
    with pytest.raises(UsageError, match="x names no metric"):
        parse_metrics(",", where="x")


def test_every_gated_metric_has_a_direction_or_is_fixed() -> None:
    for metric in METRICS:
        if metric.margin is not None:
            assert metric.better
            assert metric.difference
            assert metric.counted is None
        elif metric.counted == "cost":
            assert metric.better == "lower"

"""The report of a search over learning rates."""

from __future__ import annotations

import dataclasses
from pathlib import Path

import pytest

from peftcore.errors import UsageError
from peftcore.report import rates
from peftcore.report.rates import compose, is_search, write_rates_report
from peftcore.results.records import Outcome, Record, read_records
from peftcore.scenarios import find_scenario
from tests.report.conftest import MakeRecord


def tried(
    record: MakeRecord, method: str, rate: float, accuracy: float, split: str = "tuning"
) -> Record:
    """Return a record of one rate of a search in the scenario ``imdb-minilm``."""
    made = record(method, scenario="imdb-minilm", accuracy=accuracy)
    trial = dict(made.trial)
    trial["id"] = f"{method}-{rate}"
    trial["recipe"] = {**trial["recipe"], "learning_rate": rate}
    trial["task"] = {**trial["task"], "split": split}
    return dataclasses.replace(made, trial=trial)


@pytest.fixture
def search(record: MakeRecord, monkeypatch: pytest.MonkeyPatch) -> list[Record]:
    declared = dataclasses.replace(find_scenario("imdb-minilm"), rates={"full": 1e-4, "lora": 1e-3})
    monkeypatch.setattr(rates, "find_scenario", lambda _: declared)
    return [
        tried(record, "lora", 1e-3, 0.860),
        tried(record, "lora", 3e-3, 0.851),
        tried(record, "full", 1e-4, 0.880),
        tried(record, "full", 3e-5, 0.870),
        tried(record, "full", 3e-4, 0.862),
        tried(record, "lora", 3e-4, 0.849),
    ]


def row(text: str, method: str) -> list[str]:
    line = next(line for line in text.splitlines() if line.startswith(f"| {method}"))
    return [cell.strip() for cell in line.strip("|").split("|")]


def test_several_rates_of_one_method_and_seed_are_a_search(search: list[Record]) -> None:
    assert is_search(search)
    assert not is_search(search[1:3])


def test_each_rate_is_a_column_and_the_best_of_each_method_bold(search: list[Record]) -> None:
    text = compose(search)
    assert row(text, "Method")[1:] == ["3e-05", "0.0001", "0.0003", "0.001", "0.003"]
    assert row(text, "Full")[1:] == ["87.0", "**88.0** \\*", "86.2", "—", "—"]
    assert row(text, "LoRA")[1:] == ["—", "—", "84.9", "**86.0** \\*", "85.1"]
    assert "lies at the edge" not in text


def test_a_best_rate_at_the_edge_is_told(search: list[Record]) -> None:
    assert "The best rate of LoRA lies at the edge" in compose(search[:3] + search[3:5])


def test_a_failed_trial_has_no_number_and_is_never_best(
    search: list[Record], record: MakeRecord
) -> None:
    failed = dataclasses.replace(
        tried(record, "full", 1e-2, 0.99), outcome=Outcome.NAN, measurement=None, error="x"
    )
    cells = row(compose([*search, failed]), "Full")
    assert cells[-1] == "failed: the loss was not finite"
    assert "**88.0** \\*" in cells


def test_a_search_on_the_test_set_is_refused(
    search: list[Record], record: MakeRecord, tmp_path: Path
) -> None:
    peeked = tried(record, "full", 1e-3, 0.9, split="test")
    with pytest.raises(UsageError, match="split=tuning"):
        write_rates_report([*search, peeked], tmp_path / "rates")
    assert not (tmp_path / "rates").exists()


def test_the_records_it_writes_give_the_same_report(search: list[Record], tmp_path: Path) -> None:
    path = write_rates_report(search, tmp_path)
    again = list(read_records(tmp_path / "records.jsonl"))
    assert len(again) == len(search)
    assert compose(again) == path.read_text(encoding="utf-8")

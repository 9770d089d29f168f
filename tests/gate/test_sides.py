from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest

from peftcore.errors import UsageError
from peftcore.gate.baseline import write_baseline
from peftcore.gate.sides import read_side
from peftcore.results.records import Record, write_records
from peftcore.results.store import Store
from tests.gate.runs import run, trial, with_trial


def keys(path: Path, scenario: str | None = None) -> list[tuple[str, int]]:
    return sorted((one.method, one.seed) for one in read_side(path, scenario=scenario))


def filled(folder: Path, records: list[Record]) -> Path:
    with Store(folder) as store:
        for record in records:
            store.commit(record)
    return folder


def test_a_store_records_a_report_and_a_baseline_are_one_and_the_same(tmp_path: Path) -> None:
    records = run()
    store = filled(tmp_path / "store", records)
    write_records(tmp_path / "report" / "records.jsonl", records)
    write_baseline(tmp_path / "baseline.json", records)
    expected = sorted((record.method, record.seed) for record in records)
    for path in (
        store,
        tmp_path / "report",
        tmp_path / "report" / "records.jsonl",
        tmp_path / "baseline.json",
    ):
        assert keys(path) == expected


def test_of_several_scenarios_one_has_to_be_named(tmp_path: Path) -> None:
    store = filled(tmp_path, [trial("full"), trial("lora", scenario="embedded")])
    with pytest.raises(UsageError, match="holds embedded, imdb-roberta: name one by --scenario"):
        read_side(store)
    assert keys(store, "embedded") == [("lora", 42)]
    with pytest.raises(UsageError, match="no record of scenario 'imdb-minilm'"):
        read_side(store, scenario="imdb-minilm")


def test_a_baseline_of_another_scenario_is_refused(tmp_path: Path) -> None:
    write_baseline(tmp_path / "b.json", run())
    with pytest.raises(UsageError, match="is of scenario imdb-roberta, not embedded"):
        read_side(tmp_path / "b.json", scenario="embedded")


def test_of_two_learning_rates_the_one_that_ran_last_counts(tmp_path: Path) -> None:
    first = trial("full")
    second = with_trial(first, id="full-imdb-roberta-s42-another", recipe={"learning_rate": 1e-8})
    (one,) = read_side(filled(tmp_path, [first, second]))
    assert one.record.id == second.id


def test_of_a_reports_protocols_the_one_that_ran_last_counts(tmp_path: Path) -> None:
    """A report's own stands before others in its file, whichever ran last."""
    own = replace(trial("lora"), created="2026-02-02T00:00:00+00:00")
    other = with_trial(trial("full"), id="another", setting_id="other", protocol="study")
    other = replace(other, created="2026-02-01T00:00:00+00:00")
    write_records(tmp_path / "records.jsonl", [own, other])
    (one,) = read_side(tmp_path)
    assert one.record.id == own.id


def test_comparisons_of_the_engines_are_no_side(tmp_path: Path) -> None:
    store = filled(tmp_path, [with_trial(trial("full"), part="pairs", id="p"), trial("lora")])
    assert keys(store) == [("lora", 42)]


def test_what_is_nothing_is_refused(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="neither a store nor"):
        read_side(tmp_path)
    with pytest.raises(UsageError, match="there is no"):
        read_side(tmp_path / "absent")
    (tmp_path / "empty.jsonl").write_text("")
    with pytest.raises(UsageError, match="holds no record"):
        read_side(tmp_path / "empty.jsonl")

"""The report of a search over learning rates."""

from __future__ import annotations

import dataclasses
from pathlib import Path

import pytest

from peftcore.audit.findings import Ledger
from peftcore.audit.recomputing_rates import recompute_rates
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


def test_of_trials_that_all_failed_none_is_the_best(search: list[Record]) -> None:
    failed = [
        dataclasses.replace(
            one, outcome=Outcome.NAN, measurement=None, predictions=None, labels=None
        )
        if one.method == "lora"
        else one
        for one in search
    ]
    text = compose(failed)
    assert "lies at the edge" not in text
    assert "**" not in "".join(row(text, "LoRA"))
    ledger = Ledger()
    recompute_rates(text, [one.to_json() for one in failed], ledger)
    assert ledger.findings == []


@pytest.mark.parametrize(
    ("right", "wrong"),
    [("**86.0**", "86.0"), ("85.1", "**85.1**"), ("84.9", "**84.9**")],
)
def test_that_the_best_of_each_is_bold_is_checked(
    search: list[Record], right: str, wrong: str
) -> None:
    text = compose(search)
    assert text.count(right) == 1
    ledger = Ledger()
    recompute_rates(text.replace(right, wrong), [one.to_json() for one in search], ledger)
    assert ledger.findings


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
    with pytest.raises(UsageError, match="a search is evaluated on the split “tuning”"):
        write_rates_report([*search, peeked], tmp_path / "rates")
    assert not (tmp_path / "rates").exists()


def test_the_records_it_writes_give_the_same_report(search: list[Record], tmp_path: Path) -> None:
    path = write_rates_report(search, tmp_path)
    again = list(read_records(tmp_path / "records.jsonl"))
    assert len(again) == len(search)
    assert compose(again) == path.read_text(encoding="utf-8")


# Searches by the protocol tuned


@pytest.fixture
def searches(record: MakeRecord) -> list[Record]:
    """Return searches of two methods, each with rates of its own; one trial has diverged."""
    known = {
        "full": {3e-5: 0.871, 1e-4: 0.880, 2e-4: 0.876, 1e-3: None},
        "lora": {3e-4: 0.849, 1e-3: 0.860, 3e-3: 0.866},
    }
    found = []
    for method, accuracies in known.items():
        for rate, accuracy in accuracies.items():
            made = tried(record, method, rate, accuracy or 0.5)
            made = dataclasses.replace(made, trial={**made.trial, "protocol": "tuned"})
            if accuracy is None:
                made = dataclasses.replace(
                    made, outcome=Outcome.NAN, measurement=None, predictions=None, labels=None
                )
            found.append(made)
    return found


def test_a_search_tells_all_it_tried_its_best_and_what_is_declared(searches: list[Record]) -> None:
    assert is_search(searches[:1])
    text = compose(searches)
    assert row(text, "Full")[1:5] == [
        "3e-05: 87.1, 0.0001: 88.0, 0.0002: 87.6, 0.001: —",
        "4",
        "0.0001",
        "88.0",
    ]
    assert row(text, "LoRA")[2:5] == ["3", "0.003", "86.6"]
    assert "The best rate of LoRA lies at the edge" in text
    assert "of 4 full-length trials (fewer of LoRA, see the table) on" in text
    assert "fewer of" not in compose([one for one in searches if one.method == "full"])


def test_its_figures_show_rates_and_what_fewer_trials_would_find(
    searches: list[Record], tmp_path: Path
) -> None:
    path = write_rates_report(searches, tmp_path)
    text = path.read_text(encoding="utf-8")
    for name in ("rates", "expected_best"):
        assert f"figures/{name}.png" in text
        assert (tmp_path / "figures" / f"{name}.png").stat().st_size > 10_000
    again = list(read_records(tmp_path / "records.jsonl"))
    assert write_rates_report(again, tmp_path / "again").read_text(encoding="utf-8") == text


@pytest.mark.parametrize(
    ("column", "wrong"),
    [
        (1, "3e-05: 87.2, 0.0001: 88.0, 0.0002: 87.6, 0.001: —"),
        (2, "3"),
        (3, "0.0002"),
        (4, "88.1"),
    ],
)
def test_each_of_its_numbers_is_recomputed(searches: list[Record], column: int, wrong: str) -> None:
    contents = [one.to_json() for one in searches]
    text = compose(searches)
    whole, broken = Ledger(), Ledger()
    recompute_rates(text, contents, whole)
    assert whole.findings == []
    cells = row(text, "Full")
    changed = [*cells[:column], wrong, *cells[column + 1 :]]
    line = next(line for line in text.splitlines() if line.startswith("| Full"))
    recompute_rates(text.replace(line, f"| {' | '.join(changed)} |"), contents, broken)
    assert len(broken.findings) == 1

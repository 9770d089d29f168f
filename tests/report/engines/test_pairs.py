"""Pairs of the engines and the ablation; these records name no part, as the first ones did."""

from __future__ import annotations

import dataclasses
from typing import Any

import pytest

from peftcore.accelerations import ALL
from peftcore.report.engines.pairs import gather
from peftcore.report.engines.render import compose
from peftcore.report.engines.runs import COSTS
from peftcore.results.records import Outcome, Record
from tests.report.conftest import MakeRecord
from tests.report.engines.conftest import row


def ran(
    record: MakeRecord,
    method: str,
    seed: int,
    seconds: float,
    memory: int,
    *,
    engine: str = "peftcore",
    off: str | None = None,
    **told: Any,
) -> Record:
    """Return the record of one run of a comparison of the engines."""
    names = [] if engine == "trainer" else [name for name in ALL if name != off]
    made = record(
        method,
        scenario="imdb-minilm",
        seed=seed,
        gpu=False,
        train_seconds=seconds,
        step_seconds=seconds / 30,
        peak_bytes=memory,
        seconds_to_trained=seconds + 5,
        **told,
    )
    trial = {
        **made.trial,
        "id": f"{made.trial['id']}-{engine}-{off}",
        "engine": engine,
        "setting_id": f"{engine}-{off}",
        "recipe": {**made.trial["recipe"], "accelerations": names},
    }
    return dataclasses.replace(made, trial=trial)


@pytest.fixture
def records(record: MakeRecord) -> list[Record]:
    """Three pairs of LoRA, one of Full, and LoRA once without cheap dropout."""
    return [
        ran(record, "lora", 42, 60.0, 1_500_000_000, engine="trainer"),
        ran(record, "lora", 42, 20.0, 900_000_000),
        ran(record, "lora", 43, 30.0, 1_000_000_000),
        ran(record, "lora", 43, 60.0, 1_500_000_000, engine="trainer"),
        ran(record, "lora", 44, 60.0, 1_500_000_000, engine="trainer"),
        ran(record, "lora", 44, 15.0, 750_000_000),
        ran(record, "lora", 1042, 20.0, 900_000_000),
        ran(record, "lora", 1042, 50.0, 900_000_000, off="cheap-dropout"),
        ran(record, "full", 42, 80.0, 2_000_000_000, engine="trainer"),
        ran(record, "full", 42, 40.0, 1_000_000_000),
    ]


def test_a_ratio_is_of_the_two_runs_of_one_pair(records: list[Record]) -> None:
    full, lora = gather(records)
    assert (full.summary.slug, lora.summary.slug) == ("full", "lora")
    # Each pair's own, and not the ratio of medians.
    assert lora.gain(COSTS["Wall time"]).ratios == (3.0, 2.0, 4.0)
    assert lora.gain(COSTS["Wall time"]).middle == 3.0
    assert lora.gain(COSTS["Peak memory"]).ratios == pytest.approx((1.5 / 0.9, 1.5, 2.0))
    assert lora.gain(COSTS["Start to trained"]).ratios == (65 / 25, 65 / 35, 65 / 20)
    assert full.gain(COSTS["Wall time"]).ratios == (2.0,)
    # Without an acceleration against the same seed with all of them.
    assert lora.cost_without("cheap-dropout", COSTS["Step"]).ratios == pytest.approx((2.5,))
    assert full.cost_without("cheap-dropout", COSTS["Step"]).ratios == ()


def test_of_one_pair_there_is_no_median(records: list[Record]) -> None:
    text = compose([record for record in records if record.method == "full"], [])
    assert "50% of the memory (from one interleaved pair a method, of " in text


def test_the_report_shows_medians_with_their_spread(records: list[Record]) -> None:
    text = compose(records, [])
    assert "**LoRA** trains 3.0 times as fast in 60% of the memory" in text
    assert "**Full** trains 2.0 times as fast in 50% of the memory" in text
    assert "medians of 1 to 3 interleaved pairs a method" in text
    assert row(text, "LoRA")[:3] == ["LoRA", "3", "3.00 [2.00, 4.00]"]
    assert row(text, "cheap-dropout") == ["cheap-dropout", "2.50 [2.50, 2.50]"]
    assert row(text, "padding-free")[3] == ""
    assert "Trials without a result" not in text
    for name in ALL:
        assert f"| {name} " in text


def test_what_was_off_says_why(record: MakeRecord) -> None:
    why = "for the encoders of BERT and RoBERTa only"
    told = {name: why if name == "padding-free" else "on" for name in ALL}
    runs = [
        ran(record, "lora", 42, 60.0, 10**9, engine="trainer"),
        ran(record, "lora", 42, 20.0, 10**9, accelerations=told),
    ]
    assert row(compose(runs, []), "padding-free")[3] == f"with LoRA: {why}"


def test_a_failed_run_makes_no_pair_and_is_told(records: list[Record]) -> None:
    failed = dataclasses.replace(
        records[0], outcome=Outcome.TIMEOUT, measurement=None, error="stopped"
    )
    with_failure = [failed, *records[1:]]
    text = compose(with_failure, [])
    assert row(text, "LoRA")[1] == "2"
    assert "## Trials without a result" in text
    assert "timed out" in text


def test_records_of_a_release_that_knew_fewer_accelerations_still_tell(
    record: MakeRecord,
) -> None:
    """What was published must render the same when another acceleration joins."""
    knew = [name for name in ALL if name not in ("used-rows", "bf16-gradients")]

    def as_it_was(made: Record) -> Record:
        names = [name for name in made.trial["recipe"]["accelerations"] if name in knew]
        recipe = {**made.trial["recipe"], "accelerations": names}
        return dataclasses.replace(made, trial={**made.trial, "recipe": recipe})

    runs = [
        as_it_was(made)
        for made in (
            ran(record, "lora", 42, 60.0, 10**9, engine="trainer"),
            ran(record, "lora", 42, 20.0, 10**9),
            ran(record, "lora", 1042, 20.0, 10**9),
            ran(record, "lora", 1042, 30.0, 10**9, off="cheap-dropout"),
        )
    ]
    # Nor is one told to have been on that was not there.
    text = compose(runs, []).partition("## What each acceleration does")[2]
    assert row(text, "cheap-dropout")[3] == ""
    assert "| used-rows" not in text
    (lora,) = gather(runs)
    assert lora.gain(COSTS["Wall time"]).ratios == (3.0,)
    assert lora.without.keys() == {"cheap-dropout"}
    assert lora.cost_without("cheap-dropout", COSTS["Step"]).ratios == pytest.approx((1.5,))


def test_where_no_engine_ran_no_acceleration_is_told_to_have_been_on(record: MakeRecord) -> None:
    text = compose([ran(record, "lora", 42, 60.0, 10**9, engine="trainer")], [])
    for name in ALL:
        assert row(text, name)[3] == "—"

"""Energy in a report: measured, or said to be unavailable."""

from __future__ import annotations

import dataclasses
from pathlib import Path

import pytest

from peftcore.audit.findings import Ledger
from peftcore.audit.recomputing_comparison import recompute_comparison
from peftcore.report.claims import CLAIMS
from peftcore.report.metrics import CO2, ENERGY, GRID_GRAMS_PER_KWH
from peftcore.report.render import write_report
from peftcore.report.summary import summarise
from peftcore.results.records import PhaseCost, Record
from tests.report.conftest import MakeRecord


def taking(
    record: Record, train: tuple[float | None, float | None], evaluate: float | None
) -> Record:
    """Return a record whose phases took so many joules: (processor, GPU), and the processor's."""
    assert record.measurement is not None
    phases = {
        "train": PhaseCost(
            seconds=1.0,
            cpu_seconds=1.0,
            peak_bytes=1,
            processor_joules=train[0],
            gpu_joules=train[1],
        ),
        "evaluate": PhaseCost(
            seconds=1.0, cpu_seconds=1.0, peak_bytes=1, processor_joules=evaluate
        ),
    }
    return dataclasses.replace(
        record, measurement=dataclasses.replace(record.measurement, phases=phases)
    )


def told(record: Record) -> dict[str, float | None]:
    return {metric.key: metric.value(record) for metric in (*ENERGY, *CO2)}


def test_energy_is_that_of_each_device(record: MakeRecord) -> None:
    # Three evaluations of 2,000 examples.
    found = told(taking(record("lora"), (3_600.0, 36_000.0), 600.0))
    assert found["train_processor_energy"] == 3.6
    assert found["train_gpu_energy"] == 36.0
    assert found["predictions_processor_energy"] == pytest.approx(100.0)
    assert found["predictions_gpu_energy"] is None
    assert found["train_co2"] == pytest.approx(GRID_GRAMS_PER_KWH * 39_600 / 3.6e6)
    # 100 J at the grid's grams: only the processor was counted in the evaluations.
    assert found["predictions_co2"] == pytest.approx(GRID_GRAMS_PER_KWH * 100 / 3.6e6)


def test_a_bag_of_words_is_evaluated_once(record: MakeRecord) -> None:
    found = told(taking(record("bow"), (1.0, None), 4.0))
    assert found["predictions_processor_energy"] == pytest.approx(2.0)


def test_beside_other_trials_a_counter_tells_nothing(record: MakeRecord, tmp_path: Path) -> None:
    alone = taking(record("lora"), (3_600.0, 36_000.0), 600.0)
    assert alone.measurement is not None
    shared = dataclasses.replace(alone.measurement, shared=True)
    beside = dataclasses.replace(alone, measurement=shared)
    assert set(told(beside).values()) == {None}
    text = write_report([beside], tmp_path).read_text(encoding="utf-8")
    assert "Energy and CO2 are unavailable: other trials ran" in text
    # One neighbour does not explain why nothing was counted of what ran alone.
    records = [beside, record("full")]
    text = write_report(records, tmp_path).read_text(encoding="utf-8")
    assert "unavailable: no counter of energy could be read where trials ran alone" in text
    ledger = Ledger()
    recompute_comparison(text, [one.to_json() for one in records], ledger)
    assert ledger.findings == []


def test_where_nothing_finished_there_is_nothing_to_say(record: MakeRecord, tmp_path: Path) -> None:
    failed = [record(slug, outcome="oom", error="it did not fit") for slug in ("full", "lora")]
    # The bag of words needs no GPU, and tells nothing of where the others ran.
    for records in (failed, [*failed, record("bow")]):
        text = write_report(records, tmp_path).read_text(encoding="utf-8")
        assert "no trial ran on a GPU" not in text
    assert "no counter of energy could be read" in text
    assert "Energy and CO2" not in write_report(failed, tmp_path).read_text(encoding="utf-8")


def test_what_was_counted_in_part_is_neither_best_nor_a_proof(
    record: MakeRecord, tmp_path: Path
) -> None:
    """Its GPU's counter failed: by the processor alone it would take a tenth of a percent."""
    took = {"full": 9_000.0, "lora": 5_000.0, "qlora": 6_000.0, "ia3": None, "bow": None}
    records = [
        taking(record(slug, seed=seed), (100.0, gpu), 50.0)
        for slug, gpu in took.items()
        for seed in (42, 43)
    ]
    # One whose counter failed once is known by its other seed.
    records[2] = taking(record("lora", seed=42), (100.0, None), 50.0)
    text = write_report(records, tmp_path).read_text(encoding="utf-8")
    rows = [line.split("|") for line in text.splitlines() if "|" in line]
    heads = next(row for row in rows if any("CO2 of training" in cell for cell in row))
    place = next(n for n, cell in enumerate(heads) if "CO2 of training" in cell)
    found = {row[1].strip(): row[place].strip() for row in rows if len(row) == len(heads)}
    assert found["IA3 ▼"] == found["*Bag of words* (reference)"] == "—"
    assert (found["LoRA"], found["QLoRA"], found["Full"]) == ("**0.67**", "0.80", "1.20")
    assert (
        "no CO2 where a number is missing that others have: “Train energy, GPU” of LoRA "
        "(seeds 42), IA3 and Bag of words."
    ) in text
    (claim,) = [one for one in CLAIMS if one.key == "carbon"]
    finding = claim.judge(summarise(records))
    assert (finding.verdict, finding.why) == ("can't tell yet", "not measured: IA3")
    assert "IA3" not in finding.measured
    contents = [one.to_json() for one in records]
    whole, broken = Ledger(), Ledger()
    recompute_comparison(text, contents, whole)
    assert whole.findings == []
    recompute_comparison(text.replace("**0.67**", "**0.34**"), contents, broken)
    assert len(broken.findings) == 1


def test_without_a_counter_there_is_no_zero(record: MakeRecord, tmp_path: Path) -> None:
    assert set(told(record("lora")).values()) == {None}
    text = write_report([record("full"), record("lora")], tmp_path).read_text(encoding="utf-8")
    assert "Energy and CO2 are unavailable" in text
    assert "energy, processor (kJ)" not in text


def test_what_was_measured_is_in_the_report_and_recomputed(
    record: MakeRecord, tmp_path: Path
) -> None:
    records = [
        taking(record("full", seed=42), (9_000.0, None), 900.0),
        taking(record("full", seed=43), (9_500.0, None), 930.0),
        taking(record("lora", seed=42), (7_000.0, None), 910.0),
        record("lora", seed=43),
    ]
    text = write_report(records, tmp_path).read_text(encoding="utf-8")
    assert "Train energy, processor (kJ)" in text
    assert "9.25 ± 0.35" in text
    assert "other programs' share included" in text
    assert "by RAPL" in text
    assert "by its driver" not in text
    contents = [one.to_json() for one in records]
    whole, broken = Ledger(), Ledger()
    recompute_comparison(text, contents, whole)
    assert whole.findings == []
    recompute_comparison(text.replace("9.25 ± 0.35", "9.26 ± 0.35"), contents, broken)
    assert len(broken.findings) == 1


def test_a_gpu_without_the_processor_says_what_is_missing(
    record: MakeRecord, tmp_path: Path
) -> None:
    records = [taking(record(method), (None, 9_000.0), None) for method in ("full", "lora")]
    text = write_report(records, tmp_path).read_text(encoding="utf-8")
    assert "(a GPU's by its driver)" in text
    assert "The processor's could not be read: its share is in no number, CO2 included." in text


@pytest.mark.parametrize(
    ("kilojoules", "verdict"),
    [
        ((9.5, 5.0, 7.0), "confirmed"),
        ((9.6, 5.0, 7.0), "can't tell yet"),
        ((10.1, 5, 7), "not confirmed"),
    ],
)
def test_the_claim_on_carbon_follows_from_what_was_counted(
    record: MakeRecord, kilojoules: tuple[float, float, float], verdict: str
) -> None:
    (claim,) = [one for one in CLAIMS if one.key == "carbon"]
    full = taking(record("full"), (10_000.0, None), 1.0)
    found = [
        taking(record(method), (1_000 * taken, None), 1.0)
        for method, taken in zip(("lora", "qlora", "ia3"), kilojoules, strict=True)
    ]
    assert claim.judge(summarise([full, *found])).verdict == verdict
    few = claim.judge(summarise([full, *found[1:]]))
    assert (few.verdict, few.why) == ("can't tell yet", "not measured: LoRA")

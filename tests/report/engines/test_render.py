"""The whole report of a comparison of the engines."""

from __future__ import annotations

import dataclasses
from pathlib import Path

import pytest

from peftcore.errors import UsageError
from peftcore.report.engines.render import compose, write_engine_report
from peftcore.results.records import Outcome, Record, read_records
from peftcore.trials import Part
from tests.report.engines.conftest import learned, ran, row, triple

PLOTS = ("engine", "ablation", "growth", "equality", "learning")


def test_the_folder_gives_the_same_report_again(everything: list[Record], tmp_path: Path) -> None:
    path = write_engine_report(everything, tmp_path / "one")
    for name in PLOTS:
        for ending in ("png", "svg"):
            assert (tmp_path / "one" / "figures" / f"{name}.{ending}").stat().st_size > 1000
    again = list(read_records(tmp_path / "one" / "records.jsonl"))
    assert len(again) == len(everything)
    copy = write_engine_report(again, tmp_path / "two")
    text = path.read_text(encoding="utf-8")
    assert copy.read_text(encoding="utf-8") == text
    for name in PLOTS:
        assert f"(figures/{name}.png)" in text
    for image in (tmp_path / "one" / "figures").iterdir():
        assert image.read_bytes() == (tmp_path / "two" / "figures" / image.name).read_bytes()


def test_a_part_without_records_says_so_and_the_others_stand(everything: list[Record]) -> None:
    for part, heading in {
        Part.PAIRS: "## Pairs",
        Part.ABLATION: "## What each acceleration is worth",
        Part.EQUALITY: "## The same learning, step by step",
        Part.LEARNING: "## The same accuracy, with dropout",
    }.items():
        text = compose([r for r in everything if r.trial["part"] != part], [])
        following = text.split(heading)[1].strip().splitlines()[0]
        assert following.startswith("No record here is of this part")
        assert f"-k {part}`" in following
        assert text.count("No record here is of this part") == 1


def test_each_part_tells_its_own_protocol(everything: list[Record]) -> None:
    text = compose(everything, [])
    assert row(text, "growth-length")[2:5] == ["88", "2000", "64; 128; 256; 512"]
    assert row(text, "growth-batch")[5] == "1; 4; 16; 64"
    dropped = "0.0 in the backbone and in each adapter that has dropout of its own"
    assert row(text, "equality")[7:9] == ["bf16; fp32", dropped]
    assert row(text, "learning")[-2] == "42, 43, 44"
    # Told once: a list of every part's values would say of none which it had.
    assert "| Batch size " not in text.split("What all share")[1]


def test_the_first_words_hold_every_answer(everything: list[Record]) -> None:
    first = compose(everything, []).split("## Pairs")[0]
    assert "**LoRA** trains 2.0 times as fast" in first
    assert "is within the stated bounds with Full and LoRA." in first
    assert "accuracies are equivalent within ±1 point with Full and LoRA." in first


def test_the_first_words_hold_what_is_not_shown() -> None:
    records = [*triple("full"), *triple("ia3", engine=0.05)]
    records += [
        *learned("full", (0.8, 0.8, 0.801), (0.8, 0.801, 0.8)),
        *learned("ia3", (0.8, 0.8), (0.7, 0.9)),
    ]
    first = compose(records, []).split("## Pairs")[0]
    assert "bounds with Full and is not shown to be with IA3." in first
    assert "with Full and not shown to be equivalent with IA3." in first


def test_a_failed_run_is_told_with_its_part() -> None:
    exact, trainer, ours = triple("lora")
    failed = dataclasses.replace(trainer, outcome=Outcome.TIMEOUT, measurement=None, error="late")
    text = compose([exact, failed, ours], [])
    assert row(text, "equality", "lora") == [
        *("equality", "lora", "42", "trainer", "failed: timed out"),
    ]


def test_without_a_run_of_the_engine_there_is_no_report(tmp_path: Path) -> None:
    lone = [ran("lora", 42, Part.PAIRS, engine="trainer")]
    with pytest.raises(UsageError, match="no record is of the engine"):
        write_engine_report(lone, tmp_path / "engine")
    assert not (tmp_path / "engine").exists()


def test_a_part_alone_makes_a_report(tmp_path: Path) -> None:
    records = learned("lora", (0.80, 0.81), (0.80, 0.81))
    text = write_engine_report(records, tmp_path).read_text(encoding="utf-8")
    assert "There is no pair of finished runs" in text
    assert row(text, "LoRA")[1] == "2"

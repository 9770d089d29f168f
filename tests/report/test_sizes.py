"""The report by size of the training set, from records that nothing was trained for."""

from __future__ import annotations

import json
import math
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import pytest

from peftcore.audit.auditing import audit
from peftcore.errors import UsageError
from peftcore.methods import find_method
from peftcore.report.pairing import Standing
from peftcore.report.sizes.gathering import BySize, standing_from
from peftcore.report.sizes.render import write_sizes_report
from peftcore.results.records import Record
from peftcore.results.selecting import newest_sizes, of_sizes, sizes_left_out
from peftcore.statistics.comparing import holm
from tests.audit.conftest import named
from tests.report.conftest import build

OWN, EXAMPLES, EPOCHS = 600, 400, 3
ACCURACY: Mapping[str, Mapping[int, float]] = {
    # Full needs many examples, LoRA few, and words are enough for neither at the largest size.
    "full": {100: 0.60, 300: 0.74, 600: 0.90},
    "lora": {100: 0.75, 300: 0.80, 600: 0.84},
    "bow": {100: 0.74, 300: 0.70, 600: 0.70},
}


def content(
    method: str,
    size: int,
    seed: int,
    *,
    hold: str = "steps",
    accuracies: Mapping[int, float] | None = None,
) -> dict[str, Any]:
    """Return a whole record of a method on so many examples, as JSON."""
    accuracy = (accuracies or ACCURACY[method])[size] + 0.01 * (seed - 43)
    record = build(
        method, seed=seed, examples=EXAMPLES, accuracy=accuracy, gpu=False, scenario="imdb-minilm"
    )
    made: dict[str, Any] = json.loads(record.to_line())
    trial, measured = made["trial"], made["measurement"]
    repeats = OWN // size if method != "bow" and hold == "steps" else 1
    trial["task"] |= {"train_examples": size, **({"repeats": repeats} if repeats > 1 else {})}
    trial["recipe"]["epochs"] = EPOCHS
    trial["hyperparameters"] = find_method(method).hyperparameters()
    texts = EPOCHS * size * repeats
    steps = EPOCHS * math.ceil(size * repeats / trial["recipe"]["batch_size"])
    if measured["losses"]:
        measured["losses"] = [[n, 0.5] for n in range(1, steps + 1)]
        measured["train_loss"] = 0.5
        measured["train_tokens"] = 100 * texts
        measured["tokens_per_second"] = 100 * texts / measured["train_seconds"]
    return named(made)


def contents(hold: str = "steps", seeds: Sequence[int] = (42, 43, 44)) -> list[dict[str, Any]]:
    return [
        content(method, size, seed, hold=hold)
        for method, sizes in ACCURACY.items()
        for size in sizes
        for seed in seeds
    ]


@pytest.fixture(scope="module")
def records() -> list[Record]:
    return read(contents())


def read(made: Sequence[dict[str, Any]]) -> list[Record]:
    return [Record.from_json(one) for one in made]


def test_standings_are_of_tests_corrected_for_the_number_of_sizes(records: list[Record]) -> None:
    pairs = BySize(records).against("lora", "full")
    assert list(pairs) == [100, 300, 600]
    standings = [pairs[size].standing for size in pairs]
    assert standings[0] is Standing.ABOVE
    assert standings[-1] is Standing.BELOW
    raw = [pairs[size].p_value for size in pairs]
    assert None not in raw
    corrected = [pairs[size].adjusted_p for size in pairs]
    assert corrected == pytest.approx(holm([p for p in raw if p is not None]))


def test_a_run_of_sizes_ends_at_the_first_that_stands_otherwise(records: list[Record]) -> None:
    pairs = BySize(records).against("lora", "full")
    assert standing_from(pairs, Standing.BELOW) is None
    turned = {size: paired.turned() for size, paired in pairs.items()}
    assert standing_from(turned, Standing.BELOW) == (
        600 if pairs[300].standing is Standing.ABOVE else 300
    )


def test_sentences_follow_from_the_tests(records: list[Record], tmp_path: Path) -> None:
    text = write_sizes_report(records, tmp_path).read_text(encoding="utf-8")
    pairs = BySize(records).against("lora", "full")
    (full,) = [line for line in text.split("\n") if line.startswith("**Against Full.**")]
    above = [f"{size:,}" for size in pairs if pairs[size].standing is Standing.ABOVE]
    assert f"LoRA is above it at {' and '.join(above)} examples; below it at 600 examples" in full
    (words,) = [line for line in text.split("\n") if line.startswith("**Against a bag of words")]
    assert "Full is above it at" in words
    assert "and below it at 100." in words
    assert "Up to 100 examples, no method is shown to be above it." in words
    assert (tmp_path / "figures" / "sizes.png").exists()
    assert "gone through more often than large ones, to 225 steps" in text


def test_what_was_not_tested_is_not_shown_to_be_above(tmp_path: Path) -> None:
    """Of methods whose predictions at the smallest size were not kept, nothing is shown there."""
    made = contents()
    for one in made:
        if one["trial"]["task"]["train_examples"] == 100:
            one["predictions"] = one["labels"] = None
    text = write_sizes_report(read(made), tmp_path).read_text(encoding="utf-8")
    assert "LoRA is above it at 300 and 600 examples" in text
    assert "At the smallest size already" not in text
    assert "no method is shown to be above it" not in text


def test_where_the_bag_of_words_beats_all_is_told(tmp_path: Path) -> None:
    made = [one for one in contents() if one["trial"]["method"] != "lora"]
    text = write_sizes_report(read(made), tmp_path).read_text(encoding="utf-8")
    assert (
        "It is shown to be above every method at 100 examples. Up to 300 examples, no method is "
        "shown to be above it." in text
    )


def test_a_training_longer_than_the_rates_are_for_is_told(tmp_path: Path) -> None:
    made = contents()
    for one in contents():
        task = one["trial"]["task"]
        if task["train_examples"] == 600 and one["trial"]["method"] != "bow":
            task["train_examples"] = 6000
            made.append(named(one))
    text = write_sizes_report(read(made), tmp_path).read_text(encoding="utf-8")
    assert "to 225 steps: the learning rates are those of a training of that length" in text
    assert "The largest took 2,250, more than those are for." in text


def test_epochs_held_the_same_are_told(tmp_path: Path) -> None:
    text = write_sizes_report(read(contents("epochs")), tmp_path).read_text(encoding="utf-8")
    assert "for as many epochs, and so for 39 to 225 steps" in text


def test_one_seed_says_so(tmp_path: Path) -> None:
    text = write_sizes_report(read(contents(seeds=(42,))), tmp_path).read_text(encoding="utf-8")
    assert text.count("one seed says nothing about other seeds") == 2


@pytest.mark.parametrize("seeds", [(42, 43, 44), (42,)])
def test_the_audit_follows_the_report(seeds: Sequence[int], tmp_path: Path) -> None:
    write_sizes_report(read(contents(seeds=seeds)), tmp_path)
    found = audit(tmp_path)
    assert found.kind == "a comparison by size of the training set"
    assert found.findings == ()
    assert all(part.checked > 30 for part in found.parts)


def test_the_audit_finds_a_number_that_was_changed(records: list[Record], tmp_path: Path) -> None:
    text = write_sizes_report(records, tmp_path).read_text(encoding="utf-8")
    (row,) = [line for line in text.partition("## Against Full")[0].split("\n") if "| LoRA" in line]
    changed = row.replace("75.00", "75.10", 1)
    assert changed != row
    (tmp_path / "report.md").write_text(text.replace(row, changed), encoding="utf-8")
    assert [len(part.findings) for part in audit(tmp_path).parts] == [0, 1, 1]


def test_what_ran_last_decides_how_often_examples_come(records: list[Record]) -> None:
    others = read(contents("epochs"))
    found = newest_sizes([*others, *records])
    assert {record.id for record in found} == {record.id for record in records}
    again = newest_sizes([*others, *records], now={record.id for record in others})
    key = [(r.method, r.trial["task"]["train_examples"], r.seed) for r in again]
    assert len(set(key)) == len(key) == len(records)
    assert all("repeats" not in record.trial["task"] for record in again)


def test_steps_and_epochs_held_the_same_are_not_mixed(tmp_path: Path) -> None:
    """Small sizes ran by both, by what ran last two of them: the third is of the other kind."""
    smallest = [
        content(method, 30, seed, accuracies={30: 0.6})
        for method in ("lora", "bow")
        for seed in (42, 43, 44)
    ]
    steps = [*contents(), *smallest]
    epochs = [one for one in contents("epochs") if one["trial"]["task"]["train_examples"] < 600]
    found = newest_sizes([*read(steps), *read(epochs)])
    # What is as large as the scenario's own is repeated by neither.
    assert {r.trial["task"]["train_examples"] for r in found} == {100, 300, 600}
    assert not any("repeats" in record.trial["task"] for record in found)
    assert sizes_left_out([*read(steps), *read(epochs)], found) == [30]
    text = write_sizes_report(found, tmp_path).read_text(encoding="utf-8")
    assert "Every size was trained for as many epochs" in text
    # The other way round, what ran last leaves out the size that is known by epochs alone.
    few = [one for one in steps if one["trial"]["task"]["train_examples"] != 100]
    again = newest_sizes([*read(epochs), *read(few)])
    assert {
        (r.method, r.trial["task"]["train_examples"], r.trial["task"].get("repeats", 1))
        for r in again
    } == {
        *((method, 600, 1) for method in ACCURACY),
        *((method, 300, 2) for method in ("full", "lora")),
        *(("bow", size, 1) for size in (30, 300)),
        ("lora", 30, 20),
    }


def test_other_records_are_no_comparison_of_sizes(records: list[Record], tmp_path: Path) -> None:
    alone = [r for r in records if r.trial["task"]["train_examples"] == 100]
    assert of_sizes(records)
    assert not of_sizes(alone)
    assert newest_sizes([]) == []
    with pytest.raises(UsageError, match="records of several sizes"):
        write_sizes_report(alone, tmp_path)

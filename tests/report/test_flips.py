"""Which examples flipped, and how far methods agree."""

from __future__ import annotations

import csv
import dataclasses
from itertools import permutations

import numpy as np
import pytest

from peftcore.data.examples import evaluated_rows
from peftcore.report.agreement import agreement_section, agreement_table, gather_agreement
from peftcore.report.flips import flips_file, flips_section, gather_flips, rows_of
from peftcore.report.render import write_report
from peftcore.report.summary import summarise

LABELS = (0, 1, 0, 1, 0, 1)


def answered(record, method, seed, wrong, **told):
    """Return a record that gets all of six examples right but these."""
    predictions = tuple(1 - y if n in wrong else y for n, y in enumerate(LABELS))
    return record(method, seed=seed, predictions=predictions, labels=LABELS, **told)


def row(text, first):
    """Return the cells of the table rows that begin with this."""
    lines = [line for line in text.splitlines() if line.startswith(f"| {first}")]
    return [[cell.strip() for cell in line.strip("|").split("|")] for line in lines]


@pytest.fixture
def two_methods(record):
    """Full misses 5 and with one seed 4; LoRA misses 0 throughout and with one seed 1."""
    return [
        answered(record, "full", 42, {5}),
        answered(record, "full", 43, {5}),
        answered(record, "full", 44, {4, 5}),
        answered(record, "lora", 42, {0}),
        answered(record, "lora", 43, {0}),
        answered(record, "lora", 44, {0, 1}),
    ]


def test_counts_by_hand(two_methods):
    (one,) = gather_flips(summarise(two_methods))
    assert one.flips.lost.tolist() == [3, 1, 0, 0, 0, 0]
    assert one.flips.gained.tolist() == [0, 0, 0, 0, 1, 3]
    assert one.same_seed == pytest.approx((2 + 2 + 4) / 3)
    # 42-43 and 43-42: 2 each; 42-44, 43-44: 3 each; 44-42, 44-43: 3 each.
    assert one.other_seed == pytest.approx((2 + 2 + 3 + 3 + 3 + 3) / 6)
    assert one.between_seeds_of_full == pytest.approx(2 / 3)
    assert one.between_seeds == pytest.approx(2 / 3)


def test_the_section_has_the_counts_beside_the_yardstick_and_names_the_surest(two_methods):
    summary = summarise(two_methods)
    text = "\n".join(flips_section(summary, gather_flips(summary)))
    counts, sure = row(text, "LoRA")
    assert counts == ["LoRA", "3", "1.3", "1.3", "2.7", "2.7", "0.7", "0.7", "2.0"]
    rows = evaluated_rows({"train_examples": 9, "test_examples": 6, "split": "test"}, 25_000, 42)
    # Two examples have three of six models right: each is dealt out so with chance 1 in 20.
    assert sure == ["LoRA", "3", "1", "1", "0.1", "1", "1", "1.0", str(rows[0]), str(rows[5])]
    assert "It is 2.0 of 2.7 with LoRA." in text


def test_a_methods_own_part_is_what_its_chances_to_be_right_differ_in(record):
    """Of all draws of two models from three of each method, the mean is what they are known by."""
    full, own = [set(), {0}, {0, 1}], [{2}, {0}, {1, 2}]
    found = []
    for ours in permutations(full, 2):
        for theirs in permutations(own, 2):
            records = [
                answered(record, method, seed, wrong, losses=[])
                for method, sets in (("full", ours), ("lora", theirs))
                for seed, wrong in enumerate(sets)
            ]
            (one,) = gather_flips(summarise(records))
            found.append(one.beyond_seeds)
    # Drawn without return, two of three differ 3/2 times as often as two of many would.
    chances = [[sum(n in wrong for wrong in sets) / 3 for n in range(6)] for sets in (full, own)]
    between = sum(a * (1 - b) + b * (1 - a) for a, b in zip(*chances, strict=True))
    within = [sum(1.5 * 2 * a * (1 - a) for a in side) for side in chances]
    assert np.mean(found) == pytest.approx(between - sum(within) / 2)


def test_one_seed_names_no_example(record):
    records = [answered(record, "full", 42, {5}), answered(record, "ia3", 42, {0})]
    summary = summarise(records)
    text = "\n".join(flips_section(summary, gather_flips(summary)))
    assert row(text, "IA3") == [["IA3", "1", "1.0", "1.0", "2.0"]]
    assert "no flip is known to be the method's" in text
    assert "Surest" not in text


def test_the_file_lists_every_flip(two_methods, tmp_path):
    write_report(two_methods, tmp_path)
    with (tmp_path / "flips.csv").open(newline="") as stream:
        lines = list(csv.DictReader(stream))
    assert [(line["example"], line["lost"], line["gained"]) for line in lines] == [
        ("0", "3", "0"),
        ("1", "1", "0"),
        ("4", "0", "1"),
        ("5", "0", "3"),
    ]
    assert {(line["method"], line["seeds"]) for line in lines} == {("lora", "3")}
    assert [line["label"] for line in lines] == ["0", "1", "0", "1"]
    assert [(line["full_right"], line["method_right"]) for line in lines][::3] == [
        ("3", "0"),
        ("0", "3"),
    ]
    assert int(lines[0]["row"]) == rows_of(two_methods[0])[0]


def test_without_full_or_its_predictions_an_earlier_file_is_removed(two_methods, tmp_path, record):
    write_report(two_methods, tmp_path)
    write_report(two_methods[3:], tmp_path)
    assert not (tmp_path / "flips.csv").exists()
    kept = [record("full", keep_predictions=False), record("lora")]
    assert gather_flips(summarise(kept)) == []
    assert gather_flips(summarise([record(m, weights="random") for m in ("full", "lora")])) == []


def test_rows_follow_from_the_size_of_the_test_set(record):
    def told(size, name="mine", **task):
        made = answered(record, "full", 43, {0}, drawn_from=size)
        trial = {**made.trial, "data": {**made.trial["data"], "name": name}}
        trial["task"] = {**trial["task"], **task}
        return rows_of(dataclasses.replace(made, trial=trial))

    # The test set's shuffle is the same whatever the trial's seed.
    assert told(50) == np.random.default_rng(42).permutation(50)[:6].tolist()
    assert told(None) is None
    assert told(None, name="imdb") == np.random.default_rng(42).permutation(25_000)[:6].tolist()
    assert told(5) is None
    assert told(10**15) is None
    assert told(50, split="tuning") is None
    assert told(50, test_examples=7) is None


def test_a_name_that_a_spreadsheet_would_calculate_is_made_text(record):
    records = [answered(record, "full", 42, {5}), answered(record, "=1+1", 42, {0})]
    assert "\n'=1+1,0," in flips_file(gather_flips(summarise(records)))


def test_agreement_is_of_different_seeds_and_has_seeds_of_one_method_on_the_diagonal(two_methods):
    matrix = gather_agreement(summarise(two_methods))
    assert matrix.several
    shares = [[cell.share for cell in line] for line in matrix.cells]
    assert shares[0] == pytest.approx([1 - 2 / 18, 1 - 16 / 36])
    assert shares[1] == pytest.approx([1 - 16 / 36, 1 - 2 / 18])
    assert row(agreement_table(matrix), "Full")[0][1].startswith("88.9 (0.7")


def test_with_one_seed_the_diagonal_is_empty_and_pairs_share_it(record):
    records = [answered(record, "full", 42, {5}), answered(record, "lora", 42, {0})]
    matrix = gather_agreement(summarise(records))
    assert matrix.cells[0][0] is None
    assert matrix.cells[0][1].share == pytest.approx(4 / 6)
    assert "the diagonal is empty" in "\n".join(agreement_section(matrix, []))


def test_no_matrix_where_methods_answered_other_examples(record):
    other = record("lora", predictions=(1, 0, 1), labels=(1, 0, 0))
    assert gather_agreement(summarise([answered(record, "full", 42, {5}), other])) is None
    assert agreement_section(None, []) == []

"""What accuracy does not tell of classes."""

from __future__ import annotations

import dataclasses
import random

import numpy as np
import pytest

from peftcore.audit import second
from peftcore.audit.findings import Ledger
from peftcore.audit.recomputing_comparison import recompute_comparison
from peftcore.report.classes import MOST_CLASSES, by_class, classes_section
from peftcore.report.summary import summarise
from peftcore.results.records import Record
from tests.report.conftest import build


def of_classes(method: str, seed: int, classes: int, *, names: tuple[str, ...] = ()) -> Record:
    """Return a record with labels of several classes, the first the most frequent."""
    draw = random.Random(f"{method} {seed}")
    fixed = random.Random(0)
    labels = tuple(fixed.randrange(classes) if fixed.random() < 0.5 else 0 for _ in range(600))
    guesses = tuple(label if draw.random() < 0.7 else draw.randrange(classes) for label in labels)
    made = build(method, seed=seed, predictions=guesses, labels=labels)
    task = {**made.trial["task"], "labels": classes}
    task |= {"classes": list(names)} if names else {}
    return dataclasses.replace(made, trial={**made.trial, "task": task})


NAMES = ("billing", "other", "out|age")
RECORDS = [of_classes(m, s, 3, names=NAMES) for m in ("full", "lora", "bow") for s in (42, 43)]


def check(text: str, records: list[Record]) -> tuple[list[str], int]:
    ledger = Ledger()
    recompute_comparison(text, [one.to_json() for one in records], ledger)
    return [finding.sentence() for finding in ledger.findings], ledger.checked


def test_classes_have_their_names_and_each_method_a_row() -> None:
    text = "\n".join(classes_section(summarise(RECORDS)))
    assert "Found of billing (%)" in text
    assert "Found of out\\|age (%)" in text
    assert text.count("| *Bag of words* (reference)") == 2
    assert "Found of 0" not in text


def test_an_answer_that_is_always_the_same_finds_one_class_and_tells_nothing() -> None:
    made = of_classes("lora", 42, 3)
    assert made.labels is not None
    found = by_class(dataclasses.replace(made, predictions=(0,) * len(made.labels)))
    assert found is not None
    assert found.recalls == (100.0, 0.0, 0.0)
    assert found.matthews == 0.0
    share = made.labels.count(0) / len(made.labels)
    assert found.macro_f1 == pytest.approx(100 * 2 * share / (1 + share) / 3)


def test_right_answers_find_all_and_a_class_without_examples_is_left_open() -> None:
    made = of_classes("lora", 42, 3)
    trial = {**made.trial, "task": {**made.trial["task"], "labels": 4}}
    found = by_class(dataclasses.replace(made, trial=trial, predictions=made.labels))
    assert found is not None
    assert found.recalls == (100.0, 100.0, 100.0, None)
    assert [found.matthews, found.macro_f1] == pytest.approx([1.0, 100.0])


def test_macro_f1_is_over_the_classes_that_are_there_or_predicted() -> None:
    # Of twenty classes two are in the test set, and nine of ten examples of each are found.
    labels = (3,) * 50 + (7,) * 50
    guesses = (7,) * 5 + (3,) * 45 + (7,) * 45 + (3,) * 5
    made = build("lora", predictions=guesses, labels=labels)
    trial = {**made.trial, "task": {**made.trial["task"], "labels": 20}}
    made = dataclasses.replace(made, trial=trial)
    found = by_class(made)
    assert found is not None
    assert found.macro_f1 == pytest.approx(90.0)
    assert second.by_class(guesses, labels, 20)[0] == pytest.approx(90.0)
    # One that is predicted and not there is found wrongly each time.
    astray = (11, *guesses[1:])
    found = by_class(dataclasses.replace(made, predictions=astray))
    assert found is not None
    assert second.by_class(astray, labels, 20)[0] == pytest.approx(found.macro_f1)
    assert found.macro_f1 < 61
    text = "\n".join(classes_section(summarise([made])))
    assert "| 90.00 |" in " ".join(text.split())
    assert "neither there nor predicted" in text
    assert check(text, [made])[0] == []
    assert "neither there nor predicted" not in "\n".join(classes_section(summarise(RECORDS)))


def test_without_predictions_there_is_no_section() -> None:
    assert by_class(build("lora", keep_predictions=False)) is None
    made = build("lora")
    trial = {name: value for name, value in made.trial.items() if name != "task"}
    untold = dataclasses.replace(made, trial=trial)
    assert by_class(untold) is None
    assert classes_section(summarise([untold])) == []
    assert classes_section(summarise([build("lora", keep_predictions=False)])) == []
    assert classes_section(summarise([build("lora", weights="random")])) == []


def test_of_many_classes_there_is_no_table_of_each() -> None:
    many = [of_classes("full", 42, MOST_CLASSES + 1)]
    text = "\n".join(classes_section(summarise(many)))
    assert "Macro-F1" in text
    assert "Found of" not in text


@pytest.mark.parametrize("seed", range(4))
def test_the_second_way_agrees(seed: int) -> None:
    draw = np.random.default_rng(seed)
    labels, guesses = draw.integers(0, 5, 200), draw.integers(0, 5, 200)
    made = build("lora", predictions=tuple(guesses.tolist()), labels=tuple(labels.tolist()))
    trial = {**made.trial, "task": {**made.trial["task"], "labels": 5}}
    found = by_class(dataclasses.replace(made, trial=trial))
    assert found is not None
    again = second.by_class(guesses.tolist(), labels.tolist(), 5)
    assert again == pytest.approx([found.macro_f1, found.matthews, *found.recalls])


def test_each_of_its_numbers_is_recomputed() -> None:
    text = "\n\n".join(classes_section(summarise(RECORDS)))
    found, checked = check(text, RECORDS)
    assert found == []
    assert checked >= 3 * (1 + 2 + 2 + 3 * 2)
    for line in (line for line in text.split("\n") if line.startswith("| LoRA")):
        for cell in (cell.strip() for cell in line.split("|")[2:-1]):
            wrong = line.replace(
                cell, f"{float(cell.split()[0]) + 0.5:g}{cell[len(cell.split()[0]) :]}", 1
            )
            assert check(text.replace(line, wrong), RECORDS)[0], cell

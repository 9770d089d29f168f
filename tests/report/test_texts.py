"""The texts of examples that flipped, from the embedded corpus."""

from __future__ import annotations

import dataclasses
import json

import pytest
from click.testing import CliRunner

from peftcore.__main__ import main
from peftcore.data.examples import draw
from peftcore.data.sources import locate_data, read_data
from peftcore.results.records import write_records
from peftcore.scenarios import Task

TASK = Task(train_examples=20, test_examples=12)


@pytest.fixture
def written(record, tmp_path):
    """Return a function that writes records of two methods on the embedded corpus to a file."""
    source = locate_data("embedded", TASK)
    sample = draw(read_data(source, TASK), TASK, 42).test

    def write(*, identity=source.identity, labels=tuple(sample.labels)):
        records = []
        for method, seed, wrong in (
            ("full", 42, {3}),
            ("full", 43, {3, 5}),
            ("lora", 42, {7, 8}),
            ("lora", 43, {7}),
        ):
            predictions = tuple(1 - y if n in wrong else y for n, y in enumerate(labels))
            made = record(method, seed=seed, predictions=predictions, labels=labels)
            data = {"name": "embedded", "identity": identity, "revision": None, "note": None}
            task = {**dataclasses.asdict(TASK), "split": "test"}
            trial = {**made.trial, "data": data, "task": task}
            records.append(dataclasses.replace(made, trial=trial))
        path = tmp_path / "records.jsonl"
        write_records(path, records)
        return path

    return write, sample


def run(path, *options):
    return CliRunner().invoke(main, ["flips", str(path), "--data", "embedded", *options])


def test_texts_are_those_of_the_rows_that_are_named(written):
    write, sample = written
    done = run(write(), "--json", "-")
    assert done.exit_code == 0, done.output
    found = json.loads(done.stdout)
    assert [(one["kind"], one["example"], one["seeds"]) for one in found] == [
        ("lost", 7, 2),
        ("gained", 3, 2),
    ]
    assert [one["text"] for one in found] == [sample.texts[7], sample.texts[3]]
    corpus = read_data(locate_data("embedded", TASK), TASK)
    assert [corpus.test.texts[one["row"]] for one in found] == [one["text"] for one in found]


def test_for_people_each_is_named_before_its_text(written):
    write, sample = written
    lines = run(write()).output.splitlines()
    assert lines[0].startswith("lora lost row ")
    assert lines[0].endswith(f"(label {sample.labels[7]}) with each of 2 seeds:")
    assert lines[1] == f"  {sample.texts[7]}"


def test_other_data_is_refused(written):
    write, sample = written
    done = run(write(identity="sha256:0"))
    assert done.exit_code == 2
    assert "is other data than the records'" in done.output
    done = run(write(labels=tuple(1 - y for y in sample.labels)))
    assert done.exit_code == 2
    assert "labels are not those of the data" in done.output


def test_records_without_full_have_no_flips(record, tmp_path):
    path = tmp_path / "records.jsonl"
    write_records(path, [record("lora")])
    done = run(path)
    assert done.exit_code == 2
    assert "no method can be compared with Full" in done.output

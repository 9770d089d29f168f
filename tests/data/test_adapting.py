"""What a task leaves open and the data tells: columns, and classes."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as parquet
import pytest

from peftcore.data.adapting import MOST_CLASSES, Adapted
from peftcore.data.examples import Corpus
from peftcore.data.sources import adapt_task, locate_data, read_data
from peftcore.errors import UsageError
from peftcore.scenarios import Task

TASK = Task(train_examples=4, test_examples=2)

Rows = Sequence[Mapping[str, Any]]

TICKETS = [
    {"id": n, "body": f"the ticket number {n} is about {kind}", "queue": kind}
    for n, kind in enumerate(["billing", "outage", "other"] * 4)
]


def write(folder: Path, train: Rows, test: Rows | None = None) -> str:
    folder.mkdir(exist_ok=True)
    for split, rows in (("train", train), ("test", train if test is None else test)):
        text = "\n".join(json.dumps(row) for row in rows) + "\n"
        (folder / f"{split}.jsonl").write_text(text, encoding="utf-8")
    return str(folder)


def adapted(data: str, task: Task = TASK, *named: str) -> Adapted:
    return adapt_task(data, task, named=named)


def read(data: str, task: Task) -> Corpus:
    return read_data(locate_data(data, task), task)


def refused(data: str, task: Task = TASK, *named: str) -> str:
    with pytest.raises(UsageError) as caught:
        adapted(data, task, *named)
    message = str(caught.value)
    assert "\n" not in message
    return message


# Classes


def test_labels_from_0_on_are_taken_as_they_are(tmp_path: Path) -> None:
    data = write(tmp_path, [{"text": "a", "label": n % 2} for n in range(6)])
    assert adapted(data) == Adapted(TASK)


def test_more_classes_are_counted(tmp_path: Path) -> None:
    data = write(tmp_path, [{"text": f"a {n}", "label": n % 3} for n in range(9)])
    task = adapted(data).task
    assert (task.labels, task.classes) == (3, ())
    assert read(data, task).train.labels == [0, 1, 2] * 3


@pytest.mark.parametrize(
    ("values", "classes"),
    [
        (["neutral", "bad", "good"], ("bad", "good", "neutral")),
        ([" no ", "yes", "no"], ("no", "yes")),
        ([1, 2, 10], ("1", "2", "10")),
        ([5.0, 3, "1"], ("1", "3", "5")),
        ([True, False], ("false", "true")),
        (["0", "2"], ("0", "2")),
    ],
)
def test_classes_of_any_name_are_numbered_in_order(
    tmp_path: Path, values: list[Any], classes: tuple[str, ...]
) -> None:
    rows = [{"text": f"a {n}", "label": values[n % len(values)]} for n in range(4 * len(values))]
    data = write(tmp_path, rows)
    task = adapted(data).task
    assert (task.labels, task.classes) == (len(classes), classes)
    assert {task.class_of(label) for label in read(data, task).train.labels} == set(classes)


def test_the_number_of_labels_is_not_guessed_where_it_is_named(tmp_path: Path) -> None:
    data = write(tmp_path, [{"text": f"a {n}", "label": 2 * (n % 2)} for n in range(6)])
    asked = Task(train_examples=4, test_examples=2, labels=3)
    assert adapted(data, asked, "labels") == Adapted(asked)


def test_a_class_that_training_has_not_is_refused_in_the_test_set(tmp_path: Path) -> None:
    test = [{"text": "a", "queue": "sales"}, {"text": "b", "queue": "other"}]
    data = write(tmp_path, TICKETS, [{"id": 0, "body": row["text"], **row} for row in test])
    with pytest.raises(UsageError, match="'queue' is 'sales': expected one of 'billing', 'other'"):
        read(data, adapted(data).task)


@pytest.mark.parametrize(
    ("labels", "words"),
    [
        (["a", "b", "a", "b", "bb", "a"], ("line 5", "'bb'", "no other row", "labels=N")),
        ([f"text {n}" for n in range(12)], ("has 12 values in 12 rows", "label_column=")),
        ([n % (MOST_CLASSES + 1) for n in range(3 * MOST_CLASSES)], ("no classes",)),
        ([-1, -1, -1, 0, 0], ("is -1", "hide")),
    ],
)
def test_what_are_no_classes_is_refused(
    tmp_path: Path, labels: list[Any], words: tuple[str, ...]
) -> None:
    data = write(tmp_path, [{"text": f"t {n}", "label": one} for n, one in enumerate(labels)])
    message = refused(data)
    for word in words:
        assert word in message


@pytest.mark.parametrize("bad", [None, "", 1.5, [1]])
def test_what_is_no_label_at_all_is_named(tmp_path: Path, bad: Any) -> None:
    data = write(tmp_path, [{"text": "t", "label": one} for one in ("a", "b", "a", "b", bad)])
    assert f"line 5: 'label' is {bad!r}: expected the number or the name" in refused(data)


# Columns


def test_columns_are_guessed_and_said(tmp_path: Path) -> None:
    data = write(tmp_path, TICKETS)
    found = adapted(data)
    assert (found.task.text_column, found.task.label_column) == ("body", "queue")
    assert found.note == "columns were guessed: label is 'queue', text is 'body'"
    assert read(data, found.task).train.texts[0] == TICKETS[0]["body"]


def test_in_parquet_as_well(tmp_path: Path) -> None:
    for split in ("train", "test"):
        columns = {name: [row[name] for row in TICKETS] for name in TICKETS[0]}
        parquet.write_table(pa.table(columns), tmp_path / f"{split}.parquet")
    assert adapted(str(tmp_path)).task.label_column == "queue"


def test_the_usual_columns_are_taken_whatever_else_is_there(tmp_path: Path) -> None:
    rows = [{"label": n % 2, "text": "short", "review": "a longer one"} for n in range(6)]
    assert adapted(write(tmp_path, rows)) == Adapted(TASK)


def test_a_named_column_is_never_replaced(tmp_path: Path) -> None:
    data = write(tmp_path, TICKETS)
    asked = Task(train_examples=4, test_examples=2, text_column="text")
    found = adapted(data, asked, "text_column")
    assert (found.task.text_column, found.task.label_column) == ("text", "queue")
    assert found.note == "columns were guessed: label is 'queue'"
    with pytest.raises(UsageError, match="no column 'text'"):
        locate_data(data, found.task)
    with pytest.raises(UsageError, match="no column 'label'"):
        adapted(data, Task(text_column="body"), "label_column")


def test_the_longest_text_is_the_text(tmp_path: Path) -> None:
    rows = [
        {"author": "x", "words": "many words that go on", "stars": str(1 + n % 3)}
        for n in range(30)
    ]
    task = adapted(write(tmp_path, rows)).task
    assert (task.text_column, task.label_column) == ("words", "stars")


def test_two_texts_of_known_names_are_a_pair(tmp_path: Path) -> None:
    rows = [
        {"premise": f"it rains {n}", "hypothesis": "it is wet", "label": n % 3} for n in range(9)
    ]
    data = write(tmp_path, rows)
    found = adapted(data)
    assert found.note == ("columns were guessed: text is 'premise', second text is 'hypothesis'")
    train = read(data, found.task).train
    assert train.pairs == ["it is wet"] * 9
    assert train.joined()[0] == "it rains 0\nit is wet"
    assert train.select([1]).pairs == ["it is wet"]
    # A pair is another data set than its first text.
    alone = Task(train_examples=4, test_examples=2, labels=3, text_column="premise")
    assert locate_data(data, alone).identity != locate_data(data, found.task).identity


@pytest.mark.parametrize(
    ("row", "words"),
    [
        ({"one": "a long text", "two": "b long text", "label": 0}, ("could both be the text",)),
        ({"text": "t", "kind": "a", "sort": "b"}, ("'kind', 'sort' could all be it",)),
        ({"text": "t", "id": 1}, ("no column 'label'", "none looks like it")),
        ({"id": 1, "label": 0}, ("no column of texts beside 'label'",)),
    ],
)
def test_what_could_be_meant_in_two_ways_is_asked(
    tmp_path: Path, row: dict[str, Any], words: tuple[str, ...]
) -> None:
    rows = []
    for n in range(40):
        varied = {"kind": "ab"[n % 2], "sort": "xy"[n % 2], "id": n, "label": n % 2}
        rows.append({name: varied.get(name, value) for name, value in row.items()})
    message = refused(write(tmp_path, rows))
    for word in words:
        assert word in message
    assert "--peft-set" in message


def test_the_data_sets_that_come_with_peftcore_are_known() -> None:
    assert adapted("embedded") == Adapted(TASK)
    assert adapted("imdb") == Adapted(TASK)


# The task


def test_a_task_says_pairs_and_classes_only_where_it_has_them() -> None:
    assert not {"pair_column", "classes"} & set(TASK.describe())
    named = Task(labels=3, classes=("a", "b", "c"), pair_column="second")
    described = json.loads(json.dumps(named.describe()))
    assert described["classes"] == ["a", "b", "c"]
    assert Task.described(described) == named
    assert Task.described(json.loads(json.dumps(TASK.describe()))) == TASK


def test_names_of_classes_say_how_many_there_are() -> None:
    assert Task(classes=("a", "b", "c")).labels == 3
    with pytest.raises(UsageError, match="names that differ"):
        Task(classes=("a", "a"))
    with pytest.raises(UsageError, match="labels=1"):
        Task(classes=("a",))

import csv
import json
import random
from collections import Counter

import pytest

from peftcore.choosing.parts import MOST_VALIDATION, cut, divide
from peftcore.data.examples import Examples
from peftcore.data.sources import read_data
from peftcore.errors import UsageError
from peftcore.scenarios import Task
from peftcore.trials import Source

CLASSES = ("bad", "good", "mixed")


def rows(count, *, seed=0):
    generator = random.Random(seed)
    return [
        (f"text {number} {generator.random()}", CLASSES[(number % 10) // 4])
        for number in range(count)
    ]


def write(path, content, header=("text", "label")):
    with path.open("w", newline="", encoding="utf-8") as stream:
        csv.writer(stream).writerows([header, *content])
    return path


def saved(path, text):
    path.write_text(text, encoding="utf-8")
    return path


def texts_of(folder, split):
    lines = (folder / f"{split}.jsonl").read_text(encoding="utf-8").splitlines()
    return [(row["text"], row["label"]) for row in map(json.loads, lines)]


def all_parts(parts):
    train, validation = texts_of(parts.race, "train"), texts_of(parts.race, "test")
    return train, validation, texts_of(parts.final, "test")


def test_a_file_is_cut_in_three_with_each_class_in_its_share(tmp_path):
    content = rows(300)
    parts = divide(write(tmp_path / "mine.csv", content), Task(), named=set(), within=tmp_path)
    train, validation, test = all_parts(parts)
    assert (len(train), len(validation), len(test)) == (180, 60, 60)
    assert (parts.train, parts.validation, parts.test) == (180, 60, 60)
    assert sorted(train + validation + test) == sorted(content)
    for part in (train, validation, test):
        counts = Counter(label for _, label in part)
        assert counts["bad"] == counts["good"] == 0.4 * len(part)
    assert sorted(texts_of(parts.final, "train")) == sorted(train + validation)
    assert parts.task.classes == CLASSES
    assert (parts.name, parts.own_test, parts.notes) == ("mine", False, ())


def test_trials_read_the_parts_as_they_were_meant(tmp_path):
    parts = divide(write(tmp_path / "mine.csv", rows(90)), Task(), named=set(), within=tmp_path)
    corpus = read_data(Source(name="mine", identity="", path=str(parts.race)), parts.task)
    assert len(corpus.train) == parts.train
    train, *_ = all_parts(parts)
    named = [CLASSES[label] for label in corpus.train.labels]
    assert list(zip(corpus.train.texts, named, strict=True)) == train


def test_the_same_file_is_always_cut_alike_and_another_is_not(tmp_path):
    first = divide(write(tmp_path / "one.csv", rows(90)), Task(), named=set(), within=tmp_path)
    before = all_parts(first)
    again = divide(write(tmp_path / "two.csv", rows(90)), Task(), named=set(), within=tmp_path)
    assert again.folder == first.folder
    assert all_parts(again) == before
    other = divide(
        write(tmp_path / "one.csv", rows(90, seed=1)), Task(), named=set(), within=tmp_path
    )
    assert other.folder != first.folder


def test_equal_texts_are_kept_in_one_part_and_said(tmp_path):
    content = [row for row in rows(60) for _ in range(3)]
    parts = divide(write(tmp_path / "mine.csv", content), Task(), named=set(), within=tmp_path)
    train, validation, test = ({text for text, _ in part} for part in all_parts(parts))
    assert not train & validation
    assert not train & test
    assert not validation & test
    assert parts.notes == ("120 of 180 texts are repeated; equal texts were kept in one part.",)


def test_a_text_that_is_there_very_often_does_not_fill_a_part(tmp_path):
    content = [*rows(100), *[("fine", "good")] * 300]
    for seed in range(5):
        file = write(tmp_path / "mine.csv", [*content, (f"another {seed}", "good")])
        parts = divide(file, Task(), named=set(), within=tmp_path)
        train, *judged = all_parts(parts)
        assert sum(text == "fine" for text, _ in train) == 300
        for part in judged:
            assert Counter(label for _, label in part).keys() == set(CLASSES)


def test_each_class_is_in_each_part_even_where_all_texts_are_there_three_times(tmp_path):
    content = [(f"text {n}", CLASSES[0 if n < 5 else 1]) for n in range(70) for _ in range(3)]
    parts = divide(write(tmp_path / "mine.csv", content), Task(), named=set(), within=tmp_path)
    for part in all_parts(parts):
        assert {label for _, label in part} == {"bad", "good"}


def test_what_is_odd_about_the_texts_is_said(tmp_path):
    content = [*rows(90), ("both", "good"), ("both", "bad"), ("  ", "good"), ("", "bad")]
    parts = divide(write(tmp_path / "mine.csv", content), Task(), named=set(), within=tmp_path)
    assert parts.notes == (
        "1 of 94 texts are repeated; equal texts were kept in one part.",
        "1 of the repeated texts have different classes: no answer suits all.",
        "2 of 94 texts are empty; they were kept.",
    )


def test_a_folder_keeps_its_own_test_set_for_the_end(tmp_path):
    folder = tmp_path / "mine"
    folder.mkdir()
    tested = [*rows(40, seed=2), rows(100)[7]]
    write(folder / "train.csv", rows(100))
    write(folder / "test.csv", tested)
    parts = divide(folder, Task(), named=set(), within=tmp_path)
    train, validation, test = all_parts(parts)
    assert (len(train), len(validation)) == (80, 20)
    assert test == tested
    assert parts.own_test
    assert parts.seen_tests == 1
    assert "1 of 41 test texts are in the training set too" in parts.notes[0]
    most = max(Counter(label for _, label in validation).values())
    assert parts.majority == most / len(validation)


def test_guessed_columns_are_said_and_pairs_stay_pairs(tmp_path):
    content = [(f"a {n}", f"b {n}", CLASSES[n % 3]) for n in range(90)]
    file = write(tmp_path / "mine.csv", content, header=("premise", "hypothesis", "verdict"))
    parts = divide(file, Task(), named=set(), within=tmp_path)
    assert "label is 'verdict'" in parts.notes[0]
    corpus = read_data(Source(name="mine", identity="", path=str(parts.race)), parts.task)
    number = corpus.train.texts[0].removeprefix("a ")
    assert corpus.train.pairs[0] == f"b {number}"


def test_no_part_is_larger_than_it_needs_to_be():
    size = 20_000
    examples = Examples([str(n) for n in range(size)], [n % 2 for n in range(size)])
    train, validation, test = cut(examples, digest="0" * 64, test_share=0.2)
    assert (len(validation), len(test)) == (MOST_VALIDATION, 2000)
    assert len(train) == size - 3000


@pytest.mark.parametrize(
    ("make", "expected"),
    [
        (lambda path: path / "none.csv", "is not there: name a file"),
        (lambda path: write(path / "mine.txt", rows(90)), "save it as one of .parquet, .csv"),
        (lambda path: write(path / "mine.csv", rows(30)), "30 examples: at least 60"),
        (
            lambda path: write(path / "mine.csv", [*rows(90), *[("x", "rare"), ("y", "rare")]]),
            "2 examples of the class 'rare': at least 5",
        ),
        (
            lambda path: write(path / "mine.csv", [*rows(90), *[("same", "rare")] * 9]),
            "1 different texts of the class 'rare': at least 5",
        ),
        (
            lambda path: write(path / "mine.csv", [*rows(30)] * 3),
            "30 different texts: at least 60",
        ),
        (
            lambda path: saved(path / "mine.csv", "text;label\n" + "fine, or so;good\n" * 90),
            "one column, 'text;label', .* semicolons in between: save it with commas",
        ),
        (
            lambda path: saved(path / "mine.jsonl", '{"text": "a", "label": "\\ud800"}\n' * 90),
            "line 1: 'label' is .* the name of a class; fill it in, or leave the row out",
        ),
        (
            lambda path: saved(path / "mine.csv", "text,label\na,x\nb\n" * 45),
            "line 3: 'label' is None: .*; fill it in, or leave the row out",
        ),
        (lambda path: write(path / "mine.csv", [("t", "one")] * 90), "nothing to tell apart"),
        (
            lambda path: write(path / "mine.csv", rows(90), header=("a", "b")),
            None,
        ),
    ],
)
def test_what_can_not_be_used_is_refused_in_a_sentence(tmp_path, make, expected):
    if expected is None:
        # Columns with other names are guessed by what is in them.
        assert divide(make(tmp_path), Task(), named=set(), within=tmp_path).notes
        return
    with pytest.raises(UsageError, match=expected):
        divide(make(tmp_path), Task(), named=set(), within=tmp_path)

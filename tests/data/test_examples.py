from __future__ import annotations

from collections.abc import Callable, Sequence

import pytest

from peftcore.data.examples import Corpus, Examples, draw, drawn_from, evaluated_rows
from peftcore.errors import UsageError
from peftcore.scenarios import Split, Task

# What `datasets.Dataset.shuffle(seed)` gives for ten rows.
SHUFFLED = {42: [5, 6, 0, 7, 3, 2, 4, 9, 1, 8], 7: [8, 0, 7, 1, 3, 6, 2, 4, 5, 9]}


def examples(kind: str, count: int, labels: Callable[[int], int] = lambda n: n % 2) -> Examples:
    return Examples([f"{kind} {n}" for n in range(count)], [labels(n) for n in range(count)])


def corpus(train: int = 10, test: int = 10) -> Corpus:
    return Corpus(train=examples("train", train), test=examples("test", test))


def places(texts: Sequence[str]) -> list[int]:
    """The rows that texts of `examples` come from."""
    return [int(text.split()[1]) for text in texts]


def test_where_one_text_of_a_pair_ends_is_a_part_of_what_it_is() -> None:
    pairs = [Examples(["a\nb"], [0], ["c"]), Examples(["a"], [0], ["b\nc"])]
    one, other = (Corpus(train=both, test=both).identity() for both in pairs)
    assert one != other


@pytest.mark.parametrize("seed", SHUFFLED)
def test_a_seed_draws_the_beginning_of_its_shuffle(seed: int) -> None:
    train, _ = draw(corpus(), Task(train_examples=6, test_examples=1), seed)
    assert places(train.texts) == SHUFFLED[seed][:6]


def test_the_draw_is_the_one_of_datasets() -> None:
    datasets = pytest.importorskip("datasets")
    rows = datasets.Dataset.from_dict({"row": list(range(997))})
    expected = rows.shuffle(seed=42).select(range(300))["row"][:]

    train, test = draw(corpus(997, 997), Task(train_examples=300, test_examples=300), 42)

    assert places(train.texts) == expected
    assert places(test.texts) == expected


def test_labels_stay_with_their_texts() -> None:
    data = Corpus(
        train=examples("train", 50, lambda n: n % 3), test=examples("test", 40, lambda n: n % 5)
    )
    train, test = draw(data, Task(train_examples=20, test_examples=20), 3)
    assert list(train.labels) == [n % 3 for n in places(train.texts)]
    assert list(test.labels) == [n % 5 for n in places(test.texts)]


@pytest.mark.parametrize("seed", [0, 7, 42])
def test_the_test_set_is_the_same_for_every_seed(seed: int) -> None:
    train, test = draw(corpus(), Task(train_examples=10, test_examples=4), seed)
    assert places(test.texts) == SHUFFLED[42][:4]
    assert test.texts == [f"test {n}" for n in SHUFFLED[42][:4]]
    assert sorted(places(train.texts)) == list(range(10))


def test_a_smaller_sample_is_the_beginning_of_a_larger_one() -> None:
    small, _ = draw(corpus(100, 100), Task(train_examples=10, test_examples=5), 42)
    large, _ = draw(corpus(100, 100), Task(train_examples=30, test_examples=5), 42)
    assert large.texts[:10] == small.texts


def tuning(train: int, test: int) -> Task:
    return Task(train_examples=train, test_examples=test, split=Split.TUNING)


@pytest.mark.parametrize("seed", [0, 42])
def test_tuning_never_sees_the_test_set_nor_the_protocols_own_sample(seed: int) -> None:
    data = corpus(train=70, test=50)
    protocol, held_back = draw(data, Task(train_examples=20, test_examples=30), seed)

    train, evaluated = draw(data, tuning(20, 30), seed)

    assert len(train) == 20
    assert len(evaluated) == 30
    assert all(text.startswith("train ") for text in [*train.texts, *evaluated.texts])
    assert not set(train.texts) & set(evaluated.texts)
    assert not set(protocol.texts) & {*train.texts, *evaluated.texts}
    assert not set(held_back.texts) & {*train.texts, *evaluated.texts}


def test_tuning_starts_at_the_far_end_of_the_same_shuffle() -> None:
    train, evaluated = draw(corpus(), tuning(3, 2), 42)
    assert places(train.texts) == [8, 1, 9]
    assert places(evaluated.texts) == [4, 2]


def test_tuning_may_use_all_that_the_protocol_leaves() -> None:
    train, evaluated = draw(corpus(train=50, test=1), tuning(15, 20), 42)
    assert (len(train), len(evaluated)) == (15, 20)


def test_tuning_refuses_to_reach_into_the_protocols_own_sample() -> None:
    with pytest.raises(UsageError, match=r"split=tuning needs 51 .* the data has 50") as caught:
        draw(corpus(train=50, test=100), tuning(15, 21), 42)
    assert "train_examples=15" in str(caught.value)
    assert "test_examples=21" in str(caught.value)
    assert "ask for fewer" in str(caught.value)


@pytest.mark.parametrize(
    ("task", "setting", "split"),
    [
        (Task(train_examples=11, test_examples=1), "train_examples=11", "10 examples of the train"),
        (Task(train_examples=1, test_examples=13), "test_examples=13", "12 examples of the test"),
    ],
)
def test_more_examples_than_there_are(task: Task, setting: str, split: str) -> None:
    with pytest.raises(UsageError) as caught:
        draw(corpus(train=10, test=12), task, 42)
    assert setting in str(caught.value)
    assert split in str(caught.value)
    assert "ask for at most 1" in str(caught.value)


@pytest.mark.parametrize("split", Split)
def test_repeated_examples_are_the_very_same(split: Split) -> None:
    once = draw(corpus(), Task(train_examples=3, test_examples=2, split=split), 42)
    thrice = draw(corpus(), Task(train_examples=3, test_examples=2, split=split, repeats=3), 42)
    assert list(thrice.train.texts) == 3 * list(once.train.texts)
    assert list(thrice.train.labels) == 3 * list(once.train.labels)
    assert thrice.test == once.test


def test_all_examples_may_be_asked_for() -> None:
    train, test = draw(corpus(10, 12), Task(train_examples=10, test_examples=12), 42)
    assert sorted(places(train.texts)) == list(range(10))
    assert sorted(places(test.texts)) == list(range(12))


ONE = corpus(4, 4)
CHANGED = {
    "a text": Corpus(train=Examples(["x", *ONE.train.texts[1:]], ONE.train.labels), test=ONE.test),
    "a label": Corpus(train=Examples(ONE.train.texts, [1, 1, 0, 1]), test=ONE.test),
    "a test text": Corpus(
        train=ONE.train, test=Examples([*ONE.test.texts[:3], "x"], ONE.test.labels)
    ),
    "splits swapped": Corpus(train=ONE.test, test=ONE.train),
    "one more": corpus(5, 4),
    "moved between the splits": Corpus(
        train=ONE.train.select([0, 1, 2]),
        test=Examples([ONE.train.texts[3], *ONE.test.texts], [1, *ONE.test.labels]),
    ),
    # The same characters in a row, cut elsewhere.
    "cut elsewhere": Corpus(
        train=Examples(["train 0train", " 1", *ONE.train.texts[2:]], ONE.train.labels),
        test=ONE.test,
    ),
}


@pytest.mark.parametrize("change", CHANGED)
def test_identity_and_content_tell_data_sets_apart(change: str) -> None:
    other = CHANGED[change]
    assert other.identity() != ONE.identity()
    assert other.content() != ONE.content()


@pytest.mark.parametrize("split", ["train", "test"])
def test_order_decides_the_identity_and_not_the_content(split: str) -> None:
    splits = {"train": ONE.train, "test": ONE.test}
    splits[split] = splits[split].select([3, 1, 0, 2])
    other = Corpus(**splits)
    assert other.identity() != ONE.identity()
    assert other.content() == ONE.content()


def test_a_text_can_not_pose_as_several() -> None:
    one = Corpus(train=Examples(["a0 1 b"], [0]), test=Examples([], []))
    two = Corpus(train=Examples(["a", "b"], [0, 0]), test=Examples([], []))
    assert one.identity() != two.identity()
    assert one.content() != two.content()


def test_equal_data_has_an_equal_identity_everywhere() -> None:
    assert corpus(4, 4).identity() == ONE.identity()
    # Stored records hold it: if it changes, none of them can stand for a new run any more.
    assert (
        ONE.identity() == "sha256:e073e7cd017f76c26625d4baf3a5dc482ccee33ebbc8fdb587106a7584aed676"
    )


@pytest.mark.parametrize(
    ("labels", "share"), [([0, 1], 0.5), ([1, 1, 1, 0], 0.75), ([0, 1, 2, 2, 2], 0.6), ([3], 1.0)]
)
def test_majority_share(labels: list[int], share: float) -> None:
    assert Examples(["x"] * len(labels), labels).majority_share() == share


@pytest.mark.parametrize("task", [Task(train_examples=20, test_examples=15), tuning(20, 15)])
def test_the_rows_of_what_is_evaluated_are_told_by_the_size_of_the_data_alone(
    task: Task,
) -> None:
    data = corpus(train=100, test=60)
    split = data.train if task.split == "tuning" else data.test
    assert drawn_from(data, task) == len(split)
    rows = evaluated_rows(task.describe(), len(split), 43)
    assert [split.texts[row] for row in rows] == draw(data, task, 43).test.texts

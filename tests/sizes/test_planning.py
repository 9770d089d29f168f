"""Which trials tell how accuracy grows with the training set."""

from __future__ import annotations

from pathlib import Path

import pytest

from peftcore.errors import UsageError
from peftcore.methods import find_method
from peftcore.running.planning import Selection, plan
from peftcore.scenarios import Protocol, Task
from peftcore.sizes.planning import Hold, SizesPlan, parse_sizes
from tests.conftest import sample_of

LORA, BOW = find_method("lora"), find_method("bow")


@pytest.fixture
def selection(bare_model: Path, tiny_data: Path) -> Selection:
    """Sixty of two hundred examples."""
    settings = ("train_examples=60", "test_examples=24", "max_length=32")
    return Selection(
        methods=("lora", "bow"),
        seeds=(1, 2),
        model=str(bare_model),
        data=str(tiny_data),
        settings=settings,
    )


@pytest.mark.parametrize(
    ("text", "sizes"),
    [("1000, 30,all,200", ("30", "200", "1000", "all")), ("ALL,5,5", ("5", "all"))],
)
def test_sizes_are_read_smallest_first(text: str, sizes: tuple[str, ...]) -> None:
    assert parse_sizes(text, where="--peft-sizes") == sizes


@pytest.mark.parametrize("text", ["", ",", "1", "ten", "100,-3", "1.5"])
def test_other_sizes_are_refused(text: str) -> None:
    with pytest.raises(UsageError, match=r"--peft-sizes .* of 2 or more, or all"):
        parse_sizes(text, where="--peft-sizes")


def test_the_usual_sizes_end_with_the_scenarios_own() -> None:
    own = Selection(methods=("lora",))
    assert [size for _, size in SizesPlan(own).cells()] == ["100", "300", "600"]
    other = Selection(methods=("lora",), settings=("train_examples=250",))
    assert [size for _, size in SizesPlan(other).cells()] == ["100", "250"]


def test_a_smaller_set_is_the_beginning_of_a_larger_and_takes_as_many_steps(
    selection: Selection,
) -> None:
    plan_of = SizesPlan(selection, ("20", "60", "all"))
    small, own, everything = (plan_of.trials(LORA, size)[0] for size in ("20", "60", "all"))
    assert [(t.task.train_examples, t.task.repeats) for t in (small, own, everything)] == [
        (20, 3),
        (60, 1),
        (200, 1),
    ]
    texts = [list(sample_of(trial).train.texts) for trial in (small, own, everything)]
    assert texts[0] == 3 * texts[1][:20]
    assert texts[2][:60] == texts[1]
    assert [len(t) for t in texts] == [60, 60, 200]
    assert sample_of(small).test == sample_of(own).test
    assert small.overrides[-2:] == ("train_examples=20", "repeats=3")


def test_on_its_own_size_it_is_the_comparisons_trial(selection: Selection) -> None:
    own = SizesPlan(selection).trials(LORA, "60")
    assert [t.id for t in own] == [t.id for t in plan(selection) if t.method == LORA]


def test_epochs_can_be_held_instead(selection: Selection) -> None:
    (trial, _) = SizesPlan(selection, ("20",), Hold.EPOCHS).trials(LORA, "20")
    assert trial.task.repeats == 1


def test_a_bag_of_words_sees_each_example_once(selection: Selection) -> None:
    (trial, _) = SizesPlan(selection, ("20",)).trials(BOW, "20")
    assert trial.task.repeats == 1


def test_more_than_there_is_is_refused(selection: Selection) -> None:
    with pytest.raises(UsageError, match="train_examples=201 is more than the 200 examples"):
        SizesPlan(selection, ("201",)).trials(LORA, "201")


def test_rates_that_are_searched_for_are_refused() -> None:
    asked = Selection(methods=("lora",), protocol=Protocol.TUNED, prefix="--peft-")
    with pytest.raises(UsageError, match="--peft-protocol tuned is not usable for sizes"):
        SizesPlan(asked).cells()


def test_a_task_that_repeats_nothing_says_nothing_of_it() -> None:
    assert "repeats" not in Task().describe()
    repeated = Task(repeats=3)
    assert Task.described(repeated.describe()) == repeated
    with pytest.raises(UsageError, match="repeats=0"):
        Task(repeats=0)

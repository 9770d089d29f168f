"""Which trials a comparison of the engines runs, and in which order."""

from __future__ import annotations

import math
from pathlib import Path

import pytest

from peftcore.accelerations import ALL
from peftcore.enginepairs import BATCH_SIZES, GROWTH_STEPS, LENGTHS, EnginePairs
from peftcore.errors import UsageError
from peftcore.methods import find_method
from peftcore.running.planning import Selection
from peftcore.scenarios import Precision
from peftcore.trials import Engine, Part, Trial
from tests.conftest import write_bare_model

SWEEPS = (Part.LENGTH, Part.BATCH, Part.SHARE)


def flat(groups: list[list[Trial]]) -> list[Trial]:
    return [trial for group in groups for trial in group]


def test_pairs_alternate_and_share_all_but_the_engine() -> None:
    groups = EnginePairs(Selection()).groups(find_method("lora"), Part.PAIRS)
    assert [[(t.seed, t.engine) for t in group] for group in groups] == [
        [(42, Engine.PEFTCORE), (42, Engine.TRAINER)],
        [(43, Engine.TRAINER), (43, Engine.PEFTCORE)],
        [(44, Engine.PEFTCORE), (44, Engine.TRAINER)],
    ]
    for trial in flat(groups):
        assert (trial.task.train_examples, trial.recipe.epochs) == (240, 1)
        assert trial.recipe.accelerations == (ALL if trial.engine is Engine.PEFTCORE else ())


@pytest.mark.parametrize(
    ("method", "useless"),
    [
        ("full", {"frozen-weights", "four-bit-scratch"}),
        ("lora", {"four-bit-scratch", "bf16-gradients", "used-rows"}),
        ("qlora", {"frozen-weights", "bf16-gradients", "used-rows"}),
    ],
)
def test_an_ablation_leaves_each_acceleration_out_once_a_seed(
    method: str, useless: set[str]
) -> None:
    pairs = EnginePairs(Selection(seeds=(7,)))
    ((whole, *ablation),) = pairs.groups(find_method(method), Part.ABLATION)
    assert whole.recipe.accelerations == ALL
    left_out = [set(ALL) - set(t.recipe.accelerations) for t in ablation]
    assert left_out == [{name} for name in ALL if name not in useless]
    # On a seed of its own: the run with all accelerations stands right beside those without one.
    assert {(t.seed, t.engine) for t in (whole, *ablation)} == {(1007, Engine.PEFTCORE)}


@pytest.mark.parametrize(
    ("part", "sizes"),
    [
        (Part.LENGTH, [(length, 8) for length in LENGTHS]),
        (Part.BATCH, [(128, batch) for batch in BATCH_SIZES]),
        (Part.SHARE, [(128, 8)]),
    ],
)
def test_a_sweep_is_pairs_at_each_size(part: Part, sizes: list[tuple[int, int]]) -> None:
    groups = EnginePairs(Selection()).groups(find_method("lora"), part)
    found = [{(t.seed, t.task.max_length, t.recipe.batch_size) for t in group} for group in groups]
    assert found == [{(seed, *size)} for seed in (42, 43) for size in sizes]
    first = [group[0].engine for group in groups]
    assert first == [list(Engine)[number % 2] for number in range(len(groups))]
    for group in groups:
        assert {t.engine for t in group} == set(Engine)
        for trial in group:
            steps = math.ceil(trial.task.train_examples / trial.recipe.batch_size)
            assert (steps, trial.recipe.epochs) == (GROWTH_STEPS, 1)


def test_what_is_swept_gives_way_to_no_option() -> None:
    selection = Selection(settings=("max_length=32", "batch_size=3", "dropout=0.3"), seeds=(1,))
    trials = flat(EnginePairs(selection).groups(find_method("lora"), Part.BATCH))
    assert [t.recipe.batch_size for t in trials[::2]] == list(BATCH_SIZES)
    assert {(t.task.max_length, t.recipe.dropout) for t in trials} == {(128, 0.3)}


def test_a_backbone_is_swept_as_far_as_it_can_read(tmp_path: Path) -> None:
    model = write_bare_model(tmp_path / "short", max_position_embeddings=100)
    pairs = EnginePairs(Selection(model=str(model), seeds=(1,)))
    lengths = [group[0].task.max_length for group in pairs.groups(find_method("ia3"), Part.LENGTH)]
    assert lengths == [64, 100]
    (share,) = pairs.groups(find_method("ia3"), Part.SHARE)
    assert share[0].task.max_length == 100


def test_equality_is_one_run_in_32_bits_and_one_of_each_engine_in_bf16() -> None:
    ((exact, trainer, ours),) = EnginePairs(Selection()).groups(find_method("ia3"), Part.EQUALITY)
    plain = (Engine.PEFTCORE, Precision.FP32, ())
    assert (exact.engine, exact.recipe.precision, exact.recipe.accelerations) == plain
    in_bf16 = (Engine.TRAINER, Precision.BF16, ())
    assert (trainer.engine, trainer.recipe.precision, trainer.recipe.accelerations) == in_bf16
    accelerated = (Engine.PEFTCORE, Precision.BF16, ALL)
    assert (ours.engine, ours.recipe.precision, ours.recipe.accelerations) == accelerated
    for trial in (exact, trainer, ours):
        assert (trial.seed, trial.recipe.dropout, trial.recipe.batch_size) == (42, 0.0, 8)
        assert (trial.task.train_examples, trial.task.max_length) == (800, 128)
        assert trial.recipe.learning_rate == exact.recipe.learning_rate


def test_no_option_lets_chance_into_equality() -> None:
    selection = Selection(settings=("dropout=0.1", "precision=fp16", "train_examples=40"))
    trials = flat(EnginePairs(selection).groups(find_method("lora"), Part.EQUALITY))
    assert [t.recipe.precision for t in trials] == [Precision.FP32, Precision.BF16, Precision.BF16]
    assert {(t.recipe.dropout, t.task.train_examples) for t in trials} == {(0.0, 40)}


def test_learning_pairs_five_seeds_with_the_methods_own_dropout() -> None:
    groups = EnginePairs(Selection()).groups(find_method("lora"), Part.LEARNING)
    assert [{(t.seed, t.engine) for t in group} for group in groups] == [
        {(seed, engine) for engine in Engine} for seed in range(42, 47)
    ]
    assert {t.recipe.dropout for t in flat(groups)} == {None}


@pytest.mark.parametrize(
    ("settings", "rate"),
    [
        # 150 steps of the scenario and 125 here.
        ((), 2e-3 * math.sqrt(150 / 125)),
        (("train_examples=300",), 2e-3 * math.sqrt(150 / 38)),
        # As many as the scenario or more: its own rate.
        (("train_examples=4000",), 2e-3),
        (("learning_rate=0.5",), 0.5),
    ],
)
def test_fewer_steps_learn_at_a_larger_rate(settings: tuple[str, ...], rate: float) -> None:
    pairs = EnginePairs(Selection(scenario="embedded", settings=settings, seeds=(1,)))
    ((one, other),) = pairs.groups(find_method("lora"), Part.LEARNING)
    assert one.recipe.learning_rate == other.recipe.learning_rate == pytest.approx(rate, rel=3e-3)
    told = [text for text in one.overrides if text.startswith("learning_rate=")]
    assert told == ([] if rate == 2e-3 else [f"learning_rate={one.recipe.learning_rate:g}"])


def test_what_the_options_ask_for_comes_last() -> None:
    selection = Selection(settings=("train_examples=16", "accelerations=padding-free"))
    trials = flat(EnginePairs(selection).groups(find_method("ia3"), Part.PAIRS))
    assert {trial.task.train_examples for trial in trials} == {16}
    assert {trial.task.test_examples for trial in trials} == {64}
    assert {trial.recipe.accelerations for trial in trials} == {("padding-free",), ()}


def test_no_record_stands_for_two_parts() -> None:
    pairs = EnginePairs(Selection(seeds=(1,)))
    trials = [trial for cell in pairs.cells() for trial in flat(pairs.groups(*cell))]
    assert all(trial.part is not None for trial in trials)
    assert len({trial.id for trial in trials}) == len(trials)


def test_reference_rows_are_left_out_unless_asked_for() -> None:
    candidates = ["full", "lora", "qlora", "ia3"]
    for part in Part:
        methods = [method.slug for method in EnginePairs(Selection()).methods(part)]
        # The head is the smallest share that can be trained.
        assert methods == [*candidates, *(["head"] if part is Part.SHARE else [])]
    asked = EnginePairs(Selection(methods=("head",)))
    assert asked.cells() == [(find_method("head"), part) for part in Part]


def test_a_bag_of_words_is_trained_by_neither_engine() -> None:
    asked = EnginePairs(Selection(methods=("bow", "lora")))
    assert {method.slug for method, _ in asked.cells()} == {"lora"}
    with pytest.raises(UsageError, match="names no method that the engines train"):
        EnginePairs(Selection(methods=("bow",))).cells()

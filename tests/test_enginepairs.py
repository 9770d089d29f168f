"""Which trials a comparison of the engines runs, and in which order."""

from __future__ import annotations

from peftcore.accelerations import ALL
from peftcore.enginepairs import EnginePairs, Part
from peftcore.methods import find_method
from peftcore.running.planning import Selection
from peftcore.trials import Engine


def test_pairs_alternate_and_share_all_but_the_engine() -> None:
    trials = EnginePairs(Selection()).trials(find_method("lora"), Part.PAIRS)
    assert [(t.seed, t.engine) for t in trials] == [
        (42, Engine.PEFTCORE),
        (42, Engine.TRAINER),
        (43, Engine.TRAINER),
        (43, Engine.PEFTCORE),
        (44, Engine.PEFTCORE),
        (44, Engine.TRAINER),
    ]
    for trial in trials:
        assert (trial.task.train_examples, trial.recipe.epochs) == (240, 1)
        assert trial.recipe.accelerations == (ALL if trial.engine is Engine.PEFTCORE else ())
    assert len({trial.id for trial in trials}) == len(trials)


def test_an_ablation_leaves_each_acceleration_out_once_a_seed() -> None:
    pairs = EnginePairs(Selection(seeds=(7,)))
    whole, *ablation = pairs.trials(find_method("full"), Part.ABLATION)
    assert whole.recipe.accelerations == ALL
    assert [set(ALL) - set(t.recipe.accelerations) for t in ablation] == [{name} for name in ALL]
    # On a seed of its own: the run with all accelerations stands right beside those without one.
    assert {(t.seed, t.engine) for t in (whole, *ablation)} == {(1007, Engine.PEFTCORE)}


def test_what_the_options_ask_for_comes_last() -> None:
    selection = Selection(settings=("train_examples=16", "accelerations=padding-free"))
    trials = EnginePairs(selection).trials(find_method("ia3"), Part.PAIRS)
    assert {trial.task.train_examples for trial in trials} == {16}
    assert {trial.task.test_examples for trial in trials} == {64}
    assert {trial.recipe.accelerations for trial in trials} == {("padding-free",), ()}


def test_reference_rows_are_left_out_unless_asked_for() -> None:
    methods = EnginePairs(Selection()).methods()
    assert [method.slug for method in methods] == ["full", "lora", "qlora", "ia3"]
    asked = EnginePairs(Selection(methods=("head",))).methods()
    assert [method.slug for method in asked] == ["head"]

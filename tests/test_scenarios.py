from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from peftcore.errors import UsageError
from peftcore.methods import find_method
from peftcore.results.records import read_records
from peftcore.scenarios import (
    DEFAULT_SCENARIO,
    SCENARIOS,
    Precision,
    Recipe,
    Scenario,
    Split,
    Task,
    find_scenario,
    override,
    prediction_bound,
)

# The source study's protocol


def test_the_studys_protocol() -> None:
    scenario = find_scenario("imdb-roberta")
    assert (scenario.backbone, scenario.data) == ("roberta-base", "imdb")
    assert scenario.task == Task(
        train_examples=3000, test_examples=2000, max_length=256, labels=2, split=Split.TEST
    )
    recipe = scenario.recipe
    assert (recipe.epochs, recipe.batch_size, recipe.learning_rate) == (3, 8, 2e-5)
    assert recipe.precision is Precision.FP16
    assert (recipe.dropout, recipe.weight_decay, recipe.max_gradient_norm) == (None, 0.0, 1.0)
    assert scenario.seeds == (42, 43, 44)
    assert scenario.gpu
    assert dict(scenario.expected) == {
        "full": 0.9140,
        "lora": 0.9115,
        "qlora": 0.9045,
        "ia3": 0.8495,
    }
    assert scenario.rates == {}


def test_the_default_scenario_runs_anywhere() -> None:
    scenario = find_scenario(DEFAULT_SCENARIO)
    assert (scenario.backbone, scenario.data) == ("minilm", "embedded")
    assert not scenario.gpu
    assert scenario.caveat is not None
    assert "nothing about the methods can be concluded" in scenario.caveat


def test_what_is_known_of_real_reviews_is_what_was_published() -> None:
    reports = Path(__file__).resolve().parents[1] / "reports"
    published: dict[str, dict[int, float]] = {}
    for record in read_records(reports / "imdb-minilm" / "records.jsonl"):
        assert record.measurement is not None
        assert record.measurement.accuracy is not None
        published.setdefault(record.method, {})[record.seed] = record.measurement.accuracy
    scenario = find_scenario("imdb-minilm")
    assert set(scenario.known) == {"full", "lora", "qlora", "ia3"}
    for slug, accuracies in scenario.known.items():
        by_seed = sorted(published[slug].items())
        assert accuracies == tuple(accuracy for _, accuracy in by_seed)
        # None of what is known may miss the floor that follows from it.
        floor = scenario.floor(find_method(slug), majority=0.5)
        assert floor is not None
        assert 0.8 < floor < min(accuracies)


@pytest.mark.parametrize("scenario", SCENARIOS, ids=lambda scenario: scenario.name)
def test_a_declaration_is_consistent(scenario: Scenario) -> None:
    assert find_scenario(f" {scenario.name.upper()} ") is scenario
    methods = [find_method(slug) for slug in scenario.methods]
    assert len(set(methods)) == len(methods)
    references = [method.reference for method in methods]
    assert references == sorted(references), "reference rows come last"
    assert set(scenario.rates) <= set(scenario.methods)
    assert set(scenario.expected) | set(scenario.known) <= set(scenario.methods)
    described = scenario.describe()
    assert json.loads(json.dumps(described, allow_nan=False)).keys() == described.keys()
    assert described["task"]["max_length"] == scenario.task.max_length
    assert described["rates"] == dict(scenario.rates)


@pytest.mark.parametrize(
    ("given", "words"),
    [
        ("imdb-robert", "unknown scenario 'imdb-robert' (from --scenario): did you mean 'imdb-rob"),
        ("zzz", "unknown scenario 'zzz' (from --scenario): known are embedded, imdb-minilm, imdb-"),
    ],
)
def test_an_unknown_scenario(given: str, words: str) -> None:
    with pytest.raises(UsageError) as caught:
        find_scenario(given, where="--scenario")
    assert str(caught.value).startswith(words)


# Learning rates


def test_the_rates_that_were_chosen_per_method() -> None:
    for name in ("embedded", "imdb-minilm"):
        scenario = find_scenario(name)
        candidates = set(scenario.methods) - {"bow"}
        assert set(scenario.rates) == candidates
        for slug in candidates:
            assert scenario.learning_rate(find_method(slug)) == scenario.rates[slug]


def test_the_study_trains_every_method_at_one_rate() -> None:
    scenario = find_scenario("imdb-roberta")
    assert {scenario.learning_rate(find_method(slug)) for slug in scenario.methods} == {2e-5}


@pytest.mark.parametrize(
    ("rates", "rate"),
    [
        ({"lora": 1e-3, "new": 5e-3}, 5e-3),
        ({"lora": 1e-3}, 1e-3),
        ({"full": 1e-3}, 2e-5),
        ({}, 2e-5),
    ],
)
def test_a_rate_is_the_methods_own_or_its_kins_or_the_recipes(
    rates: dict[str, float], rate: float
) -> None:
    method = replace(find_method("lora"), slug="new", rate_of="lora")
    scenario = replace(scenario_expecting(), rates=rates)
    assert scenario.recipe.learning_rate == 2e-5
    assert scenario.learning_rate(method) == rate


def test_a_method_may_take_a_share_of_its_kins_rate_but_not_of_one_for_all() -> None:
    method = replace(find_method("lora"), slug="new", rate_of="lora", rate_times=0.25)
    scenario = scenario_expecting()
    assert replace(scenario, rates={"lora": 1e-3}).learning_rate(method) == 2.5e-4
    assert replace(scenario, rates={"lora": 1e-3, "new": 5e-3}).learning_rate(method) == 5e-3
    assert replace(scenario, rates={}).learning_rate(method) == 2e-5
    # Rates of both factors: their geometric mean is LoRA's.
    plus = find_method("loraplus")
    assert plus.optimiser is not None
    assert plus.rate_times**2 * plus.optimiser.rate_factors["lora_B"] == 1


# Floors


def scenario_expecting(
    known: Mapping[str, tuple[float, ...]] | None = None, **expected: float
) -> Scenario:
    return Scenario(
        name="s",
        title="S",
        backbone="minilm",
        data="embedded",
        task=Task(),
        recipe=Recipe(),
        expected=expected,
        known=known or {},
    )


@pytest.mark.parametrize(
    ("expected", "majority", "floor"),
    [
        (0.9140, 0.5, 0.8890),
        (0.8495, 0.5, 0.8245),
        # The majority class is what decides.
        (0.61, 0.5, 0.60),
        (0.90, 0.85, 0.95),
        (0.625, 0.5, 0.60),
    ],
)
def test_a_floor_is_the_larger_of_two_bounds(
    expected: float, majority: float, floor: float
) -> None:
    found = scenario_expecting(lora=expected).floor(find_method("lora"), majority=majority)
    assert found == pytest.approx(floor, abs=1e-12)


def test_five_seeds_say_themselves_how_low_another_may_end() -> None:
    seeds = (0.88, 0.89, 0.87, 0.88, 0.88)
    found = scenario_expecting({"lora": seeds}, lora=0.95).floor(find_method("lora"), majority=0.5)
    # 0.88 − 3.746947 × 0.00707107 × √1.2, the quantile from a table of Student's t.
    assert found == pytest.approx(0.850976, abs=1e-6)


def test_four_seeds_do_not() -> None:
    few = scenario_expecting({"lora": (0.88, 0.89, 0.87, 0.88)}, lora=0.88)
    assert few.floor(find_method("lora"), majority=0.5) == pytest.approx(0.855)


def test_seeds_far_apart_leave_the_majority_class_to_decide() -> None:
    apart = scenario_expecting({"lora": (0.9, 0.5, 0.9, 0.5, 0.9)})
    assert apart.floor(find_method("lora"), majority=0.5) == pytest.approx(0.6)


def test_one_more_seed_ends_under_the_bound_as_often_as_it_says() -> None:
    draws = np.random.default_rng(1).normal(0.88, 0.01, size=(2000, 6))
    under = [row[5] < prediction_bound(row[:5].tolist(), 0.99) for row in draws]
    assert 0.004 < np.mean(under) < 0.017


def test_a_candidate_without_an_expectation_must_end_above_chance() -> None:
    floor = scenario_expecting(lora=0.9).floor(find_method("full"), majority=0.5)
    assert floor == pytest.approx(0.6, abs=1e-12)


def test_a_reference_row_is_there_to_be_beaten() -> None:
    scenario = scenario_expecting(bow=0.8)
    for slug in ("head", "bow"):
        assert scenario.floor(find_method(slug), majority=0.5) is None


# Overrides

TASK, RECIPE = Task(), Recipe()


@pytest.mark.parametrize(
    ("setting", "field", "value"),
    [
        ("train_examples=100", "train_examples", 100),
        ("test_examples=1", "test_examples", 1),
        (" max_length = 64 ", "max_length", 64),
        ("labels=5", "labels", 5),
        ("split=tuning", "split", Split.TUNING),
        ("text_column=review text", "text_column", "review text"),
        ("label_column=a=b", "label_column", "a=b"),
        ("epochs=2", "epochs", 2),
        ("batch_size=16", "batch_size", 16),
        ("eval_batch_size=64", "eval_batch_size", 64),
        ("learning_rate=1e-3", "learning_rate", 0.001),
        ("learning_rate=1", "learning_rate", 1.0),
        ("pair_column=second", "pair_column", "second"),
        ("classes=good, bad", "classes", ("good", "bad")),
        ("weight_decay=0.01", "weight_decay", 0.01),
        ("max_gradient_norm=0.5", "max_gradient_norm", 0.5),
        ("precision=fp32", "precision", Precision.FP32),
        ("precision=FP16", "precision", Precision.FP16),
        ("dropout=0", "dropout", 0.0),
        ("dropout=0.25", "dropout", 0.25),
    ],
)
def test_a_setting_changes_one_field(setting: str, field: str, value: Any) -> None:
    task, recipe, changed = override(TASK, RECIPE, [setting])

    owner = task if hasattr(task, field) else recipe
    assert getattr(owner, field) == value
    assert type(getattr(owner, field)) is type(value)
    assert changed == {field}
    others = {**vars(task), **vars(recipe)}
    declared = {**vars(TASK), **vars(RECIPE)}
    assert {name for name, now in others.items() if now != declared[name]} == {field}


def test_every_field_can_be_set() -> None:
    words = {"accelerations": "all", "classes": ""}
    for name, value in {**vars(TASK), **vars(RECIPE), **words}.items():
        task, recipe, changed = override(TASK, RECIPE, [f"{name}={value}"])
        assert (task, recipe, changed) == (TASK, RECIPE, {name})


@pytest.mark.parametrize("word", ["none", "None", "null"])
def test_none_takes_a_setting_back(word: str) -> None:
    _, recipe, _ = override(TASK, Recipe(dropout=0.1), [f"dropout={word}"])
    assert recipe.dropout is None


def test_several_settings_and_none() -> None:
    task, recipe, changed = override(
        TASK, RECIPE, ["epochs=1", "max_length=32", "dropout=0", "epochs=5"]
    )
    assert (recipe.epochs, task.max_length, recipe.dropout) == (5, 32, 0.0)
    assert changed == {"epochs", "max_length", "dropout"}
    assert override(TASK, RECIPE, []) == (TASK, RECIPE, set())
    # What was declared stays as it is.
    assert vars(TASK) == vars(Task())
    assert vars(RECIPE) == vars(Recipe())


@pytest.mark.parametrize(
    ("setting", "words"),
    [
        ("epochs", "setting 'epochs' is not usable: expected KEY=VALUE"),
        ("", "setting '' is not usable: expected KEY=VALUE"),
        ("epoch=3", "unknown setting 'epoch': did you mean 'epochs'? known are accelerations, "),
        ("=3", "unknown setting '': known are accelerations, "),
        ("__class__=3", "unknown setting '__class__': "),
        ("epochs=three", "epochs=three is not usable: expected a whole number"),
        ("epochs=1.5", "epochs=1.5 is not usable: expected a whole number"),
        ("epochs=none", "epochs=none is not usable: expected a whole number"),
        ("epochs=", "epochs= is not usable: expected a whole number"),
        ("epochs=0", "epochs=0 is not usable: expected at least 1"),
        ("batch_size=0", "batch_size=0 is not usable: expected at least 1"),
        ("eval_batch_size=0", "eval_batch_size=0 is not usable: expected at least 1"),
        ("train_examples=-1", "train_examples=-1 is not usable: expected at least 1"),
        ("test_examples=0", "test_examples=0 is not usable: expected at least 1"),
        ("max_length=3", "max_length=3 is not usable: expected at least 4 tokens"),
        ("labels=1", "labels=1 is not usable: expected at least 2"),
        ("learning_rate=fast", "learning_rate=fast is not usable: expected a number"),
        ("learning_rate=0", "learning_rate=0.0 is not usable: expected a positive number"),
        ("learning_rate=-1", "learning_rate=-1.0 is not usable: expected a positive number"),
        ("learning_rate=nan", "learning_rate=nan is not usable: expected a positive number"),
        ("learning_rate=inf", "learning_rate=inf is not usable: expected a positive number"),
        ("max_gradient_norm=0", "max_gradient_norm=0.0 is not usable: expected a positive number"),
        ("weight_decay=nan", "weight_decay=nan is not usable: expected 0 to 1"),
        ("weight_decay=-0.1", "weight_decay=-0.1 is not usable: expected 0 to 1"),
        ("dropout=1", "dropout=1.0 is not usable: expected at least 0 and less than 1"),
        ("dropout=-0.1", "dropout=-0.1 is not usable: expected at least 0 and less than 1"),
        ("dropout=nan", "dropout=nan is not usable: expected at least 0 and less than 1"),
        ("dropout=much", "dropout=much is not usable: expected a number"),
        (
            "precision=fp8",
            "unknown value 'fp8' (from precision): did you mean 'fp32'? known are bf16",
        ),
        (
            "split=train",
            "unknown value 'train' (from split): did you mean 'tuning'? known are test",
        ),
    ],
)
def test_a_setting_that_can_not_be_used(setting: str, words: str) -> None:
    with pytest.raises(UsageError) as caught:
        override(TASK, RECIPE, ["max_length=8", setting])
    assert str(caught.value).startswith(words)

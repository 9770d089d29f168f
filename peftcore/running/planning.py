"""From what the user asked for to the trials that answer it, all input checked on the way."""

from __future__ import annotations

import dataclasses
from dataclasses import dataclass

from peftcore.data.sources import locate_data
from peftcore.errors import UsageError
from peftcore.methods import Method, find_method
from peftcore.models.backbones import locate_backbone
from peftcore.scenarios import DEFAULT_SCENARIO, Scenario, find_scenario, override
from peftcore.trials import Engine, Trial, Weights

FIRST_SEED = 42


@dataclass(frozen=True, kw_only=True)
class Selection:
    """What to run, as the options say it; ``None`` is what the scenario declares.

    Attributes:
        scenario: a scenario's name.
        methods: method slugs.
        seeds: the seeds.
        model: a backbone in the scenario's place.
        data: a data set in the scenario's place.
        weights: where the backbone's weights come from.
        settings: ``KEY=VALUE`` overrides of the task and the recipe.
        engine: whose training loop.
        prefix: what the options begin with, for messages: ``--peft-`` or ``--``.
    """

    scenario: str = DEFAULT_SCENARIO
    methods: tuple[str, ...] | None = None
    seeds: tuple[int, ...] | None = None
    model: str | None = None
    data: str | None = None
    weights: Weights = Weights.PRETRAINED
    settings: tuple[str, ...] = ()
    engine: Engine = Engine.PEFTCORE
    prefix: str = "--"

    def find_scenario(self) -> Scenario:
        """Return the scenario's declaration.

        Raises:
            UsageError: there is none of this name.
        """
        return find_scenario(self.scenario, where=f"{self.prefix}scenario")

    def find_methods(self) -> list[Method]:
        """Return the methods to run, each once, in the order asked for.

        Raises:
            UsageError: a method does not exist.
        """
        slugs = self.methods if self.methods is not None else self.find_scenario().methods
        found = [find_method(slug, where=f"{self.prefix}method") for slug in slugs]
        return list(dict.fromkeys(found))

    def find_seeds(self) -> tuple[int, ...]:
        """Return the seeds to run."""
        return self.seeds if self.seeds is not None else self.find_scenario().seeds


def parse_seeds(text: str, *, where: str) -> tuple[int, ...]:
    """Return the seeds that ``N`` (how many, from 42 on) or ``A,B,C`` (which) stand for.

    Raises:
        UsageError: the text is neither.
    """
    parts = [part.strip() for part in text.split(",") if part.strip()]
    if not parts or not all(part.isdecimal() for part in parts):
        raise UsageError(
            f"{where} {text!r} is not usable: expected how many (3) or which (42,7,11), "
            "whole numbers from 0"
        )
    numbers = [int(part) for part in parts]
    if max(numbers) >= 2**32:
        raise UsageError(f"{where} {text!r} is not usable: a seed is less than 2**32")
    if "," in text:
        return tuple(dict.fromkeys(numbers))
    if not 1 <= numbers[0] <= 1000:
        raise UsageError(
            f"{where} {text!r} is not usable: expected 1 to 1000 seeds; "
            f"for the one seed {text} write {text},"
        )
    return tuple(range(FIRST_SEED, FIRST_SEED + numbers[0]))


def parse_methods(text: str) -> tuple[str, ...]:
    """Return the slugs of a comma-separated list."""
    return tuple(part.strip() for part in text.split(",") if part.strip())


def plan(selection: Selection) -> list[Trial]:
    """Return the trials that a selection stands for: method by method, seed by seed.

    Backbone and data are located, verified and hashed; no model is loaded.

    Raises:
        UsageError: something that was asked for does not exist or can't be used.
    """
    scenario = selection.find_scenario()
    methods = selection.find_methods()
    task, recipe, changed = override(scenario.task, scenario.recipe, selection.settings)
    data = locate_data(
        selection.data or scenario.data,
        task,
        where=f"{selection.prefix}data" if selection.data else "data",
    )
    backbone = locate_backbone(
        selection.model or scenario.backbone,
        selection.weights,
        where=f"{selection.prefix}model" if selection.model else "backbone",
    )
    overrides = _overrides(selection, scenario, backbone.name, data.name)
    trials = []
    for method in methods:
        asked = "learning_rate" in changed
        rate = recipe.learning_rate if asked else scenario.learning_rate(method)
        for seed in selection.find_seeds():
            trial = Trial(
                method=method,
                scenario=scenario.name,
                seed=seed,
                backbone=backbone,
                data=data,
                weights=selection.weights,
                task=task,
                recipe=dataclasses.replace(recipe, learning_rate=rate),
                engine=selection.engine,
                overrides=overrides,
            )
            trials.append(trial)
    return trials


def _overrides(
    selection: Selection, scenario: Scenario, backbone: str, data: str
) -> tuple[str, ...]:
    """Return in what a selection departs from its scenario as declared, in words.

    A folder that holds the very data set that the scenario names is no departure.
    """
    departures: list[str] = []
    if backbone != scenario.backbone:
        departures.append(f"model={backbone}")
    if data != scenario.data:
        departures.append(f"data={data}")
    if selection.weights is not Weights.PRETRAINED:
        departures.append(f"weights={selection.weights}")
    if selection.engine is not Engine.PEFTCORE:
        departures.append(f"engine={selection.engine}")
    return (*departures, *selection.settings)


def shortfall(trial: Trial, accuracy: float, majority: float) -> str | None:
    """Return in words how an accuracy misses its floor, or ``None`` where it doesn't.

    Floors hold only for a scenario as declared.
    """
    if trial.overrides:
        return None
    floor = find_scenario(trial.scenario).floor(trial.method.slug, majority=majority)
    if floor is None or accuracy >= floor:
        return None
    return (
        f"{trial.method.name}, seed {trial.seed}: accuracy {accuracy:.4f} is under the floor "
        f"{floor:.4f} of scenario {trial.scenario}"
    )

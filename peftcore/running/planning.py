"""From what the user asked for to the trials that answer it, all input checked on the way."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

from peftcore.data.sources import adapt_task, locate_data
from peftcore.errors import UsageError
from peftcore.methods import Method, Trains, find_methods
from peftcore.models.architectures import architecture_of
from peftcore.models.backbones import locate_backbone, read_config
from peftcore.scenarios import (
    DEFAULT_SCENARIO,
    Protocol,
    Recipe,
    Scenario,
    Task,
    find_scenario,
    floor_of_trial,
    override,
)
from peftcore.trials import Engine, Source, Trial, Weights

FIRST_SEED = 42


@dataclass(frozen=True, kw_only=True)
class Selection:
    """What to run, as the options say it; ``None`` is what the scenario declares.

    Attributes:
        scenario: a scenario's name, or a declaration that is none of peftcore's own.
        methods: slugs of methods or names of groups of them, or declarations that are none of
            peftcore's own.
        seeds: the seeds.
        model: a backbone in the scenario's place.
        data: a data set in the scenario's place.
        weights: where the backbone's weights come from.
        settings: ``KEY=VALUE`` overrides of the task and the recipe.
        engine: whose training loop.
        protocol: how each method comes to its learning rate.
        rates: of the protocol ``tuned``, the rate that each method's search has found, by its slug;
            a method that is missing has no trials yet.
        prefix: what the options begin with, for messages: ``--peft-`` or ``--``.
    """

    scenario: str | Scenario = DEFAULT_SCENARIO
    methods: tuple[str | Method, ...] | None = None
    seeds: tuple[int, ...] | None = None
    model: str | None = None
    data: str | None = None
    weights: Weights = Weights.PRETRAINED
    settings: tuple[str, ...] = ()
    engine: Engine = Engine.PEFTCORE
    protocol: Protocol = Protocol.DECLARED
    rates: Mapping[str, float] = field(default_factory=dict)
    prefix: str = "--"

    def find_scenario(self) -> Scenario:
        """Return the scenario's declaration.

        Raises:
            UsageError: there is none of this name.
        """
        if isinstance(self.scenario, Scenario):
            return self.scenario
        return find_scenario(self.scenario, where=f"{self.prefix}scenario")

    def find_methods(self) -> list[Method]:
        """Return the methods to run, each once, in the order asked for.

        Raises:
            UsageError: a method does not exist.
        """
        slugs = self.methods if self.methods is not None else self.find_scenario().methods
        if not slugs:
            raise UsageError(f"{self.prefix}method names no method: see peftcore methods")
        found: list[Method] = []
        for name in slugs:
            if isinstance(name, Method):
                found.append(name)
            else:
                found += find_methods(name, where=f"{self.prefix}method")
        return list(dict.fromkeys(found))

    def find_backbone(self) -> Source:
        """Return the backbone to fine-tune, located and verified.

        Raises:
            UsageError: it can't be found or used.
        """
        return locate_backbone(
            self.find_scenario().backbone if self.model is None else self.model,
            self.weights,
            where="backbone" if self.model is None else f"{self.prefix}model",
        )

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
    name = scenario.data if selection.data is None else selection.data
    where = "data" if selection.data is None else f"{selection.prefix}data"
    adapted = adapt_task(name, task, named=changed, where=where)
    task = adapted.task
    data = dataclasses.replace(locate_data(name, task, where=where), note=adapted.note)
    backbone = selection.find_backbone()
    _require_fit(backbone, task.max_length, methods)
    trials = []
    for method in methods:
        given = _rate(selection, scenario, method)
        rate = recipe.learning_rate if "learning_rate" in changed else given
        if rate is None:
            continue
        # A rate that the protocol gives is no change of it.
        before = dataclasses.replace(scenario.recipe, learning_rate=given or rate)
        after = dataclasses.replace(recipe, learning_rate=rate)
        overrides = (
            *_departures(selection, scenario, backbone.name, data.name),
            *_differences(scenario.task, task),
            *_differences(before, after),
        )
        trials += [
            Trial(
                method=method,
                scenario=scenario.name,
                seed=seed,
                backbone=backbone,
                data=data,
                weights=selection.weights,
                task=task,
                recipe=after,
                engine=selection.engine,
                overrides=overrides,
                protocol=selection.protocol,
            )
            for seed in selection.find_seeds()
        ]
    return trials


def _rate(selection: Selection, scenario: Scenario, method: Method) -> float | None:
    """Return the learning rate of a method by the protocol; ``None`` where it is yet to be found.

    A bag of words has none, and takes whatever it is given.
    """
    if selection.protocol is Protocol.STUDY:
        return scenario.recipe.learning_rate
    if selection.protocol is Protocol.TUNED and method.trains is not Trains.BAG_OF_WORDS:
        return selection.rates.get(method.slug)
    return scenario.learning_rate(method)


def longest_text(backbone: Source) -> int:
    """Return how many tokens of a text a backbone can take."""
    config = read_config(backbone)
    return architecture_of(config["model_type"]).longest_text(config)


def _require_fit(backbone: Source, max_length: int, methods: Sequence[Method]) -> None:
    """Check that a backbone can take texts of this many tokens, and each method's adapter."""
    config = read_config(backbone)
    architecture = architecture_of(config["model_type"])
    for method in methods:
        architecture.require(method, config)
    longest = longest_text(backbone)
    if max_length > longest:
        raise UsageError(
            f"max_length={max_length} is more than the {longest} tokens that {backbone.name} can "
            f"take: ask for at most {longest}"
        )
    for method in methods:
        added = 0 if method.adapter is None else method.adapter.added_tokens
        if max_length + added > longest:
            raise UsageError(
                f"{method.name} puts {added} tokens before each text, and {backbone.name} can take "
                f"{longest} in all: ask for max_length={longest - added} at most, not {max_length}"
            )


def _departures(selection: Selection, scenario: Scenario, backbone: str, data: str) -> list[str]:
    """Return in words where a selection takes something else than its scenario declares.

    A folder that holds the very data set, or the very weights, that the scenario names is none.
    """
    pairs = (
        ("model", backbone, backbone if selection.model is None else scenario.backbone),
        ("data", data, data if selection.data is None else scenario.data),
        ("weights", selection.weights, Weights.PRETRAINED),
        ("engine", selection.engine, Engine.PEFTCORE),
        ("protocol", selection.protocol, Protocol.DECLARED),
    )
    return [f"{name}={taken}" for name, taken, declared in pairs if taken != declared]


def _differences(declared: Task | Recipe, taken: Task | Recipe) -> list[str]:
    """Return ``KEY=VALUE`` of each field that differs from its declaration."""
    return [
        f"{field.name}={_shown(getattr(taken, field.name))}"
        for field in dataclasses.fields(declared)
        if getattr(taken, field.name) != getattr(declared, field.name)
    ]


def _shown(value: object) -> str:
    return ",".join(map(str, value)) if isinstance(value, tuple) else str(value)


def shortfall(trial: Trial, accuracy: float, majority: float) -> str | None:
    """Return in words how an accuracy misses its floor, or ``None`` where it doesn't."""
    floor = floor_of_trial(trial.scenario, trial.method, trial.overrides, majority=majority)
    if floor is None or accuracy >= floor:
        return None
    return (
        f"{trial.method.name}, seed {trial.seed}: accuracy {accuracy:.4f} is under the floor "
        f"{floor:.4f} of scenario {trial.scenario}"
    )

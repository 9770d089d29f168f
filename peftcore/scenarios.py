"""Where methods are compared: all that is held equal, one declaration a scenario."""

from __future__ import annotations

import dataclasses
import math
import types
import typing
from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from enum import StrEnum
from statistics import fmean, stdev
from types import MappingProxyType
from typing import Any

from peftcore.accelerations import ALL, parse_accelerations
from peftcore.errors import UsageError, member, unknown
from peftcore.methods import Group, Method, slugs_of

MARGIN_OF_FEW_SEEDS = 0.025
"""How far below its expected accuracy a method may end before its floor fails (few seeds known)."""

ENOUGH_SEEDS = 5
"""From so many known seeds on, their own spread says how far below them another may end."""

FLOOR_CONFIDENCE = 0.99
"""How surely one more seed of the same code ends above its floor."""

DEFAULT_SEEDS = (42, 43, 44)
"""The seeds that run unless others are asked for: the fewest that tell of their own spread.

The first is the source study's."""

MOST_LABELS = 1000
"""Of more classes than this no comparison is made."""

MARGIN_OVER_CHANCE = 0.10
"""How far above the majority class every method must end, reference rows left out."""


class Split(StrEnum):
    """Which examples are trained and evaluated on.

    ``TEST`` is the protocol. ``TUNING`` is for choosing hyperparameters: it trains and evaluates on
    examples from the far end of the same shuffle of the training set, which the protocol's own
    sample leaves unused. It never touches the test set.
    """

    TEST = "test"
    TUNING = "tuning"


class Protocol(StrEnum):
    """How each method comes to its learning rate.

    ``DECLARED`` is by what the scenario declares for it, or for its kin. ``STUDY`` is by one rate
    for all, the recipe's, as the source study had it. ``TUNED`` is by a search of its own, as long
    for one method as for another, on training examples that the protocol leaves unused.
    """

    DECLARED = "declared"
    STUDY = "study"
    TUNED = "tuned"


class Precision(StrEnum):
    """The number format of the matrix products; trained weights are kept in 32 bits."""

    FP32 = "fp32"
    BF16 = "bf16"
    FP16 = "fp16"


class Evaluation(StrEnum):
    """When a trial is evaluated.

    ``EACH_EPOCH`` gives a learning curve; ``END`` is faster where only the last result is read. The
    weights are the same either way, but for Trainer's under dropout: the iterators of its data
    loaders draw from the generator that dropout draws from.
    """

    EACH_EPOCH = "each-epoch"
    END = "end"


def _require(condition: bool, name: str, value: object, expected: str) -> None:
    if not condition:
        raise UsageError(f"{name}={value} is not usable: expected {expected}")


@dataclass(frozen=True, kw_only=True)
class Task:
    """What is learned: the data, how much of it, and how much of each text is read.

    Attributes:
        train_examples: how many are trained on.
        test_examples: how many are evaluated on.
        max_length: tokens of the longest text, or pair of texts; what is longer is cut.
        labels: how many classes there are; where they have names, as many as those.
        split: which examples are meant.
        text_column: where the text stands.
        label_column: where the class stands.
        pair_column: where a second text stands, if an example is a pair.
        classes: the names of the classes in the order of their numbers, where the data has names;
            none where it has the numbers themselves.
        repeats: how often each training example comes in an epoch: more than once where a small
            set is to be trained on for as many steps as a large one.
    """

    train_examples: int = 3000
    test_examples: int = 2000
    max_length: int = 256
    labels: int = 2
    split: Split = Split.TEST
    text_column: str = "text"
    label_column: str = "label"
    pair_column: str | None = None
    classes: tuple[str, ...] = ()
    repeats: int = 1

    def __post_init__(self) -> None:
        for name in ("train_examples", "test_examples", "repeats"):
            _require(getattr(self, name) >= 1, name, getattr(self, name), "at least 1")
        _require(self.max_length >= 4, "max_length", self.max_length, "at least 4 tokens")
        if self.classes:
            whole = len(set(self.classes)) == len(self.classes)
            _require(whole, "classes", ",".join(self.classes), "names that differ")
            object.__setattr__(self, "labels", len(self.classes))
        expected = f"at least 2 and at most {MOST_LABELS}"
        _require(2 <= self.labels <= MOST_LABELS, "labels", self.labels, expected)

    def class_of(self, label: int) -> str:
        """Return the name of a class; where it has none, its number."""
        return self.classes[label] if self.classes else str(label)

    def describe(self) -> dict[str, Any]:
        """Return the task as plain JSON values, without what it does not need to say.

        So ids stay what they were before there were pairs, names of classes and repeats.
        """
        described = dataclasses.asdict(self)
        if self.repeats == 1:
            del described["repeats"]
        described["classes"] = list(self.classes)
        return {
            name: value
            for name, value in described.items()
            if value or name not in ("pair_column", "classes")
        }

    @classmethod
    def described(cls, described: Mapping[str, Any]) -> Task:
        """Return the task that :meth:`describe` described."""
        return cls(
            **{
                **described,
                "split": Split(described["split"]),
                "classes": tuple(described.get("classes", ())),
            }
        )


@dataclass(frozen=True, kw_only=True)
class Recipe:
    """How every method is trained: AdamW with linear decay to zero and no warm-up steps.

    Attributes:
        learning_rate: the rate at the first step; a scenario's ``rates`` replace it per method.
        dropout: ``None`` keeps the backbone's and each method's own; a number replaces those of the
            backbone and of each adapter that peft gives dropout of its own, declared or not.
        eval_batch_size: examples a batch in evaluation; changes no result but its speed.
        accelerations: names of those that the engine ``peftcore`` uses where they apply.
        evaluation: after each epoch, or at the end alone.
    """

    epochs: int = 3
    batch_size: int = 8
    learning_rate: float = 2e-5
    precision: Precision = Precision.BF16
    weight_decay: float = 0.0
    max_gradient_norm: float = 1.0
    dropout: float | None = None
    eval_batch_size: int = 32
    accelerations: tuple[str, ...] = ALL
    evaluation: Evaluation = Evaluation.EACH_EPOCH

    def __post_init__(self) -> None:
        for name in ("epochs", "batch_size", "eval_batch_size"):
            _require(getattr(self, name) >= 1, name, getattr(self, name), "at least 1")
        for name in ("learning_rate", "max_gradient_norm"):
            value = getattr(self, name)
            _require(0 < value < float("inf"), name, value, "a positive number")
        _require(0 <= self.weight_decay < 1, "weight_decay", self.weight_decay, "0 to 1")
        if self.dropout is not None:
            _require(0 <= self.dropout < 1, "dropout", self.dropout, "at least 0 and less than 1")

    def evaluated_epochs(self) -> range:
        """Return the epochs, counted from 1, after which there is an evaluation."""
        first = 1 if self.evaluation is Evaluation.EACH_EPOCH else self.epochs
        return range(first, self.epochs + 1)

    def describe(self) -> dict[str, Any]:
        """Return the recipe as plain JSON values, without an evaluation that is the usual one.

        So ids stay what they were before there was another.
        """
        described = {
            **dataclasses.asdict(self),
            "precision": str(self.precision),
            "accelerations": list(self.accelerations),
            "evaluation": str(self.evaluation),
        }
        if self.evaluation is Evaluation.EACH_EPOCH:
            del described["evaluation"]
        return described

    @classmethod
    def described(cls, described: Mapping[str, Any]) -> Recipe:
        """Return the recipe that :meth:`describe` described."""
        return cls(
            **{
                **described,
                "precision": Precision(described["precision"]),
                "accelerations": tuple(described["accelerations"]),
                "evaluation": Evaluation(described.get("evaluation", Evaluation.EACH_EPOCH)),
            }
        )


@dataclass(frozen=True, kw_only=True)
class Scenario:
    """A backbone, a task and a recipe under which methods are compared.

    Attributes:
        name: the name in options, folders and records.
        title: what a reader calls it.
        backbone: a pinned backbone's name, a hub id with its revision, or a folder.
        data: a pinned data set's name, a hub id with its revision, or a folder.
        methods: slugs of the methods that run by default: the source study's, and the reference
            rows.
        rates: a learning rate per method slug, where one rate does not fit all.
        rates_origin: where the rates come from, for the setup table.
        expected: accuracy per method slug that this scenario is known to reach.
        known: per method slug, the accuracies of the seeds that were measured, once there are
            enough of them: the floor then comes from these.
        seeds: the seeds that run by default.
        gpu: whether it needs a CUDA GPU.
        caveat: what a reader must not conclude from it, if anything.
    """

    name: str
    title: str
    backbone: str
    data: str
    task: Task
    recipe: Recipe
    methods: tuple[str, ...] = slugs_of(Group.STUDY)
    rates: Mapping[str, float] = field(default_factory=dict)
    rates_origin: str = "one rate for every method"
    expected: Mapping[str, float] = field(default_factory=dict)
    known: Mapping[str, tuple[float, ...]] = field(default_factory=dict)
    seeds: tuple[int, ...] = DEFAULT_SEEDS
    gpu: bool = False
    caveat: str | None = None

    def __post_init__(self) -> None:
        for name in ("rates", "expected", "known"):
            object.__setattr__(self, name, MappingProxyType(dict(getattr(self, name))))

    def learning_rate(self, method: Method) -> float:
        """Return the rate for a method: its own, else one by that of its kin, else the recipe's."""
        if method.slug in self.rates:
            return self.rates[method.slug]
        if method.rate_of is not None and method.rate_of in self.rates:
            return self.rates[method.rate_of] * method.rate_times
        return self.recipe.learning_rate

    def describe(self) -> dict[str, Any]:
        """Return the declaration as plain JSON values."""
        described = {f.name: getattr(self, f.name) for f in dataclasses.fields(self)}
        described |= {"task": self.task.describe(), "recipe": self.recipe.describe()}
        described |= {name: dict(described[name]) for name in ("rates", "expected")}
        described["known"] = {slug: list(seeds) for slug, seeds in self.known.items()}
        return described

    def floor(self, method: Method, *, majority: float) -> float | None:
        """Return the lowest accuracy that still passes, as a share of 1.

        Args:
            method: the method.
            majority: the share of the most frequent label in the test set.

        Returns:
            The larger of the majority class plus 10 points and what is known of the method here:
            of five seeds or more the lower bound that one more ends above with 99% confidence, of
            fewer the expected accuracy less 2.5 points. A reference row is there to be beaten and
            has no floor: ``None``.
        """
        if method.reference:
            return None
        known = self.known.get(method.slug, ())
        if len(known) >= ENOUGH_SEEDS:
            bound = prediction_bound(known, FLOOR_CONFIDENCE)
        else:
            bound = self.expected.get(method.slug, 0.0) - MARGIN_OF_FEW_SEEDS
        return max(majority + MARGIN_OVER_CHANCE, bound)


def prediction_bound(values: Sequence[float], confidence: float) -> float:
    """Return what one more value from where these come from is above, with this confidence.

    The one-sided prediction bound of a normal distribution, m − t s √(1 + 1/n): Hahn and Meeker,
    "Statistical Intervals", Wiley 1991, section 4.8.

    Args:
        values: two at least.
        confidence: such as 0.99.
    """
    # Not needed to read a declaration, and slow to import.
    from scipy.stats import t

    quantile = float(t.ppf(confidence, len(values) - 1))
    return fmean(values) - quantile * stdev(values) * math.sqrt(1 + 1 / len(values))


SCENARIOS: tuple[Scenario, ...] = (
    Scenario(
        name="embedded",
        title="MiniLM on the embedded corpus",
        backbone="minilm",
        data="embedded",
        task=Task(train_examples=600, test_examples=600, max_length=64),
        recipe=Recipe(epochs=2),
        rates={"full": 1e-4, "lora": 2e-3, "qlora": 2e-3, "ia3": 2e-2, "head": 3e-2},
        rates_origin="chosen per method while the corpus was written",
        # No accuracy is expected: from seed to seed a method ends several points apart here, so
        # that the floor asks for no more than that it has learned.
        caveat="The embedded corpus is written by a grammar. It shows that the machinery works on "
        "this machine; nothing about the methods can be concluded from it.",
    ),
    Scenario(
        name="imdb-minilm",
        title="MiniLM on IMDb reviews",
        backbone="minilm",
        data="imdb",
        task=Task(),
        recipe=Recipe(),
        # The best of the search that reports/imdb-minilm-rates/ tells of.
        rates={"full": 2.5e-5, "lora": 1e-3, "qlora": 5e-4, "ia3": 1e-2, "head": 1e-2},
        rates_origin="tuned per method on training reviews that the protocol leaves unused",
        # The seeds of reports/imdb-minilm/, in their order.
        known={
            "full": (0.8815, 0.8855, 0.8895, 0.8790, 0.8985),
            "lora": (0.8830, 0.8900, 0.8760, 0.8800, 0.8795),
            "qlora": (0.8700, 0.8755, 0.8800, 0.8780, 0.8770),
            "ia3": (0.8745, 0.8790, 0.8765, 0.8740, 0.8805),
        },
    ),
    Scenario(
        name="imdb-roberta",
        title="RoBERTa-base on IMDb reviews: the source study's protocol",
        backbone="roberta-base",
        data="imdb",
        task=Task(),
        recipe=Recipe(learning_rate=2e-5, precision=Precision.FP16),
        rates_origin="the source study's one rate for every method",
        expected={"full": 0.9140, "lora": 0.9115, "qlora": 0.9045, "ia3": 0.8495},
        gpu=True,
    ),
)

DEFAULT_SCENARIO = "embedded"

_BY_NAME = {scenario.name: scenario for scenario in SCENARIOS}


def find_scenario(name: str, *, where: str = "") -> Scenario:
    """Return the scenario with this name.

    Raises:
        UsageError: there is no such scenario; the message suggests the nearest.
    """
    scenario = _BY_NAME.get(name.strip().lower())
    if scenario is None:
        raise unknown("scenario", name, _BY_NAME, where=where)
    return scenario


def is_declared(name: str) -> bool:
    """Return whether a scenario of this name is one of peftcore's own."""
    return name in _BY_NAME


def floor_of_trial(
    scenario: str, method: Method, overrides: Collection[str], *, majority: float
) -> float | None:
    """Return the lowest accuracy with which a trial passes, as a share of 1.

    Floors hold only for a scenario of peftcore's own, as declared; in a test of one's own it is the
    test that asks for an accuracy. ``None`` where there is none.
    """
    if overrides or not is_declared(scenario):
        return None
    return find_scenario(scenario).floor(method, majority=majority)


def _parse(name: str, text: str, declared: Any) -> Any:
    """Return ``text`` as a value of the declared type of field ``name``."""
    if isinstance(declared, types.UnionType):
        if text.lower() in {"none", "null"}:
            return None
        declared = next(kind for kind in typing.get_args(declared) if kind is not type(None))
    if name == "accelerations":
        return parse_accelerations(text)
    if name == "classes":
        return tuple(part.strip() for part in text.split(",") if part.strip())
    if isinstance(declared, type) and issubclass(declared, StrEnum):
        return member(declared, text, where=name)
    try:
        return declared(text)
    except ValueError:
        kind = "a whole number" if declared is int else "a number"
        raise UsageError(f"{name}={text} is not usable: expected {kind}") from None


def override(task: Task, recipe: Recipe, settings: Iterable[str]) -> tuple[Task, Recipe, set[str]]:
    """Return the task and the recipe with ``KEY=VALUE`` settings applied, and the keys that were.

    Raises:
        UsageError: a setting is not of that form, or its key or its value does not exist.
    """
    hints = {
        **{name: (Task, kind) for name, kind in typing.get_type_hints(Task).items()},
        **{name: (Recipe, kind) for name, kind in typing.get_type_hints(Recipe).items()},
    }
    changes: dict[type, dict[str, Any]] = {Task: {}, Recipe: {}}
    for setting in settings:
        name, equals, text = setting.partition("=")
        name = name.strip()
        if not equals:
            raise UsageError(f"setting {setting!r} is not usable: expected KEY=VALUE")
        if name not in hints:
            raise unknown("setting", name, hints)
        owner, declared = hints[name]
        changes[owner][name] = _parse(name, text.strip(), declared)
    return (
        dataclasses.replace(task, **changes[Task]),
        dataclasses.replace(recipe, **changes[Recipe]),
        {name for names in changes.values() for name in names},
    )

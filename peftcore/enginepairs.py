"""The engine against transformers' Trainer: which trials are run, and in which order.

A pair is the same trial run by both engines, one right after the other, and which goes first
alternates from seed to seed: what else the machine does then falls on both. An ablation runs a
trial with all accelerations and then with each that serves its method left out in turn, for the
same reason on seeds of its own. Growth is pairs at other sizes. Equality leaves nothing to chance,
no dropout, and asks how far rounding takes each engine from 32 bits; learning leaves dropout on and
asks for accuracy.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace

from peftcore.accelerations import (
    BF16_GRADIENTS,
    FOUR_BIT_SCRATCH,
    FROZEN_WEIGHTS,
    USED_ROWS,
)
from peftcore.errors import UsageError
from peftcore.methods import METHODS, Method, Trains
from peftcore.running.planning import FIRST_SEED, Selection, longest_text, plan
from peftcore.scenarios import Recipe, Task
from peftcore.trials import Engine, Part, Trial

ABLATION_SEEDS_FROM = 1000
"""What is added to a pair's seed to give the ablation's."""

LENGTHS = (64, 128, 256, 512)
BATCH_SIZES = (1, 4, 16, 64)
"""The sizes of the sweeps; the other size stays at its base."""

BASE_LENGTH, BASE_BATCH_SIZE = 128, 8
"""The size at which batches, lengths and shares of trained parameters are swept."""

GROWTH_STEPS = 11
"""Steps of a run of a sweep: the median step leaves five out, and six are left."""


@dataclass(frozen=True, kw_only=True)
class Protocol:
    """How a part is run.

    Attributes:
        seeds: how many, unless ``--peft-seeds`` says otherwise.
        sizes: settings that give way to ``--peft-set``.
        fixed: settings without which the part would be another: they give way to nothing.
        fewer_steps: whether it is to learn in fewer steps than the scenario, and so at rates that
            are larger by the square root of how many times fewer.
    """

    seeds: int
    sizes: tuple[str, ...]
    fixed: tuple[str, ...] = ()
    fewer_steps: bool = False


# Thirty steps of eight examples: enough for a steady median step, and short enough to repeat.
_SHORT = ("train_examples=240", "test_examples=64", "epochs=1")
# A sweep measures no accuracy: two batches of evaluation do.
_SWEEP = Protocol(seeds=2, sizes=("test_examples=16",), fixed=("epochs=1",))

PROTOCOLS: dict[Part, Protocol] = {
    Part.PAIRS: Protocol(seeds=3, sizes=_SHORT),
    Part.ABLATION: Protocol(seeds=3, sizes=_SHORT),
    Part.LENGTH: _SWEEP,
    Part.BATCH: _SWEEP,
    Part.SHARE: _SWEEP,
    # A hundred steps.
    Part.EQUALITY: Protocol(
        seeds=1,
        sizes=("train_examples=800", "test_examples=64", "max_length=128", "epochs=1"),
        fixed=("dropout=0",),
    ),
    Part.LEARNING: Protocol(
        seeds=5,
        sizes=("train_examples=1000", "test_examples=1000", "max_length=128", "epochs=1"),
        # At the scenario's own rates a method hardly leaves chance in so few steps, and engines
        # that both learn nothing would pass for equal.
        fewer_steps=True,
    ),
}


@dataclass(frozen=True)
class EnginePairs:
    """What a comparison of the engines runs.

    Attributes:
        selection: what the options ask for.
    """

    selection: Selection

    def methods(self, part: Part) -> list[Method]:
        """Return the methods of a part: no reference rows, unless asked for.

        The smallest share that can be trained is the head's, so there its row belongs.

        Raises:
            UsageError: none that was asked for is trained by an engine.
        """
        found = self.selection.find_methods()
        if self.selection.methods is not None:
            asked = [method for method in found if method.trains is not Trains.BAG_OF_WORDS]
            if not asked:
                raise UsageError(
                    f"{self.selection.prefix}method names no method that the engines train: "
                    "a bag of words is fitted without either"
                )
            return asked
        candidates = [method for method in found if not method.reference]
        if part is Part.SHARE:
            candidates += [method for method in METHODS if method.trains is Trains.HEAD]
        return candidates

    def cells(self) -> list[tuple[Method, Part]]:
        """Return each method with each part, method by method."""
        wanted = {part: self.methods(part) for part in Part}
        methods = dict.fromkeys(method for found in wanted.values() for method in found)
        return [(method, part) for method in methods for part in Part if method in wanted[part]]

    def groups(self, method: Method, part: Part) -> list[list[Trial]]:
        """Return a method's trials of one part in the order in which they are to be run.

        Those of one group are compared with each other, and nothing else is run between them.

        Raises:
            UsageError: something that was asked for does not exist or can't be used.
        """
        if part is Part.ABLATION:
            return [_ablation(t) for t in self._planned(method, part, first=ABLATION_SEEDS_FROM)]
        if part is Part.EQUALITY:
            exact = self._planned(method, part, "precision=fp32", "accelerations=none")
            rounded = self._planned(method, part, "precision=bf16")
            return [
                [reference, replace(trial, engine=Engine.TRAINER), trial]
                for reference, trial in zip(exact, rounded, strict=True)
            ]
        if part not in _SIZES:
            return _pairs(self._planned(method, part))
        longest = longest_text(self.selection.find_backbone())
        sizes = [(min(length, longest), batch) for length, batch in _SIZES[part]]
        by_size = [
            self._planned(
                method,
                part,
                f"max_length={length}",
                f"batch_size={batch}",
                f"train_examples={GROWTH_STEPS * batch}",
            )
            for length, batch in dict.fromkeys(sizes)
        ]
        # Seed by seed, so that which engine goes first alternates from one size to the next, too.
        return _pairs([trial for trials in zip(*by_size, strict=True) for trial in trials])

    def _planned(self, method: Method, part: Part, *fixed: str, first: int = 0) -> list[Trial]:
        """Return one trial a seed, of this engine, under the part's protocol."""
        protocol = PROTOCOLS[part]
        seeds = self.selection.seeds or range(FIRST_SEED, FIRST_SEED + protocol.seeds)
        planned = plan(
            replace(
                self.selection,
                methods=(method.slug,),
                seeds=tuple(seed + first for seed in seeds),
                settings=(
                    *protocol.sizes,
                    *self.selection.settings,
                    *protocol.fixed,
                    *fixed,
                ),
                engine=Engine.PEFTCORE,
            )
        )
        planned = [replace(trial, part=part) for trial in planned]
        if protocol.fewer_steps and not _sets_rate(self.selection.settings):
            scenario = self.selection.find_scenario()
            steps = _steps(scenario.task, scenario.recipe)
            return [_at_larger_rate(trial, steps) for trial in planned]
        return planned


_SIZES: dict[Part, tuple[tuple[int, int], ...]] = {
    Part.LENGTH: tuple((length, BASE_BATCH_SIZE) for length in LENGTHS),
    Part.BATCH: tuple((BASE_LENGTH, batch) for batch in BATCH_SIZES),
    Part.SHARE: ((BASE_LENGTH, BASE_BATCH_SIZE),),
}
"""Lengths and batch sizes of each sweep."""


def _sets_rate(settings: Sequence[str]) -> bool:
    return any(setting.partition("=")[0].strip() == "learning_rate" for setting in settings)


def _steps(task: Task, recipe: Recipe) -> int:
    return recipe.epochs * math.ceil(task.repeats * task.train_examples / recipe.batch_size)


def _at_larger_rate(trial: Trial, steps: int) -> Trial:
    """Return the trial at the rate for its own steps, given that of so many."""
    times = math.sqrt(steps / _steps(trial.task, trial.recipe))
    if times <= 1:
        return trial
    # Three digits, so that the rate reads in a table as it is.
    rate = float(f"{times * trial.recipe.learning_rate:.3g}")
    return replace(
        trial,
        recipe=replace(trial.recipe, learning_rate=rate),
        overrides=(*trial.overrides, f"learning_rate={rate:g}"),
    )


def _pairs(planned: Sequence[Trial]) -> list[list[Trial]]:
    """Return each trial as run by both engines; which goes first alternates."""
    pairs = []
    for number, trial in enumerate(planned):
        pair = [replace(trial, engine=engine) for engine in Engine]
        pairs.append(pair[::-1] if number % 2 else pair)
    return pairs


_ONLY_FOR: dict[str, Callable[[Method], bool]] = {
    FROZEN_WEIGHTS.name: lambda m: m.trains is not Trains.EVERYTHING and m.quantisation is None,
    FOUR_BIT_SCRATCH.name: lambda method: method.quantisation is not None,
    BF16_GRADIENTS.name: lambda method: method.trains is Trains.EVERYTHING,
    USED_ROWS.name: lambda method: method.trains is Trains.EVERYTHING,
}
"""Of accelerations that do nothing for some methods: for which they do something."""


def _ablation(trial: Trial) -> list[Trial]:
    """Return the trial, and the trial without each acceleration that serves its method."""
    serving = [
        name
        for name in trial.recipe.accelerations
        if name not in _ONLY_FOR or _ONLY_FOR[name](trial.method)
    ]
    return [trial, *(_without(trial, name) for name in serving)]


def _without(trial: Trial, name: str) -> Trial:
    """Return the trial with one acceleration less."""
    left = tuple(other for other in trial.recipe.accelerations if other != name)
    return replace(trial, recipe=replace(trial.recipe, accelerations=left))

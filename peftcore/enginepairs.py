"""The engine against transformers' Trainer: which trials are run, and in which order.

A pair is the same trial run by both engines, one right after the other, and which goes first
alternates from seed to seed: what else the machine does then falls on both. An ablation runs a
trial with all accelerations and then with each left out in turn, for the same reason on seeds of
its own.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, replace
from enum import StrEnum

from peftcore.methods import Method
from peftcore.running.planning import FIRST_SEED, Selection, plan
from peftcore.trials import Engine, Trial

REPETITIONS = 3
"""Pairs of each method, and seeds of its ablation, unless ``--peft-seeds`` says otherwise."""

ABLATION_SEEDS_FROM = 1000
"""What is added to a pair's seed to give the ablation's."""

SHORT = ("train_examples=240", "test_examples=64", "epochs=1")
"""Thirty steps of eight examples: enough for a steady median step, and short enough to repeat."""


class Part(StrEnum):
    """What a comparison of the engines consists of."""

    PAIRS = "pairs"
    ABLATION = "ablation"


@dataclass(frozen=True)
class EnginePairs:
    """What a comparison of the engines runs.

    Attributes:
        selection: what the options ask for.
    """

    selection: Selection

    def methods(self) -> list[Method]:
        """Return the methods to compare the engines with: no reference rows, unless asked for."""
        found = self.selection.find_methods()
        if self.selection.methods is not None:
            return found
        return [method for method in found if not method.reference]

    def trials(self, method: Method, part: Part) -> list[Trial]:
        """Return a method's trials of one part in the order in which they are to be run.

        Raises:
            UsageError: something that was asked for does not exist or can't be used.
        """
        if part is Part.PAIRS:
            return list(_pairs(self._planned(method, seeds_from=0)))
        return list(_ablation(self._planned(method, seeds_from=ABLATION_SEEDS_FROM)))

    def _planned(self, method: Method, *, seeds_from: int) -> list[Trial]:
        seeds = self.selection.seeds or range(FIRST_SEED, FIRST_SEED + REPETITIONS)
        return plan(
            replace(
                self.selection,
                methods=(method.slug,),
                seeds=tuple(seed + seeds_from for seed in seeds),
                settings=(*SHORT, *self.selection.settings),
                engine=Engine.PEFTCORE,
            )
        )


def _pairs(planned: list[Trial]) -> Iterator[Trial]:
    for number, trial in enumerate(planned):
        pair = [replace(trial, engine=engine) for engine in Engine]
        yield from reversed(pair) if number % 2 else pair


def _ablation(planned: list[Trial]) -> Iterator[Trial]:
    for trial in planned:
        yield trial
        yield from (_without(trial, name) for name in trial.recipe.accelerations)


def _without(trial: Trial, name: str) -> Trial:
    """Return the trial with one acceleration less."""
    left = tuple(other for other in trial.recipe.accelerations if other != name)
    return replace(trial, recipe=replace(trial.recipe, accelerations=left))

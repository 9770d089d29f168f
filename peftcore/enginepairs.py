"""The engine against transformers' Trainer: which trials are run, and in which order.

A pair is the same trial run by both engines, one right after the other, and which goes first
alternates from seed to seed: what else the machine does then falls on both. For an ablation the
trial is run again with each acceleration off in turn.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Iterator
from dataclasses import dataclass, replace

from peftcore.methods import Method
from peftcore.running.planning import FIRST_SEED, Selection, plan
from peftcore.trials import Engine, Trial

PAIRS = 3
"""Pairs of each method, unless ``--peft-seeds`` says otherwise."""

SHORT = ("train_examples=240", "test_examples=64", "epochs=1")
"""Thirty steps of eight examples: enough for a steady median step, and short enough to repeat."""


@dataclass(frozen=True)
class EnginePairs:
    """What a comparison of the engines runs.

    Attributes:
        selection: what the options ask for.
        ablation: whether each acceleration is also left out in turn.
    """

    selection: Selection
    ablation: bool = True

    def methods(self) -> list[Method]:
        """Return the methods to compare the engines with: no reference rows, unless asked for."""
        found = self.selection.find_methods()
        if self.selection.methods is not None:
            return found
        return [method for method in found if not method.reference]

    def trials(self, method: Method) -> list[Trial]:
        """Return a method's trials in the order in which they are to be run.

        Raises:
            UsageError: something that was asked for does not exist or can't be used.
        """
        return list(self._trials(method))

    def _trials(self, method: Method) -> Iterator[Trial]:
        seeds = self.selection.seeds or tuple(range(FIRST_SEED, FIRST_SEED + PAIRS))
        short = replace(
            self.selection,
            methods=(method.slug,),
            seeds=seeds,
            settings=(*SHORT, *self.selection.settings),
            engine=Engine.PEFTCORE,
        )
        for number, trial in enumerate(plan(short)):
            pair = [dataclasses.replace(trial, engine=engine) for engine in Engine]
            yield from reversed(pair) if number % 2 else pair
            if self.ablation:
                yield from (without(trial, name) for name in trial.recipe.accelerations)


def without(trial: Trial, name: str) -> Trial:
    """Return the trial with one acceleration less."""
    left = tuple(other for other in trial.recipe.accelerations if other != name)
    return replace(trial, recipe=replace(trial.recipe, accelerations=left))

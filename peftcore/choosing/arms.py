"""What is raced: a method with a learning rate, on growing parts of the training set."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from enum import StrEnum

import numpy as np
from numpy.typing import NDArray

from peftcore.methods import Method
from peftcore.tuning.rates import grid

RUNGS = 4
"""An eighth, a quarter, a half and all of the training set, unless it is too small for that."""

SHORT = 500
"""So many training examples are few enough to find out how fast this machine is."""

FEWEST_OF_A_RUNG = 96
"""Of fewer training examples a trial would show little but chance."""


@dataclass(frozen=True, kw_only=True)
class Arm:
    """A method with a learning rate."""

    method: Method
    rate: float

    @property
    def key(self) -> str:
        """What tells it from any other: ``lora@0.001``."""
        return f"{self.method.slug}@{self.rate:g}"

    @property
    def words(self) -> str:
        """What a reader calls it: ``LoRA at 0.001``."""
        return f"{self.method.name} at {self.rate:g}"


@dataclass(frozen=True, kw_only=True, eq=False)
class Run:
    """What one trial of the race came to.

    Attributes:
        arm: what was trained.
        examples: how many were trained on.
        seed: the trial's.
        right: of each validation example whether it was answered right; ``None`` where the trial
            did not end well.
        wall_seconds: from the start of its process to the end of it.
        once_seconds: of them, what no later trial on this machine will take.
        train_seconds: of training alone.
        eval_seconds: of all its evaluations together.
        peak_bytes: of training.
        trained_parameters: how many weights it trains.
        problem: what went wrong, in a line; ``None`` where nothing did.
        stopped: whether it was stopped for the time it took, and not for what it did.
    """

    arm: Arm
    examples: int
    seed: int
    right: NDArray[np.bool_] | None
    wall_seconds: float
    once_seconds: float = 0.0
    train_seconds: float = 0.0
    eval_seconds: float = 0.0
    peak_bytes: int | None = None
    trained_parameters: int | None = None
    problem: str | None = None
    stopped: bool = False

    @property
    def accuracy(self) -> float | None:
        """A share of 1; ``None`` where the trial did not end well."""
        return None if self.right is None else float(self.right.mean())


class End(StrEnum):
    """Why an arm is not, or no longer, in the race."""

    FINISHED = "finished"
    BEHIND = "behind"
    BUDGET = "left"
    UNTRIED = "not tried"
    MEMORY = "memory"
    FAILED = "failed"


@dataclass(frozen=True, kw_only=True)
class Fate:
    """How the race ended for an arm.

    Attributes:
        end: why.
        words: the same, with its figures.
    """

    end: End
    words: str


def arms_of(methods: Sequence[Method], around: Sequence[float], rates: int) -> list[Arm]:
    """Return the arms in the order in which they start.

    Each method's usual rate comes first, so that a race that is short of time has one of each.

    Args:
        methods: what is raced.
        around: each method's usual rate, in the same order.
        rates: how many rates of each.
    """
    grids = [grid(rate, rates) for rate in around]
    return [
        Arm(method=method, rate=mine[place])
        for place in range(rates)
        for method, mine in zip(methods, grids, strict=True)
    ]


def ladder_of(train: int) -> list[int]:
    """Return sizes of growing parts of a training set, each twice the one before, all of it last.

    It begins at an eighth, or as far below as a first trial is short whatever its speed; but not
    with so few that they show nothing.
    """
    sizes = [train]
    while sizes[-1] > SHORT or len(sizes) < RUNGS:
        half = round(train / 2 ** len(sizes))
        if half < FEWEST_OF_A_RUNG:
            break
        sizes.append(half)
    return sizes[::-1]


def rungs_of(ladder: Sequence[int], top: int) -> list[int]:
    """Return those steps of a ladder that a race up to ``top`` consists of."""
    return [size for size in ladder if 0.99 * top / 2 ** (RUNGS - 1) <= size <= top]

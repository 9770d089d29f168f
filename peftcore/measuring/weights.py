"""How far apart the trained weights of several trials are.

Weights are too many for a record, so that they are kept while the trials run that are compared
with each other, and the record holds what was measured on them.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
from safetensors import safe_open

BEGUN = "begun.safetensors"
TRAINED = "trained.safetensors"
"""Files of the weights that a trial trains, before and after."""


@dataclass(frozen=True, kw_only=True)
class Keep:
    """What a trial keeps of what it trained, beside its record.

    Attributes:
        weights: a folder for the weights that are trained, before and after; ``None`` keeps none.
        model: a folder for what is needed to use what was trained, as peft or transformers load
            it; ``None`` keeps none.
    """

    weights: Path | None = None
    model: Path | None = None

    def to_job(self) -> dict[str, str | None]:
        """Return the folders as a child process must know them."""
        folders = {"weights": self.weights, "model": self.model}
        return {name: None if of is None else str(of.resolve()) for name, of in folders.items()}

    @classmethod
    def from_job(cls, job: Mapping[str, str | None]) -> Keep:
        """Return what :meth:`to_job` described."""
        return cls(**{name: None if of is None else Path(of) for name, of in job.items()})


KEEP_NOTHING = Keep()


@dataclass
class KeptWeights:
    """Weights of the trials that are compared with each other.

    Attributes:
        folder: where they are, in a folder a trial.
        compared: ids of the trials whose weights are there, in their order.
    """

    folder: Path
    compared: list[str] = field(default_factory=list)

    def of(self, trial_id: str) -> Path:
        """Return the folder for the weights of a trial."""
        return self.folder / trial_id

    def compare(self, trial_id: str) -> dict[str, Any]:
        """Return what a record tells of a trial's weights, and keep them for later trials.

        Raises:
            ValueError: another trial trained other weights.
        """
        mine = self.of(trial_id)
        told = {
            "weights_moved": distance(mine / BEGUN, mine / TRAINED),
            "weights_apart": {
                other: distance(self.of(other) / TRAINED, mine / TRAINED) for other in self.compared
            },
        }
        (mine / BEGUN).unlink()
        self.compared.append(trial_id)
        return told


def distance(first: Path, second: Path) -> float:
    """Return the Euclidean distance of all numbers of two files of weights, in 64 bits.

    Raises:
        ValueError: they don't hold tensors of the same names and shapes.
    """
    total = 0.0
    with safe_open(first, framework="np") as one, safe_open(second, framework="np") as other:
        names = sorted(one.keys())
        if names != sorted(other.keys()):
            raise ValueError(f"{first} and {second} hold weights of different names")
        for name in names:
            ours, theirs = one.get_tensor(name), other.get_tensor(name)
            if ours.shape != theirs.shape:
                raise ValueError(f"{name} has shape {ours.shape} in {first}, {theirs.shape} in it")
            total += float(np.sum(np.square(ours.astype(np.float64) - theirs)))
    return math.sqrt(total)

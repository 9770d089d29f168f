"""How far apart the trained weights of several trials are.

Weights are too many for a record, so that they are kept while the trials run that are compared
with each other, and the record holds what was measured on them.
"""

from __future__ import annotations

import math
import shutil
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
from safetensors import safe_open

BEGUN = "begun.safetensors"
TRAINED = "trained.safetensors"
"""Files of the weights that a trial trains, before and after."""

SAVED = "saved"
"""A folder of what is needed to use what was trained, as peft or transformers load it."""


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
        # Nothing but its weights is compared.
        shutil.rmtree(mine / SAVED, ignore_errors=True)
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

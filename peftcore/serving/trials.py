"""What is measured of serving: one trial a method, in which nothing is trained."""

from __future__ import annotations

import dataclasses
import hashlib
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from functools import cache
from pathlib import Path
from typing import Any

from peftcore.errors import UsageError
from peftcore.methods import Method, Trains
from peftcore.running.planning import Selection, plan
from peftcore.scenarios import Protocol
from peftcore.trials import Trial

RESIDENTS = (1, 4, 16)
"""How many adapters a model holds while it predicts."""

ROUNDS = 20
"""Rounds that count, unless another number is asked for."""

WARM_UP_ROUNDS = 2

SINGLES = 4
"""Examples that are predicted one by one in each round."""

# Weights are kept in 32 bits, as everywhere: in 16, each call would convert all of them anew. A
# batch is of a size that a service fills while nobody waits.
_SIZES = ("precision=fp32", "eval_batch_size=16")
"""Settings that give way to ``--peft-set``."""


@dataclass(frozen=True, kw_only=True)
class Serving:
    """How serving is measured.

    Attributes:
        rounds: in each, everything is measured once, in an order that is drawn anew.
        warm_up_rounds: rounds before them that don't count.
        singles: examples that are predicted one by one in each round.
        batch_size: examples that are predicted together.
        residents: how many adapters a model holds, smallest first; the first is 1.
        code: digest of what measures, so that a record stands for no other way to measure.
    """

    rounds: int = ROUNDS
    warm_up_rounds: int = WARM_UP_ROUNDS
    singles: int = SINGLES
    batch_size: int = 16
    residents: tuple[int, ...] = RESIDENTS
    code: str = ""

    @property
    def sizes(self) -> tuple[int, ...]:
        """How many examples are predicted together: one, and a batch, unless that is one, too."""
        return tuple(dict.fromkeys((1, self.batch_size)))

    def describe(self) -> dict[str, Any]:
        """Return it as plain JSON values."""
        return {**dataclasses.asdict(self), "residents": list(self.residents)}

    @classmethod
    def described(cls, content: Mapping[str, Any]) -> Serving:
        """Return what :meth:`describe` described."""
        return cls(**{**content, "residents": tuple(content["residents"])})


@dataclass(frozen=True, kw_only=True)
class ServingTrial(Trial):
    """A trial that serves: its adapters are attached as for training, and given other weights.

    Attributes:
        serving: how it is measured.
    """

    serving: Serving

    def setting(self) -> dict[str, Any]:
        """Return all that methods of one comparison share, as plain JSON values."""
        return {**super().setting(), "serving": self.serving.describe()}

    @property
    def label(self) -> str:
        """What progress lines call this trial."""
        return f"{self.scenario} {self.method.slug} serving"

    def describe(self) -> dict[str, Any]:
        """Return the ``trial`` part of this trial's record, as plain JSON values."""
        return {**super().describe(), "serving": self.serving.describe()}

    @classmethod
    def from_job(cls, job: Mapping[str, Any]) -> ServingTrial:
        """Return the trial that :meth:`to_job` described."""
        return cls(**_fields(Trial.from_job(job)), serving=Serving.described(job["serving"]))


@cache
def code_sha256() -> str:
    """Return 12 digits of the SHA-256 over the sources that measure serving."""
    digest = hashlib.sha256()
    for path in sorted(Path(__file__).parent.glob("*.py")):
        digest.update(path.name.encode() + b"\0" + path.read_bytes() + b"\0")
    return digest.hexdigest()[:12]


@dataclass
class ServingPlan:
    """What is measured of serving.

    Attributes:
        selection: what the options ask for.
        rounds: how many rounds count.
    """

    selection: Selection
    rounds: int = ROUNDS
    _made: dict[str, ServingTrial] = field(default_factory=dict)

    def methods(self) -> list[Method]:
        """Return the methods whose serving is measured: all that are asked for but bags of words.

        Raises:
            UsageError: there is none of them.
        """
        found = self.selection.find_methods()
        served = [method for method in found if method.trains is not Trains.BAG_OF_WORDS]
        if not served:
            raise UsageError(
                f"{self.selection.prefix}method names no method that serves a backbone: a bag of "
                "words has none"
            )
        return served

    def cells(self) -> list[tuple[Method, str]]:
        """Return each method; there is one thing to do with it."""
        return [(method, "") for method in self.methods()]

    def trial(self, method: Method) -> ServingTrial:
        """Return the trial of one method.

        Raises:
            UsageError: something that was asked for does not exist or can't be used.
        """
        if method.slug in self._made:
            return self._made[method.slug]
        settings = (*_SIZES, *self.selection.settings)
        (trial,) = plan(
            replace(
                self.selection,
                methods=(method,),
                seeds=self.selection.find_seeds()[:1],
                settings=settings,
                protocol=Protocol.DECLARED,
            )
        )
        serving = Serving(
            rounds=self.rounds, batch_size=trial.recipe.eval_batch_size, code=code_sha256()
        )
        made = self._made[method.slug] = ServingTrial(**_fields(trial), serving=serving)
        return made


def _fields(trial: Trial) -> dict[str, Any]:
    return {one.name: getattr(trial, one.name) for one in dataclasses.fields(trial)}

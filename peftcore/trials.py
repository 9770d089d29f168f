"""The trial: method × scenario × seed, and the id that names all that can change its result."""

from __future__ import annotations

import dataclasses
import hashlib
import json
from collections.abc import Mapping
from dataclasses import dataclass
from enum import StrEnum
from typing import Any

from peftcore.errors import printable
from peftcore.methods import Method
from peftcore.scenarios import Protocol, Recipe, Task


class Engine(StrEnum):
    """Whose training loop runs the trial."""

    PEFTCORE = "peftcore"
    TRAINER = "trainer"


class Weights(StrEnum):
    """Where the backbone's weights come from; ``RANDOM`` is for time and memory only."""

    PRETRAINED = "pretrained"
    RANDOM = "random"


class Part(StrEnum):
    """What a comparison of the engines consists of; ``growth`` is of three sweeps."""

    PAIRS = "pairs"
    ABLATION = "ablation"
    LENGTH = "growth-length"
    BATCH = "growth-batch"
    SHARE = "growth-share"
    EQUALITY = "equality"
    LEARNING = "learning"


class Outcome(StrEnum):
    """How a trial ended; every planned trial ends in exactly one of these."""

    OK = "ok"
    FAILED = "failed"
    OOM = "oom"
    NAN = "nan"
    CRASHED = "crashed"
    TIMEOUT = "timeout"
    CANCELLED = "cancelled"
    SKIPPED = "skipped"


@dataclass(frozen=True, kw_only=True)
class Source:
    """A backbone or a data set that was found and verified on this machine.

    Attributes:
        name: what it is called in tables, such as ``"minilm"``.
        identity: what tells its contents apart: a SHA-256, or a version.
        revision: its place on the hub, ``owner/name@commit``, if it has one.
        path: its folder on this machine; ``None`` where it has none. No part of any id.
        tokenizer_path: the folder of its tokenizer, where that is another one.
        note: what a reader must know about how it was found, if anything.
    """

    name: str
    identity: str
    revision: str | None = None
    path: str | None = None
    tokenizer_path: str | None = None
    note: str | None = None

    def __post_init__(self) -> None:
        # A folder may be called what is no text, and no record could hold that.
        object.__setattr__(self, "name", printable(self.name))


@dataclass(frozen=True, kw_only=True)
class Trial:
    """One method in one scenario with one seed: the unit that runs, is stored and resumed.

    The seed draws the training sample, the fresh weights, the order of the examples and the
    dropout; the test set is fixed by the scenario.

    Attributes:
        part: the part of a comparison of the engines that it is run for, and whose numbers its
            record is read for alone; ``None`` outside of one.
        protocol: how its learning rate was come by; trials of two protocols share no table.
    """

    method: Method
    scenario: str
    seed: int
    backbone: Source
    data: Source
    weights: Weights
    task: Task
    recipe: Recipe
    engine: Engine
    overrides: tuple[str, ...] = ()
    part: Part | None = None
    protocol: Protocol = Protocol.DECLARED

    def __post_init__(self) -> None:
        if self.engine is Engine.TRAINER:
            # It knows none of them: naming them would make two of one and the same trial.
            recipe = dataclasses.replace(self.recipe, accelerations=())
            object.__setattr__(self, "recipe", recipe)

    def setting(self) -> dict[str, Any]:
        """Return all that methods and seeds of one comparison share, as plain JSON values."""
        recipe = self.recipe.describe()
        del recipe["learning_rate"]
        return {
            "scenario": self.scenario,
            "backbone": self.backbone.identity,
            "data": self.data.identity,
            "weights": str(self.weights),
            "task": self.task.describe(),
            "recipe": recipe,
            "engine": str(self.engine),
            # Left out where there is none, so that ids stay what they were before there were parts.
            **({} if self.part is None else {"part": str(self.part)}),
            **self._protocol(),
        }

    def _protocol(self) -> dict[str, str]:
        """Return the protocol, left out where it is the usual one, as parts are."""
        return {} if self.protocol is Protocol.DECLARED else {"protocol": str(self.protocol)}

    @property
    def id(self) -> str:
        """A readable slug and a hash of everything that can change this trial's result."""
        identity = {
            **self.setting(),
            "method": self.method.slug,
            "hyperparameters": self.method.hyperparameters(),
            "learning_rate": self.recipe.learning_rate,
            "seed": self.seed,
        }
        return f"{self.method.slug}-{self.scenario}-s{self.seed}-{fingerprint(identity)}"

    @property
    def label(self) -> str:
        """What progress lines call this trial."""
        part = "" if self.part is None else f" {self.part} {self.engine}"
        return f"{self.scenario} {self.method.slug}{part} seed {self.seed}"

    def describe(self) -> dict[str, Any]:
        """Return the ``trial`` part of this trial's record, as plain JSON values."""
        return {
            "id": self.id,
            "method": self.method.slug,
            "scenario": self.scenario,
            "seed": self.seed,
            "setting_id": fingerprint(self.setting()),
            "hyperparameters": self.method.hyperparameters(),
            "backbone": _public(self.backbone),
            "data": _public(self.data),
            "weights": str(self.weights),
            "task": self.task.describe(),
            "recipe": self.recipe.describe(),
            "engine": str(self.engine),
            "overrides": list(self.overrides),
            "part": None if self.part is None else str(self.part),
            **self._protocol(),
        }

    def to_job(self) -> dict[str, Any]:
        """Return what a child process needs to run this trial, paths included."""
        return {
            **self.describe(),
            "method": self.method.declaration(),
            "backbone": dataclasses.asdict(self.backbone),
            "data": dataclasses.asdict(self.data),
        }

    @classmethod
    def from_job(cls, job: Mapping[str, Any]) -> Trial:
        """Return the trial that :meth:`to_job` described."""
        return cls(
            method=Method.declared(job["method"]),
            scenario=job["scenario"],
            seed=job["seed"],
            backbone=Source(**job["backbone"]),
            data=Source(**job["data"]),
            weights=Weights(job["weights"]),
            task=Task.described(job["task"]),
            recipe=Recipe.described(job["recipe"]),
            engine=Engine(job["engine"]),
            overrides=tuple(job["overrides"]),
            part=None if job["part"] is None else Part(job["part"]),
            protocol=Protocol(job.get("protocol", Protocol.DECLARED)),
        )


def _public(source: Source) -> dict[str, Any]:
    described = dataclasses.asdict(source)
    del described["path"], described["tokenizer_path"]
    return described


def fingerprint(content: Mapping[str, Any]) -> str:
    """Return 12 hexadecimal digits that tell this JSON content from any other."""
    text = json.dumps(content, sort_keys=True, separators=(",", ":"), allow_nan=False)
    return hashlib.sha256(text.encode()).hexdigest()[:12]

"""What the gate looks at of one trial, whether it comes from a record or from a baseline."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any

from peftcore.errors import UsageError
from peftcore.measuring.environment import machine_of
from peftcore.report.metrics import ACCURACY
from peftcore.results.records import Measurement, Record
from peftcore.trials import Outcome


@dataclass(frozen=True, kw_only=True)
class Evidence:
    """One trial as the gate sees it.

    Attributes:
        record: its record; that of a baseline lacks what no gate looks at.
        losses_sha256: of the training losses, step by step; ``None`` where there were none.
    """

    record: Record
    losses_sha256: str | None

    @classmethod
    def of(cls, record: Record) -> Evidence:
        """Return what a record tells."""
        losses = record.measurement.losses if record.measurement else []
        text = json.dumps(losses, separators=(",", ":"))
        digest = hashlib.sha256(text.encode()).hexdigest() if losses else None
        return cls(record=record, losses_sha256=digest)

    @property
    def method(self) -> str:
        """The method's slug."""
        return self.record.method

    @property
    def seed(self) -> int:
        """The seed."""
        return self.record.seed

    @property
    def measured(self) -> Measurement:
        """Its numbers, all of them missing where it did not end well."""
        return self.record.measurement or Measurement()

    @property
    def fault(self) -> str | None:
        """Return in words why it has no numbers; ``None`` where it has."""
        if self.record.outcome is Outcome.OK and self.record.measurement is not None:
            return None
        return f"seed {self.seed}: {self.record.summary()}"

    def same_result(self, other: Evidence) -> bool:
        """Return whether both learned the same to the bit: predictions, losses and weights.

        Without predictions nothing is known to be the same.
        """
        mine, theirs = self.record, other.record
        return (
            mine.predictions is not None
            and mine.predictions == theirs.predictions
            and mine.labels == theirs.labels
            and self.losses_sha256 == other.losses_sha256
            and self.measured.weights_sha256 == other.measured.weights_sha256
            and self.measured.adapter_file_bytes == other.measured.adapter_file_bytes
            and ACCURACY.value(mine) == ACCURACY.value(theirs)
        )


def by_key(side: Iterable[Record | Evidence], where: str) -> dict[tuple[str, int], Evidence]:
    """Return the trials of one side by method and seed.

    Raises:
        UsageError: a method has a seed twice, or the trials are not of one scenario.
    """
    found: dict[tuple[str, int], Evidence] = {}
    for one in side:
        evidence = one if isinstance(one, Evidence) else Evidence.of(one)
        key = (evidence.method, evidence.seed)
        if key in found:
            raise UsageError(
                f"{where} has two records of {key[0]} with seed {key[1]} "
                f"({found[key].record.id} and {evidence.record.id}): compare one setting at a time"
            )
        found[key] = evidence
    scenarios = sorted({evidence.record.scenario for evidence in found.values()})
    if len(scenarios) > 1:
        raise UsageError(f"{where} holds several scenarios ({', '.join(scenarios)}): name one")
    return found


def held_equal(record: Record) -> dict[str, Any]:
    """Return, by their names, what must be equal for two trials to be comparable at all."""
    trial = record.trial
    return {
        "scenario": trial["scenario"],
        "backbone": _source(trial, "backbone"),
        "data": _source(trial, "data"),
        "weights": trial["weights"],
        **{str(name): value for name, value in trial.get("task", {}).items()},
        "precision": trial.get("recipe", {}).get("precision"),
        **{f"hardware: {name}": value for name, value in _hardware(record).items()},
    }


def software(record: Record) -> dict[str, Any]:
    """Return, by their names, what must be equal besides for times to be comparable."""
    environment, hardware = record.environment, record.environment.get("hardware", {})
    return {
        **{str(name): version for name, version in environment.get("packages", {}).items()},
        "python": environment.get("python"),
        "threads": environment.get("threads"),
        "driver": hardware.get("driver"),
        "cuda": hardware.get("cuda"),
    }


def method_hyperparameters(record: Record) -> dict[str, Any]:
    """Return, by their names, a method's own: what decides how many parameters there are."""
    return {str(name): value for name, value in record.trial.get("hyperparameters", {}).items()}


def hyperparameters(record: Record) -> dict[str, Any]:
    """Return, by their names, what a change may change: it is compared all the same, and listed."""
    trial = record.trial
    recipe = {k: v for k, v in trial.get("recipe", {}).items() if k != "precision"}
    return {
        **method_hyperparameters(record),
        **{str(name): _plain(value) for name, value in recipe.items()},
        "engine": trial.get("engine"),
    }


def differences(before: Mapping[str, Any], after: Mapping[str, Any]) -> list[str]:
    """Return in words what differs, such as ``"r 16 → 8"``."""
    names = [*before, *(name for name in after if name not in before)]
    return [
        f"{name} {_change(before.get(name), after.get(name))}"
        for name in names
        if before.get(name) != after.get(name)
    ]


def _source(trial: Mapping[str, Any], kind: str) -> Any:
    source = trial.get(kind) or {}
    return source.get("identity")


def _hardware(record: Record) -> dict[str, Any]:
    """Return what tells the machine from others; its software is compared apart."""
    hardware = record.environment.get("hardware", {})
    return machine_of({str(k): v for k, v in hardware.items() if k not in ("driver", "cuda")})


def _plain(value: Any) -> Any:
    return list(value) if isinstance(value, tuple) else value


def _change(before: Any, after: Any) -> str:
    if isinstance(before, list) and isinstance(after, list):
        # Of a long list, what came and what went tells more than both.
        gone = [f"−{one}" for one in before if one not in after]
        new = [f"+{one}" for one in after if one not in before]
        if gone or new:
            return " ".join([*gone, *new])
    return f"{_shown(before)} → {_shown(after)}"


def _shown(value: Any) -> str:
    if value is None:
        return "—"
    if isinstance(value, list):
        return ", ".join(map(str, value)) or "none"
    return str(value)

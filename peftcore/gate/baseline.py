"""The baseline file: what a run is compared with, in one JSON file fit for a repository.

It holds one scenario under one setting: of each trial what the gate looks at, the predictions
among it, as one character an example. A baseline comes from elsewhere, perhaps from a pull request,
so it is read as something that may be broken or hostile: its size is bounded before it is read and
its depth while it is, its SHA-256 is checked before its contents are believed, and its types, after
which its accuracies must be what its predictions make them. pydantic does the last but one: it
parses in bounded depth, checks strictly against the same dataclasses that mypy knows, and says
where in the file a value is not what it should be.

History of the format:

1. The first.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass, fields
from functools import cache
from pathlib import Path
from typing import Annotated, Any

from pydantic import Field, TypeAdapter, ValidationError
from pydantic_core import from_json

from peftcore.errors import UsageError
from peftcore.gate.evidence import Evidence
from peftcore.methods import place_of
from peftcore.results.records import ENVIRONMENT_KEYS, Measurement, Record
from peftcore.trials import Outcome
from peftcore.writing import write_whole

FORMAT = "peftcore baseline"
SCHEMA_VERSION = 1
MOST_BYTES = 32 * 2**20
"""A baseline of a hundred trials on ten thousand examples takes about two megabytes."""

_DIGITS = "0123456789abcdefghijklmnopqrstuvwxyz"
_Digits = Annotated[str, Field(pattern=r"^[0-9a-z]*$")]
_Hash = Annotated[str, Field(pattern=r"^[0-9a-f]{64}$")]
_Count = Annotated[int, Field(ge=0)]
_NotNegative = Annotated[float, Field(ge=0)]
_Share = Annotated[float, Field(ge=0, le=1)]
_Name = Annotated[str, Field(pattern=r"^[a-z0-9][\w.-]*$", max_length=200)]


@dataclass(frozen=True, kw_only=True)
class Numbers:
    """What is kept of a measurement; the names are those of a record's."""

    accuracy: _Share | None
    train_loss: _NotNegative | None
    train_seconds: _NotNegative | None
    train_cpu_seconds: _NotNegative | None
    step_seconds: _NotNegative | None
    peak_bytes: _Count | None
    peak_reserved_bytes: _Count | None
    total_parameters: _Count | None
    trainable_parameters: _Count | None
    head_parameters: _Count | None
    adapter_parameters: _Count | None
    adapter_file_bytes: _Count | None
    model_flops: _Count | None
    operations: _Count | None
    tensor_bytes: _Count | None
    evaluated_examples: _Count | None
    majority_share: _Share | None
    weights_sha256: _Hash | None
    shared: bool | None
    resumed: _Count
    peak_file_bytes: _Count | None = None


@dataclass(frozen=True, kw_only=True)
class BaselineTrial:
    """One trial of a baseline.

    Attributes:
        environment: the place of its environment in the file's list.
        losses_sha256: of its losses, step by step.
        predictions: the predicted label of each test example, a base-36 digit each.
    """

    id: str
    method: _Name
    seed: _Count
    hyperparameters: dict[str, Any]
    recipe: dict[str, Any]
    overrides: list[str]
    environment: _Count
    numbers: Numbers
    losses_sha256: _Hash | None
    predictions: _Digits | None


@dataclass(frozen=True, kw_only=True)
class Baseline:
    """What a baseline file holds.

    Attributes:
        scenario: its name.
        setting: what all its trials share, under the names of a record's ``trial``.
        labels: the true label of each test example, a base-36 digit each.
        environments: those that its trials ran in.
        trials: by method and seed.
    """

    scenario: _Name
    setting: dict[str, Any]
    labels: _Digits | None
    environments: list[dict[str, Any]]
    trials: Annotated[list[BaselineTrial], Field(min_length=1)]


_SHARED_KEYS = ("setting_id", "backbone", "data", "weights", "task", "engine")


@cache
def _adapter() -> TypeAdapter[Baseline]:
    return TypeAdapter(Baseline)


def make_baseline(records: Iterable[Record]) -> Baseline:
    """Return the baseline that these records make.

    Raises:
        UsageError: there are none, one did not end well, or they can't share a baseline.
    """
    ordered = sorted(records, key=lambda record: (place_of(record.method), record.seed))
    if not ordered:
        raise UsageError("there is no record to make a baseline of: run the scenario first")
    first = ordered[0]
    setting = {key: first.trial.get(key) for key in _SHARED_KEYS}
    labels = next((record.labels for record in ordered if record.labels is not None), None)
    environments: list[dict[str, Any]] = []
    trials = []
    for record in ordered:
        if record.outcome is not Outcome.OK or record.measurement is None:
            raise UsageError(
                f"a baseline is made of trials that ended well, and {record.id} did not "
                f"({record.summary()}): run it again"
            )
        if record.scenario != first.scenario or any(
            record.trial.get(key) != value for key, value in setting.items()
        ):
            raise UsageError(
                f"{first.id} and {record.id} are of different settings: a baseline holds one"
            )
        if record.labels not in (None, labels):
            raise UsageError(f"{first.id} and {record.id} are about different test examples")
        environment = dict(record.environment)
        if environment not in environments:
            environments.append(environment)
        trials.append(
            BaselineTrial(
                id=record.id,
                method=record.method,
                seed=record.seed,
                hyperparameters=dict(record.trial.get("hyperparameters", {})),
                recipe=dict(record.trial.get("recipe", {})),
                overrides=list(record.trial.get("overrides", [])),
                environment=environments.index(environment),
                numbers=Numbers(
                    **{f.name: getattr(record.measurement, f.name) for f in fields(Numbers)}
                ),
                losses_sha256=Evidence.of(record).losses_sha256,
                predictions=_packed(record.predictions),
            )
        )
    return Baseline(
        scenario=first.scenario,
        setting=setting,
        labels=_packed(labels),
        environments=environments,
        trials=trials,
    )


def write_baseline(path: Path, records: Iterable[Record]) -> Baseline:
    """Write the baseline that these records make, in place of what the file held, and return it.

    The same records give the same bytes.

    Raises:
        UsageError: they make no baseline, or the file can't be written.
    """
    baseline = make_baseline(records)
    content = asdict(baseline)
    whole = {
        "format": FORMAT,
        "schema": SCHEMA_VERSION,
        "sha256": _checksum(_canonical(content)),
        "content": content,
    }
    text = json.dumps(whole, indent=1, ensure_ascii=False, allow_nan=False) + "\n"
    try:
        write_whole(path, text)
    except OSError as error:
        raise UsageError(f"{path} can't be written: {error.strerror}") from None
    return baseline


def read_baseline(path: Path) -> list[Evidence]:
    """Return the trials of a baseline file.

    Raises:
        UsageError: it is no whole and unchanged baseline of this schema version.
    """
    content = _checked(path, _parsed(path))
    try:
        # From JSON and not from objects: strictly, a dataclass is read from JSON alone.
        baseline = _adapter().validate_json(content, strict=True)
    except ValidationError as error:
        first = error.errors(include_url=False, include_input=False)[0]
        place = ".".join(map(str, first["loc"])) or "content"
        raise UsageError(f"{path} is no baseline: {place}: {first['msg']}") from None
    labels = _unpacked(baseline.labels)
    seen: set[tuple[str, int]] = set()
    for trial in baseline.trials:
        where = f"{path}: {trial.method} with seed {trial.seed}"
        if (trial.method, trial.seed) in seen:
            raise UsageError(f"{where} is there twice")
        seen.add((trial.method, trial.seed))
        if trial.environment >= len(baseline.environments):
            raise UsageError(f"{where}: there is no environment {trial.environment}")
        _require_right_share(trial, labels, where)
    for number, environment in enumerate(baseline.environments):
        for key in ENVIRONMENT_KEYS:
            if key not in environment:
                raise UsageError(f"{path}: environment {number} does not tell its {key}")
        _require_objects(environment, ("packages", "hardware"), f"{path}: environment {number}")
    _require_objects(baseline.setting, ("backbone", "data", "task"), f"{path}: its setting")
    missing = [key for key in _SHARED_KEYS if key not in baseline.setting]
    if missing:
        raise UsageError(f"{path}: its setting does not tell {', '.join(missing)}")
    return [_evidence(baseline, trial, labels) for trial in baseline.trials]


def _require_objects(content: Mapping[str, Any], keys: Iterable[str], where: str) -> None:
    for key in keys:
        if not isinstance(content.get(key, {}), Mapping):
            raise UsageError(f"{where}: {key} is no object")


def _parsed(path: Path) -> Mapping[str, Any]:
    try:
        if not path.is_file():
            raise UsageError(
                f"there is no baseline {path}: make one with peftcore baseline --out {path}"
            )
        size = path.stat().st_size
        if size > MOST_BYTES:
            raise UsageError(
                f"{path} is no baseline: it has {size:,} bytes, and no more than {MOST_BYTES:,} "
                "are read"
            )
        raw = path.read_bytes()
    except OSError as error:
        raise UsageError(f"{path} can't be read: {error.strerror}") from None
    try:
        whole = from_json(raw, allow_inf_nan=False)
    except ValueError as error:
        raise UsageError(
            f"{path} is no whole JSON: {error}; make the baseline again, or fetch the file again"
        ) from None
    if not isinstance(whole, dict) or whole.get("format") != FORMAT:
        raise UsageError(f'{path} is no baseline: it does not begin with "format": "{FORMAT}"')
    return whole


def _checked(path: Path, whole: Mapping[str, Any]) -> str:
    """Return the contents of a file whose version and SHA-256 are right, as canonical JSON."""
    if whole.get("schema") != SCHEMA_VERSION:
        raise UsageError(
            f"{path} has schema version {whole.get('schema')!r}, this release reads "
            f"{SCHEMA_VERSION}: make the baseline again, or use the release that wrote it"
        )
    content = _canonical(whole.get("content"))
    if whole.get("sha256") != _checksum(content):
        raise UsageError(
            f"{path} is not what was written (its SHA-256 differs): fetch it again, or make the "
            "baseline again"
        )
    return content


def _canonical(content: Any) -> str:
    return json.dumps(content, sort_keys=True, separators=(",", ":"), ensure_ascii=False)


def _checksum(text: str) -> str:
    return hashlib.sha256(text.encode("utf-8", "surrogatepass")).hexdigest()


def _packed(labels: Sequence[int] | None) -> str | None:
    if labels is None:
        return None
    if any(not 0 <= label < len(_DIGITS) for label in labels):
        raise UsageError(f"a baseline keeps up to {len(_DIGITS)} labels, counted from 0")
    return "".join(_DIGITS[label] for label in labels)


def _unpacked(text: str | None) -> tuple[int, ...] | None:
    return None if text is None else tuple(int(digit, 36) for digit in text)


def _require_right_share(trial: BaselineTrial, labels: tuple[int, ...] | None, where: str) -> None:
    """Check that predictions and accuracy tell the same."""
    predictions = _unpacked(trial.predictions)
    if predictions is None:
        return
    if labels is None or len(labels) != len(predictions):
        raise UsageError(f"{where}: {len(predictions)} predictions, {len(labels or ())} labels")
    right = sum(mine == true for mine, true in zip(predictions, labels, strict=True))
    accuracy = trial.numbers.accuracy
    if accuracy is not None and labels and abs(accuracy - right / len(labels)) > 1e-6:
        raise UsageError(
            f"{where}: its accuracy is given as {accuracy:.6f}, and its predictions make it "
            f"{right / len(labels):.6f}"
        )


def _evidence(baseline: Baseline, trial: BaselineTrial, labels: tuple[int, ...] | None) -> Evidence:
    record = Record(
        trial={
            **baseline.setting,
            "id": trial.id,
            "method": trial.method,
            "scenario": baseline.scenario,
            "seed": trial.seed,
            "hyperparameters": trial.hyperparameters,
            "recipe": trial.recipe,
            "overrides": trial.overrides,
            "part": None,
        },
        outcome=Outcome.OK,
        measurement=Measurement(**asdict(trial.numbers)),
        environment=baseline.environments[trial.environment],
        predictions=_unpacked(trial.predictions),
        labels=None if trial.predictions is None else labels,
    )
    return Evidence(record=record, losses_sha256=trial.losses_sha256)

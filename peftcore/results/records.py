"""What is kept of one trial, and its form as JSON.

History of the format:

1. The first: ``schema``, ``outcome``, ``error``, ``trial``, ``measurement``, ``environment`` and
   ``predictions``. Keys may be added within a version; renaming or removing one makes a new one.
"""

from __future__ import annotations

import dataclasses
import hashlib
import json
import math
import re
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from statistics import fmean
from typing import Any

from peftcore.errors import StoreError, UsageError
from peftcore.trials import Outcome
from peftcore.writing import write_whole

SCHEMA_VERSION = 1

ENVIRONMENT_KEYS = ("packages", "hardware", "python", "threads", "sources_sha256")
"""What every environment tells: records are reused only where these agree."""

_OBJECTS = ("task", "recipe", "backbone", "data", "hyperparameters", "packages", "hardware")
"""What of a trial and of an environment is a JSON object, where it is told."""

# It becomes the name of a folder, and a record may come from anywhere.
_SCENARIO_NAME = re.compile(r"[a-z0-9][\w.-]*")


@dataclass(frozen=True, kw_only=True)
class PhaseCost:
    """What one phase of a trial took.

    Attributes:
        seconds: wall time, monotonic, synchronised with the accelerator at both ends.
        cpu_seconds: processor time of the whole process, all threads together.
        peak_bytes: the highest use of memory in the phase: allocated on the accelerator where the
            trial ran on one, resident in the process otherwise; ``None`` where it can't be read.
        processor_joules: energy of the processor packages and their memory, other programs' share
            included (:mod:`peftcore.measuring.energy`); ``None`` where no counter tells.
        gpu_joules: the same of the GPU that the trial ran on.
    """

    seconds: float
    cpu_seconds: float
    peak_bytes: int | None
    processor_joules: float | None = None
    gpu_joules: float | None = None

    @classmethod
    def from_json(cls, content: Mapping[str, Any]) -> PhaseCost:
        """Return the cost that this JSON object holds; keys it does not know are left."""
        return cls(
            seconds=content["seconds"],
            cpu_seconds=content["cpu_seconds"],
            peak_bytes=content["peak_bytes"],
            processor_joules=content.get("processor_joules"),
            gpu_joules=content.get("gpu_joules"),
        )


@dataclass(frozen=True, kw_only=True)
class Measurement:
    """The numbers of one trial: raw ones, and of its speed the ratios that other tools ask for.

    Attributes:
        accuracy: share of test examples that are right after the last epoch.
        train_seconds: wall time of training, evaluation left out.
        train_cpu_seconds: processor time of the same phase.
        step_seconds: median wall time of a step, the first steps left out.
        eval_seconds: wall time of one evaluation, the mean of all there were.
        seconds_to_trained: wall time from the start of the trial's process to the end of training,
            evaluations left out.
        peak_bytes: peak memory of the train phase (see :class:`PhaseCost`).
        peak_reserved_bytes: what the CUDA caching allocator held at its peak in that phase.
        peak_file_bytes: how much of the process's peak were pages of files, which the kernel maps
            by the state of its cache (see :class:`peftcore.measuring.memory.Peak`).
        peak_process_bytes: what the driver counted for the process after that phase.
        total_parameters: all parameters of the model, adapter and head included.
        trainable_parameters: those that training changes.
        head_parameters: those of the classification head.
        adapter_parameters: those that the method added to the backbone.
        adapter_file_bytes: size on disk of what must be kept besides the backbone.
        losses: ``[step, loss]`` pairs, steps counted from 1.
        train_loss: their mean over the last epoch, in nats.
        epoch_accuracies: ``[epoch, accuracy]`` pairs, one for each evaluation.
        evaluated_examples: how many examples accuracy is a share of.
        drawn_from: how many examples those were drawn from, which tells their rows
            (:func:`peftcore.data.examples.evaluated_rows`).
        majority_share: share of the most frequent label among them.
        train_tokens: tokens read in training, padding left out.
        tokens_per_second: of those, over the train phase.
        model_flops: what forward and backward of the plain model need for those tokens
            (:mod:`peftcore.measuring.flops`).
        model_flops_per_second: of those, over the train phase.
        matmul_flops_per_second: the rate of a single matrix product of the backbone's size in the
            recipe's precision, measured in the trial's process after training.
        utilisation: the former rate as a share of the latter.
        phases: what each phase took, by its name.
        checks: ``{"name", "detail"}`` of each check that was made and passed.
        accelerations: by its name, ``"on"`` or why it was not.
        weights_moved: Euclidean distance of the trained weights from where training began; known
            where trained weights were compared.
        weights_apart: the same from the trained weights of other trials, by their ids.
        weights_sha256: of the trained weights, names and numbers.
        tensor_bytes: bytes of all tensors that are held once training is over, the optimiser's
            states among them.
        operations: how many operations torch dispatches for forward and backward of one batch.
        shared: whether other trials ran on the machine at the same time, so that the times say
            little; ``None`` where it is not known.
        resumed: how often the trial went on from a checkpoint; its times are sums of its parts.
        serving: of a trial that serves (:mod:`peftcore.results.serving`), what was measured of it;
            left out of the JSON of any other.
    """

    accuracy: float | None = None
    train_seconds: float | None = None
    train_cpu_seconds: float | None = None
    step_seconds: float | None = None
    eval_seconds: float | None = None
    seconds_to_trained: float | None = None
    peak_bytes: int | None = None
    peak_reserved_bytes: int | None = None
    peak_file_bytes: int | None = None
    peak_process_bytes: int | None = None
    total_parameters: int | None = None
    trainable_parameters: int | None = None
    head_parameters: int | None = None
    adapter_parameters: int | None = None
    adapter_file_bytes: int | None = None
    losses: list[list[float]] = field(default_factory=list)
    train_loss: float | None = None
    epoch_accuracies: list[list[float]] = field(default_factory=list)
    evaluated_examples: int | None = None
    drawn_from: int | None = None
    majority_share: float | None = None
    train_tokens: int | None = None
    tokens_per_second: float | None = None
    model_flops: int | None = None
    model_flops_per_second: float | None = None
    matmul_flops_per_second: float | None = None
    utilisation: float | None = None
    phases: dict[str, PhaseCost] = field(default_factory=dict)
    checks: list[dict[str, str]] = field(default_factory=list)
    accelerations: dict[str, str] = field(default_factory=dict)
    weights_moved: float | None = None
    weights_apart: dict[str, float] = field(default_factory=dict)
    weights_sha256: str | None = None
    tensor_bytes: int | None = None
    operations: int | None = None
    shared: bool | None = None
    resumed: int = 0
    serving: Mapping[str, Any] | None = None

    def __post_init__(self) -> None:
        # The last evaluation is after the last epoch.
        epochs = round(self.epoch_accuracies[-1][0]) if self.epoch_accuracies else 0
        if self.train_loss is None and 0 < epochs <= len(self.losses):
            last = self.losses[-(len(self.losses) // epochs) :]
            object.__setattr__(self, "train_loss", fmean(loss for _, loss in last))

    @classmethod
    def from_json(cls, content: Mapping[str, Any]) -> Measurement:
        """Return the measurement that this JSON object holds; keys it does not know are left."""
        known = {f.name: str(f.type) for f in dataclasses.fields(cls)}
        values = {name: value for name, value in content.items() if name in known}
        for name, value in values.items():
            number = known[name] in ("int", "int | None", "float | None")
            if number and (isinstance(value, bool) or not isinstance(value, int | float | None)):
                raise TypeError(f"{name} is {value!r}: expected a number")
        values["phases"] = {
            name: PhaseCost.from_json(cost) for name, cost in content.get("phases", {}).items()
        }
        return cls(**values)


@dataclass(frozen=True, kw_only=True)
class Record:
    """What is kept of one trial.

    Attributes:
        trial: what identifies it (:meth:`peftcore.trials.Trial.describe`).
        outcome: how it ended.
        error: what went wrong, in words; ``None`` where nothing did.
        measurement: its numbers; ``None`` unless it ended well.
        environment: where it ran (:mod:`peftcore.measuring.environment`).
        predictions: the predicted label of each test example, in the test set's order.
        labels: the true label of each, in the same order.
        created: when it ended, in UTC, ISO 8601.
    """

    trial: Mapping[str, Any]
    outcome: Outcome
    error: str | None = None
    measurement: Measurement | None = None
    environment: Mapping[str, Any] = field(default_factory=dict)
    predictions: tuple[int, ...] | None = None
    labels: tuple[int, ...] | None = None
    created: str | None = None

    @property
    def id(self) -> str:
        """The trial's id."""
        return str(self.trial["id"])

    @property
    def method(self) -> str:
        """The method's slug."""
        return str(self.trial["method"])

    @property
    def scenario(self) -> str:
        """The scenario's name."""
        return str(self.trial["scenario"])

    @property
    def seed(self) -> int:
        """The seed."""
        return int(self.trial["seed"])

    @property
    def pretrained(self) -> bool:
        """Whether the backbone's weights were pretrained, so that accuracy means something."""
        return bool(self.trial["weights"] == "pretrained")

    def key_figures(self) -> dict[str, Any]:
        """Return the outcome and the main numbers, for other tools' tables."""
        names = ("accuracy", "train_seconds", "train_cpu_seconds", "step_seconds", "peak_bytes")
        measured = self.measurement or Measurement()
        return {"outcome": str(self.outcome), **{name: getattr(measured, name) for name in names}}

    def summary(self) -> str:
        """Return how the trial ended and its main numbers, in one line."""
        if self.measurement is None or self.outcome is not Outcome.OK:
            reason = (self.error or "").partition("\n")[0]
            return f"{self.outcome}: {reason}" if reason else str(self.outcome)
        parts = []
        if self.pretrained and self.measurement.accuracy is not None:
            parts.append(f"accuracy {self.measurement.accuracy:.4f}")
        if self.measurement.train_seconds is not None:
            parts.append(f"trained in {self.measurement.train_seconds:.1f} s")
        if self.measurement.peak_bytes is not None:
            parts.append(f"peak {self.measurement.peak_bytes / 1e6:,.0f} MB")
        if self.measurement.serving is not None:
            figures = self.measurement.serving["figures"]
            measured = sum(figure["status"] == "measured" for figure in figures)
            parts.append(f"{measured} of {len(figures)} figures measured")
        return ", ".join(parts)

    def to_json(self) -> dict[str, Any]:
        """Return this record as JSON values.

        Raises:
            StoreError: a number is NaN or infinite.
        """
        content = {
            "schema": SCHEMA_VERSION,
            "outcome": str(self.outcome),
            "error": self.error,
            "trial": dict(self.trial),
            "measurement": _measured(self.measurement),
            "environment": dict(self.environment),
            "predictions": list(self.predictions) if self.predictions is not None else None,
            "labels": list(self.labels) if self.labels is not None else None,
            "created": self.created,
        }
        where = _not_finite(content)
        if where is not None:
            raise StoreError(f"the record of {self.id} holds a number that is not finite: {where}")
        return content

    def to_line(self) -> str:
        """Return this record as one line of JSON, keys in a fixed order."""
        return json.dumps(self.to_json(), sort_keys=True, ensure_ascii=False, allow_nan=False)

    @classmethod
    def from_json(cls, content: Any, *, where: str = "record") -> Record:
        """Return the record that this JSON object holds.

        Raises:
            UsageError: it is not a record of a schema version that this release reads.
        """
        if not isinstance(content, Mapping) or "schema" not in content:
            raise UsageError(f"{where} is no peftcore record: it has no 'schema'")
        if content["schema"] != SCHEMA_VERSION:
            raise UsageError(
                f"{where} has schema version {content['schema']!r}: this release reads "
                f"{SCHEMA_VERSION}; use the release that wrote it"
            )
        try:
            trial = content["trial"]
            for key in ("id", "method", "scenario", "seed", "weights", "setting_id"):
                trial[key]
            if not _SCENARIO_NAME.fullmatch(trial["scenario"]):
                raise ValueError(f"{trial['scenario']!r} is no scenario's name")
            for key in ENVIRONMENT_KEYS:
                content["environment"][key]
            for part, keys in (
                (trial, _OBJECTS),
                (content["environment"], ("packages", "hardware")),
            ):
                for key in keys:
                    if not isinstance(part.get(key, {}), Mapping):
                        raise TypeError(f"{key} is {part[key]!r}: expected an object")
            measurement = content["measurement"]
            predictions, labels = content["predictions"], content.get("labels")
            return cls(
                trial=trial,
                outcome=Outcome(content["outcome"]),
                error=content["error"],
                measurement=Measurement.from_json(measurement) if measurement else None,
                environment=content["environment"],
                predictions=None if predictions is None else tuple(predictions),
                labels=None if labels is None else tuple(labels),
                created=content.get("created"),
            )
        except (LookupError, TypeError, ValueError, AttributeError) as error:
            raise UsageError(f"{where} is no whole peftcore record: {error!r}") from None


def _measured(measurement: Measurement | None) -> dict[str, Any] | None:
    if measurement is None:
        return None
    content = dataclasses.asdict(measurement)
    if measurement.serving is None:
        del content["serving"]
    return content


def checksum(line: str) -> str:
    """Return the SHA-256 of one record's line, in hexadecimal."""
    return hashlib.sha256(line.encode()).hexdigest()


def read_records(path: Path) -> Iterator[Record]:
    """Yield the records of a JSON-lines file.

    Raises:
        UsageError: the file is missing or a line is no record; the message names the line.
    """
    try:
        # Not splitlines(): within JSON text, other line separators are letters like any other.
        lines = path.read_text(encoding="utf-8").split("\n")
    except (OSError, UnicodeDecodeError) as error:
        raise UsageError(f"{path} can't be read as records: {error}") from None
    for number, line in enumerate(lines, start=1):
        if not line.strip():
            continue
        where = f"{path}, line {number}"
        try:
            content = json.loads(line)
        except (ValueError, RecursionError) as error:
            # Beside what is no JSON: a number of thousands of digits, and a deep nest of lists.
            why = error.msg if isinstance(error, json.JSONDecodeError) else error
            raise UsageError(f"{where} is not JSON: {why}") from None
        record = Record.from_json(content, where=where)
        try:
            record.to_line().encode()
        except (StoreError, UnicodeEncodeError) as error:
            raise UsageError(f"{where}: {error}") from None
        yield record


def write_records(path: Path, records: Iterable[Record]) -> None:
    """Write records as JSON lines, one a trial, in place of what the file held."""
    write_whole(path, "".join(record.to_line() + "\n" for record in records))


def _not_finite(value: Any, path: str = "") -> str | None:
    """Return where in nested JSON values a float is NaN or infinite, or ``None``."""
    if isinstance(value, float) and not math.isfinite(value):
        return f"{path or 'value'} is {value}"
    items: Iterable[tuple[Any, Any]] = ()
    if isinstance(value, Mapping):
        items = value.items()
    elif isinstance(value, list | tuple):
        items = enumerate(value)
    for key, inner in items:
        found = _not_finite(inner, f"{path}.{key}" if path else str(key))
        if found is not None:
            return found
    return None

"""The one list of columns: what each metric is called, its unit, its direction and its format.

Tables, plots, differences and headings follow from :data:`METRICS`; a new metric is one row there.
Sizes are decimal: 1 MB is a million bytes, 1 GB a thousand of those.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Literal

from peftcore.results.records import Measurement, Record
from peftcore.statistics.comparing import MARGIN_POINTS
from peftcore.trials import Outcome

MISSING = "—"
"""What is shown where there is no number."""

SHARED_MARK = "◊"
"""Stands behind a time that was taken while other trials ran on the machine."""

GRID_GRAMS_PER_KWH = 473
"""CO2 of a kilowatt-hour: the world's mean of 2024 (Ember, "Global Electricity Review 2025"). Grids
differ by a factor of fifty."""

_JOULES_PER_KWH = 3.6e6


@dataclass(frozen=True, kw_only=True)
class Metric:
    """One column of the report.

    Attributes:
        key: its name in code.
        label: its name in tables and plots.
        unit: of the number that ``value`` returns; empty for a count.
        better: which way is better; ``None`` where neither is.
        format: how the number is written, as a format specification.
        value: reads it from a record, in ``unit``; ``None`` where it was not measured.
        key_metric: whether it belongs in the table of key metrics.
        machine_use: whether it belongs in the table of how well the machine was used; what belongs
            in neither is a detail.
        difference: how a difference between two methods is stated, if at all.
        margin: the loss that a gate does not mind, in the terms of ``difference``; ``None`` where
            no gate tests the metric.
        drift: what two sessions on one machine may differ by with nothing changed, in the same
            terms; seeds of one session can't tell of it, so a gate lets it pass.
        counted: how a gate takes a number that one seed always gives again: of a ``"cost"`` any
            increase is worse, of what is ``"fixed"`` by the hyperparameters any change is.
        recent: whether there are baselines from before records told it, against which a gate
            leaves it out.
        parts: what it is the sum of. In a report it is known of a trial only where every part is
            that some trial of a candidate knows: sums of other parts can't be compared.
    """

    key: str
    label: str
    unit: str = ""
    better: Literal["higher", "lower"] | None = None
    format: str = ",.0f"
    value: Callable[[Record], float | None]
    key_metric: bool = False
    machine_use: bool = False
    difference: Literal["points", "percent", "units"] | None = None
    margin: float | None = None
    drift: float = 0.0
    counted: Literal["cost", "fixed"] | None = None
    recent: bool = False
    parts: tuple[Metric, ...] = ()

    @property
    def heading(self) -> str:
        """The label with its unit."""
        return f"{self.label} ({self.unit})" if self.unit else self.label

    @property
    def timed(self) -> bool:
        """Whether it says little where other trials ran on the machine at the same time."""
        return self.unit in ("s", "ms") or self.unit.endswith("/s") or self.key == "utilisation"

    def show(self, number: float | None) -> str:
        """Return the number as text, without its unit; a dash for ``None``."""
        return MISSING if number is None else format(number, self.format)


def _measurement(record: Record) -> Measurement | None:
    return record.measurement if record.outcome is Outcome.OK else None


def _field(name: str, *, times: float = 1.0) -> Callable[[Record], float | None]:
    """Return a reader of one field of the measurement, multiplied by ``times``."""

    def read(record: Record) -> float | None:
        measurement = _measurement(record)
        number = getattr(measurement, name) if measurement else None
        return None if number is None else float(number) * times

    return read


def _alone(read: Callable[[Record], float | None]) -> Callable[[Record], float | None]:
    """Return a reader that tells nothing of a trial that ran beside others.

    For what a whole device did, such as a counter of energy, which counts for all.
    """

    def read_alone(record: Record) -> float | None:
        measurement = _measurement(record)
        return None if measurement is None or measurement.shared else read(record)

    return read_alone


def _accuracy(record: Record) -> float | None:
    return _field("accuracy", times=100)(record) if record.pretrained else None


def _train_loss(record: Record) -> float | None:
    return _field("train_loss")(record) if record.pretrained else None


def _trainable_share(record: Record) -> float | None:
    measurement = _measurement(record)
    if measurement is None or measurement.trainable_parameters is None:
        return None
    if not measurement.total_parameters:
        return None
    return 100 * measurement.trainable_parameters / measurement.total_parameters


def _tokens_per_second(record: Record) -> float | None:
    measurement = _measurement(record)
    if measurement is None or measurement.train_tokens is None or not measurement.train_seconds:
        return None
    return measurement.train_tokens / measurement.train_seconds


def _on_gpu(record: Record) -> bool:
    # Only a trial on a CUDA device has an allocator to ask. The environment would not do: it names
    # the machine's GPU for the bag of words too, which never touches it.
    measurement = _measurement(record)
    return measurement is not None and measurement.peak_reserved_bytes is not None


def _peak(*, on_gpu: bool) -> Callable[[Record], float | None]:
    read = _field("peak_bytes", times=1e-9)
    return lambda record: read(record) if _on_gpu(record) is on_gpu else None


def _anonymous(record: Record) -> float | None:
    measurement, peak = _measurement(record), _peak(on_gpu=False)(record)
    if measurement is None or peak is None or measurement.peak_file_bytes is None:
        return None
    return peak - 1e-9 * measurement.peak_file_bytes


def _joules(record: Record, phase: str, name: str) -> float | None:
    """Return what one device took in a phase, in joules."""
    measurement = _measurement(record)
    if measurement is None or phase not in measurement.phases:
        return None
    joules = getattr(measurement.phases[phase], name)
    return None if joules is None else float(joules)


def _train_energy(name: str) -> Callable[[Record], float | None]:
    """Return a reader of what one device took in training, in kilojoules."""

    def read(record: Record) -> float | None:
        joules = _joules(record, "train", name)
        return None if joules is None else joules / 1e3

    return read


def _energy_of_predictions(name: str) -> Callable[[Record], float | None]:
    """Return a reader of what one device took for 1,000 predictions, in joules."""

    def read(record: Record) -> float | None:
        measurement, joules = _measurement(record), _joules(record, "evaluate", name)
        if measurement is None or joules is None or not measurement.evaluated_examples:
            return None
        # A bag of words is evaluated once, everything else as often as its recipe says.
        evaluations = max(len(measurement.epoch_accuracies), 1)
        return 1e3 * joules / (evaluations * measurement.evaluated_examples)

    return read


def _co2(parts: tuple[Metric, ...], *, joules: float) -> Callable[[Record], float | None]:
    """Return a reader of the CO2, in grams, of what all devices took that have a counter.

    Args:
        parts: the energies of the devices.
        joules: of the unit in which these are.
    """

    def read(record: Record) -> float | None:
        known = [energy for part in parts if (energy := part.value(record)) is not None]
        return sum(known) * joules / _JOULES_PER_KWH * GRID_GRAMS_PER_KWH if known else None

    return read


ACCURACY = Metric(
    key="accuracy",
    label="Accuracy",
    unit="%",
    better="higher",
    format=".2f",
    value=_accuracy,
    key_metric=True,
    difference="points",
    margin=MARGIN_POINTS,
)
TRAIN_LOSS = Metric(
    key="train_loss",
    label="Training loss",
    unit="nats",
    better="lower",
    format=".4f",
    value=_train_loss,
    difference="units",
    margin=0.02,
)
TRAINABLE_PARAMETERS = Metric(
    key="trainable_parameters",
    label="Trainable parameters",
    better="lower",
    value=_field("trainable_parameters"),
    key_metric=True,
    difference="percent",
    counted="fixed",
)
TRAINABLE_SHARE = Metric(
    key="trainable_share",
    label="Trainable share",
    unit="%",
    better="lower",
    format=".2f",
    value=_trainable_share,
    key_metric=True,
)
TRAIN_TIME = Metric(
    key="train_seconds",
    label="Train time",
    unit="s",
    better="lower",
    format=",.1f",
    value=_field("train_seconds"),
    key_metric=True,
    difference="percent",
    margin=5.0,
    drift=5.0,
)
STEP_TIME = Metric(
    key="step_seconds",
    label="Step time",
    unit="ms",
    better="lower",
    format=",.1f",
    value=_field("step_seconds", times=1e3),
    key_metric=True,
    difference="percent",
)
GPU_MEMORY = Metric(
    key="gpu_peak_bytes",
    label="Peak GPU memory",
    unit="GB",
    better="lower",
    format=",.3f",
    value=_peak(on_gpu=True),
    key_metric=True,
    difference="percent",
    margin=1.0,
)
HOST_MEMORY = Metric(
    key="host_peak_bytes",
    label="Peak memory",
    unit="GB",
    better="lower",
    format=",.3f",
    value=_peak(on_gpu=False),
    key_metric=True,
    difference="percent",
)
ANONYMOUS_MEMORY = Metric(
    key="host_anonymous_bytes",
    label="Peak anonymous memory",
    unit="GB",
    better="lower",
    format=",.3f",
    value=_anonymous,
    difference="percent",
    margin=1.0,
    drift=0.5,
    recent=True,
)
FILE_SIZE = Metric(
    key="adapter_file_bytes",
    label="File to keep",
    unit="MB",
    better="lower",
    format=",.2f",
    value=_field("adapter_file_bytes", times=1e-6),
    key_metric=True,
    difference="percent",
    counted="cost",
)

OPERATIONS = Metric(
    key="operations",
    label="Operations a step",
    better="lower",
    value=_field("operations"),
    counted="cost",
)
TENSOR_BYTES = Metric(
    key="tensor_bytes",
    label="Tensors held",
    unit="MB",
    better="lower",
    format=",.2f",
    value=_field("tensor_bytes", times=1e-6),
    counted="cost",
)
UTILISATION = Metric(
    key="utilisation",
    label="Utilisation",
    unit="%",
    format=".1f",
    value=_alone(_field("utilisation", times=100)),
    machine_use=True,
)

TRAIN_ENERGY: tuple[Metric, ...] = (
    Metric(
        key="train_processor_energy",
        label="Train energy, processor",
        unit="kJ",
        better="lower",
        format=",.2f",
        value=_alone(_train_energy("processor_joules")),
    ),
    Metric(
        key="train_gpu_energy",
        label="Train energy, GPU",
        unit="kJ",
        better="lower",
        format=",.2f",
        value=_alone(_train_energy("gpu_joules")),
    ),
)
"""What each device took in training, where it has a counter."""

ENERGY_OF_PREDICTIONS: tuple[Metric, ...] = (
    Metric(
        key="predictions_processor_energy",
        label="Energy of 1,000 predictions, processor",
        unit="J",
        better="lower",
        format=",.1f",
        value=_alone(_energy_of_predictions("processor_joules")),
    ),
    Metric(
        key="predictions_gpu_energy",
        label="Energy of 1,000 predictions, GPU",
        unit="J",
        better="lower",
        format=",.1f",
        value=_alone(_energy_of_predictions("gpu_joules")),
    ),
)
"""What each device took for predictions, likewise."""

ENERGY = (*TRAIN_ENERGY, *ENERGY_OF_PREDICTIONS)

TRAIN_CO2 = Metric(
    key="train_co2",
    label="CO2 of training",
    unit="g",
    better="lower",
    format=",.2f",
    value=_co2(TRAIN_ENERGY, joules=1e3),
    parts=TRAIN_ENERGY,
)
CO2: tuple[Metric, ...] = (
    TRAIN_CO2,
    Metric(
        key="predictions_co2",
        label="CO2 of 1,000 predictions",
        unit="g",
        better="lower",
        format=",.4f",
        value=_co2(ENERGY_OF_PREDICTIONS, joules=1.0),
        parts=ENERGY_OF_PREDICTIONS,
    ),
)
"""What that comes to: all devices together, by one factor."""

METRICS: tuple[Metric, ...] = (
    ACCURACY,
    TRAINABLE_PARAMETERS,
    TRAINABLE_SHARE,
    TRAIN_TIME,
    STEP_TIME,
    GPU_MEMORY,
    HOST_MEMORY,
    FILE_SIZE,
    TRAIN_LOSS,
    Metric(
        key="total_parameters",
        label="Parameters",
        value=_field("total_parameters"),
        counted="fixed",
    ),
    Metric(
        key="head_parameters",
        label="Head parameters",
        value=_field("head_parameters"),
        counted="fixed",
    ),
    Metric(
        key="adapter_parameters",
        label="Adapter parameters",
        value=_field("adapter_parameters"),
        counted="fixed",
    ),
    Metric(
        key="train_cpu_seconds",
        label="Train CPU time",
        unit="s",
        better="lower",
        format=",.1f",
        value=_field("train_cpu_seconds"),
    ),
    Metric(
        key="tokens_per_second",
        label="Training speed",
        unit="tokens/s",
        better="higher",
        value=_tokens_per_second,
        machine_use=True,
    ),
    Metric(
        key="model_flops",
        label="Model FLOPs",
        unit="TFLOP",
        better="lower",
        format=",.1f",
        value=_field("model_flops", times=1e-12),
        machine_use=True,
        counted="cost",
    ),
    Metric(
        key="model_flops_per_second",
        label="Model FLOPs a second",
        unit="TFLOP/s",
        format=",.3f",
        value=_field("model_flops_per_second", times=1e-12),
        machine_use=True,
    ),
    Metric(
        key="matmul_flops_per_second",
        label="Matrix-product rate",
        unit="TFLOP/s",
        format=",.3f",
        value=_alone(_field("matmul_flops_per_second", times=1e-12)),
        machine_use=True,
    ),
    UTILISATION,
    Metric(
        key="eval_seconds",
        label="Evaluation time",
        unit="s",
        better="lower",
        format=",.1f",
        value=_field("eval_seconds"),
    ),
    Metric(
        key="peak_reserved_bytes",
        label="GPU memory reserved",
        unit="GB",
        better="lower",
        format=",.3f",
        value=_field("peak_reserved_bytes", times=1e-9),
    ),
    Metric(
        key="peak_process_bytes",
        label="GPU memory by the driver",
        unit="GB",
        better="lower",
        format=",.3f",
        value=_field("peak_process_bytes", times=1e-9),
    ),
    ANONYMOUS_MEMORY,
    OPERATIONS,
    TENSOR_BYTES,
    *ENERGY,
    *CO2,
)

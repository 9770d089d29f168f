"""What a training loop tells while it runs, and what it leaves behind."""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from itertools import pairwise
from statistics import median
from typing import Any

import torch

from peftcore.errors import LossNotFinite

REPORT_SECONDS = 1.0
"""Losses are fetched from the device this often: fetching waits for all the work before it."""

UNSTEADY_STEPS = 5
"""Steps at the start that don't count for the median: optimiser states appear in the first."""

Observer = Callable[[dict[str, Any]], None]
"""Gets one JSON object per event: ``phase``, and in training ``step``, ``steps``, ``loss`` …"""


@dataclass
class TrainingLog:
    """What training left behind.

    Attributes:
        losses: mean loss of each step's batch, before its update.
        step_seconds: wall time of each step.
        epoch_accuracies: accuracy after each epoch that was evaluated.
        predictions: predicted labels after the last epoch, in the order of the examples.
        tensor_bytes: of all tensors that are held when training ends, the optimiser's among them.
    """

    losses: list[float] = field(default_factory=list)
    step_seconds: list[float] = field(default_factory=list)
    epoch_accuracies: list[float] = field(default_factory=list)
    predictions: list[int] = field(default_factory=list)
    tensor_bytes: int | None = None

    def median_step_seconds(self) -> float | None:
        """Return the steady median step, or ``None`` after too few steps."""
        steady = self.step_seconds[UNSTEADY_STEPS:]
        return median(steady) if steady else None


class LossWatch:
    """Collects losses on the device and fetches them now and then, looking for one gone wrong.

    ``losses`` holds those that were fetched; :meth:`fetch` raises :class:`LossNotFinite` at the
    first that is NaN or infinite.
    """

    def __init__(self, steps: int, steps_per_epoch: int, observe: Observer) -> None:
        self.losses: list[float] = []
        self._waiting: list[torch.Tensor] = []
        self._steps = steps
        self._steps_per_epoch = steps_per_epoch
        self._observe = observe
        self._fetched = time.monotonic()

    def saw(self, loss: torch.Tensor) -> None:
        """Take the loss of one more step."""
        self._waiting.append(loss)
        if time.monotonic() - self._fetched >= REPORT_SECONDS:
            self.fetch()

    def fetch(self) -> None:
        """Bring the losses to the host, check them and report the newest."""
        if self._waiting:
            for loss in torch.stack(self._waiting).tolist():
                self.losses.append(loss)
                if not math.isfinite(loss):
                    raise LossNotFinite(len(self.losses), loss)
            self._waiting.clear()
        self._fetched = time.monotonic()
        step = len(self.losses)
        self._observe(
            {
                "phase": "train",
                "step": step,
                "steps": self._steps,
                "epoch": step / self._steps_per_epoch,
                "loss": self.losses[-1],
            }
        )


class StepClock:
    """Wall time of each step: by the host's clock, or by events on a CUDA device.

    An event is stamped by the device as it passes, so that no step waits for another.
    """

    def __init__(self, device: torch.device) -> None:
        self._on_device = device.type == "cuda"
        self.restart()

    def restart(self) -> None:
        """Forget what was, and mark the start of the next step."""
        self._ticks: list[float] = []
        self._events: list[torch.cuda.Event] = []
        self.tick()

    def tick(self) -> None:
        """Mark the end of a step."""
        if self._on_device:
            event = torch.cuda.Event(enable_timing=True)
            event.record()
            self._events.append(event)
        else:
            self._ticks.append(time.perf_counter())

    def seconds(self) -> list[float]:
        """Return the time from each mark to the next."""
        return list(self._differences())

    def _differences(self) -> Iterator[float]:
        if self._on_device:
            torch.cuda.synchronize()
            for before, after in pairwise(self._events):
                yield before.elapsed_time(after) / 1000
        else:
            for start, end in pairwise(self._ticks):
                yield end - start

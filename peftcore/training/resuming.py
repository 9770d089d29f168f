"""Save a training run now and then, so that another process can go on with it to the bit.

A checkpoint holds what the steps to come depend on and no reading of the inputs gives back: trained
weights and what stands in for them, the method's buffers, the optimiser's states, the loss scale,
and torch's random numbers, from which dropout is drawn (its kernels draw their seeds there). The
order of the examples is a function of seed and epoch, so that the number of steps tells the place
in it. Frozen weights are loaded again, and must be the same to the bit.
"""

from __future__ import annotations

import time
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError
from safetensors.torch import load_file, save_file
from torch import nn

from peftcore.measuring.phases import Phases, read_tallies, seconds_since_start
from peftcore.training.checkpoints import CheckpointFolder, CheckpointRefused, Verified
from peftcore.training.observing import LossWatch, TrainingLog
from peftcore.training.updating import Update, require_like

PHASE = "checkpoint"

EVERY_SECONDS = 60.0
"""By default no checkpoint follows another sooner, but for those at the ends of epochs."""

SHARE = 0.01
"""By default checkpoints take at most this share of a trial's time."""

_SLOW_DISK = 200e6
"""Bytes a second: what the first checkpoint is taken to cost before any was written."""

_APART = ("evaluate", "compile", "count", PHASE)
"""Phases that are no part of the time that it takes to have a trained model."""


@dataclass(frozen=True, kw_only=True)
class TrainingState:
    """All of a training run that changes as it goes on.

    Attributes:
        model: the model, for its buffers.
        device: where it is.
        update: trains it.
        watch: has the losses.
        log: the rest of what is known of the run.
        steps_per_epoch: how many steps an epoch has.
        evaluated_epochs: after which, counted from 1, there is an evaluation.
        predictions: how many examples it predicts.
    """

    model: nn.Module
    device: torch.device
    update: Update
    watch: LossWatch
    log: TrainingLog
    steps_per_epoch: int
    evaluated_epochs: range
    predictions: int

    def tensors(self) -> dict[str, torch.Tensor]:
        """Return its tensors, live, by name."""
        return {**self.update.tensors(), **self._buffers(), **self._random()}

    def _buffers(self) -> dict[str, torch.Tensor]:
        return {f"buffer.{name}": buffer for name, buffer in self.model.named_buffers()}

    def _random(self) -> dict[str, torch.Tensor]:
        states = {"random.cpu": torch.get_rng_state()}
        if self.device.type == "cuda":
            states["random.cuda"] = torch.cuda.get_rng_state(self.device)
        return states

    def progress(self) -> dict[str, Any]:
        """Return the rest of it, as JSON values."""
        return {
            "losses": self.watch.losses,
            "step_seconds": self.log.step_seconds,
            "epoch_accuracies": self.log.epoch_accuracies,
            "predictions": self.log.predictions,
        }

    def restore(
        self, steps: int, tensors: dict[str, torch.Tensor], progress: Mapping[str, Any]
    ) -> None:
        """Put back what :meth:`tensors` and :meth:`progress` gave after this many steps.

        Raises:
            ValueError: something is missing, unknown or of another kind; nothing was changed.
        """
        self._check_progress(steps, progress)
        buffers, random = self._buffers(), self._random()
        for name, like in {**buffers, **random}.items():
            require_like(like, tensors.get(name), name)
        rest = {name: t for name, t in tensors.items() if name not in {*buffers, *random}}
        # It checks all of the rest before it changes anything.
        self.update.restore(rest)
        for name, buffer in buffers.items():
            buffer.copy_(tensors[name])
        self.watch.losses[:] = progress["losses"]
        self.log.step_seconds[:] = progress["step_seconds"]
        self.log.epoch_accuracies[:] = progress["epoch_accuracies"]
        self.log.predictions = list(progress["predictions"])
        torch.set_rng_state(tensors["random.cpu"])
        if self.device.type == "cuda":
            torch.cuda.set_rng_state(tensors["random.cuda"], self.device)

    def _check_progress(self, steps: int, progress: Mapping[str, Any]) -> None:
        # At an epoch's end the checkpoint comes before the evaluation.
        evaluated = sum(epoch * self.steps_per_epoch < steps for epoch in self.evaluated_epochs)
        wanted = {
            "losses": (steps, float),
            "step_seconds": (steps, float),
            "epoch_accuracies": (evaluated, float),
            "predictions": (self.predictions if evaluated else 0, int),
        }
        for name, (count, kind) in wanted.items():
            found = progress.get(name)
            if not isinstance(found, list) or len(found) != count:
                raise ValueError(f"{name} should be a list of {count}")
            if not all(type(value) is kind for value in found):
                raise ValueError(f"{name} holds something else than numbers")


@dataclass
class Keeper:
    """Writes checkpoints of one training run when they are due, and goes on from one.

    Attributes:
        folder: where they are; ``None`` keeps none.
        phases: the trial's; what checkpoints take is counted apart.
        seconds: of training between two, and then however long they take; ``None`` for
            :data:`EVERY_SECONDS`, or as many more as keep them under :data:`SHARE`.
        resumed: how often the trial went on from a checkpoint.
        notes: what a reader of the record should know: what was refused, what could not be written.
    """

    folder: CheckpointFolder | None
    phases: Phases
    seconds: float | None = None
    resumed: int = 0
    notes: list[str] = field(default_factory=list)
    _earlier_seconds: float = 0.0
    _spent: float = 0.0
    _last_seconds: float | None = None
    _newest: int = 0
    _written: float = field(default_factory=time.monotonic)

    def seconds_to_here(self) -> float:
        """Return how long it took to get here, of all parts of the trial, but for what is apart."""
        apart = sum(tally.seconds for name, tally in self.phases.items() if name in _APART)
        return self._elapsed() - apart

    def _elapsed(self) -> float:
        return self._earlier_seconds + seconds_since_start()

    def resume(self, state: TrainingState) -> None:
        """Put the run back to where the newest checkpoint that can be trusted was written.

        Those that can't are deleted, and the reasons noted; without one the run starts over.
        """
        if self.folder is None:
            return
        with self.phases.measure(PHASE):
            for found in self.folder.newest_first():
                try:
                    if isinstance(found, CheckpointRefused):
                        raise found
                    self._go_on_from(found, state)
                    break
                except CheckpointRefused as refused:
                    self.notes.append(f"refused a checkpoint: {refused}")
            else:
                if self.notes:
                    self.notes.append("the trial started over")
            self.folder.discard_after(self._newest)
        self._written = time.monotonic()

    def _go_on_from(self, found: Verified, state: TrainingState) -> None:
        """Put everything back.

        Raises:
            CheckpointRefused: it lacks a part, or has one that does not fit; nothing was changed.
        """
        progress = found.progress
        try:
            earlier, resumed = float(progress["elapsed_seconds"]), int(progress["resumed"])
            notes = [str(note) for note in progress["notes"]]
            tallies = read_tallies(progress["phases"])
            state.restore(found.steps, load_file(found.tensors), progress)
        except (LookupError, TypeError, ValueError, SafetensorError) as error:
            raise CheckpointRefused(f"after step {found.steps}: {error}") from None
        self.phases.add(tallies)
        self._earlier_seconds, self.resumed = earlier, resumed + 1
        self.notes[:0] = notes
        self._newest = found.steps

    def is_due(self, state: TrainingState, *, epoch_ends: bool = False) -> bool:
        """Return whether a checkpoint is to be written after this step.

        Args:
            state: of the run.
            epoch_ends: whether the epoch's last step was taken, and its loss fetched; the
                checkpoint may be there already.
        """
        if self.folder is None or (epoch_ends and len(state.watch.losses) == self._newest):
            return False
        since = time.monotonic() - self._written
        if self.seconds is not None:
            return epoch_ends or since >= self.seconds
        if not epoch_ends and since < EVERY_SECONDS:
            return False
        return self._spent + self._estimate(state) <= SHARE * self._elapsed()

    def _estimate(self, state: TrainingState) -> float:
        """Return the seconds that one more checkpoint will take."""
        if self._last_seconds is not None:
            return self._last_seconds
        return sum(t.nbytes for t in state.tensors().values()) / _SLOW_DISK

    def save(self, state: TrainingState) -> None:
        """Write a checkpoint of the run as it is.

        A disk that is full costs the checkpoint and not the trial: none is written any more, and
        that is noted.

        Raises:
            LossNotFinite: the loss had become NaN or infinite.
        """
        assert self.folder is not None
        state.watch.fetch()
        with self.phases.measure(PHASE):
            began = time.monotonic()
            progress = {
                **state.progress(),
                "phases": self.phases.to_json(),
                "elapsed_seconds": self._elapsed(),
                "resumed": self.resumed,
                "notes": self.notes,
            }
            tensors = {
                name: tensor.detach().cpu().contiguous() for name, tensor in state.tensors().items()
            }

            def write_tensors(file: Path) -> None:
                save_file(tensors, file)

            steps = len(state.watch.losses)
            try:
                self.folder.write(steps, progress, write_tensors)
            except (OSError, SafetensorError) as error:
                self.notes.append(f"no checkpoint after step {steps} or later: {error}")
                self.folder = None
            self._newest = steps
            self._written = time.monotonic()
            self._last_seconds = self._written - began
            self._spent += self._last_seconds

    def checks(self) -> list[dict[str, str]]:
        """Return what the record tells of checkpoints; nothing where there is nothing to tell."""
        told = list(self.notes)
        if self.resumed:
            times = "once" if self.resumed == 1 else f"{self.resumed} times"
            told.insert(0, f"went on from a verified checkpoint {times}")
        return [{"name": "checkpoints", "detail": "; ".join(told)}] if told else []

"""The training loop of the engine ``peftcore``: plain, and right.

AdamW, the gradient clipped to a norm, the rate decaying linearly to zero, matrix products in the
recipe's precision: step by step what transformers' Trainer computes, with nothing around it.
"""

from __future__ import annotations

import math

import torch
from torch import nn
from torch.nn.functional import cross_entropy

from peftcore.data.batches import Batch, Tokenised, batches, training_order
from peftcore.measuring.phases import Phases
from peftcore.scenarios import Precision, Recipe
from peftcore.training.evaluating import Evaluator, autocast, logits_of
from peftcore.training.observing import LossWatch, Observer, StepClock, TrainingLog


def train(
    model: nn.Module,
    examples: Tokenised,
    recipe: Recipe,
    *,
    seed: int,
    device: torch.device,
    evaluator: Evaluator,
    phases: Phases,
    observe: Observer,
) -> TrainingLog:
    """Train ``model`` in place, evaluating after each epoch, and return what happened.

    Args:
        model: the parameters that require gradients are trained.
        examples: what to train on; every epoch visits each once.
        recipe: how.
        seed: draws the order of the examples; dropout draws from torch's global generator.
        device: where the model is.
        evaluator: predicts the test set's labels.
        phases: evaluation is counted apart from training.
        observe: told of progress now and then.

    Raises:
        LossNotFinite: the loss became NaN or infinite.
    """
    steps_per_epoch = math.ceil(len(examples) / recipe.batch_size)
    steps = recipe.epochs * steps_per_epoch
    update = Update(model, recipe, steps, device)
    log = TrainingLog()
    watch = LossWatch(steps, steps_per_epoch, observe)
    with phases.measure("train"):
        model.train()
        for epoch in range(recipe.epochs):
            order = training_order(len(examples), seed=seed, epoch=epoch)
            ticks = StepClock(device)
            for batch in batches(examples, order, recipe.batch_size):
                watch.saw(update(batch.to(device)))
                ticks.tick()
            watch.fetch()
            log.step_seconds += ticks.seconds()
            with phases.measure("evaluate"):
                observe({"phase": "evaluate", "epoch": epoch + 1})
                log.predictions = evaluator.predict(model)
            log.epoch_accuracies.append(evaluator.accuracy(log.predictions))
    log.losses = watch.losses
    return log


class Update:
    """One step of training: forward, backward, clip, AdamW, decay the rate."""

    def __init__(self, model: nn.Module, recipe: Recipe, steps: int, device: torch.device) -> None:
        self._model = model
        self._recipe = recipe
        self._device = device
        self._trained = [p for p in model.parameters() if p.requires_grad]
        self._optimiser = torch.optim.AdamW(
            self._trained,
            lr=recipe.learning_rate,
            weight_decay=recipe.weight_decay,
            fused=True,
        )
        self._schedule = torch.optim.lr_scheduler.LambdaLR(
            self._optimiser, lambda step: max(0.0, 1 - step / steps)
        )
        # 16-bit floats underflow without it; every other precision has the range of 32 bits.
        self._scaler = torch.amp.GradScaler(device.type, enabled=recipe.precision is Precision.FP16)

    def __call__(self, batch: Batch) -> torch.Tensor:
        """Train on one batch and return its mean loss before the update, still on the device."""
        with autocast(self._device, self._recipe.precision):
            logits = logits_of(self._model, batch)
        loss = cross_entropy(logits.float(), batch.labels)
        self._scaler.scale(loss).backward()
        self._scaler.unscale_(self._optimiser)
        nn.utils.clip_grad_norm_(self._trained, self._recipe.max_gradient_norm)
        scale = self._scaler.get_scale()
        self._scaler.step(self._optimiser)
        self._scaler.update()
        # A lowered scale means that the update was skipped; then the rate waits, too.
        if self._scaler.get_scale() >= scale:
            self._schedule.step()
        self._optimiser.zero_grad(set_to_none=True)
        return loss.detach()

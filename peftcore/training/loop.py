"""The training loop of the engine ``peftcore``.

AdamW, the gradient clipped to a norm, the rate decaying linearly to zero, matrix products in the
recipe's precision: step by step what transformers' Trainer computes, with nothing around it. How
the model computes its logits, :mod:`peftcore.training.accelerating` decides.
"""

from __future__ import annotations

import math
import re
from typing import Any

import torch
from torch import nn
from torch.nn.functional import cross_entropy

from peftcore.accelerations import BF16_GRADIENTS, FUSED_UPDATE
from peftcore.data.batches import Batch, Tokenised, training_order
from peftcore.measuring.phases import Phases
from peftcore.scenarios import Precision, Recipe
from peftcore.training.accelerating import Accelerated
from peftcore.training.evaluating import Evaluator
from peftcore.training.kernels.adamw import AdamW as CompiledAdamW
from peftcore.training.observing import LossWatch, Observer, StepClock, TrainingLog


def train(
    classifier: Accelerated,
    examples: Tokenised,
    recipe: Recipe,
    *,
    seed: int,
    evaluator: Evaluator,
    phases: Phases,
    observe: Observer,
) -> TrainingLog:
    """Train the classifier in place, evaluating after each epoch, and return what happened.

    Args:
        classifier: those of its parameters that require gradients are trained.
        examples: what to train on; every epoch visits each once.
        recipe: how.
        seed: draws the order of the examples; dropout draws from torch's global generator.
        evaluator: predicts the test set's labels.
        phases: evaluation is counted apart from training.
        observe: told of progress now and then.

    Raises:
        LossNotFinite: the loss became NaN or infinite.
    """
    steps_per_epoch = math.ceil(len(examples) / recipe.batch_size)
    steps = recipe.epochs * steps_per_epoch
    log = TrainingLog()
    watch = LossWatch(steps, steps_per_epoch, observe)
    with phases.measure("train"):
        feed = classifier.feed(examples)
        update = Update(classifier, recipe, steps)
    for epoch in range(recipe.epochs):
        order = training_order(len(examples), seed=seed, epoch=epoch)
        with phases.measure("train"):
            classifier.model.train()
            ticks = StepClock(classifier.device)
            for batch in feed.batches(order, recipe.batch_size):
                watch.saw(update(batch))
                ticks.tick()
            watch.fetch()
            log.step_seconds += ticks.seconds()
        with phases.measure("evaluate"):
            observe({"phase": "evaluate", "epoch": epoch + 1})
            log.predictions = evaluator.predict(classifier.model, classifier.logits)
        log.epoch_accuracies.append(evaluator.accuracy(log.predictions))
    log.losses = watch.losses
    return log


class Update:
    """One step of training: forward, backward, clip, AdamW, decay the rate."""

    def __init__(self, classifier: Accelerated, recipe: Recipe, steps: int) -> None:
        self._logits = classifier.logits
        self._recipe = recipe
        self._fused = classifier.on(FUSED_UPDATE)
        self._forget = classifier.forget_gradients
        self._trained = [parameter for _, parameter in classifier.trained()]
        self._optimiser = _optimiser(classifier, recipe)
        self._schedule = torch.optim.lr_scheduler.LambdaLR(
            self._optimiser, lambda step: max(0.0, 1 - step / steps)
        )
        # 16-bit floats underflow without it; every other precision has the range of 32 bits.
        self._scaler = torch.amp.GradScaler(
            classifier.device.type, enabled=recipe.precision is Precision.FP16
        )

    def __call__(self, batch: Batch) -> torch.Tensor:
        """Train on one batch and return its mean loss before the update, still on the device."""
        loss = cross_entropy(self._logits(batch), batch.labels)
        self._scaler.scale(loss).backward()
        self._scaler.unscale_(self._optimiser)
        self._clip()
        scale = self._scaler.get_scale()
        self._scaler.step(self._optimiser)
        self._scaler.update()
        # A lowered scale means that the update was skipped; then the rate waits, too.
        if self._scaler.get_scale() >= scale:
            self._schedule.step()
        self._forget()
        return loss.detach()

    def _clip(self) -> None:
        """Clip the gradients, or leave it to the optimiser to divide by what is too much."""
        limit = self._recipe.max_gradient_norm
        if not self._fused:
            nn.utils.clip_grad_norm_(self._trained, limit)
            return
        if isinstance(self._optimiser, CompiledAdamW):
            norm = self._optimiser.gradient_norm()
        else:
            norm = nn.utils.get_total_norm([p.grad for p in self._trained if p.grad is not None])
        # The attribute through which torch's own GradScaler has the fused kernels divide; the small
        # number is clip_grad_norm_'s.
        excess = ((norm + 1e-6) / limit).clamp(min=1.0)
        self._optimiser.grad_scale = excess  # type: ignore[attr-defined]


def _optimiser(classifier: Accelerated, recipe: Recipe) -> torch.optim.Optimizer:
    """Return the AdamW that this recipe asks for."""
    groups = _groups(classifier, recipe.weight_decay)
    if classifier.kernels is not None and classifier.on(BF16_GRADIENTS):
        return CompiledAdamW(
            groups,
            rate=recipe.learning_rate,
            copies=classifier.stand_ins.copies,
            library=classifier.kernels,
        )
    return torch.optim.AdamW(groups, lr=recipe.learning_rate, weight_decay=0.0, fused=True)


def _groups(classifier: Accelerated, weight_decay: float) -> list[dict[str, Any]]:
    """Return the trained parameters as AdamW takes them: decayed are those that Trainer decays.

    That is all but biases and those of normalisations.
    """
    normalising = {
        id(p)
        for module in classifier.model.modules()
        if isinstance(module, nn.LayerNorm)
        for p in module.parameters()
    }
    decayed: list[nn.Parameter] = []
    others: list[nn.Parameter] = []
    for name, parameter in classifier.trained():
        exempt = id(parameter) in normalising or _NOT_DECAYED.search(name.lower())
        (others if exempt else decayed).append(parameter)
    return [
        {"params": decayed, "weight_decay": weight_decay},
        {"params": others, "weight_decay": 0.0},
    ]


_NOT_DECAYED = re.compile(r"bias|layernorm|rmsnorm|(?:^|\.)norm(?:$|\.)|_norm(?:$|\.)")
"""The patterns of ``Trainer.get_decay_parameter_names`` (transformers 5.23)."""

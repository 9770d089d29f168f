"""The engine ``trainer``: the same trial through transformers' Trainer, as a user would write it.

It is the reference for correctness and speed, with Trainer's own defaults and nothing slowed. Two
things are ours, because without them the trials could not be compared: the order of the examples,
and the stopwatch.
"""

from __future__ import annotations

import math
import tempfile
from collections.abc import Callable, Iterator, Sequence
from typing import Any

import numpy as np
import torch
from peft.optimizers import create_lorafa_optimizer
from torch import nn
from torch.nn.functional import cross_entropy
from torch.utils.data import DataLoader, Dataset, Sampler
from transformers import (
    Trainer,
    TrainerCallback,
    TrainerControl,
    TrainerState,
    TrainingArguments,
)

from peftcore.data.batches import Feed, Tokenised, training_order
from peftcore.measuring.counting import tensor_bytes
from peftcore.measuring.phases import Phases
from peftcore.scenarios import Precision, Recipe
from peftcore.training.accelerating import Accelerated
from peftcore.training.evaluating import Evaluator
from peftcore.training.observing import LossWatch, Observer, StepClock, TrainingLog
from peftcore.training.resuming import Keeper
from peftcore.training.updating import parameter_groups


def train(
    classifier: Accelerated,
    examples: Tokenised,
    recipe: Recipe,
    *,
    seed: int,
    evaluator: Evaluator,
    phases: Phases,
    observe: Observer,
    keeper: Keeper,  # noqa: ARG001 (as the project's loop has it)
) -> TrainingLog:
    """Train the classifier in place with Trainer; same parameters and result as the project's loop.

    It keeps no checkpoints, so that a trial that was cut off starts over: Trainer goes on with
    other weights where a part of its state is missing, and says nothing.

    Raises:
        LossNotFinite: the loss became NaN or infinite.
    """
    steps_per_epoch = math.ceil(len(examples) / recipe.batch_size)
    log = TrainingLog()
    watch = LossWatch(recipe.epochs * steps_per_epoch, steps_per_epoch, observe)
    with tempfile.TemporaryDirectory(prefix="peftcore-") as scratch:
        arguments = TrainingArguments(
            output_dir=scratch,
            num_train_epochs=recipe.epochs,
            per_device_train_batch_size=recipe.batch_size,
            per_device_eval_batch_size=recipe.eval_batch_size,
            learning_rate=recipe.learning_rate,
            weight_decay=recipe.weight_decay,
            max_grad_norm=recipe.max_gradient_norm,
            bf16=recipe.precision is Precision.BF16,
            fp16=recipe.precision is Precision.FP16,
            seed=seed,
            use_cpu=classifier.device.type == "cpu",
            save_strategy="no",
            report_to=[],
            disable_tqdm=True,
        )
        trainer = _Trainer(
            model=classifier.model,
            args=arguments,
            positions=_Positions(len(examples)),
            data_collator=_Collator(examples, classifier.inputs),
            optimizers=(_optimiser(classifier, recipe), None),
            adds_loss=classifier.adds_loss,
            sampler=_FixedOrder(len(examples), seed),
            watch=watch,
        )
        held_out = _Positions(len(evaluator.feed))
        stopwatch = _Stopwatch(
            trainer,
            held_out,
            evaluator,
            phases,
            observe,
            log,
            StepClock(classifier.device),
            classifier.inputs,
            recipe.evaluated_epochs(),
        )
        trainer.add_callback(stopwatch)
        if classifier.allocate is not None:
            trainer.add_callback(_Allocation(classifier.allocate))
        with phases.measure("train"):
            trainer.train()
            watch.fetch()
        with phases.measure("count"):
            log.tensor_bytes = tensor_bytes()
        # Not within the train phase, to whose memory it would leave what it held.
        stopwatch.evaluate()
    log.losses = watch.losses
    return log


class _Positions(Dataset[int]):
    """The positions of a set of examples: the collator looks the examples up."""

    def __init__(self, length: int) -> None:
        self._length = length

    def __len__(self) -> int:
        return self._length

    def __getitem__(self, position: int) -> int:
        return position


class _Collator:
    """Pads a batch to its longest example, as ``DataCollatorWithPadding`` does."""

    def __init__(self, examples: Tokenised, inputs: Sequence[str]) -> None:
        self._feed = Feed(examples, torch.device("cpu"))
        self._extra = inputs

    def __call__(self, positions: Sequence[int]) -> dict[str, torch.Tensor | None]:
        batch = self._feed.batch(positions)
        return {
            "input_ids": batch.input_ids,
            "attention_mask": batch.attention_mask,
            "labels": batch.labels,
            **({} if batch.segments is None else {"token_type_ids": batch.segments}),
            **{name: torch.zeros(len(positions), dtype=torch.int64) for name in self._extra},
        }


class _FixedOrder(Sampler[int]):
    """The same order of examples as the project's own loop; accelerate sets the epoch."""

    def __init__(self, length: int, seed: int) -> None:
        self._length = length
        self._seed = seed
        self._epoch = 0

    def set_epoch(self, epoch: int) -> None:
        """Take the epoch, counted from 0, whose order comes next."""
        self._epoch = epoch

    def __len__(self) -> int:
        return self._length

    def __iter__(self) -> Iterator[int]:
        return iter(training_order(self._length, seed=self._seed, epoch=self._epoch))


class _Trainer(Trainer):
    """Trainer with our order of examples, that keeps the loss of each step."""

    def __init__(
        self,
        *,
        positions: _Positions,
        sampler: _FixedOrder,
        watch: LossWatch,
        adds_loss: bool,
        **options: Any,
    ) -> None:
        super().__init__(train_dataset=positions, **options)
        self._adds_loss = adds_loss
        self._positions = positions
        self._sampler = sampler
        self._watch = watch

    def get_train_dataloader(self) -> DataLoader[int]:
        loader = DataLoader(
            self._positions,
            batch_size=self.args.train_batch_size,
            sampler=self._sampler,
            collate_fn=self.data_collator,
            pin_memory=self.args.device.type == "cuda",
        )
        prepared: DataLoader[int] = self.accelerator.prepare(loader)
        return prepared

    def compute_loss(  # type: ignore[override]  # what else it is given is passed on
        self, model: nn.Module, inputs: Any, return_outputs: bool = False, **options: Any
    ) -> Any:
        loss, outputs = super().compute_loss(model, inputs, return_outputs=True, **options)
        if model.training:
            seen = loss
            if self._adds_loss:
                seen = cross_entropy(outputs.logits.float(), inputs["labels"])
            self._watch.saw(seen.detach())
        return (loss, outputs) if return_outputs else loss


def _optimiser(classifier: Accelerated, recipe: Recipe) -> torch.optim.Optimizer | None:
    """Return the optimiser that the method brings with it, ``None`` for Trainer's own."""
    own = classifier.optimiser
    if own is None:
        return None
    if own.full_gradient:
        # The very function that peft documents for it.
        model: Any = classifier.model
        config = model.peft_config["default"]
        optimiser: torch.optim.Optimizer = create_lorafa_optimizer(
            model,
            r=config.r,
            lora_alpha=config.lora_alpha,
            lr=recipe.learning_rate,
            weight_decay=recipe.weight_decay,
        )
        return optimiser
    return torch.optim.AdamW(parameter_groups(classifier, recipe), fused=True)


class _Allocation(TrainerCallback):
    """Has a method give out its ranks after each update, while the gradients are still there."""

    def __init__(self, allocate: Callable[[int], None]) -> None:
        self._allocate = allocate

    def on_optimizer_step(
        self,
        args: TrainingArguments,  # noqa: ARG002 (named by transformers)
        state: TrainerState,
        control: TrainerControl,  # noqa: ARG002 (named by transformers)
        **_: Any,
    ) -> None:
        self._allocate(state.global_step)


class _Stopwatch(TrainerCallback):
    """Marks each step, and stops the training clock while an epoch's evaluation runs."""

    def __init__(
        self,
        trainer: Trainer,
        held_out: _Positions,
        evaluator: Evaluator,
        phases: Phases,
        observe: Observer,
        log: TrainingLog,
        clock: StepClock,
        inputs: Sequence[str],
        evaluated_epochs: range,
    ) -> None:
        self._trainer = trainer
        self._inputs = inputs
        self._evaluated_epochs = evaluated_epochs
        self._held_out = held_out
        self._evaluator = evaluator
        self._phases = phases
        self._observe = observe
        self._log = log
        self._clock = clock

    def on_epoch_begin(self, *_: Any, **__: Any) -> None:
        self._clock.restart()

    def on_step_end(self, *_: Any, **__: Any) -> None:
        self._clock.tick()

    def on_epoch_end(
        self,
        args: TrainingArguments,  # noqa: ARG002 (named by transformers)
        state: TrainerState,
        control: TrainerControl,  # noqa: ARG002 (named by transformers)
        **_: Any,
    ) -> None:
        self._log.step_seconds += self._clock.seconds()
        ended = round(state.epoch or 0)
        if ended in self._evaluated_epochs and state.global_step < state.max_steps:
            self.evaluate()

    def evaluate(self) -> None:
        """Predict the held-out examples, as one does with Trainer."""
        with self._phases.measure("evaluate"):
            epoch = self._evaluated_epochs[len(self._log.epoch_accuracies)]
            self._observe({"phase": "evaluate", "epoch": epoch})
            examples = self._evaluator.feed.examples
            self._trainer.data_collator = _Collator(examples, self._inputs)
            logits = self._trainer.predict(self._held_out).predictions
        self._log.predictions = [int(label) for label in np.argmax(logits, axis=-1)]
        self._log.epoch_accuracies.append(self._evaluator.accuracy(self._log.predictions))

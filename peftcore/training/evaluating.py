"""Logits and predicted labels of a classifier."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass

import torch
from torch import nn

from peftcore.data.batches import Batch, Tokenised, batches
from peftcore.models.loading import DTYPES
from peftcore.scenarios import Precision


def autocast(device: torch.device, precision: Precision) -> torch.autocast:
    """Return the context in which matrix products run in this precision."""
    enabled = precision is not Precision.FP32
    return torch.autocast(
        device.type, dtype=DTYPES[precision] if enabled else None, enabled=enabled
    )


@contextmanager
def evaluation_mode(model: nn.Module) -> Iterator[None]:
    """Switch dropout off inside the block, and back to what it was after it."""
    was_training = model.training
    model.eval()
    try:
        with torch.no_grad():
            yield
    finally:
        model.train(was_training)


def logits_of(model: nn.Module, batch: Batch) -> torch.Tensor:
    """Return the logits of one batch, shape (examples, labels)."""
    output = model(input_ids=batch.input_ids, attention_mask=batch.attention_mask)
    logits: torch.Tensor = output.logits
    return logits


@dataclass(frozen=True)
class Evaluator:
    """Predicts the labels of a fixed set of examples."""

    examples: Tokenised
    batch_size: int
    precision: Precision
    device: torch.device

    def predict(self, model: nn.Module) -> list[int]:
        """Return the predicted label of each example, in their order."""
        predicted: list[torch.Tensor] = []
        order = range(len(self.examples))
        with evaluation_mode(model), autocast(self.device, self.precision):
            for batch in batches(self.examples, order, self.batch_size):
                predicted.append(logits_of(model, batch.to(self.device)).argmax(dim=-1))
        return [int(label) for label in torch.cat(predicted).cpu()]

    def probe(self, model: nn.Module) -> torch.Tensor:
        """Return the logits of the first few examples, in 32 bits, on the host."""
        few = range(min(8, len(self.examples)))
        with evaluation_mode(model), autocast(self.device, self.precision):
            (batch,) = batches(self.examples, few, len(few))
            return logits_of(model, batch.to(self.device)).float().cpu()

    def accuracy(self, predictions: list[int]) -> float:
        """Return the share of examples that are predicted right."""
        pairs = zip(predictions, self.examples.labels, strict=True)
        return sum(guess == label for guess, label in pairs) / len(predictions)

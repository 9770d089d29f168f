"""Logits and predicted labels of a classifier."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass

import torch
from torch import nn

from peftcore.data.batches import Batch, Feed, Tokenised
from peftcore.models.loading import DTYPES
from peftcore.scenarios import Precision

PROBED = 8
"""How many examples a probe looks at."""

Logits = Callable[[Batch], torch.Tensor]
"""Gives the logits of one batch in 32 bits, shape (texts, labels)."""


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


@dataclass(frozen=True)
class Evaluator:
    """Predicts the labels of a fixed set of examples.

    Attributes:
        feed: makes batches of them.
        batch_size: how many a batch.
        by_length: whether texts of one length share a batch.
    """

    feed: Feed
    batch_size: int
    by_length: bool = False

    def predict(self, model: nn.Module, logits: Logits) -> list[int]:
        """Return the predicted label of each example, in their order."""
        order = self.feed.by_length() if self.by_length else list(range(len(self.feed)))
        predicted: list[int] = [0] * len(order)
        with evaluation_mode(model):
            found = [
                logits(batch).argmax(dim=-1) for batch in self.feed.batches(order, self.batch_size)
            ]
        for position, label in zip(order, torch.cat(found).tolist(), strict=True):
            predicted[position] = label
        return predicted

    def accuracy(self, predictions: list[int]) -> float:
        """Return the share of examples that are predicted right."""
        pairs = zip(predictions, self.feed.examples.labels, strict=True)
        return sum(guess == label for guess, label in pairs) / len(predictions)


def probe(
    model: nn.Module, examples: Tokenised, precision: Precision, device: torch.device
) -> torch.Tensor:
    """Return the plain model's logits of the first few examples, in 32 bits, on the host."""
    few = range(min(PROBED, len(examples)))
    batch = Feed(examples, device).batch(few)
    with evaluation_mode(model), autocast(device, precision):
        output = model(input_ids=batch.input_ids, attention_mask=batch.attention_mask)
    logits: torch.Tensor = output.logits
    return logits.float().cpu()

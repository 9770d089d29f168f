"""Logits and predicted labels of a classifier."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass

import torch
from torch import nn

from peftcore.data.batches import Batch, Feed

PROBED = 8
"""How many examples a probe looks at."""

Logits = Callable[[Batch], torch.Tensor]
"""Gives the logits of one batch in 32 bits, shape (texts, labels)."""


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


def probe(model: nn.Module, feed: Feed, logits: Logits) -> torch.Tensor:
    """Return the logits of the first few examples, in 32 bits, on the host."""
    few = range(min(PROBED, len(feed)))
    with evaluation_mode(model):
        return logits(feed.batch(few)).cpu()

"""Token ids: made once per trial, put in a fixed order, and padded into batches."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np
import torch
from transformers import PreTrainedTokenizerBase

from peftcore.data.examples import Examples


@dataclass(frozen=True)
class Tokenised:
    """Token ids and labels of a set of examples.

    Attributes:
        ids: the token ids of each text, special tokens included, cut to the maximal length.
        labels: a whole number from 0 per text.
        pad_id: the id that fills a batch's shorter rows.
    """

    ids: Sequence[Sequence[int]]
    labels: Sequence[int]
    pad_id: int

    def __len__(self) -> int:
        return len(self.labels)

    def tokens(self) -> int:
        """Return how many tokens the texts have together."""
        return sum(map(len, self.ids))


@dataclass(frozen=True)
class Batch:
    """A padded batch.

    Attributes:
        input_ids: token ids, shape (examples, longest).
        attention_mask: 1 where there is a token and 0 where there is padding, same shape.
        labels: shape (examples,).
    """

    input_ids: torch.Tensor
    attention_mask: torch.Tensor
    labels: torch.Tensor

    def to(self, device: torch.device) -> Batch:
        """Return this batch on ``device``."""
        return Batch(
            self.input_ids.to(device), self.attention_mask.to(device), self.labels.to(device)
        )


def tokenise(
    examples: Examples,
    tokenizer: PreTrainedTokenizerBase,
    *,
    max_length: int,
    vocabulary: int,
    pad_id: int,
) -> Tokenised:
    """Return the token ids of each text, at most ``max_length`` of them.

    An id beyond the backbone's ``vocabulary`` is folded into it, past the padding id: a tokenizer
    that isn't the backbone's own then still gives a valid input of the same length. With the
    backbone's own tokenizer nothing is folded.
    """
    encoded = tokenizer(list(examples.texts), truncation=True, max_length=max_length)
    first = pad_id + 1
    ids = [
        [i if i < vocabulary else first + i % (vocabulary - first) for i in row]
        for row in encoded["input_ids"]
    ]
    return Tokenised(ids, list(examples.labels), pad_id)


def collate(tokenised: Tokenised, indices: Sequence[int]) -> Batch:
    """Return the examples at these positions, padded to the longest of them."""
    rows = [tokenised.ids[i] for i in indices]
    longest = max(map(len, rows))
    input_ids = torch.full((len(rows), longest), tokenised.pad_id, dtype=torch.int64)
    attention_mask = torch.zeros_like(input_ids)
    for row, ids in enumerate(rows):
        input_ids[row, : len(ids)] = torch.tensor(ids)
        attention_mask[row, : len(ids)] = 1
    labels = torch.tensor([tokenised.labels[i] for i in indices])
    return Batch(input_ids, attention_mask, labels)


def training_order(examples: int, *, seed: int, epoch: int) -> list[int]:
    """Return the positions of all examples in the order of this epoch, counted from 0."""
    return [int(i) for i in np.random.default_rng((seed, epoch)).permutation(examples)]


def batches(tokenised: Tokenised, order: Sequence[int], batch_size: int) -> Iterator[Batch]:
    """Yield the examples in this order, ``batch_size`` at a time; the last batch may be smaller."""
    for start in range(0, len(order), batch_size):
        yield collate(tokenised, order[start : start + batch_size])

"""Token ids: made once per trial, put in a fixed order, and made into batches.

A batch is padded, or its texts stand end to end; either way it says where each text lies.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np
import torch
from torch.nn.utils.rnn import pad_sequence
from transformers import PreTrainedTokenizerBase

from peftcore.data.examples import Examples


@dataclass(frozen=True)
class Tokenised:
    """Token ids and labels of a set of examples.

    Attributes:
        ids: the token ids of each text, special tokens included, cut to the maximal length.
        labels: a whole number from 0 per text.
        pad_id: the id that fills a batch's shorter rows.
        segments: of each token 0 where it is of the first text of a pair and 1 where it is of the
            second; ``None`` where texts stand alone, or the backbone does not ask.
    """

    ids: Sequence[Sequence[int]]
    labels: Sequence[int]
    pad_id: int
    segments: Sequence[Sequence[int]] | None = None

    def __len__(self) -> int:
        return len(self.labels)

    def lengths(self) -> list[int]:
        """Return how many tokens each text has."""
        return [len(row) for row in self.ids]

    def tokens(self) -> int:
        """Return how many tokens the texts have together."""
        return sum(self.lengths())


def tokenise(
    examples: Examples,
    tokenizer: PreTrainedTokenizerBase,
    *,
    max_length: int,
    vocabulary: int,
    pad_id: int,
    segments: int = 0,
) -> Tokenised:
    """Return the token ids of each text or pair of texts, at most ``max_length`` of them.

    Of a pair that is too long, the longer text is cut first.

    An id beyond the backbone's ``vocabulary`` is folded into it, past the padding id: a tokenizer
    that isn't the backbone's own then still gives a valid input of the same length. With the
    backbone's own tokenizer nothing is folded.

    Args:
        examples: the texts.
        tokenizer: whose tokens they become.
        max_length: the most tokens of an example, special ones included.
        vocabulary: how many ids the backbone knows.
        pad_id: the id that fills a batch's shorter rows.
        segments: how many kinds of token the backbone tells apart; of a pair, two take part.
    """
    pairs = None if examples.pairs is None else list(examples.pairs)
    encoded = tokenizer(list(examples.texts), pairs, truncation=True, max_length=max_length)
    first = pad_id + 1
    ids = [
        [i if i < vocabulary else first + i % (vocabulary - first) for i in row]
        for row in encoded["input_ids"]
    ]
    kinds = encoded.get("token_type_ids") if pairs is not None and segments > 1 else None
    return Tokenised(ids, list(examples.labels), pad_id, kinds)


def training_order(examples: int, *, seed: int, epoch: int) -> list[int]:
    """Return the positions of all examples in the order of this epoch, counted from 0."""
    return [int(i) for i in np.random.default_rng((seed, epoch)).permutation(examples)]


_LARGEST_STEP = 128
"""No batch is filled up by so many tokens."""


def _filled_up(tokens: int) -> int:
    """Return up to how many tokens a batch of texts end to end is filled up.

    There are few such sizes, none more than an eighth larger than it has to be once there are 128
    tokens: a library of kernels makes one for each size that it meets, and keeps it, and memory
    that was freed is used again where the next batch's tensors have the same size.
    """
    step = min(_LARGEST_STEP, max(16, 1 << (tokens // 8).bit_length() - 1)) if tokens >= 8 else 16
    return math.ceil(tokens / step) * step


@dataclass(frozen=True)
class Span:
    """Where a text lies in a batch: in which row, and its tokens from ``start`` up to ``end``."""

    row: int
    start: int
    end: int


@dataclass(frozen=True)
class Batch:
    """Texts that go through a model together.

    Attributes:
        input_ids: token ids; shape (texts, longest) if padded, (1, tokens) if end to end, where
            some tokens that belong to no text may follow the last.
        spans: where each text lies in it.
        labels: shape (texts,).
        attention_mask: 1 where there is a token and 0 where there is padding, of the same shape as
            the ids; ``None`` if the texts stand end to end.
        position_ids: the position of each token in its text, of the same shape as the ids;
            ``None`` if they are padded, which leaves it to the model.
        segments: of each token whether it is of the second text of a pair, of the same shape as
            the ids; ``None`` if texts stand alone.
        boundaries: for a GPU, where each text begins that stands end to end, where the last one
            ends, and where what follows it does; 32-bit whole numbers, shape (texts + 2,).
        longest: what is between two boundaries has at most this many tokens, in any batch of the
            same examples.
    """

    input_ids: torch.Tensor
    spans: tuple[Span, ...]
    labels: torch.Tensor
    attention_mask: torch.Tensor | None = None
    position_ids: torch.Tensor | None = None
    segments: torch.Tensor | None = None
    boundaries: torch.Tensor | None = None
    longest: int = 0

    @property
    def tokens(self) -> int:
        """How many tokens the texts have together."""
        return sum(span.end - span.start for span in self.spans)


class Feed:
    """Makes batches of a set of examples on a device.

    Args:
        examples: the texts.
        device: where the batches go.
        end_to_end: whether texts stand end to end and not padded.
        resident: whether all token ids are put on the device at once, and not batch by batch.
        first_position: the position of a text's first token, where texts stand end to end.
    """

    def __init__(
        self,
        examples: Tokenised,
        device: torch.device,
        *,
        end_to_end: bool = False,
        resident: bool = False,
        first_position: int = 0,
    ) -> None:
        self.examples = examples
        self._device = device
        self._end_to_end = end_to_end
        self._first_position = first_position
        self._longest = max(map(len, examples.ids))
        last = first_position + self._longest
        self._positions = torch.arange(first_position, last, device=device)
        # Found here, on the host: a look at a GPU's numbers would wait for it in each step.
        self._with_pad_id = {
            number for number, row in enumerate(examples.ids) if examples.pad_id in row
        }
        self._rows: Sequence[torch.Tensor] | None = None
        self._segments: Sequence[torch.Tensor] | None = None
        self._labels: torch.Tensor | None = None
        if resident:
            self._rows = self._on_device(examples.ids)
            if examples.segments is not None:
                self._segments = self._on_device(examples.segments)
            self._labels = torch.tensor(list(examples.labels), device=device)

    def __len__(self) -> int:
        return len(self.examples)

    def batch(self, indices: Sequence[int]) -> Batch:
        """Return the examples at these positions as one batch."""
        rows, segments, labels = self._fetch(indices)
        lengths = [len(row) for row in rows]
        if not self._end_to_end:
            positions = self._positions[: max(lengths)] - self._positions[0]
            ends = self._placed(lengths)
            return Batch(
                pad_sequence(list(rows), batch_first=True, padding_value=self.examples.pad_id),
                tuple(Span(row, 0, length) for row, length in enumerate(lengths)),
                labels,
                attention_mask=(positions < ends[:, None]).to(torch.int64),
                segments=None
                if segments is None
                else pad_sequence(list(segments), batch_first=True),
            )
        spans = []
        start = 0
        for length in lengths:
            spans.append(Span(0, start, start + length))
            start += length
        missing = _filled_up(start) - start
        tail = torch.full((missing,), self.examples.pad_id, device=self._device)
        places = [self._places(index, row) for index, row in zip(indices, rows, strict=True)]
        boundaries = None
        if self._device.type == "cuda":
            begins = [*(span.start for span in spans), start, start + missing]
            boundaries = self._placed(begins, torch.int32)
        return Batch(
            torch.cat([*rows, tail])[None],
            tuple(spans),
            labels,
            position_ids=torch.cat([*places, self._positions[:1].expand(missing)])[None],
            segments=None
            if segments is None
            else torch.cat([*segments, torch.zeros_like(tail)])[None],
            boundaries=boundaries,
            longest=max(self._longest, _LARGEST_STEP),
        )

    def batches(self, order: Sequence[int], size: int) -> Iterator[Batch]:
        """Yield the examples in this order, ``size`` at a time; the last batch may be smaller."""
        for start in range(0, len(order), size):
            yield self.batch(order[start : start + size])

    def by_length(self) -> list[int]:
        """Return the positions of all examples, the longest texts first."""
        return sorted(range(len(self)), key=lambda i: -len(self.examples.ids[i]))

    def _places(self, index: int, row: torch.Tensor) -> torch.Tensor:
        """Return the position of each token of a text, as the model itself would number them.

        A model whose positions follow the padding id's takes that id within a text for padding.
        """
        if self._first_position and index in self._with_pad_id:
            counted = row != self.examples.pad_id
            return counted.cumsum(0) * counted + self._first_position - 1
        return self._positions[: len(row)]

    def _fetch(
        self, indices: Sequence[int]
    ) -> tuple[Sequence[torch.Tensor], Sequence[torch.Tensor] | None, torch.Tensor]:
        """Return the ids of each text, the segments if there are any, and the labels."""
        if self._rows is not None and self._labels is not None:
            kinds = self._segments
            segments = None if kinds is None else [kinds[i] for i in indices]
            return [self._rows[i] for i in indices], segments, self._labels[self._placed(indices)]
        labels = self._placed([self.examples.labels[i] for i in indices])
        found = self.examples.segments
        segments = None if found is None else self._made(found, indices)
        return self._made(self.examples.ids, indices), segments, labels

    def _made(self, rows: Sequence[Sequence[int]], indices: Sequence[int]) -> list[torch.Tensor]:
        return [torch.tensor(rows[i], device=self._device) for i in indices]

    def _on_device(self, rows: Sequence[Sequence[int]]) -> Sequence[torch.Tensor]:
        """Return all rows on the device, as parts of one tensor."""
        flat = torch.tensor([i for row in rows for i in row], device=self._device)
        return list(flat.split([len(row) for row in rows]))

    def _placed(self, numbers: Sequence[int], dtype: torch.dtype = torch.int64) -> torch.Tensor:
        """Return whole numbers on the device, without waiting for it."""
        tensor = torch.tensor(list(numbers), dtype=dtype)
        if self._device.type == "cuda":
            tensor = tensor.pin_memory()
        return tensor.to(self._device, non_blocking=True)

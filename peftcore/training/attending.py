"""How the texts of a batch attend, each to its own tokens alone, on a processor and on a GPU."""

from __future__ import annotations

import ctypes
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import cached_property, partial
from typing import Protocol

import torch
from torch.nn.functional import scaled_dot_product_attention
from torch.nn.utils.rnn import pad_sequence

from peftcore.data.batches import Batch, Span
from peftcore.training.dropping import attention_with_dropout
from peftcore.training.kernels.passes import FORMATS
from peftcore.training.kernels.passes import attention as compiled_attention


class Layout(Protocol):
    """Where the texts of one batch lie, and with it how they attend."""

    @property
    def end_to_end(self) -> bool:
        """Whether the texts share a row."""

    def first_tokens(self, hidden: torch.Tensor) -> torch.Tensor:
        """Return each text's first token, shape (texts, 1, hidden size)."""

    def attend(
        self,
        query: torch.Tensor,
        key: torch.Tensor,
        value: torch.Tensor,
        *,
        first_only: bool,
        probability: float,
        scaling: float,
    ) -> torch.Tensor:
        """Return the context of each query.

        Args:
            query: shape (rows, queries, heads, size of a head); (texts, 1, …) if ``first_only``.
            key: shape (rows, tokens, heads, size of a head).
            value: the same shape.
            first_only: whether there is one query a text, that of its first token.
            probability: of an attention weight to be dropped.
            scaling: what the products of queries and keys are multiplied by.

        Returns:
            The shape of ``query``.
        """


@dataclass(frozen=True)
class OnProcessor:
    """Texts end to end or padded, whose attention goes text by text.

    Attributes:
        spans: where each text lies.
        cheap_dropout: whether attention draws its dropout from 16 bits.
        kernels: compiled passes, used where they do what is asked for; ``None`` for none.
    """

    spans: Sequence[Span]
    cheap_dropout: bool
    kernels: ctypes.CDLL | None = None

    @property
    def end_to_end(self) -> bool:
        """Whether the texts share a row."""
        return any(span.start for span in self.spans)

    def first_tokens(self, hidden: torch.Tensor) -> torch.Tensor:
        """Return each text's first token, shape (texts, 1, hidden size)."""
        rows = torch.tensor([span.row for span in self.spans])
        starts = torch.tensor([span.start for span in self.spans])
        return hidden[rows, starts][:, None]

    def attend(
        self,
        query: torch.Tensor,
        key: torch.Tensor,
        value: torch.Tensor,
        *,
        first_only: bool,
        probability: float,
        scaling: float,
    ) -> torch.Tensor:
        """Return the context of each query; see :meth:`Layout.attend`."""
        query_spans = self.spans
        if first_only:
            query_spans = [Span(row, 0, 1) for row in range(len(self.spans))]
        # All three take the same, and differ in how they compute it.
        attention: Callable[..., torch.Tensor] = _torchs_attention
        if self.kernels is not None and query.dtype in FORMATS:
            if probability == 0 or self.cheap_dropout:
                attention = partial(compiled_attention, library=self.kernels)
        elif probability > 0 and self.cheap_dropout:
            attention = attention_with_dropout
        return attention(
            query,
            key,
            value,
            query_spans=query_spans,
            spans=self.spans,
            probability=probability,
            scaling=scaling,
        )


def _torchs_attention(
    query: torch.Tensor,
    key: torch.Tensor,
    value: torch.Tensor,
    *,
    query_spans: Sequence[Span],
    spans: Sequence[Span],
    probability: float,
    scaling: float,
) -> torch.Tensor:
    """Return what :func:`attention_with_dropout` does, by torch's own attention text by text."""
    texts = [
        scaled_dot_product_attention(q, k, v, dropout_p=probability, scale=scaling).transpose(0, 1)
        for q, k, v in zip(
            _texts(query, query_spans), _texts(key, spans), _texts(value, spans), strict=True
        )
    ]
    return _joined(texts, like=query)


def _texts(tensor: torch.Tensor, spans: Sequence[Span]) -> list[torch.Tensor]:
    """Return each text's part, shape (heads, tokens, size of a head)."""
    if len(tensor) == 1:
        lengths = [span.end - span.start for span in spans]
        parts = tensor[0].split([*lengths, tensor.shape[1] - sum(lengths)])[: len(spans)]
    else:
        parts = [row[: span.end] for row, span in zip(tensor.unbind(), spans, strict=True)]
    return [part.transpose(0, 1) for part in parts]


def _joined(texts: Sequence[torch.Tensor], like: torch.Tensor) -> torch.Tensor:
    """Return the texts' parts in the layout of the tensor that they were cut from."""
    if len(like) == 1:
        missing = like.shape[1] - sum(map(len, texts))
        return torch.cat([*texts, like.new_zeros(missing, *texts[0].shape[1:])])[None]
    return pad_sequence(list(texts), batch_first=True)


@dataclass(frozen=True)
class OnGpu:
    """Texts end to end, all of whose attention is one call of torch's flash kernel.

    Everything that depends on the texts is in tensors on the GPU, so that a recorded step can be
    played back with others. What fills the batch up counts as a text of its own, that nobody reads.

    Attributes:
        boundaries: where each text begins, where the last one ends and where the filling does;
            32-bit whole numbers, shape (texts + 2,).
        longest: no text, nor the filling, has more tokens.
    """

    boundaries: torch.Tensor
    longest: int
    end_to_end = True

    @cached_property
    def _texts(self) -> int:
        return len(self.boundaries) - 2

    def first_tokens(self, hidden: torch.Tensor) -> torch.Tensor:
        """Return each text's first token, shape (texts, 1, hidden size)."""
        return hidden[0].index_select(0, self.boundaries[: self._texts])[:, None]

    def attend(
        self,
        query: torch.Tensor,
        key: torch.Tensor,
        value: torch.Tensor,
        *,
        first_only: bool,
        probability: float,
        scaling: float,
    ) -> torch.Tensor:
        """Return the context of each query; see :meth:`Layout.attend`."""
        query_boundaries, longest_query = self.boundaries, self.longest
        if first_only:
            # One query a text, and none of the filling.
            numbers = torch.arange(
                self._texts + 2, dtype=torch.int32, device=self.boundaries.device
            )
            query_boundaries, longest_query = numbers.clamp_(max=self._texts), 1
        context: torch.Tensor = torch.ops.aten._flash_attention_forward(
            query.flatten(0, 1),
            key.flatten(0, 1),
            value.flatten(0, 1),
            query_boundaries,
            self.boundaries,
            longest_query,
            self.longest,
            probability,
            False,
            False,
            scale=scaling,
        )[0]
        return context.view_as(query)


def on_gpu(batch: Batch) -> OnGpu:
    """Return how the texts of a batch attend that was made for a GPU."""
    assert batch.boundaries is not None, "a batch for a GPU tells where its texts begin"
    return OnGpu(batch.boundaries, batch.longest)


def flash_fails(device: torch.device, dtype: torch.dtype, width: int) -> str | None:
    """Return why torch's flash kernel can't attend for us on this GPU, or ``None`` if it can.

    It is tried, with heads of this ``width``: it differs between versions of torch, and between
    GPUs.
    """
    torch.manual_seed(0)
    inputs = [
        torch.randn(1, 48, 2, width, device=device, dtype=dtype, requires_grad=True)
        for _ in range(3)
    ]
    query, key, value = inputs
    # Two texts, and what fills the batch up.
    layout = OnGpu(torch.tensor([0, 7, 32, 48], dtype=torch.int32, device=device), 32)
    arriving = torch.randn(1, 48, 2, width, device=device, dtype=dtype)
    options = {"scaling": width**-0.5}
    try:
        ours = layout.attend(query, key, value, first_only=False, probability=0.0, **options)
        gradients = torch.autograd.grad(ours, inputs, arriving)
        for first_only, queries in ((False, query), (True, query[0, :2, None])):
            dropped = layout.attend(
                queries, key, value, first_only=first_only, probability=0.1, **options
            )
            torch.autograd.grad(dropped.sum(), inputs)
    except (RuntimeError, TypeError, AttributeError) as error:
        return f"torch's flash attention fails here: {str(error).splitlines()[0]}"
    exact = [t.detach().float().requires_grad_() for t in inputs]
    by_text = [t[0].transpose(0, 1).split((7, 25, 16), dim=1) for t in exact]
    texts = [scaled_dot_product_attention(q, k, v) for q, k, v in zip(*by_text, strict=True)]
    expected = torch.cat(texts, dim=1).transpose(0, 1)[None]
    pairs = [(ours, expected)]
    pairs += zip(gradients, torch.autograd.grad(expected, exact, arriving.float()), strict=True)
    if not all(torch.allclose(mine.float(), other, atol=0.05) for mine, other in pairs):
        return "torch's flash attention gives another result here"
    return None

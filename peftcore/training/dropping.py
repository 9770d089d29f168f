"""Dropout from 16 random bits a number, and attention that uses it.

torch draws a whole random number on a processor for each element that dropout may drop, on one
thread: more than a third of a plain step. 16 bits tell a probability to within 0.00001. Attention
with dropout, moreover, leaves torch's fast kernel for one that works in 32 bits throughout.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from typing import Any

import torch
from torch import nn

from peftcore.data.batches import Span

_LEVELS = 2**16


def quantised(probability: float) -> float:
    """Return the probability that 16 bits stand for; it is never all of 1."""
    return min(round(probability * _LEVELS), _LEVELS - 1) / _LEVELS


def dropped(shape: Sequence[int], probability: float) -> torch.Tensor:
    """Return a mask of this shape on the host, true with this (quantised) probability.

    It draws from torch's global generator.
    """
    count = 1
    for size in shape:
        count *= size
    noise = torch.empty((count + 3) // 4, dtype=torch.int64).random_(-(2**63), None)
    level = round(quantised(probability) * _LEVELS) - _LEVELS // 2
    return (noise.view(torch.int16)[:count] < level).view(*shape)


class _Dropout(torch.autograd.Function):
    """Dropout whose mask is :func:`dropped`."""

    @staticmethod
    def forward(ctx: Any, inputs: torch.Tensor, probability: float) -> torch.Tensor:
        mask = dropped(inputs.shape, probability)
        ctx.save_for_backward(mask)
        ctx.scale = 1 / (1 - quantised(probability))
        return inputs.mul(ctx.scale).masked_fill_(mask, 0)

    @staticmethod
    def backward(ctx: Any, *gradients: torch.Tensor) -> tuple[torch.Tensor, None]:
        (mask,) = ctx.saved_tensors
        return gradients[0].mul(ctx.scale).masked_fill_(mask, 0), None


def dropout(inputs: torch.Tensor, probability: float) -> torch.Tensor:
    """Return ``inputs`` with each number dropped with this probability, the rest scaled up."""
    if quantised(probability) == 0:
        return inputs
    result: torch.Tensor = _Dropout.apply(inputs, probability)  # type: ignore[no-untyped-call]
    return result


@contextmanager
def cheap_dropout(model: nn.Module) -> Iterator[None]:
    """Let every dropout module of ``model`` draw 16 bits a number inside the block."""
    modules = [module for module in model.modules() if type(module) is nn.Dropout]
    try:
        for module in modules:
            setattr(module, "forward", _forward_of(module))  # noqa: B010 (mypy has it a method)
        yield
    finally:
        for module in modules:
            module.__dict__.pop("forward", None)


def _forward_of(module: nn.Dropout) -> Callable[[torch.Tensor], torch.Tensor]:
    return lambda inputs: dropout(inputs, module.p) if module.training else inputs


class _Attention(torch.autograd.Function):
    """Attention with dropout, text by text; weights are computed in 32 bits, products in 16.

    Between forward and backward it keeps the attention weights in the inputs' number format, the
    sign of each telling whether it was dropped: a weight is never negative.
    """

    @staticmethod
    def forward(
        ctx: Any,
        query: torch.Tensor,
        key: torch.Tensor,
        value: torch.Tensor,
        query_spans: Sequence[Span],
        spans: Sequence[Span],
        probability: float,
        scaling: float,
    ) -> torch.Tensor:
        result = torch.zeros_like(query)
        signed = []
        ctx.keep_scale = 1 / (1 - quantised(probability))
        with torch.autocast(query.device.type, enabled=False):
            for ours, theirs in zip(query_spans, spans, strict=True):
                q, k, v = _heads(query, ours), _heads(key, theirs), _heads(value, theirs)
                weights = torch.softmax(torch.bmm(q.float() * scaling, k.float().mT), dim=-1)
                mask = dropped(weights.shape, probability)
                weights = torch.where(mask, -weights, weights).to(query.dtype)
                signed.append(weights)
                context = torch.bmm(weights.relu(), v).mul_(ctx.keep_scale)
                _heads(result, ours).copy_(context)
        ctx.save_for_backward(query, key, value, result, *signed)
        ctx.spans = query_spans, spans
        ctx.scaling = scaling
        return result

    @staticmethod
    def backward(ctx: Any, *gradients: torch.Tensor) -> tuple[torch.Tensor | None, ...]:
        query, key, value, result, *signed = ctx.saved_tensors
        by_query, by_key, by_value = map(torch.zeros_like, (query, key, value))
        with torch.autocast(query.device.type, enabled=False):
            for ours, theirs, weights in zip(*ctx.spans, signed, strict=True):
                q, k, v = _heads(query, ours), _heads(key, theirs), _heads(value, theirs)
                gradient = _heads(gradients[0], ours)
                # Along a row: the weights' gradients less their mean, weighted by the weights.
                mean = (gradient.float() * _heads(result, ours).float()).sum(-1, keepdim=True)
                kept = weights.relu()
                _heads(by_value, theirs).copy_(torch.bmm(kept.mT, gradient).mul_(ctx.keep_scale))
                scores = torch.bmm(gradient, v.mT).mul_(ctx.keep_scale).mul_(kept)
                scores.sub_(weights.abs().mul_(mean.to(weights.dtype)))
                _heads(by_query, ours).copy_(torch.bmm(scores, k).mul_(ctx.scaling))
                _heads(by_key, theirs).copy_(torch.bmm(scores.mT, q).mul_(ctx.scaling))
        return by_query, by_key, by_value, None, None, None, None


def _heads(tensor: torch.Tensor, span: Span) -> torch.Tensor:
    """Return a view of one text's tokens, shape (heads, tokens, size of a head)."""
    return tensor[span.row, span.start : span.end].transpose(0, 1)


def attention_with_dropout(
    query: torch.Tensor,
    key: torch.Tensor,
    value: torch.Tensor,
    *,
    query_spans: Sequence[Span],
    spans: Sequence[Span],
    probability: float,
    scaling: float,
) -> torch.Tensor:
    """Return each text's attention over its own tokens, with dropout of the attention weights.

    Args:
        query: shape (rows, queries, heads, size of a head).
        key: shape (rows, tokens, heads, size of a head).
        value: the same shape.
        query_spans: where each text's queries lie.
        spans: where each text's keys and values lie.
        probability: of an attention weight to be dropped.
        scaling: what the products of queries and keys are multiplied by.

    Returns:
        The shape of ``query``; zero where no text lies.
    """
    result: torch.Tensor = _Attention.apply(  # type: ignore[no-untyped-call]
        query, key, value, query_spans, spans, probability, scaling
    )
    return result

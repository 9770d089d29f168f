"""Dropout from 16 random bits a number, and attention that uses it.

On a processor torch draws a whole random number for each element that dropout may drop, on one
thread: more than a third of a plain step. 16 bits tell a probability to within 0.00001. Attention
with dropout, moreover, leaves torch's fast kernel for one that works in 32 bits throughout.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from typing import Any

import torch
from torch import nn

from peftcore.data.batches import Span
from peftcore.training.covering import covered

LEVELS = 2**16
"""How many values 16 bits have."""

_BUCKET = 16
"""Texts of about one length are computed as of one: each length of its own costs a kernel of its
own, made at its first use and kept, tens of megabytes after some steps."""

_WHOLE_NUMBERS = {2: torch.int16, 4: torch.int32, 8: torch.int64}
"""By bytes. Masks are laid over floats as bits: torch's own ways of masking by truth values are
several times slower on a processor."""


def quantised(probability: float) -> float:
    """Return the probability that 16 bits stand for; it is never all of 1."""
    return min(round(probability * LEVELS), LEVELS - 1) / LEVELS


def dropped(shape: Sequence[int], probability: float) -> torch.Tensor:
    """Return a mask of this shape on the host, true with this (quantised) probability.

    It depends on torch's global generator, from which it draws once.
    """
    count = math.prod(shape)
    level = round(quantised(probability) * LEVELS) - LEVELS // 2
    return (_noise((count + 3) // 4).view(torch.int16)[:count] < level).view(*shape)


def _noise(count: int) -> torch.Tensor:
    """Return random whole numbers of 64 bits.

    Those of SplitMix64 (Steele, Lea and Flood, "Fast splittable pseudorandom number generators",
    OOPSLA 2014) from a start that torch's generator draws: each is a function of its place alone,
    so that all threads take part, where torch's own come one after the other.
    """
    start = torch.empty((), dtype=torch.int64).random_(-(2**63), None)
    numbers = _steps(count) + start
    shifted = torch.empty_like(numbers)
    for shift, factor in _ROUNDS:
        torch.bitwise_right_shift(numbers, shift, out=shifted)
        # Bits shifted in are the sign's: cleared, they are what an unsigned shift leaves.
        numbers.bitwise_xor_(shifted.bitwise_and_(2 ** (64 - shift) - 1))
        if factor is not None:
            numbers.mul_(factor)
    return numbers


def _signed_64(number: int) -> int:
    return number - 2**64 if number >= 2**63 else number


_STEP = _signed_64(0x9E3779B97F4A7C15)
_ROUNDS = (
    (30, _signed_64(0xBF58476D1CE4E5B9)),
    (27, _signed_64(0x94D049BB133111EB)),
    (31, None),
)


def _steps(count: int) -> torch.Tensor:
    """Return the first multiples of SplitMix64's step, kept from call to call."""
    if len(_kept_steps[0]) < count:
        _kept_steps[0] = torch.arange(1, count + 1).mul_(_STEP)
    return _kept_steps[0][:count]


_kept_steps = [torch.empty(0, dtype=torch.int64)]


class _Dropout(torch.autograd.Function):
    """Dropout whose mask is :func:`dropped`."""

    @staticmethod
    def forward(ctx: Any, inputs: torch.Tensor, probability: float) -> torch.Tensor:
        kept = dropped(inputs.shape, probability).logical_not_()
        ctx.save_for_backward(kept)
        ctx.scale = 1 / (1 - quantised(probability))
        return _masked(inputs, kept).mul_(ctx.scale)

    @staticmethod
    def backward(ctx: Any, *gradients: torch.Tensor) -> tuple[torch.Tensor, None]:
        (kept,) = ctx.saved_tensors
        return _masked(gradients[0], kept).mul_(ctx.scale), None


def _masked(numbers: torch.Tensor, kept: torch.Tensor) -> torch.Tensor:
    """Return the numbers with a zero where ``kept`` is false."""
    whole = _WHOLE_NUMBERS[numbers.element_size()]
    bits = kept.view(torch.uint8).to(whole).neg_()
    return bits.bitwise_and_(numbers.contiguous().view(whole)).view(numbers.dtype)


def _signed(weights: torch.Tensor, mask: torch.Tensor) -> torch.Tensor:
    """Return weights, none of them negative, with the sign bit set where ``mask`` is true."""
    whole = _WHOLE_NUMBERS[weights.element_size()]
    sign = mask.view(torch.uint8).to(whole).bitwise_left_shift_(8 * weights.element_size() - 1)
    return sign.bitwise_or_(weights.view(whole)).view(weights.dtype)


def dropout(inputs: torch.Tensor, probability: float) -> torch.Tensor:
    """Return ``inputs`` with each number dropped with this probability, the rest scaled up."""
    if quantised(probability) == 0:
        return inputs
    result: torch.Tensor = _Dropout.apply(inputs, probability)  # type: ignore[no-untyped-call]
    return result


@contextmanager
def cheap_dropout(
    model: nn.Module, drop: Callable[[torch.Tensor, float], torch.Tensor] = dropout
) -> Iterator[None]:
    """Let every dropout module of ``model`` draw 16 bits a number inside the block.

    Args:
        model: has the modules.
        drop: gives its first argument with each number dropped with the probability given second.
    """
    modules = [module for module in model.modules() if type(module) is nn.Dropout]
    with covered({module: _forward_of(module, drop) for module in modules}):
        yield


def _forward_of(
    module: nn.Dropout, drop: Callable[[torch.Tensor, float], torch.Tensor]
) -> Callable[[torch.Tensor], torch.Tensor]:
    return lambda inputs: drop(inputs, module.p) if module.training else inputs


class _Attention(torch.autograd.Function):
    """Attention with dropout, text by text; weights are computed in 32 bits, whatever the inputs.

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
        ctx.scaling = scaling
        ctx.keep_scale = 1 / (1 - quantised(probability))
        ctx.spans = query_spans, spans
        with torch.autocast(query.device.type, enabled=False):
            for ours, theirs in zip(query_spans, spans, strict=True):
                q, k, v = _heads(query, ours), _heads(key, theirs), _heads(value, theirs)
                scores = torch.bmm(q.float() * scaling, k.float().mT)
                scores[..., theirs.end - theirs.start :] = -torch.inf
                weights = torch.softmax(scores, dim=-1).to(query.dtype)
                signed.append(_signed(weights, dropped(weights.shape, probability)))
                _put(torch.bmm(signed[-1].relu(), v).mul_(ctx.keep_scale), result, ours)
        ctx.save_for_backward(query, key, value, result, *signed)
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
                _put(torch.bmm(kept.mT, gradient).mul_(ctx.keep_scale), by_value, theirs)
                # Two numbers of one size are subtracted: in 32 bits, and only then rounded.
                exact = torch.bmm(gradient.float(), v.float().mT).mul_(ctx.keep_scale).mul_(kept)
                scores = exact.sub_(weights.abs().float().mul_(mean)).to(weights.dtype)
                _put(torch.bmm(scores, k).mul_(ctx.scaling), by_query, ours)
                _put(torch.bmm(scores.mT, q).mul_(ctx.scaling), by_key, theirs)
        return by_query, by_key, by_value, None, None, None, None


def _heads(tensor: torch.Tensor, span: Span) -> torch.Tensor:
    """Return one text's tokens by head, shape (heads, tokens, size of a head).

    Zeros follow them up to a multiple of the bucket, unless it is a single token.
    """
    tokens = tensor[span.row, span.start : span.end].transpose(0, 1)
    length = span.end - span.start
    missing = -length % _BUCKET if length > 1 else 0
    return nn.functional.pad(tokens, (0, 0, 0, missing)) if missing else tokens


def _put(by_head: torch.Tensor, tensor: torch.Tensor, span: Span) -> None:
    """Write what :func:`_heads` would read."""
    tokens = tensor[span.row, span.start : span.end]
    tokens.copy_(by_head[:, : span.end - span.start].transpose(0, 1))


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

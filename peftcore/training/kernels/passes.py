"""The compiled kernels as functions on tensors that gradients pass through.

Dropout's masks come from a seed that torch's global generator draws in forward; backward draws the
same masks again, so that none is kept.
"""

from __future__ import annotations

import ctypes
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch.autograd.function import once_differentiable

from peftcore.data.batches import Span
from peftcore.training.dropping import LEVELS, quantised

_NAMES = {torch.float32: "float32", torch.bfloat16: "bfloat16"}

FORMATS = tuple(_NAMES)
"""The number formats that the kernels know."""

LANES = 16
"""The kernels of GELU and of the normalisation take rows of a multiple of this many numbers."""


@dataclass(frozen=True)
class Noise:
    """Which numbers are dropped, to the bit.

    Attributes:
        seed: where the random bits start, 64 bits with a sign.
        level: how many of the 65,536 values of 16 bits mean that a number is dropped.
    """

    seed: int
    level: int

    @classmethod
    def draw(cls, probability: float) -> Noise:
        """Return noise that drops with this probability, drawn from torch's global generator."""
        level = round(quantised(probability) * LEVELS)
        if level == 0:
            return cls(0, 0)
        return cls(int(torch.empty((), dtype=torch.int64).random_(-(2**63), None)), level)

    @property
    def scale(self) -> float:
        """Return what numbers that are kept are multiplied by."""
        return 1 / (1 - self.level / LEVELS)

    @property
    def arguments(self) -> tuple[ctypes.c_uint64, ctypes.c_uint32]:
        """Return seed and level as the kernels take them."""
        return ctypes.c_uint64(self.seed), ctypes.c_uint32(self.level)


def kernel(library: ctypes.CDLL, name: str, dtype: torch.dtype) -> Callable[..., Any]:
    """Return a kernel as made for numbers of this format."""
    found: Callable[..., Any] = getattr(library, f"{name}_{_NAMES[dtype]}")
    return found


def address(tensor: torch.Tensor | None) -> ctypes.c_void_p:
    """Return where a contiguous tensor's numbers lie, or a null pointer."""
    if tensor is not None and not tensor.is_contiguous():
        raise ValueError("a kernel was handed a tensor with gaps")
    return ctypes.c_void_p(None if tensor is None else tensor.data_ptr())


def whole(*numbers: int) -> tuple[ctypes.c_int64, ...]:
    """Return whole numbers as kernels take them."""
    return tuple(map(ctypes.c_int64, numbers))


def floats(*numbers: float) -> tuple[ctypes.c_float, ...]:
    """Return floats as kernels take them."""
    return tuple(map(ctypes.c_float, numbers))


def _rows(tensor: torch.Tensor) -> tuple[ctypes.c_int64, ...]:
    columns = tensor.shape[-1]
    return whole(tensor.numel() // columns, columns)


class _Dropout(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, inputs: torch.Tensor, probability: float, library: Any) -> torch.Tensor:
        ctx.kernels, ctx.noise = library, Noise.draw(probability)
        return _Dropout.masked(ctx, inputs)

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, *gradients: torch.Tensor) -> tuple[torch.Tensor | None, ...]:
        return _Dropout.masked(ctx, gradients[0]), None, None

    @staticmethod
    def masked(ctx: Any, numbers: torch.Tensor) -> torch.Tensor:
        numbers = numbers.contiguous()
        result = torch.empty_like(numbers)
        run = kernel(ctx.kernels, "dropout", numbers.dtype)
        scale = floats(ctx.noise.scale)
        run(address(numbers), address(result), *_rows(numbers), *ctx.noise.arguments, *scale)
        return result


def dropout(inputs: torch.Tensor, probability: float, library: ctypes.CDLL) -> torch.Tensor:
    """Return ``inputs`` with each number dropped with this probability, the rest scaled up."""
    result: torch.Tensor = _Dropout.apply(inputs, probability, library)  # type: ignore[no-untyped-call]
    return result


class _Gelu(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, inputs: torch.Tensor, library: Any) -> torch.Tensor:
        inputs = inputs.contiguous()
        result = torch.empty_like(inputs)
        ctx.kernels = library
        ctx.save_for_backward(inputs)
        run = kernel(library, "gelu", inputs.dtype)
        run(address(inputs), address(result), *whole(inputs.numel()))
        return result

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, *gradients: torch.Tensor) -> tuple[torch.Tensor | None, ...]:
        (inputs,) = ctx.saved_tensors
        gradient = gradients[0].contiguous()
        result = torch.empty_like(inputs)
        run = kernel(ctx.kernels, "gelu_backward", inputs.dtype)
        run(*map(address, (gradient, inputs, result)), *whole(inputs.numel()))
        return result, None


def gelu(inputs: torch.Tensor, library: ctypes.CDLL) -> torch.Tensor:
    """Return the exact GELU of ``inputs``, whose count is a multiple of :data:`LANES`."""
    result: torch.Tensor = _Gelu.apply(inputs, library)  # type: ignore[no-untyped-call]
    return result


class _NormalisedSum(torch.autograd.Function):
    @staticmethod
    def forward(
        ctx: Any,
        inputs: torch.Tensor,
        residual: torch.Tensor,
        weight: torch.Tensor,
        bias: torch.Tensor,
        epsilon: float,
        probability: float,
        library: Any,
    ) -> torch.Tensor:
        ctx.kernels, ctx.noise = library, Noise.draw(probability)
        inputs, residual = inputs.contiguous(), residual.contiguous()
        result, normal = torch.empty_like(residual), torch.empty_like(inputs)
        inverse = residual.new_empty(residual.shape[:-1])
        run = kernel(library, "norm_forward", inputs.dtype)
        run(
            *map(address, (inputs, residual, weight, bias, result, normal, inverse)),
            *_rows(inputs),
            *ctx.noise.arguments,
            *floats(ctx.noise.scale, epsilon),
        )
        ctx.save_for_backward(normal, inverse, weight)
        return result

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, *gradients: torch.Tensor) -> tuple[torch.Tensor | None, ...]:
        normal, inverse, weight = ctx.saved_tensors
        gradient = gradients[0].contiguous()
        by_residual, by_inputs = torch.empty_like(gradient), torch.empty_like(normal)
        by_weight = by_bias = None
        if ctx.needs_input_grad[2] or ctx.needs_input_grad[3]:
            by_weight, by_bias = torch.zeros_like(weight), torch.zeros_like(weight)
        run = kernel(ctx.kernels, "norm_backward", normal.dtype)
        run(
            *map(address, (gradient, normal, inverse, weight)),
            *map(address, (by_residual, by_inputs, by_weight, by_bias)),
            *_rows(normal),
            *ctx.noise.arguments,
            *floats(ctx.noise.scale),
        )
        return by_inputs, by_residual, by_weight, by_bias, None, None, None


def normalised_sum(
    inputs: torch.Tensor,
    residual: torch.Tensor,
    norm: torch.nn.LayerNorm,
    *,
    probability: float,
    library: ctypes.CDLL,
) -> torch.Tensor:
    """Return ``norm(dropout(inputs) + residual)``.

    Between forward and backward it keeps the normalised sum in the inputs' number format.

    Args:
        inputs: shape (…, hidden size), in one of :data:`FORMATS`.
        residual: the same shape, in 32 bits.
        norm: over the hidden size, a multiple of :data:`LANES`, with weight and bias in 32 bits.
        probability: of an input to be dropped.
        library: the kernels.
    """
    result: torch.Tensor = _NormalisedSum.apply(  # type: ignore[no-untyped-call]
        inputs, residual, norm.weight, norm.bias, norm.eps, probability, library
    )
    return result


class _Attention(torch.autograd.Function):
    @staticmethod
    def forward(
        ctx: Any,
        query: torch.Tensor,
        key: torch.Tensor,
        value: torch.Tensor,
        spans: torch.Tensor,
        probability: float,
        scaling: float,
        library: Any,
    ) -> torch.Tensor:
        ctx.kernels, ctx.noise, ctx.scaling = library, Noise.draw(probability), scaling
        query, key, value = (t.contiguous() for t in (query, key, value))
        # Padding between texts stays zero: what comes of it must not be NaN by chance.
        result = torch.zeros_like(query)
        rows, tokens, heads, width = query.shape
        logarithms = torch.empty(rows * tokens * heads, dtype=torch.float32)
        ctx.sizes = whole(len(spans), heads, width)
        run = kernel(library, "attention_forward", query.dtype)
        run(
            *map(address, (query, key, value, result, logarithms, spans)),
            *ctx.sizes,
            *ctx.noise.arguments,
            *floats(scaling, ctx.noise.scale),
        )
        ctx.save_for_backward(query, key, value, logarithms, spans)
        return result

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, *gradients: torch.Tensor) -> tuple[torch.Tensor | None, ...]:
        query, key, value, logarithms, spans = ctx.saved_tensors
        # Held by name: of a temporary copy nothing but the address would be left.
        gradient = gradients[0].contiguous()
        by_query, by_key, by_value = map(torch.zeros_like, (query, key, value))
        run = kernel(ctx.kernels, "attention_backward", query.dtype)
        run(
            *map(address, (gradient, query, key, value, logarithms)),
            *map(address, (by_query, by_key, by_value, spans)),
            *ctx.sizes,
            *ctx.noise.arguments,
            *floats(ctx.scaling, ctx.noise.scale),
        )
        return by_query, by_key, by_value, None, None, None, None


def attention(
    query: torch.Tensor,
    key: torch.Tensor,
    value: torch.Tensor,
    *,
    query_spans: Sequence[Span],
    spans: Sequence[Span],
    probability: float,
    scaling: float,
    library: ctypes.CDLL,
) -> torch.Tensor:
    """Return each text's attention over its own tokens, with dropout of the attention weights.

    Sums and weights are in 32 bits, whatever the inputs. Between forward and backward it keeps one
    number a query and head; backward computes the weights again (Dao et al., "FlashAttention",
    NeurIPS 2022).

    The arguments and what is returned are those of
    :func:`peftcore.training.dropping.attention_with_dropout`, the inputs in one of
    :data:`FORMATS`; ``library`` has the kernels.
    """
    flat = torch.tensor(
        [
            (
                ours.row * query.shape[1] + ours.start,
                ours.end - ours.start,
                theirs.row * key.shape[1] + theirs.start,
                theirs.end - theirs.start,
            )
            for ours, theirs in zip(query_spans, spans, strict=True)
        ]
    )
    result: torch.Tensor = _Attention.apply(  # type: ignore[no-untyped-call]
        query, key, value, flat, probability, scaling, library
    )
    return result

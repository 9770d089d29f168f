"""4-bit layers that, on a GPU, dequantise into one buffer, which all of them share.

bitsandbytes dequantises into a new tensor at each use, and gives a layer's output in the format of
its input, 32 bits after a normalisation, though it multiplied in the format of the recipe. What
follows then works on numbers twice as wide.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import torch
from bitsandbytes.functional import dequantize_blockwise
from bitsandbytes.nn.modules import Linear4bit
from torch import nn
from torch.autograd.function import once_differentiable
from torch.nn.functional import linear

from peftcore.training.covering import covered


def find_four_bit(model: nn.Module, dtype: torch.dtype) -> list[Linear4bit]:
    """Return the 4-bit layers of ``model`` that multiply in this number format."""
    return [
        module
        for module in model.modules()
        if type(module) is Linear4bit and module.compute_dtype == dtype
    ]


def _state(layer: Linear4bit) -> Any:
    """Return what bitsandbytes keeps beside a layer's packed weights: shape, scales, code."""
    return layer.weight.quant_state  # type: ignore[attr-defined]


class _Scratch:
    """A buffer in which one layer's weights lie at a time."""

    def __init__(self, layers: list[Linear4bit], dtype: torch.dtype) -> None:
        self._dtype = dtype
        largest = max(_state(layer).shape.numel() for layer in layers)
        device = layers[0].weight.device
        # On a processor bitsandbytes has no way to write into a given tensor.
        self._numbers = None
        if device.type == "cuda":
            self._numbers = torch.empty(largest, dtype=dtype, device=device)

    def weights(self, layer: Linear4bit) -> torch.Tensor:
        """Return the layer's weights, shape (outputs, inputs), until this is called again."""
        state = _state(layer)
        scales = state.absmax
        if state.nested:
            scales = dequantize_blockwise(scales, state.state2) + state.offset
        how = (layer.weight.data, scales, state.blocksize, state.quant_type, state.shape)
        if self._numbers is None:
            dequantised: torch.Tensor = torch.ops.bitsandbytes.dequantize_4bit(*how, self._dtype)
            return dequantised
        weights = self._numbers[: state.shape.numel()].view(state.shape)
        torch.ops.bitsandbytes.dequantize_4bit.out(*how, self._dtype, out=weights)
        return weights


class _Product(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, inputs: torch.Tensor, layer: Any, scratch: Any) -> torch.Tensor:
        ctx.layer, ctx.scratch = layer, scratch
        with torch.autocast(inputs.device.type, enabled=False):
            return linear(inputs, scratch.weights(layer), layer.bias)

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, *gradients: torch.Tensor) -> tuple[torch.Tensor | None, ...]:
        with torch.autocast(gradients[0].device.type, enabled=False):
            return gradients[0] @ ctx.scratch.weights(ctx.layer), None, None


@contextmanager
def one_scratch(layers: list[Linear4bit], dtype: torch.dtype) -> Iterator[None]:
    """Let these layers dequantise into one buffer inside the block, and give this format.

    Their weights and biases are frozen, and the biases are in this format already.
    """
    scratch = _Scratch(layers, dtype)
    with covered({layer: _forward_of(layer, scratch, dtype) for layer in layers}):
        yield


def _forward_of(
    layer: Linear4bit, scratch: _Scratch, dtype: torch.dtype
) -> Callable[[torch.Tensor], torch.Tensor]:
    return lambda inputs: _Product.apply(inputs.to(dtype), layer, scratch)  # type: ignore[no-untyped-call]

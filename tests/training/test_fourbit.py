"""4-bit layers under one scratch compute what bitsandbytes computes."""

from __future__ import annotations

import pytest
import torch
from bitsandbytes.nn.modules import Linear4bit
from torch import nn

from peftcore.training.fourbit import find_four_bit, one_scratch


def layer(
    dtype: torch.dtype, *, seed: int = 0, bias: bool = True, double: bool = True
) -> Linear4bit:
    torch.manual_seed(seed)
    made = Linear4bit(
        192, 128, bias=bias, compute_dtype=dtype, compress_statistics=double, quant_type="nf4"
    )
    made.to("cpu")
    made.support_avx512bf16_for_cpu = False
    made.requires_grad_(False)
    if made.bias is not None:
        made.bias.data = made.bias.data.to(dtype)
    return made


@pytest.mark.parametrize("double", [True, False], ids=["double", "single"])
@pytest.mark.parametrize("bias", [True, False], ids=["bias", "no bias"])
@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16], ids=["fp32", "bf16"])
def test_output_and_gradient_are_bitsandbytes(dtype: torch.dtype, bias: bool, double: bool) -> None:
    quantised = layer(dtype, bias=bias, double=double)
    inputs = torch.randn(2, 9, 192).requires_grad_()
    arriving = torch.randn(2, 9, 128).to(dtype).float()
    expected = quantised(inputs)
    (expected_gradient,) = torch.autograd.grad(expected, inputs, arriving)
    with one_scratch([quantised], dtype):
        result = quantised(inputs)
        (gradient,) = torch.autograd.grad(result, inputs, arriving.to(dtype))
    assert result.dtype == dtype
    assert torch.equal(result.float(), expected)
    assert torch.equal(gradient, expected_gradient)
    assert torch.equal(quantised(inputs), expected)


def test_two_layers_share_a_scratch_and_keep_apart() -> None:
    """Backward dequantises again: what the scratch held in forward is another layer's by then."""
    first, second = layer(torch.float32), layer(torch.float32, seed=1)
    joined = nn.Sequential(first, nn.Linear(128, 192), second).requires_grad_(False)
    inputs = torch.randn(4, 192).requires_grad_()
    expected = torch.autograd.grad(joined(inputs).sum(), inputs)
    with one_scratch([first, second], torch.float32):
        found = torch.autograd.grad(joined(inputs).sum(), inputs)
    assert torch.equal(found[0], expected[0])


def test_layers_that_multiply_in_another_format_are_left() -> None:
    model = nn.Sequential(layer(torch.bfloat16), nn.Linear(3, 3))
    assert find_four_bit(model, torch.bfloat16) == [model[0]]
    assert find_four_bit(model, torch.float32) == []

"""Cheap dropout and attention with dropout, against what they stand for."""

from __future__ import annotations

import math

import pytest
import torch
from torch import nn

from peftcore.data.batches import Span
from peftcore.training import dropping
from peftcore.training.dropping import (
    attention_with_dropout,
    cheap_dropout,
    dropout,
    dropped,
    quantised,
)


@pytest.mark.parametrize("probability", [0.0, 1e-6, 0.05, 0.1, 0.5, 0.999999])
def test_sixteen_bits_tell_a_probability_closely_and_never_all(probability: float) -> None:
    assert quantised(probability) == pytest.approx(
        probability, abs=1e-5 + 2**-16 * (probability > 0.9)
    )
    assert quantised(probability) < 1


@pytest.mark.parametrize("probability", [0.05, 0.1, 0.5])
def test_a_mask_has_its_share_everywhere_and_no_pattern(probability: float) -> None:
    torch.manual_seed(0)
    count = 400_000
    mask = dropped((count,), probability).double()
    error = math.sqrt(probability * (1 - probability) / count)
    assert abs(mask.mean().item() - probability) < 4.5 * error
    # Four numbers share a draw of 64 bits: each place in it has its share, and neighbours agree as
    # often as chance has them.
    for place in range(4):
        assert abs(mask[place::4].mean().item() - probability) < 4.5 * 2 * error
    for step in (1, 2, 3, 4, 64):
        both = (mask[step:] * mask[:-step]).mean().item()
        share = probability**2
        assert abs(both - share) < 4.5 * math.sqrt(share * (1 - share) / count) * 1.5
    assert not dropped((1000,), 0.0).any()


def test_dropout_keeps_the_mean_and_its_gradient_is_its_mask() -> None:
    torch.manual_seed(1)
    inputs = torch.ones(200, 300, requires_grad=True)
    outputs = dropout(inputs, 0.1)
    kept = 1 / (1 - quantised(0.1))
    assert outputs.unique().tolist() == pytest.approx([0.0, kept], abs=1e-6)
    assert outputs.mean().item() == pytest.approx(1, abs=0.01)
    outputs.sum().backward()
    torch.testing.assert_close(inputs.grad, outputs.detach())


def test_the_noise_is_splitmix64s() -> None:
    """Against the algorithm as published, in Python's own whole numbers."""
    torch.manual_seed(5)
    start = int(torch.empty((), dtype=torch.int64).random_(-(2**63), None))
    torch.manual_seed(5)
    found = [number % 2**64 for number in dropping._noise(7).tolist()]
    state = start % 2**64
    for number in found:
        state = (state + 0x9E3779B97F4A7C15) % 2**64
        z = state
        z = (z ^ (z >> 30)) * 0xBF58476D1CE4E5B9 % 2**64
        z = (z ^ (z >> 27)) * 0x94D049BB133111EB % 2**64
        assert number == z ^ (z >> 31)


def test_the_same_seed_drops_the_same_numbers() -> None:
    masks = []
    for seed in (1, 1, 2):
        torch.manual_seed(seed)
        masks.append(dropped((5, 7), 0.5))
    assert torch.equal(masks[0], masks[1])
    assert not torch.equal(masks[0], masks[2])


def test_modules_drop_cheaply_within_the_block_only_and_only_in_training() -> None:
    model = nn.Sequential(nn.Linear(4, 4), nn.Dropout(0.5))
    module = model[1]
    inputs = torch.ones(3, 8)
    with cheap_dropout(model):
        torch.manual_seed(3)
        cheap = module(inputs)
        torch.manual_seed(3)
        assert torch.equal(cheap, dropout(inputs, 0.5))
        module.eval()
        assert torch.equal(module(inputs), inputs)
        module.train()
    assert "forward" not in vars(module)
    torch.manual_seed(3)
    plain = module(inputs)
    torch.manual_seed(3)
    assert torch.equal(plain, nn.functional.dropout(inputs, 0.5))


def spelled_out(
    query: torch.Tensor, key: torch.Tensor, value: torch.Tensor, masks: list[torch.Tensor]
) -> torch.Tensor:
    """Attention of texts end to end as the formula has it; ``masks`` tell what is dropped."""
    results = []
    start = 0
    for mask in masks:
        end = start + mask.shape[-1]
        q, k, v = (t[0, start:end].transpose(0, 1) for t in (query, key, value))
        weights = torch.softmax(q @ k.mT * 0.3, dim=-1)
        weights = weights.masked_fill(mask, 0) / (1 - quantised(0.25))
        results.append((weights @ v).transpose(0, 1))
        start = end
    return torch.cat(results)[None]


def test_attention_with_dropout_is_the_formula_with_its_gradients() -> None:
    torch.manual_seed(0)
    spans = (Span(0, 0, 5), Span(0, 5, 6), Span(0, 6, 13))
    ours = [torch.randn(1, 13, 2, 4, requires_grad=True) for _ in range(3)]
    theirs = [tensor.detach().clone().requires_grad_() for tensor in ours]
    weights = torch.randn(1, 13, 2, 4)
    torch.manual_seed(7)
    found = attention_with_dropout(
        *ours, query_spans=spans, spans=spans, probability=0.25, scaling=0.3
    )
    torch.manual_seed(7)
    # Lengths up to sixteen are computed as sixteen, a single token as itself.
    padded = [(2, 16, 16), (2, 1, 1), (2, 16, 16)]
    masks = [
        dropped(shape, 0.25)[:, : span.end - span.start, : span.end - span.start]
        for shape, span in zip(padded, spans, strict=True)
    ]
    assert any(mask.any() for mask in masks)
    expected = spelled_out(*theirs, masks)
    torch.testing.assert_close(found, expected)
    (found * weights).sum().backward()
    (expected * weights).sum().backward()
    for mine, other in zip(ours, theirs, strict=True):
        torch.testing.assert_close(mine.grad, other.grad)


def test_in_bf16_it_is_as_close_to_the_formula_as_rounding_lets_it() -> None:
    torch.manual_seed(0)
    lengths = (40, 7, 81)
    starts = (0, 40, 47)
    spans = tuple(Span(0, s, s + n) for s, n in zip(starts, lengths, strict=True))
    ours = [torch.randn(1, 128, 2, 32).bfloat16().requires_grad_() for _ in range(3)]
    exact = [tensor.detach().double().requires_grad_() for tensor in ours]
    torch.manual_seed(7)
    found = attention_with_dropout(
        *ours, query_spans=spans, spans=spans, probability=0.25, scaling=0.3
    )
    torch.manual_seed(7)
    masks = []
    for length in lengths:
        bucket = -(-length // 16) * 16
        masks.append(dropped((2, bucket, bucket), 0.25)[:, :length, :length])
    expected = spelled_out(*exact, masks)
    weights = torch.randn(1, 128, 2, 32)
    (found * weights).sum().backward()
    (expected * weights).sum().backward()
    assert relative(found, expected) < 0.004
    for mine, other in zip(ours, exact, strict=True):
        assert mine.grad is not None
        assert other.grad is not None
        assert relative(mine.grad, other.grad) < 0.006


def relative(found: torch.Tensor, expected: torch.Tensor) -> float:
    return ((found.double() - expected).norm() / expected.norm()).item()


def test_padding_gets_no_attention_and_gives_none() -> None:
    torch.manual_seed(0)
    spans = (Span(0, 0, 3), Span(1, 0, 5))
    tensors = [torch.randn(2, 5, 2, 4, requires_grad=True) for _ in range(3)]
    found = attention_with_dropout(
        *tensors, query_spans=spans, spans=spans, probability=0.25, scaling=0.3
    )
    assert found[0, 3:].abs().sum() == 0
    found.sum().backward()
    for tensor in tensors:
        assert tensor.grad is not None
        assert tensor.grad[0, 3:].abs().sum() == 0
        assert tensor.grad[1].abs().sum() > 0

"""The compiled kernels compute what torch does, and drop what they say they drop."""

from __future__ import annotations

import ctypes
import functools
import math
import shutil
import subprocess
from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from torch import nn
from torch.nn.functional import gelu as torch_gelu
from torch.nn.functional import scaled_dot_product_attention

from peftcore.data.batches import Span
from peftcore.training.dropping import quantised
from peftcore.training.kernels import compiling
from peftcore.training.kernels.adamw import AdamW
from peftcore.training.kernels.compiling import NoKernels, find_kernels
from peftcore.training.kernels.passes import Noise, attention, dropout, gelu, normalised_sum

FORMATS = pytest.mark.parametrize(
    ("dtype", "bound"), [(torch.float32, 3e-6), (torch.bfloat16, 0.02)], ids=["fp32", "bf16"]
)


@pytest.fixture(scope="module")
def library() -> ctypes.CDLL:
    found = find_kernels()
    if isinstance(found, str):
        pytest.skip(f"no compiled kernels: {found}")
    return found


def spans_of(*lengths: int) -> list[Span]:
    ends = torch.tensor(lengths).cumsum(0).tolist()
    return [Span(0, end - length, end) for end, length in zip(ends, lengths, strict=True)]


def leaf(*shape: int, dtype: torch.dtype = torch.float32) -> torch.Tensor:
    return torch.randn(*shape).to(dtype).requires_grad_()


def gradients(
    result: torch.Tensor, arriving: torch.Tensor, *inputs: torch.Tensor
) -> list[torch.Tensor]:
    return list(torch.autograd.grad(result, inputs, arriving.to(result.dtype)))


def assert_near(ours: list[torch.Tensor], exact: list[torch.Tensor], bound: float) -> None:
    for mine, other in zip(ours, exact, strict=True):
        assert mine.shape == other.shape
        apart = (mine.double() - other.double()).abs().max().item()
        assert apart <= bound * max(1.0, other.abs().max().item())


@FORMATS
@pytest.mark.parametrize(
    ("heads", "width"), [(12, 32), (3, 64), (2, 8), (4, 20)], ids=lambda value: str(value)
)
def test_attention_is_torchs(
    library: ctypes.CDLL, heads: int, width: int, dtype: torch.dtype, bound: float
) -> None:
    spans = spans_of(70, 1, 33, 17)
    inputs = [leaf(1, 121 + 7, heads, width, dtype=dtype) for _ in range(3)]
    arriving = torch.randn(1, 128, heads, width)
    arriving[:, 121:] = 0
    scaling = width**-0.5
    result = attention(
        *inputs,
        query_spans=spans,
        spans=spans,
        probability=0.0,
        scaling=scaling,
        library=library,
    )
    assert not result[:, 121:].any()
    exact = [t.detach().double().requires_grad_() for t in inputs]
    texts = []
    for span in spans:
        q, k, v = (t[0, span.start : span.end].transpose(0, 1) for t in exact)
        texts.append(scaled_dot_product_attention(q, k, v, scale=scaling).transpose(0, 1))
    expected = torch.cat([*texts, torch.zeros(7, heads, width)])[None]
    assert_near([result], [expected], bound)
    assert_near(gradients(result, arriving, *inputs), gradients(expected, arriving, *exact), bound)


def test_attention_of_scores_that_are_all_far_below_zero(library: ctypes.CDLL) -> None:
    """What fills a row of keys up has the score 0, hundreds above the others here."""
    for score in (-50.0, -89.0, -90.0, -90.3, -300.0):
        query = torch.full((1, 5, 1, 16), -1.0, requires_grad=True)
        key = torch.full((1, 5, 1, 16), -score / 16)
        key[0, :, 0, 0] += torch.arange(5) / 100
        key.requires_grad_()
        value = leaf(1, 5, 1, 16)
        spans = spans_of(5)
        result = attention(
            query,
            key,
            value,
            query_spans=spans,
            spans=spans,
            probability=0.0,
            scaling=1.0,
            library=library,
        )
        arriving = torch.randn(1, 5, 1, 16)
        found = gradients(result, arriving, query, key, value)
        q, k, v = (t.detach().transpose(1, 2).requires_grad_() for t in (query, key, value))
        expected = scaled_dot_product_attention(q, k, v, scale=1.0).transpose(1, 2)
        exact = torch.autograd.grad(expected, (q, k, v), arriving)
        torch.testing.assert_close(result, expected, atol=1e-4, rtol=1e-4)
        for mine, other in zip(found, exact, strict=True):
            torch.testing.assert_close(mine, other.transpose(1, 2), atol=1e-3, rtol=1e-3)


def test_attention_of_a_single_query_a_text(library: ctypes.CDLL) -> None:
    """As in a last layer that computes the first token alone, its texts padded or end to end."""
    query, key, value = leaf(3, 1, 2, 16), leaf(3, 40, 2, 16), leaf(3, 40, 2, 16)
    spans = [Span(0, 0, 40), Span(1, 0, 5), Span(2, 0, 23)]
    first = [Span(row, 0, 1) for row in range(3)]
    result = attention(
        query,
        key,
        value,
        query_spans=first,
        spans=spans,
        probability=0.0,
        scaling=0.25,
        library=library,
    )
    for row, span in enumerate(spans):
        q, k, v = (
            t[row].transpose(0, 1) for t in (query, key[:, : span.end], value[:, : span.end])
        )
        expected = scaled_dot_product_attention(q, k, v, scale=0.25).transpose(0, 1)
        torch.testing.assert_close(result[row], expected, atol=2e-6, rtol=0)


def attention_weights(library: ctypes.CDLL, probability: float, texts: int) -> torch.Tensor:
    """Return the weights after dropout, read off by values that are rows of the unit matrix.

    Shape (texts, heads, queries, keys).
    """
    heads, tokens = 4, 32
    spans = spans_of(*[tokens] * texts)
    query, key = (torch.randn(1, texts * tokens, heads, tokens) for _ in range(2))
    value = torch.eye(tokens)[:, None].expand(tokens, heads, tokens).repeat(texts, 1, 1)[None]
    result = attention(
        query,
        key,
        value,
        query_spans=spans,
        spans=spans,
        probability=probability,
        scaling=0.1,
        library=library,
    )
    return result.view(texts, tokens, heads, tokens).transpose(1, 2)


def test_attention_drops_its_weights_with_the_probability_asked_for(library: ctypes.CDLL) -> None:
    torch.manual_seed(1)
    weights = attention_weights(library, 0.1, texts=40)
    dropped = weights == 0
    count = dropped.numel()
    assert dropped.float().mean().item() == pytest.approx(0.1, abs=4 * math.sqrt(0.09 / count))
    # No head, query or key has a share of its own, and no two texts or heads a common mask.
    for kept in ((0,), (1,), (2,), (3,)):
        others = [axis for axis in range(4) if axis not in kept]
        shares = dropped.float().mean(others)
        spread = 5 * math.sqrt(0.09 * len(shares) / count)
        assert (shares - 0.1).abs().max().item() < spread
    both = (dropped[0] & dropped[1]).float().mean().item()
    assert both == pytest.approx(0.01, abs=0.006)
    # What is kept is scaled up: a row's weights add up to one on the average.
    assert weights.sum(-1).mean().item() == pytest.approx(1, abs=0.01)


def test_attention_with_dropout_has_the_gradient_of_what_it_computed(
    library: ctypes.CDLL,
) -> None:
    torch.manual_seed(2)
    spans = spans_of(40, 9)
    inputs = [leaf(1, 49, 2, 16) for _ in range(3)]
    arriving = torch.randn(1, 49, 2, 16)

    def value(*shifted: torch.Tensor) -> torch.Tensor:
        torch.manual_seed(3)
        return attention(
            *shifted,
            query_spans=spans,
            spans=spans,
            probability=0.3,
            scaling=0.25,
            library=library,
        )

    found = gradients(value(*inputs), arriving, *inputs)
    for number, gradient in enumerate(found):
        direction = torch.randn_like(gradient)
        ends = []
        for step in (0.01, -0.01):
            shifted = [t.detach() for t in inputs]
            shifted[number] = shifted[number] + step * direction
            ends.append((value(*shifted).double() * arriving).sum().item())
        slope = (ends[0] - ends[1]) / 0.02
        assert slope == pytest.approx((gradient * direction).sum().item(), rel=1e-3, abs=1e-3)


@FORMATS
def test_gelu_is_torchs(library: ctypes.CDLL, dtype: torch.dtype, bound: float) -> None:
    inputs = torch.linspace(-9, 9, 4096).to(dtype).requires_grad_()
    exact = inputs.detach().double().requires_grad_()
    result, expected = gelu(inputs, library), torch_gelu(exact)
    arriving = torch.randn(4096)
    assert_near([result], [expected], bound / 4)
    assert_near(gradients(result, arriving, inputs), gradients(expected, arriving, exact), bound)


@FORMATS
@pytest.mark.parametrize("columns", [48, 384], ids=str)
def test_normalised_sum_is_torchs(
    library: ctypes.CDLL, columns: int, dtype: torch.dtype, bound: float
) -> None:
    norm = nn.LayerNorm(columns, eps=1e-12)
    nn.init.normal_(norm.weight, 1, 0.3)
    nn.init.normal_(norm.bias)
    inputs, residual = leaf(2, 37, columns, dtype=dtype), leaf(2, 37, columns)
    arriving = torch.randn(2, 37, columns)
    result = normalised_sum(inputs, residual, norm, probability=0.0, library=library)
    found = gradients(result, arriving, inputs, residual, norm.weight, norm.bias)
    exact = [t.detach().double().requires_grad_() for t in (inputs, residual)]
    double = nn.LayerNorm(columns, eps=1e-12).double()
    double.load_state_dict(norm.state_dict())
    expected = double(exact[0] + exact[1])
    assert result.dtype == torch.float32
    assert_near([result], [expected], 3e-6)
    assert_near(found, gradients(expected, arriving, *exact, double.weight, double.bias), bound)


def test_normalised_sum_drops_inputs_alone_and_their_gradients(library: ctypes.CDLL) -> None:
    torch.manual_seed(4)
    norm = nn.LayerNorm(384)
    inputs, residual = leaf(300, 384), leaf(300, 384)
    result = normalised_sum(inputs, residual, norm, probability=0.25, library=library)
    by_inputs, by_residual = gradients(result, torch.randn(300, 384), inputs, residual)
    kept = by_inputs != 0
    assert kept.float().mean().item() == pytest.approx(0.75, abs=0.006)
    torch.testing.assert_close(by_inputs[kept], by_residual[kept] / 0.75)
    expected = norm(torch.where(kept, inputs / 0.75, 0) + residual)
    torch.testing.assert_close(result, expected, atol=3e-6, rtol=0)


@FORMATS
def test_dropout_masks_its_gradient_alike(
    library: ctypes.CDLL, dtype: torch.dtype, bound: float
) -> None:
    torch.manual_seed(5)
    inputs = torch.ones(64, 1000).to(dtype).requires_grad_()
    result = dropout(inputs, 0.1, library)
    (gradient,) = gradients(result, torch.ones(64, 1000), inputs)
    assert torch.equal(result, gradient)
    dropped = result == 0
    assert dropped.float().mean().item() == pytest.approx(0.1, abs=0.005)
    scale = 1 / (1 - quantised(0.1))
    assert (result[~dropped].float() - scale).abs().max().item() < bound
    # Rows and columns are all alike.
    assert (dropped.float().mean(0) - 0.1).abs().max().item() < 5.5 * math.sqrt(0.09 / 64)
    assert (dropped.float().mean(1) - 0.1).abs().max().item() < 5.5 * math.sqrt(0.09 / 1000)


def test_noise_is_torchs_generators(library: ctypes.CDLL) -> None:
    ones = torch.ones(4, 64)
    torch.manual_seed(6)
    first, second = dropout(ones, 0.5, library), dropout(ones, 0.5, library)
    torch.manual_seed(6)
    again = dropout(ones, 0.5, library)
    assert torch.equal(first, again)
    assert not torch.equal(first, second)
    state = torch.get_rng_state()
    assert Noise.draw(0.0) == Noise(0, 0)
    assert torch.equal(state, torch.get_rng_state())


@pytest.mark.parametrize("narrow", [False, True], ids=["fp32 gradients", "bf16 gradients"])
@pytest.mark.parametrize("excess", [None, 3.0], ids=["unclipped", "clipped"])
def test_adamw_is_torchs(library: ctypes.CDLL, narrow: bool, excess: float | None) -> None:
    torch.manual_seed(7)
    ours = [nn.Parameter(torch.randn(shape)) for shape in ((64, 33), (7,), (1,))]
    theirs = [nn.Parameter(p.detach().clone()) for p in ours]
    copies = {id(p): nn.Parameter(p.detach().bfloat16()) for p in ours} if narrow else {}
    mine = AdamW(
        [{"params": ours[:1], "weight_decay": 0.1}, {"params": ours[1:], "weight_decay": 0.0}],
        rate=1e-2,
        copies=copies,
        library=library,
    )
    reference = torch.optim.AdamW(
        [{"params": theirs[:1], "weight_decay": 0.1}, {"params": theirs[1:], "weight_decay": 0.0}],
        lr=1e-2,
    )
    for _ in range(5):
        for p, q in zip(ours, theirs, strict=True):
            source = copies.get(id(p), p)
            source.grad = torch.randn(p.shape).to(source.dtype)
            q.grad = source.grad.float() / (excess or 1.0)
        norm = torch.stack([g.float().square().sum() for g in mine.gradients()]).sum().sqrt()
        assert mine.gradient_norm().item() == pytest.approx(norm.item(), rel=1e-6)
        mine.grad_scale = None if excess is None else torch.tensor(excess)
        mine.step()
        reference.step()
    for p, q in zip(ours, theirs, strict=True):
        torch.testing.assert_close(p, q, atol=2e-6, rtol=1e-5)
    for p in ours if narrow else ():
        assert torch.equal(copies[id(p)], p.bfloat16())
    mine.zero_grad()
    assert mine.gradients() == []


def test_gradients_with_gaps_are_closed_and_kept_while_they_are_read(
    library: ctypes.CDLL,
) -> None:
    """A copy that nobody holds would be free for the next tensor before the kernel reads it."""
    arriving = torch.randn(64, 48, 8).transpose(1, 2)
    assert not arriving.is_contiguous()
    norm = nn.LayerNorm(48)
    spans = [Span(row, 0, 8) for row in range(64)]
    for function in (
        lambda t: gelu(t, library),
        lambda t: dropout(t, 0.0, library),
        lambda t: normalised_sum(t, t.detach(), norm, probability=0.0, library=library),
        lambda t: attention(
            *(t.unflatten(-1, (3, 16)),) * 3,
            query_spans=spans,
            spans=spans,
            probability=0.0,
            scaling=0.25,
            library=library,
        ).flatten(-2),
    ):
        inputs = leaf(64, 8, 48)
        (apart,) = torch.autograd.grad(function(inputs), inputs, arriving)
        (whole,) = torch.autograd.grad(function(inputs), inputs, arriving.contiguous())
        torch.testing.assert_close(apart, whole, atol=1e-6, rtol=0)


def test_a_tensor_with_gaps_is_refused(library: ctypes.CDLL) -> None:
    state = nn.Parameter(torch.randn(4, 4).t())
    state.grad = torch.randn(4, 4).t()
    optimiser = AdamW([{"params": [state]}], rate=1e-3, copies={}, library=library)
    with pytest.raises(ValueError, match="gaps"):
        optimiser.step()


@pytest.fixture
def nothing_compiled(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Callable[[], ctypes.CDLL]:
    monkeypatch.setenv("TORCH_EXTENSIONS_DIR", str(tmp_path))
    return compiling._load


def test_kernels_are_compiled_once(
    nothing_compiled: Callable[[], ctypes.CDLL],
    library: ctypes.CDLL,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    nothing_compiled()
    (compiled,) = tmp_path.iterdir()
    assert compiled.suffix == ".so"
    monkeypatch.setattr(subprocess, "Popen", None)
    nothing_compiled()


def test_without_a_compiler_there_are_none_and_it_says_why(
    nothing_compiled: Callable[[], ctypes.CDLL], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("CXX", str(tmp_path / "no-compiler"))
    with pytest.raises(NoKernels, match=r"can't be compiled here: .*no-compiler"):
        nothing_compiled()
    assert not list(tmp_path.iterdir())


@pytest.mark.skipif(shutil.which("gcc") is None, reason="no gcc here")
def test_a_compiler_of_c_does(
    nothing_compiled: Callable[[], ctypes.CDLL], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("CXX", "gcc")
    nothing_compiled()


def test_what_is_compiled_and_cannot_be_loaded_says_why(
    nothing_compiled: Callable[[], ctypes.CDLL], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    compiler = tmp_path / "broken-compiler"
    compiler.write_text(
        "#!/bin/sh\n"
        'for last; do case "$before" in -o) out=$last;; esac; before=$last; done\n'
        'case "$1" in --version|-dump*) exec c++ "$@";; esac\n'
        'echo broken > "$out"\n'
    )
    compiler.chmod(0o755)
    monkeypatch.setenv("CXX", str(compiler))
    with pytest.raises(NoKernels, match=r"can't be compiled here: .*(invalid ELF|too short)"):
        nothing_compiled()


def test_a_process_tries_once(
    nothing_compiled: Callable[[], ctypes.CDLL], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("CXX", str(tmp_path / "no-compiler"))
    find = functools.cache(compiling.find_kernels.__wrapped__)
    assert "no-compiler" in str(find())
    monkeypatch.setattr(subprocess, "Popen", None)
    assert "no-compiler" in str(find())


def test_a_compiler_that_hangs_is_not_waited_for(
    nothing_compiled: Callable[[], ctypes.CDLL], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(compiling, "_PATIENCE", 0.01)
    with pytest.raises(NoKernels, match=r"longer than 0.01 s"):
        nothing_compiled()


def test_a_library_that_does_not_load_is_no_library(
    nothing_compiled: Callable[[], ctypes.CDLL], tmp_path: Path
) -> None:
    (tmp_path / f"{compiling._name()}.so").write_text("no library")
    with pytest.raises(NoKernels, match="can't be loaded"):
        nothing_compiled()

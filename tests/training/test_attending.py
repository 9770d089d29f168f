"""On a GPU texts attend as they do on a processor; torch's flash kernel is stood in for here."""

from __future__ import annotations

import dataclasses
from typing import Any

import pytest
import torch
from torch.nn.functional import scaled_dot_product_attention

from peftcore.accelerations import ALL
from peftcore.data.batches import Batch, Span
from peftcore.training import trial as trials
from peftcore.training.accelerating import Accelerated
from peftcore.training.attending import OnGpu, OnProcessor, flash_fails, on_gpu
from peftcore.training.covering import covered
from peftcore.training.encoder import EncoderPass, find_encoder
from peftcore.training.evaluating import evaluation_mode
from peftcore.training.trial import run_trial
from tests.conftest import MakeTrial, sample_of

SPANS = (Span(0, 0, 5), Span(0, 5, 6), Span(0, 6, 13))
BOUNDARIES = torch.tensor([0, 5, 6, 13, 16], dtype=torch.int32)


def flash(
    query: torch.Tensor,
    key: torch.Tensor,
    value: torch.Tensor,
    query_boundaries: torch.Tensor,
    boundaries: torch.Tensor,
    longest_query: int,
    longest: int,
    probability: float,
    causal: bool,
    debug: bool,
    *,
    scale: float,
) -> tuple[torch.Tensor]:
    """What the operator of this signature does, text by text."""
    assert (causal, debug) == (False, False)
    assert query_boundaries.dtype == boundaries.dtype == torch.int32
    assert len(query_boundaries) == len(boundaries)
    texts = []
    queries, keys = query_boundaries.diff().tolist(), boundaries.diff().tolist()
    assert max(queries) <= longest_query
    assert max(keys) <= longest
    assert (sum(queries), sum(keys)) == (len(query), len(key))
    for q, k, v in zip(query.split(queries), key.split(keys), value.split(keys), strict=True):
        parts = (part.transpose(0, 1) for part in (q, k, v))
        texts.append(scaled_dot_product_attention(*parts, scale=scale).transpose(0, 1))
    return (torch.cat(texts),)


@pytest.fixture(autouse=True)
def _no_gpu_needed(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(torch.ops.aten, "_flash_attention_forward", flash)


@pytest.mark.parametrize("first_only", [False, True], ids=["all queries", "first only"])
def test_a_gpus_layout_attends_as_a_processors(first_only: bool) -> None:
    torch.manual_seed(0)
    query, key, value = (torch.randn(1, 16, 2, 8) for _ in range(3))
    if first_only:
        query = torch.randn(3, 1, 2, 8)
    gpu, host = OnGpu(BOUNDARIES, 7), OnProcessor(SPANS, cheap_dropout=False)
    ours, expected = (
        layout.attend(query, key, value, first_only=first_only, probability=0.0, scaling=0.3)
        for layout in (gpu, host)
    )
    texts = slice(None) if first_only else slice(0, 13)
    torch.testing.assert_close(ours[:, texts], expected[:, texts])
    assert ours.shape == query.shape
    hidden = torch.randn(1, 16, 6)
    assert torch.equal(gpu.first_tokens(hidden), host.first_tokens(hidden))
    assert gpu.end_to_end
    assert host.end_to_end


def test_the_flash_kernel_is_tried_before_it_is_used(monkeypatch: pytest.MonkeyPatch) -> None:
    device, dtype = torch.device("cpu"), torch.float32
    assert flash_fails(device, dtype, 8) is None

    def other(*arguments: Any, **options: Any) -> tuple[torch.Tensor]:
        return (flash(*arguments, **options)[0] + 0.1,)

    monkeypatch.setattr(torch.ops.aten, "_flash_attention_forward", other)
    assert flash_fails(device, dtype, 8) == "torch's flash attention gives another result here"

    def wrong_gradient(*arguments: Any, **options: Any) -> tuple[torch.Tensor]:
        result = flash(*arguments, **options)[0]
        return (result.detach() + 2 * (result - result.detach()),)

    monkeypatch.setattr(torch.ops.aten, "_flash_attention_forward", wrong_gradient)
    assert flash_fails(device, dtype, 8) == "torch's flash attention gives another result here"

    def none(*_: Any, **__: Any) -> tuple[torch.Tensor]:
        raise RuntimeError("no kernel for this GPU\nand a long trace")

    monkeypatch.setattr(torch.ops.aten, "_flash_attention_forward", none)
    told = flash_fails(device, dtype, 8)
    assert told == "torch's flash attention fails here: no kernel for this GPU"


def with_boundaries(batch: Batch) -> Batch:
    """The batch as made for a GPU."""
    ends = [span.end for span in batch.spans]
    begins = torch.tensor([0, *ends, batch.input_ids.shape[1]], dtype=torch.int32)
    return dataclasses.replace(batch, boundaries=begins, longest=int(begins.diff().max()))


@pytest.mark.parametrize("kind", ["tiny_bert", "tiny_roberta"])
def test_a_classifier_gives_the_same_logits_by_either_layout(
    make_trial: MakeTrial,
    kind: str,
    request: pytest.FixtureRequest,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    compared: list[float] = []
    warm_up = trials.warm_up

    def compare(running: Accelerated, examples: Any, *rest: Any) -> None:
        encoder = find_encoder(running.model)
        assert encoder is not None
        batch = with_boundaries(running.feed(examples).batch(range(6)))
        gpus = dataclasses.replace(running, layout=on_gpu)
        with evaluation_mode(running.model):
            expected = running.logits(batch)
            with covered({encoder: EncoderPass(encoder, first_token=True, cheap_dropout=False)}):
                compared.append((gpus.logits(batch) - expected).abs().max().item())
        warm_up(running, examples, *rest)

    monkeypatch.setattr(trials, "warm_up", compare)
    trial = make_trial("lora", model=request.getfixturevalue(kind), dropout=0.0)
    assert trial.recipe.accelerations == ALL
    run_trial(trial, sample_of(trial), lambda _: None)
    assert compared[0] < 1e-5

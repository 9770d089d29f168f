"""What only a CUDA GPU can show: 16-bit floats with loss scaling, and the allocator's figures."""

from __future__ import annotations

import dataclasses

import pytest
import torch

from peftcore.measuring.memory import AllocatedMemory, process_bytes
from peftcore.methods import METHODS, Method
from peftcore.scenarios import Precision
from peftcore.training.trial import run_trial
from peftcore.trials import Engine
from tests.conftest import MakeTrial, sample_of

pytestmark = pytest.mark.gpu

CANDIDATES = [method for method in METHODS if not method.reference]


@pytest.mark.parametrize("method", CANDIDATES, ids=lambda method: method.slug)
def test_both_engines_follow_the_same_losses_in_fp16(make_trial: MakeTrial, method: Method) -> None:
    trial = make_trial(method.slug, epochs=2, dropout=0.0, precision=Precision.FP16)
    ours, reference = (
        run_trial(
            dataclasses.replace(trial, engine=engine), sample_of(trial), lambda _: None
        ).measurement
        for engine in (Engine.PEFTCORE, Engine.TRAINER)
    )
    assert [loss for _, loss in ours["losses"]] == pytest.approx(
        [loss for _, loss in reference["losses"]], abs=2e-3
    )
    assert ours["peak_bytes"] <= ours["peak_reserved_bytes"]


def test_the_peak_of_a_span_is_what_its_tensors_took() -> None:
    device = torch.device("cuda", 0)
    meter = AllocatedMemory(device)
    meter.reset()
    before = meter.peak().used_bytes
    tensor = torch.empty(64 * 2**20, dtype=torch.uint8, device=device)
    del tensor
    after = meter.peak().used_bytes
    assert before is not None
    assert after is not None
    assert after - before == 64 * 2**20
    meter.reset()
    assert meter.peak().used_bytes == before


def test_the_driver_counts_at_least_what_the_allocator_holds() -> None:
    held = torch.ones(2**20, device="cuda")
    counted = process_bytes(held.device)
    assert counted is None or counted >= torch.cuda.memory_reserved()

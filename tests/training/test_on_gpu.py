"""What only a CUDA GPU can show: 16-bit floats with loss scaling, and the allocator's figures."""

from __future__ import annotations

import dataclasses

import pytest
import torch

from peftcore.accelerations import ALL
from peftcore.measuring.memory import AllocatedMemory, process_bytes
from peftcore.methods import Method
from peftcore.scenarios import Precision
from peftcore.training.trial import run_trial
from peftcore.trials import Engine
from tests.conftest import STUDIED, MakeTrial, sample_of

pytestmark = pytest.mark.gpu

CANDIDATES = [method for method in STUDIED if not method.reference]


@pytest.mark.parametrize("precision", [Precision.FP16, Precision.BF16], ids=str)
@pytest.mark.parametrize("method", CANDIDATES, ids=lambda method: method.slug)
def test_both_engines_follow_the_same_losses(
    make_trial: MakeTrial, method: Method, precision: Precision
) -> None:
    trial = make_trial(method.slug, epochs=2, dropout=0.0, precision=precision)
    ours, reference = (
        run_trial(
            dataclasses.replace(trial, engine=engine), sample_of(trial), lambda _: None
        ).measurement
        for engine in (Engine.PEFTCORE, Engine.TRAINER)
    )
    assert [loss for _, loss in ours["losses"]] == pytest.approx(
        [loss for _, loss in reference["losses"]],
        abs=2e-3 if precision is Precision.FP16 else 2e-2,
    )
    on = {name for name, state in ours["accelerations"].items() if state == "on"}
    assert on >= {"padding-free", "first-token", "fused-update", "step-graph"}
    assert ours["peak_bytes"] <= ours["peak_reserved_bytes"]


@pytest.mark.parametrize("method", CANDIDATES, ids=lambda method: method.slug)
def test_a_recorded_step_trains_as_the_step_itself(make_trial: MakeTrial, method: Method) -> None:
    trial = make_trial(method.slug, epochs=3, dropout=0.0, precision=Precision.BF16)
    losses = []
    for names in (ALL, tuple(name for name in ALL if name != "step-graph")):
        recipe = dataclasses.replace(trial.recipe, accelerations=names)
        one = dataclasses.replace(trial, recipe=recipe)
        result = run_trial(one, sample_of(one), lambda _: None)
        losses.append([loss for _, loss in result.measurement["losses"]])
    # Not to the bit: the flash kernel's gradient adds up in no fixed order.
    assert losses[0] == pytest.approx(losses[1], abs=5e-3)


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

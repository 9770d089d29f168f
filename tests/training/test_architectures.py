"""Every method on every supported architecture: Trainer's losses, and a record that says why."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable
from pathlib import Path

import pytest

from peftcore.accelerations import ALL
from peftcore.conformance.tiny import ARCHITECTURES
from peftcore.methods import Method, Trains
from peftcore.models.architectures import architecture_of
from peftcore.scenarios import Precision
from peftcore.training.ending import TrialResult
from peftcore.training.kernels.compiling import find_kernels
from peftcore.training.trial import run_trial
from peftcore.trials import Engine, Trial
from tests.conftest import STUDIED, MakeTrial, sample_of

TRAINED = [method for method in STUDIED if method.trains is not Trains.BAG_OF_WORDS]
ONLY_BERT = "for the encoders of BERT and RoBERTa only"
OBSTACLES = {
    "bert": {},
    "roberta": {},
    "distilbert": {"padding-free": ONLY_BERT, "first-token": ONLY_BERT},
    "deberta-v2": {
        "padding-free": "DeBERTa's attention counts distances along a whole row, so that each "
        "text needs a row of its own",
        "first-token": "DeBERTa's attention compares as many queries as keys",
    },
    "modernbert": {
        "padding-free": "ModernBERT's attention finds its windows along a whole row, so that each "
        "text needs a row of its own",
        "first-token": "ModernBERT projects queries, keys and values as one",
    },
    "llama": {
        "padding-free": "a Llama's head finds the end of a text by the padding after it",
        "first-token": "a Llama's head reads the last token of a text, not its first",
    },
}

TinyModels = Callable[[str], Path]


def run(trial: Trial) -> TrialResult:
    return run_trial(trial, sample_of(trial), lambda _: None)


def off(result: TrialResult) -> dict[str, str]:
    told = result.measurement["accelerations"]
    assert list(told) == list(ALL)
    return {name: why for name, why in told.items() if why != "on"}


def expected_off(kind: str, slug: str, precision: Precision, *, drops: bool) -> dict[str, str]:
    """Return all that must be off, with why."""
    found = {**OBSTACLES[kind], "step-graph": "for CUDA GPUs only"}
    if precision is Precision.FP32:
        found["frozen-weights"] = "products in 32 bits need no conversion"
        found["bf16-gradients"] = "for bf16 only"
    else:
        # BERT's pooler is neither quantised nor trained.
        if slug == "full" or (slug == "qlora" and kind != "bert"):
            found["frozen-weights"] = "no linear layer has frozen weights of more bits"
        if slug != "full":
            found["bf16-gradients"] = "no matrix of the backbone is trained"
    if not drops and kind not in ("bert", "roberta") and "bf16-gradients" in found:
        found["compiled-kernels"] = "nothing in this model that they compute"
    if slug != "qlora":
        found["four-bit-scratch"] = "no layer is in 4 bits"
    if slug != "full":
        found["used-rows"] = "the token embedding is not trained"
    if not drops:
        found["cheap-dropout"] = "the model has no dropout modules that drop anything"
    why = find_kernels()
    if isinstance(why, str):
        found["compiled-kernels"] = why
        found.setdefault("bf16-gradients", "it needs compiled-kernels and fused-update")
    return found


def test_each_architecture_has_a_tiny_model() -> None:
    assert set(OBSTACLES) == set(ARCHITECTURES)
    for kind in OBSTACLES:
        architecture_of(kind)


@pytest.mark.parametrize("method", TRAINED, ids=lambda method: method.slug)
@pytest.mark.parametrize("kind", OBSTACLES)
def test_every_method_follows_trainers_losses(
    make_trial: MakeTrial, tiny_models: TinyModels, kind: str, method: Method
) -> None:
    trial = make_trial(
        method.slug,
        model=tiny_models(kind),
        epochs=2,
        dropout=0.0,
        train_examples=20,
        learning_rate=5e-3,
    )
    ours = run(trial)
    assert off(ours) == expected_off(kind, method.slug, Precision.FP32, drops=False)
    reference = run(dataclasses.replace(trial, engine=Engine.TRAINER))
    pairs = (ours.measurement["losses"], reference.measurement["losses"])
    losses, expected = ([loss for _, loss in pair] for pair in pairs)
    assert len(losses) == 6
    assert losses == pytest.approx(expected, abs=2e-6)
    assert ours.predictions == reference.predictions
    for result in (ours, reference):
        checks = [check["name"] for check in result.measurement["checks"]]
        moved = ["frozen weights", "trained weights"]
        assert checks == ["targets", "head", "dropout", *moved, "pass", "reload"]


@pytest.mark.parametrize("slug", ["full", "lora", "qlora"])
@pytest.mark.parametrize("kind", OBSTACLES)
def test_in_bf16_with_dropout_the_checks_hold_and_the_rest_is_on(
    make_trial: MakeTrial, tiny_models: TinyModels, kind: str, slug: str
) -> None:
    result = run(make_trial(slug, model=tiny_models(kind), dropout=0.1, precision=Precision.BF16))
    # A Llama itself drops nothing but attention weights, in no module of its own.
    drops = (kind, slug) != ("llama", "full")
    assert off(result) == expected_off(kind, slug, Precision.BF16, drops=drops)

"""Each acceleration, and all together, learn what Trainer learns."""

from __future__ import annotations

import dataclasses
import statistics
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import nn
from torch.nn.functional import cross_entropy

from peftcore.accelerations import ALL
from peftcore.data.batches import Tokenised
from peftcore.methods import Method, Trains, find_method
from peftcore.models.attach import Classifier
from peftcore.models.saving import save_trained
from peftcore.scenarios import Precision, Recipe
from peftcore.training import trial as trials
from peftcore.training.accelerating import Accelerated
from peftcore.training.ending import TrialResult
from peftcore.training.trial import run_trial
from peftcore.trials import Engine, Trial
from tests.conftest import STUDIED, MakeTrial, sample_of

TRAINED = [method for method in STUDIED if method.trains is not Trains.BAG_OF_WORDS]


def run(trial: Trial) -> TrialResult:
    return run_trial(trial, sample_of(trial), lambda _: None)


def losses(result: TrialResult) -> list[float]:
    return [loss for _, loss in result.measurement["losses"]]


def with_accelerations(trial: Trial, *names: str) -> Trial:
    recipe = dataclasses.replace(trial.recipe, accelerations=names)
    return dataclasses.replace(trial, recipe=recipe)


@pytest.mark.parametrize("on", [*((name,) for name in ALL), ALL], ids=[*ALL, "all"])
@pytest.mark.parametrize("method", TRAINED, ids=lambda method: method.slug)
def test_each_follows_trainers_losses(
    make_trial: MakeTrial, method: Method, on: tuple[str, ...]
) -> None:
    """In 32 bits, where only the order of sums is left to differ."""
    trial = make_trial(method.slug, epochs=2, dropout=0.0, train_examples=44, learning_rate=5e-3)
    ours = run(with_accelerations(trial, *on))
    reference = run(dataclasses.replace(trial, engine=Engine.TRAINER))
    assert losses(ours) == pytest.approx(losses(reference), abs=2e-6)
    assert ours.predictions == reference.predictions


@pytest.mark.parametrize("kind", ["tiny_bert", "tiny_roberta"])
def test_all_together_end_no_further_from_32_bits_than_trainer_does(
    make_trial: MakeTrial,
    kind: str,
    request: pytest.FixtureRequest,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """In bf16 only rounding differs: final weights tell, which add up every step's.

    Chance decides a single pair, so it is the median over methods and seeds that must hold.
    """
    final: list[torch.Tensor] = []

    def keep(classifier: Classifier, folder: Path) -> int:
        trained = [
            p.detach().flatten() for p in classifier.parameters().values() if p.requires_grad
        ]
        final.append(torch.cat(trained).clone())
        return save_trained(classifier, folder)

    monkeypatch.setattr(trials, "save_trained", keep)
    ratios = []
    for method in TRAINED:
        for seed in (1, 2):
            exact = make_trial(
                method.slug,
                seed=seed,
                model=request.getfixturevalue(kind),
                epochs=4,
                dropout=0.0,
                learning_rate=2e-3,
            )
            recipe = dataclasses.replace(exact.recipe, precision=Precision.BF16)
            in_bf16 = dataclasses.replace(exact, recipe=recipe)
            final.clear()
            for trial in (
                with_accelerations(exact),
                in_bf16,
                dataclasses.replace(in_bf16, engine=Engine.TRAINER),
            ):
                run(trial)
            goal, ours, reference = final
            ratios.append(((ours - goal).norm() / (reference - goal).norm()).item())
    assert statistics.median(ratios) <= 1.1, ratios


@pytest.mark.parametrize("kind", ["tiny_bert", "tiny_roberta"])
def test_with_dropout_the_tiny_task_is_learned(
    make_trial: MakeTrial, kind: str, request: pytest.FixtureRequest
) -> None:
    trial = make_trial(
        "full",
        model=request.getfixturevalue(kind),
        epochs=6,
        train_examples=192,
        learning_rate=1e-3,
        precision=Precision.BF16,
        dropout=0.1,
    )
    result = run(trial)
    off = {n: why for n, why in result.measurement["accelerations"].items() if why != "on"}
    assert off == {
        "frozen-weights": "no linear layer has frozen weights of more bits",
        "four-bit-scratch": "no layer is in 4 bits",
        "step-graph": "for CUDA GPUs only",
    }
    assert result.measurement["accuracy"] >= 0.9


@pytest.mark.parametrize("method", ["full", "lora", "qlora"])
def test_dropout_moves_gradients_as_torchs_does(
    make_trial: MakeTrial, method: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Other numbers are dropped, but from the same distribution: one mean, one spread.

    Of many draws on the same weights and batch; z is the difference of two means in its own
    standard errors, 1 in the mean square where nothing but chance is between them.
    """
    draws = 600
    found: list[tuple[torch.Tensor, torch.Tensor]] = []

    def sample(running: Accelerated, examples: Tokenised, _: Recipe) -> None:
        batch = running.feed(examples).batch(range(8))
        running.model.train()
        torch.manual_seed(1000 + len(found))
        drawn = []
        for _ in range(draws):
            cross_entropy(running.logits(batch), batch.labels).backward()
            gradients = [p.grad for _, p in running.trained() if p.grad is not None]
            # Some of each, so that no large table outweighs the rest.
            drawn.append(torch.cat([gradient.flatten()[:50] for gradient in gradients]).clone())
            running.forget_gradients()
        found.append((torch.stack(drawn).mean(0), torch.stack(drawn).std(0)))

    monkeypatch.setattr(trials, "warm_up", sample)
    trial = make_trial(method, dropout=0.2)
    # The embedding's rows stand in another order where only those used are trained.
    run(with_accelerations(trial, *(name for name in ALL if name != "used-rows")))
    run(with_accelerations(trial))
    (mean, spread), (torchs_mean, torchs_spread) = found
    moved = torchs_spread > 1e-7
    z = (mean - torchs_mean)[moved] / (spread**2 + torchs_spread**2)[moved].sqrt() * draws**0.5
    # Numbers of one gradient go together: over eight pairs of seeds it was 0.89 to 1.12.
    assert 0.75 < z.square().mean().sqrt().item() < 1.3
    assert (spread.norm() / torchs_spread.norm()).item() == pytest.approx(1, abs=0.05)


def test_what_is_off_says_why(make_trial: MakeTrial) -> None:
    trial = with_accelerations(make_trial("lora"), *(n for n in ALL if n != "fused-update"))
    told = run(trial).measurement["accelerations"]
    assert list(told) == list(ALL)
    off = {name: why for name, why in told.items() if why != "on"}
    assert off == {
        "fused-update": "not asked for",
        "frozen-weights": "products in 32 bits need no conversion",
        "four-bit-scratch": "no layer is in 4 bits",
        "bf16-gradients": "for bf16 only",
        "used-rows": "the token embedding is not trained",
        "step-graph": "for CUDA GPUs only",
    }


def test_trainer_uses_none(make_trial: MakeTrial) -> None:
    trial = make_trial("lora", engine=Engine.TRAINER)
    assert trial.recipe.accelerations == ()
    told = run(trial).measurement["accelerations"]
    assert set(told.values()) == {"not asked for"}


def test_afterwards_the_model_is_as_it_was(
    make_trial: MakeTrial, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Nothing covers a module's forward any more, and its plain logits are those of training."""
    seen: list[Accelerated] = []
    warm_up = trials.warm_up

    def keep(running: Accelerated, *arguments: Any) -> None:
        assert any("forward" in vars(module) for module in running.model.modules())
        seen.append(running)
        warm_up(running, *arguments)

    monkeypatch.setattr(trials, "warm_up", keep)
    run(make_trial("lora", precision=Precision.BF16))
    (running,) = seen
    assert not any("forward" in vars(module) for module in running.model.modules())


def test_frozen_linear_weights_are_kept_in_the_products_format(
    make_trial: MakeTrial, monkeypatch: pytest.MonkeyPatch
) -> None:
    found: dict[str, set[torch.dtype]] = {}
    warm_up = trials.warm_up

    def look(running: Accelerated, *arguments: Any) -> None:
        for name, module in running.model.named_modules():
            # The head as it was before training is kept by peft, unused.
            if isinstance(module, nn.Linear) and ".original_module" not in name:
                for parameter in module.parameters():
                    kind = "trained" if parameter.requires_grad else "frozen"
                    found.setdefault(kind, set()).add(parameter.dtype)
        warm_up(running, *arguments)

    monkeypatch.setattr(trials, "warm_up", look)
    run(make_trial("lora", precision=Precision.BF16))
    assert found == {"trained": {torch.float32}, "frozen": {torch.bfloat16}}


def test_weights_that_an_adapter_reads_itself_stay_as_they_are(make_trial: MakeTrial) -> None:
    """DoRA takes the norms of frozen weights: rounded ones would give other norms."""
    lora = find_method("lora")
    assert lora.adapter is not None
    options = {**lora.adapter.options, "use_dora": True}
    dora = dataclasses.replace(
        lora, slug="dora", adapter=dataclasses.replace(lora.adapter, options=options)
    )
    trial = dataclasses.replace(make_trial(precision=Precision.BF16, dropout=0.0), method=dora)
    ours = run(trial)
    assert ours.measurement["accelerations"]["frozen-weights"] == "on"
    assert "reload" in [check["name"] for check in ours.measurement["checks"]]
    reference = run(dataclasses.replace(trial, engine=Engine.TRAINER))
    assert losses(ours) == pytest.approx(losses(reference), abs=2e-3)

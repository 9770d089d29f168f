"""Every declared method in a trial, and that what makes a method itself is really on."""

from __future__ import annotations

import math
import os
import shutil
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import Any

import bitsandbytes
import peft
import pytest
import torch
from safetensors.torch import load_file, save_file
from torch import nn

from peftcore.conformance.fingerprints import kept_beside
from peftcore.conformance.tiny import WORDS, review_rows
from peftcore.data.examples import Examples, Sample
from peftcore.errors import UsageError
from peftcore.methods import METHODS, Method, Optimiser, Trains, find_method
from peftcore.models.attach import Classifier, attach
from peftcore.models.factors import lora_factors
from peftcore.results.records import Measurement
from peftcore.scenarios import Precision
from peftcore.training import trial as trials
from peftcore.training.preparing import run_of, tokenised
from peftcore.training.trial import run_trial
from peftcore.training.updating import FullGradient
from peftcore.trials import Engine, Trial
from tests.backbones import load_backbone
from tests.conftest import MakeTrial, sample_of

TRAINED = [method for method in METHODS if method.trains is not Trains.BAG_OF_WORDS]
LAYERS = 2


def measured(trial: Trial) -> Measurement:
    result = run_trial(trial, sample_of(trial), lambda _: None)
    return Measurement.from_json(result.measurement)


def losses(trial: Trial) -> list[float]:
    return [loss for _, loss in measured(trial).losses]


@dataclass
class Kept:
    """What a trial trained, once it is over."""

    measurement: Measurement
    classifier: Classifier

    @property
    def model(self) -> Any:
        return self.classifier.model


@pytest.fixture
def kept(monkeypatch: pytest.MonkeyPatch) -> Callable[[Trial], Kept]:
    """Return a function that runs a trial and gives its classifier too."""

    def run(trial: Trial) -> Kept:
        found: list[Classifier] = []

        def attach_and_keep(*arguments: Any, **options: Any) -> Classifier:
            found.append(attach(*arguments, **options))
            return found[-1]

        monkeypatch.setattr(trials, "attach", attach_and_keep)
        return Kept(measured(trial), found[0])

    return run


Attached = Callable[..., Classifier]


@pytest.fixture(scope="session")
def tried(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder for losses that all workers of a session share."""
    own = tmp_path_factory.getbasetemp()
    return (own.parent if "PYTEST_XDIST_WORKER" in os.environ else own) / "tried"


@pytest.mark.parametrize("method", TRAINED, ids=lambda method: method.slug)
def test_every_method_trains_in_a_trial(make_trial: MakeTrial, tried: Path, method: Method) -> None:
    """The trial's own checks find what is not attached, frozen, trained or loaded again.

    What has equal losses to the bit is one method under two names: the one tried later finds it.
    """
    found = measured(make_trial(method.slug))
    assert len(found.losses) == 6
    assert found.head_parameters == 2 * 64 + 2
    names = [check["name"] for check in found.checks]
    moved = ["frozen weights", "trained weights"]
    assert names == ["targets", "head", "dropout", *moved, "pass", "reload"]
    assert (found.adapter_parameters or 0) > 0 or method.adapter is None
    assert (found.adapter_file_bytes or 0) > 4 * 130
    assert kept_beside(tried, method.slug, [loss for _, loss in found.losses]) == []


@pytest.mark.parametrize("method", TRAINED, ids=lambda method: method.slug)
def test_every_method_trains_in_16_bits(make_trial: MakeTrial, method: Method) -> None:
    """There, what is frozen may be kept in them, and products are no longer as exact as sums."""
    found = measured(make_trial(method.slug, precision=Precision.BF16, train_examples=16))
    assert [check["name"] for check in found.checks][-2:] == ["pass", "reload"]


def _attached(make_trial: MakeTrial, folder: Path, method: Method, **recipe: Any) -> Classifier:
    """Return a method attached to a tiny backbone, before any update."""
    texts, labels = zip(*review_rows(48, seed=1), strict=True)
    sample = Sample(Examples(texts, labels), Examples(texts[:8], labels[:8]))
    trial = make_trial(method.slug, model=folder, **recipe)
    backbone = load_backbone(folder, method.quantisation, dropout=0.0)
    train, _ = tokenised(trial, sample, backbone.config)
    run = run_of(trial, train, full_precision=lambda: load_backbone(folder, dropout=0.0))
    return attach(backbone, method, seed=1, dropout=0.0, run=run)


@pytest.fixture
def attached(make_trial: MakeTrial, tiny_bert: Path) -> Attached:
    """Return a function that attaches a method to a tiny backbone."""
    return partial(_attached, make_trial, tiny_bert)


# AdaLoRA


def ranks(model: nn.Module) -> int:
    """Return how many singular values of all of a model's AdaLoRAs are not zero."""
    return sum(
        int(parameter.count_nonzero())
        for name, parameter in model.named_parameters()
        if "lora_E" in name
    )


@pytest.mark.parametrize("engine", Engine)
def test_adalora_ends_with_the_ranks_it_was_to_end_with(
    make_trial: MakeTrial, kept: Callable[[Trial], Kept], engine: Engine
) -> None:
    trial = make_trial("adalora", epochs=3, engine=engine)
    adapter = trial.method.adapter
    assert adapter is not None
    matrices = 2 * LAYERS
    assert ranks(kept(trial).model) == adapter.options["target_r"] * matrices
    # Left alone it keeps all that it began with.
    idle = pytest.MonkeyPatch()
    with idle.context() as patched:
        patched.setattr(Classifier, "allocate", lambda _: None)
        assert ranks(kept(trial).model) == adapter.options["init_r"] * matrices


def test_adaloras_factors_are_kept_orthogonal_by_its_own_loss(
    make_trial: MakeTrial, kept: Callable[[Trial], Kept], monkeypatch: pytest.MonkeyPatch
) -> None:
    def apart(trial: Trial) -> float:
        found = kept(trial).model.named_parameters()
        factors = [p.detach() for name, p in found if "lora_A" in name]
        unit = torch.eye(factors[0].shape[0])
        return sum(float(torch.linalg.norm(f @ f.T - unit)) for f in factors)

    trial = make_trial("adalora", epochs=3, learning_rate=1e-2, dropout=0.0)
    assert trial.method.adapter is not None
    bare = replace(trial.method, adapter=replace(trial.method.adapter, adds_loss=False))
    assert apart(trial) < 0.8 * apart(replace(trial, method=bare))


def test_the_loss_that_is_told_is_that_of_the_predictions_alone(make_trial: MakeTrial) -> None:
    """AdaLoRA's first penalty is larger than the loss of guessing."""
    assert losses(make_trial("adalora", dropout=0.0))[0] == pytest.approx(math.log(2), abs=0.1)
    assert losses(make_trial("adalora", dropout=0.0, engine=Engine.TRAINER))[0] == pytest.approx(
        math.log(2), abs=0.1
    )


# First weights


def explained(inputs: torch.Tensor, first: torch.Tensor) -> float:
    """Return the share of the inputs' squares that lies in the space of a factor's rows."""
    basis = torch.linalg.qr(first.detach().T).Q
    return float((inputs @ basis).square().sum() / inputs.square().sum())


def test_eva_begins_where_activations_vary_most(attached: Attached) -> None:
    eva = attached(find_method("eva"))
    lora = attached(find_method("lora"))
    seen: list[torch.Tensor] = []
    query: Any = lora.model.get_submodule("base_model.model.bert.encoder.layer.0.attention.self")
    query.query.register_forward_pre_hook(lambda _, inputs: seen.append(inputs[0].flatten(0, 1)))
    for text, _ in review_rows(48, seed=1):
        ids = [2, *(5 + WORDS.index(word) for word in text.split()), 3]
        with torch.no_grad():
            lora.model.eval()(input_ids=torch.tensor([ids]))
    inputs = torch.cat(seen)
    inputs = inputs - inputs.mean(dim=0)
    found = {f.layer: f for f in lora_factors(eva.model)}
    drawn = {f.layer: f for f in lora_factors(lora.model)}
    layer = "base_model.model.bert.encoder.layer.0.attention.self.query"
    rank = found[layer].first.shape[0]
    best = float(torch.linalg.svdvals(inputs)[:rank].square().sum() / inputs.square().sum())
    assert explained(inputs, found[layer].first) > 0.9 * best
    assert explained(inputs, drawn[layer].first[:rank]) < 0.7 * best
    # Both layers are as hard to explain, and no rank was lost.
    assert sum(f.first.shape[0] for f in found.values()) == 16 * 2 * LAYERS
    assert all(torch.equal(f.second, torch.zeros_like(f.second)) for f in found.values())


def test_eva_refuses_batches_in_which_it_would_look_for_ever(attached: Attached) -> None:
    with pytest.raises(UsageError, match=r"looks for 32 directions .* make batches larger"):
        attached(find_method("eva"), batch_size=1)


def test_eva_gives_ranks_to_the_layers_that_need_them(
    make_trial: MakeTrial, tiny_bert: Path, tmp_path: Path
) -> None:
    folder = Path(shutil.copytree(tiny_bert, tmp_path / "uneven"))
    weights = load_file(folder / "model.safetensors")
    (name,) = (name for name in weights if name.endswith("layer.0.output.LayerNorm.weight"))
    # What enters the second layer varies in four directions alone.
    weights[name][4:] *= 1e-3
    save_file(weights, folder / "model.safetensors", metadata={"format": "pt"})
    eva = _attached(make_trial, folder, find_method("eva"))
    given = {f.layer: f.first.shape[0] for f in lora_factors(eva.model)}
    assert sum(given.values()) == 16 * 2 * LAYERS
    for layer, rank in given.items():
        assert (rank > 24) is ("layer.0" in layer), given


@torch.no_grad()
def test_loftq_begins_as_the_best_product_for_what_was_lost(attached: Attached) -> None:
    method = find_method("loftq")
    assert method.quantisation is not None
    quantised = attached(method)
    full = attached(find_method("lora"))
    whole = {f.layer: f.base.weight for f in lora_factors(full.model)}
    count = 0
    for lora in lora_factors(quantised.model):
        weight = lora.base.weight
        kept = bitsandbytes.functional.dequantize_4bit(weight.data, weight.quant_state)
        lost = whole[lora.layer] - kept
        left = lost - lora.scaling * lora.second @ lora.first
        rest = torch.linalg.svdvals(lost)[lora.first.shape[0] :]
        assert float(torch.linalg.norm(left)) == pytest.approx(
            float(torch.linalg.norm(rest)), rel=1e-3
        )
        assert torch.linalg.norm(left) < 0.8 * torch.linalg.norm(lost)
        count += 1
    assert count == 2 * LAYERS


def test_loftq_is_for_quantised_backbones() -> None:
    with pytest.raises(ValueError, match="starts from an error that it doesn't make"):
        replace(find_method("loftq"), quantisation=None)


@torch.no_grad()
@pytest.mark.parametrize("slug", ["pissa", "olora"])
def test_what_begins_as_a_part_of_the_weight_is_taken_out_of_it(
    attached: Attached, slug: str
) -> None:
    lora = {f.layer: f for f in lora_factors(attached(find_method("lora")).model)}
    for found in lora_factors(attached(find_method(slug)).model):
        weight = lora[found.layer].base.weight
        product = found.scaling * found.second @ found.first
        torch.testing.assert_close(found.base.weight + product, weight, rtol=0, atol=1e-5)
        assert float(torch.linalg.norm(product)) > 0.1 * float(torch.linalg.norm(weight))
        if slug == "olora":
            across = found.second.T @ found.second
            torch.testing.assert_close(across, torch.eye(len(across)), rtol=0, atol=1e-5)
        if slug == "pissa":
            largest = torch.linalg.svdvals(weight)[:16]
            torch.testing.assert_close(
                torch.linalg.svdvals(product)[:16], largest, rtol=1e-3, atol=1e-5
            )


def test_dora_trains_magnitudes(attached: Attached) -> None:
    dora = attached(find_method("dora"))
    magnitudes = [n for n in dora.trained_parameters() if "lora_magnitude_vector" in n]
    assert len(magnitudes) == 2 * LAYERS


def test_rslora_is_stronger_than_lora_by_the_root_of_the_rank(attached: Attached) -> None:
    """Its rate makes up for it: a step of the second factor's moves the weight as LoRA's does."""
    lora, rslora = find_method("lora"), find_method("rslora")
    of_lora, of_rslora = (
        {f.scaling for f in lora_factors(attached(method).model)} for method in (lora, rslora)
    )
    assert (of_lora, of_rslora) == ({32 / 16}, {32 / math.sqrt(16)})
    assert rslora.rate_times * max(of_rslora) == max(of_lora)


def test_trainable_tokens_are_the_most_frequent_of_the_texts(attached: Attached) -> None:
    method = find_method("trainable-tokens")
    assert method.adapter is not None
    few = replace(method, adapter=replace(method.adapter, frequent_tokens={"token_indices": 3}))
    words = Counter(word for text, _ in review_rows(48, seed=1) for word in text.split())
    most = [5 + WORDS.index(word) for word, _ in words.most_common(3)]
    classifier = attached(few)
    model: Any = classifier.model
    assert sorted(model.peft_config["default"].token_indices) == sorted(most)
    # peft leaves the head as it was drawn.
    assert classifier.head_apart == ("classifier",)


# Optimisers


@pytest.mark.parametrize("engine", Engine)
def test_loraplus_moves_the_second_factor_sixteen_times_as_far(
    make_trial: MakeTrial, kept: Callable[[Trial], Kept], engine: Engine
) -> None:
    """AdamW's first update moves every number that has a gradient by just the rate."""
    rate = 1e-4
    options = {"learning_rate": rate, "train_examples": 8, "dropout": 0.0, "engine": engine}
    plus = kept(make_trial("loraplus", **options)).model
    assert measured(make_trial("loraplus", **options)).losses[-1][0] == 1
    for lora in lora_factors(plus):
        assert float(lora.second.detach().abs().max()) == pytest.approx(16 * rate, rel=0.01)
    for lora in lora_factors(kept(make_trial("lora", **options)).model):
        assert float(lora.second.detach().abs().max()) == pytest.approx(rate, rel=0.01)


def test_the_gradient_that_lora_fa_follows_is_the_least_squares_one() -> None:
    torch.manual_seed(0)
    model = nn.Sequential(nn.Linear(12, 9, bias=False))
    config = peft.LoraConfig(r=4, lora_alpha=12, target_modules=["0"])
    adapted = peft.get_peft_model(model, config)
    (lora,) = lora_factors(adapted)
    inputs, target = torch.randn(30, 12), torch.randn(30, 9)
    (adapted(inputs) - target).square().sum().backward()
    whole = nn.Parameter(lora.base.weight.detach().clone())
    (inputs @ whole.T - target).square().sum().backward()
    assert whole.grad is not None
    FullGradient(adapted).apply()
    assert lora.second.grad is not None
    # s X A closest to the whole gradient, which is G of B over s² times the inverse of A Aᵀ.
    best = torch.linalg.lstsq(lora.scaling * lora.first.T, whole.grad.T).solution.T
    torch.testing.assert_close(lora.second.grad, best, rtol=1e-4, atol=1e-4)


def test_lora_fa_keeps_its_first_factors_and_follows_peft(
    make_trial: MakeTrial, kept: Callable[[Trial], Kept]
) -> None:
    trial = make_trial("lora-fa", dropout=0.0, epochs=4, learning_rate=2e-2)
    found = kept(trial)
    assert not any(lora.first.requires_grad for lora in lora_factors(found.model))
    ours = [loss for _, loss in found.measurement.losses]
    theirs = losses(replace(trial, engine=Engine.TRAINER))
    # What AdamW alone comes to.
    plain = losses(replace(trial, method=replace(trial.method, optimiser=None)))
    away = max(abs(a - b) for a, b in zip(ours, plain, strict=True))
    # peft multiplies by the inverse in 16 bits, and its AdamW has an epsilon of 1e-6.
    apart = max(abs(a - b) for a, b in zip(ours, theirs, strict=True))
    assert apart < 0.2 * away


def test_a_rate_factor_is_of_the_parameters_that_are_named() -> None:
    assert find_method("loraplus").optimiser == Optimiser(rate_factors={"lora_B": 16.0})


# Engines


@pytest.mark.parametrize(
    "slug",
    [
        *("adalora", "bitfit", "eva", "loftq", "loraplus", "multitask-prompt-tuning"),
        *("pissa", "poly", "prefix-tuning", "prompt-tuning", "pvera", "trainable-tokens"),
    ],
)
def test_both_engines_learn_the_same(make_trial: MakeTrial, slug: str) -> None:
    """Of what a method has beside a configuration, Trainer gets the same."""
    trial = make_trial(slug, dropout=0.0)
    ours, theirs = losses(trial), losses(replace(trial, engine=Engine.TRAINER))
    assert ours == pytest.approx(theirs, abs=2e-3)

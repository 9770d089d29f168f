"""Model FLOPs against what torch counts when it computes the plain model."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from torch.nn.functional import cross_entropy
from torch.utils.flop_counter import FlopCounterMode
from transformers import AutoModelForSequenceClassification

from peftcore.conformance.tiny import ARCHITECTURES
from peftcore.measuring.flops import ModelFlops, count_flops
from peftcore.methods import Trains, find_method
from peftcore.models.attach import Classifier, attach
from peftcore.models.backbones import locate_backbone
from peftcore.models.loading import classifier_config
from peftcore.trials import Source, Weights
from tests.backbones import load_backbone
from tests.conftest import STUDIED

TRAINED = [method.slug for method in STUDIED if method.trains is not Trains.BAG_OF_WORDS]


def classifier(source: Source, slug: str, device: str) -> Classifier:
    config = classifier_config(source, labels=2, dropout=0.0)
    with torch.device(device):
        # Attention as two products: of its own kernels torch counts backward as a whole.
        model = AutoModelForSequenceClassification.from_config(config, attn_implementation="eager")
    method = dataclasses.replace(find_method(slug), quantisation=None)
    return attach(model, method, seed=0, dropout=0.0)


def counted(found: Classifier) -> ModelFlops:
    return count_flops(found.model, found.architecture, lambda ids: found.model(input_ids=ids))


@pytest.mark.parametrize("slug", TRAINED)
@pytest.mark.parametrize("kind", ARCHITECTURES)
def test_they_are_what_torch_counts_of_the_plain_model(
    tiny_models: Callable[[str], Path], kind: str, slug: str
) -> None:
    """To the last one, for two batches of texts without padding."""
    found = classifier(locate_backbone(str(tiny_models(kind)), Weights.PRETRAINED), slug, "cpu")
    flops = counted(found)
    for texts, tokens in ((4, 11), (3, 30)):
        ids = torch.full((texts, tokens), 6)
        with FlopCounterMode(display=False) as counter:
            logits = found.model(input_ids=ids).logits
            cross_entropy(logits, torch.zeros(texts, dtype=torch.int64)).backward()
        ours = flops.training([tokens] * texts, epochs=1, batch_size=texts)
        assert ours == counter.get_total_flops()


@pytest.mark.parametrize(("slug", "teraflops"), [("full", 1.111), ("lora", 0.763), ("ia3", 0.756)])
def test_a_step_of_roberta_base_takes_what_was_counted_by_hand(slug: str, teraflops: float) -> None:
    found = classifier(Source(name="roberta-base", identity="architecture"), slug, "meta")
    step = counted(found).training([256] * 8, epochs=1, batch_size=8)
    assert step / 1e12 == pytest.approx(teraflops, rel=0.03)


def test_what_grows_with_tokens_pairs_texts_and_batches_is_summed_apart() -> None:
    flops = ModelFlops(per_token=1000, per_pair=100, per_text=10, per_batch=1)
    assert flops.training([2, 3, 1], epochs=1, batch_size=2) == 6000 + 1400 + 30 + 2
    assert flops.training([2, 3, 1], epochs=3, batch_size=3) == 3 * (6000 + 1400 + 30 + 1)


def test_packed_weights_count_as_what_they_stand_for(tiny_bert: Path) -> None:
    """Unpacking is the engine's affair: QLoRA needs what LoRA on the same modules does."""
    source = locate_backbone(str(tiny_bert), Weights.PRETRAINED)
    method = find_method("qlora")
    backbone = load_backbone(tiny_bert, method.quantisation, dropout=0.0)
    packed = attach(backbone, method, seed=0, dropout=0.0)
    assert counted(packed) == counted(classifier(source, "qlora", "cpu"))


def test_counting_leaves_the_model_as_it_was(tiny_bert: Path) -> None:
    found = classifier(locate_backbone(str(tiny_bert), Weights.PRETRAINED), "lora", "cpu")
    found.model.train()
    before = {name: tensor.clone() for name, tensor in found.model.state_dict().items()}
    counted(found)
    assert found.model.training
    assert not any(module._forward_hooks for module in found.model.modules())
    assert all(torch.equal(before[n], t) for n, t in found.model.state_dict().items())
    assert all(parameter.grad is None for parameter in found.model.parameters())

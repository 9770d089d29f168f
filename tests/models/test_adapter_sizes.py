"""How large the methods' adapters are, beside LoRA's."""

from __future__ import annotations

import dataclasses

import pytest
from transformers import AutoModelForSequenceClassification, BertConfig

from peftcore.methods import METHODS, Method, Start, find_method
from peftcore.models.attach import Run, attach, count_parameters

HIDDEN, LAYERS = 384, 2

SMALL = {
    *("vera", "pvera", "fourierft", "waveft", "tinylora", "unilora", "vblora", "road", "psoft"),
    *("qpvera", "qroad"),
}
"""Those that are as small as peft's defaults have them, or were chosen to be: docs/methods.md."""

BESIDE_LORA = [
    method
    for method in METHODS
    if method.adapter is not None
    and {"query", "value"} <= set(method.adapter.targets or ())
    # LoRA-FA trains the second half of LoRA alone.
    and method.slug != "lora-fa"
    # What these begin with is computed from texts or from other weights; they have LoRA's shapes.
    and method.adapter.start not in (Start.ACTIVATIONS, Start.QUANTISATION_ERROR)
]


def adapter_parameters(method: Method) -> int:
    """Return how many parameters an adapter has on layers as wide as MiniLM's."""
    config = BertConfig(
        hidden_size=HIDDEN,
        num_hidden_layers=LAYERS,
        num_attention_heads=12,
        intermediate_size=8,
        vocab_size=8,
        num_labels=2,
    )
    model = AutoModelForSequenceClassification.from_config(config)
    run = Run(updates=100, texts=(), batches=list, full_precision=lambda: model)
    # Quantisation changes how weights are stored and not which are trained.
    declared = dataclasses.replace(method, quantisation=None)
    return count_parameters(attach(model, declared, seed=0, dropout=None, run=run)).adapter


@pytest.mark.parametrize("method", BESIDE_LORA, ids=lambda method: method.slug)
def test_an_adapter_is_about_as_large_as_loras_or_said_to_be_small(method: Method) -> None:
    """AdaLoRA begins with half as much again; Lily shares less over two layers than over six."""
    share = adapter_parameters(method) / (LAYERS * 2 * 16 * 2 * HIDDEN)
    # docs/methods.md names the largest.
    assert method.slug not in ("adalora", "qadalora") or share == pytest.approx(1.502, abs=5e-4)
    if method.slug in SMALL:
        assert 0 < share < 0.5
    else:
        assert 0.7 < share < 1.51


def test_lora_is_what_the_others_are_measured_by() -> None:
    assert adapter_parameters(find_method("lora")) == LAYERS * 2 * 16 * 2 * HIDDEN

"""What an adapter drops of its own: that each has what it is said to have, and that it drops."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest
import torch

from peftcore.methods import METHODS, Adapter, Method, find_method
from peftcore.models.attach import Classifier, Run, attach
from peftcore.models.dropouts import own_dropouts
from tests.backbones import load_backbone

OWN = {
    "loha": "rank_dropout",
    "lokr": "rank_dropout",
    "delora": "module_dropout",
    **{
        name: f"{name}_dropout"
        for name in ("hira", "gralora", "miss", "randlora", "deft", "vblora", "unilora", "tinylora")
    },
    **{name: f"{name}_dropout" for name in ("boft", "psoft", "frod", "vera", "pvera")},
    **{f"q{name}": f"{name}_dropout" for name in ("hira", "pvera", "randlora")},
}
"""Of methods that have no LoRA in them: those have a ``lora_dropout``."""

WITHOUT = {
    *(
        "ia3",
        "glora",
        "lily",
        "peanut",
        "adamss",
        "poly",
        "hra",
        "road",
        "osf",
        "shira",
        "fourierft",
    ),
    *("supertuning", "waveft", "c3a", "beft", "ln-tuning", "prefix-tuning", "prompt-tuning", "oft"),
    *("p-tuning", "multitask-prompt-tuning", "cartridge", "trainable-tokens", "qia3", "qroad"),
}

Dropping = Callable[[Method, float], Classifier]

ADAPTERS = [method for method in METHODS if method.adapter is not None]


@pytest.mark.parametrize("method", ADAPTERS, ids=lambda method: method.slug)
def test_the_dropout_that_is_an_adapters_own(method: Method) -> None:
    assert method.adapter is not None
    expected = () if method.slug in WITHOUT else (OWN.get(method.slug, "lora_dropout"),)
    assert own_dropouts(method.adapter) == expected


def test_what_a_method_declares_is_its_own_and_what_comes_with_another_option() -> None:
    both = Adapter(config="LoHaConfig", options={"module_dropout": 0.1})
    assert own_dropouts(both) == ("rank_dropout", "module_dropout")
    assert own_dropouts(Adapter(config="SupertuningConfig", options={"r": 4})) == ("lora_dropout",)


@pytest.fixture
def dropping(tiny_bert: Path) -> Dropping:
    """Return a function that attaches a method with this dropout to a backbone that has none."""

    def load(method: Method, dropout: float) -> Classifier:
        texts = torch.randint(5, 22, (6, 8, 12), generator=torch.Generator().manual_seed(0))
        run = Run(
            updates=10,
            texts=texts.flatten(0, 1).tolist(),
            batches=lambda: [{"input_ids": batch} for batch in texts],
            full_precision=lambda: load_backbone(tiny_bert, dropout=0.0),
        )
        backbone = load_backbone(tiny_bert, method.quantisation, dropout=0.0)
        return attach(backbone, method, seed=1, dropout=dropout, run=run)

    return load


def varies(classifier: Classifier) -> bool:
    """Return whether the same texts give other logits each time, once all that is trained moved."""
    model = classifier.model.train()
    torch.manual_seed(3)
    with torch.no_grad():
        for parameter in classifier.trained_parameters().values():
            parameter.add_(0.3 * torch.randn(parameter.shape))
        inputs = {"input_ids": torch.arange(5, 21).view(2, 8)}
        inputs |= {name: torch.zeros(2, dtype=torch.long) for name in classifier.method.inputs}
        found = [model(**inputs).logits for _ in range(4)]
    return not all(torch.equal(found[0], other) for other in found)


def test_of_ofts_dropout_peft_makes_nothing(dropping: Dropping) -> None:
    """When it does, it is OFT's own dropout, and no longer one that a recipe leaves alone."""
    method = find_method("oft")
    assert method.adapter is not None
    # A single block, which would be as wide as the tiny model, it would leave alone.
    options = {"oft_block_size": 16, "module_dropout": 0.5}
    dropped = replace(method, adapter=replace(method.adapter, options=options))
    assert not varies(dropping(dropped, 0.5))


@pytest.mark.parametrize("method", ADAPTERS, ids=lambda method: method.slug)
def test_a_recipes_dropout_is_in_each_adapter_that_has_its_own(
    dropping: Dropping, method: Method
) -> None:
    """In training the same texts give other logits each time where something is dropped alone.

    It is a half, as of few blocks less would drop none.
    """
    assert set(dropping(method, 0.5).dropouts.values()) <= {0.5}

    # These draw what they add, or which of their skills, in training, whatever they drop.
    draws = method.slug in ("pvera", "qpvera", "poly")
    assert varies(dropping(method, 0.0)) is draws
    assert varies(dropping(method, 0.5)) is (draws or method.slug not in WITHOUT)


def test_declared_dropout_is_what_it_is_without_a_recipes(tiny_bert: Path) -> None:
    method = find_method("loha")
    assert method.adapter is not None
    declared = replace(method, adapter=replace(method.adapter, options={"rank_dropout": 0.25}))
    assert attach(load_backbone(tiny_bert), declared, seed=1, dropout=None).dropouts == {
        "rank_dropout": 0.25
    }

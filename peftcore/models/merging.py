"""Put an adapter into the weights it adapts, where its method allows."""

from __future__ import annotations

import warnings
from collections.abc import Mapping
from typing import Any

import torch
from peft.utils import ModulesToSaveWrapper
from torch import nn

from peftcore.errors import CheckFailed, UsageError
from peftcore.methods import Trains
from peftcore.models.attach import Classifier
from peftcore.models.factors import PEFT_PREFIX

_AS_IF_PACKED = ("PveraConfig", "RandLoraConfig")
"""Adapters that peft (0.21.2) merges into 4 bits without letting the sum be quantised again, as its
LoRA does: some shapes fail, and others give another model."""


def merge(classifier: Classifier) -> nn.Module:
    """Return the classifier as a plain model of transformers; changed in place.

    Raises:
        UsageError: its method can't be merged; the message says why.
    """
    method = classifier.method
    if method.trains is not Trains.ADAPTER or method.adapter is None:
        return classifier.model
    if classifier.adds_tokens():
        raise UsageError(f"{method.name} can't be merged: its tokens are part of no weight")
    if method.quantisation is not None and method.adapter.config in _AS_IF_PACKED:
        raise UsageError(
            f"{method.name} can't be merged: peft takes the sum for a weight that is packed already"
        )
    adapted: Any = classifier.model
    _unwrap_composites(adapted)
    try:
        with warnings.catch_warnings():
            # Into 4 bits it is rounded; whoever merges looks at what that changes.
            warnings.filterwarnings("ignore", message="Merge .* module to 4-bit")
            merged: nn.Module = adapted.merge_and_unload()
    except (NotImplementedError, ValueError) as error:
        why = str(error) or "peft has no code for it"
        raise UsageError(f"{method.name} can't be merged: {why}") from error
    return merged


def adapted_weights(classifier: Classifier) -> dict[str, torch.Tensor]:
    """Return copies of the weights that carry an adapter, by their modules' names without it."""
    return {
        name: _weight(classifier.model, PEFT_PREFIX + name) for name in classifier.adapted_modules()
    }


def require_rounded_into(before: Mapping[str, torch.Tensor], merged: nn.Module) -> None:
    """Check that no 4-bit weight that an adapter was merged into is the one that it was.

    Rounding may bring logits as far as the adapter does, so that these tell nothing; but where the
    adapter was lost, a weight is as it was to the bit.

    Args:
        before: what :func:`adapted_weights` gave.
        merged: the model that was merged since.

    Raises:
        CheckFailed: a weight is as it was.
    """
    same = [name for name, weight in before.items() if weight.equal(_weight(merged, name))]
    if same or not before:
        raise CheckFailed(
            f"merge: of {len(before)} weights that the adapter is to be rounded into, "
            f"{len(same)} are as they were: {', '.join(same[:1])}"
        )


def _weight(model: nn.Module, name: str) -> torch.Tensor:
    """Return the weight of a module, or of the one that an adapter adapts."""
    module: Any = model.get_submodule(name)
    weight: torch.Tensor = getattr(module, "base_layer", module).weight.detach().clone()
    return weight


def _unwrap_composites(adapted: nn.Module) -> None:
    """Put each trained module that consists of others in the place of what peft wrapped it in.

    peft (0.21.2) does so when it merges, but then gives it the wrapper's ``weight``, which only a
    single layer has: all its methods but LoRA's kin fail on a head of several layers.
    """
    for name, module in list(adapted.named_modules()):
        if not isinstance(module, ModulesToSaveWrapper):
            continue
        trained = module.modules_to_save[module.active_adapters[0]]
        if not hasattr(trained, "weight"):
            parent, _, child = name.rpartition(".")
            setattr(adapted.get_submodule(parent), child, trained)

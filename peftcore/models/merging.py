"""Put an adapter into the weights it adapts, where its method allows."""

from __future__ import annotations

import warnings
from typing import Any

from torch import nn

from peftcore.errors import UsageError
from peftcore.methods import Trains
from peftcore.models.attach import Classifier

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
    try:
        with warnings.catch_warnings():
            # Into 4 bits it is rounded; whoever merges looks at what that changes.
            warnings.filterwarnings("ignore", message="Merge .* module to 4-bit")
            merged: nn.Module = adapted.merge_and_unload()
    # Not what peft refuses alone: on ModernBERT many of its methods raise AttributeError here.
    except (AttributeError, NotImplementedError, ValueError) as error:
        why = str(error) or "peft has no code for it"
        raise UsageError(f"{method.name} can't be merged: {why}") from error
    return merged

"""The two factors of each LoRA in a model."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

from peft.tuners.lora.layer import LoraLayer
from torch import nn

PEFT_PREFIX = "base_model.model."
"""What peft puts before the names of a model's modules."""


@dataclass(frozen=True, kw_only=True)
class Factors:
    """One LoRA: a layer's weight plus ``scaling`` times ``second`` times ``first``.

    Attributes:
        layer: the full name of the module that carries it.
        base: what it is added to.
        first: shape (rank, inputs).
        second: shape (outputs, rank).
        scaling: what the product is multiplied by.
    """

    layer: str
    base: Any
    first: nn.Parameter
    second: nn.Parameter
    scaling: float


def lora_factors(model: nn.Module) -> Iterator[Factors]:
    """Yield each LoRA of a model, in the order of its modules."""
    for name, module in model.named_modules():
        if not isinstance(module, LoraLayer):
            continue
        layer: Any = module
        for adapter in layer.active_adapters:
            yield Factors(
                layer=name,
                base=layer.get_base_layer(),
                first=layer.lora_A[adapter].weight,
                second=layer.lora_B[adapter].weight,
                scaling=float(layer.scaling[adapter]),
            )

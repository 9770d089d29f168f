"""What must be known of an architecture: what its parts are called, and which are the head."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from torch import nn

from peftcore.errors import UsageError


@dataclass(frozen=True)
class Architecture:
    """Module names of one family of classifiers in transformers.

    Attributes:
        parts: the name, within a layer, of the projections that methods target.
        head: modules that form the classification head: fresh, trained by every method.
        full_precision: modules besides the head that are never quantised.
    """

    parts: Mapping[str, str]
    head: tuple[str, ...] = ("classifier",)
    full_precision: tuple[str, ...] = ()


_BERT_PARTS = {
    "query": "query",
    "key": "key",
    "value": "value",
    "output": "attention.output.dense",
}

_ARCHITECTURES = {
    # BERT's pooler is pretrained and stays frozen with the backbone, as in peft's own examples.
    "bert": Architecture(parts=_BERT_PARTS, full_precision=("pooler",)),
    "roberta": Architecture(parts=_BERT_PARTS),
}


def architecture_of(model_type: str) -> Architecture:
    """Return what is known of a model type, as transformers names it.

    Raises:
        UsageError: nothing is.
    """
    if model_type not in _ARCHITECTURES:
        raise UsageError(
            f"the model type {model_type!r} is not supported yet: "
            f"use one of {', '.join(sorted(_ARCHITECTURES))}"
        )
    return _ARCHITECTURES[model_type]


def modules_named(model: nn.Module, part: str) -> list[str]:
    """Return the full names of the modules whose name is ``part`` or ends with ``.part``."""
    return [name for name, _ in model.named_modules() if name == part or name.endswith(f".{part}")]

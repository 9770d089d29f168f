"""What must be known of an architecture: what its parts are called, and which are the head.

Imports no torch: an architecture that is not supported is refused before a model is loaded.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from peftcore.errors import UsageError


@dataclass(frozen=True)
class Architecture:
    """Module names of one family of classifiers in transformers.

    Attributes:
        parts: the name, within a layer, of the projections that methods target.
        head: modules that form the classification head: fresh, trained by every method.
        full_precision: modules besides the head that are never quantised.
        positions_after_padding: whether the first position follows the padding id's, which leaves
            fewer positions for tokens.
    """

    parts: Mapping[str, str]
    head: tuple[str, ...] = ("classifier",)
    full_precision: tuple[str, ...] = ()
    positions_after_padding: bool = False

    def longest_text(self, config: Mapping[str, Any]) -> int:
        """Return how many tokens, special ones included, a backbone can take.

        Args:
            config: its configuration; transformers leaves out what has its default.
        """
        positions = int(config.get("max_position_embeddings", 512))
        if self.positions_after_padding:
            positions -= int(config.get("pad_token_id", 1)) + 1
        return positions


_BERT_PARTS = {
    "query": "query",
    "key": "key",
    "value": "value",
    "output": "attention.output.dense",
}

_ARCHITECTURES = {
    # BERT's pooler is pretrained and stays frozen with the backbone, as in peft's own examples.
    "bert": Architecture(parts=_BERT_PARTS, full_precision=("pooler",)),
    "roberta": Architecture(parts=_BERT_PARTS, positions_after_padding=True),
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

"""Carry out a recipe's accelerations on a classifier, each where it applies, and undo them.

Everything is done to single objects of an unmodified model: a module's ``forward`` is covered by
another and uncovered again, a frozen weight is kept in another number format.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass

import torch
from peft.tuners.ia3.layer import IA3Layer
from peft.tuners.lora.layer import LoraLayer
from peft.tuners.tuners_utils import BaseTunerLayer
from torch import nn

from peftcore.accelerations import (
    ALL,
    CHEAP_DROPOUT,
    FIRST_TOKEN,
    FROZEN_WEIGHTS,
    FUSED_UPDATE,
    PADDING_FREE,
    RESIDENT_TOKENS,
    Acceleration,
)
from peftcore.data.batches import Batch, Feed, Tokenised
from peftcore.models.attach import Classifier
from peftcore.models.loading import DTYPES
from peftcore.scenarios import Precision, Recipe
from peftcore.training.dropping import cheap_dropout
from peftcore.training.encoder import EncoderPass, find_encoder


@dataclass(frozen=True, kw_only=True)
class Accelerated:
    """A classifier as it is trained and evaluated.

    Attributes:
        model: what is trained.
        device: where it is.
        precision: the number format of its matrix products.
        off: why each acceleration that is off is so, in words.
        by_spans: whether the encoder is told where each text lies, and needs no mask.
        first_position: the position of a text's first token.
    """

    model: nn.Module
    device: torch.device
    precision: Precision
    off: dict[str, str]
    by_spans: bool = False
    first_position: int = 0

    def on(self, acceleration: Acceleration) -> bool:
        """Return whether an acceleration is on."""
        return acceleration.name not in self.off

    def feed(self, examples: Tokenised) -> Feed:
        """Return what makes batches of these examples."""
        return Feed(
            examples,
            self.device,
            end_to_end=self.on(PADDING_FREE),
            resident=self.on(RESIDENT_TOKENS),
            first_position=self.first_position,
        )

    def logits(self, batch: Batch) -> torch.Tensor:
        """Return the logits of one batch in 32 bits, shape (texts, labels)."""
        options: dict[str, object] = {}
        if batch.position_ids is not None:
            options["position_ids"] = batch.position_ids
        if self.by_spans:
            options["spans"] = batch.spans
        else:
            options["attention_mask"] = batch.attention_mask
        with autocast(self.device, self.precision):
            output = self.model(input_ids=batch.input_ids, **options)
        logits: torch.Tensor = output.logits
        return logits.float()

    def describe(self) -> dict[str, str]:
        """Return each acceleration's name with ``"on"``, or with why it is off."""
        return {name: self.off.get(name, "on") for name in ALL}


def autocast(device: torch.device, precision: Precision) -> torch.autocast:
    """Return the context in which matrix products run in this precision."""
    enabled = precision is not Precision.FP32
    return torch.autocast(
        device.type, dtype=DTYPES[precision] if enabled else None, enabled=enabled
    )


def plain(model: nn.Module, device: torch.device, precision: Precision) -> Accelerated:
    """Return a model without any acceleration, as it will be used."""
    off = dict.fromkeys(ALL, "not asked for")
    return Accelerated(model=model, device=device, precision=precision, off=off)


@contextmanager
def accelerated(
    classifier: Classifier, recipe: Recipe, device: torch.device
) -> Iterator[Accelerated]:
    """Switch on what the recipe asks for and applies; off again, but for frozen weights, after it.

    A frozen weight that was put into the number format of the products stays in it: it would be
    converted to it in each of them, so no result depends on it.
    """
    encoder = find_encoder(classifier.model)
    off = {name: "not asked for" for name in ALL if name not in recipe.accelerations}
    off |= {
        name: why for name, why in _obstacles(classifier, recipe, device).items() if name not in off
    }

    def on(acceleration: Acceleration) -> bool:
        return acceleration.name not in off

    by_spans = (
        encoder is not None
        and device.type == "cpu"
        and not classifier.adds_tokens()
        and any(map(on, (PADDING_FREE, FIRST_TOKEN, CHEAP_DROPOUT)))
    )
    with ExitStack() as undo:
        if on(FROZEN_WEIGHTS) and not _convert_frozen_weights(
            classifier.model, DTYPES[recipe.precision]
        ):
            off[FROZEN_WEIGHTS.name] = "no linear layer has frozen weights of more bits"
        if on(CHEAP_DROPOUT):
            undo.enter_context(cheap_dropout(classifier.model))
        if by_spans and encoder is not None:
            encoder_pass = EncoderPass(
                encoder,
                first_token=on(FIRST_TOKEN),
                cheap_dropout=on(CHEAP_DROPOUT),
            )
            undo.enter_context(encoder_pass.installed(encoder))
        yield Accelerated(
            model=classifier.model,
            device=device,
            precision=recipe.precision,
            off=off,
            by_spans=by_spans,
            first_position=classifier.first_position(),
        )


def _obstacles(classifier: Classifier, recipe: Recipe, device: torch.device) -> dict[str, str]:
    """Return why accelerations can't be used on this classifier, by their names."""
    found: dict[str, str] = {}
    why = None
    if device.type != "cpu":
        why = "so far for processors only"
    elif classifier.adds_tokens():
        why = "the method adds tokens of its own to each text"
    elif find_encoder(classifier.model) is None:
        why = "for the encoders of BERT and RoBERTa only"
    if why is not None:
        found |= {acceleration.name: why for acceleration in (PADDING_FREE, FIRST_TOKEN)}
    if device.type != "cpu":
        found[CHEAP_DROPOUT.name] = "a GPU draws its random numbers faster than it can use them"
    if recipe.precision is Precision.FP32:
        found[FROZEN_WEIGHTS.name] = "products in 32 bits need no conversion"
    if recipe.precision is Precision.FP16:
        found[FUSED_UPDATE.name] = "loss scaling looks at the gradients before they are clipped"
    return found


def _convert_frozen_weights(model: nn.Module, dtype: torch.dtype) -> int:
    """Keep the frozen linear layers' weights in this number format; return how many layers'.

    Weights that an adapter reads itself are left: DoRA, for one, takes their norms.
    """
    read_by_adapters = {
        id(adapter.get_base_layer())
        for adapter in model.modules()
        if isinstance(adapter, BaseTunerLayer) and not _only_multiplies(adapter)
    }
    converted = 0
    for name, module in model.named_modules():
        # peft keeps the head as it was before training under this name, and never uses it.
        unused = ".original_module" in name
        if type(module) is nn.Linear and not unused and id(module) not in read_by_adapters:
            parameters = list(module.parameters())
            if not any(parameter.requires_grad for parameter in parameters):
                converted += 1
                for parameter in parameters:
                    parameter.data = parameter.data.to(dtype)
    return converted


def _only_multiplies(adapter: BaseTunerLayer) -> bool:
    """Return whether an adapter uses its base layer through that layer's ``forward`` alone."""
    if isinstance(adapter, LoraLayer):
        return not adapter.lora_variant
    return isinstance(adapter, IA3Layer)

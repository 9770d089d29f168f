"""Carry out a recipe's accelerations on a classifier, each where it applies, and undo them.

Everything is done to single objects of an unmodified model: a module's ``forward`` is covered by
another and uncovered again, a frozen weight is kept in another number format.
"""

from __future__ import annotations

import ctypes
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from functools import partial
from typing import Any

import torch
from peft.tuners.ia3.layer import IA3Layer
from peft.tuners.lora.layer import LoraLayer
from peft.tuners.tuners_utils import BaseTunerLayer
from torch import nn
from torch.nn.functional import cross_entropy

from peftcore.accelerations import (
    ALL,
    BF16_GRADIENTS,
    CHEAP_DROPOUT,
    COMPILED_KERNELS,
    FIRST_TOKEN,
    FOUR_BIT_SCRATCH,
    FROZEN_WEIGHTS,
    FUSED_UPDATE,
    PADDING_FREE,
    RESIDENT_TOKENS,
    SORTED_EVALUATION,
    STEP_GRAPH,
    USED_ROWS,
    Acceleration,
)
from peftcore.data.batches import Batch, Feed, Tokenised
from peftcore.methods import Optimiser, Trains
from peftcore.models.attach import Classifier
from peftcore.models.loading import DTYPES, own_storage
from peftcore.scenarios import Precision, Recipe
from peftcore.training.attending import Layout, OnProcessor, flash_fails, on_gpu
from peftcore.training.covering import covered
from peftcore.training.dropping import cheap_dropout, dropout
from peftcore.training.encoder import EncoderPass, find_encoder, head_width
from peftcore.training.fourbit import find_four_bit, one_scratch
from peftcore.training.kernels.compiling import find_kernels
from peftcore.training.kernels.passes import dropout as compiled_dropout
from peftcore.training.standins import StandIns, copies_in, only_used_rows, used_rows

_MIXES = "what the method does to a text depends on the others of its batch, and on padding"


@dataclass(frozen=True, kw_only=True)
class Accelerated:
    """A classifier as it is trained and evaluated.

    Attributes:
        model: what is trained.
        device: where it is.
        precision: the number format of its matrix products.
        off: why each acceleration that is off is so, in words.
        layout: gives where the texts of a batch lie, where the encoder is told so and needs no
            mask.
        first_position: the position of a text's first token.
        kernels: compiled passes, if they are on.
        stand_ins: what is trained in the place of some parameters.
        inputs: what the model takes beside a text: 0 for each.
        adds_loss: whether the model's own loss has a term that its logits don't tell.
        allocate: gives out ranks after each update, told its number from 0.
        optimiser: what updates the weights, if not AdamW alone.
    """

    model: nn.Module
    device: torch.device
    precision: Precision
    off: dict[str, str]
    layout: Callable[[Batch], Layout] | None = None
    first_position: int = 0
    kernels: ctypes.CDLL | None = None
    stand_ins: StandIns = field(default_factory=StandIns)
    inputs: tuple[str, ...] = ()
    adds_loss: bool = False
    allocate: Callable[[int], None] | None = None
    optimiser: Optimiser | None = None

    def on(self, acceleration: Acceleration) -> bool:
        """Return whether an acceleration is on."""
        return acceleration.name not in self.off

    def turn_off(self, acceleration: Acceleration, why: str) -> None:
        """Say in the record that an acceleration is off after all."""
        self.off[acceleration.name] = why

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
        logits: torch.Tensor = self._output(batch).logits
        return logits.float()

    def losses(self, batch: Batch) -> tuple[torch.Tensor, torch.Tensor]:
        """Return what training makes smaller, and the mean loss of the batch, which it holds."""
        if not self.adds_loss:
            loss = cross_entropy(self.logits(batch), batch.labels)
            return loss, loss
        output = self._output(batch, labels=batch.labels)
        return output.loss, cross_entropy(output.logits.float(), batch.labels)

    def _output(self, batch: Batch, **options: object) -> Any:
        rows = batch.input_ids.shape[0]
        for name in self.inputs:
            options[name] = torch.zeros(rows, dtype=torch.int64, device=self.device)
        if batch.position_ids is not None:
            options["position_ids"] = batch.position_ids
        if batch.segments is not None:
            options["token_type_ids"] = batch.segments
        if self.layout is not None:
            options["layout"] = self.layout(batch)
        else:
            options["attention_mask"] = batch.attention_mask
        with autocast(self.device, self.precision):
            return self.model(input_ids=batch.input_ids, **options)

    def trained(self) -> list[tuple[str, nn.Parameter]]:
        """Return what an optimiser updates, each by the name of its parameter."""
        return [
            (name, self.stand_ins.rows.get(id(parameter), parameter))
            for name, parameter in self.model.named_parameters()
            if parameter.requires_grad
        ]

    def forget_gradients(self) -> None:
        """Let all gradients go."""
        self.model.zero_grad(set_to_none=True)
        for parameter in (*self.stand_ins.rows.values(), *self.stand_ins.copies.values()):
            parameter.grad = None

    def describe(self) -> dict[str, str]:
        """Return each acceleration's name with ``"on"``, or with why it is off."""
        return {name: self.off.get(name, "on") for name in ALL}


def autocast(device: torch.device, precision: Precision) -> torch.autocast:
    """Return the context in which matrix products run in this precision."""
    enabled = precision is not Precision.FP32
    return torch.autocast(
        device.type, dtype=DTYPES[precision] if enabled else None, enabled=enabled
    )


def plain(
    model: nn.Module, device: torch.device, precision: Precision, *, inputs: tuple[str, ...] = ()
) -> Accelerated:
    """Return a model without any acceleration, as it will be used."""
    off = dict.fromkeys(ALL, "not asked for")
    return Accelerated(model=model, device=device, precision=precision, off=off, inputs=inputs)


@contextmanager
def accelerated(
    classifier: Classifier, recipe: Recipe, device: torch.device, examples: Tokenised
) -> Iterator[Accelerated]:
    """Switch on what the recipe asks for and applies; off again, but for frozen weights, after it.

    A frozen weight that was put into the number format of the products stays in it: it would be
    converted to it in each of them, so no result depends on it.

    Args:
        classifier: what to accelerate.
        recipe: says how it is trained, and which accelerations are asked for.
        device: where the classifier is.
        examples: what it will be trained on.
    """
    model, dtype = classifier.model, DTYPES[recipe.precision]
    adapter = classifier.method.adapter
    encoder = None if _row_by_row(classifier) else find_encoder(model)
    off = {name: "not asked for" for name in ALL if name not in recipe.accelerations}
    for name, why in _obstacles(classifier, encoder, recipe, device).items():
        off.setdefault(name, why)

    def on(acceleration: Acceleration) -> bool:
        return acceleration.name not in off

    kernels = None
    if on(COMPILED_KERNELS):
        found = find_kernels()
        if isinstance(found, str):
            off[COMPILED_KERNELS.name] = found
        else:
            kernels = found
    if on(BF16_GRADIENTS) and not (kernels and on(FUSED_UPDATE)):
        off[BF16_GRADIENTS.name] = "it needs compiled-kernels and fused-update"
    if device.type == "cuda" and on(PADDING_FREE):
        failure = flash_fails(device, dtype, head_width(encoder))
        if failure is not None:
            off[PADDING_FREE.name] = failure
    for acceleration in (FIRST_TOKEN, STEP_GRAPH):
        if device.type == "cuda" and on(acceleration) and not on(PADDING_FREE):
            off[acceleration.name] = "on a GPU it needs padding-free"
    layout = None if encoder is None else _layout(device, kernels, on)
    stand_ins = StandIns()
    with ExitStack() as undo:
        if on(FROZEN_WEIGHTS):
            _convert_frozen_weights(model, dtype)
            own_storage(model)
        if on(FOUR_BIT_SCRATCH):
            undo.enter_context(one_scratch(find_four_bit(model, dtype), dtype))
        if on(BF16_GRADIENTS):
            layers = _trained_matrices(model)
            stand_ins.copies.update(undo.enter_context(copies_in(torch.bfloat16, layers)))
        if on(USED_ROWS):
            table = _token_embedding(model)
            rows = used_rows(table, examples)
            stand_ins.rows.update(undo.enter_context(only_used_rows(table, rows)))
        if on(CHEAP_DROPOUT):
            drop = partial(compiled_dropout, library=kernels) if kernels else dropout
            undo.enter_context(cheap_dropout(model, drop))
        if encoder is not None and layout is not None:
            encoder_pass = EncoderPass(
                encoder,
                first_token=on(FIRST_TOKEN),
                cheap_dropout=on(CHEAP_DROPOUT),
                kernels=kernels,
            )
            undo.enter_context(covered({encoder: encoder_pass}))
        yield Accelerated(
            model=model,
            device=device,
            precision=recipe.precision,
            off=off,
            layout=layout,
            first_position=classifier.first_position(),
            kernels=kernels,
            stand_ins=stand_ins,
            inputs=classifier.method.inputs,
            adds_loss=adapter is not None and adapter.adds_loss,
            allocate=classifier.allocate(),
            optimiser=classifier.method.optimiser,
        )


def _layout(
    device: torch.device, kernels: ctypes.CDLL | None, on: Callable[[Acceleration], bool]
) -> Callable[[Batch], Layout] | None:
    """Return what lays out a batch for an encoder that computes it our way, if it is to do so."""
    if device.type == "cuda":
        return on_gpu if on(PADDING_FREE) else None
    if not any(map(on, (PADDING_FREE, FIRST_TOKEN, CHEAP_DROPOUT, COMPILED_KERNELS))):
        return None
    cheap_dropout = on(CHEAP_DROPOUT)
    return lambda batch: OnProcessor(batch.spans, cheap_dropout, kernels)


def _obstacles(
    classifier: Classifier, encoder: nn.Module | None, recipe: Recipe, device: torch.device
) -> dict[str, str]:
    """Return why accelerations can't be used on this classifier, by their names.

    Args:
        classifier: the classifier.
        encoder: that of it which :class:`EncoderPass` can take the place of, if there is one.
        recipe: how it is trained.
        device: where.
    """
    model, precision = classifier.model, recipe.precision
    found: dict[Acceleration, str] = {}
    why = None
    if device.type not in ("cpu", "cuda"):
        why = "for processors and CUDA GPUs only"
    elif device.type == "cuda" and precision is Precision.FP32:
        why = "on a GPU for 16 bits only"
    elif (row_by_row := _row_by_row(classifier)) is not None:
        why = row_by_row
    elif encoder is None:
        why = "for the encoders of BERT and RoBERTa only"
    if why is not None:
        found |= {PADDING_FREE: why, FIRST_TOKEN: why}
    if classifier.mixes_texts():
        found[SORTED_EVALUATION] = _MIXES
    if precision is Precision.FP32:
        found[FROZEN_WEIGHTS] = "products in 32 bits need no conversion"
    elif not _frozen_matrices(model):
        found[FROZEN_WEIGHTS] = "no linear layer has frozen weights of more bits"
    if not find_four_bit(model, DTYPES[precision]):
        found[FOUR_BIT_SCRATCH] = "no layer is in 4 bits"
    if not _token_embedding(model).weight.requires_grad:
        found[USED_ROWS] = "the token embedding is not trained"
    elif recipe.weight_decay:
        found[USED_ROWS] = "weight decay moves rows that no text uses, too"
    if precision is not Precision.BF16:
        found[BF16_GRADIENTS] = "for bf16 only"
    elif classifier.method.trains is not Trains.EVERYTHING:
        found[BF16_GRADIENTS] = "no matrix of the backbone is trained"
    if precision is Precision.FP16:
        found[COMPILED_KERNELS] = "for 32 bits and bf16 only"
    if device.type != "cuda":
        found[STEP_GRAPH] = "for CUDA GPUs only"
    elif classifier.allocate() is not None:
        found[STEP_GRAPH] = "the method gives out its ranks after each step"
    if device.type != "cpu":
        found[CHEAP_DROPOUT] = "a GPU draws its random numbers faster than it can use them"
        found[COMPILED_KERNELS] = found[BF16_GRADIENTS] = "for processors only"
    else:
        drops = any(isinstance(module, nn.Dropout) and module.p > 0 for module in model.modules())
        if not drops:
            found[CHEAP_DROPOUT] = "the model has no dropout modules that drop anything"
        if why is not None and not drops and BF16_GRADIENTS in found:
            found.setdefault(COMPILED_KERNELS, "nothing in this model that they compute")
    named = {acceleration.name: why for acceleration, why in found.items()}
    if device.type == "cpu":
        # What an architecture is like says more than that it isn't BERT's.
        named.update(classifier.architecture.obstacles)
    return named


def _row_by_row(classifier: Classifier) -> str | None:
    """Return why a method needs a row of its own for each text, ``None`` where it doesn't."""
    if classifier.adds_tokens():
        return "the method adds tokens of its own to each text"
    if classifier.mixes_texts():
        return _MIXES
    if classifier.method.inputs:
        return f"the method takes {', '.join(classifier.method.inputs)} beside each text"
    return None


def _token_embedding(model: nn.Module) -> nn.Embedding:
    """Return the table of a transformers model's token embeddings."""
    table: nn.Embedding = model.get_input_embeddings()  # type: ignore[operator]
    return table


def _trained_matrices(model: nn.Module) -> list[nn.Linear]:
    """Return the linear layers whose weights are trained."""
    return [
        module
        for module in model.modules()
        if type(module) is nn.Linear and module.weight.requires_grad
    ]


def _frozen_matrices(model: nn.Module) -> list[nn.Linear]:
    """Return the linear layers whose frozen weights are used for nothing but products.

    An adapter may read them itself: DoRA, for one, takes their norms.
    """
    read_by_adapters = {
        id(adapter.get_base_layer())
        for adapter in model.modules()
        if isinstance(adapter, BaseTunerLayer) and not _only_multiplies(adapter)
    }
    return [
        module
        for name, module in model.named_modules()
        # peft keeps the head as it was before training under this name, and never uses it.
        if type(module) is nn.Linear
        and ".original_module" not in name
        and id(module) not in read_by_adapters
        and not any(parameter.requires_grad for parameter in module.parameters())
    ]


def _convert_frozen_weights(model: nn.Module, dtype: torch.dtype) -> None:
    """Keep the frozen linear layers' weights in this number format."""
    for module in _frozen_matrices(model):
        for parameter in module.parameters():
            parameter.data = parameter.data.to(dtype)


def _only_multiplies(adapter: BaseTunerLayer) -> bool:
    """Return whether an adapter uses its base layer through that layer's ``forward`` alone."""
    if isinstance(adapter, LoraLayer):
        return not adapter.lora_variant
    return isinstance(adapter, IA3Layer)

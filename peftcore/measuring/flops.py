"""Model FLOPs: what forward and backward of the plain model need for the tokens of its texts.

As in PaLM's model FLOPs utilisation (arXiv:2204.02311, appendix B): only matrix products count, and
attention's count for every pair of a text's tokens, whether or not a mask leaves the pair out. What
an engine adds (padding, computing something again, unpacking 4-bit weights) or saves changes
nothing. Backward counts what autograd needs: no gradients of frozen weights, and none of what lies
below the lowest trained module.

Left out are products that an adapter computes without a linear layer, as VeRA's.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace

import torch
from torch import nn

from peftcore.models.architectures import Architecture

_PROBES = ((2, 5), (2, 7), (3, 5))
"""Texts and tokens of each that are passed through a model to see how its products grow."""


@dataclass(frozen=True)
class ModelFlops:
    """How many FLOPs training needs per token, pair of a text's tokens, text and batch."""

    per_token: int
    per_pair: int
    per_text: int
    per_batch: int

    def training(self, lengths: Sequence[int], *, epochs: int, batch_size: int) -> int:
        """Return the FLOPs of training on texts of these many tokens, each once an epoch."""
        per_epoch = (
            self.per_token * sum(lengths)
            + self.per_pair * sum(length * length for length in lengths)
            + self.per_text * len(lengths)
            + self.per_batch * -(-len(lengths) // batch_size)
        )
        return epochs * per_epoch


@dataclass(frozen=True)
class _Call:
    """One use of a module in a forward pass.

    Attributes:
        name: the module's.
        multiplied: how many numbers its weight multiplies a row by; 0 if it is no linear layer.
        width: of the rows that it takes.
        rows: how many it takes; once several batches were seen, as :func:`_growth` has it.
        gradients: how many products backward has for its own.
        trained: whether what it gives depends on a trained weight.
    """

    name: str
    multiplied: int
    width: int
    rows: tuple[int, ...]
    gradients: int
    trained: bool


def count_flops(
    model: nn.Module, architecture: Architecture, forward: Callable[[torch.Tensor], object]
) -> ModelFlops:
    """Return what training a classifier with a method attached needs.

    A few short texts go through the model, forward alone; no weight is changed.

    Args:
        model: in whatever number formats, or on the device ``meta``.
        architecture: what its projections are called.
        forward: passes token ids of shape (texts, tokens) through it.
    """
    calls = _trace(model, architecture, forward)
    per_token = per_pair = per_text = per_batch = 0
    for call in calls:
        each = 2 * call.multiplied * (1 + call.gradients)
        tokens, texts, batches = call.rows
        per_token += each * tokens
        per_text += each * texts
        per_batch += each * batches
    for width, ours, theirs, gradients in _attention(calls, architecture):
        each = 2 * width * (1 + gradients)
        (a, b, _), (c, d, shared) = ours.rows, theirs.rows
        per_pair += each * a * c
        per_token += each * (a * (d + shared) + b * c)
        per_text += each * b * (d + shared)
    return ModelFlops(per_token, per_pair, per_text, per_batch)


def _attention(
    calls: Sequence[_Call], architecture: Architecture
) -> Iterator[tuple[int, _Call, _Call, int]]:
    """Yield attention's products: width, the two that are multiplied, gradients in backward."""
    layers: dict[str, dict[str, list[_Call]]] = defaultdict(lambda: defaultdict(list))
    for call in calls:
        for part, name in architecture.parts.items():
            if call.name.endswith(f".{name}"):
                layer = next(piece for piece in call.name.split(".") if piece.isdigit())
                layers[layer][part].append(call)
    for parts in layers.values():
        # The output projection takes as much as all heads give.
        (output,) = parts["output"]
        (query, *of_query), (key, *of_key), (value, *_) = (
            # Of texts first; then, in DeBERTa, of the distances that all texts share.
            sorted(parts[part], key=lambda call: -call.rows[0])
            for part in ("query", "key", "value")
        )
        scored = query.trained or key.trained
        yield output.width, query, key, query.trained + key.trained
        yield output.width, query, value, scored + value.trained
        for distances in of_key:
            yield output.width, query, distances, query.trained + distances.trained
        for distances in of_query:
            yield output.width, key, distances, key.trained + distances.trained


def _trace(
    model: nn.Module, architecture: Architecture, forward: Callable[[torch.Tensor], object]
) -> list[_Call]:
    """Return the calls of a forward pass, their rows by how they grow with a batch."""
    device = next(model.parameters()).device
    padding = model.config.pad_token_id  # type: ignore[union-attr]
    found = []
    was_training = model.training
    model.eval()
    try:
        for texts, tokens in _PROBES:
            ids = torch.full((texts, tokens), 1 if padding == 0 else 0, device=device)
            with torch.enable_grad(), _listening(model, architecture) as calls:
                forward(ids)
            found.append(calls)
    finally:
        model.train(was_training)
    return [
        replace(alike[0], rows=_growth(*(call.rows[0] for call in alike)))
        for alike in zip(*found, strict=True)
    ]


def _growth(first: int, longer: int, more: int) -> tuple[int, int, int]:
    """Return how many rows there are per token, per text and per batch.

    Args:
        first: how many there were of 2 texts of 5 tokens.
        longer: of 2 texts of 7 tokens.
        more: of 3 texts of 5 tokens.
    """
    per_token = (longer - first) // 4
    per_text = more - first - 5 * per_token
    return per_token, per_text, first - 10 * per_token - 2 * per_text


@contextmanager
def _listening(model: nn.Module, architecture: Architecture) -> Iterator[list[_Call]]:
    """Collect the calls of linear layers and of attention's projections inside the block."""
    calls: list[_Call] = []
    endings = tuple(f".{name}" for name in architecture.parts.values())

    def listen(name: str, module: nn.Module) -> torch.utils.hooks.RemovableHandle:
        def heard(_: nn.Module, arguments: tuple[torch.Tensor, ...], output: torch.Tensor) -> None:
            inputs = arguments[0]
            width, multiplied = _shape(module, inputs)
            weight = getattr(module, "weight", None)
            trained = isinstance(weight, torch.Tensor) and weight.requires_grad
            gradients = int(inputs.requires_grad) + int(trained)
            rows = (inputs.numel() // width,)
            calls.append(_Call(name, multiplied, width, rows, gradients, output.requires_grad))

        return module.register_forward_hook(heard)

    handles = [
        listen(name, module)
        for name, module in model.named_modules()
        if isinstance(module, nn.Linear | nn.Conv1d) or name.endswith(endings)
    ]
    try:
        yield calls
    finally:
        for handle in handles:
            handle.remove()


def _shape(module: nn.Module, inputs: torch.Tensor) -> tuple[int, int]:
    """Return the width of a module's rows and how many numbers its weight multiplies one by."""
    if isinstance(module, nn.Linear):
        # Not the weight's own size: in 4 bits it is packed.
        return module.in_features, module.in_features * module.out_features
    if isinstance(module, nn.Conv1d):
        return module.in_channels, module.weight.numel()
    return inputs.shape[-1], 0

"""What is trained in the place of a parameter, so that training it takes less memory.

Both serve full fine-tuning: of the token embedding only the rows that some training text uses, and
beside each matrix a copy in 16 bits, which the products use and whose gradient stays in 16 bits.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from functools import partial

import torch
from torch import nn
from torch.nn.functional import embedding, linear

from peftcore.data.batches import Tokenised
from peftcore.training.covering import covered


@dataclass(frozen=True)
class StandIns:
    """By parameter, as ``id()`` tells them apart.

    Attributes:
        rows: what is trained in the parameter's place.
        copies: a copy of the parameter in 16 bits, to which gradients come; whoever updates the
            parameter renews it.
    """

    rows: dict[int, nn.Parameter] = field(default_factory=dict)
    copies: dict[int, nn.Parameter] = field(default_factory=dict)


def used_rows(table: nn.Embedding, examples: Tokenised) -> torch.Tensor:
    """Return which rows of a table of embeddings these examples use, sorted."""
    used = {i for row in examples.ids for i in row} | {examples.pad_id}
    return torch.tensor(sorted(used), device=table.weight.device)


@contextmanager
def only_used_rows(table: nn.Embedding, rows: torch.Tensor) -> Iterator[Mapping[int, nn.Parameter]]:
    """Let training read and train a small table of these rows inside the block.

    Evaluation, which may meet any row, reads the whole table, into which the small one is written
    first. At the end of the block the whole table is as trained.

    Yields:
        The small table, by the ``id()`` of the whole one.
    """
    weight = table.weight
    small = nn.Parameter(weight.detach()[rows])
    places = torch.full((len(weight),), -1, device=weight.device)
    places[rows] = torch.arange(len(rows), device=weight.device)
    padding = None if table.padding_idx is None else int(places[table.padding_idx])

    def catch_up() -> None:
        weight.data[rows] = small.detach()

    def forward(ids: torch.Tensor) -> torch.Tensor:
        if table.training:
            return embedding(places[ids], small, padding)
        return embedding(ids, weight.detach())

    def train(mode: bool = True) -> nn.Embedding:
        # At the switch, and not where the table is read: a step that is played back trains the
        # rows without a call of ours.
        if not mode:
            catch_up()
        return nn.Embedding.train(table, mode)

    try:
        with covered({table: forward}), covered({table: train}, "train"):
            yield {id(weight): small}
    finally:
        catch_up()


@contextmanager
def copies_in(dtype: torch.dtype, layers: list[nn.Linear]) -> Iterator[Mapping[int, nn.Parameter]]:
    """Let these layers multiply by copies of their weights and biases inside the block.

    Yields:
        The copies, by the ``id()`` of what they are copies of.
    """
    copies: dict[int, nn.Parameter] = {}
    forwards: dict[nn.Module, Callable[[torch.Tensor], torch.Tensor]] = {}
    for layer in layers:
        weight = copies[id(layer.weight)] = nn.Parameter(layer.weight.detach().to(dtype))
        bias = None
        if layer.bias is not None:
            bias = copies[id(layer.bias)] = nn.Parameter(layer.bias.detach().to(dtype))
        forwards[layer] = partial(linear, weight=weight, bias=bias)
    with covered(forwards):
        yield copies

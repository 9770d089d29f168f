"""A step that is recorded and played back trains as the step itself."""

from __future__ import annotations

import copy
from collections.abc import Callable

import pytest
import torch
from torch import nn

from peftcore.accelerations import ALL
from peftcore.data.batches import Batch, Span
from peftcore.scenarios import Precision, Recipe
from peftcore.training.accelerating import Accelerated
from peftcore.training.recording import RecordedSteps
from peftcore.training.updating import Update

RECIPE = Recipe(learning_rate=0.1, batch_size=3, precision=Precision.FP32)


class Again:
    """A recorder that runs a function again to play it back, as a graph does on a GPU."""

    def __init__(self, *, fails: bool = False) -> None:
        self.recordings = 0
        self._fails = fails

    def run(self, function: Callable[[], torch.Tensor]) -> torch.Tensor:
        return function()

    def record(
        self, function: Callable[[], torch.Tensor]
    ) -> tuple[Callable[[], None], torch.Tensor]:
        self.recordings += 1
        if self._fails:
            raise RuntimeError("operation not permitted\nwhen stream is capturing")
        result = torch.zeros(())
        return lambda: result.copy_(function()) and None, result


class Bag(nn.Module):
    """A classifier whose logits are a linear map of the mean of its tokens."""

    def __init__(self) -> None:
        super().__init__()
        self.table = nn.Embedding(9, 4)
        self.head = nn.Linear(4, 2)

    def forward(self, input_ids: torch.Tensor, attention_mask: torch.Tensor) -> object:
        return type("Output", (), {"logits": self.head(self.table(input_ids).mean(1))})()


def batches() -> list[Batch]:
    generator = torch.Generator().manual_seed(1)
    made = []
    for texts, tokens in ((3, 5), (3, 5), (3, 7), (3, 5), (3, 7), (2, 7), (3, 5)):
        ids = torch.randint(9, (texts, tokens), generator=generator)
        spans = tuple(Span(row, 0, tokens) for row in range(texts))
        labels = torch.randint(2, (texts,), generator=generator)
        made.append(Batch(ids, spans, labels, attention_mask=torch.ones_like(ids)))
    return made


def update_of(model: nn.Module) -> Update:
    off = dict.fromkeys(ALL, "not asked for")
    classifier = Accelerated(
        model=model, device=torch.device("cpu"), precision=Precision.FP32, off=off
    )
    return Update(classifier, RECIPE, steps=10)


@pytest.fixture
def models() -> tuple[nn.Module, nn.Module]:
    torch.manual_seed(0)
    model = Bag()
    return model, copy.deepcopy(model)


def same(left: nn.Module, right: nn.Module) -> bool:
    pairs = zip(left.parameters(), right.parameters(), strict=True)
    return all(torch.equal(mine, other) for mine, other in pairs)


def test_it_is_recorded_once_a_size_and_trains_the_same(
    models: tuple[nn.Module, nn.Module],
) -> None:
    recorder = Again()
    plain = update_of(models[0])
    recorded = RecordedSteps(update_of(models[1]), recorder, texts=3, failed=pytest.fail)
    losses = [(plain(batch).item(), recorded(batch)) for batch in batches()]
    # A loss is a number of its own: playing back the next step doesn't change it.
    assert [exact for exact, _ in losses] == [loss.item() for _, loss in losses]
    assert same(*models)
    # Two sizes, at the second meeting each; not the batch of fewer texts.
    assert recorder.recordings == 2


def test_it_runs_as_it_is_where_it_cannot_be_recorded(
    models: tuple[nn.Module, nn.Module],
) -> None:
    recorder = Again(fails=True)
    told: list[str] = []
    plain = update_of(models[0])
    recorded = RecordedSteps(update_of(models[1]), recorder, texts=3, failed=told.append)
    for batch in batches():
        assert recorded(batch).item() == plain(batch).item()
    assert same(*models)
    assert recorder.recordings == 1
    assert told == ["operation not permitted"]

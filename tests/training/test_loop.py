"""The loop's parts against the formulas they implement."""

from __future__ import annotations

import math

import pytest
import torch
from torch import nn

from peftcore.accelerations import ALL, FUSED_UPDATE
from peftcore.data.batches import Batch, Span, tokenise, training_order
from peftcore.data.examples import Examples
from peftcore.errors import LossNotFinite
from peftcore.scenarios import Precision, Recipe
from peftcore.training.accelerating import Accelerated
from peftcore.training.observing import LossWatch, StepClock, TrainingLog
from peftcore.training.updating import Update

CPU = torch.device("cpu")


class Linear(nn.Module):
    """A classifier whose logits are a linear map of its inputs."""

    def __init__(self) -> None:
        super().__init__()
        torch.manual_seed(0)
        self.weight = nn.Parameter(torch.randn(4, 2))

    def forward(self, input_ids: torch.Tensor, attention_mask: torch.Tensor) -> object:
        logits = (input_ids * attention_mask).float() @ self.weight
        return type("Output", (), {"logits": logits})()


def batch() -> Batch:
    ids = torch.tensor([[1, 2, 3, 4], [4, 3, 2, 1], [9, 1, 9, 1]])
    spans = tuple(Span(row, 0, 4) for row in range(3))
    return Batch(ids, spans, torch.tensor([0, 1, 1]), attention_mask=torch.ones_like(ids))


def plain(model: nn.Module, *on: str) -> Accelerated:
    """The model with these accelerations and no other."""
    off = {name: "not asked for" for name in ALL if name not in on}
    return Accelerated(model=model, device=CPU, precision=Precision.FP32, off=off)


@pytest.mark.parametrize("on", [(), (FUSED_UPDATE.name,)], ids=["plain", "fused"])
def test_an_update_is_clipped_adamw_with_linear_decay(on: tuple[str, ...]) -> None:
    """Written out by hand: Adam's moments, bias correction, decoupled decay, norm clipping."""
    recipe = Recipe(
        learning_rate=0.1, weight_decay=0.01, max_gradient_norm=0.5, precision=Precision.FP32
    )
    model = Linear()
    weight = model.weight.detach().clone().double()
    update = Update(plain(model, *on), recipe, steps=4)
    first = torch.zeros_like(weight)
    second = torch.zeros_like(weight)
    for step in range(1, 5):
        leaf = weight.clone().requires_grad_()
        loss = nn.functional.cross_entropy(batch().input_ids.double() @ leaf, batch().labels)
        loss.backward()
        gradient = leaf.grad
        assert gradient is not None
        gradient = gradient * min(1.0, 0.5 / float(gradient.norm()))
        rate = 0.1 * (1 - (step - 1) / 4)
        first = 0.9 * first + 0.1 * gradient
        second = 0.999 * second + 0.001 * gradient**2
        corrected = first / (1 - 0.9**step)
        scale = (second / (1 - 0.999**step)).sqrt() + 1e-8
        weight = weight * (1 - rate * 0.01) - rate * corrected / scale
        assert update(batch()).item() == pytest.approx(loss.item(), abs=1e-5)
        torch.testing.assert_close(model.weight.detach().double(), weight, atol=1e-5, rtol=1e-4)


@pytest.mark.parametrize("on", [(), (FUSED_UPDATE.name,)], ids=["plain", "fused"])
def test_the_loss_scale_and_skipped_updates_are_gradscalers(on: tuple[str, ...]) -> None:
    """In fp16 the first updates overflow and are skipped; the rate waits for them, as Trainer's."""
    recipe = Recipe(learning_rate=0.1, max_gradient_norm=0.5, precision=Precision.FP16)
    ours, theirs = Linear(), Linear()
    off = {name: "not asked for" for name in ALL if name not in on}
    classifier = Accelerated(model=ours, device=CPU, precision=Precision.FP16, off=off)
    update = Update(classifier, recipe, steps=10)
    optimiser = torch.optim.AdamW(theirs.parameters(), lr=0.1, weight_decay=0.0, fused=True)
    schedule = torch.optim.lr_scheduler.LambdaLR(optimiser, lambda step: max(0.0, 1 - step / 10))
    scaler = torch.amp.GradScaler("cpu")
    skipped = 0
    for _ in range(10):
        loss = update(batch())
        with torch.autocast("cpu", dtype=torch.float16):
            logits = theirs(batch().input_ids, batch().attention_mask).logits  # type: ignore[attr-defined]
        expected = nn.functional.cross_entropy(logits.float(), batch().labels)
        scaler.scale(expected).backward()
        scaler.unscale_(optimiser)
        nn.utils.clip_grad_norm_(theirs.parameters(), 0.5)
        before = scaler.get_scale()
        scaler.step(optimiser)
        scaler.update()
        if scaler.get_scale() < before:
            skipped += 1
        else:
            schedule.step()
        optimiser.zero_grad()
        assert loss.item() == pytest.approx(expected.item(), abs=1e-3)
        torch.testing.assert_close(ours.weight, theirs.weight, atol=1e-4, rtol=1e-4)
    assert 0 < skipped < 9


def test_frozen_parameters_are_left_alone() -> None:
    model = Linear()
    model.frozen = nn.Parameter(torch.ones(3), requires_grad=False)
    Update(plain(model), Recipe(precision=Precision.FP32), steps=1)(batch())
    assert model.frozen.tolist() == [1, 1, 1]
    assert model.frozen.grad is None


def test_every_epoch_visits_each_example_once_in_another_order() -> None:
    first, second = (training_order(50, seed=3, epoch=epoch) for epoch in (0, 1))
    assert sorted(first) == sorted(second) == list(range(50))
    assert first != second
    assert first == training_order(50, seed=3, epoch=0)
    assert first != training_order(50, seed=4, epoch=0)


class _Letters:
    """Stands in for a tokenizer: a token a letter."""

    def __call__(
        self, texts: list[str], pairs: list[str] | None, *, truncation: bool, max_length: int
    ) -> dict[str, list[list[int]]]:
        assert truncation
        assert pairs is None
        return {"input_ids": [[ord(letter) for letter in text][:max_length] for text in texts]}


def test_ids_beyond_the_vocabulary_are_folded_past_the_padding_id() -> None:
    examples = Examples(["\x03\x07Az", "ab"], [1, 0])
    tokenised = tokenise(examples, _Letters(), max_length=3, vocabulary=10, pad_id=1)  # type: ignore[arg-type]
    assert tokenised.ids[0][:2] == [3, 7]
    assert [len(row) for row in tokenised.ids] == [3, 2]
    assert all(1 < i < 10 for row in tokenised.ids for i in row)
    assert tokenised.tokens() == 5


@pytest.mark.parametrize("bad", [math.nan, math.inf])
def test_a_loss_that_is_not_finite_stops_training_at_its_step(bad: float) -> None:
    watch = LossWatch(steps=3, steps_per_epoch=3, observe=lambda _: None)
    watch.saw(torch.tensor(0.5))
    watch.saw(torch.tensor(bad))
    with pytest.raises(LossNotFinite, match="at step 2") as caught:
        watch.fetch()
    assert caught.value.step == 2


def test_the_median_step_leaves_the_first_ones_out() -> None:
    slow_start = TrainingLog(step_seconds=[9.0] * 5 + [1.0, 2.0, 3.0])
    assert slow_start.median_step_seconds() == 2.0
    assert TrainingLog(step_seconds=[9.0] * 5).median_step_seconds() is None


def test_a_step_clock_counts_between_marks_and_forgets_on_restart() -> None:
    clock = StepClock(CPU)
    clock.tick()
    clock.tick()
    assert len(clock.seconds()) == 2
    assert all(seconds >= 0 for seconds in clock.seconds())
    clock.restart()
    assert clock.seconds() == []

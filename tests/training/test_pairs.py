"""Pairs of texts, and more classes than two."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable
from pathlib import Path

import pytest
import torch

from peftcore.data.batches import Feed, Tokenised
from peftcore.data.examples import Examples, Sample
from peftcore.models.loading import classifier_config
from peftcore.training.ending import TrialResult
from peftcore.training.preparing import tokenised
from peftcore.training.trial import run_trial
from peftcore.trials import Engine, Trial
from tests.conftest import MakeTrial, sample_of

CLASSES = 3


def paired(examples: Examples) -> Examples:
    """Return each text with the next one as its second, as examples of three classes."""
    texts = list(examples.texts)
    return Examples(texts, [n % CLASSES for n in range(len(texts))], [*texts[1:], texts[0]])


@pytest.fixture
def trial(make_trial: MakeTrial, tiny_models: Callable[[str], Path]) -> Callable[..., Trial]:
    """Return a function that makes a trial on pairs, in 32 bits without dropout."""

    def make(kind: str, method: str = "full", engine: Engine = Engine.PEFTCORE) -> Trial:
        made = make_trial(
            method, model=tiny_models(kind), engine=engine, dropout=0.0, learning_rate=5e-3
        )
        task = dataclasses.replace(made.task, labels=CLASSES, pair_column="second")
        return dataclasses.replace(made, task=task)

    return make


def sample(trial: Trial) -> Sample:
    alone = dataclasses.replace(trial.task, labels=2, pair_column=None)
    return Sample(*map(paired, sample_of(dataclasses.replace(trial, task=alone))))


def run(trial: Trial) -> TrialResult:
    return run_trial(trial, sample(trial), lambda _: None)


def losses(result: TrialResult) -> list[float]:
    return [loss for _, loss in result.measurement["losses"]]


def tokens(trial: Trial) -> Tokenised:
    config = classifier_config(trial.backbone, labels=CLASSES, dropout=0.0)
    return tokenised(trial, sample(trial), config)[0]


@pytest.mark.parametrize("kind", ["bert", "roberta"])
@pytest.mark.parametrize("method", ["full", "lora"])
def test_pairs_are_learned_as_trainer_learns_them(
    trial: Callable[..., Trial], kind: str, method: str
) -> None:
    ours, reference = run(trial(kind, method)), run(trial(kind, method, Engine.TRAINER))
    assert losses(ours) == pytest.approx(losses(reference), abs=2e-6)
    assert ours.predictions == reference.predictions
    assert set(ours.labels) == set(range(CLASSES))


def test_the_second_text_is_marked_where_the_backbone_asks(trial: Callable[..., Trial]) -> None:
    bert = tokens(trial("bert"))
    assert bert.segments is not None
    for row, segments in zip(bert.ids, bert.segments, strict=True):
        assert len(row) == len(segments)
        assert set(segments) == {0, 1}
        assert list(segments) == sorted(segments)
    assert tokens(trial("distilbert")).segments is None


@pytest.mark.parametrize("resident", [False, True])
def test_marks_go_with_their_tokens_padded_or_end_to_end(
    trial: Callable[..., Trial], resident: bool
) -> None:
    examples = tokens(trial("bert"))
    assert examples.segments is not None
    chosen = [5, 0, 3]
    for end_to_end in (False, True):
        feed = Feed(examples, torch.device("cpu"), end_to_end=end_to_end, resident=resident)
        batch = feed.batch(chosen)
        assert batch.segments is not None
        assert batch.segments.shape == batch.input_ids.shape
        for number, span in zip(chosen, batch.spans, strict=True):
            found = batch.segments[span.row, span.start : span.end]
            assert found.tolist() == list(examples.segments[number])
        assert int(batch.segments.sum()) == sum(sum(examples.segments[n]) for n in chosen)


def test_marks_are_learned_from(
    trial: Callable[..., Trial], monkeypatch: pytest.MonkeyPatch
) -> None:
    marked = losses(run(trial("bert")))
    monkeypatch.setattr("peftcore.training.preparing.getattr", lambda *_: 0, raising=False)
    assert losses(run(trial("bert"))) != pytest.approx(marked, abs=2e-6)


def test_a_bag_of_words_reads_both_texts(trial: Callable[..., Trial]) -> None:
    """What tells the classes stands in the second texts alone."""
    made = trial("bert", "bow")
    words = ["red", "green", "blue"]
    labels = [n % CLASSES for n in range(30)]
    examples = Examples(["the same words"] * 30, labels, [f"it is {words[n]} here" for n in labels])
    result = run_trial(made, Sample(examples, examples), lambda _: None)
    assert result.measurement["accuracy"] == 1.0

"""The reference row that reads no backbone: TF-IDF with logistic regression.

It needs no torch, and is measured in a process that has none: what it takes is its own.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from sklearn.feature_extraction.text import TfidfVectorizer
from sklearn.linear_model import LogisticRegression
from sklearn.pipeline import Pipeline, make_pipeline

from peftcore.data.examples import Examples, Sample
from peftcore.measuring.energy import energy_meter
from peftcore.measuring.memory import ResidentMemory
from peftcore.measuring.phases import Phases
from peftcore.training.ending import TrialResult, about_the_test_set, costs
from peftcore.trials import Trial

if TYPE_CHECKING:
    from peftcore.training.observing import Observer


@dataclass(frozen=True)
class BagOfWords:
    """A fitted bag of words.

    Attributes:
        pipeline: texts to labels.
    """

    pipeline: Pipeline

    def predict(self, examples: Examples) -> list[int]:
        """Return the predicted label of each example."""
        return [int(label) for label in self.pipeline.predict(examples.joined())]

    def parameters(self) -> int:
        """Return how many numbers the classifier learned."""
        classifier = self.pipeline[-1]
        return int(classifier.coef_.size + classifier.intercept_.size)


def fit_bag_of_words(examples: Examples, *, seed: int) -> BagOfWords:
    """Return a classifier of TF-IDF weighted words and bigrams, fitted on the whole texts."""
    pipeline = make_pipeline(
        TfidfVectorizer(ngram_range=(1, 2), min_df=2, sublinear_tf=True),
        LogisticRegression(C=10.0, max_iter=1000, random_state=seed),
    )
    pipeline.fit(examples.joined(), list(examples.labels))
    return BagOfWords(pipeline)


def run_bag_of_words(trial: Trial, sample: Sample, observe: Observer) -> TrialResult:
    """Fit a bag of words to a trial's training examples, evaluate it, and return what came of it.

    Args:
        trial: what to run.
        sample: the examples that the trial's seed drew.
        observe: told of each phase as it begins.
    """
    phases = Phases(ResidentMemory(), synchronise=lambda: None, energy=energy_meter(None))
    test = sample.test
    observe({"phase": "train"})
    with phases.measure("train"):
        fitted = fit_bag_of_words(sample.train, seed=trial.seed)
    observe({"phase": "evaluate"})
    with phases.measure("evaluate"):
        predictions = fitted.predict(test)
    right = sum(guess == label for guess, label in zip(predictions, test.labels, strict=True))
    parameters = fitted.parameters()
    measurement = {
        "accuracy": right / len(test),
        "total_parameters": parameters,
        "trainable_parameters": parameters,
        **costs(phases, evaluations=1),
        **about_the_test_set(test),
    }
    return TrialResult(measurement, predictions, list(test.labels))

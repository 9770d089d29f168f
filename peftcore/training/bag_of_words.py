"""The reference row that reads no backbone: TF-IDF with logistic regression."""

from __future__ import annotations

from dataclasses import dataclass

from sklearn.feature_extraction.text import TfidfVectorizer
from sklearn.linear_model import LogisticRegression
from sklearn.pipeline import Pipeline, make_pipeline

from peftcore.data.examples import Examples


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

"""One method on one architecture: all that is claimed of it, tried on a tiny model."""

from __future__ import annotations

from functools import cache
from pathlib import Path
from typing import Any

import torch
from peft import PeftModel
from peft.mapping import PEFT_TYPE_TO_CONFIG_MAPPING
from torch import nn
from transformers import PreTrainedModel

from peftcore.conformance.fingerprints import Fingerprint, Verdict
from peftcore.conformance.tiny import review_rows, write_tiny_model
from peftcore.data.batches import Tokenised
from peftcore.data.examples import Examples, Sample
from peftcore.errors import CheckFailed, PeftcoreError, UsageError
from peftcore.measuring.counting import tensor_bytes
from peftcore.methods import METHODS, Adapter, Method, Trains
from peftcore.models.architectures import architecture_of
from peftcore.models.attach import Classifier, attach, count_parameters
from peftcore.models.backbones import locate_backbone, read_config
from peftcore.models.checks import rounding_bound
from peftcore.models.loading import classifier_config, load_classifier
from peftcore.models.merging import adapted_weights, merge, require_rounded_into
from peftcore.models.moving import CLEARLY, move_until_it_shows
from peftcore.scenarios import Precision, Recipe, Task
from peftcore.training.accelerating import plain
from peftcore.training.ending import TrialResult
from peftcore.training.evaluating import evaluation_mode, probe
from peftcore.training.preparing import run_of, tokenised
from peftcore.training.trial import run_trial
from peftcore.trials import Engine, Source, Trial, Weights

SEED = 42
TRAIN_EXAMPLES, TEST_EXAMPLES = 48, 24
SCALE = 0.12
"""Of the tiny models' weights: so that texts, and what an adapter does, make a difference."""

MOST_APART = 1e-3
"""How far rounding may bring the losses of six steps apart, of texts end to end and padded."""

BEYOND_FOUR_BITS = 1000.0
"""How many times further than 32 bits could, an adapter brings logits before 4 bits take it."""

_DEVICE = torch.device("cpu")


def declared_methods() -> list[Method]:
    """Return the methods that train a model, in the order of their declarations."""
    return [method for method in METHODS if method.trains is not Trains.BAG_OF_WORDS]


def undeclared_methods() -> list[Method]:
    """Return what the installed peft has and no declaration uses, each as it comes."""
    used = {method.adapter.config for method in METHODS if method.adapter is not None}
    found = []
    for kind, config in sorted(PEFT_TYPE_TO_CONFIG_MAPPING.items()):
        if config.__name__ in used:
            continue
        targeting = "target_modules" in config.__dataclass_fields__
        found.append(
            Method(
                slug=str(getattr(kind, "value", kind)).lower().replace("_", "-"),
                name=config.__name__.removesuffix("Config"),
                summary="Of the installed peft, and declared by nobody.",
                paper=None,
                trains=Trains.ADAPTER,
                adapter=Adapter(
                    config=config.__name__, targets=("query", "value") if targeting else ()
                ),
            )
        )
    return found


class Bench:
    """Tiny backbones and texts, made once, on which cells are tried.

    Args:
        folder: where the backbones are written.
    """

    def __init__(self, folder: Path) -> None:
        self._backbone = cache(lambda kind: write_tiny_model(folder / kind, kind, scale=SCALE))
        rows = review_rows(TRAIN_EXAMPLES + TEST_EXAMPLES, seed=SEED)
        train, test = rows[:TRAIN_EXAMPLES], rows[TRAIN_EXAMPLES:]
        self._sample = Sample(*(Examples(*zip(*part, strict=True)) for part in (train, test)))

    def fingerprint(self, method: Method, architecture: str) -> Fingerprint:
        """Return what a method does on an architecture; whatever goes wrong is told in it."""
        told: dict[str, Any] = {"method": method.slug, "architecture": architecture}
        told["declared"] = method.slug in {one.slug for one in METHODS}
        try:
            config = read_config(self._source(architecture))
            architecture_of(architecture).require(method, config)
        except UsageError as error:
            return Fingerprint(**told, verdict=Verdict.REFUSED, detail=str(error))
        try:
            told |= self._measured(method, architecture)
            moved = self._moved(method, architecture)
            told["checks"] = {**told["checks"], "padding": moved.padding()}
            told["logits"] = tuple(moved.logits.flatten().tolist())
            told["merged"] = moved.merged()
        except Exception as error:  # whatever peft, transformers or torch raise is the finding
            detail = str(error) if isinstance(error, PeftcoreError) else repr(error)
            return Fingerprint(**told, verdict=Verdict.FAILS, detail=detail)
        return Fingerprint(**told, verdict=Verdict.CONFORMS)

    def _trial(self, method: Method, architecture: str, **recipe: Any) -> Trial:
        return Trial(
            method=method,
            scenario="conformance",
            seed=SEED,
            backbone=self._source(architecture),
            data=Source(name="tiny reviews", identity="none"),
            weights=Weights.PRETRAINED,
            task=Task(train_examples=TRAIN_EXAMPLES, test_examples=TEST_EXAMPLES, max_length=32),
            recipe=Recipe(
                epochs=1, learning_rate=1e-3, dropout=0.0, precision=Precision.FP32, **recipe
            ),
            engine=Engine.PEFTCORE,
        )

    def _source(self, architecture: str) -> Source:
        return locate_backbone(str(self._backbone(architecture)), Weights.PRETRAINED)

    def _measured(self, method: Method, architecture: str) -> dict[str, Any]:
        """Train, with texts end to end where that can be, and padded, and return the numbers.

        Raises:
            CheckFailed: a check of the trial failed, or the two don't learn the same.
        """

        def train(**recipe: Any) -> TrialResult:
            trial = self._trial(method, architecture, **recipe)
            return run_trial(trial, self._sample, lambda _: None)

        # First the one whose numbers don't count: what libraries make once and keep is there then.
        padded = train(accelerations=())
        kept = tensor_bytes()
        found = train()
        measured = found.measurement
        losses = tuple(loss for _, loss in measured["losses"])
        others = [loss for _, loss in padded.measurement["losses"]]
        apart = max(abs(a - b) for a, b in zip(losses, others, strict=True))
        if not apart <= MOST_APART:
            raise CheckFailed(f"accelerated and plain training come to losses {apart:.2g} apart")
        return {
            "losses": losses,
            "parameters": {
                name: measured[f"{name}_parameters"]
                for name in ("total", "trainable", "head", "adapter")
            },
            "tensor_bytes": measured["tensor_bytes"] - kept,
            "operations": measured["operations"],
            "file_bytes": measured["adapter_file_bytes"],
            "checks": {check["name"]: check["detail"] for check in measured["checks"]},
            "accelerations": measured["accelerations"],
        }

    def _moved(self, method: Method, architecture: str) -> _Moved:
        """Attach a method anew and move its weights from where they begin.

        Raises:
            CheckFailed: that shows in no logit.
        """
        trial = self._trial(method, architecture)
        config = classifier_config(trial.backbone, labels=2, dropout=0.0)

        def load(*, quantised: bool) -> PreTrainedModel:
            return load_classifier(
                self._backbone(architecture),
                config,
                seed=SEED,
                quantisation=method.quantisation if quantised else None,
                precision=Precision.FP32,
                device=_DEVICE,
            )

        train, test = tokenised(trial, self._sample, config)
        run = run_of(trial, train, full_precision=lambda: load(quantised=False))
        classifier = attach(load(quantised=True), method, seed=SEED, dropout=0.0, run=run)
        return _Moved(classifier, test)


class _Moved:
    """A classifier whose weights are not where they begin, as it would be used.

    Args:
        classifier: its trained weights are moved.
        test: texts of different lengths.

    Attributes:
        logits: of the first texts.

    Raises:
        CheckFailed: the move shows in no logit, or peft counts other parameters.
    """

    def __init__(self, classifier: Classifier, test: Tokenised) -> None:
        self._classifier, self._test = classifier, test
        _check_count(classifier)
        start = {n: p.detach().clone() for n, p in classifier.trained_parameters().items()}
        self.logits = move_until_it_shows(
            classifier,
            start,
            seed=SEED,
            logits=self._logits,
            precision=Precision.FP32,
            clearly=CLEARLY if classifier.method.quantisation is None else BEYOND_FOUR_BITS,
        )

    def padding(self) -> str:
        """Return in words whether a text has the logits that it has alone among longer ones, too.

        Raises:
            CheckFailed: it is otherwise than the method declares.
        """
        alone = torch.cat([self._logits(only=n) for n in range(len(self.logits))])
        apart = float((alone - self.logits).abs().max())
        equal, declared = apart <= self._bound(), self._classifier.mixes_texts()
        if equal is declared:
            words = "within" if equal else "apart by"
            raise CheckFailed(
                f"padding: logits of a text alone and filled up among longer ones are {words} "
                f"{apart:.3g}, and the method declares mixes_texts={declared}"
            )
        return "as alone" if equal else "texts of a batch depend on each other, as declared"

    def merged(self) -> str:
        """Merge the adapter into the weights, and return what came of it.

        Raises:
            CheckFailed: the merged model has other logits.
        """
        method = self._classifier.method
        before = adapted_weights(self._classifier) if method.quantisation is not None else {}
        try:
            merged = merge(self._classifier)
        except UsageError as error:
            return str(error)
        apart = float((self.logits - self._logits(merged)).abs().max())
        if method.quantisation is not None:
            require_rounded_into(before, merged)
            return f"yes, rounded to 4 bits: logits within {apart:.1g}"
        if not apart <= self._bound():
            raise CheckFailed(f"merge: the merged model's logits differ by up to {apart:.3g}")
        return "yes"

    def _bound(self) -> float:
        return rounding_bound(self.logits, Precision.FP32)

    def _logits(self, merged: nn.Module | None = None, *, only: int | None = None) -> torch.Tensor:
        """Return logits of the first texts, or of one alone; merged, a model takes texts alone."""
        model = self._classifier.model if merged is None else merged
        inputs = self._classifier.method.inputs if merged is None else ()
        way = plain(model.eval(), _DEVICE, Precision.FP32, inputs=inputs)
        feed = way.feed(self._test)
        if only is None:
            return probe(model, feed, way.logits)
        with evaluation_mode(model):
            return way.logits(feed.batch([only]))


def _check_count(classifier: Classifier) -> None:
    """Check that peft trains as many parameters as are counted.

    Raises:
        CheckFailed: it trains others.
    """
    model = classifier.model
    if not isinstance(model, PeftModel):
        return
    ours, theirs = count_parameters(classifier).trainable, model.get_nb_trainable_parameters()[0]
    if ours != theirs:
        raise CheckFailed(f"count: {ours:,} parameters are trained, and peft counts {theirs:,}")

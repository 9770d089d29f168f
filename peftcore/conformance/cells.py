"""One method on one architecture: all that is claimed of it, tried on a tiny model."""

from __future__ import annotations

import dataclasses
from dataclasses import dataclass, field
from enum import StrEnum
from functools import cache
from pathlib import Path
from typing import Any

import peft
import torch
from peft.mapping import PEFT_TYPE_TO_CONFIG_MAPPING

from peftcore.conformance.tiny import review_rows, write_tiny_model
from peftcore.data.examples import Examples, Sample
from peftcore.errors import CheckFailed, PeftcoreError, UsageError
from peftcore.methods import METHODS, Adapter, Method, Trains
from peftcore.models.architectures import architecture_of
from peftcore.models.attach import attach
from peftcore.models.backbones import locate_backbone
from peftcore.models.checks import rounding_bound
from peftcore.models.loading import classifier_config, load_classifier
from peftcore.models.merging import merge
from peftcore.scenarios import Precision, Recipe, Task
from peftcore.training.accelerating import plain
from peftcore.training.evaluating import probe
from peftcore.training.preparing import run_of, tokenised
from peftcore.training.trial import run_trial
from peftcore.trials import Engine, Source, Trial, Weights

SEED = 42
TRAIN_EXAMPLES, TEST_EXAMPLES = 48, 24
MOST_APART = 1e-3
"""How far rounding may bring the losses of six steps apart, of texts end to end and padded."""


class Verdict(StrEnum):
    """What came of a cell."""

    CONFORMS = "conforms"
    REFUSED = "refused"
    FAILS = "fails"


@dataclass(frozen=True, kw_only=True)
class Fingerprint:
    """What a method does on an architecture, in numbers that the same code gives again.

    Attributes:
        method: its slug.
        architecture: the model type.
        verdict: what came of it.
        detail: why it was refused or how it fails; empty where it conforms.
        losses: of each step, without dropout, in 32 bits.
        parameters: how many, by kind: total, trainable, head, adapter.
        tensor_bytes: of all tensors once training is over.
        operations: that torch dispatches for forward and backward of a batch.
        file_bytes: of what is kept besides the backbone.
        merged: ``"yes"``, or why it can't be merged.
        checks: what the trial's own checks found, by their names.
    """

    method: str
    architecture: str
    verdict: Verdict
    detail: str = ""
    losses: tuple[float, ...] = ()
    parameters: dict[str, int] = field(default_factory=dict)
    tensor_bytes: int | None = None
    operations: int | None = None
    file_bytes: int | None = None
    merged: str = ""
    checks: dict[str, str] = field(default_factory=dict)

    def to_json(self) -> dict[str, Any]:
        """Return it as plain JSON values."""
        return dataclasses.asdict(self) | {"losses": list(self.losses)}


def declared_methods() -> list[Method]:
    """Return the methods that train a model, in the order of their declarations."""
    return [method for method in METHODS if method.trains is not Trains.BAG_OF_WORDS]


def undeclared_methods() -> list[Method]:
    """Return what the installed peft has and no declaration uses, each as it comes."""
    used = {method.adapter.config for method in METHODS if method.adapter is not None}
    found = []
    for kind, config in sorted(PEFT_TYPE_TO_CONFIG_MAPPING.items()):
        if config.__name__ in used or not hasattr(peft, config.__name__):
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
        self._backbone = cache(lambda kind: write_tiny_model(folder / kind, kind))
        rows = review_rows(TRAIN_EXAMPLES + TEST_EXAMPLES, seed=SEED)
        train, test = rows[:TRAIN_EXAMPLES], rows[TRAIN_EXAMPLES:]
        self._sample = Sample(*(Examples(*zip(*part, strict=True)) for part in (train, test)))

    def fingerprint(self, method: Method, architecture: str) -> Fingerprint:
        """Return what a method does on an architecture; whatever goes wrong is told in it."""
        told: dict[str, Any] = {"method": method.slug, "architecture": architecture}
        try:
            architecture_of(architecture).require(method)
        except UsageError as error:
            return Fingerprint(**told, verdict=Verdict.REFUSED, detail=str(error))
        try:
            told |= self._measured(method, architecture)
            told["merged"] = self._merged(method, architecture)
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
        found, padded = (
            run_trial(self._trial(method, architecture, **recipe), self._sample, lambda _: None)
            for recipe in ({}, {"accelerations": ()})
        )
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
            "tensor_bytes": measured["tensor_bytes"],
            "operations": measured["operations"],
            "file_bytes": measured["adapter_file_bytes"],
            "checks": {check["name"]: check["detail"] for check in measured["checks"]},
        }

    def _merged(self, method: Method, architecture: str) -> str:
        """Merge an adapter whose weights are not where they begin, and return what came of it.

        Raises:
            CheckFailed: the merged model has other logits.
        """
        trial = self._trial(method, architecture)
        config = classifier_config(trial.backbone, labels=2, dropout=0.0)
        folder, device = self._backbone(architecture), torch.device("cpu")

        def load(*, quantised: bool) -> Any:
            return load_classifier(
                folder,
                config,
                seed=SEED,
                quantisation=method.quantisation if quantised else None,
                precision=Precision.FP32,
                device=device,
            )

        train, test = tokenised(trial, self._sample, config)
        run = run_of(trial, train, full_precision=lambda: load(quantised=False))
        classifier = attach(load(quantised=True), method, seed=SEED, dropout=0.0, run=run)
        torch.manual_seed(SEED)
        with torch.no_grad():
            for parameter in classifier.trained_parameters().values():
                parameter.add_(0.01 * torch.randn_like(parameter))

        def logits(model: Any, inputs: tuple[str, ...]) -> torch.Tensor:
            way = plain(model, device, Precision.FP32, inputs=inputs)
            return probe(model.eval(), way.feed(test), way.logits)

        before = logits(classifier.model, method.inputs)
        try:
            merged = merge(classifier)
        except UsageError as error:
            return str(error)
        apart = float((before - logits(merged, ())).abs().max())
        if method.quantisation is not None:
            return f"yes, rounded to 4 bits: logits within {apart:.1g}"
        if not apart <= rounding_bound(before, Precision.FP32):
            raise CheckFailed(f"merge: the merged model's logits differ by up to {apart:.3g}")
        return "yes"

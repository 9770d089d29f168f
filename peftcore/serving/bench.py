"""Measure serving in the process that calls it: prepare once, then round after round.

Nothing is trained: adapters are attached as for training, their weights moved from where they
begin, and saved. Whatever is timed has been seen to give the logits of the adapter that it is said
to serve; what can't be measured says why.
"""

from __future__ import annotations

import copy
import gc
import random
import time
import warnings
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import Any

import torch
from torch import nn

from peftcore.data.batches import Feed
from peftcore.data.examples import Sample
from peftcore.errors import CheckFailed, UsageError, is_out_of_memory
from peftcore.methods import Trains
from peftcore.models.attach import count_parameters
from peftcore.models.loading import classifier_config, weights_folder
from peftcore.models.merging import adapted_weights, merge, require_rounded_into
from peftcore.models.saving import load_trained
from peftcore.results.serving import (
    ATTACHED,
    ESTIMATED,
    EXCHANGE,
    HOLD,
    LOAD,
    MERGED,
    PLAIN,
    PREDICT,
    SWAP,
    UNAVAILABLE,
    Figure,
)
from peftcore.serving.adapters import SavedAdapters
from peftcore.serving.residents import Residents, held_bytes, hold, model_tensors
from peftcore.serving.trials import ServingTrial
from peftcore.training.observing import Observer
from peftcore.training.trial import pick_device, require_known


@dataclass
class _Timed:
    """A figure and what is done for it."""

    figure: Figure
    run: Callable[[int], list[float]]


class Bench:
    """Everything that is measured of one method; made, it is ready for rounds.

    Args:
        trial: what to measure; its backbone was located on this machine.
        sample: the examples that the trial's seed drew: adapters may start from those to train on,
            those to test on are predicted.
        folder: where adapters are saved meanwhile.
        backbone_folder: holds the backbone's weights.
        observe: told of each phase as it begins.
    """

    def __init__(
        self,
        trial: ServingTrial,
        sample: Sample,
        folder: Path,
        backbone_folder: Path,
        observe: Observer,
    ) -> None:
        self._trial, self._serving = trial, trial.serving
        self._device = pick_device()
        require_known(self._device)
        self._adapters = SavedAdapters(
            trial,
            sample,
            folder,
            backbone_folder=backbone_folder,
            device=self._device,
            observe=observe,
        )
        self._classifier = self._adapters.classifier
        self.checks: list[dict[str, str]] = []
        self.figures: list[Figure] = []
        self._timed: list[_Timed] = []
        observe({"phase": "hold"})
        self._prepare()

    def _prepare(self) -> None:
        """Make the models, see that each gives the logits that it should, and say what it holds."""
        bare = self._adapters.backbone(quantised=False)
        self._add_predictions(PLAIN, 0, bare, inputs=False)
        self.figures.append(Figure(HOLD, served=PLAIN, bytes=held_bytes(model_tensors(bare))))
        self._add_load()
        self._add_exchange()
        for count in self._serving.residents:
            self._add_residents(count)
        self._add_merged()

    def _add_load(self) -> None:
        figure = Figure(LOAD)
        own = self._trial.method.trains is not Trains.ADAPTER
        with self._told([figure]):
            bare = self._adapters.backbone()

            def load(number: int) -> tuple[list[float], nn.Module]:
                # An adapter is attached to a backbone that has none; weights replace weights.
                onto = bare if own else copy.deepcopy(bare)
                folder = self._adapters.folders[number % len(self._adapters.folders)]
                begin = self._now()
                loaded = load_trained(self._classifier, onto, folder)
                return [self._now() - begin], loaded

            for number in (0, 1):
                self._adapters.require(number, load(number)[1], "loaded")
            self.checks.append({"name": "load", "detail": "logits as before it was saved"})
            self._timed.append(_Timed(figure, lambda number: load(number)[0]))

    def _add_exchange(self) -> None:
        figure = Figure(EXCHANGE, residents=1)
        with self._told([figure]):
            held = hold(self._classifier, self._adapters.backbone(), self._adapters.folders[:1])

            def exchange(number: int) -> list[float]:
                begin = self._now()
                held.exchange(self._adapters.folders[number % len(self._adapters.folders)])
                return [self._now() - begin]

            for number in (1, 0, 1):
                exchange(number)
                self._adapters.require(number, held.model, "loaded in another's place")
            self.checks.append({"name": "exchange", "detail": "logits as before it was saved"})
            self._timed.append(_Timed(figure, exchange))

    def _add_residents(self, count: int) -> None:
        """Add what is measured of a model that holds so many adapters."""
        holding = Figure(HOLD, served=ATTACHED, residents=count)
        predicting = [Figure(PREDICT, ATTACHED, count, size) for size in self._serving.sizes]
        swapping = [Figure(SWAP, residents=count)] if count > 1 else []
        with self._told([holding, *predicting, *swapping]):
            if count in self._adapters.refused:
                held_now = held_bytes(model_tensors(self._classifier.model))
                holding.bytes = held_now + count * self._adapters.set_bytes()
                holding.status = ESTIMATED
                raise UsageError(self._adapters.refused[count])
            held = hold(self._classifier, self._adapters.backbone(), self._adapters.folders[:count])
            for number in (*range(count), 0):
                held.swap(number)
                self._adapters.require(number, held.model, f"one of {count} resident")
            holding.bytes = held_bytes(held.tensors())
            detail = f"each of {count} resident gives its own logits"
            self.checks.append({"name": "residents", "detail": detail})
            self._time_predictions(predicting, held.model, inputs=True)
            for figure in swapping:
                self._timed.append(_Timed(figure, partial(self._swap, held, count)))

    def _swap(self, held: Residents, count: int, number: int) -> list[float]:
        begin = self._now()
        held.swap(number % count)
        return [self._now() - begin]

    def _add_merged(self) -> None:
        holding = Figure(HOLD, served=MERGED)
        figures = [holding, *(Figure(PREDICT, MERGED, 0, size) for size in self._serving.sizes)]
        method = self._trial.method
        with self._told(figures):
            if method.trains is not Trains.ADAPTER:
                raise UsageError(
                    f"{method.name} has nothing to merge: what it trains are the model's weights"
                )
            first = self._adapters.folders[0]
            loaded = load_trained(self._classifier, self._adapters.backbone(), first)
            adapted = replace(self._classifier, model=loaded)
            before = adapted_weights(adapted) if method.quantisation is not None else {}
            with torch.no_grad():
                merged = merge(adapted)
            apart = self._adapters.apart(0, merged, inputs=False)
            if method.quantisation is not None:
                require_rounded_into(before, merged)
                detail = f"each of {len(before)} weights is another, rounded to 4 bits"
                for figure in figures:
                    figure.detail = f"the sum is rounded to 4 bits: logits within {apart:.2g}"
            elif apart <= self._adapters.bound(0):
                detail = f"logits within {apart:.2g}"
            else:
                raise CheckFailed(f"merged, its logits differ by up to {apart:.3g}")
            self.checks.append({"name": "merge", "detail": detail})
            holding.bytes = held_bytes(model_tensors(merged))
            self._time_predictions(figures[1:], merged, inputs=False)

    def _add_predictions(self, served: str, count: int, model: nn.Module, *, inputs: bool) -> None:
        figures = [Figure(PREDICT, served, count, size) for size in self._serving.sizes]
        self.figures += figures
        self._time_predictions(figures, model, inputs=inputs)

    def _time_predictions(
        self, figures: Sequence[Figure], model: nn.Module, *, inputs: bool
    ) -> None:
        way = self._adapters.way(model, inputs=inputs)
        feed = way.feed(self._adapters.test)
        for figure in figures:
            assert figure.examples is not None
            times = self._serving.singles if figure.examples == 1 else 1
            run = partial(self._predict, way.logits, feed, figure.examples, times)
            self._timed.append(_Timed(figure, run))

    def _predict(
        self, logits: Callable[[Any], torch.Tensor], feed: Feed, size: int, times: int, number: int
    ) -> list[float]:
        """Return the seconds of this round's predictions: each model gets the same examples."""
        seconds = []
        for turn in range(number * times, (number + 1) * times):
            batch = feed.batch([(turn * size + n) % len(feed) for n in range(size)])
            with torch.no_grad():
                begin = self._now()
                logits(batch)
                seconds.append(self._now() - begin)
        return seconds

    def round(self, number: int, *, counts: bool) -> None:
        """Measure everything once, in an order of this round's own.

        Args:
            number: of the round, from 0: it says which examples and adapters are taken.
            counts: whether what it took is kept.
        """
        order = list(self._timed)
        random.Random(f"{self._trial.seed} {number}").shuffle(order)
        gc.collect()
        gc.disable()
        try:
            with warnings.catch_warnings():
                # To write them takes time, and they are shown while all is prepared.
                warnings.simplefilter("ignore")
                for timed in order:
                    seconds = timed.run(number)
                    if counts:
                        timed.figure.seconds += seconds
        finally:
            gc.enable()

    def result(self) -> dict[str, Any]:
        """Return the ``measurement`` part of the record, as plain JSON values."""
        counts = count_parameters(self._classifier)
        return {
            "total_parameters": counts.total,
            "trainable_parameters": counts.trainable,
            "head_parameters": counts.head,
            "adapter_parameters": counts.adapter,
            "adapter_file_bytes": self._adapters.file_bytes,
            "checks": self.checks,
            "serving": {
                "device": self._device.type,
                "threads": torch.get_num_threads(),
                "figures": [vars(figure) for figure in self.figures],
            },
        }

    def _now(self) -> float:
        if self._device.type == "cuda":
            torch.cuda.synchronize(self._device)
        return time.perf_counter()

    @contextmanager
    def _told(self, figures: Sequence[Figure]) -> Iterator[None]:
        """Keep why figures can't be measured, if the block fails: the others still can be."""
        self.figures += figures
        before = len(self._timed)
        try:
            yield
        except Exception as error:  # whatever peft, transformers or torch raise is the reason
            if is_out_of_memory(error):
                # It is no trait of the method's: with more memory it is another day's measurement.
                raise
            del self._timed[before:]
            known = isinstance(error, CheckFailed | UsageError)
            first = str(error).strip().partition("\n")[0]
            reason = first if known and first else f"{type(error).__name__}: {first}"
            for figure in figures:
                if figure.status != ESTIMATED:
                    figure.status, figure.bytes = UNAVAILABLE, None
                figure.detail = reason


@contextmanager
def prepared(
    trial: ServingTrial, sample: Sample, folder: Path, observe: Observer
) -> Iterator[Bench]:
    """Give what is ready to be measured, while the block runs.

    Raises:
        UsageError: the method can't be attached.
    """
    observe({"phase": "load"})
    config = classifier_config(trial.backbone, labels=trial.task.labels, dropout=0.0)
    with weights_folder(trial, config) as weights:
        yield Bench(trial, sample, folder, weights, observe)

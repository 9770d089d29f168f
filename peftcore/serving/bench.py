"""Measure serving in the process that calls it: prepare once, then round after round.

Nothing is trained: adapters are attached as for training, their weights moved from where they
begin, and saved. Whatever is timed has been seen to give the logits of the adapter that it is said
to serve; what can't be measured says why.
"""

from __future__ import annotations

import copy
import gc
import random
import shutil
import time
import warnings
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import Any

import psutil
import torch
from torch import nn
from transformers import PreTrainedModel

from peftcore.data.batches import Feed
from peftcore.data.examples import Sample
from peftcore.errors import CheckFailed, UsageError
from peftcore.methods import Trains
from peftcore.models.attach import attach, count_parameters
from peftcore.models.checks import rounding_bound
from peftcore.models.loading import (
    classifier_config,
    load_classifier,
    own_storage,
    weights_folder,
)
from peftcore.models.merging import merge
from peftcore.models.saving import load_trained, save_trained
from peftcore.serving.figures import (
    ATTACHED,
    EXCHANGE,
    HOLD,
    LOAD,
    MERGED,
    PLAIN,
    PREDICT,
    SWAP,
    Figure,
)
from peftcore.serving.residents import Residents, held_bytes, hold, model_tensors
from peftcore.serving.trials import ServingTrial
from peftcore.training.accelerating import plain
from peftcore.training.evaluating import probe
from peftcore.training.observing import Observer
from peftcore.training.preparing import run_of, tokenised
from peftcore.training.trial import pick_device

MOVED = 0.01
"""How far weights are moved from where they begin, in standard deviations of a normal draw."""

MOST_OF_WHAT_IS_FREE = 0.25
"""Memory and disk are not filled further by weights that only wait to be swapped to."""


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
        self._weights = backbone_folder
        recipe = trial.recipe
        # Nothing is dropped out: what is measured is as deployed.
        self._config = classifier_config(trial.backbone, labels=trial.task.labels, dropout=0.0)
        train, self._test = tokenised(trial, sample, self._config)
        observe({"phase": "attach"})
        run = run_of(trial, train, full_precision=partial(self._backbone, quantised=False))
        self._classifier = attach(
            self._backbone(), trial.method, seed=trial.seed, dropout=recipe.dropout, run=run
        )
        observe({"phase": "save"})
        self._refused = self._no_room(folder)
        self._save_adapters(folder)
        self.checks: list[dict[str, str]] = []
        self.figures: list[Figure] = []
        self._timed: list[_Timed] = []
        observe({"phase": "hold"})
        self._prepare()

    def _backbone(self, *, quantised: bool = True) -> PreTrainedModel:
        model = load_classifier(
            self._weights,
            self._config,
            seed=self._trial.seed,
            quantisation=self._trial.method.quantisation if quantised else None,
            precision=self._trial.recipe.precision,
            device=self._device,
        )
        # Whether weights are parts of a mapped file must make no difference between models.
        own_storage(model)
        return model

    def _save_adapters(self, folder: Path) -> None:
        """Save as many adapters as are ever resident, and keep the logits of each.

        Weights are moved from where they begin: there, many an adapter changes nothing.
        """
        start = {n: p.detach().clone() for n, p in self._classifier.trained_parameters().items()}
        self._folders: list[Path] = []
        self._expected: list[torch.Tensor] = []
        # One that is loaded in another's place makes two.
        tried = (count for count in self._serving.residents if count not in self._refused)
        for number in range(max(2, *tried)):
            torch.manual_seed(self._trial.seed + number)
            with torch.no_grad():
                for name, parameter in self._classifier.trained_parameters().items():
                    noise = MOVED * torch.randn(parameter.shape).to(parameter)
                    parameter.copy_(start[name] + noise)
            self._folders.append(folder / str(number))
            self.file_bytes = save_trained(self._classifier, self._folders[-1])
            self._expected.append(self._probe(self._classifier.model))

    def _probe(self, model: nn.Module, *, inputs: bool = True) -> torch.Tensor:
        way = self._way(model, inputs=inputs)
        return probe(model, way.feed(self._test), way.logits)

    def _way(self, model: nn.Module, *, inputs: bool = True) -> Any:
        taken = self._trial.method.inputs if inputs else ()
        return plain(model.eval(), self._device, self._trial.recipe.precision, inputs=taken)

    def _prepare(self) -> None:
        """Make the models, see that each gives the logits that it should, and say what it holds."""
        bare = self._backbone(quantised=False)
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
            bare = self._backbone()

            def load(number: int) -> tuple[list[float], nn.Module]:
                # An adapter is attached to a backbone that has none; weights replace weights.
                onto = bare if own else copy.deepcopy(bare)
                folder = self._folders[number % len(self._folders)]
                begin = self._now()
                loaded = load_trained(self._classifier, onto, folder)
                return [self._now() - begin], loaded

            for number in (0, 1):
                self._require(number, load(number)[1], "loaded")
            self.checks.append({"name": "load", "detail": "logits as before it was saved"})
            self._timed.append(_Timed(figure, lambda number: load(number)[0]))

    def _add_exchange(self) -> None:
        figure = Figure(EXCHANGE, residents=1)
        with self._told([figure]):
            held = hold(self._classifier, self._backbone(), self._folders[:1])

            def exchange(number: int) -> list[float]:
                begin = self._now()
                held.exchange(self._folders[number % len(self._folders)])
                return [self._now() - begin]

            for number in (1, 0, 1):
                exchange(number)
                self._require(number, held.model, "loaded in another's place")
            self.checks.append({"name": "exchange", "detail": "logits as before it was saved"})
            self._timed.append(_Timed(figure, exchange))

    def _add_residents(self, count: int) -> None:
        """Add what is measured of a model that holds so many adapters."""
        sizes = (1, self._serving.batch_size)
        holding = Figure(HOLD, served=ATTACHED, residents=count)
        figures = [holding, *(Figure(PREDICT, ATTACHED, count, size) for size in sizes)]
        swapping = [Figure(SWAP, residents=count)] if count > 1 else []
        with self._told([*figures, *swapping]):
            if count in self._refused:
                held_now = held_bytes(model_tensors(self._classifier.model))
                holding.bytes = held_now + count * self._set_bytes()
                holding.status = "estimated"
                raise UsageError(self._refused[count])
            held = hold(self._classifier, self._backbone(), self._folders[:count])
            for number in dict.fromkeys((*range(min(count, 4)), count - 1, 0)):
                held.swap(number)
                self._require(number, held.model, f"one of {count} resident")
            holding.bytes = held_bytes(held.tensors())
            detail = f"each of {count} resident gives its own logits"
            self.checks.append({"name": "residents", "detail": detail})
            self._time_predictions(figures[1:], held.model, inputs=True)
            for figure in swapping:
                self._timed.append(_Timed(figure, partial(self._swap, held, count)))

    def _swap(self, held: Residents, count: int, number: int) -> list[float]:
        begin = self._now()
        held.swap(number % count)
        return [self._now() - begin]

    def _no_room(self, folder: Path) -> dict[int, str]:
        """Return which numbers of residents are not tried, and why: copies would fill the machine.

        Adapters are small; sets of a model's own weights may not be. Each is saved once, and held.
        """
        if self._trial.method.trains is Trains.ADAPTER:
            return {}
        free = psutil.virtual_memory().available
        if self._device.type == "cuda":
            free = torch.cuda.mem_get_info(self._device)[0]
        places = {"memory": free, "disk for scratch files": shutil.disk_usage(folder).free}
        found: dict[int, str] = {}
        for count in self._serving.residents[1:]:
            for place, room in places.items():
                if count * self._set_bytes() > MOST_OF_WHAT_IS_FREE * room:
                    found[count] = (
                        f"{count} sets of these weights take {count * self._set_bytes() / 1e9:.2f} "
                        f"GB, more than {MOST_OF_WHAT_IS_FREE:.0%} of the {place} that is free"
                    )
        return found

    def _set_bytes(self) -> int:
        trained = self._classifier.trained_parameters().values()
        return sum(p.numel() * p.element_size() for p in trained)

    def _add_merged(self) -> None:
        sizes = (1, self._serving.batch_size)
        holding = Figure(HOLD, served=MERGED)
        figures = [holding, *(Figure(PREDICT, MERGED, 0, size) for size in sizes)]
        method = self._trial.method
        with self._told(figures):
            if method.trains is not Trains.ADAPTER:
                raise UsageError(
                    f"{method.name} has nothing to merge: what it trains are the model's weights"
                )
            loaded = load_trained(self._classifier, self._backbone(), self._folders[0])
            with torch.no_grad():
                merged = merge(replace(self._classifier, model=loaded))
            logits = self._probe(merged, inputs=False)
            apart = self._apart(0, logits)
            if method.quantisation is None and not apart <= self._bound(0):
                raise CheckFailed(f"merged, its logits differ by up to {apart:.3g}")
            detail = f"logits within {apart:.2g}"
            if method.quantisation is not None:
                detail += ", the sum rounded to 4 bits"
            self.checks.append({"name": "merge", "detail": detail})
            holding.bytes = held_bytes(model_tensors(merged))
            self._time_predictions(figures[1:], merged, inputs=False)

    def _add_predictions(self, served: str, count: int, model: nn.Module, *, inputs: bool) -> None:
        figures = [Figure(PREDICT, served, count, n) for n in (1, self._serving.batch_size)]
        self.figures += figures
        self._time_predictions(figures, model, inputs=inputs)

    def _time_predictions(
        self, figures: Sequence[Figure], model: nn.Module, *, inputs: bool
    ) -> None:
        way = self._way(model, inputs=inputs)
        feed = way.feed(self._test)
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
            "adapter_file_bytes": self.file_bytes,
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

    def _bound(self, number: int) -> float:
        return rounding_bound(self._expected[number], self._trial.recipe.precision)

    def _apart(self, number: int, logits: torch.Tensor) -> float:
        return float((self._expected[number] - logits).abs().max())

    def _require(self, number: int, model: nn.Module, how: str) -> None:
        """Check that a model gives the logits of the adapter of this number.

        Raises:
            CheckFailed: it gives others.
        """
        apart = self._apart(number, self._probe(model))
        if not apart <= self._bound(number):
            raise CheckFailed(
                f"{how}, adapter {number + 1} has logits that differ from its own by up to "
                f"{apart:.3g}"
            )

    @contextmanager
    def _told(self, figures: Sequence[Figure]) -> Iterator[None]:
        """Keep why figures can't be measured, if the block fails: the others still can be."""
        self.figures += figures
        before = len(self._timed)
        try:
            yield
        except (MemoryError, torch.OutOfMemoryError):
            raise
        except Exception as error:  # whatever peft, transformers or torch raise is the reason
            del self._timed[before:]
            known = isinstance(error, CheckFailed | UsageError)
            first = str(error).strip().partition("\n")[0]
            reason = first if known and first else f"{type(error).__name__}: {first}"
            for figure in figures:
                if figure.status != "estimated":
                    figure.status, figure.bytes = "unavailable", None
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

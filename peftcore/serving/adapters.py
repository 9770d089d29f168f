"""Adapters to be served: attached as for training, given weights of their own, and saved.

Of each is known what logits it gives, so that whatever is timed can be seen to serve it.
"""

from __future__ import annotations

import shutil
from functools import partial
from pathlib import Path

import psutil
import torch
from torch import nn
from transformers import PreTrainedModel

from peftcore.data.examples import Sample
from peftcore.errors import CheckFailed
from peftcore.methods import Trains
from peftcore.models.attach import attach
from peftcore.models.checks import rounding_bound
from peftcore.models.loading import classifier_config, load_classifier, own_storage
from peftcore.models.moving import move_until_it_shows
from peftcore.models.saving import save_trained
from peftcore.serving.trials import ServingTrial
from peftcore.training.accelerating import Accelerated, plain
from peftcore.training.evaluating import probe
from peftcore.training.observing import Observer
from peftcore.training.preparing import run_of, tokenised

MOST_OF_WHAT_IS_FREE = 0.25
"""Memory and disk are not filled further by weights that only wait to be swapped to."""


class SavedAdapters:
    """As many adapters of a method as are ever resident, each in a folder of its own.

    Args:
        trial: the method, and the backbone, which was located on this machine.
        sample: adapters may start from the examples to train on; those to test on are predicted.
        folder: where the adapters are saved.
        backbone_folder: holds the backbone's weights.
        device: where everything runs.
        observe: told of each phase as it begins.

    Attributes:
        classifier: what was saved, with the last adapter's weights; it says what the files mean.
        test: the examples that are predicted.
        folders: one an adapter.
        file_bytes: what must be kept of one.
        refused: which numbers of residents are not tried, and why.

    Raises:
        CheckFailed: moving the adapter's weights changes no logit, so that nothing could be seen.
    """

    def __init__(
        self,
        trial: ServingTrial,
        sample: Sample,
        folder: Path,
        *,
        backbone_folder: Path,
        device: torch.device,
        observe: Observer,
    ) -> None:
        self._trial, self._device, self._weights = trial, device, backbone_folder
        # Nothing is dropped out: what is measured is as deployed.
        self._config = classifier_config(trial.backbone, labels=trial.task.labels, dropout=0.0)
        train, self.test = tokenised(trial, sample, self._config)
        observe({"phase": "attach"})
        run = run_of(trial, train, full_precision=partial(self.backbone, quantised=False))
        self.classifier = attach(
            self.backbone(), trial.method, seed=trial.seed, dropout=trial.recipe.dropout, run=run
        )
        observe({"phase": "save"})
        self.refused = self._no_room(folder)
        self.folders: list[Path] = []
        self._expected: list[torch.Tensor] = []
        self._save(folder)

    def backbone(self, *, quantised: bool = True) -> PreTrainedModel:
        """Return the backbone, loaded anew; unless asked otherwise as the method has it."""
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

    def way(self, model: nn.Module, *, inputs: bool = True) -> Accelerated:
        """Return a model as it is served: by transformers and peft as they come.

        Args:
            model: put into evaluation mode.
            inputs: whether it takes what the method takes beside a text.
        """
        taken = self._trial.method.inputs if inputs else ()
        return plain(model.eval(), self._device, self._trial.recipe.precision, inputs=taken)

    def apart(self, number: int, model: nn.Module, *, inputs: bool = True) -> float:
        """Return how far a model's logits are from those that this adapter gave when saved."""
        logits = self._logits(model, inputs=inputs)
        return float((self._expected[number] - logits).abs().max())

    def bound(self, number: int) -> float:
        """Return how far apart rounding may bring them."""
        return rounding_bound(self._expected[number], self._trial.recipe.precision)

    def require(self, number: int, model: nn.Module, how: str) -> None:
        """Check that a model gives the logits of the adapter of this number.

        Raises:
            CheckFailed: it gives others.
        """
        apart = self.apart(number, model)
        if not apart <= self.bound(number):
            raise CheckFailed(
                f"{how}, adapter {number + 1} has logits that differ from its own by up to "
                f"{apart:.3g}"
            )

    def set_bytes(self) -> int:
        """Return the bytes of what is trained."""
        trained = self.classifier.trained_parameters().values()
        return sum(p.numel() * p.element_size() for p in trained)

    def _logits(self, model: nn.Module, *, inputs: bool = True) -> torch.Tensor:
        way = self.way(model, inputs=inputs)
        return probe(model, way.feed(self.test), way.logits)

    def _save(self, folder: Path) -> None:
        start = {n: p.detach().clone() for n, p in self.classifier.trained_parameters().items()}
        # One that is loaded in another's place makes two.
        tried = (count for count in self._trial.serving.residents if count not in self.refused)
        for number in range(max(2, *tried)):
            logits = move_until_it_shows(
                self.classifier,
                start,
                seed=self._trial.seed + number,
                logits=partial(self._logits, self.classifier.model),
                precision=self._trial.recipe.precision,
            )
            self.folders.append(folder / str(number))
            self.file_bytes = save_trained(self.classifier, self.folders[-1])
            self._expected.append(logits)

    def _no_room(self, folder: Path) -> dict[int, str]:
        """Return which numbers of residents are not tried: copies would fill the machine.

        Adapters are small; sets of a model's own weights may not be. Each is saved once, and held.
        """
        if self._trial.method.trains is Trains.ADAPTER:
            return {}
        free = psutil.virtual_memory().available
        if self._device.type == "cuda":
            free = torch.cuda.mem_get_info(self._device)[0]
        places = {"memory": free, "disk for scratch files": shutil.disk_usage(folder).free}
        found: dict[int, str] = {}
        for count in self._trial.serving.residents[1:]:
            for place, room in places.items():
                if count * self.set_bytes() > MOST_OF_WHAT_IS_FREE * room:
                    found[count] = (
                        f"{count} sets of these weights take {count * self.set_bytes() / 1e9:.2f} "
                        f"GB, more than {MOST_OF_WHAT_IS_FREE:.0%} of the {place} that is free"
                    )
        return found

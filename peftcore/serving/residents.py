"""Models that hold several adapters of one method, one of which predicts."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Protocol

import peft
import torch
from bitsandbytes.functional import QuantState
from safetensors.torch import load_file
from torch import nn
from transformers import PreTrainedModel

from peftcore.methods import Trains
from peftcore.models.attach import Classifier
from peftcore.models.backbones import APART_FILE, WEIGHTS_FILE
from peftcore.models.expecting import as_expected
from peftcore.models.saving import load_trained

Tensors = Mapping[str, torch.Tensor]


class Residents(Protocol):
    """A model with several adapters resident."""

    @property
    def model(self) -> nn.Module:
        """What predicts."""

    def swap(self, number: int) -> None:
        """Let the adapter of this number predict, counted from 0."""

    def exchange(self, folder: Path) -> None:
        """Load an adapter from a folder, let it predict, and let go of the one that did."""

    def tensors(self) -> list[torch.Tensor]:
        """Return all tensors that are held for it."""


def hold(classifier: Classifier, backbone: PreTrainedModel, folders: Sequence[Path]) -> Residents:
    """Return a model with the adapters of these folders, the first of which predicts.

    Args:
        classifier: one that was saved: it says what the folders mean.
        backbone: loaded afresh, with the method's quantisation; changed in place.
        folders: one an adapter, as :func:`peftcore.models.saving.save_trained` writes them.
    """
    kind = _Adapters if classifier.method.trains is Trains.ADAPTER else _States
    return kind(classifier, backbone, folders)


class _Adapters:
    """Adapters that peft knows by name, and parts of the head that it does not save, if any."""

    def __init__(
        self, classifier: Classifier, backbone: PreTrainedModel, folders: Sequence[Path]
    ) -> None:
        loaded = load_trained(classifier, backbone, folders[0])
        assert isinstance(loaded, peft.PeftModel)
        self._peft = loaded
        self._names = [str(loaded.active_adapter)]
        for number, folder in enumerate(folders[1:], start=1):
            self._names.append(f"adapter-{number}")
            self._load(folder, self._names[-1])
        device = next(backbone.parameters()).device
        self._heads = [_resident(_saved(folder, APART_FILE), device) for folder in folders]
        self._guests = 0
        self.swap(0)

    @property
    def model(self) -> nn.Module:
        return self._peft

    def swap(self, number: int) -> None:
        self._activate(self._names[number], self._heads[number])

    def exchange(self, folder: Path) -> None:
        # Of prompts, peft takes a name for one that is there still until it is used up.
        self._guests += 1
        name, old = f"guest-{self._guests}", str(self._peft.active_adapter)
        self._load(folder, name)
        self._activate(name, _saved(folder, APART_FILE))
        self._peft.delete_adapter(old)
        self._names = [name if one == old else one for one in self._names]

    def tensors(self) -> list[torch.Tensor]:
        return [*model_tensors(self._peft), *_kept_beside(self._heads)]

    def _load(self, folder: Path, name: str) -> None:
        # It leaves the model in evaluation mode.
        with as_expected():
            self._peft.load_adapter(str(folder), adapter_name=name)

    def _activate(self, name: str, head: Tensors) -> None:
        self._peft.set_adapter(name, inference_mode=True)
        if head:
            self._peft.load_state_dict(head, strict=False)


class _States:
    """Weights that stand in the place of the model's own: one set is in it, all are kept beside."""

    def __init__(
        self, classifier: Classifier, backbone: PreTrainedModel, folders: Sequence[Path]
    ) -> None:
        self._classifier, self._backbone = classifier, backbone
        device = next(backbone.parameters()).device
        self._states = [
            _resident(_saved(folder, WEIGHTS_FILE) | _saved(folder, APART_FILE), device)
            for folder in folders
        ]
        self.swap(0)

    @property
    def model(self) -> nn.Module:
        return self._backbone

    def swap(self, number: int) -> None:
        self._backbone.load_state_dict(self._states[number], strict=False)

    def exchange(self, folder: Path) -> None:
        load_trained(self._classifier, self._backbone, folder)

    def tensors(self) -> list[torch.Tensor]:
        return [*model_tensors(self._backbone), *_kept_beside(self._states)]


def held_bytes(tensors: Sequence[torch.Tensor]) -> int:
    """Return the bytes of the memory behind these tensors, what several share counted once."""
    storages = {t.untyped_storage().data_ptr(): t.untyped_storage().nbytes() for t in tensors}
    return sum(storages.values())


def model_tensors(model: nn.Module) -> list[torch.Tensor]:
    """Return all tensors of a model: parameters, buffers and whatever else its modules keep.

    Some adapters keep the places of what they train in a dictionary of their own, which neither
    peft nor torch counts, and 4-bit weights what they are scaled by.
    """
    return [
        tensor
        for module in model.modules()
        for kept in vars(module).values()
        for tensor in _within(kept)
    ]


def _within(kept: object) -> Iterator[torch.Tensor]:
    """Yield the tensors in what a module keeps, those of other modules left to these."""
    if isinstance(kept, torch.Tensor):
        yield kept.data
        yield from _within(getattr(kept, "quant_state", None))
    elif isinstance(kept, QuantState):
        yield from _within(vars(kept))
    elif isinstance(kept, Mapping):
        for value in kept.values():
            yield from _within(value)
    elif isinstance(kept, list | tuple):
        for value in kept:
            yield from _within(value)


def _kept_beside(sets: Sequence[Tensors]) -> list[torch.Tensor]:
    """Return the tensors of which the model takes one set; a single one is in it already."""
    return [tensor for one in sets for tensor in one.values()] if len(sets) > 1 else []


def _resident(saved: Tensors, device: torch.device) -> Tensors:
    """Return copies where the model is: of a processor's, those that were read map their file."""
    return {name: tensor.to(device, copy=True) for name, tensor in saved.items()}


def _saved(folder: Path, name: str) -> dict[str, torch.Tensor]:
    """Return what a file of this name holds; nothing where the folder has none."""
    file = folder / name
    return load_file(file) if file.exists() else {}

"""Save what training changed, and load it back onto a fresh backbone."""

from __future__ import annotations

from pathlib import Path

import peft
from safetensors.torch import load_file, save_file
from torch import nn
from transformers import PreTrainedModel

from peftcore.methods import Trains
from peftcore.models.attach import Classifier
from peftcore.models.backbones import WEIGHTS_FILE

_HEAD_FILE = "head.safetensors"


def save_trained(classifier: Classifier, folder: Path) -> int:
    """Write what must be kept besides the backbone, and return its size in bytes."""
    model = classifier.model
    if classifier.method.trains is Trains.HEAD:
        tensors = {
            name: parameter.detach().contiguous()
            for name, parameter in classifier.parameters().items()
            if classifier.in_head(name)
        }
        folder.mkdir(parents=True, exist_ok=True)
        save_file(tensors, folder / _HEAD_FILE)
    else:
        model.save_pretrained(folder)  # type: ignore[operator]  # peft's or transformers' own
    return sum(file.stat().st_size for file in folder.rglob("*.safetensors"))


def save_weights(classifier: Classifier, file: Path) -> None:
    """Write the parameters that are trained, by their names, whatever the method makes of them."""
    tensors = {
        name: parameter.detach().cpu().contiguous()
        for name, parameter in classifier.trained_parameters().items()
    }
    file.parent.mkdir(parents=True, exist_ok=True)
    save_file(tensors, file)


def load_trained(classifier: Classifier, backbone: PreTrainedModel, folder: Path) -> nn.Module:
    """Return ``backbone`` with what :func:`save_trained` wrote for ``classifier``.

    Args:
        classifier: the one that was saved: it says what the files mean.
        backbone: loaded afresh, with the method's quantisation; changed in place.
        folder: where the files are.
    """
    trains = classifier.method.trains
    if trains is Trains.ADAPTER:
        loaded: nn.Module = peft.PeftModel.from_pretrained(backbone, folder)
        return loaded
    file = _HEAD_FILE if trains is Trains.HEAD else WEIGHTS_FILE
    backbone.load_state_dict(load_file(folder / file), strict=trains is Trains.EVERYTHING)
    return backbone

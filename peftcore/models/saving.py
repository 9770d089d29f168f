"""Save what training changed, and load it back onto a fresh backbone."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import peft
from safetensors.torch import load_file, save_file
from torch import nn
from transformers import PreTrainedModel, PreTrainedTokenizerBase

from peftcore.methods import Trains
from peftcore.models.attach import Classifier
from peftcore.models.backbones import APART_FILE, WEIGHTS_FILE
from peftcore.models.expecting import as_expected


def save_trained(classifier: Classifier, folder: Path) -> int:
    """Write what must be kept besides the backbone, and return its size in bytes."""
    model, trains = classifier.model, classifier.method.trains
    folder.mkdir(parents=True, exist_ok=True)
    if trains in (Trains.EVERYTHING, Trains.ADAPTER):
        model.save_pretrained(folder)  # type: ignore[operator]  # peft's or transformers' own
        apart = classifier.head_parameters_apart()
    else:
        apart = classifier.trained_parameters()
    if apart:
        tensors = {name: parameter.detach().contiguous() for name, parameter in apart.items()}
        save_file(tensors, folder / APART_FILE)
    return sum(file.stat().st_size for file in folder.rglob("*.safetensors"))


def save_for_use(
    classifier: Classifier,
    tokenizer: PreTrainedTokenizerBase,
    folder: Path,
    *,
    classes: Sequence[str],
    max_length: int,
) -> None:
    """Write what peft or transformers load by themselves: an adapter, or else the whole model.

    Only what peft doesn't save with an adapter, such as a head that it doesn't know of, is in a
    file beside it.

    Args:
        classifier: that was trained.
        tokenizer: of its backbone; saved with it.
        folder: where the files go; made if need be.
        classes: the names of the classes in the order of their numbers.
        max_length: of the texts in tokens, as it was trained.
    """
    model: Any = classifier.model
    folder.mkdir(parents=True, exist_ok=True)
    if classifier.method.trains is Trains.ADAPTER:
        save_trained(classifier, folder)
    else:
        model.config.id2label = dict(enumerate(classes))
        model.config.label2id = {name: number for number, name in enumerate(classes)}
        model.save_pretrained(folder)
    tokenizer.model_max_length = max_length
    tokenizer.save_pretrained(folder)


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
    loaded: nn.Module = backbone
    if trains is Trains.ADAPTER:
        with as_expected():
            loaded = peft.PeftModel.from_pretrained(backbone, folder)
    elif trains is Trains.EVERYTHING:
        loaded.load_state_dict(load_file(folder / WEIGHTS_FILE))
    if (folder / APART_FILE).exists():
        tensors = load_file(folder / APART_FILE)
        unknown = loaded.load_state_dict(tensors, strict=False).unexpected_keys
        if unknown:
            raise KeyError(f"{APART_FILE} holds {unknown[0]}, which the model does not have")
    return loaded

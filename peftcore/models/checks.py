"""Checks that a trial did what its method says; a number counts only after all of them passed."""

from __future__ import annotations

import hashlib
from collections import defaultdict
from collections.abc import Iterable, Mapping

import torch
from torch import nn

from peftcore.errors import CheckFailed
from peftcore.methods import Trains
from peftcore.models.attach import Classifier
from peftcore.scenarios import Precision

Check = dict[str, str]
"""``name`` of a check that passed, and ``detail``: what was found, in words."""


def _shown(names: list[str], most: int = 3) -> str:
    more = f" and {len(names) - most} more" if len(names) > most else ""
    return ", ".join(names[:most]) + more


def check_targets(classifier: Classifier) -> Check:
    """Check that just the intended modules carry an adapter that is trained, alike in every layer.

    Where a method says by name what it targets, layers may differ in what they have of that name.

    Raises:
        CheckFailed: a module lacks one, has one that was not asked for, or has a frozen one; biases
            were to be trained, and a layer has none that is.
    """
    adapted = classifier.adapted_modules()
    if classifier.method.trains is Trains.BIASES:
        return _check_biases(classifier)
    if classifier.method.adapter is None:
        return {"name": "targets", "detail": "no adapter, as declared"}
    if classifier.intended is not None:
        missing = sorted(set(classifier.intended) - set(adapted))
        extra = sorted(set(adapted) - set(classifier.intended))
        if missing or extra:
            raise CheckFailed(
                f"targets: {len(missing)} intended modules have no adapter "
                f"({_shown(missing) or 'none'}) and {len(extra)} others have one "
                f"({_shown(extra) or 'none'})"
            )
    if classifier.adds_tokens():
        return _check_added_tokens(classifier)
    if not adapted:
        raise CheckFailed("targets: the adapter was attached to no module at all")
    frozen = sorted(
        name for name in adapted if not any(p.requires_grad for p in classifier.adapter_of(name))
    )
    if frozen:
        raise CheckFailed(f"targets: {len(frozen)} adapters are frozen: {_shown(frozen)}")
    if not classifier.method.adapter.in_layers:
        return {"name": "targets", "detail": f"before the layers: {', '.join(adapted)}"}
    by_layer = _by_layer(adapted)
    outside = len(adapted) - sum(map(len, by_layer.values()))
    if not by_layer:
        raise CheckFailed(f"targets: no layer carries an adapter, only {_shown(adapted)}")
    kinds = set().union(*by_layer.values())
    for layer, found in by_layer.items():
        if classifier.intended is None and found != kinds:
            raise CheckFailed(f"targets: layer {layer} has {sorted(found)}, not {sorted(kinds)}")
    if len(by_layer) != _layers(classifier.model):
        raise CheckFailed(
            f"targets: {len(by_layer)} of {_layers(classifier.model)} layers carry an adapter"
        )
    inside = len(adapted) - outside
    detail = f"{inside} modules in {len(by_layer)} layers: {', '.join(sorted(kinds))}"
    if outside:
        detail += f"; {outside} outside of them"
    return {"name": "targets", "detail": detail}


def _check_added_tokens(classifier: Classifier) -> Check:
    """Check that what stands for the added tokens is trained."""
    names = [name for name in classifier.trained_parameters() if not classifier.in_head(name)]
    if not names:
        raise CheckFailed("targets: nothing of the added tokens is trained")
    return {"name": "targets", "detail": f"added tokens, by {len(names)} trained tensors"}


def _check_biases(classifier: Classifier) -> Check:
    """Check that all biases outside the head are trained, nothing else, and some in every layer."""
    outside = {n: p for n, p in classifier.parameters().items() if not classifier.in_head(n)}
    wrong = sorted(n for n, p in outside.items() if p.requires_grad is not n.endswith(".bias"))
    if wrong:
        raise CheckFailed(
            f"targets: {len(wrong)} tensors are biases and frozen, or trained and no biases: "
            f"{_shown(wrong)}"
        )
    biases = [name for name, parameter in outside.items() if parameter.requires_grad]
    layers, expected = len(_by_layer(biases)), _layers(classifier.model)
    if layers != expected:
        raise CheckFailed(f"targets: {layers} of {expected} layers have biases that are trained")
    return {"name": "targets", "detail": f"{len(biases)} biases, some in each of {layers} layers"}


def _by_layer(names: Iterable[str]) -> dict[str, set[str]]:
    """Return those of the names that are of a layer by its number, each as it is called in it."""
    found: dict[str, set[str]] = defaultdict(set)
    for name in names:
        layer = next((part for part in name.split(".") if part.isdigit()), None)
        if layer is not None:
            found[layer].add(name.split(f".{layer}.")[-1])
    return found


def _layers(model: nn.Module) -> int:
    config = model.config
    return int(config.num_hidden_layers)  # type: ignore[union-attr, arg-type]


def check_head(classifier: Classifier) -> Check:
    """Check that the head is in full precision and is trained.

    Raises:
        CheckFailed: a part of the head is missing, quantised or frozen.
    """
    head = {n: p for n, p in classifier.parameters().items() if classifier.in_head(n)}
    if not head:
        raise CheckFailed(f"head: no module named {' or '.join(classifier.architecture.head)}")
    for name, parameter in head.items():
        if parameter.dtype != torch.float32:
            raise CheckFailed(f"head: {name} is {parameter.dtype}, not 32 bits: it was quantised")
        if not parameter.requires_grad:
            raise CheckFailed(f"head: {name} is frozen, so the fresh head would stay random")
    return {"name": "head", "detail": f"{len(head)} tensors, 32 bits, trained"}


def _digest(tensor: torch.Tensor) -> bytes:
    raw = tensor.detach().contiguous().view(-1).view(torch.uint8).cpu().numpy()
    return hashlib.sha256(raw.data).digest()


class WeightWatch:
    """Knows every weight as it was before training, to the bit."""

    def __init__(self, classifier: Classifier) -> None:
        self._classifier = classifier
        self._before = self._digests()

    def _digests(self) -> Mapping[str, bytes]:
        return {name: _digest(p) for name, p in self._classifier.parameters().items()}

    def digest(self) -> str:
        """Return the SHA-256 of them all, frozen ones included, in hexadecimal."""
        whole = hashlib.sha256()
        for name, digest in sorted(self._before.items()):
            whole.update(f"{name}\n".encode() + digest)
        return whole.hexdigest()

    def check(self) -> list[Check]:
        """Check that frozen weights are as they were and that trained ones moved.

        Of an adapter every module must have moved, of the head and of Full's backbone every
        tensor but those that no gradient can reach (a module's share is looked at, not each
        number).

        Raises:
            CheckFailed: a frozen weight changed or a trained one did not.
        """
        parameters = self._classifier.parameters()
        after = self._digests()
        moved = {name for name in parameters if after[name] != self._before[name]}
        frozen = [name for name, p in parameters.items() if not p.requires_grad]
        changed = sorted(moved.intersection(frozen))
        if changed:
            raise CheckFailed(f"frozen weights: {len(changed)} changed: {_shown(changed)}")
        groups: dict[str, list[str]] = defaultdict(list)
        for name, parameter in parameters.items():
            if parameter.requires_grad:
                groups[self._group(name)].append(name)
        still = sorted(group for group, names in groups.items() if moved.isdisjoint(names))
        if still:
            raise CheckFailed(f"trained weights: {len(still)} did not move: {_shown(still)}")
        return [
            {"name": "frozen weights", "detail": f"{len(frozen)} tensors unchanged to the bit"},
            {"name": "trained weights", "detail": f"all {len(groups)} trained modules moved"},
        ]

    def _group(self, name: str) -> str:
        """Return the module that must move: one that is adapted holds several tensors."""
        is_adapter = self._classifier.method.trains is Trains.ADAPTER
        if is_adapter and not self._classifier.in_head(name):
            for module in self._classifier.adapted_modules():
                if f"{module}." in name:
                    return module
        return name.rpartition(".")[0]


class DropoutWatch:
    """Knows whether random numbers were drawn since it was made.

    Nothing else in training draws any: the order of the examples has a generator of its own.
    """

    def __init__(self, classifier: Classifier, device: torch.device) -> None:
        self._device = device
        # An adapter may drop without a module for it.
        self._own = {name: p for name, p in classifier.dropouts.items() if p > 0}
        modules = (part for part in classifier.model.modules() if isinstance(part, nn.Dropout))
        self._drops = bool(self._own) or any(module.p > 0 for module in modules)
        self._before = self._state()

    def _state(self) -> torch.Tensor:
        if self._device.type == "cuda":
            return torch.cuda.get_rng_state(self._device)
        return torch.get_rng_state()

    def check(self) -> Check:
        """Check that a model with dropout was trained with it.

        Raises:
            CheckFailed: not one random number was drawn.
        """
        if not self._drops:
            return {"name": "dropout", "detail": "none, as declared"}
        if torch.equal(self._state(), self._before):
            raise CheckFailed(
                "dropout: the model has modules that drop, but training drew no random number, as "
                "if it had been left in evaluation mode"
            )
        own = ", ".join(f"{name}={probability:g}" for name, probability in self._own.items())
        detail = "drew random numbers in training" + (
            f"; of the adapter's own {own}" if own else ""
        )
        return {"name": "dropout", "detail": detail}


def check_pass(plain: torch.Tensor, accelerated: torch.Tensor, precision: Precision) -> Check:
    """Check that the accelerated pass, which accuracy comes from, computes what the model does.

    Args:
        plain: logits of the model as it will be used, shape (texts, labels).
        accelerated: those of the same texts in training.
        precision: of the products: it bounds how far apart rounding may bring the two.

    Raises:
        CheckFailed: they are further apart.
    """
    apart = (plain - accelerated).abs().max().item()
    bound = rounding_bound(plain, precision)
    if not apart <= bound:
        raise CheckFailed(
            f"pass: accelerated logits differ from the plain model's by {apart:.3g}, more than "
            f"rounding explains ({bound:.3g}): pass --peft-set accelerations=none"
        )
    return {"name": "pass", "detail": f"logits within {apart:.2g} of the plain model's"}


def rounding_bound(logits: torch.Tensor, precision: Precision) -> float:
    """Return how far apart two orders of the same sums may bring these logits."""
    return ROUNDING[precision] * (1 + logits.abs().max().item())


ROUNDING = {Precision.FP32: 1e-4, Precision.BF16: 0.05, Precision.FP16: 0.01}
"""How far apart two orders of the same sums may bring logits of about one."""


def check_reload(
    expected: torch.Tensor, reloaded: torch.Tensor, *, rounding: Precision | None = None
) -> Check:
    """Check that the saved model, loaded onto a fresh backbone, gives equal logits.

    Args:
        expected: of the model that was saved.
        reloaded: of the model that was loaded.
        rounding: the precision of the products where the saved form has them summed in another
            order; ``None`` where every bit has to be equal.

    Raises:
        CheckFailed: a logit differs, by a single bit or by more than rounding explains.
    """
    apart = (expected - reloaded).abs().max().item()
    bound = 0.0 if rounding is None else rounding_bound(expected, rounding)
    if not apart <= bound:
        raise CheckFailed(f"reload: the saved model's logits differ by up to {apart:.3g}")
    if apart:
        return {"name": "reload", "detail": f"logits within {apart:.2g}, as rounding explains"}
    return {"name": "reload", "detail": f"{expected.numel()} logits equal to the bit"}

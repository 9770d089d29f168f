"""Turn a declared method into a model that trains what the method trains, and nothing else."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass, field

import peft
import torch
import transformers
from bitsandbytes.nn.modules import Linear4bit
from peft.tuners.tuners_utils import BaseTunerLayer
from torch import nn
from transformers import PretrainedConfig, PreTrainedModel

from peftcore.errors import UsageError
from peftcore.methods import Adapter, Method, Start, Trains
from peftcore.models.architectures import Architecture, architecture_of
from peftcore.models.dropouts import own_dropouts
from peftcore.models.expecting import as_expected
from peftcore.models.factors import PEFT_PREFIX, lora_factors
from peftcore.models.starting import start_from_activations, start_from_quantisation_error

_SPARSE = ("FrodConfig", "ShiraConfig")
"""Adapters that make sparse tensors in each pass. That torch leaves these unchecked is its default,
of which it warns unless it was asked for."""


@dataclass(frozen=True, kw_only=True)
class Run:
    """What some methods must know of the training run before it begins.

    Attributes:
        updates: how often the weights will be updated.
        texts: the token ids of each training text.
        batches: gives them as a model's inputs, batch by batch.
        full_precision: loads the backbone as it is without quantisation.
    """

    updates: int
    texts: Sequence[Sequence[int]]
    batches: Callable[[], Sequence[Mapping[str, torch.Tensor]]]
    full_precision: Callable[[], nn.Module]


@dataclass(frozen=True)
class Classifier:
    """A model with a method attached.

    Attributes:
        model: what is trained and evaluated.
        method: the method.
        architecture: what its parts are called.
        intended: full names, before attachment, of the modules that the method should adapt;
            ``None`` where the choice is peft's.
        head_apart: modules of the head that peft doesn't save with the adapter.
        dropouts: the probabilities with which the adapter drops something of its own, by the names
            of the options.
    """

    model: nn.Module
    method: Method
    architecture: Architecture
    intended: tuple[str, ...] | None = None
    head_apart: tuple[str, ...] = ()
    dropouts: Mapping[str, float] = field(default_factory=dict)

    def parameters(self) -> Mapping[str, nn.Parameter]:
        """Return the parameters that count, by name.

        peft keeps the head as it was before training beside the one that is trained; that copy is
        never used and is left out.
        """
        return {
            name: parameter
            for name, parameter in self.model.named_parameters()
            if ".original_module." not in name
        }

    def trained_parameters(self) -> Mapping[str, nn.Parameter]:
        """Return those of them that training changes, by name."""
        return {name: p for name, p in self.parameters().items() if p.requires_grad}

    def head_parameters_apart(self) -> Mapping[str, nn.Parameter]:
        """Return the head's parameters that peft doesn't save with the adapter, by name."""
        return {
            name: parameter
            for name, parameter in self.parameters().items()
            if _is_within(name, self.head_apart)
        }

    def in_head(self, name: str) -> bool:
        """Return whether the parameter of this name belongs to the classification head."""
        return _is_within(name, self.architecture.head)

    def adapted_modules(self) -> list[str]:
        """Return the full names of the modules that carry an adapter, as before attachment."""
        return [
            name.removeprefix(PEFT_PREFIX)
            for name, module in self.model.named_modules()
            if isinstance(module, BaseTunerLayer)
        ]

    def adds_tokens(self) -> bool:
        """Return whether the method puts tokens of its own before or among those of a text."""
        return isinstance(self.model, peft.PeftModel) and any(
            config.is_prompt_learning for config in self.model.peft_config.values()
        )

    def mixes_texts(self) -> bool:
        """Return whether what the method does to a text depends on the others of its batch."""
        adapter = self.method.adapter
        return adapter is not None and adapter.mixes_texts

    def allocate(self) -> Callable[[int], None] | None:
        """Return what gives out ranks after each update, told its number from 0, if anything."""
        if not isinstance(self.model, peft.PeftModel):
            return None
        return getattr(self.model.base_model, "update_and_allocate", None)

    def first_position(self) -> int:
        """Return the position of a text's first token, as the backbone counts them."""
        if not self.architecture.positions_after_padding:
            return 0
        return int(self.model.config.pad_token_id) + 1  # type: ignore[union-attr, arg-type]

    def adapter_of(self, module: str) -> list[nn.Parameter]:
        """Return the parameters that the method added to an adapted module."""
        return [
            parameter
            for name, parameter in self.model.get_submodule(PEFT_PREFIX + module).named_parameters()
            if not name.startswith("base_layer.")
        ]


def attach(
    model: PreTrainedModel,
    method: Method,
    *,
    seed: int,
    dropout: float | None,
    run: Run | None = None,
) -> Classifier:
    """Return ``model`` with ``method`` attached: what it trains requires gradients, all else not.

    Args:
        model: a classifier from transformers, changed in place.
        method: what to attach.
        seed: draws the adapter's fresh weights.
        dropout: takes the place of each dropout of the adapter's own, declared or peft's default,
            unless ``None``.
        run: the training run it is for; not every method asks for it.

    Raises:
        UsageError: the adapter can't be attached to this model, or not for this run.
    """
    architecture = architecture_of(model.config.model_type)
    if method.trains is Trains.EVERYTHING:
        return Classifier(model.requires_grad_(True), method, architecture)
    if method.trains is Trains.HEAD:
        model.requires_grad_(False)
        for name in architecture.head:
            model.get_submodule(name).requires_grad_(True)
        return Classifier(model, method, architecture)
    if method.trains is Trains.BIASES:
        model.requires_grad_(False)
        for name, parameter in model.named_parameters():
            in_head = _is_within(name, architecture.head)
            parameter.requires_grad_(in_head or name.endswith(".bias"))
        classifier = Classifier(model, method, architecture)
        if all(map(classifier.in_head, classifier.trained_parameters())):
            raise UsageError(
                f"{method.name} can't be attached to this {model.config.model_type}: it trains "
                "biases, and there are none but the head's"
            )
        return classifier
    return _with_adapter(model, method, architecture, seed=seed, dropout=dropout, run=run)


def _with_adapter(
    model: PreTrainedModel,
    method: Method,
    architecture: Architecture,
    *,
    seed: int,
    dropout: float | None,
    run: Run | None,
) -> Classifier:
    adapter = method.adapter
    if adapter is None:
        raise ValueError(f"method {method.slug!r} has nothing to attach to a backbone")
    if adapter.config in _SPARSE:
        torch.sparse.check_sparse_tensor_invariants.disable()
    own = own_dropouts(adapter)
    if dropout is not None:
        adapter = adapter.with_dropout(dropout, own)
    if method.quantisation is not None:
        # Its default, checkpointing, would trade time for memory: not the same trial.
        model = peft.prepare_model_for_kbit_training(model, use_gradient_checkpointing=False)
        _settle_biases(model)
    targets = architecture.target_options(adapter, name=method.name)
    intended = None
    if targets:
        named = [n for part in targets["target_modules"] for n in _modules_named(model, part)]
        # Some layer may have a module that does nothing where others have one with weights.
        empty = [n for n in named if next(model.get_submodule(n).parameters(), None) is None]
        intended = tuple(name for name in named if name not in empty)
        if empty:
            targets["exclude_modules"] = empty
    transformers.set_seed(seed)
    try:
        config = _peft_config(adapter, targets, architecture.head, run)
        if isinstance(config, peft.PromptLearningConfig):
            _tell_sizes(config, model.config)
        with as_expected():
            # Nothing is drawn of what is computed from activations afterwards.
            later = adapter.start is Start.ACTIVATIONS
            attached = peft.get_peft_model(model, config, low_cpu_mem_usage=later)
    except ValueError as error:
        raise UsageError(
            f"{method.name} can't be attached to this {model.config.model_type}: {error}"
        ) from error
    if adapter.start is Start.ACTIVATIONS:
        start_from_activations(attached, _known(run, method).batches())
    elif adapter.start is Start.QUANTISATION_ERROR:
        start_from_quantisation_error(attached, _known(run, method).full_precision())
    if method.optimiser is not None and method.optimiser.full_gradient:
        _keep_first_factors(attached)
    head = {name: attached.get_base_model().get_submodule(name) for name in architecture.head}
    apart = [n for n, part in head.items() if not any(p.requires_grad for p in part.parameters())]
    for name in apart:
        head[name].requires_grad_(True)
    dropouts = {name: float(adapter.options.get(name, 0.0)) for name in own}
    return Classifier(attached, method, architecture, intended, tuple(apart), dropouts)


def _tell_sizes(config: peft.PromptLearningConfig, of: PretrainedConfig) -> None:
    """Tell peft the sizes of a model whose configuration has other names for them (DistilBERT)."""
    if "hidden_size" not in of.to_dict():
        config.token_dim = of.hidden_size
        config.num_layers = of.num_hidden_layers
        config.num_attention_heads = of.num_attention_heads


def _keep_first_factors(model: nn.Module) -> None:
    """Leave the first factor of each LoRA as it was drawn."""
    for lora in lora_factors(model):
        lora.first.requires_grad_(False)


def _known(run: Run | None, method: Method) -> Run:
    if run is None:
        raise ValueError(f"method {method.slug!r} has to know the run that it is attached for")
    return run


def _is_within(name: str, modules: Collection[str]) -> bool:
    """Return whether a parameter of this name belongs to one of these modules."""
    return not set(modules).isdisjoint(name.split("."))


def _modules_named(model: nn.Module, part: str) -> list[str]:
    """Return the full names of the modules whose name is ``part`` or ends with ``.part``."""
    return [name for name, _ in model.named_modules() if name == part or name.endswith(f".{part}")]


def _settle_biases(model: nn.Module) -> None:
    """Cast the biases of 4-bit layers to their compute type, as their first forward would.

    Done before training, the weights that are checked are the weights that are trained with.
    """
    for module in model.modules():
        if isinstance(module, Linear4bit) and module.bias is not None:
            module.bias.data = module.bias.data.to(module.compute_dtype)


def _peft_config(
    adapter: Adapter, targets: Mapping[str, list[str]], head: tuple[str, ...], run: Run | None
) -> peft.PeftConfig:
    options = {**adapter.options, **targets}
    if adapter.shares or adapter.frequent_tokens:
        if run is None:
            raise TypeError(f"a {adapter.config} has to know the run that it is attached for")
        options |= {name: round(share * run.updates) for name, share in adapter.shares.items()}
        for name, count in adapter.frequent_tokens.items():
            seen = Counter(token for text in run.texts for token in text)
            # Of equally frequent ones the lower id, so that their order in the texts is no matter.
            ranked = sorted(seen, key=lambda token: (-seen[token], token))
            options[name] = ranked[:count]
    kind = getattr(peft, adapter.config)
    # peft itself trains modules called so; a configuration that saves none has no such option.
    beyond = [name for name in head if name not in ("classifier", "score")]
    if beyond and "modules_to_save" in kind.__dataclass_fields__:
        options["modules_to_save"] = beyond
    config: peft.PeftConfig = kind(task_type=peft.TaskType.SEQ_CLS, **options)
    return config


@dataclass(frozen=True)
class ParameterCounts:
    """How many parameters a classifier has, and how many of them are trained."""

    total: int
    trainable: int
    head: int
    adapter: int


def count_parameters(classifier: Classifier) -> ParameterCounts:
    """Return the parameter counts of a classifier; the adapter's are those outside the head.

    A 4-bit weight counts as many parameters as it stands for, not the bytes that it is packed in.
    """
    total = trainable = head = adapter = 0
    for name, parameter in classifier.parameters().items():
        count = _elements(parameter)
        total += count
        trainable += count if parameter.requires_grad else 0
        if classifier.in_head(name):
            head += count
        elif parameter.requires_grad and classifier.method.adapter is not None:
            adapter += count
    return ParameterCounts(total, trainable, head, adapter)


def _elements(parameter: nn.Parameter) -> int:
    state = getattr(parameter, "quant_state", None)
    return int(state.shape.numel()) if state is not None else parameter.numel()

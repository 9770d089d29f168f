"""What a declaration of a method consists of.

It is plain data and imports neither torch nor peft, so that options, tables and reports list the
methods on a machine that has neither; ``peftcore.models.attach`` turns it into a model.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping
from dataclasses import asdict, dataclass, field, fields, replace
from enum import StrEnum
from types import MappingProxyType
from typing import Any

from peftcore.errors import UsageError


class Trains(StrEnum):
    """Which weights of the classifier a method changes."""

    EVERYTHING = "everything"
    ADAPTER = "adapter and head"
    BIASES = "biases and head"
    HEAD = "head"
    BAG_OF_WORDS = "bag of words"


class Group(StrEnum):
    """Sets of methods that options know by one name; all methods together are ``all``."""

    STUDY = "study"
    POPULAR = "popular"


class Start(StrEnum):
    """What an adapter's first weights are computed from, where they are not simply drawn."""

    ACTIVATIONS = "activations of training texts"
    QUANTISATION_ERROR = "what quantisation took from the weights"


@dataclass(frozen=True, kw_only=True)
class Quantisation:
    """How the frozen backbone is stored in 4 bits (QLoRA, arXiv:2305.14314, section 3)."""

    data_type: str = "nf4"
    double: bool = True


@dataclass(frozen=True, kw_only=True)
class Adapter:
    """An adapter from the peft library.

    Attributes:
        config: the name of peft's configuration class, such as ``"LoraConfig"``.
        options: keyword arguments for that class, targets left out.
        targets: the parts of a layer to adapt (``query``, ``key``, ``value``, ``output`` of its
            attention, ``attention norm``, ``output norm``), translated into each architecture's
            own module names; ``None`` leaves the choice to peft's defaults for the architecture,
            and an empty one is for an adapter that changes no part of a layer.
        shares: options that count updates, each as a share of all updates of the run.
        frequent_tokens: options that take ids of tokens, each with how many: the most frequent of
            the training texts.
        start: what the first weights are computed from, unless they are drawn.
        inputs: what the adapted model takes beside a text, such as the id of its task: 0 for all.
        adds_loss: whether peft adds a term of the adapter's own to the model's loss.
        in_layers: whether it sits in each layer; one that doesn't changes what enters the first.
        rounds_on_saving: whether what is saved is less than what was trained, without what was
            pruned, or what a network gives in the network's place: so that sums run in another
            order, or in another number format, when it is loaded again.
        mixes_texts: whether what it does to a text depends on the others of its batch, and on what
            fills them up.
    """

    config: str
    options: Mapping[str, Any] = field(default_factory=dict, hash=False)
    targets: tuple[str, ...] | None = None
    shares: Mapping[str, float] = field(default_factory=dict, hash=False)
    frequent_tokens: Mapping[str, int] = field(default_factory=dict, hash=False)
    start: Start | None = None
    inputs: tuple[str, ...] = ()
    adds_loss: bool = False
    in_layers: bool = True
    rounds_on_saving: bool = False
    mixes_texts: bool = False

    def __post_init__(self) -> None:
        for name in ("options", "shares", "frequent_tokens"):
            object.__setattr__(self, name, MappingProxyType(dict(getattr(self, name))))

    @property
    def added_tokens(self) -> int:
        """How many tokens it puts before each text, which count as the text's positions do."""
        return int(self.options.get("num_virtual_tokens", 0))

    def with_dropout(self, probability: float, options: Iterable[str]) -> Adapter:
        """Return this adapter with each of these options, its own dropouts, set to a probability.

        peft knows which those are: :func:`peftcore.models.dropouts.own_dropouts`.
        """
        return replace(self, options={**self.options, **dict.fromkeys(options, probability)})

    def to_json(self) -> dict[str, Any]:
        """Return it as plain JSON values; :meth:`from_json` reads it back."""
        described = _fields(self)
        for name in ("options", "shares", "frequent_tokens"):
            described[name] = dict(described[name])
        return described

    @classmethod
    def from_json(cls, content: Mapping[str, Any]) -> Adapter:
        """Return the adapter that :meth:`to_json` described."""
        targets, start = content["targets"], content["start"]
        return cls(
            **{
                **content,
                "targets": None if targets is None else tuple(targets),
                "inputs": tuple(content["inputs"]),
                "start": None if start is None else Start(start),
            }
        )

    def hyperparameters(self) -> dict[str, Any]:
        """Return what can change the result, as plain JSON values; what is not used is left out."""
        described: dict[str, Any] = {
            "adapter": self.config,
            "targets": list(self.targets) if self.targets else None,
            **self.options,
        }
        for name, share in self.shares.items():
            described[name] = f"{share:g} of all updates"
        for name, count in self.frequent_tokens.items():
            described[name] = f"the {count} most frequent of the training texts"
        if self.start is not None:
            described["starts_from"] = str(self.start)
        if self.adds_loss:
            described["adds_loss"] = True
        return described


def on_query_and_value(config: str, **options: Any) -> Adapter:
    """Return an adapter where LoRA sits in the source study."""
    return Adapter(config=config, options=options, targets=("query", "value"))


@dataclass(frozen=True, kw_only=True)
class Optimiser:
    """What a method's optimiser does otherwise than AdamW.

    Attributes:
        rate_factors: by a part of a parameter's name, what its learning rate is multiplied by.
        full_gradient: of each product of two factors the first stays as it was drawn, and the
            gradient of the second is replaced by the one whose product with the first comes
            closest to the gradient of the whole matrix (LoRA-FA).
    """

    rate_factors: Mapping[str, float] = field(default_factory=dict, hash=False)
    full_gradient: bool = False

    def __post_init__(self) -> None:
        object.__setattr__(self, "rate_factors", MappingProxyType(dict(self.rate_factors)))

    def to_json(self) -> dict[str, Any]:
        """Return it as plain JSON values."""
        return {"rate_factors": dict(self.rate_factors), "full_gradient": self.full_gradient}


@dataclass(frozen=True, kw_only=True)
class Method:
    """One way to fine-tune a classifier, with its hyperparameters.

    Attributes:
        slug: the name in options, ids and records.
        name: the name in tables and plots.
        summary: one sentence on what it does.
        paper: where it was published, if anywhere.
        trains: which weights it changes.
        adapter: what is attached to the frozen backbone, if anything.
        quantisation: how the frozen backbone is stored, if not in full.
        optimiser: what updates its weights, if not AdamW alone.
        groups: the names under which options know it beside its own.
        reference: whether it is a row to be beaten and not a candidate.
        rate_of: the slug of the method whose learning rate it takes in a scenario that declares
            none for it.
        rate_times: what that rate is multiplied by; docs/methods.md tells where each comes from.
    """

    slug: str
    name: str
    summary: str
    paper: str | None
    trains: Trains
    adapter: Adapter | None = None
    quantisation: Quantisation | None = None
    optimiser: Optimiser | None = None
    groups: tuple[Group, ...] = ()
    reference: bool = False
    rate_of: str | None = None
    rate_times: float = 1.0

    def __post_init__(self) -> None:
        if (self.adapter is not None) != (self.trains is Trains.ADAPTER):
            raise ValueError(
                f"method {self.slug!r} trains {self.trains.value!r}: "
                "an adapter is declared exactly where one is trained"
            )
        starts = None if self.adapter is None else self.adapter.start
        if starts is Start.QUANTISATION_ERROR and self.quantisation is None:
            raise ValueError(f"method {self.slug!r} starts from an error that it doesn't make")

    @property
    def inputs(self) -> tuple[str, ...]:
        """What a model with this method takes beside a text."""
        return () if self.adapter is None else self.adapter.inputs

    def declaration(self) -> dict[str, Any]:
        """Return the whole declaration as plain JSON values; :meth:`declared` reads it back.

        A trial's process gets it so, whether or not the method is one of peftcore's own: nothing
        has to be imported from where it was declared.

        Raises:
            UsageError: an option of the adapter has no JSON form that gives the same value back.
        """
        described = _fields(self) | {"trains": self.trains.value, "groups": list(self.groups)}
        if self.adapter is not None:
            for name, value in self.adapter.options.items():
                if not _is_plain(value):
                    raise UsageError(
                        f"method {self.slug!r}: option {name}={value!r} of {self.adapter.config} "
                        "is not plain data: expected text, numbers, true, false, none, or lists "
                        "and mappings of them"
                    )
            described["adapter"] = self.adapter.to_json()
        if self.quantisation is not None:
            described["quantisation"] = asdict(self.quantisation)
        if self.optimiser is not None:
            described["optimiser"] = self.optimiser.to_json()
        return described

    @classmethod
    def declared(cls, content: Mapping[str, Any]) -> Method:
        """Return the method that :meth:`declaration` described."""
        adapter, quantisation = content["adapter"], content["quantisation"]
        optimiser = content["optimiser"]
        return cls(
            **{
                **content,
                "trains": Trains(content["trains"]),
                "adapter": None if adapter is None else Adapter.from_json(adapter),
                "quantisation": None if quantisation is None else Quantisation(**quantisation),
                "optimiser": None if optimiser is None else Optimiser(**optimiser),
                "groups": tuple(map(Group, content["groups"])),
            }
        )

    def hyperparameters(self) -> dict[str, Any]:
        """Return what can change this method's result, as plain JSON values."""
        described: dict[str, Any] = {"trains": self.trains.value}
        if self.adapter is not None:
            described.update(self.adapter.hyperparameters())
        if self.quantisation is not None:
            described["quantisation"] = self.quantisation.data_type
            described["double_quantisation"] = self.quantisation.double
        if self.optimiser is not None:
            used = self.optimiser.to_json()
            described.update({name: value for name, value in used.items() if value})
        return described


def _fields(declared: Method | Adapter) -> dict[str, Any]:
    return {one.name: getattr(declared, one.name) for one in fields(declared)}


def _is_plain(value: Any) -> bool:
    """Return whether a value is the same after it was written as JSON and read."""
    try:
        return bool(json.loads(json.dumps(value, allow_nan=False)) == value)
    except (TypeError, ValueError):
        return False

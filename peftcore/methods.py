"""What is compared: one declaration a method, and nothing else to touch when one is added.

A declaration is plain data. It imports neither torch nor peft, so that options, tables and reports
list the methods on a machine that has neither; ``peftcore.models.attach`` turns it into a model.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field, fields, replace
from enum import StrEnum
from types import MappingProxyType
from typing import Any

from peftcore.errors import UsageError, unknown


class Trains(StrEnum):
    """Which weights of the classifier a method changes."""

    EVERYTHING = "everything"
    ADAPTER = "adapter and head"
    HEAD = "head"
    BAG_OF_WORDS = "bag of words"


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
        targets: the parts of an attention block to adapt (``query``, ``key``, ``value``,
            ``output``), translated into each architecture's own module names; ``None`` leaves the
            choice to peft's defaults for the architecture.
    """

    config: str
    options: Mapping[str, Any] = field(default_factory=dict, hash=False)
    targets: tuple[str, ...] | None = None

    def __post_init__(self) -> None:
        object.__setattr__(self, "options", MappingProxyType(dict(self.options)))

    def with_dropout(self, probability: float) -> Adapter:
        """Return this adapter with each of its own dropout options set to ``probability``."""
        options = {
            name: probability if name.endswith("dropout") else value
            for name, value in self.options.items()
        }
        return replace(self, options=options)


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
        reference: whether it is a row to be beaten and not a candidate.
        rate_of: the slug of the method whose learning rate it takes in a scenario that declares
            none for it.
    """

    slug: str
    name: str
    summary: str
    paper: str | None
    trains: Trains
    adapter: Adapter | None = None
    quantisation: Quantisation | None = None
    reference: bool = False
    rate_of: str | None = None

    def __post_init__(self) -> None:
        if (self.adapter is not None) != (self.trains is Trains.ADAPTER):
            raise ValueError(
                f"method {self.slug!r} trains {self.trains.value!r}: "
                "an adapter is declared exactly where one is trained"
            )

    def declaration(self) -> dict[str, Any]:
        """Return the whole declaration as plain JSON values; :meth:`declared` reads it back.

        A trial's process gets it so, whether or not the method is one of peftcore's own: nothing
        has to be imported from where it was declared.

        Raises:
            UsageError: an option of the adapter has no JSON form that gives the same value back.
        """
        described = _fields(self) | {"trains": self.trains.value}
        if self.adapter is not None:
            described["adapter"] = _fields(self.adapter) | {"options": dict(self.adapter.options)}
            for name, value in self.adapter.options.items():
                if not _is_plain(value):
                    raise UsageError(
                        f"method {self.slug!r}: option {name}={value!r} of {self.adapter.config} "
                        "is not plain data: expected text, numbers, true, false, none, or lists "
                        "and mappings of them"
                    )
        if self.quantisation is not None:
            described["quantisation"] = asdict(self.quantisation)
        return described

    @classmethod
    def declared(cls, content: Mapping[str, Any]) -> Method:
        """Return the method that :meth:`declaration` described."""
        adapter, quantisation = content["adapter"], content["quantisation"]
        if adapter is not None:
            targets = adapter["targets"]
            adapter = Adapter(**adapter | {"targets": None if targets is None else tuple(targets)})
        return cls(
            **{
                **content,
                "trains": Trains(content["trains"]),
                "adapter": adapter,
                "quantisation": None if quantisation is None else Quantisation(**quantisation),
            }
        )

    def hyperparameters(self) -> dict[str, Any]:
        """Return what can change this method's result, as plain JSON values."""
        described: dict[str, Any] = {"trains": self.trains.value}
        if self.adapter is not None:
            described["adapter"] = self.adapter.config
            described["targets"] = list(self.adapter.targets) if self.adapter.targets else None
            described.update(self.adapter.options)
        if self.quantisation is not None:
            described["quantisation"] = self.quantisation.data_type
            described["double_quantisation"] = self.quantisation.double
        return described


def _fields(declared: Method | Adapter) -> dict[str, Any]:
    return {one.name: getattr(declared, one.name) for one in fields(declared)}


def _is_plain(value: Any) -> bool:
    """Return whether a value is the same after it was written as JSON and read."""
    try:
        return bool(json.loads(json.dumps(value, allow_nan=False)) == value)
    except (TypeError, ValueError):
        return False


METHODS: tuple[Method, ...] = (
    Method(
        slug="full",
        name="Full",
        summary="Full fine-tuning: every weight of the backbone and the head is trained.",
        paper=None,
        trains=Trains.EVERYTHING,
    ),
    Method(
        slug="lora",
        name="LoRA",
        summary="Adds a trained product of two thin matrices to the frozen query and value "
        "projections.",
        paper="https://arxiv.org/abs/2106.09685",
        trains=Trains.ADAPTER,
        adapter=Adapter(
            config="LoraConfig",
            options={"r": 16, "lora_alpha": 32, "lora_dropout": 0.1},
            targets=("query", "value"),
        ),
    ),
    Method(
        slug="qlora",
        name="QLoRA",
        summary="LoRA on query, key and value over a backbone that is stored in 4 bits.",
        paper="https://arxiv.org/abs/2305.14314",
        trains=Trains.ADAPTER,
        adapter=Adapter(
            config="LoraConfig",
            options={"r": 8, "lora_alpha": 32, "lora_dropout": 0.05},
            targets=("query", "key", "value"),
        ),
        quantisation=Quantisation(),
    ),
    Method(
        slug="ia3",
        name="IA3",
        summary="Rescales keys, values and what enters each output projection by trained vectors.",
        paper="https://arxiv.org/abs/2205.05638",
        trains=Trains.ADAPTER,
        adapter=Adapter(config="IA3Config"),
    ),
    Method(
        slug="bow",
        name="Bag of words",
        summary="TF-IDF of words and bigrams with logistic regression: no backbone at all.",
        paper=None,
        trains=Trains.BAG_OF_WORDS,
        reference=True,
    ),
    Method(
        slug="head",
        name="Head only",
        summary="The backbone is frozen and only the classification head is trained.",
        paper=None,
        trains=Trains.HEAD,
        reference=True,
    ),
)

_BY_SLUG = {method.slug: method for method in METHODS}


def find_method(slug: str, *, where: str = "") -> Method:
    """Return the method with this slug.

    Args:
        slug: such as ``"lora"``; case and blanks around it do not matter.
        where: the option that named it, for the message.

    Raises:
        UsageError: there is no such method; the message suggests the nearest.
    """
    method = _BY_SLUG.get(slug.strip().lower())
    if method is None:
        raise unknown("method", slug, _BY_SLUG, where=where)
    return method

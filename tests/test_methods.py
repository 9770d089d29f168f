from __future__ import annotations

import json
from typing import Any

import pytest

from peftcore.errors import UsageError
from peftcore.methods import (
    METHODS,
    Adapter,
    Group,
    Method,
    Trains,
    find_method,
    find_methods,
    slugs_of,
)

# The source study's, in peft's own words.
STUDY: dict[str, dict[str, Any]] = {
    "full": {"trains": "everything"},
    "lora": {
        "trains": "adapter and head",
        "adapter": "LoraConfig",
        "targets": ["query", "value"],
        "r": 16,
        "lora_alpha": 32,
        "lora_dropout": 0.1,
    },
    "qlora": {
        "trains": "adapter and head",
        "adapter": "LoraConfig",
        "targets": ["query", "key", "value"],
        "r": 8,
        "lora_alpha": 32,
        "lora_dropout": 0.05,
        "quantisation": "nf4",
        "double_quantisation": True,
    },
    # All of it is peft's default.
    "ia3": {"trains": "adapter and head", "adapter": "IA3Config", "targets": None},
}


@pytest.mark.parametrize("slug", STUDY)
def test_the_studys_hyperparameters(slug: str) -> None:
    assert find_method(slug).hyperparameters() == STUDY[slug]
    assert not find_method(slug).reference


def test_the_reference_rows() -> None:
    assert {method.slug for method in METHODS if method.reference} == {"bow", "head"}
    assert find_method("bow").trains is Trains.BAG_OF_WORDS
    assert find_method("head").trains is Trains.HEAD


@pytest.mark.parametrize("method", METHODS, ids=lambda method: method.slug)
def test_a_declaration_is_fit_for_options_tables_and_records(method: Method) -> None:
    assert find_method(method.slug) is method
    assert method.slug == method.slug.lower()
    assert not set(method.slug) & set(", =\t\n")
    assert method.summary.endswith(".")
    assert method.paper is None or method.paper.startswith("https://")
    described = method.hyperparameters()
    assert json.loads(json.dumps(described, allow_nan=False)) == described
    assert hash(method) == hash(find_method(method.slug))


def test_slugs_and_names_are_each_methods_own() -> None:
    assert len({method.slug for method in METHODS}) == len(METHODS)
    assert len({method.name for method in METHODS}) == len(METHODS)


@pytest.mark.parametrize(
    ("name", "slug"),
    [
        ("lora", "lora"),
        ("LoRA", "lora"),
        (" lora ", "lora"),
        ("LoRA+", "loraplus"),
        ("lora_fa", "lora-fa"),
        ("Prefix tuning", "prefix-tuning"),
    ],
)
def test_the_usual_ways_to_write_a_name_are_known(name: str, slug: str) -> None:
    assert find_method(name).slug == slug


def test_groups() -> None:
    study = ("full", "lora", "qlora", "ia3", "bow", "head")
    assert slugs_of(Group.STUDY) == study
    assert tuple(method.slug for method in find_methods(" Study ")) == study
    popular = find_methods("popular")
    assert len([method for method in popular if not method.reference]) == 12
    assert {method.slug for method in popular} > set(study)
    assert find_methods("ALL") == METHODS
    assert find_methods("lora") == (find_method("lora"),)
    with pytest.raises(UsageError, match=r"unknown method 'populer' .*did you mean 'popular'"):
        find_methods("populer", where="--method")
    assert not {str(group) for group in Group} & {method.slug for method in METHODS}


def test_every_kind_of_declaration_is_there() -> None:
    slugs = {method.slug for method in METHODS}
    variants = {"dora", "rslora", "pissa", "olora", "eva", "loftq", "loraplus", "lora-fa"}
    four_bit = {"qdora", "qadalora", "qhira", "qia3", "qpvera", "qrandlora", "qroad"}
    assert variants | four_bit | {"bitfit", "head"} <= slugs
    quantised = {method.slug for method in METHODS if method.quantisation}
    assert quantised == four_bit | {"qlora", "loftq"}


@pytest.mark.parametrize(
    ("given", "words"),
    [
        (
            "lorra",
            "unknown method 'lorra' (from --method): did you mean 'lora'? peftcore methods lists "
            "them",
        ),
        ("zzz", "unknown method 'zzz' (from --method): peftcore methods lists them"),
        ("", "unknown method '' (from --method): peftcore methods lists them"),
    ],
)
def test_an_unknown_method(given: str, words: str) -> None:
    with pytest.raises(UsageError) as caught:
        find_method(given, where="--method")
    assert str(caught.value).startswith(words)


@pytest.mark.parametrize(
    ("trains", "adapter"),
    [
        (Trains.ADAPTER, None),
        (Trains.EVERYTHING, Adapter(config="LoraConfig")),
        (Trains.HEAD, Adapter(config="LoraConfig")),
    ],
)
def test_an_adapter_is_declared_exactly_where_one_is_trained(
    trains: Trains, adapter: Adapter | None
) -> None:
    with pytest.raises(ValueError, match="method 'odd' trains"):
        Method(slug="odd", name="Odd", summary="Odd.", paper=None, trains=trains, adapter=adapter)


def test_dropout_of_an_adapter_is_replaced_and_nothing_else() -> None:
    adapter = find_method("lora").adapter
    assert adapter is not None

    changed = adapter.with_dropout(0.0, ["lora_dropout"])

    assert dict(changed.options) == {"r": 16, "lora_alpha": 32, "lora_dropout": 0.0}
    assert (changed.config, changed.targets) == (adapter.config, adapter.targets)
    assert adapter.options["lora_dropout"] == 0.1
    assert adapter.with_dropout(0.3, []) == adapter


def test_declared_options_can_not_change() -> None:
    options = {"r": 4}
    adapter = Adapter(config="LoraConfig", options=options)
    options["r"] = 5
    assert adapter.options["r"] == 4
    with pytest.raises(TypeError):
        adapter.options["r"] = 5  # type: ignore[index]

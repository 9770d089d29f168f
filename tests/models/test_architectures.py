"""What is declared of each architecture, against transformers' and peft's own."""

from __future__ import annotations

import dataclasses
import json
import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from peft.utils import constants
from transformers import AutoConfig, AutoModelForSequenceClassification

from peftcore.conformance.tiny import ARCHITECTURES
from peftcore.errors import CheckFailed, UsageError
from peftcore.methods import METHODS, Adapter, Method, Trains, find_method
from peftcore.models.architectures import architecture_of
from peftcore.models.attach import Classifier, attach
from peftcore.models.backbones import locate_backbone
from peftcore.models.checks import check_head, check_targets
from peftcore.models.factors import PEFT_PREFIX
from peftcore.models.loading import classifier_config
from peftcore.running.planning import Selection, plan
from peftcore.trials import Source, Weights
from tests.conftest import STUDIED, write_bare_model

TinyModels = Callable[[str], Path]
ADAPTED = {
    ("distilbert", "lora"): "q_lin, v_lin",
    ("distilbert", "qlora"): "k_lin, q_lin, v_lin",
    ("distilbert", "ia3"): "lin2, k_lin, out_lin, v_lin",
    ("deberta-v2", "lora"): "query_proj, value_proj",
    ("deberta-v2", "qlora"): "key_proj, query_proj, value_proj",
    ("deberta-v2", "ia3"): "key_proj, value_proj, attention.output.dense, output.dense",
    ("modernbert", "lora"): "Wqkv",
    ("modernbert", "qlora"): "Wqkv",
    ("modernbert", "ia3"): "Wqkv, mlp.Wo",
    # In the place of the first layer's first one stands a module that does nothing.
    ("modernbert", "ln-tuning"): "mlp_norm",
    ("llama", "lora"): "q_proj, v_proj",
    ("llama", "qlora"): "k_proj, q_proj, v_proj",
    ("llama", "ia3"): "down_proj, k_proj, v_proj",
}


def attached(folder: Path, slug: str) -> Classifier:
    source = locate_backbone(str(folder), Weights.PRETRAINED)
    config = classifier_config(source, labels=2, dropout=None)
    model = AutoModelForSequenceClassification.from_config(config)
    method = dataclasses.replace(find_method(slug), quantisation=None)
    return attach(model, method, seed=0, dropout=None)


@pytest.mark.parametrize(("kind", "slug"), ADAPTED)
def test_the_modules_that_carry_an_adapter(tiny_models: TinyModels, kind: str, slug: str) -> None:
    classifier = attached(tiny_models(kind), slug)
    check_head(classifier)
    check_targets(classifier)
    endings = ADAPTED[kind, slug].split(", ")
    first_layer = [n for n in classifier.adapted_modules() if ".0." in n]
    assert len(first_layer) == len(endings)
    assert all(any(name.endswith(f".{end}") for name in first_layer) for end in endings)


def test_ln_tuning_trains_all_norms_of_a_modernberts_layers(tiny_models: TinyModels) -> None:
    classifier = attached(tiny_models("modernbert"), "ln-tuning")
    assert check_targets(classifier)["detail"] == "3 modules in 2 layers: attn_norm, mlp_norm"
    trained = {n for n in classifier.trained_parameters() if not classifier.in_head(n)}
    norms = ("layers.0.mlp_norm", "layers.1.attn_norm", "layers.1.mlp_norm")
    assert {
        name.partition(".ln_tuning")[0].removeprefix(f"{PEFT_PREFIX}model.") for name in trained
    } == set(norms)


@pytest.mark.parametrize("kind", ARCHITECTURES)
def test_biases_are_refused_where_there_are_none_and_where_they_might_be(
    tiny_models: TinyModels, kind: str
) -> None:
    """It would be the head alone under another name; a configuration may switch them on."""
    architecture, bitfit = architecture_of(kind), find_method("bitfit")
    folder = tiny_models(kind)
    if architecture.biases is None:
        architecture.require(bitfit, {})
        check = check_targets(attached(folder, "bitfit"))
        assert re.fullmatch(r"\d+ biases, some in each of 2 layers", check["detail"])
        return
    with pytest.raises(UsageError, match=r"BitFit can't be attached .* attention_bias, mlp_bias"):
        architecture.require(bitfit, {"attention_bias": False})
    with pytest.raises(UsageError, match="it trains biases, and there are none but the head's"):
        attached(folder, "bitfit")
    for option in architecture.biases:
        architecture.require(bitfit, {option: True})
        config = classifier_config(
            locate_backbone(str(folder), Weights.PRETRAINED), labels=2, dropout=None
        )
        setattr(config, option, True)
        model = AutoModelForSequenceClassification.from_config(config)
        check_targets(attach(model, bitfit, seed=0, dropout=None))


def test_frozen_biases_are_found(tiny_models: TinyModels) -> None:
    classifier = attached(tiny_models("bert"), "bitfit")
    for name, parameter in classifier.parameters().items():
        if "layer.1." in name and name.endswith("query.bias"):
            parameter.requires_grad_(False)
    with pytest.raises(CheckFailed, match=r"1 tensors are biases and frozen.*layer\.1.*query"):
        check_targets(classifier)


@pytest.mark.parametrize("kind", ARCHITECTURES)
def test_lora_and_ia3_target_what_peft_would(kind: str) -> None:
    """peft knows no default for DistilBERT and ModernBERT; those, and only those, are declared."""
    architecture = architecture_of(kind)
    lora, ia3 = (find_method(slug).adapter for slug in ("lora", "ia3"))
    assert lora is not None
    assert ia3 is not None
    by_peft = constants.TRANSFORMERS_MODELS_TO_LORA_TARGET_MODULES_MAPPING.get(kind)
    if by_peft is not None:
        assert architecture.target_options(lora, name="LoRA") == {"target_modules": by_peft}
    known = kind in constants.TRANSFORMERS_MODELS_TO_IA3_TARGET_MODULES_MAPPING
    assert (architecture.target_options(ia3, name="IA3") == {}) is known


@pytest.mark.parametrize("kind", ARCHITECTURES)
def test_the_head_is_all_that_pretraining_leaves_out(tiny_models: TinyModels, kind: str) -> None:
    """Outside the backbone there is nothing but the head and what is kept in full precision."""
    model = attached(tiny_models(kind), "full").model
    outside = {
        name
        for name, child in model.named_children()
        if name != model.base_model_prefix and any(True for _ in child.parameters())
    }
    assert outside == set(architecture_of(kind).head)


@pytest.mark.parametrize("kind", ARCHITECTURES)
def test_what_is_never_quantised_is_the_head_and_what_is_in_full_precision(
    tiny_models: TinyModels, kind: str
) -> None:
    model, architecture = attached(tiny_models(kind), "full").model, architecture_of(kind)
    linear = [name for name, part in model.named_modules() if isinstance(part, torch.nn.Linear)]
    # As transformers reads the patterns.
    left = {
        name
        for name in linear
        if any(re.match(pattern, name) for pattern in architecture.never_quantised)
    }
    parts = {*architecture.head, *architecture.full_precision}
    assert left == {name for name in linear if parts & set(name.split("."))}
    assert left
    assert len(left) < len(linear) / 2


@pytest.mark.parametrize(
    ("kind", "published", "parameters", "texts"),
    [
        ("distilbert", {"dim": 768}, 66_955_010, 512),
        (
            "deberta-v2",
            {
                "hidden_size": 768,
                "intermediate_size": 3072,
                "max_relative_positions": -1,
                "norm_rel_ebd": "layer_norm",
                "num_attention_heads": 12,
                "num_hidden_layers": 12,
                "pos_att_type": "p2c|c2p",
                "position_biased_input": False,
                "position_buckets": 256,
                "relative_attention": True,
                "share_att_key": True,
                "type_vocab_size": 0,
            },
            184_423_682,
            512,
        ),
        (
            "modernbert",
            {"global_rope_theta": 160000.0, "torch_dtype": "float32"},
            149_606_402,
            8192,
        ),
    ],
    ids=["distilbert-base", "deberta-v3-base", "modernbert-base"],
)
def test_published_configurations_are_read_as_models_of_their_known_size(
    tmp_path: Path, kind: str, published: dict[str, Any], parameters: int, texts: int
) -> None:
    content = {"model_type": kind, **published}
    (tmp_path / "config.json").write_text(json.dumps(content), encoding="utf-8")
    source = Source(name=kind, identity="published", path=str(tmp_path))
    with torch.device("meta"):
        model = AutoModelForSequenceClassification.from_config(
            classifier_config(source, labels=2, dropout=None)
        )
    assert sum(parameter.numel() for parameter in model.parameters()) == parameters
    assert architecture_of(kind).longest_text(content) == texts


@pytest.mark.parametrize("kind", ARCHITECTURES)
def test_positions_that_a_configuration_does_not_tell_are_transformers_default(kind: str) -> None:
    if kind != "roberta":  # Its published configurations all tell.
        default = AutoConfig.for_model(kind).max_position_embeddings
        assert architecture_of(kind).longest_text({}) == default


@pytest.mark.parametrize(
    ("kind", "content"),
    [
        ("bert", {"max_position_embeddings": "many"}),
        ("bert", {"max_position_embeddings": None}),
        ("roberta", {"pad_token_id": None}),
    ],
)
def test_positions_that_are_no_number_are_refused(kind: str, content: dict[str, Any]) -> None:
    (name,) = content
    with pytest.raises(UsageError, match=f"{name} is .* expected a whole number"):
        architecture_of(kind).longest_text(content)


def test_a_method_that_fits_no_part_is_refused_before_anything_runs(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    architecture = architecture_of("modernbert")
    config = {"model_type": "modernbert"}

    def method(adapter: Adapter) -> Method:
        return Method(
            slug="new", name="New", summary="", paper=None, trains=Trains.ADAPTER, adapter=adapter
        )

    beyond = method(Adapter(config="LoraConfig", targets=("query", "gate")))
    with pytest.raises(UsageError, match=r"New can't be attached .* targets gate, .* query, key"):
        architecture.require(beyond, config)
    undeclared = method(Adapter(config="VeraConfig"))
    with pytest.raises(UsageError, match="names no targets, and neither peft nor peftcore"):
        architecture.require(undeclared, config)
    folder = write_bare_model(tmp_path / "model", **config)
    monkeypatch.setattr("peftcore.running.planning.find_methods", lambda *_, **__: [undeclared])
    with pytest.raises(UsageError, match="New can't be attached"):
        plan(Selection(methods=("new",), model=str(folder)))
    for declared in STUDIED:
        architecture.require(declared, config)


@pytest.mark.parametrize("kind", ARCHITECTURES)
def test_what_an_architecture_refuses_is_a_method_that_there_is(kind: str) -> None:
    architecture = architecture_of(kind)
    refused = set()
    for method in METHODS:
        adapter = method.adapter
        about = set() if adapter is None else {adapter.config, adapter.start}
        if method.trains is Trains.BIASES:
            continue
        if not about & architecture.refused.keys():
            architecture.require(method, {})
            continue
        refused |= about & architecture.refused.keys()
        with pytest.raises(UsageError, match=f"^{re.escape(method.name)} can't be attached to"):
            architecture.require(method, {})
    assert refused == set(architecture.refused)


@pytest.mark.parametrize(
    ("pad", "end", "expected"), [(None, 7, 7), (None, [5, 7], 5), (None, None, 0), (4, 7, 4)]
)
def test_a_decoder_without_a_padding_id_takes_that_of_the_end(
    tmp_path: Path, pad: int | None, end: int | list[int] | None, expected: int
) -> None:
    folder = write_bare_model(
        tmp_path / "model",
        model_type="llama",
        vocab_size=9,
        hidden_size=8,
        num_attention_heads=2,
        pad_token_id=pad,
        eos_token_id=end,
    )
    source = locate_backbone(str(folder), Weights.PRETRAINED)
    config = classifier_config(source, labels=2, dropout=None)
    assert config.pad_token_id == expected
    assert config.use_cache is False


def test_a_decoder_reads_the_last_token_whatever_padding_follows(tiny_models: TinyModels) -> None:
    model = attached(tiny_models("llama"), "full").model.eval()
    pad = int(model.config.pad_token_id)  # type: ignore[union-attr, arg-type]
    text = [2, 6, 7, 9]
    ids = torch.tensor([[*text, pad, pad], [2, 6, 7, 9, 11, 12]])
    mask = (ids != pad).long()
    with torch.no_grad():
        alone = model(input_ids=torch.tensor([text])).logits
        padded = model(input_ids=ids, attention_mask=mask).logits
        other = model(input_ids=torch.tensor([[2, 6, 7, 10]])).logits
    torch.testing.assert_close(padded[:1], alone)
    assert not torch.allclose(other, alone)

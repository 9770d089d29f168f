"""What each method trains, counted on real architectures built without memory."""

from __future__ import annotations

import dataclasses
import json
import re
import shutil
from pathlib import Path

import peft
import pytest
import torch
from bitsandbytes.nn.modules import Linear4bit
from safetensors.torch import load_file, save_file
from torch import nn
from transformers import AutoModelForSequenceClassification

from peftcore.errors import CheckFailed, UsageError
from peftcore.methods import Method, Trains, find_method
from peftcore.models.architectures import architecture_of
from peftcore.models.attach import Classifier, attach, count_parameters
from peftcore.models.backbones import locate_backbone
from peftcore.models.checks import WeightWatch, check_head, check_reload, check_targets
from peftcore.models.loading import classifier_config
from peftcore.models.saving import load_trained, save_trained
from peftcore.trials import Source, Weights
from tests.backbones import load_backbone
from tests.conftest import STUDIED

TRAINED = [method for method in STUDIED if method.trains is not Trains.BAG_OF_WORDS]


def on_meta(backbone: str, method: str) -> Classifier:
    """Return a method on a backbone's architecture, its tensors without storage.

    Quantisation changes how weights are stored and not which are trained, so it is left out.
    """
    source = Source(name=backbone, identity="architecture")
    config = classifier_config(source, labels=2, dropout=None)
    with torch.device("meta"):
        model = AutoModelForSequenceClassification.from_config(config)
    declared = dataclasses.replace(find_method(method), quantisation=None)
    return attach(model, declared, seed=0, dropout=None)


@pytest.mark.parametrize(
    ("method", "trainable"),
    [("full", 124_647_170), ("lora", 1_181_954), ("qlora", 1_034_498), ("ia3", 656_642)],
)
def test_trainable_parameters_of_roberta_base_are_the_studys(method: str, trainable: int) -> None:
    counts = count_parameters(on_meta("roberta-base", method))
    assert counts.trainable == trainable
    assert counts.head == 592_130
    expected_adapter = 0 if method == "full" else trainable - 592_130
    assert counts.adapter == expected_adapter
    assert counts.total == 124_647_170 + expected_adapter


def load(folder: Path, method: str, dropout: float | None = None) -> Classifier:
    declared = find_method(method)
    model = load_backbone(folder, declared.quantisation, dropout=dropout)
    return attach(model, declared, seed=1, dropout=dropout)


@pytest.mark.parametrize("method", TRAINED, ids=lambda method: method.slug)
@pytest.mark.parametrize("kind", ["bert", "roberta"])
def test_every_method_attaches_to_what_it_declares(
    method: Method, kind: str, request: pytest.FixtureRequest
) -> None:
    classifier = load(request.getfixturevalue(f"tiny_{kind}"), method.slug)
    detail = check_targets(classifier)["detail"]
    check_head(classifier)
    trained = {n for n, p in classifier.parameters().items() if p.requires_grad}
    head = {n for n in classifier.parameters() if classifier.in_head(n)}
    assert head <= trained
    if method.adapter is None:
        assert detail == "no adapter, as declared"
    elif method.adapter.targets is not None:
        assert len(classifier.adapted_modules()) == 2 * len(method.adapter.targets)


@pytest.mark.parametrize("missing", ["encoder.layer.1.output.dense.weight", "pooler.dense.bias"])
def test_weights_that_lack_a_part_of_the_backbone_are_refused(
    tiny_bert: Path, tmp_path: Path, missing: str
) -> None:
    """transformers would draw it at random, and the record would say that it was pretrained."""
    folder = Path(shutil.copytree(tiny_bert, tmp_path / "part"))
    tensors = load_file(folder / "model.safetensors")
    (name,) = [name for name in tensors if name.endswith(missing)]
    del tensors[name]
    save_file(tensors, folder / "model.safetensors", metadata={"format": "pt"})
    with pytest.raises(UsageError, match=f"{re.escape(name)} is not in its weights"):
        load_backbone(folder)


def test_weights_without_a_head_get_a_fresh_one(tiny_bert: Path, tmp_path: Path) -> None:
    folder = Path(shutil.copytree(tiny_bert, tmp_path / "headless"))
    tensors = load_file(folder / "model.safetensors")
    body = {name: t for name, t in tensors.items() if not name.startswith("classifier")}
    assert len(body) == len(tensors) - 2
    save_file(body, folder / "model.safetensors", metadata={"format": "pt"})
    heads = [load_backbone(folder, seed=seed).classifier.weight for seed in (1, 1, 2)]
    assert torch.equal(heads[0], heads[1])
    assert not torch.equal(heads[0], heads[2])


def test_the_task_of_a_folder_is_not_taken_over(tiny_bert: Path, tmp_path: Path) -> None:
    """A cross-encoder's "regression" would have its own loss chosen for classes."""
    folder = Path(shutil.copytree(tiny_bert, tmp_path / "regression"))
    file = folder / "config.json"
    content = {**json.loads(file.read_text()), "problem_type": "regression"}
    file.write_text(json.dumps(content), encoding="utf-8")
    source = locate_backbone(str(folder), Weights.PRETRAINED)
    config = classifier_config(source, labels=2, dropout=None)
    assert config.problem_type == "single_label_classification"


@pytest.mark.parametrize("kind", ["tiny_bert", "tiny_roberta"])
def test_the_head_and_berts_pooler_are_not_quantised(
    kind: str, request: pytest.FixtureRequest
) -> None:
    model = load(request.getfixturevalue(kind), "qlora").model
    kinds = {n: type(m) for n, m in model.named_modules() if isinstance(m, nn.Linear)}
    packed = {name.replace(".base_layer", "") for name, k in kinds.items() if k is Linear4bit}
    apart = {n for n in kinds if {"classifier", "pooler"}.intersection(n.split("."))}
    assert packed
    assert apart
    assert packed.isdisjoint(apart)


def test_packed_weights_count_as_the_parameters_they_stand_for(tiny_bert: Path) -> None:
    packed = count_parameters(load(tiny_bert, "qlora"))
    full = count_parameters(load(tiny_bert, "full"))
    assert packed.total - packed.adapter == full.total


def test_quantised_layers_are_never_repacked_for_inference(tiny_bert: Path) -> None:
    """Repacked at an evaluation, they would train on without a gradient (bitsandbytes 0.50)."""
    classifier = load(tiny_bert, "qlora")
    inputs = {"input_ids": torch.tensor([[2, 6, 7, 3]])}
    classifier.model.eval()
    with torch.no_grad():
        before = classifier.model(**inputs).logits
    classifier.model.train()
    classifier.model(**inputs).logits.sum().backward()
    gradients = [
        parameter.grad
        for name, parameter in classifier.parameters().items()
        if "layer.0" in name and parameter.requires_grad and "lora_B" in name
    ]
    assert len(gradients) == 3
    assert all(gradient is not None and gradient.abs().sum() > 0 for gradient in gradients)
    assert torch.isfinite(before).all()


def test_a_dropout_override_reaches_backbone_and_adapter(tiny_bert: Path) -> None:
    classifier = load(tiny_bert, "lora", dropout=0.0)
    probabilities = {m.p for m in classifier.model.modules() if isinstance(m, nn.Dropout)}
    assert probabilities <= {0.0}
    assert classifier.model.config.attention_probs_dropout_prob == 0.0
    kept = {m.p for m in load(tiny_bert, "lora").model.modules() if isinstance(m, nn.Dropout)}
    assert kept == {0.1}


def test_checks_of_sparse_tensors_are_switched_off_for_adapters_that_have_any(
    tiny_bert: Path,
) -> None:
    checks = torch.sparse.check_sparse_tensor_invariants
    checks.enable()
    try:
        load(tiny_bert, "lora")
        assert checks.is_enabled()
        load(tiny_bert, "frod")
        assert not checks.is_enabled()
    finally:
        checks.disable()


def test_an_unsupported_model_type_is_named() -> None:
    with pytest.raises(UsageError, match=r"'t5' is not supported.*bert"):
        architecture_of("t5")


def test_a_missing_adapter_is_found(tiny_bert: Path) -> None:
    classifier = load(tiny_bert, "lora")
    layer = classifier.model.base_model.model.bert.encoder.layer[1].attention.self
    layer.query = layer.query.base_layer
    with pytest.raises(CheckFailed, match=r"1 intended modules have no adapter .*layer\.1.*query"):
        check_targets(classifier)


def test_an_adapter_on_other_modules_is_found(tiny_bert: Path) -> None:
    source = locate_backbone(str(tiny_bert), Weights.PRETRAINED)
    config = classifier_config(source, labels=2, dropout=None)
    model = AutoModelForSequenceClassification.from_config(config)
    wrong = peft.get_peft_model(
        model, peft.LoraConfig(task_type="SEQ_CLS", target_modules=["query", "value", "key"])
    )
    intended = tuple(
        f"bert.encoder.layer.{layer}.attention.self.{part}"
        for layer in range(2)
        for part in ("query", "value")
    )
    classifier = Classifier(wrong, find_method("lora"), architecture_of("bert"), intended)
    with pytest.raises(CheckFailed, match="2 others have one"):
        check_targets(classifier)


def test_half_the_layers_are_not_enough_even_for_pefts_own_choice(tiny_bert: Path) -> None:
    source = locate_backbone(str(tiny_bert), Weights.PRETRAINED)
    config = classifier_config(source, labels=2, dropout=None)
    model = AutoModelForSequenceClassification.from_config(config)
    half = peft.get_peft_model(
        model,
        peft.IA3Config(
            task_type="SEQ_CLS",
            target_modules=r".*layer\.0.*\.(key|value)",
            feedforward_modules=[],
        ),
    )
    classifier = Classifier(half, find_method("ia3"), architecture_of("bert"))
    with pytest.raises(CheckFailed, match="1 of 2 layers"):
        check_targets(classifier)


def test_a_frozen_head_is_found(tiny_bert: Path) -> None:
    classifier = load(tiny_bert, "lora")
    for name, parameter in classifier.parameters().items():
        if classifier.in_head(name):
            parameter.requires_grad_(False)
    with pytest.raises(CheckFailed, match=r"head: .*frozen"):
        check_head(classifier)


def test_a_head_that_is_not_in_full_precision_is_found(tiny_bert: Path) -> None:
    classifier = load(tiny_bert, "full")
    classifier.model.classifier.to(torch.bfloat16)
    with pytest.raises(CheckFailed, match=r"head: .*bfloat16"):
        check_head(classifier)


def _nudge(classifier: Classifier) -> None:
    """Move every trained weight a little."""
    with torch.no_grad():
        for parameter in classifier.parameters().values():
            if parameter.requires_grad:
                parameter.add_(1e-3)


def test_moved_and_unmoved_weights_are_told_apart(tiny_bert: Path) -> None:
    classifier = load(tiny_bert, "lora")
    watch = WeightWatch(classifier)
    with pytest.raises(CheckFailed, match="trained weights: 5 did not move"):
        watch.check()
    _nudge(classifier)
    names = [check["name"] for check in watch.check()]
    assert names == ["frozen weights", "trained weights"]


def test_one_changed_bit_of_a_frozen_weight_is_found(tiny_bert: Path) -> None:
    classifier = load(tiny_bert, "lora")
    watch = WeightWatch(classifier)
    _nudge(classifier)
    weight = classifier.model.get_parameter(
        "base_model.model.bert.encoder.layer.1.output.dense.weight"
    )
    with torch.no_grad():
        weight.view(-1).view(torch.int32)[17] ^= 1
    with pytest.raises(CheckFailed, match=r"frozen weights: 1 changed: .*layer\.1\.output\.dense"):
        watch.check()


@pytest.mark.parametrize("method", TRAINED, ids=lambda method: method.slug)
def test_what_is_saved_gives_equal_logits_on_a_fresh_backbone(
    method: Method, tiny_bert: Path, tmp_path: Path
) -> None:
    classifier = load(tiny_bert, method.slug)
    _nudge(classifier)
    inputs = {"input_ids": torch.tensor([[2, 6, 7, 9, 3], [2, 11, 12, 13, 3]])}
    classifier.model.eval()
    with torch.no_grad():
        trained = classifier.model(**inputs).logits
    size = save_trained(classifier, tmp_path)
    assert size == sum(file.stat().st_size for file in tmp_path.glob("*.safetensors"))
    backbone = load_backbone(tiny_bert, method.quantisation)
    reloaded = load_trained(classifier, backbone, tmp_path).eval()
    with torch.no_grad():
        check_reload(trained, reloaded(**inputs).logits)


def test_a_reload_that_differs_by_a_bit_is_found() -> None:
    logits = torch.tensor([[1.0, 2.0]])
    with pytest.raises(CheckFailed, match="differ by up to"):
        check_reload(logits, torch.nextafter(logits, torch.tensor(3.0)))

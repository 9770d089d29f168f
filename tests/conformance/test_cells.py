"""One method on one architecture: what conforms, what is refused, and what is found to fail."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Any

import pytest
import torch
from torch import nn

from peftcore.conformance import cells
from peftcore.conformance.cells import Bench, declared_methods, undeclared_methods
from peftcore.conformance.fingerprints import Verdict
from peftcore.methods import METHODS, find_method
from peftcore.models.attach import Classifier, ParameterCounts
from peftcore.models.merging import merge as merge_for_real


@pytest.fixture(scope="module")
def bench(tmp_path_factory: pytest.TempPathFactory) -> Bench:
    return Bench(tmp_path_factory.mktemp("bench"))


def test_a_method_that_conforms_leaves_its_numbers(bench: Bench) -> None:
    found = bench.fingerprint(find_method("lora"), "bert")
    assert (found.verdict, found.detail, found.merged) == (Verdict.CONFORMS, "", "yes")
    assert len(found.losses) == 6
    assert found.parameters["adapter"] == 2 * 2 * 16 * (64 + 64)
    assert found.parameters["trainable"] == found.parameters["adapter"] + 130
    assert found.tensor_bytes
    assert found.operations
    assert found.file_bytes
    assert {"targets", "head", "frozen weights", "reload"} <= found.checks.keys()
    # The same code gives the same numbers again.
    assert bench.fingerprint(find_method("lora"), "bert") == found


def test_what_an_architecture_refuses_is_told_before_anything_is_loaded(bench: Bench) -> None:
    found = bench.fingerprint(find_method("prefix-tuning"), "distilbert")
    assert found.verdict is Verdict.REFUSED
    assert "takes no keys and values from before the text" in found.detail
    assert found.losses == ()


def test_what_can_not_be_merged_says_why(bench: Bench) -> None:
    assert (
        "its tokens are part of no weight"
        in bench.fingerprint(find_method("prompt-tuning"), "bert").merged
    )
    assert "packed already" in bench.fingerprint(find_method("qrandlora"), "bert").merged
    assert bench.fingerprint(find_method("qlora"), "bert").merged.startswith("yes, rounded")


def test_a_method_that_can_not_be_attached_fails_with_the_reason(bench: Bench) -> None:
    method = find_method("lora")
    assert method.adapter is not None
    odd = replace(method, adapter=replace(method.adapter, options={"r": -1}))
    found = bench.fingerprint(odd, "bert")
    assert found.verdict is Verdict.FAILS
    assert "should be a positive integer" in found.detail


@pytest.mark.parametrize("architecture", ["modernbert", "roberta"])
def test_a_head_of_several_layers_is_merged_too(bench: Bench, architecture: str) -> None:
    """peft (0.21.2) itself fails here with every method that is not LoRA's kin."""
    assert bench.fingerprint(find_method("loha"), architecture).merged == "yes"


def test_a_merge_that_changes_the_model_is_found(
    bench: Bench, monkeypatch: pytest.MonkeyPatch
) -> None:
    def spoil(classifier: Classifier) -> nn.Module:
        merged = merge_for_real(classifier)
        with torch.no_grad():
            merged.get_submodule("classifier").weight.mul_(1.1)
        return merged

    monkeypatch.setattr(cells, "merge", spoil)
    found = bench.fingerprint(find_method("lora"), "bert")
    assert found.verdict is Verdict.FAILS
    assert found.detail.startswith("merge: ")


LOSES = ["lora", "adalora", "fourierft", "ia3", "vera", "qlora"]
"""Methods, among them those whose adapters change little when they are moved by little."""


@pytest.mark.parametrize("method", LOSES)
def test_a_merge_that_leaves_the_adapter_out_is_found(
    bench: Bench, monkeypatch: pytest.MonkeyPatch, method: str
) -> None:
    def leave_out(classifier: Classifier) -> nn.Module:
        model: Any = classifier.model
        unloaded: nn.Module = model.unload()
        return unloaded

    monkeypatch.setattr(cells, "merge", leave_out)
    found = bench.fingerprint(find_method(method), "bert")
    assert found.verdict is Verdict.FAILS
    assert found.detail.startswith("merge: ")


def test_training_that_depends_on_padding_is_found(
    bench: Bench, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(cells, "MOST_APART", -1.0)
    found = bench.fingerprint(find_method("ia3"), "bert")
    assert found.verdict is Verdict.FAILS
    assert "accelerated and plain training come to losses" in found.detail


def test_what_nobody_declared_is_what_peft_has_besides() -> None:
    declared = {m.adapter.config for m in METHODS if m.adapter is not None}
    found = {m.adapter.config for m in undeclared_methods() if m.adapter is not None}
    # They need a decoder, or adapters that were trained before.
    assert {"AdaptionPromptConfig", "CPTConfig", "XLoraConfig"} <= found
    assert not found & declared
    assert {m.slug for m in declared_methods()} == {m.slug for m in METHODS} - {"bow"}


def test_what_nobody_declared_is_tried_and_known_as_such(
    bench: Bench, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A type that peft knows of and does not export is told of, too."""

    @dataclass
    class HiddenConfig:
        rank: int = 8

    mapping: dict[Any, Any] = cells.PEFT_TYPE_TO_CONFIG_MAPPING
    monkeypatch.setitem(mapping, "HIDDEN_TYPE", HiddenConfig)
    (hidden,) = [method for method in undeclared_methods() if method.slug == "hidden-type"]
    found = bench.fingerprint(hidden, "bert")
    assert (found.declared, found.verdict) == (False, Verdict.FAILS)
    assert "HiddenConfig" in found.detail


def test_a_method_whose_texts_depend_on_each_other_is_known_by_it(
    bench: Bench, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Lily weighs by the mean over a batch, so that no acceleration may change what is in one."""
    lily = find_method("lily")
    found = bench.fingerprint(lily, "bert")
    assert (found.verdict, found.detail) == (Verdict.CONFORMS, "")
    assert found.checks["padding"] == "texts of a batch depend on each other, as declared"
    for name in ("padding-free", "first-token", "sorted-evaluation"):
        assert "the others of its batch" in found.accelerations[name]
    assert lily.adapter is not None
    silent = replace(lily, adapter=replace(lily.adapter, mixes_texts=False))
    monkeypatch.setattr(cells.Bench, "_measured", lambda *_: {"checks": {}})
    assert bench.fingerprint(silent, "bert").detail.startswith("padding: logits of a text alone")


def test_weights_are_not_moved_along_themselves(bench: Bench) -> None:
    """ModernBERT sees no longer prompt, as it normalises what enters it and adds no positions."""
    found = bench.fingerprint(find_method("prompt-tuning"), "modernbert")
    assert (found.verdict, found.detail) == (Verdict.CONFORMS, "")


def test_prompts_for_a_head_that_reads_the_filling_are_refused(bench: Bench) -> None:
    """A Llama's head takes the last of embeddings, which of a shorter text is padding."""
    found = bench.fingerprint(find_method("p-tuning"), "llama")
    assert found.verdict is Verdict.REFUSED
    assert "finds the end of a text by token ids" in found.detail


def test_a_count_that_peft_does_not_share_is_found(
    bench: Bench, monkeypatch: pytest.MonkeyPatch
) -> None:
    real = cells.count_parameters

    def forgetful(classifier: Classifier) -> ParameterCounts:
        return replace(real(classifier), trainable=real(classifier).adapter)

    monkeypatch.setattr(cells, "count_parameters", forgetful)
    found = bench.fingerprint(find_method("lora"), "bert")
    assert found.verdict is Verdict.FAILS
    assert found.detail == "count: 8,192 parameters are trained, and peft counts 8,322"

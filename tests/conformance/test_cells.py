"""One method on one architecture: what conforms, what is refused, and what is found to fail."""

from __future__ import annotations

from dataclasses import replace

import pytest
import torch
from torch import nn

from peftcore.conformance import cells
from peftcore.conformance.cells import Bench, Verdict, declared_methods, undeclared_methods
from peftcore.methods import METHODS, find_method
from peftcore.models.attach import Classifier
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
    assert found.detail.startswith("merge: the merged model's logits differ")


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

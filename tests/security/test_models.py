"""Model folders and hub ids that want more than to be read."""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from typing import Any

import pytest
import torch

from peftcore.errors import UsageError
from peftcore.models.backbones import PINNED_BACKBONES, locate_backbone
from peftcore.models.loading import load_tokenizer
from peftcore.trials import Weights
from tests.backbones import load_backbone
from tests.conftest import MakeTrial


@pytest.fixture
def model(tmp_path: Path, tiny_bert: Path) -> Path:
    folder = tmp_path / "model"
    shutil.copytree(tiny_bert, folder)
    return folder


def add(file: Path, **content: Any) -> None:
    known = json.loads(file.read_text(encoding="utf-8"))
    file.write_text(json.dumps({**known, **content}), encoding="utf-8")


def load(folder: Path) -> Any:
    load_tokenizer(locate_backbone(str(folder), Weights.PRETRAINED))
    return load_backbone(folder)


def test_a_models_own_code_is_not_run(model: Path, tmp_path: Path) -> None:
    canary = tmp_path / "canary"
    code = f"import pathlib\npathlib.Path({str(canary)!r}).touch()\n"
    for name in ("modeling_mine", "configuration_mine", "tokenization_mine"):
        (model / f"{name}.py").write_text(code, encoding="utf-8")
    add(
        model / "config.json",
        trust_remote_code=True,
        auto_map={
            "AutoConfig": "configuration_mine.Mine",
            "AutoModelForSequenceClassification": "modeling_mine.Mine",
        },
    )
    add(
        model / "tokenizer_config.json",
        trust_remote_code=True,
        auto_map={"AutoTokenizer": ["tokenization_mine.Mine", "tokenization_mine.Mine"]},
    )
    assert type(load(model)).__name__ == "BertForSequenceClassification"
    assert not canary.exists()


@pytest.mark.parametrize(
    "wanted",
    [
        {"attn_implementation": "somebody/kernel"},
        {"_attn_implementation": "somebody/kernel"},
        {"transformers_weights": "other.safetensors"},
        {"_name_or_path": "somebody/else"},
    ],
    ids=lambda wanted: next(iter(wanted)),
)
def test_a_configuration_can_not_name_kernels_or_other_weights(
    model: Path, wanted: dict[str, Any]
) -> None:
    plain = load(model).state_dict()
    other = load(model)
    with torch.no_grad():
        for parameter in other.parameters():
            parameter.zero_()
    other.save_pretrained(model / "zeros")
    shutil.copy(model / "zeros" / "model.safetensors", model / "other.safetensors")
    shutil.rmtree(model / "zeros")
    add(model / "config.json", **wanted)
    loaded = load(model).state_dict()
    assert all(torch.equal(plain[name], loaded[name]) for name in plain)


def test_an_adapter_in_a_models_folder_is_not_followed(model: Path) -> None:
    """transformers would load it unasked, and no hash of ours would know."""
    content = {"base_model_name_or_path": "somebody/else", "peft_type": "LORA"}
    (model / "adapter_config.json").write_text(json.dumps(content), encoding="utf-8")
    with pytest.raises(UsageError, match=r"has an adapter_config\.json"):
        locate_backbone(str(model), Weights.PRETRAINED)


@pytest.mark.parametrize("revision", ["", "@main", "@v1.0", f"@{'a' * 39}", f"@{'A' * 40}"])
def test_a_hub_id_needs_a_full_commit_hash(revision: str) -> None:
    with pytest.raises(UsageError, match="names no fixed revision"):
        locate_backbone(f"somebody/model{revision}", Weights.PRETRAINED)


def test_revisions_are_full_hashes_and_stand_in_records(make_trial: MakeTrial) -> None:
    for pinned in PINNED_BACKBONES.values():
        assert len(pinned.revision) == 40
        assert set(pinned.revision) <= set("0123456789abcdef")
    described = make_trial().describe()
    assert "revision" in described["backbone"]
    assert "revision" in described["data"]

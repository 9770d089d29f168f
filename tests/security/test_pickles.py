"""Nothing pickled is ever loaded: a canary that unpickling would leave behind is never there."""

from __future__ import annotations

import pickle
import shutil
import struct
import tomllib
from collections.abc import Callable
from pathlib import Path

import pytest

from peftcore.data.sources import locate_data
from peftcore.errors import UsageError
from peftcore.models.backbones import locate_backbone
from peftcore.results.store import STORE_FILE, Store
from peftcore.scenarios import Task
from peftcore.training.trial import run_trial
from peftcore.trials import Engine, Weights
from tests.conftest import MakeTrial, sample_of
from tests.results.conftest import build

ROOT = Path(__file__).resolve().parents[2]

PICKLES = (
    "pytorch_model.bin",
    "model.bin",
    "adapter_model.bin",
    "training_args.bin",
    "optimizer.pt",
    "scheduler.pt",
    "rng_state.pth",
    "tokenizer.pkl",
    "train.pkl",
    "test.pickle",
    "data.npy",
    "model.joblib",
)
"""What libraries would look for in a model's, a data set's or a checkpoint's folder."""


class Payload:
    """Leaves a file behind when it is unpickled, where an attacker's would do worse."""

    def __init__(self, canary: Path) -> None:
        self._canary = canary

    def __reduce__(self) -> tuple[Callable[..., object], tuple[object, ...]]:
        return (Path.touch, (self._canary,))


@pytest.fixture
def canary(tmp_path: Path) -> Path:
    """Where the payload leaves its file; it is shown to work first."""
    path = tmp_path / "canary"
    pickle.loads(pickle.dumps(Payload(path)))
    path.unlink()
    return path


def lay(folder: Path, canary: Path) -> None:
    """Put the payload into a folder under every name that might tempt a library."""
    folder.mkdir(parents=True, exist_ok=True)
    for name in PICKLES:
        (folder / name).write_bytes(pickle.dumps(Payload(canary)))


@pytest.mark.parametrize("engine", Engine)
def test_a_whole_trial_beside_pickles_loads_none(
    tmp_path: Path,
    canary: Path,
    tiny_bert: Path,
    tiny_data: Path,
    make_trial: MakeTrial,
    engine: Engine,
) -> None:
    model, data = tmp_path / "model", tmp_path / "data"
    shutil.copytree(tiny_bert, model)
    shutil.copytree(tiny_data, data)
    for folder in (model, data):
        lay(folder, canary)
        lay(folder / "checkpoint-1", canary)
    trial = make_trial("lora", model=model, data=data, engine=engine, train_examples=16)
    result = run_trial(trial, sample_of(trial), lambda _: None)
    assert result.measurement["accuracy"] is not None
    assert not canary.exists()


def test_a_data_set_of_pickles_alone_is_refused(tmp_path: Path, canary: Path) -> None:
    lay(tmp_path / "data", canary)
    with pytest.raises(UsageError, match=r"has no train file: expected one of train\.parquet"):
        locate_data(str(tmp_path / "data"), Task(train_examples=4, test_examples=4, max_length=8))
    assert not canary.exists()


@pytest.mark.parametrize("name", PICKLES)
def test_a_model_of_pickled_weights_alone_is_refused(
    bare_model: Path, canary: Path, name: str
) -> None:
    (bare_model / "model.safetensors").rename(bare_model / "elsewhere")
    (bare_model / name).write_bytes(pickle.dumps(Payload(canary)))
    with pytest.raises(UsageError, match=r"has no model\.safetensors"):
        locate_backbone(str(bare_model), Weights.PRETRAINED)
    # Under the name of weights that are safe, it is no such file.
    (bare_model / name).rename(bare_model / "model.safetensors")
    with pytest.raises(UsageError, match="is no whole safetensors file"):
        locate_backbone(str(bare_model), Weights.PRETRAINED)
    assert not canary.exists()


def test_a_store_beside_pickles_loads_none(tmp_path: Path, canary: Path) -> None:
    lay(tmp_path, canary)
    with Store(tmp_path) as store:
        store.commit(build())
        assert store.records() == [build()]
    # Nor if the store itself is one.
    (tmp_path / STORE_FILE).write_bytes(pickle.dumps(Payload(canary)))
    for made in (lambda: Store(tmp_path).records(), lambda: Store(tmp_path, create=False)):
        with pytest.raises(Exception, match="not a database"):
            made()
    assert not canary.exists()


@pytest.mark.parametrize("left", [0, 4, 8, 40, -1])
def test_a_truncated_safetensors_file_is_refused(bare_model: Path, left: int) -> None:
    file = bare_model / "model.safetensors"
    file.write_bytes(file.read_bytes()[:left])
    with pytest.raises(UsageError, match="is no whole safetensors file"):
        locate_backbone(str(bare_model), Weights.PRETRAINED)


def test_a_header_of_a_length_that_no_memory_holds_is_refused(bare_model: Path) -> None:
    file = bare_model / "model.safetensors"
    file.write_bytes(struct.pack("<Q", 2**62) + file.read_bytes()[8:])
    with pytest.raises(UsageError, match="the header is longer than the file"):
        locate_backbone(str(bare_model), Weights.PRETRAINED)


def test_torch_is_recent_enough_for_its_own_loaders() -> None:
    """CVE-2025-32434 and CVE-2026-24747 are mended from 2.10 on."""
    project = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]
    (declared,) = [d for d in project["dependencies"] if d.startswith("torch")]
    lines = (ROOT / "constraints.txt").read_text(encoding="utf-8").splitlines()
    (pinned,) = [line for line in lines if line.startswith("torch==")]
    for version in (declared.removeprefix("torch>="), pinned.removeprefix("torch==")):
        assert tuple(int(part) for part in version.split(".")[:2]) >= (2, 10)

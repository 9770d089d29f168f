"""Tiny models, small data sets and trials that all tests share."""

from __future__ import annotations

import csv
import dataclasses
import functools
import gc
import json
import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from safetensors.numpy import save_file

from peftcore.conformance.tiny import review_rows, write_tiny_model
from peftcore.data.examples import Sample, draw
from peftcore.data.sources import locate_data, read_data
from peftcore.methods import Group, find_method, find_methods
from peftcore.models.backbones import locate_backbone
from peftcore.scenarios import Precision, Recipe, Task
from peftcore.trials import Engine, Trial, Weights


def pytest_configure(config: pytest.Config) -> None:
    """Show GPUs to the tests of them alone: ``pytest -m gpu``. Others expect a processor's figures.

    It is done before torch looks, and for the processes that tests start, too.
    """
    if config.option.markexpr != "gpu":
        os.environ["CUDA_VISIBLE_DEVICES"] = ""


@pytest.fixture(autouse=True)
def _sessions_within_have_no_workers(monkeypatch: pytest.MonkeyPatch) -> None:
    """Let a session that a test starts think it is the outermost, whatever runs the tests."""
    for name in ("WORKER", "WORKER_COUNT", "TESTRUNUID"):
        monkeypatch.delenv(f"PYTEST_XDIST_{name}", raising=False)


STUDIED = find_methods(Group.STUDY)
"""The source study's methods and the reference rows: what a test takes that says nothing of others;
every method is tried in tests/training/test_methods.py and in benchmarks/test_conformance.py."""

BARE_CONFIG = {"model_type": "bert", "hidden_size": 8, "vocab_size": 4}


def write_bare_model(folder: Path, **config: Any) -> Path:
    """Write what makes a folder look like a backbone, without torch; it can't be loaded."""
    folder.mkdir(parents=True, exist_ok=True)
    content = json.dumps({**BARE_CONFIG, **config})
    (folder / "config.json").write_text(content, encoding="utf-8")
    (folder / "tokenizer.json").write_text('{"version": "1.0"}', encoding="utf-8")
    save_file({"embeddings": np.ones((4, 8), np.float32)}, folder / "model.safetensors")
    return folder


@pytest.fixture
def bare_model(tmp_path: Path) -> Path:
    """A folder that is located and verified as a backbone, at no cost."""
    return write_bare_model(tmp_path / "bare-model")


@pytest.fixture(scope="session")
def tiny_bert(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with a random two-layer BERT."""
    return write_tiny_model(tmp_path_factory.mktemp("tiny-bert"))


@pytest.fixture(scope="session")
def tiny_roberta(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with a random two-layer RoBERTa."""
    return write_tiny_model(tmp_path_factory.mktemp("tiny-roberta"), "roberta")


@pytest.fixture(scope="session")
def tiny_models(tmp_path_factory: pytest.TempPathFactory) -> Callable[[str], Path]:
    """Return a function that gives a folder with a random two-layer model of a model type."""

    @functools.cache
    def tiny(kind: str) -> Path:
        return write_tiny_model(tmp_path_factory.mktemp(f"tiny-{kind}"), kind)

    return tiny


def write_csv(path: Path, rows: list[tuple[Any, Any]], header: tuple[str, str]) -> None:
    """Write rows of two columns as CSV."""
    with path.open("w", newline="", encoding="utf-8") as stream:
        writer = csv.writer(stream)
        writer.writerow(header)
        writer.writerows(rows)


@pytest.fixture(scope="session")
def tiny_data(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with train.csv (200 rows) and test.csv (60 rows)."""
    folder = tmp_path_factory.mktemp("tiny-data")
    write_csv(folder / "train.csv", review_rows(200, seed=1), ("text", "label"))
    write_csv(folder / "test.csv", review_rows(60, seed=2), ("text", "label"))
    return folder


MakeTrial = Callable[..., Trial]


@pytest.fixture(scope="session")
def libraries_at_rest() -> None:
    """Take what libraries hold out of the garbage collector's lists.

    A trial looks through them for tensors, and in a process of tests half a million objects are
    there from importing alone.
    """
    import peftcore.training.trial  # noqa: F401

    gc.collect()
    gc.freeze()


@pytest.fixture
def make_trial(tiny_bert: Path, tiny_data: Path, libraries_at_rest: None) -> MakeTrial:
    """Return a function that makes a trial of a method on the tiny model and data."""

    def make(
        method: str = "lora",
        *,
        seed: int = 42,
        model: Path = tiny_bert,
        data: Path = tiny_data,
        engine: Engine = Engine.PEFTCORE,
        weights: Weights = Weights.PRETRAINED,
        train_examples: int = 48,
        test_examples: int = 24,
        **recipe: Any,
    ) -> Trial:
        task = Task(train_examples=train_examples, test_examples=test_examples, max_length=32)
        declared = Recipe(epochs=1, learning_rate=1e-3, precision=Precision.FP32)
        return Trial(
            method=find_method(method),
            scenario="embedded",
            seed=seed,
            backbone=locate_backbone(str(model), weights),
            data=locate_data(str(data), task),
            weights=weights,
            task=task,
            recipe=dataclasses.replace(declared, **recipe),
            engine=engine,
            overrides=("test",),
        )

    return make


def sample_of(trial: Trial) -> Sample:
    """Return the examples that a trial's seed draws."""
    return draw(read_data(trial.data, trial.task), trial.task, trial.seed)


@pytest.fixture(scope="session")
def imdb() -> Path:
    """The folder of the real IMDb reviews; the test is skipped where they are not at hand."""
    beside = Path(__file__).resolve().parents[2] / "shared" / "imdb"
    folder = Path(os.environ.get("PEFTCORE_IMDB", beside))
    if not (folder / "train.parquet").is_file():
        pytest.skip("needs the real IMDb reviews: name their folder in PEFTCORE_IMDB")
    return folder

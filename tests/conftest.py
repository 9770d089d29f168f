"""Tiny models, small data sets and trials that all tests share."""

from __future__ import annotations

import csv
import dataclasses
import functools
import json
import os
import random
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from safetensors.numpy import save_file

from peftcore.data.examples import Sample, draw
from peftcore.data.sources import locate_data, read_data
from peftcore.methods import find_method
from peftcore.models.backbones import locate_backbone
from peftcore.scenarios import Precision, Recipe, Task
from peftcore.trials import Engine, Trial, Weights


@pytest.fixture(autouse=True)
def _sessions_within_have_no_workers(monkeypatch: pytest.MonkeyPatch) -> None:
    """Let a session that a test starts think it is the outermost, whatever runs the tests."""
    for name in ("WORKER", "WORKER_COUNT", "TESTRUNUID"):
        monkeypatch.delenv(f"PYTEST_XDIST_{name}", raising=False)


WORDS = (
    *("the", "a", "film", "plot", "was", "is", "not", "very", "quite", "and", "but"),
    *("good", "great", "fine", "dull", "poor", "bad"),
)


def write_tokenizer(folder: Path) -> int:
    """Write a word-level BERT tokenizer over WORDS, and return the size of its vocabulary."""
    from transformers import BertTokenizerFast

    vocabulary = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]", *WORDS]
    (folder / "vocab.txt").write_text("\n".join(vocabulary), encoding="utf-8")
    BertTokenizerFast(vocab=str(folder / "vocab.txt")).save_pretrained(folder)
    return len(vocabulary)


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


TINY_CONFIGS: dict[str, dict[str, Any]] = {
    "bert": {},
    "roberta": {},
    "distilbert": {"hidden_dim": 128},
    # As DeBERTa-v3 is published: distances in buckets, and no positions otherwise.
    "deberta-v2": {
        "type_vocab_size": 0,
        "relative_attention": True,
        "position_buckets": 8,
        "max_relative_positions": -1,
        "norm_rel_ebd": "layer_norm",
        "share_att_key": True,
        "pos_att_type": ["p2c", "c2p"],
        "position_biased_input": False,
    },
    # One layer sees all, the other a window that is shorter than most texts; the head reads the
    # mean of a text's tokens, as published.
    "modernbert": {
        "local_attention": 8,
        "global_attn_every_n_layers": 2,
        "attention_dropout": 0.1,
        "classifier_pooling": "mean",
    },
    # As published: without a padding id, fewer keys than queries.
    "llama": {"num_key_value_heads": 2, "pad_token_id": None, "eos_token_id": 3},
}
"""What each supported model type's tiny model has of its own."""


def write_tiny_model(folder: Path, kind: str = "bert") -> Path:
    """Write a random two-layer classifier of this model type, with its tokenizer."""
    import torch
    from transformers import AutoConfig, AutoModelForSequenceClassification

    folder.mkdir(parents=True, exist_ok=True)
    vocabulary = write_tokenizer(folder)
    shared = {
        "vocab_size": vocabulary,
        "hidden_size": 64,
        "num_hidden_layers": 2,
        "num_attention_heads": 4,
        "max_position_embeddings": 66,
        "pad_token_id": 0,
        **({} if kind == "distilbert" else {"intermediate_size": 128}),
    }
    config = AutoConfig.for_model(kind, **{**shared, **TINY_CONFIGS[kind]})
    torch.manual_seed(0)
    AutoModelForSequenceClassification.from_config(config).save_pretrained(folder)
    return folder


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


def review_rows(count: int, seed: int) -> list[tuple[str, int]]:
    """Return texts over WORDS with labels that the words decide: good ones or bad ones."""
    generator = random.Random(seed)
    rows = []
    for index in range(count):
        label = index % 2
        opinion = generator.choice(["good", "great", "fine"] if label else ["dull", "poor", "bad"])
        filler = generator.choices(WORDS[:6], k=generator.randint(3, 12))
        rows.append((" ".join([*filler, opinion]), label))
    generator.shuffle(rows)
    return rows


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


@pytest.fixture
def make_trial(tiny_bert: Path, tiny_data: Path) -> MakeTrial:
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

"""Records that look like real ones, made without training anything."""

from __future__ import annotations

import random
from collections.abc import Callable
from typing import Any

import pytest

from peftcore.results.records import Measurement, Outcome, Record

MakeRecord = Callable[..., Record]

# What the source study measured, with the figures that it left out filled in.
STUDY: dict[str, dict[str, Any]] = {
    "full": {
        "accuracy": 0.9140,
        "trainable_parameters": 124_647_170,
        "total_parameters": 124_647_170,
        "head_parameters": 592_130,
        "adapter_parameters": 0,
        "adapter_file_bytes": 498_612_824,
        "train_seconds": 614.14,
        "step_seconds": 0.540,
        "peak_bytes": 2_639_000_000,
    },
    "lora": {
        "accuracy": 0.9115,
        "trainable_parameters": 1_181_954,
        "total_parameters": 125_829_124,
        "head_parameters": 592_130,
        "adapter_parameters": 589_824,
        "adapter_file_bytes": 4_730_632,
        "train_seconds": 459.04,
        "step_seconds": 0.404,
        "peak_bytes": 1_482_000_000,
    },
    "qlora": {
        "accuracy": 0.9045,
        "trainable_parameters": 1_034_498,
        "total_parameters": 125_681_668,
        "head_parameters": 592_130,
        "adapter_parameters": 442_368,
        "adapter_file_bytes": 4_140_808,
        "train_seconds": 670.51,
        "step_seconds": 0.590,
        "peak_bytes": 1_356_000_000,
    },
    "ia3": {
        "accuracy": 0.8495,
        "trainable_parameters": 656_642,
        "total_parameters": 125_303_812,
        "head_parameters": 592_130,
        "adapter_parameters": 64_512,
        "adapter_file_bytes": 2_632_040,
        "train_seconds": 474.44,
        "step_seconds": 0.418,
        "peak_bytes": 2_854_000_000,
    },
    "bow": {
        "accuracy": 0.8700,
        "train_seconds": 1.9,
        "peak_bytes": 310_000_000,
    },
    "head": {
        "accuracy": 0.8120,
        "trainable_parameters": 592_130,
        "total_parameters": 124_647_170,
        "head_parameters": 592_130,
        "adapter_parameters": 0,
        "adapter_file_bytes": 2_369_136,
        "train_seconds": 171.3,
        "step_seconds": 0.148,
        "peak_bytes": 702_000_000,
    },
}

RATES = {"embedded": {"full": 1e-4, "lora": 2e-3, "qlora": 2e-3, "ia3": 2e-2, "head": 3e-2}}

ENVIRONMENT: dict[str, Any] = {
    "hardware": {
        "cpu": "AMD EPYC 7763",
        "cores": 8,
        "memory_bytes": 33_600_000_000,
        "gpu": "NVIDIA GeForce RTX 3050",
        "gpu_memory_bytes": 4_294_967_296,
        "driver": "545.23",
        "cuda": "12.3",
    },
    "packages": {"peft": "0.21.2", "torch": "2.13.0", "transformers": "5.23.0"},
    "python": "3.11.7",
    "platform": "Linux-6.1-x86_64",
    "threads": 8,
    "git_commit": "0123456789abcdef0123456789abcdef01234567",
    "git_dirty": False,
    "sources_sha256": "ab" * 32,
}


def answers(accuracy: float, examples: int, draw: int) -> tuple[tuple[int, ...], tuple[int, ...]]:
    """Return predictions of exactly this accuracy and the labels they are about.

    Some examples are harder than others for every method, so that errors overlap as real ones do.
    """
    shared = random.Random(0)
    own = random.Random(draw)
    difficulty = [shared.gauss(0, 1) + 0.45 * own.gauss(0, 1) for _ in range(examples)]
    hardest = sorted(range(examples), key=lambda n: -difficulty[n])
    wrong = set(hardest[: examples - round(accuracy * examples)])
    labels = tuple(n % 2 for n in range(examples))
    return tuple(1 - label if n in wrong else label for n, label in enumerate(labels)), labels


FLOPS = {"full": 1.25e15, "ia3": 8.5e14, "head": 4.1e14}


def speed(method: str, seconds: float | None) -> dict[str, Any]:
    """Return what a record tells of the use of the machine."""
    flops = FLOPS.get(method, 8.6e14)
    per_second = flops / seconds if seconds else None
    return {
        "train_tokens": 1_985_214,
        "tokens_per_second": 1_985_214 / seconds if seconds else None,
        "model_flops": int(flops),
        "model_flops_per_second": per_second,
        "matmul_flops_per_second": 6.4e12,
        "utilisation": per_second / 6.4e12 if per_second else None,
    }


def build(
    method: str,
    *,
    seed: int = 42,
    scenario: str = "imdb-roberta",
    outcome: str = "ok",
    error: str | None = None,
    weights: str = "pretrained",
    examples: int = 2000,
    gpu: bool = True,
    notes: tuple[str | None, str | None] = (None, None),
    overrides: tuple[str, ...] = (),
    environment: dict[str, Any] | None = None,
    predictions: tuple[int, ...] | None = None,
    labels: tuple[int, ...] | None = None,
    keep_predictions: bool = True,
    like: str | None = None,
    **changes: Any,
) -> Record:
    """Return one record; ``changes`` replace fields of its measurement."""
    own = {**STUDY[like or (method if method in STUDY else "lora")], **changes}
    if predictions is not None and labels is not None:
        right = sum(a == b for a, b in zip(predictions, labels, strict=True))
        own["accuracy"] = right / len(labels)
        examples = len(labels)
    elif own["accuracy"] is not None:
        own["accuracy"] = round(own["accuracy"] * examples) / examples
        draw = random.Random(f"{method} {seed}").randrange(10**6)
        predictions, labels = answers(own["accuracy"], examples, draw)
    bag_of_words = method == "bow"
    steps = [] if bag_of_words else list(range(1, 226))
    noise = random.Random(f"{method} {seed} loss")
    floor = 1.25 * (1 - (own["accuracy"] or 0.5))
    measured = {
        "losses": [
            [step, round(floor + (0.7 - floor) * 0.985**step + abs(noise.gauss(0, 0.05)), 4)]
            for step in steps
        ],
        "epoch_accuracies": []
        if bag_of_words or own["accuracy"] is None
        else [[n, round(own["accuracy"] - lag, 4)] for n, lag in ((1, 0.02), (2, 0.006), (3, 0.0))],
        "train_cpu_seconds": round(1.02 * own["train_seconds"], 2)
        if own["train_seconds"]
        else None,
        "eval_seconds": 0.1 if bag_of_words else 18.4,
        "evaluated_examples": examples,
        "majority_share": 0.5,
        **({} if bag_of_words else speed(method, own["train_seconds"])),
        "checks": []
        if bag_of_words
        else [
            {"name": "parameters", "detail": "592,130 in the head"},
            {"name": "saved file gives the same logits", "detail": "largest difference 0"},
        ],
        "peak_reserved_bytes": own["peak_bytes"] + 150_000_000
        if gpu and not bag_of_words and own["peak_bytes"]
        else None,
        "peak_file_bytes": 135_000_000 if not gpu and own["peak_bytes"] else None,
        "peak_process_bytes": own["peak_bytes"] + 600_000_000
        if gpu and not bag_of_words and own["peak_bytes"]
        else None,
    }
    machine = dict(ENVIRONMENT if environment is None else environment)
    if not gpu and environment is None:
        nothing = {"gpu": None, "gpu_memory_bytes": None, "driver": None, "cuda": None}
        machine["hardware"] = {**machine["hardware"], **nothing}
    ok = outcome == "ok"
    return Record(
        trial={
            "id": f"{method}-{scenario}-s{seed}-0123456789ab",
            "method": method,
            "scenario": scenario,
            "seed": seed,
            "setting_id": "fedcba987654",
            "hyperparameters": {
                "trains": "adapter and head",
                "r": 16,
                "targets": ["query", "value"],
            }
            if method == "lora"
            else {"trains": "everything"},
            "backbone": {
                "name": "roberta-base",
                "identity": "sha256:" + "1" * 64,
                "revision": "FacebookAI/roberta-base@e2da8e2f811d1448a5b465c236feacd80ffbac7b",
                "note": notes[0],
            },
            "data": {
                "name": "imdb",
                "identity": "sha256:" + "2" * 64,
                "revision": "stanfordnlp/imdb@e6281661ce1c48d982bc483cf8a173c1bbeb5d31",
                "note": notes[1],
            },
            "weights": weights,
            "task": {
                "train_examples": 3000,
                "test_examples": examples,
                "max_length": 256,
                "labels": 2,
                "split": "test",
                "text_column": "text",
                "label_column": "label",
            },
            "recipe": {
                "epochs": 3,
                "batch_size": 8,
                "learning_rate": RATES.get(scenario, {}).get(method, 2e-5),
                "precision": "fp16",
                "weight_decay": 0.0,
                "max_gradient_norm": 1.0,
                "dropout": None,
                "eval_batch_size": 32,
            },
            "engine": "peftcore",
            "overrides": list(overrides),
        },
        outcome=Outcome(outcome),
        error=error,
        measurement=Measurement(**{**measured, **own}) if ok else None,
        environment=machine,
        predictions=predictions if ok and keep_predictions else None,
        labels=labels if ok and keep_predictions else None,
        created="2026-01-02T03:04:05+00:00",
    )


@pytest.fixture
def record() -> MakeRecord:
    """Return the function that makes one record."""
    return build


@pytest.fixture
def study() -> list[Record]:
    """Return one record of each of the study's methods and of the reference rows, one seed."""
    return [build(method) for method in STUDY]


@pytest.fixture
def over_seeds() -> list[Record]:
    """Return the study's methods and the reference rows with three seeds, a little apart."""
    records = []
    for method, known in STUDY.items():
        for seed in (42, 43, 44):
            draw = random.Random(f"{method} {seed} spread")
            accuracy = known["accuracy"] + draw.gauss(0, 0.004)
            seconds = known["train_seconds"] * (1 + draw.gauss(0, 0.02))
            records.append(build(method, seed=seed, accuracy=accuracy, train_seconds=seconds))
    return records

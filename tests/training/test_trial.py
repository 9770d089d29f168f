"""A whole trial in this process: what it measures and what it refuses to count."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file

from peftcore.conformance.tiny import review_rows
from peftcore.data.examples import Examples
from peftcore.errors import CheckFailed, LossNotFinite
from peftcore.measuring.weights import BEGUN, TRAINED, Keep
from peftcore.methods import Method
from peftcore.models import attach as attaching
from peftcore.models.attach import Classifier
from peftcore.results.records import Measurement
from peftcore.scenarios import Evaluation
from peftcore.training import loop
from peftcore.training import trial as trials
from peftcore.training.accelerating import Accelerated
from peftcore.training.bag_of_words import fit_bag_of_words
from peftcore.training.ending import TrialResult
from peftcore.training.trial import run_trial
from peftcore.trials import Engine, Trial, Weights
from tests.conftest import STUDIED, MakeTrial, sample_of

CANDIDATES = [method for method in STUDIED if not method.reference]


def run(trial: Trial) -> TrialResult:
    return run_trial(trial, sample_of(trial), lambda _: None)


@pytest.mark.parametrize("engine", Engine)
@pytest.mark.parametrize("method", CANDIDATES, ids=lambda method: method.slug)
def test_trained_weights_are_kept_as_they_were_before_and_after(
    make_trial: MakeTrial, method: Method, engine: Engine, tmp_path: Path
) -> None:
    trial = make_trial(method.slug, engine=engine)
    measured = run_trial(
        trial, sample_of(trial), lambda _: None, keep=Keep(weights=tmp_path)
    ).measurement
    before, after = (load_file(tmp_path / name) for name in (BEGUN, TRAINED))
    assert sum(tensor.numel() for tensor in after.values()) == measured["trainable_parameters"]
    assert before.keys() == after.keys()
    assert all(tensor.dtype is torch.float32 for tensor in after.values())
    moved = [name for name in after if not torch.equal(before[name], after[name])]
    assert len(moved) > len(after) / 2


@pytest.mark.parametrize("method", STUDIED, ids=lambda method: method.slug)
def test_every_method_leaves_a_whole_measurement(make_trial: MakeTrial, method: Method) -> None:
    result = run(make_trial(method.slug, epochs=2))
    measured = Measurement.from_json(result.measurement)
    right = [a == b for a, b in zip(result.predictions, result.labels, strict=True)]
    assert measured.accuracy == sum(right) / 24
    assert measured.evaluated_examples == 24
    assert measured.majority_share == max(map(result.labels.count, (0, 1))) / 24
    assert measured.train_seconds is not None
    assert 0 < measured.train_seconds < 60
    assert measured.train_cpu_seconds is not None
    assert measured.train_cpu_seconds > 0
    assert measured.trainable_parameters is not None
    assert measured.total_parameters is not None
    assert 0 < measured.trainable_parameters <= measured.total_parameters
    if method.slug == "bow":
        assert measured.losses == []
        assert measured.step_seconds is None
        assert measured.model_flops is None
        assert measured.utilisation is None
        return
    assert [step for step, _ in measured.losses] == list(range(1, 13))
    assert [epoch for epoch, _ in measured.epoch_accuracies] == [1, 2]
    assert measured.epoch_accuracies[-1][1] == measured.accuracy
    assert measured.head_parameters == 2 * 64 + 2
    assert (measured.adapter_parameters or 0) == (
        0
        if method.adapter is None
        else measured.trainable_parameters - (measured.head_parameters or 0)
    )
    assert (measured.adapter_file_bytes or 0) >= 4 * measured.trainable_parameters
    names = [check["name"] for check in measured.checks]
    moved = ["frozen weights", "trained weights"]
    assert names == ["targets", "head", "dropout", *moved, "pass", "reload"]
    before = ["load", "attach", "check", "compile", "warm up", "train", "evaluate"]
    assert list(measured.phases) == [*before, "count", "matmul rate", "save", "reload"]
    assert measured.phases["train"].seconds == measured.train_seconds
    # At least what is trained and AdamW's two moments of it, in 32 bits.
    assert measured.tensor_bytes is not None
    assert measured.tensor_bytes > 12 * measured.trainable_parameters
    assert measured.operations is not None
    assert measured.operations > 100
    assert len(measured.weights_sha256 or "") == 64


@pytest.mark.parametrize(
    ("device", "named", "driver", "said"),
    [
        ("cpu", None, None, None),
        ("cpu", None, object(), None),
        ("cuda", "H100", object(), None),
        ("cuda", None, object(), "NVIDIA's driver does not name: give CUDA_VISIBLE_DEVICES its"),
        ("cuda", None, None, r"\(libnvidia-ml\) is missing, .*CAPABILITIES=compute,utility; or"),
        ("cpu", "H100", object(), "torch can't use H100: install a torch for its CUDA"),
    ],
)
def test_what_trains_is_what_the_record_names(
    monkeypatch: pytest.MonkeyPatch,
    device: str,
    named: str | None,
    driver: object | None,
    said: str | None,
) -> None:
    monkeypatch.setattr(trials, "gpu", lambda: {"gpu": named})
    monkeypatch.setattr(trials, "find_driver", lambda: driver)
    if said is None:
        trials.require_known(torch.device(device))
        return
    with pytest.raises(CheckFailed, match=said):
        trials.require_known(torch.device(device))


@pytest.mark.parametrize("engine", Engine)
def test_evaluated_at_the_end_alone_it_is_the_same_model(
    make_trial: MakeTrial, engine: Engine
) -> None:
    dropout = None if engine is Engine.PEFTCORE else 0.0
    each, end = (
        run(make_trial("lora", epochs=3, engine=engine, dropout=dropout, evaluation=evaluation))
        for evaluation in Evaluation
    )
    assert end.predictions == each.predictions
    curve = each.measurement["epoch_accuracies"]
    assert [epoch for epoch, _ in curve] == [1, 2, 3]
    assert end.measurement["epoch_accuracies"] == curve[-1:]
    for name in ("weights_sha256", "losses", "accuracy"):
        assert end.measurement[name] == each.measurement[name]
    told = Measurement.from_json(end.measurement)
    assert told.train_loss == Measurement.from_json(each.measurement).train_loss
    assert told.eval_seconds == told.phases["evaluate"].seconds


def tiny_lora_flops(lengths: list[int]) -> int:
    """An epoch of LoRA on the tiny BERT, written out: two layers of width 64, rank 16."""
    per_token = per_pair = 0
    for below in (0, 1):  # Below the first layer nothing is trained.
        square = 64 * 64
        per_token += 2 * square * (3 * (1 + below) + 2)  # query, key, value; attention's output
        per_token += 2 * 2 * 64 * 128 * 2  # both of the feed-forward network
        thin = 64 * 16
        per_token += 2 * 2 * thin * (2 + below) + 2 * 2 * thin * 3  # of query and value, A and B
        per_pair += 2 * 64 * (2 + below) + 2 * 64 * 3  # scores; context
    pooler_and_head = 2 * 64 * 64 * 2 + 2 * 64 * 2 * 3
    squares = sum(length * length for length in lengths)
    return per_token * sum(lengths) + per_pair * squares + pooler_and_head * len(lengths)


@pytest.mark.parametrize(
    ("slug", "dropout", "own"),
    [
        ("lora", None, "; of the adapter's own lora_dropout=0.1"),
        ("lora", 0.2, "; of the adapter's own lora_dropout=0.2"),
        ("loha", None, ""),
        ("loha", 0.2, "; of the adapter's own rank_dropout=0.2"),
        ("ia3", 0.2, ""),
    ],
)
def test_a_record_says_what_the_adapter_dropped_of_its_own(
    make_trial: MakeTrial, slug: str, dropout: float | None, own: str
) -> None:
    checks = run(make_trial(slug, dropout=dropout)).measurement["checks"]
    (found,) = (check["detail"] for check in checks if check["name"] == "dropout")
    assert found == "drew random numbers in training" + own


@pytest.mark.parametrize("engine", list(Engine))
def test_either_engine_tells_how_well_it_used_the_machine(
    make_trial: MakeTrial, engine: Engine, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What is needed is the same for both, and is told of the real tokens alone."""
    asked: list[tuple[Any, ...]] = []

    def rate(rows: int, width: int, *, dtype: torch.dtype, **_: Any) -> float:
        asked.append((rows, width, dtype))
        return 5e9

    monkeypatch.setattr(trials, "matmul_rate", rate)
    trial = make_trial("lora", epochs=2, engine=engine, train_examples=20)
    told = Measurement.from_json(run(trial).measurement)
    words = [len(text.split()) + 2 for text in sample_of(trial).train.texts]
    assert told.train_tokens == 2 * sum(words)
    assert asked == [(round(8 * sum(words) / 20), 64, torch.float32)]
    assert told.model_flops == 2 * tiny_lora_flops(words)
    assert told.train_seconds is not None
    assert told.tokens_per_second == told.train_tokens / told.train_seconds
    assert told.model_flops_per_second == told.model_flops / told.train_seconds
    assert told.matmul_flops_per_second == 5e9
    assert told.utilisation == told.model_flops_per_second / 5e9


def test_the_tiny_task_is_learned(make_trial: MakeTrial) -> None:
    """Well above chance: the loop trains, and evaluation sees the trained weights."""
    trial = make_trial("full", epochs=6, train_examples=192, learning_rate=1e-3)
    assert run(trial).measurement["accuracy"] >= 0.9


def test_the_same_trial_gives_the_same_numbers_and_another_seed_does_not(
    make_trial: MakeTrial,
) -> None:
    first, again, other = (run(make_trial("lora", seed=seed)) for seed in (1, 1, 2))
    assert first.measurement["losses"] == again.measurement["losses"]
    assert first.predictions == again.predictions
    assert first.measurement["losses"] != other.measurement["losses"]


def test_warming_up_changes_nothing(make_trial: MakeTrial, monkeypatch: pytest.MonkeyPatch) -> None:
    warm = run(make_trial("lora")).measurement["losses"]
    monkeypatch.setattr(trials, "warm_up", lambda *_: None)
    assert run(make_trial("lora")).measurement["losses"] == warm


@pytest.mark.parametrize("slug", ["full", "qlora"])
def test_dropout_left_off_in_training_is_found(
    make_trial: MakeTrial, monkeypatch: pytest.MonkeyPatch, slug: str
) -> None:
    train = torch.nn.Module.train
    monkeypatch.setattr(torch.nn.Module, "train", lambda self, *_: train(self, False))
    with pytest.raises(CheckFailed, match=r"dropout: .* drew no random number"):
        run(make_trial(slug))


def test_a_trial_without_dropout_needs_no_random_number(make_trial: MakeTrial) -> None:
    checks = run(make_trial("lora", dropout=0.0)).measurement["checks"]
    assert {"name": "dropout", "detail": "none, as declared"} in checks


@pytest.mark.parametrize("engine", list(Engine))
def test_a_loss_gone_wrong_ends_the_trial(make_trial: MakeTrial, engine: Engine) -> None:
    """Trainer alone would log 0.0 and succeed."""
    with pytest.raises(LossNotFinite):
        run(make_trial("full", engine=engine, learning_rate=1e30, epochs=3))


def test_random_weights_need_no_weights_file(make_trial: MakeTrial, tiny_bert: Any) -> None:
    first, again = (run(make_trial("qlora", weights=Weights.RANDOM)) for _ in range(2))
    assert first.measurement["losses"] == again.measurement["losses"]
    pretrained = run(make_trial("qlora"))
    assert pretrained.measurement["losses"] != first.measurement["losses"]


def test_a_method_that_trains_nothing_fails_its_check(
    make_trial: MakeTrial, monkeypatch: pytest.MonkeyPatch
) -> None:
    attach = attaching.attach

    def attach_and_freeze(*arguments: Any, **options: Any) -> attaching.Classifier:
        classifier = attach(*arguments, **options)
        for name, parameter in classifier.parameters().items():
            if "lora_" in name:
                parameter.requires_grad_(False)
        return classifier

    monkeypatch.setattr(trials, "attach", attach_and_freeze)
    assert run(make_trial("full")).measurement["checks"]
    with pytest.raises(CheckFailed, match="4 adapters are frozen"):
        run(make_trial("lora"))


def test_a_backbone_that_is_trained_by_mistake_fails_its_check(
    make_trial: MakeTrial, monkeypatch: pytest.MonkeyPatch
) -> None:
    train = loop.train

    def train_and_disturb(classifier: Accelerated, *arguments: Any, **options: Any) -> Any:
        log = train(classifier, *arguments, **options)
        with torch.no_grad():
            next(p for p in classifier.model.parameters() if not p.requires_grad).add_(1e-6)
        return log

    monkeypatch.setattr(loop, "train", train_and_disturb)
    with pytest.raises(CheckFailed, match="frozen weights: 1 changed"):
        run(make_trial("lora"))


def test_an_accelerated_pass_that_differs_from_the_models_fails_its_check(
    make_trial: MakeTrial, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(Classifier, "first_position", lambda _: 5)
    with pytest.raises(CheckFailed, match="pass: accelerated logits differ"):
        run(make_trial("full", epochs=6, train_examples=192, learning_rate=1e-3))


def test_progress_names_every_phase_in_order(make_trial: MakeTrial) -> None:
    trial = make_trial("lora", epochs=2)
    phases: list[str] = []

    def observe(event: dict[str, Any]) -> None:
        if not phases or phases[-1] != event["phase"]:
            phases.append(event["phase"])

    run_trial(trial, sample_of(trial), observe)
    epochs = ["train", "evaluate"] * 2
    assert phases == ["load", "attach", "warm up", *epochs, "save"]


def test_the_bag_of_words_learns_words_and_knows_no_others() -> None:
    rows = review_rows(80, seed=5)
    examples = Examples([text for text, _ in rows], [label for _, label in rows])
    fitted = fit_bag_of_words(examples, seed=0)
    assert fitted.predict(Examples(["a film great", "the plot dull"], [1, 0])) == [1, 0]
    vocabulary = len(fitted.pipeline[0].vocabulary_)
    assert fitted.parameters() == vocabulary + 1

from __future__ import annotations

import json
from dataclasses import fields, replace
from typing import Any

import pytest

from peftcore.methods import Adapter, Quantisation, find_method
from peftcore.scenarios import Evaluation, Precision, Recipe, Split, Task
from peftcore.trials import Engine, Part, Source, Trial, Weights, fingerprint

BASE = Trial(
    method=find_method("lora"),
    scenario="imdb-minilm",
    seed=42,
    backbone=Source(name="minilm", identity="sha256:aa", path="/one/model"),
    data=Source(name="imdb", identity="sha256:bb", path="/one/data"),
    weights=Weights.PRETRAINED,
    task=Task(),
    recipe=Recipe(),
    engine=Engine.PEFTCORE,
)


def with_adapter(**options: Any) -> Trial:
    method = BASE.method
    assert method.adapter is not None
    adapter = replace(method.adapter, options={**method.adapter.options, **options})
    return replace(BASE, method=replace(method, adapter=adapter))


def with_targets(*targets: str) -> Trial:
    method = BASE.method
    assert method.adapter is not None
    return replace(BASE, method=replace(method, adapter=replace(method.adapter, targets=targets)))


OTHER_TASK: dict[str, Any] = {
    "train_examples": 2999,
    "test_examples": 1999,
    "max_length": 255,
    "labels": 3,
    "split": Split.TUNING,
    "text_column": "review",
    "label_column": "stars",
    "pair_column": "answer",
    "classes": ("bad", "fair", "good"),
    "repeats": 2,
}
OTHER_RECIPE: dict[str, Any] = {
    "epochs": 4,
    "batch_size": 9,
    "learning_rate": 2.1e-5,
    "precision": Precision.FP32,
    "weight_decay": 0.01,
    "max_gradient_norm": 0.9,
    "dropout": 0.0,
    "eval_batch_size": 33,
    "accelerations": ("fused-update",),
    "evaluation": Evaluation.END,
}
OTHERS: dict[str, Trial] = {
    "method": replace(BASE, method=find_method("ia3")),
    "an option of the method": with_adapter(r=17),
    "a new option of the method": with_adapter(use_rslora=True),
    "targets": with_targets("query", "key"),
    "quantisation": replace(BASE, method=replace(BASE.method, quantisation=Quantisation())),
    "kind of adapter": replace(
        BASE,
        method=replace(
            BASE.method, adapter=Adapter(config="AdaLoraConfig", targets=("query", "value"))
        ),
    ),
    "scenario": replace(BASE, scenario="imdb-roberta"),
    "seed": replace(BASE, seed=43),
    "backbone": replace(BASE, backbone=replace(BASE.backbone, identity="sha256:ab")),
    "data": replace(BASE, data=replace(BASE.data, identity="sha256:bc")),
    "backbone and data swapped": replace(
        BASE,
        backbone=replace(BASE.backbone, identity=BASE.data.identity),
        data=replace(BASE.data, identity=BASE.backbone.identity),
    ),
    "weights": replace(BASE, weights=Weights.RANDOM),
    "engine": replace(BASE, engine=Engine.TRAINER),
    "part": replace(BASE, part=Part.PAIRS),
    "another part": replace(BASE, part=Part.EQUALITY),
    **{
        f"task.{name}": replace(BASE, task=replace(BASE.task, **{name: value}))
        for name, value in OTHER_TASK.items()
    },
    **{
        f"recipe.{name}": replace(BASE, recipe=replace(BASE.recipe, **{name: value}))
        for name, value in OTHER_RECIPE.items()
    },
}


def test_every_field_is_tried() -> None:
    assert set(OTHER_TASK) == {field.name for field in fields(Task)}
    assert set(OTHER_RECIPE) == {field.name for field in fields(Recipe)}


@pytest.mark.parametrize("change", OTHERS)
def test_the_id_changes_with_what_can_change_the_result(change: str) -> None:
    assert OTHERS[change].id != BASE.id


def test_no_two_changes_give_one_id() -> None:
    assert len({trial.id for trial in OTHERS.values()}) == len(OTHERS)


SAME: dict[str, Trial] = {
    "where the model is": replace(BASE, backbone=replace(BASE.backbone, path="/two/model")),
    "where the data is": replace(BASE, data=replace(BASE.data, path="/two/data")),
    "where the tokenizer is": replace(
        BASE, backbone=replace(BASE.backbone, tokenizer_path="/two/tokenizer")
    ),
    "what the model is called": replace(BASE, backbone=replace(BASE.backbone, name="mini")),
    "where on the hub it is": replace(BASE, data=replace(BASE.data, revision="a/b@" + "0" * 40)),
    "a note": replace(BASE, data=replace(BASE.data, note="found")),
    "how the options said it": replace(BASE, overrides=("data=imdb",)),
    "words of the method": replace(
        BASE, method=replace(BASE.method, name="L", summary="L.", paper=None)
    ),
}


@pytest.mark.parametrize("change", SAME)
def test_the_id_does_not_change_with_what_can_not(change: str) -> None:
    assert SAME[change] != BASE
    assert SAME[change].id == BASE.id


def test_the_id_is_readable_and_stays() -> None:
    slug, _, digits = BASE.id.rpartition("-")
    assert slug == "lora-imdb-minilm-s42"
    assert len(digits) == 12
    # Stored records hold it: if it changes, none of them can stand for a new run any more.
    assert BASE.id == "lora-imdb-minilm-s42-2099b5cbed71"
    assert BASE.label == "imdb-minilm lora seed 42"


ALONE = {"method", "an option of the method", "a new option of the method", "targets"}
ALONE |= {"kind of adapter", "quantisation", "seed", "recipe.learning_rate"}


@pytest.mark.parametrize("change", OTHERS)
def test_the_setting_is_what_methods_and_seeds_share(change: str) -> None:
    same = OTHERS[change].describe()["setting_id"] == BASE.describe()["setting_id"]
    assert same is (change in ALONE)


JOBS = {
    "declared": BASE,
    "every field another": Trial(
        method=find_method("qlora"),
        scenario="embedded",
        seed=0,
        backbone=Source(name="m", identity="i", path="/p", tokenizer_path="/t", note="n"),
        data=Source(name="d", identity="j", revision="a/d@" + "0" * 40),
        weights=Weights.RANDOM,
        task=Task(**OTHER_TASK),
        recipe=Recipe(**OTHER_RECIPE),
        engine=Engine.TRAINER,
        overrides=("epochs=4", "model=m"),
        part=Part.LENGTH,
    ),
    "the largest seed": replace(BASE, seed=2**32 - 1),
}


@pytest.mark.parametrize("job", JOBS)
def test_a_job_comes_back_as_the_trial_it_was(job: str) -> None:
    trial = JOBS[job]
    back = Trial.from_job(json.loads(json.dumps(trial.to_job())))
    assert back == trial
    assert back.id == trial.id
    assert type(back.task.split) is Split
    assert type(back.recipe.precision) is Precision


@pytest.mark.parametrize("job", JOBS)
def test_what_is_published_names_no_folder(job: str) -> None:
    trial = JOBS[job]
    described = trial.describe()
    assert json.loads(json.dumps(described, allow_nan=False)) == described
    assert "path" not in json.dumps(described)
    assert described["id"] == trial.id
    assert described["backbone"]["identity"] == trial.backbone.identity
    assert described["backbone"]["note"] == trial.backbone.note
    assert described["data"]["revision"] == trial.data.revision
    assert described["overrides"] == list(trial.overrides)


def test_a_fingerprint_minds_values_and_not_their_order() -> None:
    assert fingerprint({"a": 1, "b": [1, 2]}) == fingerprint({"b": [1, 2], "a": 1})
    assert fingerprint({"a": 1}) != fingerprint({"a": 2})
    assert fingerprint({"a": [1, 2]}) != fingerprint({"a": [2, 1]})
    assert fingerprint({"a": None}) != fingerprint({})
    assert len(fingerprint({})) == 12
    with pytest.raises(ValueError, match="not JSON compliant"):
        fingerprint({"a": float("nan")})

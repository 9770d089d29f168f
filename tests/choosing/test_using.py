"""What is handed on does as it did when it was trained, loaded by peft and transformers alone."""

import json

import pytest

from peftcore.choosing.using import APART_FILE, job_of, predict
from peftcore.measuring.weights import Keep
from peftcore.models.expecting import as_expected
from peftcore.training.trial import run_trial
from tests.conftest import sample_of

# One of each kind: a whole model, matrices beside weights that change at first, 4 bits, tokens
# before the text, a head that peft does not save, an input beside the text.
METHODS = ("full", "bitfit", "pissa", "qlora", "prefix-tuning", "trainable-tokens", "poly")


@pytest.mark.parametrize("method", METHODS)
def test_what_is_saved_for_use_answers_as_the_trial_did(make_trial, tmp_path, method):
    trial = make_trial(method, learning_rate=2e-2, epochs=2)
    sample = sample_of(trial)
    result = run_trial(trial, sample, lambda _: None, keep=Keep(model=tmp_path))
    folder = tmp_path
    with as_expected():
        again = predict(json.loads(json.dumps(job_of(trial, folder, sample.test))))
    # Each text by itself and in 32 bits, where the trial had batches: next to a tie it may differ.
    assert sum(a != b for a, b in zip(again, result.predictions, strict=True)) <= 1
    assert (folder / "tokenizer.json").is_file()
    assert (folder / "adapter_config.json").is_file() == (trial.method.adapter is not None)
    assert (folder / APART_FILE).is_file() == (method == "trainable-tokens")


def test_a_whole_model_knows_the_names_of_its_classes(make_trial, tmp_path):
    trial = make_trial("bitfit")
    run_trial(trial, sample_of(trial), lambda _: None, keep=Keep(model=tmp_path))
    config = json.loads((tmp_path / "config.json").read_text())
    assert config["id2label"] == {"0": "0", "1": "1"}
    tokenizer = json.loads((tmp_path / "tokenizer_config.json").read_text())
    assert tokenizer["model_max_length"] == trial.task.max_length

"""The whole of it, with real trials of a tiny random model."""

from __future__ import annotations

import csv
import errno
import json
import os
import random
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
from click.testing import CliRunner
from huggingface_hub import ModelCard

from peftcore.__main__ import main
from peftcore.choosing.trialling import store_of
from peftcore.conformance.tiny import WORDS
from peftcore.results.records import read_records
from peftcore.results.store import Store, has_store
from peftcore.trials import Outcome

CLASSES = {"bad": ("dull", "poor"), "good": ("good", "great"), "so-so": ("fine", "quite")}


@pytest.fixture(scope="module")
def mine(tmp_path_factory):
    """A CSV of three classes by name, in columns that have to be guessed."""
    generator = random.Random(3)
    path = tmp_path_factory.mktemp("data") / "mine.csv"
    with path.open("w", newline="", encoding="utf-8") as stream:
        writer = csv.writer(stream)
        writer.writerow(["verdict", "review"])
        for number in range(150):
            name = list(CLASSES)[number % 3]
            words = generator.choices(WORDS[:6], k=generator.randint(3, 9))
            words.insert(generator.randrange(len(words)), generator.choice(CLASSES[name]))
            writer.writerow([name, " ".join(words)])
    return path


def arguments(mine, tiny_bert, folder, *more):
    options = {
        "--data": mine,
        "--model": tiny_bert,
        "--store": folder / "store",
        "--out": folder / "out",
        "--methods": "lora,bitfit",
        "--rates": 1,
        "--budget": "10m",
    }
    settings = ("epochs=1", "max_length=16", "precision=fp32", "batch_size=16")
    return [
        "choose",
        *(str(part) for option in options.items() for part in option),
        *(part for setting in settings for part in ("--set", setting)),
        *more,
    ]


@pytest.fixture(autouse=True)
def _one_seed(monkeypatch):
    # Repeats would be worth their time on real data; here they are only time.
    monkeypatch.setattr("peftcore.choosing.racing.MOST_SEEDS", 1)


@pytest.fixture(scope="module")
def chosen(mine, tiny_bert, tmp_path_factory):
    """What comes of a choice that was killed on its way and started again.

    Its folder, what it printed, and the records that there were when it was killed.
    """
    folder = tmp_path_factory.mktemp("choice")
    command = arguments(mine, tiny_bert, folder, "--json", str(folder / "choice.json"))
    child = subprocess.Popen(
        [sys.executable, "-m", "peftcore", *command],
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
        env={**os.environ, "PYTHONPATH": str(Path(__file__).resolve().parents[2])},
    )
    store = store_of(folder / "store")
    try:
        deadline = time.monotonic() + 300
        while not records_in(store):
            assert time.monotonic() < deadline
            assert child.poll() is None
            time.sleep(0.2)
    finally:
        child.send_signal(signal.SIGKILL)
        child.wait()
    before = records_in(store)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("peftcore.choosing.racing.MOST_SEEDS", 1)
        result = CliRunner().invoke(main, command)
    assert result.exit_code == 0, result.output
    return folder, result, before


def records_in(store):
    """Return the records of a store, none where it is yet to be made."""
    if not has_store(store):
        return []
    with Store(store, create=False) as opened:
        return list(opened.records())


@pytest.mark.slow
def test_a_choice_ends_with_a_model_its_card_and_a_report(chosen):
    folder, result, _ = chosen
    out = folder / "out"
    content = json.loads((folder / "choice.json").read_text())
    method = content["chosen"]["method"]
    assert method in ("lora", "bitfit")
    name = {"lora": "LoRA", "bitfit": "BitFit"}[method]
    assert f"Use {name} with a learning rate of {content['chosen']['learning_rate']:g}." in (
        result.stdout
    )
    assert "Columns were guessed: label is 'verdict', text is 'review'." in result.stderr
    report = (out / "report.md").read_text()
    assert f"{content['probability_within']:.0%}"[:-1] in report
    assert "Bag of words" in report
    assert "Head only" in report
    assert (out / "figures" / "race.svg").is_file()
    assert "Bars, of what was chosen and of the runner-up" in report
    card = ModelCard.load(out / "README.md", ignore_metadata_errors=False)
    evaluated, *others = card.data.eval_results
    assert evaluated.metric_value == pytest.approx(content["test_accuracy"], abs=1e-4)
    assert [one.metric_type for one in others] == ["f1", "matthews_correlation"]
    assert others[0].metric_value == pytest.approx(content["test_macro_f1"], abs=1e-4)
    assert card.data.pipeline_tag == "text-classification"
    assert "mine" in evaluated.dataset_name
    # Nothing of this machine but what loading needs.
    assert str(folder) not in (out / "README.md").read_text()
    records = list(read_records(out / "records.jsonl"))
    assert {record.method for record in records} == {"lora", "bitfit", "bow", "head"}
    assert all(record.outcome is Outcome.OK for record in records)
    tested = [record for record in records if record.trial["data"]["name"] == "mine-final"]
    # Each once: what is raced never sees the test set.
    assert sorted(record.method for record in tested) == sorted([method, "bow", "head"])
    assert len(tested[0].predictions) == content["test_examples"] == 30


@pytest.mark.slow
def test_what_was_learned_is_in_the_model_that_is_handed_on(chosen, mine, tiny_bert):
    folder, *_ = chosen
    card = (folder / "out" / "README.md").read_text()
    code = card.partition("```python\n")[2].partition("```")[0]
    code = code.replace('"A text"', '"the plot was great and the film"')
    ran = subprocess.run(
        [sys.executable, "-c", code], cwd=folder / "out", capture_output=True, text=True
    )
    assert ran.returncode == 0, ran.stderr
    assert ran.stdout.split()[-1] in CLASSES


@pytest.mark.slow
def test_run_again_it_trains_nothing_and_says_the_same(chosen, mine, tiny_bert, monkeypatch):
    folder, first, _ = chosen

    def never(*_arguments, **_options):
        raise AssertionError("a trial was run again")

    monkeypatch.setattr("peftcore.results.collecting.run_in_child", never)
    # Nor is what is handed on tried again here: that takes a process.
    monkeypatch.setattr("peftcore.choosing.delivering.TRIED", 0)
    monkeypatch.setattr("peftcore.choosing.delivering.predict_plainly", lambda *_: [])
    again = CliRunner().invoke(main, arguments(mine, tiny_bert, folder))
    assert again.exit_code == 0, again.output
    assert again.stdout == first.stdout


@pytest.mark.slow
def test_killed_and_started_again_it_trains_nothing_twice(chosen):
    folder, _, before = chosen
    after = records_in(store_of(folder / "store"))
    assert len(after) == len({record.id for record in after})
    known = {record.id: record for record in after}
    assert before
    assert all(known[record.id] == record for record in before)


@pytest.mark.parametrize(
    ("more", "expected"),
    [
        (["--memory", "much"], "is no size of memory: expected such as 8GB"),
        (["--budget", "soon"], "is no duration: expected such as 90s"),
        (["--within", "nan"], "nan is no finite number"),
        (["--methods", "lora"], "name two methods or more"),
        (["--set", "train_examples=5"], "found by the race itself"),
        (["--set", "label_column=review"], "which are no classes"),
        (["--data", "none.csv"], "is not there: name a file"),
        (["--cost", "beauty"], "known are memory, parameters, time"),
        (["--set", "max_length=100"], "more than the 66 tokens"),
    ],
)
def test_what_can_not_be_used_ends_with_a_sentence_and_status_2(
    mine, tiny_bert, tmp_path, more, expected
):
    result = CliRunner().invoke(main, [*arguments(mine, tiny_bert, tmp_path), *more])
    assert result.exit_code == 2, result.output
    assert expected in result.stderr
    assert "--peft-" not in result.stderr
    assert not list((tmp_path / "out").glob("*")) if (tmp_path / "out").exists() else True


def test_a_folder_with_somebodys_files_is_not_written_to(mine, tiny_bert, tmp_path):
    (tmp_path / "out").mkdir()
    (tmp_path / "out" / "README.md").write_text("mine")
    result = CliRunner().invoke(main, arguments(mine, tiny_bert, tmp_path))
    assert result.exit_code == 2
    assert "holds files that are not of an earlier choice: name a new folder" in result.stderr
    assert (tmp_path / "out" / "README.md").read_text() == "mine"


def test_interrupted_it_says_that_the_same_command_goes_on(mine, tiny_bert, tmp_path, monkeypatch):
    def interrupted(*_):
        raise KeyboardInterrupt

    monkeypatch.setattr("peftcore.choosing.trialling.Bench.train", interrupted)
    result = CliRunner().invoke(main, arguments(mine, tiny_bert, tmp_path))
    assert result.exit_code == 1
    assert "every trial that ended is kept; give the same command again" in result.stderr


def test_a_full_disk_ends_with_a_sentence_and_status_3(mine, tiny_bert, tmp_path, monkeypatch):
    def full(path, _):
        raise OSError(errno.ENOSPC, "No space left on device", str(path))

    monkeypatch.setattr("peftcore.choosing.parts.write_whole", full)
    result = CliRunner().invoke(main, arguments(mine, tiny_bert, tmp_path))
    assert result.exit_code == 3
    assert "train.jsonl: No space left on device; every trial that ended is kept" in result.stderr

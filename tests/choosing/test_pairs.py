"""Pairs of texts in three classes, from a CSV to the card's code, in a race of two rungs.

Trials run in this process, so that it takes no more than their training.
"""

import csv
import json
import random
import shutil
from dataclasses import replace

import pytest
from click.testing import CliRunner

from peftcore.__main__ import main
from peftcore.audit.second import by_class
from peftcore.choosing.trialling import others_tested, store_of
from peftcore.choosing.using import job_of, predict
from peftcore.conformance.tiny import WORDS
from peftcore.data.examples import draw
from peftcore.data.sources import read_data
from peftcore.models.expecting import as_expected
from peftcore.results.records import read_records
from peftcore.results.store import Store
from peftcore.running.process import ChildReport
from peftcore.scenarios import Task
from peftcore.training.trial import run_trial
from peftcore.trials import Outcome, Source
from tests.conftest import sample_of

CLASSES = ("contradiction", "entailment", "neutral")
ROWS = 330


def in_this_process(trial, *, progress, keep, **_):
    result = run_trial(trial, sample_of(trial), progress, keep=keep)
    return ChildReport(
        outcome=Outcome.OK,
        measurement=result.measurement,
        predictions=tuple(result.predictions),
        labels=tuple(result.labels),
    )


def predict_here(trial, folder, examples):
    with as_expected():
        return predict(json.loads(json.dumps(job_of(trial, folder, examples))))


def write_pairs(path):
    """Write pairs of which few are entailments."""
    generator = random.Random(5)
    with path.open("w", newline="", encoding="utf-8") as stream:
        writer = csv.writer(stream)
        writer.writerow(["id", "premise", "hypothesis", "verdict"])
        for number in range(ROWS):
            texts = [" ".join(generator.choices(WORDS, k=generator.randint(4, 9))) for _ in "ab"]
            verdict = CLASSES[(0, 0, 0, 0, 0, 0, 2, 2, 2, 1)[number % 10]]
            writer.writerow([f"pair-{number}", *texts, verdict])


def rows_of(file):
    return [json.loads(line) for line in file.read_text(encoding="utf-8").splitlines()]


def choose(folder, out, model, *, run):
    """Make the choice, with the store of a folder, and return what was printed."""
    arguments = f"choose --data {folder}/pairs.csv --model {model} --store {folder}/store"
    arguments += f" --out {out}/out --json {out}/choice.json --methods lora,ia3"
    arguments += " --rates 1 --budget 20m --set epochs=1 --set max_length=32"
    arguments += " --set precision=fp32 --set batch_size=16"
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("peftcore.results.collecting.run_in_child", run)
        patch.setattr("peftcore.choosing.delivering.predict_plainly", predict_here)
        patch.setattr("peftcore.choosing.racing.MOST_SEEDS", 1)
        result = CliRunner().invoke(main, arguments.split(), catch_exceptions=False)
    assert result.exit_code == 0, result.output
    return result


@pytest.fixture(scope="module")
def chosen(tiny_bert, tmp_path_factory, libraries_at_rest):
    """Where a choice went, and what it printed."""
    folder = tmp_path_factory.mktemp("pairs")
    write_pairs(folder / "pairs.csv")
    return folder, choose(folder, folder, tiny_bert, run=in_this_process)


@pytest.mark.slow
def test_columns_are_found_and_every_trial_has_both_texts(chosen):
    folder, result = chosen
    expected = "label is 'verdict', text is 'premise', second text is 'hypothesis'"
    assert expected in result.stderr
    records = list(read_records(folder / "out" / "records.jsonl"))
    assert {record.trial["task"]["pair_column"] for record in records} == {"second_text"}
    assert {tuple(record.trial["task"]["classes"]) for record in records} == {CLASSES}


@pytest.mark.slow
def test_each_arm_is_raced_on_two_rungs_and_never_on_a_test_pair(chosen):
    folder, _ = chosen
    records = list(read_records(folder / "out" / "records.jsonl"))
    raced = [one for one in records if one.trial["data"]["name"] == "pairs-race"]
    sizes = {(one.method, one.trial["task"]["train_examples"]) for one in raced}
    (parts,) = [path.parent for path in store_of(folder / "store").glob("*/final")]
    trained = len(rows_of(parts / "race" / "train.jsonl"))
    rungs = (round(trained / 2), trained)
    arms = {(slug, size) for slug in ("lora", "ia3") for size in rungs}
    assert sizes == arms | {("bow", trained), ("head", trained)}
    of = {
        f"{name}/{split}": {
            (row["text"], row["second_text"]) for row in rows_of(parts / name / f"{split}.jsonl")
        }
        for name in ("race", "final")
        for split in ("train", "test")
    }
    assert not of["final/test"] & (of["race/train"] | of["race/test"] | of["final/train"])
    assert of["final/train"] == of["race/train"] | of["race/test"]
    assert sum(map(len, (of["final/test"], of["final/train"]))) == ROWS


@pytest.mark.slow
def test_macro_f1_and_matthews_are_told_everywhere_as_computed_in_another_way(chosen):
    folder, result = chosen
    content = json.loads((folder / "choice.json").read_text())
    tested = last_of(folder)
    macro_f1, matthews, *recalls = by_class(tested.predictions, tested.labels, 3)
    assert content["test_macro_f1"] == pytest.approx(macro_f1 / 100)
    assert content["test_matthews"] == pytest.approx(matthews)
    assert f"macro-F1, the mean over classes, is {macro_f1:.1f}%" in result.stdout
    report = (folder / "out" / "report.md").read_text()
    for name, recall in zip(CLASSES, recalls, strict=True):
        (row,) = [line for line in report.splitlines() if line.startswith(f"| {name} ")]
        assert f" {recall:.1f} |" in row
    assert f"- **Test macro-F1**: {macro_f1:.1f}%" in (folder / "out" / "README.md").read_text()


@pytest.mark.slow
def test_the_cards_code_answers_a_pair_as_the_last_training_did(chosen, capsys, monkeypatch):
    folder, _ = chosen
    card = (folder / "out" / "README.md").read_text()
    code = card.partition("```python\n")[2].partition("```")[0]
    tested = last_of(folder)
    task = Task.described(tested.trial["task"])
    (parts,) = store_of(folder / "store").glob("*/final")
    test = draw(read_data(Source(name="pairs", identity="", path=str(parts)), task), task, 42).test
    monkeypatch.chdir(folder / "out")
    capsys.readouterr()
    for number in range(3):
        texts = ", ".join(map(json.dumps, (test.texts[number], test.pairs[number])))
        with as_expected():
            exec(code.replace('"A text", "and its second"', texts), {})
        answer = capsys.readouterr().out.strip().splitlines()[-1]
        assert answer == CLASSES[tested.predictions[number]]


def last_of(folder):
    """Return the record of the last training."""
    content = json.loads((folder / "choice.json").read_text())
    (found,) = [
        record
        for record in read_records(folder / "out" / "records.jsonl")
        if record.trial["data"]["name"] == "pairs-final"
        and record.method == content["chosen"]["method"]
    ]
    return found


@pytest.mark.slow
def test_it_is_known_how_many_models_were_tested_on_the_same_pairs_before(chosen, tmp_path):
    folder, result = chosen
    assert "by earlier choices" not in result.stdout
    tested = last_of(folder)
    store = store_of(folder / "store")
    assert others_tested(store, tested) == 0
    shutil.copytree(store, tmp_path / "store")
    with Store(tmp_path / "store") as opened:
        for name in ("one", "another"):
            # The file may have had another name then: what is in it counts.
            data = {**tested.trial["data"], "name": f"{name}-final"}
            opened.commit(replace(tested, trial={**tested.trial, "id": name, "data": data}))
    assert others_tested(tmp_path / "store", tested) == 2


@pytest.mark.slow
def test_given_again_nothing_is_trained_and_the_budget_counts_what_was(chosen, tiny_bert, tmp_path):
    def never(*_, **__):
        raise AssertionError("a trial was run again")

    folder, first = chosen
    again = choose(folder, tmp_path, tiny_bert, run=never)
    said = [line for line in first.stdout.splitlines() if "The report is" not in line]
    assert again.stdout.splitlines()[:-1] == said
    (ledger,) = store_of(folder / "store").glob("*/seconds.json")
    earlier = sum(map(sum, json.loads(ledger.read_text()).values()))
    assert json.loads((tmp_path / "choice.json").read_text())["spent_seconds"] >= earlier > 0

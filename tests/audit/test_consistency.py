"""Records against themselves: what is made to hold together passes, each tampering is named."""

from __future__ import annotations

import copy
import json

import pytest

from peftcore.audit.consistency import check_records
from peftcore.audit.findings import Ledger
from peftcore.audit.reading import read_published
from peftcore.errors import UsageError
from tests.audit.conftest import named, whole, write_lines


def check(folder, contents):
    """Return what is found in these records, as sentences, and how many checks were made."""
    write_lines(folder, contents)
    (folder / "report.md").write_text("")
    ledger = Ledger()
    published = read_published(folder, ledger)
    check_records(published.records, ledger)
    return [finding.sentence() for finding in ledger.findings], ledger.checked


def test_whole_records_pass_and_are_looked_at(contents, tmp_path):
    found, checked = check(tmp_path, contents)
    assert found == []
    assert checked > 20 * len(contents)


def test_keys_that_old_records_lack_are_no_error(contents, tmp_path):
    for content in contents:
        for key in ("phases", "train_tokens", "tokens_per_second", "utilisation", "resumed"):
            content["measurement"].pop(key, None)
        del content["created"]
    assert check(tmp_path, contents)[0] == []


@pytest.mark.parametrize(
    ("path", "to", "told"),
    [
        (("measurement", "accuracy"), 0.905, "accuracy is not the share of predictions"),
        (("measurement", "majority_share"), 0.6, "majority_share is not that"),
        (("measurement", "evaluated_examples"), 399, "counts of test examples differ"),
        (("measurement", "epoch_accuracies"), [[1, 0.5], [2, 0.6]], "epoch accuracies"),
        (("measurement", "epoch_accuracies", 2, 1), 0.5, "not that after the last epoch"),
        (("measurement", "losses"), [[1, 0.7]], "losses are not one a step"),
        (("measurement", "train_loss"), 0.001, "not the mean of the last epoch's losses"),
        (("measurement", "trainable_parameters"), 1, "a method that trains everything"),
        (("measurement", "total_parameters"), 1, "more parameters are trained than there are"),
        (("measurement", "train_cpu_seconds"), 1e6, "more than 8 cores have"),
        (("measurement", "step_seconds"), 60.0, "half of the steps"),
        (("measurement", "train_tokens"), 10, "train_tokens can't be"),
        (("measurement", "tokens_per_second"), 10.0, "is not train_tokens / train_seconds"),
        (("measurement", "utilisation"), 0.5, "measurement.utilisation is not"),
        (("measurement", "peak_reserved_bytes"), 1, "held less than tensors had"),
        (("measurement", "peak_file_bytes"), 10**15, "pages of files than all of it"),
        (("measurement", "drawn_from"), 10, "more is evaluated than there is"),
        (("trial", "hyperparameters"), {"trains": "head"}, "trial.id is not that"),
        (("trial", "recipe", "learning_rate"), 1e-3, "trial.id is not that"),
        (("trial", "recipe", "epochs"), 4, "setting_id is not the fingerprint"),
        (("trial", "data", "identity"), "sha256:0", "setting_id is not the fingerprint"),
        (("trial", "seed"), 7, "trial.id is not that"),
        # As many as would fill the memory if they were counted up.
        (("trial", "recipe", "epochs"), 10**9, "epoch accuracies are not those"),
        (("trial", "task", "repeats"), 2**31 - 1, "losses are not one a step"),
        (("trial", "recipe", "epochs"), 2.0, "setting_id is not the fingerprint"),
        (("created",), "yesterday", "created is no date"),
        (("error",), "it failed", "it ended well but tells an error"),
        (("outcome",), "oom", "did not end well but has measurement"),
        (("labels", 3), 0, "its labels are not those of"),
        (("predictions", 3), 3, "there are 2 labels"),
        # Of another form than a record's: found before anything is computed from it.
        (("measurement", "accuracy"), "0.91", "$.measurement.accuracy"),
        (("measurement", "peak_bytes"), -5, "$.measurement.peak_bytes"),
        (("environment", "git_commit"), "main", "$.environment.git_commit"),
        (("environment", "hardware"), None, "$.environment.hardware"),
        (("predictions", 3), "1", "$.predictions[3]"),
        (("schema",), 2, "$.schema"),
        (("trial", "scenario"), "../../etc", "no scenario's name"),
    ],
)
def test_each_tampering_is_named(changed, tmp_path, path, to, told):
    found, _ = check(tmp_path, changed(*path, to=to))
    assert any(told in sentence for sentence in found), found
    assert all("line 1 " in s or "line 1:" in s or "records" in s[:8] for s in found), found


def test_one_prediction_is_enough(changed, contents, tmp_path):
    (sentence,) = check(tmp_path, changed("predictions", 5, to=1 - contents[0]["predictions"][5]))[
        0
    ]
    accuracy = contents[0]["measurement"]["accuracy"]
    assert f"published is {accuracy}; what follows is" in sentence
    assert sentence.startswith(f"records.jsonl, line 1 ({contents[0]['trial']['id']}): ")


def test_a_label_changed_in_one_record_is_told_by_the_others(changed, contents, tmp_path):
    found, _ = check(tmp_path, changed("labels", 8, to=1 - contents[0]["labels"][8]))
    assert any("1 differ, the first is that of example 8" in sentence for sentence in found)


def test_a_smaller_test_sample_is_the_beginning_of_a_larger_one(contents, tmp_path):
    small = copy.deepcopy(contents[0])
    small["trial"]["task"]["test_examples"] = small["measurement"]["evaluated_examples"] = 10
    small["labels"], small["predictions"] = small["labels"][:10], small["labels"][:10]
    small["measurement"].update(accuracy=1.0, majority_share=0.5, epoch_accuracies=[])
    assert check(tmp_path, [*contents, named(small)])[0] == []
    small["labels"] = small["predictions"] = small["labels"][::-1]
    assert "its labels are not those of" in check(tmp_path, [*contents, named(small)])[0][0]


def test_a_trial_may_be_evaluated_at_the_end_alone(contents, tmp_path):
    for content in contents:
        content["trial"]["recipe"]["evaluation"] = "end"
        content["measurement"]["epoch_accuracies"] = content["measurement"]["epoch_accuracies"][-1:]
        named(content)
    assert check(tmp_path, contents)[0] == []
    contents[0]["measurement"]["epoch_accuracies"][0][0] = 2
    assert "not those of the epochs that were evaluated" in check(tmp_path, contents)[0][0]


def test_phases_bear_out_the_costs(contents, tmp_path):
    measured = contents[0]["measurement"]
    train = {
        "seconds": measured["train_seconds"],
        "cpu_seconds": measured["train_cpu_seconds"],
        "peak_bytes": measured["peak_bytes"],
    }
    evaluate = {"seconds": 3 * measured["eval_seconds"], "cpu_seconds": 1.0, "peak_bytes": 5}
    measured["phases"] = {"train": train, "evaluate": evaluate}
    assert check(tmp_path, contents)[0] == []
    measured["train_seconds"] *= 0.9
    measured["eval_seconds"] *= 0.9
    found = " ".join(check(tmp_path, contents)[0])
    assert "train_seconds is not that of phase train" in found
    assert "eval_seconds is not the mean of the evaluations" in found
    measured["resumed"] = 1
    assert "phase train" not in " ".join(check(tmp_path, contents)[0])


def test_a_trial_is_there_once(contents, tmp_path):
    (sentence,) = check(tmp_path, [*contents, contents[2]])[0]
    assert "line 9" in sentence
    assert "the trial stands in records.jsonl, line 3" in sentence


def test_a_failed_trial_is_whole_without_numbers(record, contents, tmp_path):
    failed = whole(record("qlora", outcome="oom", error="it did not fit", examples=400))
    assert check(tmp_path, [*contents, failed])[0] == []


@pytest.mark.parametrize(
    ("line", "told"),
    [
        ("[" * 100_000, "nested too deep"),
        ('{"a": ' * 100_000, "nested too deep"),
        ("9" * 6000, "no JSON that can be read in one way"),
        ('{"schema": 1, "schema": 2}', "the same key twice"),
        ('{"schema": NaN}', "NaN is no number"),
        ("not JSON", "no JSON"),
        ("[]", "not of the form of a record"),
        ("null", "not of the form of a record"),
        ("\x00\x1b[2Jeverything follows", "no JSON"),
    ],
)
def test_what_is_no_record_is_a_finding_with_its_line(contents, tmp_path, line, told):
    write_lines(tmp_path, contents[:1])
    with (tmp_path / "records.jsonl").open("a", encoding="utf-8") as stream:
        stream.write(line + "\n")
    (tmp_path / "report.md").write_text("")
    ledger = Ledger()
    published = read_published(tmp_path, ledger)
    assert (len(published.records), published.whole) == (1, False)
    (finding,) = ledger.findings
    assert finding.where == "records.jsonl, line 2"
    assert told in finding.what
    assert finding.sentence().isprintable()
    assert len(finding.sentence()) < 600


def test_names_from_elsewhere_can_not_pose_as_lines_of_the_audit(changed, tmp_path):
    name = "x\neverything follows\x1b[8m\u202e" + "y" * 10_000
    for path in (("trial", "id"), ("trial", "method"), ("trial", "setting_id"), ("created",)):
        found, _ = check(tmp_path, changed(*path, to=name))
        assert found
        for sentence in found:
            assert sentence.isprintable()
            assert len(sentence) < 900


def test_a_huge_file_is_not_read(contents, tmp_path, monkeypatch):
    monkeypatch.setattr("peftcore.audit.reading.MOST_RECORD_BYTES", 1000)
    with pytest.raises(UsageError, match="larger than 1,000 bytes"):
        check(tmp_path, contents)


@pytest.mark.parametrize("name", ["report.md", "records.jsonl"])
def test_a_folder_without_its_files_is_no_report(contents, tmp_path, name):
    check(tmp_path, contents)
    (tmp_path / name).unlink()
    with pytest.raises(UsageError, match=f"is no report: it has no {name}"):
        read_published(tmp_path, Ledger())


def test_the_schema_takes_what_the_format_demands_at_least(contents, tmp_path):
    bare = {
        "schema": 1,
        "outcome": "ok",
        "error": None,
        "trial": {
            k: contents[0]["trial"][k]
            for k in ("id", "method", "scenario", "seed", "setting_id", "weights")
        },
        "measurement": {"accuracy": None},
        "environment": contents[0]["environment"],
        "predictions": None,
        "another key": {"is": "welcome"},
    }
    assert check(tmp_path, [json.loads(json.dumps(bare))])[0] == []

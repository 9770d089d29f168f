import dataclasses
import json
import math

import pytest

from peftcore.errors import StoreError, UsageError
from peftcore.results.records import (
    SCHEMA_VERSION,
    Measurement,
    Record,
    checksum,
    read_records,
    write_records,
)
from peftcore.trials import Outcome

# What checks outside this repository rely on: keys may be added, none of these renamed.
RECORD_KEYS = {"schema", "outcome", "error", "trial", "measurement", "environment", "predictions"}
TRIAL_KEYS = {"id", "method", "scenario", "seed"}
MEASUREMENT_KEYS = {
    "accuracy",
    "train_seconds",
    "train_cpu_seconds",
    "step_seconds",
    "eval_seconds",
    "peak_bytes",
    "total_parameters",
    "trainable_parameters",
    "head_parameters",
    "adapter_parameters",
    "adapter_file_bytes",
    "losses",
}
OUTCOMES = {"ok", "failed", "oom", "nan", "crashed", "timeout", "cancelled", "skipped"}


def test_schema_version_1_has_these_keys(record):
    content = record().to_json()
    assert SCHEMA_VERSION == content["schema"] == 1
    assert content.keys() >= RECORD_KEYS
    assert content["measurement"].keys() >= MEASUREMENT_KEYS
    assert content["predictions"] == [0, 1, 1, 0]
    assert content["outcome"] == "ok"
    assert content["error"] is None


def test_a_trial_describes_itself_with_the_keys_of_schema_version_1(make_trial):
    described = make_trial("lora", seed=7).describe()
    assert described.keys() >= TRIAL_KEYS
    assert (described["method"], described["scenario"], described["seed"]) == (
        "lora",
        "embedded",
        7,
    )


def test_the_outcomes_are_these():
    assert {str(outcome) for outcome in Outcome} == OUTCOMES


@pytest.mark.parametrize("outcome", list(Outcome))
def test_a_record_survives_its_own_json(record, outcome):
    before = record(outcome=outcome)
    after = Record.from_json(json.loads(before.to_line()))
    assert after == before
    assert type(after.outcome) is Outcome
    assert after.to_line() == before.to_line()


def test_a_line_is_one_line_of_text_with_keys_in_order(record):
    line = dataclasses.replace(record(), error="zwei\nZeilen, größer").to_line()
    assert "\n" not in line
    assert "größer" in line
    assert list(json.loads(line)) == sorted(json.loads(line))


def test_extra_keys_are_accepted_wherever_they_stand(record):
    content = record().to_json()
    for holder in (content, content["trial"], content["measurement"], content["environment"]):
        holder["from_the_future"] = {"deep": [1, 2]}
    read = Record.from_json(content)
    assert read.measurement == record().measurement
    # The two parts that are kept as they came lose nothing.
    assert read.to_json()["trial"]["from_the_future"] == {"deep": [1, 2]}
    assert read.to_json()["environment"]["from_the_future"] == {"deep": [1, 2]}


def test_extra_keys_of_a_phase_are_accepted(record):
    content = record().to_json()
    content["measurement"]["phases"]["train"]["from_the_future"] = 1
    assert Record.from_json(content).measurement == record().measurement


def test_labels_and_the_time_may_be_missing(record):
    content = record().to_json()
    del content["labels"], content["created"]
    read = Record.from_json(content)
    assert read.labels is None
    assert read.created is None
    assert read.predictions == (0, 1, 1, 0)


@pytest.mark.parametrize(
    ("field", "value", "where"),
    [
        ("accuracy", math.nan, "measurement.accuracy is nan"),
        ("train_seconds", math.inf, "measurement.train_seconds is inf"),
        ("losses", [[1, 0.5], [2, -math.inf]], "measurement.losses.1.1 is -inf"),
    ],
)
def test_a_number_that_is_not_finite_is_refused_and_named(record, field, value, where):
    bad = record(**{field: value})
    for write in (bad.to_json, bad.to_line):
        with pytest.raises(StoreError, match=where) as told:
            write()
        assert bad.id in str(told.value)


def test_a_number_that_is_not_finite_is_refused_in_a_file(record, tmp_path):
    path = tmp_path / "records.jsonl"
    path.write_text(record().to_line().replace('"accuracy": 0.75', '"accuracy": NaN'))
    with pytest.raises(UsageError, match="line 1"):
        list(read_records(path))


@pytest.mark.parametrize("content", [None, [], "text", {}, {"outcome": "ok"}])
def test_what_has_no_schema_is_no_record(content):
    with pytest.raises(UsageError, match="FILE, line 3 is no peftcore record"):
        Record.from_json(content, where="FILE, line 3")


@pytest.mark.parametrize("version", [0, 2, "1", None])
def test_another_schema_version_is_refused(record, version):
    content = {**record().to_json(), "schema": version}
    with pytest.raises(UsageError, match=f"schema version {version!r}: this release reads 1"):
        Record.from_json(content)


@pytest.mark.parametrize("key", sorted(RECORD_KEYS - {"schema"}))
def test_a_record_with_a_key_missing_is_refused(record, key):
    content = record().to_json()
    del content[key]
    with pytest.raises(UsageError, match=f"no whole peftcore record.*{key}"):
        Record.from_json(content)


@pytest.mark.parametrize("key", ["id", "method", "scenario", "seed", "weights", "setting_id"])
def test_a_record_whose_trial_lacks_a_key_is_refused(record, key):
    content = record().to_json()
    del content["trial"][key]
    with pytest.raises(UsageError, match=f"no whole peftcore record.*{key}"):
        Record.from_json(content)


def test_an_outcome_that_does_not_exist_is_refused(record):
    with pytest.raises(UsageError, match="splendid"):
        Record.from_json({**record().to_json(), "outcome": "splendid"})


def test_a_file_gives_back_what_was_written(record, tmp_path):
    records = [record(seed=1), record(seed=2, outcome=Outcome.OOM)]
    path = tmp_path / "new" / "records.jsonl"
    write_records(path, iter(records))
    assert list(read_records(path)) == records
    assert len(path.read_text(encoding="utf-8").splitlines()) == 2
    write_records(path, records[:1])
    assert list(read_records(path)) == records[:1]
    assert [p.name for p in path.parent.iterdir()] == ["records.jsonl"]


def test_a_file_that_can_not_be_written_whole_stays_as_it_was(record, tmp_path):
    path = tmp_path / "records.jsonl"
    write_records(path, [record()])
    with pytest.raises(StoreError):
        write_records(path, [record(seed=7), record(accuracy=math.nan)])
    assert list(read_records(path)) == [record()]


@pytest.mark.parametrize(
    ("text", "match"),
    [
        ("{line}\n\n{half}", r"records.jsonl, line 3 is not JSON"),
        ("{line}\n[1]", r"records.jsonl, line 2 is no peftcore record"),
        ("{line}\n" + "1" * 5000, r"records.jsonl, line 2 is not JSON"),
        ("{line}\n" + "[" * 100_000, r"records.jsonl, line 2 is not JSON"),
    ],
)
def test_a_broken_line_is_named(record, tmp_path, text, match):
    line = record().to_line()
    path = tmp_path / "records.jsonl"
    path.write_text(text.format(line=line, half=line[:100]), encoding="utf-8")
    with pytest.raises(UsageError, match=match):
        list(read_records(path))


@pytest.mark.parametrize(
    ("change", "match"),
    [
        (lambda c: c["trial"].update(task=5), "task is 5: expected an object"),
        (lambda c: c["environment"].update(packages=[1]), "packages is .* expected an object"),
        (lambda c: c["measurement"].update(accuracy="high"), "accuracy is 'high': expected a num"),
        (lambda c: c["measurement"].update(operations=True), "operations is True: expected a num"),
        (lambda c: c["trial"].update(scenario="a\ud800"), "is no scenario's name|surrogates"),
        (lambda c: c.update(error="a\ud800"), "surrogates not allowed"),
    ],
)
def test_what_is_of_another_type_is_refused_in_a_file(record, tmp_path, change, match):
    content = record().to_json()
    change(content)
    path = tmp_path / "records.jsonl"
    path.write_text(json.dumps(content), encoding="utf-8")
    with pytest.raises(UsageError, match=match):
        list(read_records(path))


def test_a_missing_file_and_one_that_is_no_text_are_refused(tmp_path):
    with pytest.raises(UsageError, match="absent"):
        list(read_records(tmp_path / "absent"))
    (tmp_path / "binary").write_bytes(b"\xff\xfe\x00")
    with pytest.raises(UsageError, match="binary can't be read"):
        list(read_records(tmp_path / "binary"))


def test_the_checksum_tells_any_change(record):
    line = record().to_line()
    assert len(checksum(line)) == 64
    assert checksum(line) != checksum(line.replace("0.75", "0.76"))


def test_the_summary_shows_numbers_only_of_a_trial_that_ended_well(record):
    assert record().summary() == "accuracy 0.7500, trained in 1.5 s, peak 600 MB"
    failed = dataclasses.replace(
        record(outcome=Outcome.CRASHED), error="killed by SIGKILL\nand more"
    )
    assert failed.summary() == "crashed: killed by SIGKILL"
    half = dataclasses.replace(record(), outcome=Outcome.NAN, error=None)
    assert half.summary() == "nan"


def test_the_summary_shows_no_accuracy_of_random_weights(record):
    fresh = dataclasses.replace(record(), trial={**record().trial, "weights": "random"})
    assert not fresh.pretrained
    assert "accuracy" not in fresh.summary()
    assert "trained in" in fresh.summary()


def test_missing_numbers_are_none():
    empty = Measurement.from_json({})
    assert empty == Measurement()
    assert empty.accuracy is None
    assert empty.peak_bytes is None
    assert empty.losses == []

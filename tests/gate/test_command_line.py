"""``peftcore baseline`` and ``peftcore compare``."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from peftcore.results.records import Record, write_records
from peftcore.results.store import Store
from tests.gate.runs import run, trial, with_hardware, worse
from tests.test_command_line import invoke, refused


@pytest.fixture(autouse=True)
def elsewhere(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)


@pytest.fixture
def baseline() -> str:
    """A baseline of ten seeds."""
    filled("before", run(range(42, 52)))
    assert invoke("baseline", "--store", "before", "--out", "b.json").exit_code == 0
    return "b.json"


def filled(folder: str, records: list[Record]) -> str:
    with Store(Path(folder)) as store:
        for record in records:
            store.commit(record)
    return folder


def test_a_baseline_is_written_from_the_store() -> None:
    filled(".peftcore", run())
    result = invoke("baseline", "--out", "folder/b.json")
    assert result.exit_code == 0
    assert result.stdout == ""
    assert result.stderr == "folder/b.json: 9 trials, 3 seeds\n"
    content = json.loads(Path("folder/b.json").read_text(encoding="utf-8"))
    assert (content["format"], content["schema"]) == ("peftcore baseline", 1)
    assert len(content["content"]["trials"]) == 9


def test_what_makes_no_baseline_is_refused() -> None:
    assert "there is no store in .peftcore" in refused("baseline", "--out", "b.json")
    filled(".peftcore", [trial("full"), trial("full", scenario="embedded")])
    assert "name one by --scenario" in refused("baseline", "--out", "b.json")
    assert invoke("baseline", "--scenario", "embedded", "--out", "b.json").exit_code == 0


def test_what_did_not_change_passes(baseline: str) -> None:
    result = invoke("compare", baseline, "before", "--metrics", "accuracy,counts")
    assert result.exit_code == 0
    assert result.stdout.startswith("gate on imdb-roberta: PASS (identical)\n")


@pytest.mark.parametrize(("gate", "code"), [("fail", 1), ("strict", 1), ("warn", 0), ("off", 0)])
def test_a_regression_exits_with_1_as_the_gate_says(baseline: str, gate: str, code: int) -> None:
    write_records(Path("now.jsonl"), worse(run(), 4))
    result = invoke("compare", baseline, "now.jsonl", "--gate", gate)
    assert result.exit_code == code
    if gate == "off":
        assert "nothing was compared" in result.stderr
        assert result.stdout == ""
    else:
        assert "gate on imdb-roberta: REGRESSION" in result.stdout


def test_an_open_verdict_fails_under_strict_alone(baseline: str) -> None:
    write_records(Path("now.jsonl"), worse(run([70, 71], of="now"), 0.4))
    options = ("compare", baseline, "now.jsonl", "--metrics", "accuracy")
    assert invoke(*options).exit_code == 0
    strict = invoke(*options, "--gate", "strict")
    assert strict.exit_code == 1
    assert "gate on imdb-roberta: INCONCLUSIVE" in strict.stdout


def test_other_hardware_is_invalid(baseline: str) -> None:
    filled("now", [with_hardware(record, cpu="Another") for record in run()])
    result = invoke("compare", baseline, "now")
    assert result.exit_code == 1
    assert "cpu AMD EPYC 7763 → Another" in result.stdout


def test_json_goes_to_standard_output_and_words_to_standard_error(baseline: str) -> None:
    write_records(Path("now.jsonl"), worse(run(), 4))
    result = invoke("compare", baseline, "now.jsonl", "--json", "-", "--markdown", "out/gate.md")
    content = json.loads(result.stdout)
    assert (content["verdict"], content["gate"], content["failed"]) == ("REGRESSION", "fail", True)
    assert "gate on imdb-roberta: REGRESSION" in result.stderr
    text = Path("out/gate.md").read_text(encoding="utf-8")
    assert text.startswith("## ❌ Gate on imdb-roberta: REGRESSION")
    again = invoke("compare", baseline, "now.jsonl", "--json", "verdicts.json")
    assert again.exit_code == 1
    assert json.loads(Path("verdicts.json").read_text(encoding="utf-8")) == content


def test_a_baseline_may_stand_on_either_side(baseline: str) -> None:
    assert invoke("compare", "before", baseline, "--metrics", "accuracy").exit_code == 0


def test_methods_that_were_asked_for(baseline: str) -> None:
    write_records(Path("now.jsonl"), run(methods=("lora",)))
    assert invoke("compare", baseline, "now.jsonl", "--metrics", "counts").exit_code == 1
    options = ("--metrics", "counts", "--method", "lora")
    assert invoke("compare", baseline, "now.jsonl", *options).exit_code == 0


def test_what_can_not_be_meant_is_refused(baseline: str) -> None:
    assert "there is no absent" in refused("compare", "absent", "before")
    assert "there is no absent" in refused("compare", baseline, "absent")
    assert "did you mean 'strict'" in refused("compare", baseline, "before", "--gate", "strickt")
    assert "'speed'" in refused("compare", baseline, "before", "--metrics", "speed")
    assert "neither side has a trial of ia4" in refused(
        "compare", baseline, "before", "--method", "ia4"
    )
    message = refused("compare", baseline, "before", "--json", "absent/verdicts.json")
    assert "can't be written" in message
    Path("broken.json").write_bytes(Path(baseline).read_bytes()[:1000])
    assert "is no whole JSON" in refused("compare", "broken.json", "before")
    assert "is no whole JSON" in refused("compare", baseline, "broken.json")


def test_a_store_that_was_altered_has_its_own_exit_code(baseline: str) -> None:
    with Store(Path("before")) as store:
        store._connection.execute("UPDATE records SET record = replace(record, '0.9', '0.8')")
    assert "is not what was written" in refused("compare", baseline, "before", code=3)

"""The published page on what choices were worth follows from the trials beside it.

The runs are by a stand-in that plans trials and trains none.
"""

from __future__ import annotations

import csv
import importlib
import json
import shutil
import subprocess
import sys
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest

from peftcore.results.records import Record, read_records, write_records
from peftcore.running.planning import Selection, parse_methods, plan
from peftcore.trials import Outcome
from tests.report.conftest import build

ROOT = Path(__file__).resolve().parents[1]
PUBLISHED = ROOT / "reports" / "choose"
NAMES = sorted(path.stem for path in PUBLISHED.glob("*.json"))


def test_the_published_page_follows_from_the_published_trials(tmp_path: Path) -> None:
    folder = Path(shutil.copytree(PUBLISHED, tmp_path / "choose"))
    (folder / "report.md").unlink()
    program = str(ROOT / "benchmarks" / "choice_evidence.py")
    subprocess.run([sys.executable, program, "report", "--out", str(folder)], check=True)
    assert (folder / "report.md").read_text("utf-8") == (PUBLISHED / "report.md").read_text("utf-8")


@pytest.mark.parametrize("name", NAMES)
def test_every_arm_of_a_choice_was_run_to_the_end_on_the_same_examples(name: str) -> None:
    about = json.loads((PUBLISHED / f"{name}.json").read_text(encoding="utf-8"))
    records = list(read_records(PUBLISHED / f"{name}.jsonl"))
    wanted = {
        (arm["method"], arm["learning_rate"], seed)
        for arm in about["choice"]["arms"]
        for seed in about["seeds"]
    }
    found = {(r.method, r.trial["recipe"]["learning_rate"], r.seed) for r in records}
    assert found >= wanted
    assert {method for method, *_ in found - wanted} == {"bow", "head"}
    assert all(record.outcome is Outcome.OK for record in records)
    assert len({record.labels for record in records}) == 1
    # The choice's own trials are of the same data, and were stopped by its budget and not by ours.
    raced = list(read_records(PUBLISHED / f"{name}-race.jsonl"))
    assert {record.trial["backbone"]["identity"] for record in raced} == {
        record.trial["backbone"]["identity"] for record in records
    }
    assert about["choice"]["spent_seconds"] <= 1.1 * about["choice"]["budget_seconds"]


PAIRS = ("premise", "hypothesis", "verdict")


def write_rows(path: Path, count: int, *, first: int = 0, pairs: bool = True) -> Path:
    """Write examples of three classes, in pairs or not."""
    path.parent.mkdir(exist_ok=True)
    with path.open("w", newline="", encoding="utf-8") as stream:
        writer = csv.writer(stream)
        writer.writerow(PAIRS if pairs else ("text", "label"))
        for number in range(first, first + count):
            texts = [f"premise {number}", f"hypothesis {number}"] if pairs else [f"text {number}"]
            writer.writerow([*texts, ("no", "so", "yes")[number % 3]])
    return path


class StandIn:
    """Stands for peftcore: a choice of two arms, and records of the trials that are asked for.

    Attributes:
        asked: the arguments of each command.
        fails: whether commands end with an exit code and a sentence.
    """

    def __init__(self) -> None:
        self.asked: list[dict[str, Any]] = []
        self.fails = False

    def ask(self, *arguments: str) -> subprocess.CompletedProcess[str]:
        command, *rest = arguments
        given: dict[str, Any] = {"command": command, "--set": []}
        for name, value in zip(rest[::2], rest[1::2], strict=True):
            if name == "--set":
                given[name].append(value)
            else:
                given[name] = value
        self.asked.append(given)
        if self.fails:
            return subprocess.CompletedProcess(arguments, 2, "", "progress\npeftcore: the reason\n")
        told = self._choose(given) if command == "choose" else self._run(given)
        return subprocess.CompletedProcess(arguments, 0, told, "")

    def _run(self, given: dict[str, Any]) -> str:
        (trial,) = plan(
            Selection(
                scenario=given["--scenario"],
                methods=parse_methods(given["--method"]),
                seeds=(int(given["--seed"]),),
                data=given["--data"],
                model=given["--model"],
                settings=tuple(given["--set"]),
            )
        )
        return replace(build(trial.method.slug), trial=trial.describe()).to_line() + "\n"

    def _choose(self, given: dict[str, Any]) -> str:
        records = []
        for slug in ("lora", "bow", "head"):
            made = build(slug)
            task = {**made.trial["task"], "test_examples": 18, "max_length": 16}
            trial = {**made.trial, "task": task, "data": {"name": "rows-final"}}
            records.append(replace(made, trial=trial))
        out = Path(given["--out"])
        out.mkdir(exist_ok=True)
        write_records(out / "records.jsonl", records)
        choice = {
            "chosen": {"method": "lora", "learning_rate": 0.001},
            "arms": [{"method": slug, "learning_rate": 0.001} for slug in ("lora", "ia3")],
            "test_examples": 18,
            "out": str(out),
        }
        Path(given["--json"]).write_text(json.dumps(choice), encoding="utf-8")
        return ""


@pytest.fixture
def stand_in() -> StandIn:
    return StandIn()


@pytest.fixture
def program(stand_in: StandIn, monkeypatch: pytest.MonkeyPatch) -> ModuleType:
    monkeypatch.syspath_prepend(ROOT / "benchmarks")
    found = importlib.import_module("choice_evidence")
    monkeypatch.setattr(found, "_version", lambda: stand_in)
    return found


Start = Callable[..., None]


@pytest.fixture
def start(program: ModuleType, tmp_path: Path, bare_model: Path) -> Start:
    """Runs a choice on pairs, and all to the end; options may be changed."""
    data = write_rows(tmp_path / "rows.csv", 90)
    fresh = write_rows(tmp_path / "fresh.csv", 30, first=75)

    def start(*more: str, **changes: Path) -> None:
        program.main(
            [
                *("run", "--name", "rows", "--work", str(tmp_path / "work")),
                *("--data", str(changes.get("data", data))),
                *("--fresh", str(changes.get("fresh", fresh)), "--model", str(bare_model), *more),
            ]
        )

    return start


def published(program: ModuleType, tmp_path: Path) -> list[Record]:
    program.publish(tmp_path / "work", "rows", tmp_path / "out")
    return list(read_records(tmp_path / "out" / "rows.jsonl"))


def test_pairs_are_run_to_the_end_as_pairs_on_the_same_model(
    start: Start, stand_in: StandIn, program: ModuleType, bare_model: Path, tmp_path: Path
) -> None:
    start()
    assert {one["--model"] for one in stand_in.asked} == {str(bare_model)}
    records = published(program, tmp_path)
    assert {record.method for record in records} == {"lora", "ia3", "bow", "head"}
    assert {record.trial["task"]["pair_column"] for record in records} == {"second_text"}
    # Of thirty that are called fresh the choice had fifteen.
    assert {record.trial["task"]["test_examples"] for record in records} == {15}
    first = json.loads((tmp_path / "work/rows/everything/test.jsonl").read_text().split("\n")[0])
    assert first == {"label": "no", "second_text": "hypothesis 90", "text": "premise 90"}


def test_a_folder_with_a_test_set_of_its_own_is_taken_too(
    start: Start, program: ModuleType, tmp_path: Path
) -> None:
    folder = tmp_path / "own"
    write_rows(folder / "train.csv", 72, pairs=False)
    write_rows(folder / "test.csv", 18, first=72, pairs=False)
    start(data=folder, fresh=write_rows(tmp_path / "texts.csv", 30, first=75, pairs=False))
    records = published(program, tmp_path)
    assert {record.trial["task"].get("pair_column") for record in records} == {None}
    assert {record.trial["task"]["train_examples"] for record in records} == {72}
    assert {record.trial["task"]["test_examples"] for record in records} == {15}


def test_what_the_last_run_asked_for_is_published_and_nothing_else(
    start: Start, stand_in: StandIn, program: ModuleType, tmp_path: Path
) -> None:
    start("--seeds", "42", "43")
    assert len(published(program, tmp_path)) == 8
    before = len(stand_in.asked)
    start("--seeds", "44")
    # The choice is not made again.
    assert {one["command"] for one in stand_in.asked[before:]} == {"run"}
    assert [record.seed for record in published(program, tmp_path)] == [44] * 4
    stand_in.fails = True
    with pytest.raises(SystemExit):
        start("--seeds", "45")
    with pytest.raises(program.PeftcoreError, match="no finished run"):
        published(program, tmp_path)


def test_a_choice_that_was_asked_for_otherwise_is_not_taken(
    start: Start, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    start()
    with pytest.raises(SystemExit) as stopped:
        start("--rates", "5", "--set", "max_length=32")
    assert stopped.value.code == 2
    told = capsys.readouterr().err.splitlines()[-1]
    assert "choice.json was made with another --rates and another --set than" in told
    with pytest.raises(SystemExit):
        start(data=write_rows(tmp_path / "others.csv", 84))
    assert "was made with another --data than" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"data": "nowhere.csv"}, "nowhere.csv is not there: name a file"),
        ({"fresh": "own"}, "own is no file: name one"),
        ({"fresh": "rows.csv"}, "rows.csv holds no text that"),
        ({"fresh": "texts.csv"}, "only one has pairs of texts"),
    ],
    ids=lambda value: value if isinstance(value, str) else "-".join(value),
)
def test_what_can_not_be_used_is_told_in_a_sentence(
    start: Start,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
    changes: dict[str, str],
    words: str,
) -> None:
    (tmp_path / "own").mkdir()
    write_rows(tmp_path / "texts.csv", 30, pairs=False)
    with pytest.raises(SystemExit) as stopped:
        start(**{name: tmp_path / file for name, file in changes.items()})
    assert stopped.value.code == 2
    told = capsys.readouterr().err
    assert told.startswith("choice_evidence: ")
    assert words in told
    assert told.count("\n") == 1


def test_a_choice_that_fails_ends_in_its_own_words(
    start: Start, stand_in: StandIn, capsys: pytest.CaptureFixture[str]
) -> None:
    stand_in.fails = True
    with pytest.raises(SystemExit) as stopped:
        start()
    assert stopped.value.code == 2
    expected = "choice_evidence: the choice did not end well: peftcore: the reason\n"
    assert capsys.readouterr().err == expected

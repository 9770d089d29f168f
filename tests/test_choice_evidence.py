"""The published page on what choices were worth follows from the trials beside it."""

from __future__ import annotations

import json
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from peftcore.results.records import read_records
from peftcore.trials import Outcome

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

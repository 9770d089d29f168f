"""Whatever is published under reports/ is held against what it was made from, by some test."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
FOLDERS = sorted(path for path in (ROOT / "reports").iterdir() if path.is_dir())
BY_TESTS_OF_THEIR_OWN = {
    "choose": "tests/test_choice_evidence.py",
    "gate": "tests/test_gate_evidence.py",
    "nothing-lost": "tests/audit/test_published.py",
}
"""Those that are no reports of `peftcore report`, and hold no records.jsonl to audit them by."""


@pytest.mark.parametrize("folder", FOLDERS, ids=lambda folder: folder.name)
def test_every_folder_is_audited_or_has_a_test_of_its_own(folder: Path) -> None:
    test = BY_TESTS_OF_THEIR_OWN.get(folder.name)
    # The audit's own tests take each folder that has records.
    assert (folder / "records.jsonl").is_file() is (test is None)
    if test is not None:
        assert f'"reports" / "{folder.name}"' in (ROOT / test).read_text(encoding="utf-8")


def test_what_the_page_tells_of_kills_is_what_was_counted() -> None:
    published = ROOT / "reports" / "nothing-lost"
    assert [path.name for path in published.iterdir()] == ["kills.json"]
    found = json.loads((published / "kills.json").read_text(encoding="utf-8"))
    page = " ".join((ROOT / "docs" / "parallel.md").read_text(encoding="utf-8").split())
    assert (found["kills"], found["equal"], found["checkpoints_left"]) == (50, True, 0)
    for words in (
        f"{found['kills_of_pytest']} hit pytest and {found['kills_of_trials']} a trial",
        f"each of {found['trials']} trials had one record",
        f"{found['resumed_trials']} had gone on from checkpoints, {found['resumptions']} times",
        f"kill_loop --seed {found['seed']} ",
    ):
        assert words in page
    methods, seeds = 4, found["trials"] // 4
    assert f"--peft-seeds {seeds} " in page
    assert methods * seeds == found["trials"]

"""The published page on what the gate catches follows from the trials beside it."""

from __future__ import annotations

import json
import runpy
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[1]
PUBLISHED = ROOT / "reports" / "gate"
PATCHES = sorted((ROOT / "benchmarks" / "defects").glob("*.patch"))


def render(folder: Path) -> str:
    program = str(ROOT / "benchmarks" / "gate_evidence.py")
    subprocess.run([sys.executable, program, "report", "--out", str(folder)], check=True)
    return (folder / "report.md").read_text(encoding="utf-8")


def test_the_published_page_follows_from_the_published_trials(tmp_path: Path) -> None:
    shutil.copytree(PUBLISHED, tmp_path / "gate")
    (tmp_path / "gate" / "report.md").unlink()
    assert render(tmp_path / "gate") == (PUBLISHED / "report.md").read_text(encoding="utf-8")


def test_every_defect_is_caught_with_eight_seeds() -> None:
    page = (PUBLISHED / "report.md").read_text(encoding="utf-8")
    for patch in PATCHES:
        defect = patch.read_text(encoding="utf-8").partition("\n")[0]
        rows = [line for line in page.splitlines() if line.startswith(f"| {defect} ")]
        assert rows
        for row in rows:
            last = row.split("|")[-2]
            assert any(f"**{verdict}**" in last for verdict in ("REGRESSION", "FLOOR", "INVALID"))


def test_a_cell_says_of_how_many_seeds_it_is_where_they_are_fewer(tmp_path: Path) -> None:
    folder = Path(shutil.copytree(PUBLISHED, tmp_path / "gate"))
    file = folder / "scaling-by-four.jsonl"
    records = [json.loads(line) for line in file.read_text(encoding="utf-8").splitlines()]
    kept = [one for one in records if one["trial"]["seed"] < 46]
    file.write_text("".join(f"{json.dumps(one)}\n" for one in kept), encoding="utf-8")
    page = render(folder)
    (row,) = (line for line in page.splitlines() if line.startswith("| LoRA's scaling"))
    cells = row.split("|")[3:-1]
    assert ["(4 seeds)" in cell for cell in cells] == [False, False, True, True]
    assert "(4 seeds)" not in page.replace(row, "")
    # The reader is told what to make of it, and what was judged by no number.
    assert "where fewer of them were run than the column has, the cell says so" in page
    assert "Nor is memory judged" in page.partition("## Nothing changed")[0]
    assert "Nor is" not in page.partition("## Nothing changed")[2]


@pytest.mark.skipif(shutil.which("patch") is None, reason="needs the program patch")
@pytest.mark.parametrize("patch", PATCHES, ids=lambda patch: patch.stem)
def test_a_defect_still_fits_the_sources(tmp_path: Path, patch: Path) -> None:
    shutil.copytree(
        ROOT / "peftcore", tmp_path / "peftcore", ignore=shutil.ignore_patterns("__pycache__")
    )
    command = ["patch", "--strip=1", "--fuzz=0", f"--input={patch}"]
    subprocess.run(command, cwd=tmp_path, check=True, stdout=subprocess.DEVNULL)


def test_no_run_of_unchanged_code_has_a_seed_on_both_sides(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.syspath_prepend(ROOT / "benchmarks")
    page = runpy.run_path(str(ROOT / "benchmarks" / "gate_evidence.py"))
    seeds = list(range(32))
    ring, apart = page["in_a_ring"](seeds), page["independent"](seeds)
    assert (len(ring), len(apart)) == (10, 5)
    assert all(not set(before) & set(after) for before, after in [*ring, *apart])
    dealt = [seed for run in apart for part in run for seed in part]
    assert len(set(dealt)) == len(dealt) == 30

"""What is said to have changed between two files of fingerprints."""

from __future__ import annotations

import copy
import json
from pathlib import Path
from typing import Any

import pytest

from peftcore.conformance.fingerprints import (
    Fingerprint,
    changes,
    is_fingerprint,
    kept_beside,
    read,
    to_json,
    to_lines,
    twins,
)
from peftcore.errors import UsageError

ENVIRONMENT = {"packages": {"peft": "0.21.2", "torch": "2.13.0"}, "python": "3.11.7", "threads": 2}


def cell(method: str = "lora", architecture: str = "bert", **changed: Any) -> dict[str, Any]:
    """Return a fingerprint as JSON."""
    return {
        "method": method,
        "architecture": architecture,
        "verdict": "conforms",
        "detail": "",
        "losses": [0.7, 0.6, 0.5],
        "logits": [3.0, -1.0],
        "parameters": {"total": 1000, "trainable": 100, "head": 10, "adapter": 90},
        "tensor_bytes": 5000,
        "operations": 300,
        "file_bytes": 400,
        "merged": "yes",
        "checks": {"targets": "4 modules in 2 layers", "reload": "logits within 1e-06"},
        "accelerations": {"padding-free": "on"},
        "declared": True,
        **changed,
    }


def written(folder: Path, name: str, *cells: dict[str, Any], **environment: Any) -> Path:
    file = folder / name
    made = to_json(map(Fingerprint.from_json, cells), {**ENVIRONMENT, **environment})
    file.write_text(json.dumps(made), encoding="utf-8")
    return file


def told(tmp_path: Path, before: list[dict[str, Any]], after: list[dict[str, Any]]) -> list[str]:
    found = changes(
        read(written(tmp_path, "a.json", *before)), read(written(tmp_path, "b.json", *after))
    )
    return [f"{'!' if change.counts else '~'} {change}" for change in found]


def test_equal_files_differ_in_nothing(tmp_path: Path) -> None:
    assert told(tmp_path, [cell()], [copy.deepcopy(cell())]) == []


@pytest.mark.parametrize(
    ("changed", "words"),
    [
        ({"operations": 310}, "! lora on bert: operations a step 300 → 310"),
        ({"tensor_bytes": None}, "! lora on bert: tensor bytes 5,000 → —"),
        ({"file_bytes": 4000}, "! lora on bert: bytes of the file to keep 400 → 4,000"),
        (
            {"parameters": {"total": 1000, "trainable": 50, "head": 10, "adapter": 90}},
            "! lora on bert: trainable parameters 100 → 50",
        ),
        ({"losses": [0.7, 0.6, 0.4]}, "! lora on bert: losses from step 3 on, by up to 0.1"),
        ({"losses": [0.7, 0.6, 0.500001]}, "~ lora on bert: losses from step 3 on, by up to 1e-06"),
        ({"logits": [3.0, -1.1]}, "! lora on bert: logits of moved weights by up to 0.1"),
        ({"logits": [3.0, -1.00003]}, "~ lora on bert: logits of moved weights by up to 3e-05"),
        ({"logits": []}, "! lora on bert: 2 logits → 0"),
        ({"losses": [0.7]}, "! lora on bert: 3 steps → 1"),
        (
            {"checks": {"targets": "2 modules in 2 layers", "reload": "logits within 1e-06"}},
            "! lora on bert: check targets: 4 modules in 2 layers → 2 modules in 2 layers",
        ),
        (
            {"checks": {"targets": "4 modules in 2 layers"}},
            "! lora on bert: check reload: logits within 1e-06 → —",
        ),
        (
            {"accelerations": {"padding-free": "not for this"}},
            "! lora on bert: acceleration padding-free: on → not for this",
        ),
        ({"declared": False}, "! lora on bert: is no longer declared"),
        ({"merged": "LoRA can't be merged: no"}, "! lora on bert: merges: yes → LoRA can't be"),
        (
            {"verdict": "fails", "detail": "reload: it differs", "losses": []},
            "! lora on bert: conforms → fails (reload: it differs)",
        ),
    ],
    ids=lambda value: next(iter(value)) if isinstance(value, dict) else "",
)
def test_each_change_is_named(tmp_path: Path, changed: dict[str, Any], words: str) -> None:
    (found,) = told(tmp_path, [cell()], [cell(**changed)])
    assert found.startswith(words)


def test_equal_losses_are_those_of_one_method_under_two_names(tmp_path: Path) -> None:
    cells = [
        cell("lora"),
        cell("rslora"),
        cell("lora", "roberta"),
        cell("dora", losses=[0.7, 0.6, 0.5000001]),
        cell("shiny", declared=False),
        # What was refused has none.
        cell("bitfit", losses=[], verdict="refused"),
        cell("poly", losses=[], verdict="refused"),
    ]
    assert twins(map(Fingerprint.from_json, cells)) == [("bert", "lora", "rslora")]


def test_of_two_equal_ones_the_one_that_is_kept_later_finds_both(tmp_path: Path) -> None:
    folder = tmp_path / "tried"
    assert kept_beside(folder, "lora", (0.7, 0.6)) == []
    assert kept_beside(folder, "dora", (0.7, 0.5)) == []
    assert kept_beside(folder, "lora", (0.7, 0.6)) == []
    assert kept_beside(folder, "rslora", (0.7, 0.6)) == ["lora"]
    assert kept_beside(folder, "lora", (0.7, 0.6)) == ["rslora"]


def test_how_much_merging_rounds_is_no_change(tmp_path: Path) -> None:
    one, other = (f"yes, rounded to 4 bits: logits within {x}" for x in ("0.1", "0.2"))
    assert told(tmp_path, [cell(merged=one)], [cell(merged=other)]) == []


def test_how_far_rounding_brings_logits_is_no_change(tmp_path: Path) -> None:
    checks = {"targets": "4 modules in 2 layers", "reload": "logits within 3.2e-06"}
    assert told(tmp_path, [cell()], [cell(checks=checks)]) == []


def test_what_nobody_declared_is_told_and_is_no_change_of_a_method(tmp_path: Path) -> None:
    works = cell("shiny", declared=False)
    fails = {**works, "verdict": "fails", "detail": "it broke"}
    assert told(tmp_path, [cell()], [cell(), works]) == [
        "~ shiny on bert (declared by nobody): is new: conforms"
    ]
    assert told(tmp_path, [works], [fails]) == [
        "~ shiny on bert (declared by nobody): conforms → fails (it broke)"
    ]


def test_lines_mark_what_counts_and_sum_up_the_rest(tmp_path: Path) -> None:
    before = read(written(tmp_path, "a.json", cell(), cell("ia3")))
    ia3 = cell("ia3", losses=[0.7, 0.6, 0.500001])
    after = read(written(tmp_path, "b.json", cell(operations=1, file_bytes=2), ia3, threads=1))
    assert to_lines(changes(before, after)) == [
        "  threads 2 → 1",
        "! lora on bert: operations a step 300 → 1",
        "! lora on bert: bytes of the file to keep 400 → 2",
        "  no more than rounding explains: 1 (named in --json)",
        "changes: 2, of lora",
    ]
    assert to_lines(changes(before, before)) == ["no method does otherwise than it did"]


def test_cells_that_came_and_went(tmp_path: Path) -> None:
    found = told(tmp_path, [cell(), cell("ia3")], [cell(), cell("ia3", "roberta")])
    assert found == ["! ia3 on bert: is no longer there", "! ia3 on roberta: is new: conforms"]


def test_the_environment_is_told_and_is_no_change_of_a_method(tmp_path: Path) -> None:
    before = read(written(tmp_path, "a.json", cell()))
    after = read(
        written(
            tmp_path,
            "b.json",
            cell(),
            packages={"peft": "0.22.0", "new": "1"},
            hardware={"cpu": "another"},
            threads=1,
        )
    )
    found = changes(before, after)
    assert [str(change) for change in found] == [
        "peft 0.21.2 → 0.22.0",
        "torch 2.13.0 → —",
        "new — → 1",
        "cpu — → another",
        "threads 2 → 1",
    ]
    assert all(change.rounding for change in found)


def test_a_file_is_known_by_its_beginning(tmp_path: Path) -> None:
    assert is_fingerprint(written(tmp_path, "a.json", cell()))
    other = tmp_path / "other.json"
    other.write_text('{"format": "peftcore baseline"}', encoding="utf-8")
    assert not is_fingerprint(other)
    assert not is_fingerprint(tmp_path)
    assert not is_fingerprint(tmp_path / "absent.json")


@pytest.mark.parametrize(
    "text",
    [
        "",
        "[]",
        '{"format": "peftcore fingerprint", "schema": 2}',
        json.dumps(to_json([], {}) | {"cells": [{"method": "lora"}]}),
        json.dumps(to_json([], {}) | {"cells": [cell(losses=["a word"])]}),
        json.dumps(to_json([], {}) | {"cells": [{**cell(), "verdict": "fine"}]}),
        json.dumps(to_json([], {}) | {"cells": [cell(parameters=[1])]}),
    ],
)
def test_what_is_no_file_of_fingerprints_is_refused(tmp_path: Path, text: str) -> None:
    file = tmp_path / "a.json"
    file.write_text(text, encoding="utf-8")
    with pytest.raises(UsageError, match=r"is no file of fingerprints .*peftcore fingerprint"):
        read(file)


def test_a_file_of_a_later_release_is_refused(tmp_path: Path) -> None:
    content = to_json([], ENVIRONMENT) | {"schema": 3, "cells": [{"other": 1}]}
    file = tmp_path / "a.json"
    file.write_text(json.dumps(content), encoding="utf-8")
    with pytest.raises(UsageError, match=r"schema 3, and this release reads .* schema 2"):
        read(file)

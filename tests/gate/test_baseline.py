"""A baseline file: what goes in comes out, and what is broken or hostile is refused."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from peftcore.errors import UsageError
from peftcore.gate import baseline as module
from peftcore.gate.baseline import FORMAT, read_baseline, write_baseline
from peftcore.gate.judging import judge
from peftcore.gate.verdicts import Verdict
from peftcore.report.metrics import ACCURACY
from peftcore.results.records import read_records
from peftcore.trials import Outcome
from tests.gate.runs import run, trial, with_environment, with_trial

EMBEDDED = Path(__file__).resolve().parents[2] / "reports" / "embedded" / "records.jsonl"

Broken = Callable[[str], str]


@pytest.fixture
def file(tmp_path: Path) -> Path:
    path = tmp_path / "baseline.json"
    write_baseline(path, run())
    return path


def refused(path: Path) -> str:
    with pytest.raises(UsageError) as caught:
        read_baseline(path)
    message = str(caught.value)
    assert str(path) in message
    assert "\n" not in message
    return message


def forged(file: Path, change: Callable[[dict[str, Any]], object]) -> None:
    """Change the contents of a baseline and give it the SHA-256 of what they are now."""
    whole = json.loads(file.read_text(encoding="utf-8"))
    change(whole["content"])
    whole["sha256"] = module._checksum(module._canonical(whole["content"]))
    file.write_text(json.dumps(whole), encoding="utf-8")


def test_what_is_read_is_what_was_written(file: Path) -> None:
    verdicts = judge(read_baseline(file), run())
    decided = [cell for cell in verdicts.cells if cell.metric.counted or cell.metric is ACCURACY]
    assert {cell.verdict for cell in decided} == {Verdict.IDENTICAL}
    for cell in verdicts.cells:
        assert cell.before == pytest.approx(cell.after)


def test_the_published_records_make_one(tmp_path: Path) -> None:
    records = list(read_records(EMBEDDED))
    path = tmp_path / "embedded.json"
    write_baseline(path, records)
    # Fit for a repository.
    assert path.stat().st_size < 4_000 * len(records)
    cells = judge(read_baseline(path), records, metrics=(ACCURACY,)).cells
    # A seed may stay at chance in that scenario, with the code as it is.
    judged = [cell.verdict for cell in cells if cell.verdict is not Verdict.FLOOR]
    assert len(judged) >= 4
    assert set(judged) == {Verdict.IDENTICAL}


def test_the_same_records_give_the_same_bytes(file: Path, tmp_path: Path) -> None:
    write_baseline(tmp_path / "again.json", list(reversed(run())))
    assert (tmp_path / "again.json").read_bytes() == file.read_bytes()


def test_what_makes_no_baseline_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "baseline.json"
    failed = replace(trial("full", 45), outcome=Outcome.OOM, error="no memory", measurement=None)
    with pytest.raises(UsageError, match=r"full-.*-s45.* did not \(oom: no memory\)"):
        write_baseline(path, [*run(), failed])
    with pytest.raises(UsageError, match="there is no record"):
        write_baseline(path, [])
    with pytest.raises(UsageError, match="of different settings"):
        write_baseline(path, [*run(), with_trial(trial("full", 45), setting_id="other")])
    with pytest.raises(UsageError, match="different test examples"):
        write_baseline(path, [*run(), replace(trial("full", 45), labels=(0,) * 400)])
    with pytest.raises(UsageError, match="up to 36 labels"):
        write_baseline(path, [replace(trial("full"), labels=(36,), predictions=(36,))])
    assert list(tmp_path.iterdir()) == []


def test_a_file_that_is_not_there_says_how_to_make_one(tmp_path: Path) -> None:
    assert "peftcore baseline --out" in refused(tmp_path / "absent.json")
    assert "there is no baseline" in refused(tmp_path)


def test_a_huge_file_is_not_read(tmp_path: Path) -> None:
    path = tmp_path / "huge.json"
    with path.open("wb") as stream:
        # A hole: takes no room on the disk, and would take a gigabyte of memory.
        stream.truncate(2**30)
    message = refused(path)
    assert "1,073,741,824 bytes" in message
    assert f"no more than {module.MOST_BYTES:,}" in message


@pytest.mark.parametrize(
    "text", ["[" * 100_000, '{"a":' * 100_000, "[" * 100_000 + "]" * 100_000], ids=["[", "{", "[]"]
)
def test_a_deep_file_is_refused_while_it_is_parsed(tmp_path: Path, text: str) -> None:
    path = tmp_path / "deep.json"
    path.write_text(text)
    assert "recursion limit exceeded" in refused(path)


@pytest.mark.parametrize("share", [0.0, 0.1, 0.5, 0.99])
def test_a_truncated_file_is_refused(file: Path, share: float) -> None:
    raw = file.read_bytes()
    file.write_bytes(raw[: int(share * len(raw))])
    assert "is no whole JSON" in refused(file)


@pytest.mark.parametrize(
    ("broken", "words"),
    [
        (lambda text: text.replace('"schema": 1', '"schema": 2'), "has schema version 2"),
        (lambda text: text.replace('"schema": 1', '"schema": "1"'), "has schema version '1'"),
        (lambda text: text.replace('"seed": 42', '"seed": 41', 1), "its SHA-256 differs"),
        (lambda text: text.replace('"sha256": "', '"sha256": "0', 1), "its SHA-256 differs"),
        (lambda text: text.replace(FORMAT, "something else"), "is no baseline"),
        (lambda text: f"[{text}]", "is no baseline"),
        (lambda text: text.replace('"seed": 42', '"seed": NaN', 1), "is no whole JSON"),
        (lambda text: text[:9] + "\x00", "is no whole JSON"),
    ],
    ids=["version", "type of version", "seed", "sha", "format", "list", "NaN", "binary"],
)
def test_a_file_that_is_something_else_is_refused(file: Path, broken: Broken, words: str) -> None:
    file.write_text(broken(file.read_text(encoding="utf-8")), encoding="utf-8")
    assert words in refused(file)


@pytest.mark.parametrize(
    ("change", "words"),
    [
        (lambda c: c["trials"][0].update(seed="42"), "trials.0.seed"),
        (lambda c: c["trials"][0].update(seed=-1), "trials.0.seed"),
        (lambda c: c["trials"][0]["numbers"].update(accuracy=91.5), "trials.0.numbers.accuracy"),
        (lambda c: c["trials"][0]["numbers"].update(operations=1.5), "numbers.operations"),
        (lambda c: c["trials"][0]["numbers"].pop("tensor_bytes"), "numbers.tensor_bytes"),
        (lambda c: c["trials"][0].update(method="../../etc"), "trials.0.method"),
        (lambda c: c["trials"][0].update(predictions="0?1"), "trials.0.predictions"),
        (lambda c: c["trials"][0].update(predictions="01"), "2 predictions, 400 labels"),
        (lambda c: c["trials"][0].update(environment=7), "there is no environment 7"),
        (lambda c: c["trials"][0].update(losses_sha256="short"), "trials.0.losses_sha256"),
        (lambda c: c["trials"].append(c["trials"][0]), "is there twice"),
        (lambda c: c["trials"].clear(), "trials: "),
        (lambda c: c["environments"][0].pop("hardware"), "does not tell its hardware"),
        (lambda c: c["environments"][0].update(hardware=[1]), "hardware is no object"),
        (lambda c: c["setting"].update(task=5), "task is no object"),
        (lambda c: c["setting"].update(backbone="x"), "backbone is no object"),
        (lambda c: c["setting"].pop("task"), "does not tell task"),
        (lambda c: c.pop("labels"), "labels"),
        (
            lambda c: c["trials"][0]["numbers"].update(accuracy=0.99),
            "given as 0.990000, and its predictions make it 0.9",
        ),
    ],
)
def test_contents_that_can_not_be_are_refused_though_the_checksum_is_right(
    file: Path, change: Callable[[dict[str, Any]], object], words: str
) -> None:
    forged(file, change)
    assert words in refused(file)


def test_environments_are_kept_once_each(tmp_path: Path) -> None:
    path = tmp_path / "baseline.json"
    other = [with_environment(record, threads=4) for record in run([45])]
    baseline = write_baseline(path, [*run(), *other])
    assert len(baseline.environments) == 2
    threads = {one.seed: one.record.environment["threads"] for one in read_baseline(path)}
    assert threads == {42: 8, 43: 8, 44: 8, 45: 4}

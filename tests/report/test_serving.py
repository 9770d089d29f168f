"""The report on serving, from records that nothing was measured for."""

from __future__ import annotations

import copy
import json
import random
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest

from peftcore.audit.auditing import audit
from peftcore.errors import UsageError
from peftcore.report.serving.gathering import Spread
from peftcore.report.serving.render import write_serving_report
from peftcore.results.records import Record
from peftcore.results.selecting import newest_serving, newest_settings, of_serving
from tests.audit.conftest import named, write_lines
from tests.report.conftest import build

SETTINGS = {
    "rounds": 20,
    "warm_up_rounds": 2,
    "singles": 4,
    "batch_size": 16,
    "residents": [1, 4],
    "code": "0123456789ab",
}
COSTS = {("plain", 0): 10.0, ("attached", 1): 14.0, ("attached", 4): 15.0, ("merged", 0): 10.0}


def figure(what: str, **changes: Any) -> dict[str, Any]:
    usual = {"served": None, "residents": 0, "examples": None, "seconds": [], "bytes": None}
    return {"what": what, **usual, "status": "measured", "detail": None, **changes}


def times(milliseconds: float, count: int, seed: str) -> list[float]:
    draw = random.Random(seed)
    return [milliseconds / 1e3 * draw.uniform(0.95, 1.2) for _ in range(count)]


def content(method: str, *, why: str | None = None, copies: int | None = None) -> dict[str, Any]:
    """Return a whole record of serving as JSON.

    Args:
        method: its slug.
        why: it can't be merged, if it can't.
        copies: bytes that four residents would take, if they are not held.
    """
    figures = []
    for (served, count), cost in COSTS.items():
        place: dict[str, Any] = {"served": served, "residents": count}
        if served == "merged" and why:
            place |= {"status": "unavailable", "detail": why}
        elif count == 4 and copies:
            place |= {"status": "unavailable", "detail": "4 sets take 9.0 GB"}
        missing = "status" in place
        held = {"bytes": None if missing else 90_000_000 + 1_000_000 * count}
        if count == 4 and copies:
            held |= {"bytes": copies, "status": "estimated"}
        figures.append(figure("hold", **{**place, **held}))
        for size in (1, 16):
            seconds = times(cost * size, 80 if size == 1 else 20, f"{method} {place} {size}")
            figures.append(
                figure("predict", **place, examples=size, seconds=[] if missing else seconds)
            )
    figures += [
        figure("load", seconds=times(30, 20, f"{method} load")),
        figure("exchange", residents=1, seconds=times(35, 20, f"{method} exchange")),
        figure("swap", residents=4, seconds=times(0.5, 20, f"{method} swap")),
    ]
    if copies:
        figures[-1] |= {"seconds": [], "status": "unavailable", "detail": "4 sets take 9.0 GB"}
    made: dict[str, Any] = json.loads(build(method, gpu=False, examples=100).to_line())
    made["trial"]["serving"] = copy.deepcopy(SETTINGS)
    made["predictions"] = made["labels"] = None
    kept = ("total", "trainable", "head", "adapter")
    measured = {f"{name}_parameters": made["measurement"][f"{name}_parameters"] for name in kept}
    made["measurement"] = {
        **measured,
        "adapter_file_bytes": made["measurement"]["adapter_file_bytes"],
        "serving": {"device": "cpu", "threads": 2, "figures": figures},
    }
    from peftcore.methods import find_method

    made["trial"]["hyperparameters"] = find_method(method).hyperparameters()
    return named(made)


@pytest.fixture
def contents() -> list[dict[str, Any]]:
    return [
        content("full", why="Full has nothing to merge: <b>", copies=2_000_000_000),
        content("lora"),
        content("ia3"),
    ]


def read(contents: Sequence[dict[str, Any]]) -> list[Record]:
    return [Record.from_json(one) for one in contents]


def written(contents: Sequence[dict[str, Any]], folder: Path) -> str:
    return write_serving_report(read(contents), folder).read_text(encoding="utf-8")


def row(text: str, section: str, name: str) -> list[str]:
    part = text.partition(f"## {section}\n")[2]
    line = next(line for line in part.split("\n") if line.startswith(f"| {name} "))
    return [cell.strip() for cell in line.split("|")[1:-1]]


def test_tables_tell_what_the_records_hold(contents: list[dict[str, Any]], tmp_path: Path) -> None:
    text = written(contents, tmp_path)
    swaps = times(0.5, 20, "lora swap")
    spread = Spread.of(swaps)
    assert spread is not None
    assert row(text, "Keep, load and swap", "LoRA")[1::3] == ["4.731", spread.show(1e3)]
    assert sorted(swaps)[9] < spread.median < sorted(swaps)[10]
    held = row(text, "Memory held", "Full")
    assert held == ["Full", "90.00", "91.00", "≈ 2,000.00 (estimated)", "—"]
    latency = row(text, "Latency: one example", "LoRA")
    assert len(latency) == 8
    assert 1.0 < float(latency[3].split()[0]) < 1.8
    batch = Spread.of(times(160, 20, f"lora { ({'served': 'plain', 'residents': 0}) } 16"))
    assert batch is not None
    throughput = row(text, "Throughput", "LoRA")
    assert throughput[1] == f"{16 / batch.median:,.1f}"
    assert row(text, "Throughput", "Full")[-2:] == ["—", "—"]


def test_what_is_not_measured_says_why_in_harmless_words(
    contents: list[dict[str, Any]], tmp_path: Path
) -> None:
    text = written(contents, tmp_path)
    rows = text.partition("## What was not measured\n")[2]
    assert "Full has nothing to merge: &lt;b&gt;" in rows
    assert "| estimated" in rows
    assert "predict one, 4 resident, predict 16 together, 4 resident, swap among 4 resident" in rows
    alone = written([content("lora")], tmp_path / "alone")
    assert "Every figure is measured, none estimated." in alone


def test_what_must_be_known_of_a_measured_figure_is_told(
    contents: list[dict[str, Any]], tmp_path: Path
) -> None:
    for one in contents[1]["measurement"]["serving"]["figures"]:
        if one["served"] == "merged":
            one["detail"] = "the sum is rounded to 4 bits: logits within 0.3"
    text = written(contents, tmp_path)
    told = text.partition("## What must be known of what was measured\n")[2].partition("\n## ")[0]
    (line,) = [line for line in told.split("\n") if "rounded to 4 bits" in line]
    assert "LoRA" in line
    assert "memory, merged, predict one, merged, predict 16 together, merged" in line
    assert audit(tmp_path).findings == ()


def test_sentences_name_the_smallest_and_the_largest(
    contents: list[dict[str, Any]], tmp_path: Path
) -> None:
    # Full has no adapter: however little its time is, it is no smallest of these.
    for one in contents[0]["measurement"]["serving"]["figures"]:
        if (one["what"], one["served"]) == ("predict", "attached"):
            one["seconds"] = [seconds / 2 for seconds in one["seconds"]]
    text = written(contents, tmp_path)
    ratios = {
        name: float(row(text, "Latency: one example", name)[3].split()[0])
        for name in ("LoRA", "IA3")
    }
    low, high = (pick(ratios, key=lambda name: ratios[name]) for pick in (min, max))
    assert (
        f"One example takes, with its adapter attached, from {ratios[low]:.2f} ({low}) to "
        f"{ratios[high]:.2f} times the plain model's time ({high})." in text
    )


def test_a_machine_that_was_shared_is_told(contents: list[dict[str, Any]], tmp_path: Path) -> None:
    contents[1]["measurement"]["shared"] = True
    assert "these times say little: those of LoRA." in written(contents, tmp_path)


def test_a_method_that_failed_stands_apart(contents: list[dict[str, Any]], tmp_path: Path) -> None:
    contents[2] |= {"outcome": "crashed", "error": "gone", "measurement": None}
    text = written(contents, tmp_path)
    assert "## Methods without a result" in text
    assert "| IA3      | failed: the process died |" in text


def test_the_same_records_give_the_same_bytes(
    contents: list[dict[str, Any]], tmp_path: Path
) -> None:
    for folder in ("a", "b"):
        written(contents, tmp_path / folder)
    for file in ("report.md", "records.jsonl", "figures/serving.png", "figures/serving.svg"):
        assert (tmp_path / "a" / file).read_bytes() == (tmp_path / "b" / file).read_bytes()


def test_the_audit_follows_the_report(contents: list[dict[str, Any]], tmp_path: Path) -> None:
    written(contents, tmp_path)
    found = audit(tmp_path)
    assert found.kind == "what serving costs"
    assert found.findings == ()
    assert all(part.checked > 20 for part in found.parts)


def test_a_batch_of_one_has_one_table(contents: list[dict[str, Any]], tmp_path: Path) -> None:
    for one in contents:
        one["trial"]["serving"]["batch_size"] = 1
        serving = one["measurement"]["serving"]
        serving["figures"] = [f for f in serving["figures"] if f["examples"] != 16]
        named(one)
    text = written(contents, tmp_path)
    assert "## Latency: one example" in text
    assert "## Latency: a batch" not in text
    assert audit(tmp_path).findings == ()


@pytest.mark.parametrize(
    ("old", "new"),
    [("≈ 2,000.00", "≈ 2,001.00"), (" 91.00 |", " 91.10 |"), ("4.731", "4.732")],
)
def test_the_audit_finds_a_number_that_was_changed(
    contents: list[dict[str, Any]], tmp_path: Path, old: str, new: str
) -> None:
    text = written(contents, tmp_path)
    assert old in text
    (tmp_path / "report.md").write_text(text.replace(old, new, 1), encoding="utf-8")
    parts = {part.name: len(part.findings) for part in audit(tmp_path).parts}
    assert list(parts.values())[1:] == [1, 1]


def test_the_audit_finds_records_that_do_not_hold_together(
    contents: list[dict[str, Any]], tmp_path: Path
) -> None:
    written(contents, tmp_path)
    figures = contents[1]["measurement"]["serving"]["figures"]
    figures[1]["seconds"].pop()
    merged = next(f for f in contents[2]["measurement"]["serving"]["figures"] if f["served"])
    merged |= {"status": "unavailable", "detail": None, "bytes": None}
    contents[0]["measurement"]["serving"]["figures"].pop()
    write_lines(tmp_path, contents)
    told = [finding.what for finding in audit(tmp_path).parts[0].findings]
    assert any("was not measured in each round" in what for what in told)
    assert any("says not why" in what for what in told)
    assert any("not those that its settings ask for" in what for what in told)


def test_records_of_serving_pass_for_no_comparison(contents: list[dict[str, Any]]) -> None:
    records = read(contents)
    assert all(map(of_serving, records))
    assert newest_serving([build("lora"), *records]) == {"imdb-roberta": records}
    assert newest_settings([build("lora")])["imdb-roberta"][0].method == "lora"
    assert "serving" not in build("lora").to_json()["measurement"]
    assert Record.from_json(records[0].to_json()) == records[0]


def test_two_settings_share_no_report(contents: list[dict[str, Any]], tmp_path: Path) -> None:
    contents[0]["trial"]["setting_id"] = "another"
    with pytest.raises(UsageError, match="can't share a report"):
        written(contents, tmp_path)
    with pytest.raises(UsageError, match="nothing to report"):
        write_serving_report([], tmp_path)

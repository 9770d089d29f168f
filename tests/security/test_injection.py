"""Text from data, models and machines that would like to be markup, a command or a path."""

from __future__ import annotations

import copy
import dataclasses
import itertools
import re
import subprocess
import sys
from pathlib import Path
from typing import Any
from xml.etree import ElementTree

import pytest

from peftcore.errors import UsageError, printable
from peftcore.report.engines.render import write_engine_report
from peftcore.report.render import write_report
from peftcore.results.records import Record, read_records, write_records
from peftcore.running.progress import ProgressDisplay
from peftcore.trials import Outcome
from tests.report.conftest import STUDY, build

ATTACK = (
    '"><script>alert(1)</script><img src=x onerror=alert(2)>![x](http://evil/x.png)'
    "[y](javascript:alert(3))|`a`<!-- \x1b[31m\x1b]0;title\x07\u202e\r\n# heading\n\n| a | b |\n"
    "&lt;$\\alpha$ \x9b2J"
)
HREF = "{http://www.w3.org/1999/xlink}href"
CONTROL = re.compile(r"[\x00-\x09\x0b-\x1f\x7f-\x9f\u200e\u200f\u202a-\u202e\u2066-\u2069]")


def hostile(value: Any) -> Any:
    """Return JSON values with every text in them replaced by the attack."""
    if isinstance(value, dict):
        return {name: hostile(inner) for name, inner in value.items()}
    if isinstance(value, list | tuple):
        return [hostile(inner) for inner in value]
    return ATTACK if isinstance(value, str) else value


def attacking(record: Record) -> Record:
    """Return the record with the attack in all that does not decide what the report is of."""
    kept = {"id", "method", "scenario", "seed", "setting_id", "weights", "part", "recipe", "task"}
    trial = {n: v if n in kept else hostile(v) for n, v in copy.deepcopy(record.trial).items()}
    trial["engine"] = record.trial["engine"]
    trial["hyperparameters"] = {ATTACK: ATTACK}
    trial["overrides"] = [f"epochs={ATTACK}"]
    environment = hostile(copy.deepcopy(dict(record.environment)))
    environment["packages"] = {ATTACK: ATTACK}
    measurement = record.measurement
    if measurement is not None:
        measurement = dataclasses.replace(
            measurement,
            checks=[{"name": ATTACK, "detail": ATTACK}],
            accelerations={ATTACK: ATTACK},
        )
    return dataclasses.replace(
        record, trial=trial, environment=environment, measurement=measurement
    )


def renamed(record: Record, method: str) -> Record:
    return dataclasses.replace(record, trial={**record.trial, "method": method, "id": method})


def hostile_records() -> list[Record]:
    """Return records of one report with the attack wherever there is room for it."""
    found = [attacking(build(method)) for method in STUDY]
    found.append(renamed(attacking(build("lora")), ATTACK))
    found.append(renamed(attacking(build("lora")), "../../../escaped"))
    failed = attacking(build("lora", outcome="failed", error=ATTACK))
    found.append(renamed(failed, "/tmp/absolute"))
    return found


@pytest.fixture
def records() -> list[Record]:
    return hostile_records()


def files(folder: Path) -> set[str]:
    return {str(path.relative_to(folder)) for path in folder.rglob("*") if path.is_file()}


def require_harmless(markdown: str) -> None:
    """Check that Markdown holds no markup but the report's own."""
    assert not CONTROL.search(markdown)
    # Code is shown as it stands; elsewhere a tag or a comment would be one.
    assert not re.search(r"<[a-zA-Z!/]", markdown)
    for target in re.findall(r"(?<!\\)\]\(([^)]*)\)", markdown):
        assert "evil" not in target
        assert "javascript" not in target
    # A line of its own could begin a heading or a table.
    assert not re.search(r"^# heading", markdown, re.MULTILINE)
    assert not re.search(r"^\| a \| b \|", markdown, re.MULTILINE)
    # All rows of a table have as many cells as its head.
    lines = markdown.splitlines()
    for head, row in itertools.pairwise(lines):
        if head.startswith("|") and row.startswith("|"):
            assert len(re.findall(r"(?<!\\)\|", head)) == len(re.findall(r"(?<!\\)\|", row))


def test_a_report_shows_hostile_text_as_text(records: list[Record], tmp_path: Path) -> None:
    out = tmp_path / "out" / "embedded"
    write_report(records, out)
    require_harmless((out / "report.md").read_text(encoding="utf-8"))
    # Nothing is written under a name that came from a record.
    assert {path.name for path in tmp_path.iterdir()} == {"out"}
    for name in files(tmp_path / "out"):
        assert re.fullmatch(
            r"embedded/([a-z_]+\.(md|html|jsonl|csv)|figures/[a-z_]+\.(png|svg))", name
        )


def test_a_figure_shows_hostile_text_as_text(records: list[Record], tmp_path: Path) -> None:
    write_report(records, tmp_path)
    drawings = sorted((tmp_path / "figures").glob("*.svg"))
    assert drawings
    for drawing in drawings:
        text = drawing.read_text(encoding="utf-8")
        assert not CONTROL.search(text)
        for element in ElementTree.fromstring(text).iter():
            kind = element.tag.rpartition("}")[2]
            assert kind not in ("script", "foreignObject", "a")
            if kind == "image":
                # The bar of a colour scale, which matplotlib draws as pixels, within the file.
                assert element.attrib[HREF].startswith("data:image/png;base64,")
            assert not any(name.startswith("on") for name in element.attrib)


def test_a_report_of_the_engines_shows_hostile_text_as_text(tmp_path: Path) -> None:
    found = []
    for method in ("lora", ATTACK):
        for seed in (42, 43):
            for engine in ("peftcore", "trainer"):
                record = attacking(build("lora", seed=seed))
                trial = {**record.trial, "method": method, "engine": engine, "part": "pairs"}
                trial |= {"id": f"{method} {seed} {engine}"}
                found.append(dataclasses.replace(record, trial=trial))
    write_engine_report(found, tmp_path / "engine")
    require_harmless((tmp_path / "engine" / "report.md").read_text(encoding="utf-8"))


@pytest.mark.parametrize("scenario", ["../outside", "/tmp/outside", "a/../../b", "..", "", "A\n"])
def test_imported_records_name_no_place(tmp_path: Path, scenario: str) -> None:
    record = build("lora")
    trial = {**record.trial, "scenario": scenario}
    write_records(tmp_path / "bad.jsonl", [dataclasses.replace(record, trial=trial)])
    with pytest.raises(UsageError, match="is no scenario's name"):
        list(read_records(tmp_path / "bad.jsonl"))


def peftcore(folder: Path, *arguments: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-m", "peftcore", *arguments],
        cwd=folder,
        capture_output=True,
        text=True,
        timeout=120,
    )


def test_import_and_report_write_nothing_elsewhere(tmp_path: Path, records: list[Record]) -> None:
    work = tmp_path / "work"
    work.mkdir()
    write_records(work / "records.jsonl", records)
    assert peftcore(work, "import", "records.jsonl").returncode == 0
    result = peftcore(work, "report", "--out", "out")
    assert result.returncode == 0, result.stderr
    assert {path.name for path in tmp_path.iterdir()} == {"work"}
    assert {name.split("/")[0] for name in files(work)} == {"records.jsonl", ".peftcore", "out"}
    assert {name.split("/")[1] for name in files(work) if name.startswith("out/")} == {
        records[0].scenario
    }
    assert not Path("/tmp/absolute").exists()
    for stream in (result.stdout, result.stderr):
        assert not CONTROL.search(stream)


# The terminal


class Screen:
    """A terminal that keeps what it was told."""

    def __init__(self, *, people: bool) -> None:
        self.text = ""
        self._people = people

    def write(self, text: str) -> None:
        self.text += text

    def isatty(self) -> bool:
        return self._people


@pytest.mark.parametrize("people", [True, False])
def test_progress_shows_control_characters_and_obeys_none(people: bool) -> None:
    screen = Screen(people=people)
    display = ProgressDisplay(screen)
    display.show(ATTACK, {"phase": ATTACK})
    failed = build("lora", outcome="failed", error="bad \x1b[2J label")
    assert failed.outcome is Outcome.FAILED
    display.done(ATTACK, failed.summary())
    own = screen.text.replace("\r\x1b[K", "")
    assert not CONTROL.search(own)
    assert r"bad \x1b[2J label" in own


def test_errors_show_control_characters_and_obey_none() -> None:
    assert (
        printable("a\x1b[31m\x9b\u202e\u2028b\tc\nd é –") == r"a\x1b[31m\x9b\u202e\u2028b"
        "\tc\nd é –"
    )
    assert str(UsageError("folder \x1b[31m")) == r"folder \x1b[31m"


def test_a_folder_with_a_hostile_name_is_shown_by_the_command_as_text(tmp_path: Path) -> None:
    named = "bad\x1b[31m\x9bname"
    (tmp_path / named).mkdir()
    for option in ("--model", "--data"):
        result = peftcore(tmp_path, "run", "--method", "lora", option, named)
        assert result.returncode == 2
        assert not CONTROL.search(result.stderr)
        assert r"\x1b[31m" in result.stderr

"""Whole audits: of every committed report, and of reports that were tampered with."""

from __future__ import annotations

import json
import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
from click.testing import CliRunner

from peftcore.__main__ import main
from peftcore.audit import rendering
from peftcore.audit.auditing import audit
from peftcore.audit.reading import MOST_BYTES
from peftcore.errors import StoreError
from peftcore.report.render import write_report
from peftcore.results.records import Record
from tests.audit.conftest import named, whole, write_lines
from tests.report.conftest import build

ALL_OF_THEM = Path(__file__).parents[2] / "reports"
REPORTS = sorted(path.parent for path in ALL_OF_THEM.rglob("records.jsonl"))


@pytest.mark.parametrize("folder", REPORTS, ids=lambda folder: str(folder.relative_to(ALL_OF_THEM)))
def test_every_committed_report_follows_from_its_records(folder):
    found = audit(folder)
    assert [finding.sentence() for finding in found.findings] == []
    assert all(part.checked > 100 for part in found.parts)


@pytest.fixture(scope="module")
def published(tmp_path_factory):
    """Return the folder of a small report that holds together, once for all."""
    folder = tmp_path_factory.mktemp("published")
    contents = [
        whole(build(method, seed=seed, examples=400, accuracy=accuracy, losses=[]))
        for method, accuracy in (("full", 0.91), ("lora", 0.9))
        for seed in (42, 43)
    ]
    write_report([Record.from_json(content) for content in contents], folder)
    return folder


@pytest.fixture
def copied(published, tmp_path):
    """Return a copy of the report, to be tampered with."""
    return Path(shutil.copytree(published, tmp_path / "report"))


def lines_of(folder):
    return [json.loads(line) for line in (folder / "records.jsonl").read_text().splitlines()]


def told(folder):
    """Run the command and return its exit status and what it says."""
    done = CliRunner().invoke(main, ["audit", str(folder)])
    return done.exit_code, done.output


def test_a_report_that_follows(copied):
    status, text = told(copied)
    assert status == 0, text
    assert text.endswith("everything follows\n")
    assert text.count("all met") == 3


def test_each_tampered_file_of_a_report_is_named(copied):
    report = copied / "report.md"
    text = report.read_text(encoding="utf-8")
    assert "| LoRA     |  2 of 2 |" in text
    time = next(line for line in text.split("\n") if line.startswith("| LoRA ")).split("|")[6]
    report.write_text(text.replace(time, time.replace("459.0", "459.6"), 1), encoding="utf-8")
    figures = copied / "figures"
    (figures / "overview.svg").write_bytes((figures / "accuracy_by_memory.svg").read_bytes())
    (figures / "overview.png").write_bytes((figures / "accuracy_by_memory.png").read_bytes())
    (figures / "agreement.png").unlink()
    (figures / "added.svg").write_text("<svg/>")
    page = copied / "report.html"
    text = page.read_text(encoding="utf-8")
    assert '"text":"459.0' in text
    page.write_text(text.replace('"text":"459.0', '"text":"459.2', 1), encoding="utf-8")
    flips = copied / "flips.csv"
    flips.write_text(flips.read_text().replace("\nlora,", "\nlora,1", 1))
    status, text = told(copied)
    assert status == 1
    assert "published is 459.6; what follows is 459.0" in text
    assert "figures/overview.svg: another figure follows" in text
    assert "figures/overview.png: another figure follows" in text
    assert "figures/agreement.png: this file is missing" in text
    assert "figures/added.svg: this file does not follow" in text
    assert "flips.csv, line 2" in text
    assert re.search(r"report.html, line \d+: another number follows; published is 459.2", text)
    # The second way names the number too, by what it is and not only by what it should read.
    assert text.count("459.6") == 2
    assert "the records against themselves" in text.split("all met")[0]
    assert text.endswith("not everything follows\n")


def test_a_dropped_record_and_a_changed_answer_are_found_in_the_report(copied):
    """Even where the records hold together again: the report was made of others."""
    contents = lines_of(copied)
    first = contents[0]
    n = next(n for n, p in enumerate(first["predictions"]) if p != first["labels"][n])
    first["predictions"][n] = first["labels"][n]
    first["measurement"]["accuracy"] += 1 / 400
    first["measurement"]["epoch_accuracies"][-1][1] = first["measurement"]["accuracy"]
    write_lines(copied, [named(content) for content in contents[:-1]])
    found = audit(copied)
    records, rendered, recomputed = found.parts
    assert records.findings == ()
    sentences = [finding.sentence() for finding in rendered.findings]
    assert any("row “LoRA”, column “Seeds”" in s and "follows is 1" in s for s in sentences)
    assert any("row “Full”, column “Accuracy (%)”" in s for s in sentences)
    assert any("row “Full”" in finding.where for finding in recomputed.findings)


def test_records_that_can_share_no_report_are_told(copied):
    contents = lines_of(copied)
    contents[0]["trial"]["recipe"]["batch_size"] = 4
    contents[0]["measurement"]["losses"] = []
    write_lines(copied, [named(content) for content in contents])
    status, text = told(copied)
    assert status == 1
    assert "no report follows: records of different settings can't share a report" in text


def test_without_room_to_render_it_again_nothing_is_said_of_a_report(copied, monkeypatch):
    def full(*_, **__):
        raise StoreError("No space left on device; the records are in the store still")

    monkeypatch.setitem(rendering._WRITERS, rendering.Kind.COMPARISON, full)
    with pytest.raises(StoreError, match="can't be rendered again to be compared: make room in "):
        audit(copied)


def test_a_record_that_can_not_be_read_leaves_the_rest_unchecked_and_says_so(copied):
    with (copied / "records.jsonl").open("a") as stream:
        stream.write("{\n")
    status, text = told(copied)
    assert status == 1
    assert "records.jsonl, line 5: it is no JSON" in text
    assert text.count("it can't be checked, as not all of records.jsonl could be read") == 2


def test_the_audit_as_json(copied):
    (copied / "records.jsonl").write_text("{}\n")
    done = CliRunner().invoke(main, ["audit", str(copied), "--json", "-"])
    assert done.exit_code == 1
    content = json.loads(done.stdout)
    assert (content["follows"], content["records"], content["kind"]) == (False, 0, None)
    assert [part["checked"] > 0 for part in content["parts"]] == [True] * 3
    assert content["parts"][0]["findings"][0]["where"] == "records.jsonl, line 1"
    assert "not everything follows" in done.stderr


def test_a_figure_too_large_to_be_one_is_told_and_the_rest_is_checked(copied):
    with (copied / "figures" / "overview.png").open("ab") as stream:
        stream.truncate(MOST_BYTES + 1)
    (sentence,) = [finding.sentence() for finding in audit(copied).findings]
    assert sentence.startswith("figures/overview.png: ")
    assert "larger than" in sentence


def test_a_page_that_the_report_names_must_be_there_and_no_other(copied):
    (copied / "report.html").unlink()
    (sentence,) = [finding.sentence() for finding in audit(copied).findings]
    assert sentence == "report.html: this file is missing"
    # What was published before there were pages names none, and needs none.
    report = copied / "report.md"
    text = report.read_text(encoding="utf-8")
    report.write_text(text.replace("[report.html](report.html)", "nothing"), encoding="utf-8")
    sentences = [finding.sentence() for finding in audit(copied).findings]
    assert sentences
    assert not any(sentence.startswith("report.html") for sentence in sentences)


def test_a_folder_that_is_no_report(tmp_path):
    status, text = told(tmp_path)
    assert status == 2
    assert "is no report: it has no report.md" in text


def test_it_needs_no_training_stack(tmp_path):
    program = (
        "import sys\n"
        "import peftcore.audit.auditing\n"
        "heavy = {'torch', 'peft', 'transformers', 'bitsandbytes', 'datasets', 'pytest'}\n"
        "print(sorted(heavy & set(sys.modules)))\n"
    )
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True)
    assert done.stdout.strip() == "[]"

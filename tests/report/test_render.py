"""The whole report.

``golden/report.md`` is what the study's figures give, ``golden/over-seeds.md`` what they give with
three seeds a little apart. After a change that is meant, renew it with

    PEFTCORE_RENEW_GOLDEN=1 pytest tests/report/test_render.py

and read the difference before committing it.
"""

import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

from peftcore.errors import StoreError, UsageError
from peftcore.report.render import write_report
from peftcore.results.records import read_records
from peftcore.scenarios import find_scenario

GOLDEN = Path(__file__).parent / "golden"


def contents(folder: Path) -> dict[str, bytes]:
    return {
        str(path.relative_to(folder)): path.read_bytes()
        for path in folder.rglob("*")
        if path.is_file()
    }


@pytest.mark.parametrize(
    ("records", "name"), [("study", "report.md"), ("over_seeds", "over-seeds.md")]
)
def test_golden(request, tmp_path, records, name):
    path = write_report(request.getfixturevalue(records), tmp_path)
    assert path == tmp_path / "report.md"
    text = path.read_text(encoding="utf-8")
    golden = GOLDEN / name
    if os.environ.get("PEFTCORE_RENEW_GOLDEN"):
        golden.write_text(text, encoding="utf-8", newline="\n")
    assert text == golden.read_text(encoding="utf-8"), "see the top of this file"


def test_the_folder_holds_report_records_and_figures(study, tmp_path):
    write_report(study, tmp_path / "new" / "folder")
    names = set(contents(tmp_path / "new" / "folder"))
    assert {"report.md", "records.jsonl", "flips.csv"} < names
    assert len([name for name in names if name.startswith("figures")]) == 10


def test_rendering_again_gives_the_same_bytes(study, tmp_path):
    write_report(study, tmp_path)
    first = contents(tmp_path)
    write_report(list(reversed(study)), tmp_path)
    assert contents(tmp_path) == first


def test_rendering_from_the_written_records_gives_the_same_bytes(record, study, tmp_path):
    records = [*study, record("zeta", seed=42, outcome="failed", error="odd | text\n…")]
    write_report(records, tmp_path / "a")
    write_report(list(read_records(tmp_path / "a" / "records.jsonl")), tmp_path / "b")
    assert contents(tmp_path / "a") == contents(tmp_path / "b")


def test_every_image_is_there_and_has_a_text(study, tmp_path):
    text = write_report(study, tmp_path).read_text(encoding="utf-8")
    images = re.findall(r"^!\[(.+)\]\((.+)\)$", text, flags=re.MULTILINE)
    assert len(images) == 5
    for alt, target in images:
        assert len(alt) > 30
        assert (tmp_path / target).stat().st_size > 0


def test_every_table_has_as_many_cells_in_each_row(study, tmp_path):
    text = write_report(study, tmp_path).read_text(encoding="utf-8")
    for block in text.split("\n\n"):
        if block.startswith("|"):
            counts = {len(re.findall(r"(?<!\\)\|", line)) for line in block.splitlines()}
            assert len(counts) == 1, block


HOSTILE = "</td><script>alert(1)</script> | x | ![i](http://e) `c` **b**\n# heading\n| a | b |"


def test_text_from_elsewhere_can_not_break_out(record, tmp_path):
    environment = {
        "hardware": {"cpu": HOSTILE, "gpu": HOSTILE},
        "packages": {HOSTILE: HOSTILE},
        "platform": HOSTILE,
        "git_commit": HOSTILE,
    }
    records = [
        record("full", notes=(HOSTILE, HOSTILE), overrides=(HOSTILE,), environment=environment),
        record("lora", outcome="failed", error=HOSTILE),
        record(HOSTILE, checks=[{"name": HOSTILE, "detail": HOSTILE}]),
    ]
    text = write_report(records, tmp_path).read_text(encoding="utf-8")
    assert "<script" not in text
    assert "</td" not in text
    assert "\n# heading" not in text
    assert "](http://e)" not in text.replace(r"\](http://e)", "")
    assert not re.search(r"(?<!\\)`c", text)
    injected = [line for line in text.splitlines() if line.startswith("| a | b |")]
    assert injected == []


def test_a_failed_method_has_no_number_in_the_report(record, tmp_path):
    records = [record("full"), record("qlora", outcome="oom", error="it did not fit")]
    text = write_report(records, tmp_path).read_text(encoding="utf-8")
    tables = text[: text.index("## The source study's claims")]
    rows = [line for line in tables.splitlines() if line.startswith("| QLoRA")]
    assert len(rows) == 1
    assert "failed: out of memory" in rows[0]
    assert not re.search(r"\d", rows[0])
    assert "it did not fit" in text[text.index("## Trials without a result") :]


def test_random_weights_show_no_accuracy_in_the_report(record, tmp_path):
    slugs = ("full", "lora", "qlora", "ia3", "bow", "head")
    records = [record(slug, weights="random") for slug in slugs]
    text = write_report(records, tmp_path).read_text(encoding="utf-8")
    for accuracy in ("91.4", "91.15", "90.45", "84.95", "87.0", "81.2", "99.7%)"):
        assert accuracy not in text
    assert "weights are random" in text


def test_a_caveat_and_notes_come_before_any_number(record, tmp_path):
    records = [
        record(m, scenario="embedded", notes=("tokenizer replaced", None)) for m in ("full", "lora")
    ]
    lines = write_report(records, tmp_path).read_text(encoding="utf-8").splitlines()
    assert lines[2] == f"> **{find_scenario('embedded').caveat}**"
    assert lines[4] == "> Backbone: tokenizer replaced"


def test_a_record_with_only_what_the_format_demands(record, tmp_path):
    full = record("full")
    trial = {key: full.trial[key] for key in
             ("id", "method", "scenario", "seed", "setting_id", "weights")}  # fmt: skip
    bare = type(full)(trial=trial, outcome=full.outcome, measurement=full.measurement)
    assert "| Backbone" in write_report([bare], tmp_path).read_text(encoding="utf-8")


def test_nothing_to_report_leaves_an_earlier_report_alone(study, tmp_path):
    write_report(study, tmp_path)
    before = contents(tmp_path)
    with pytest.raises(UsageError):
        write_report([], tmp_path)
    with pytest.raises(UsageError):
        write_report([study[0], study[0]], tmp_path)
    assert contents(tmp_path) == before


def test_a_number_that_is_not_finite_is_refused(record, tmp_path):
    with pytest.raises(StoreError, match="not finite"):
        write_report([record("lora", train_seconds=float("nan"))], tmp_path)


def test_rendering_needs_no_training_stack(study, tmp_path):
    write_report(study, tmp_path)
    program = (
        "import sys, pathlib\n"
        "from peftcore.report.render import write_report\n"
        "from peftcore.results.records import read_records\n"
        "folder = pathlib.Path(sys.argv[1])\n"
        "write_report(list(read_records(folder / 'records.jsonl')), folder / 'again')\n"
        "heavy = {'torch', 'peft', 'transformers', 'bitsandbytes', 'datasets', 'pytest'}\n"
        "print(sorted(heavy & set(sys.modules)))\n"
    )
    done = subprocess.run(
        [sys.executable, "-c", program, str(tmp_path)], capture_output=True, text=True, check=True
    )
    assert done.stdout.strip() == "[]"
    assert (tmp_path / "again" / "report.md").read_bytes() == (tmp_path / "report.md").read_bytes()

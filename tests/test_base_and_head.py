"""Two versions run interleaved: by stand-ins that take no time, and once for real."""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from typing import Any

import pytest

from benchmarks.base_and_head import Turn, main, schedule

SOURCES = Path(__file__).resolve().parents[1] / "peftcore"

STAND_IN = """
import json, pathlib, sys

METHODS, OPTIONS, CODE, VERDICT = {methods!r}, {options!r}, {code!r}, {verdict!r}
command, *rest = sys.argv[1:]
given = dict(zip(rest[::2], rest[1::2]))
if command == "scenarios":
    print(json.dumps([{{"name": "embedded", "methods": METHODS}}]))
elif command == "run" and rest == ["--help"]:
    print(*OPTIONS)
elif command == "run":
    unknown = sorted(set(given) - set(OPTIONS))
    if unknown:
        sys.exit(f"no such option: {{unknown}}")
    if CODE:
        print("peftcore: the reason", file=sys.stderr)
        sys.exit(CODE)
    here = pathlib.Path(__file__).parents[1].name
    record = {{"ran": here, "method": given["--method"], "seed": int(given["--seed"])}}
    pathlib.Path(given["--json"]).write_text(json.dumps(record) + "\\n")
elif command == "compare" and VERDICT is not None:
    before, after = (pathlib.Path(name).read_text().splitlines() for name in rest[:2])
    given = dict(zip(rest[2::2], rest[3::2]))
    text = f"{{len(before)}} against {{len(after)}}, gate {{given['--gate']}}"
    pathlib.Path(given["--markdown"]).write_text(text)
    sys.exit(VERDICT)
else:
    print(f"No such command {{command!r}}.", file=sys.stderr)
    sys.exit(2)
"""
OPTIONS = ["--scenario", "--method", "--seed", "--set", "--store", "--json", "--timeout"]


def stand_in(folder: Path, **changes: Any) -> str:
    """Write a peftcore that answers at once, and return its checkout."""
    fields = {"methods": ["full", "bow"], "options": OPTIONS, "code": 0, "verdict": 0, **changes}
    (folder / "peftcore").mkdir(parents=True)
    (folder / "peftcore" / "__init__.py").write_text("")
    (folder / "peftcore" / "__main__.py").write_text(STAND_IN.format(**fields))
    return str(folder)


def lines(file: Path) -> list[dict[str, Any]]:
    return [json.loads(line) for line in file.read_text(encoding="utf-8").splitlines()]


@pytest.fixture
def out(tmp_path: Path) -> Path:
    return tmp_path / "out"


def run(base: str, head: str, out: Path, *options: str) -> tuple[int, str]:
    """Return the exit code and the summary."""
    status = main([base, head, "--out", str(out), "--seeds", "2", *options])
    summary = out / "summary.md"
    return status, summary.read_text(encoding="utf-8") if summary.is_file() else ""


def test_both_stand_side_by_side_and_take_turns_in_going_first() -> None:
    assert schedule(["full", "lora"], [42, 43, 44]) == [
        *(Turn("base", "full", 42), Turn("head", "full", 42)),
        *(Turn("base", "lora", 42), Turn("head", "lora", 42)),
        *(Turn("head", "full", 43), Turn("base", "full", 43)),
        *(Turn("head", "lora", 43), Turn("base", "lora", 43)),
        *(Turn("base", "full", 44), Turn("head", "full", 44)),
        *(Turn("base", "lora", 44), Turn("head", "lora", 44)),
    ]


def test_each_version_leaves_its_records_and_the_gate_has_the_last_word(
    tmp_path: Path, out: Path
) -> None:
    base, head = stand_in(tmp_path / "base"), stand_in(tmp_path / "head", verdict=1)
    assert run(base, head, out) == (1, "4 against 4, gate fail\n")
    for name in ("base", "head"):
        assert lines(out / f"{name}.jsonl") == [
            {"ran": name, "method": method, "seed": seed}
            for seed in (42, 43)
            for method in ("full", "bow")
        ]


def test_without_a_regression_all_is_well(tmp_path: Path, out: Path) -> None:
    base, head = stand_in(tmp_path / "base", verdict=1), stand_in(tmp_path / "head")
    assert run(base, head, out, "--gate", "strict")[0] == 0
    assert run(base, head, out, "--gate", "off") == (0, "\n")


def test_a_method_that_only_one_has_is_named_and_not_compared(tmp_path: Path, out: Path) -> None:
    base = stand_in(tmp_path / "base", methods=["full", "old"])
    head = stand_in(tmp_path / "head", methods=["full", "new"])
    status, summary = run(base, head, out)
    assert status == 0
    assert "- `not compared, because only head has it: new`" in summary
    assert "- `not compared, because only base has it: old`" in summary
    assert {record["method"] for record in lines(out / "head.jsonl")} == {"full"}


def test_a_base_that_knows_less_is_asked_for_less(tmp_path: Path, out: Path) -> None:
    fewer = [option for option in OPTIONS if option not in ("--timeout", "--set")]
    base, head = stand_in(tmp_path / "base", options=fewer), stand_in(tmp_path / "head")
    assert run(base, head, out, "--timeout", "60")[0] == 0
    # What changes the trial can't be left out.
    status, summary = run(base, head, out, "--set", "epochs=1")
    assert status == 3
    assert "base: full, seed 42: exit code 1: no such option: ['--set']" in summary
    assert (len(lines(out / "base.jsonl")), len(lines(out / "head.jsonl"))) == (0, 4)


def test_a_head_that_fails_fails(tmp_path: Path, out: Path) -> None:
    base, head = stand_in(tmp_path / "base"), stand_in(tmp_path / "head", code=1)
    status, summary = run(base, head, out)
    assert status == 1
    assert "- `head: bow, seed 43: exit code 1: peftcore: the reason`" in summary


def test_without_a_verdict_nothing_passes(tmp_path: Path, out: Path) -> None:
    base, head = stand_in(tmp_path / "base"), stand_in(tmp_path / "head", verdict=None)
    status, summary = run(base, head, out)
    assert status == 2
    assert "No verdict" in summary
    assert "No such command 'compare'." in summary


@pytest.mark.parametrize(
    ("options", "words"),
    [
        (("--method", "full,fulll"), "head has no method fulll: it has full, bow"),
        (("--scenario", "other"), "base has no scenario 'other': it has embedded"),
        (("--seeds", "0"), "--seeds 0 is not usable: expected at least 1"),
    ],
)
def test_what_can_not_be_done_is_refused(
    tmp_path: Path,
    out: Path,
    capfd: pytest.CaptureFixture[str],
    options: tuple[str, ...],
    words: str,
) -> None:
    base, head = stand_in(tmp_path / "base"), stand_in(tmp_path / "head")
    status, summary = run(base, head, out, *options)
    assert status == 2
    assert summary == f"Base and head were not compared:\n\n- `{words}`\n"
    assert words in capfd.readouterr().err


def test_other_dependencies_need_another_environment(
    tmp_path: Path, out: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    base, head = stand_in(tmp_path / "base"), stand_in(tmp_path / "head")
    (tmp_path / "head" / "constraints.txt").write_text("torch==2.13.0\n")
    assert run(base, head, out)[0] == 2
    assert "name both interpreters with --base-python and --head-python" in capfd.readouterr().err


def test_a_revision_that_there_is_not_is_refused(
    tmp_path: Path, out: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    assert run("no-such-revision", stand_in(tmp_path / "head"), out)[0] == 2
    assert "no-such-revision is neither a checkout" in capfd.readouterr().err


@pytest.mark.slow
def test_two_checkouts_run_each_its_own_sources(
    tmp_path: Path, out: Path, tiny_bert: Path, tiny_data: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    for name in ("base", "head"):
        left = shutil.ignore_patterns("__pycache__")
        shutil.copytree(SOURCES, tmp_path / name / "peftcore", ignore=left)
    with (tmp_path / "head" / "peftcore" / "training" / "trial.py").open("a") as file:
        file.write("\n# The head differs.\n")
    settings = ["epochs=1", "max_length=32", "train_examples=48", "test_examples=24"]
    status = main(
        [
            *(str(tmp_path / "base"), str(tmp_path / "head"), "--out", str(out)),
            *("--method", "bow", "--seeds", "2", "--gate", "warn"),
            *("--model", str(tiny_bert), "--data", str(tiny_data)),
            *(part for setting in settings for part in ("--set", setting)),
        ]
    )
    told = capfd.readouterr().err
    assert status == 0, told
    turns = [line.partition(" seed")[0] for line in told.splitlines() if ": bow, seed" in line]
    assert turns == ["base: bow,", "head: bow,", "head: bow,", "base: bow,"]
    assert "Gate on embedded" in (out / "summary.md").read_text(encoding="utf-8")
    base, head = lines(out / "base.jsonl"), lines(out / "head.jsonl")
    assert [record["trial"]["id"] for record in base] == [r["trial"]["id"] for r in head]
    assert [record["trial"]["seed"] for record in base] == [42, 43]
    assert {record["outcome"] for record in base + head} == {"ok"}
    sources = {record["environment"]["sources_sha256"] for record in base}
    others = {record["environment"]["sources_sha256"] for record in head}
    assert len(sources) == len(others) == 1
    assert sources != others

"""pytest run inside pytest: each session is a process of its own, with the plugin installed."""

from __future__ import annotations

import contextlib
import dataclasses
import json
import os
import signal
import sqlite3
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner

from peftcore.__main__ import main
from peftcore.measuring.environment import environment_key
from peftcore.pytest_cells import NO_GPU, Cell, RunnableCell
from peftcore.results.records import Measurement, Record, read_records
from peftcore.results.store import Store
from peftcore.trials import Outcome, Part, Trial
from peftcore.tuning.searching import SEARCH_SEED
from tests.conftest import MakeTrial

BENCHMARK = Path(__file__).resolve().parents[1] / "benchmarks" / "test_methods.py"

OPTIONS = (
    *("--peft-scenario", "--peft-method", "--peft-seeds", "--peft-model", "--peft-data"),
    *("--peft-weights", "--peft-set", "--peft-engine", "--peft-store", "--peft-report"),
    *("--peft-fresh", "--peft-require-gpu", "--peft-timeout"),
    *("--peft-baseline", "--peft-gate", "--peft-seeds-max"),
    *("--peft-gate-metrics", "--peft-gate-summary"),
    "--peft-checkpoint-seconds",
    *("--peft-protocol", "--peft-search-trials", "--peft-gpu-trials"),
    *("--peft-serving-rounds", "--peft-sizes", "--peft-sizes-hold"),
)

USAGE_ERROR = 4
"""pytest's own exit code."""

Session = Callable[..., pytest.RunResult]


@pytest.fixture
def benchmarks(pytester: pytest.Pytester, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder with this repository's benchmark, on a machine without a GPU."""
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "")
    (pytester.path / "test_methods.py").write_bytes(BENCHMARK.read_bytes())
    return pytester.path


@pytest.fixture
def session(benchmarks: Path, pytester: pytest.Pytester) -> Session:
    """Return a function that runs pytest there."""

    def run(*options: str | Path) -> pytest.RunResult:
        return pytester.runpytest_subprocess(*options, timeout=300)

    return run


@pytest.fixture
def tiny(tiny_bert: Path, tiny_data: Path) -> list[str]:
    """Options for trials that take seconds."""
    return [
        *("--peft-scenario", "embedded", "--peft-model", str(tiny_bert)),
        *("--peft-data", str(tiny_data), "--peft-set", "epochs=1", "--peft-set", "max_length=32"),
        *("--peft-set", "train_examples=48", "--peft-set", "test_examples=24"),
        *("--peft-seeds", "1"),
    ]


def text_of(result: pytest.RunResult) -> str:
    return f"{result.stdout.str()}\n{result.stderr.str()}"


def stored(folder: Path, name: str = ".peftcore") -> list[Record]:
    with Store(folder / name, create=False) as store:
        return store.records()


def with_test_engine(folder: Path) -> None:
    """Put the comparison of the engines into a folder, with what keeps it from running unnamed."""
    for name in ("test_engine.py", "conftest.py"):
        (folder / name).write_bytes((BENCHMARK.parent / name).read_bytes())


# Options


def test_every_option_is_there_and_explained(session: Session) -> None:
    result = session("--help")
    lines = result.outlines
    for option in OPTIONS:
        (line,) = [line for line in lines if line.strip().split("=")[0].split()[0:1] == [option]]
        following = lines[lines.index(line) + 1]
        assert line.strip().rpartition("  ")[2].strip() or following.strip()
    assert result.ret == 0


@pytest.mark.parametrize(
    ("options", "words"),
    [
        (("--peft-scenario", "imdb-robert"), ("'imdb-robert'", "did you mean 'imdb-roberta'?")),
        (("--peft-method", "lora,qlorra"), ("'qlorra'", "--peft-method", "did you mean 'qlora'?")),
        (("--peft-set", "epoch=1"), ("'epoch'", "did you mean 'epochs'?")),
        (("--peft-protocol", "tune"), ("'tune'", "did you mean 'tuned'?")),
        (("--peft-search-trials", "0"), ("--peft-search-trials 0", "expected 1 or more")),
        (
            ("--peft-protocol", "tuned", "--peft-set", "learning_rate=1e-3"),
            ("--peft-set learning_rate=…", "leave one of the two out"),
        ),
        (("--peft-protocol", "tuned", "--peft-set", "split=tuning"), ("--peft-set split=…",)),
        (("--peft-protocol", "tuned", "--peft-seeds", "42,2024"), ("--peft-seeds 2024", "others")),
        (("--peft-set", "epochs"), ("'epochs'", "expected KEY=VALUE")),
        (("--peft-set", "epochs=many"), ("epochs=many", "whole number")),
        (("--peft-set", "epochs=0"), ("epochs=0", "at least 1")),
        (("--peft-seeds", "two"), ("--peft-seeds 'two'", "how many (3) or which (42,7,11)")),
        (("--peft-seeds", "0"), ("--peft-seeds '0'", "1 to 1000")),
        (("--peft-weights", "randon"), ("'randon'", "--peft-weights", "did you mean 'random'?")),
        (("--peft-engine", "trainr"), ("'trainr'", "--peft-engine", "did you mean 'trainer'?")),
        (("--peft-timeout", "0"), ("--peft-timeout 0", "above 0")),
        (("--peft-timeout", "-5"), ("--peft-timeout -5", "above 0")),
        (("--peft-timeout", "nan"), ("--peft-timeout nan", "above 0")),
        (("--peft-timeout", "inf"), ("--peft-timeout inf", "a number")),
        (("--peft-gpu-trials", "0"), ("--peft-gpu-trials 0", "1 or more")),
        (("--peft-checkpoint-seconds", "-1"), ("--peft-checkpoint-seconds -1", "0 or more")),
    ],
)
def test_what_can_not_be_meant_is_refused_in_one_sentence(
    session: Session, options: tuple[str, ...], words: tuple[str, ...]
) -> None:
    result = session(*options)
    assert result.ret == USAGE_ERROR
    (message,) = [line for line in text_of(result).splitlines() if line.strip()]
    assert message.startswith("ERROR: ")
    for word in words:
        assert word in message


@pytest.mark.parametrize("option", ["--peft-method", "--peft-seeds"])
@pytest.mark.parametrize("value", ["", ","])
def test_an_option_that_names_nothing_is_not_an_empty_run(
    session: Session, option: str, value: str
) -> None:
    """Zero tests would pass; missing never means passed."""
    result = session("--peft-scenario", "embedded", f"{option}={value}")
    assert result.ret == USAGE_ERROR
    assert option in text_of(result)


@pytest.mark.parametrize("parallel", [(), ("-n", "1")], ids=["serial", "parallel"])
@pytest.mark.parametrize("broken", ["missing", "one label", "no model"])
def test_bad_input_is_refused_before_anything_runs(
    session: Session,
    benchmarks: Path,
    tiny: list[str],
    parallel: tuple[str, ...],
    broken: str,
) -> None:
    bad = benchmarks / "bad"
    if broken == "one label":
        bad.mkdir()
        for name in ("train.csv", "test.csv"):
            (bad / name).write_text("text,label\n" + 50 * "good,1\n", encoding="utf-8")
    option = "--peft-model" if broken == "no model" else "--peft-data"
    result = session(*tiny, option, bad, "--peft-method", "bow", *parallel)
    assert result.ret == USAGE_ERROR
    (message,) = [line for line in text_of(result).splitlines() if line.startswith("ERROR: ")]
    assert str(bad) in message
    assert not (benchmarks / ".peftcore" / "store.sqlite3").exists()
    assert not (benchmarks / "reports").exists()


# What is collected


def test_a_test_is_a_method_in_a_scenario(session: Session) -> None:
    result = session("--collect-only", "-q", "--peft-scenario", "embedded")
    assert [line.partition("::")[2] for line in result.outlines if "::" in line] == [
        f"test_method[embedded-{slug}]" for slug in ("full", "lora", "qlora", "ia3", "bow", "head")
    ]


def test_without_a_scenario_there_are_the_embedded_one_and_the_studys(session: Session) -> None:
    named = ("--collect-only", "-q", "--peft-method", "ia3,lora")
    both = session(*named)
    ids = [f"test_method[{s}-{m}]" for s in ("embedded", "imdb-roberta") for m in ("ia3", "lora")]
    assert [line.partition("::")[2] for line in both.outlines if "::" in line] == ids
    on_gpu = session(*named, "-m", "gpu")
    assert [line.partition("::")[2] for line in on_gpu.outlines if "::" in line] == ids[2:]


def test_a_project_of_its_own_can_use_the_fixture(
    session: Session, benchmarks: Path, tiny: list[str]
) -> None:
    (benchmarks / "test_methods.py").write_text(
        "def test_mine(peft_cell):\n"
        "    assert [trial.seed for trial in peft_cell.trials] == [7, 11]\n"
        "    assert peft_cell.cell.method == 'lora'\n"
        "def test_other():\n"
        "    pass\n"
    )
    result = session(*tiny, "--peft-method", "lora", "--peft-seeds", "7,11", "-v")
    result.assert_outcomes(passed=2)
    result.stdout.fnmatch_lines(["*test_mine*embedded-lora* PASSED*", "*test_other PASSED*"])


def test_folders_with_a_conftest_each_still_run_together(session: Session, tmp_path: Path) -> None:
    """pytest then asks each plugin for its hash."""
    for name in ("one", "two"):
        (tmp_path / "both" / name).mkdir(parents=True)
        (tmp_path / "both" / name / "conftest.py").write_text("")
        (tmp_path / "both" / name / f"test_{name}.py").write_text("def test(): pass\n")
    session(tmp_path / "both").assert_outcomes(passed=2)


# GPU tests


def test_a_gpu_scenario_is_skipped_with_its_reason(session: Session, benchmarks: Path) -> None:
    result = session("--peft-scenario", "imdb-roberta", "--peft-method", "lora", "-rs")
    result.assert_outcomes(skipped=1)
    assert NO_GPU in text_of(result)
    assert result.ret == 0
    assert not (benchmarks / "reports").exists()


def test_a_gpu_scenario_fails_where_a_gpu_is_required(session: Session) -> None:
    options = ("--peft-scenario", "imdb-roberta", "--peft-method", "lora", "--peft-require-gpu")
    result = session(*options)
    assert result.ret == pytest.ExitCode.TESTS_FAILED
    assert f"{NO_GPU} (--peft-require-gpu)" in text_of(result)
    assert "1 skipped" not in text_of(result)


# What a session costs others


def test_the_plugin_imports_nothing_heavy() -> None:
    code = (
        "import sys, peftcore.pytest_plugin\n"
        "heavy = {'torch', 'transformers', 'matplotlib', 'sklearn', 'numpy', 'sqlite3'}\n"
        "assert not heavy & set(sys.modules), heavy & set(sys.modules)\n"
    )
    subprocess.run([sys.executable, "-c", code], check=True)


def test_a_session_without_a_benchmark_pays_nothing(session: Session, benchmarks: Path) -> None:
    (benchmarks / "test_methods.py").write_text(
        "import sys\n"
        "def test_light():\n"
        "    heavy = {'torch', 'transformers', 'peftcore.report', 'peftcore.data.sources'}\n"
        "    assert not heavy & set(sys.modules)\n"
    )
    result = session()
    result.assert_outcomes(passed=1)
    assert "peftcore ==" not in text_of(result)
    assert not (benchmarks / ".peftcore").exists()
    assert not (benchmarks / "reports").exists()


# A whole run


def test_a_run_leaves_a_report_and_the_next_one_reuses_it(
    session: Session, benchmarks: Path, tiny: list[str]
) -> None:
    (benchmarks / "conftest.py").write_text(
        "import sys\n"
        "def pytest_unconfigure():\n"
        "    heavy = sorted({'torch', 'transformers'} & set(sys.modules))\n"
        "    with open('heavy.txt', 'w') as stream:\n"
        "        stream.write(' '.join(heavy))\n"
    )
    options = [*tiny, "--peft-method", "bow", "--peft-report", "here", "-W", "error"]
    result = session(*options, "--benchmark-json", "benchmark.json")
    result.assert_outcomes(passed=1)
    assert result.ret == 0
    result.stdout.fnmatch_lines(
        [
            "embedded bow seed 42: accuracy *, trained in * s*",
            "report: here?report.md",
            "*benchmark 'peftcore embedded': 1 tests*",
            "test_method?embedded-bow? *",
        ]
    )
    # Only the trials' own processes may load it.
    assert (benchmarks / "heavy.txt").read_text() == ""
    # The report
    text = (benchmarks / "here" / "report.md").read_text(encoding="utf-8")
    assert "## Key metrics" in text
    for link in [part.partition(")")[0] for part in text.split("](figures/")[1:]]:
        assert (benchmarks / "here" / "figures" / link).stat().st_size > 1000
    assert "](figures/" in text
    # Its records are the store's
    (record,) = read_records(benchmarks / "here" / "records.jsonl")
    assert [record] == stored(benchmarks)
    assert record.outcome is Outcome.OK
    assert f"data={Path(tiny[5]).name}" in record.trial["overrides"]
    # pytest-benchmark's own file
    content = json.loads((benchmarks / "benchmark.json").read_text(encoding="utf-8"))
    (row,) = content["benchmarks"]
    assert row["name"] == "test_method[embedded-bow]"
    assert (row["stats"]["rounds"], row["stats"]["iterations"]) == (1, 1)
    assert record.measurement is not None
    figures = row["extra_info"][record.id]
    assert figures["outcome"] == "ok"
    for name in ("accuracy", "train_seconds", "peak_bytes"):
        assert figures[name] == getattr(record.measurement, name)

    # Again: nothing runs, the report is the same.
    (benchmarks / "here" / "report.md").unlink()
    again = session(*options)
    again.assert_outcomes(passed=1)
    assert "reused 1 of 1 records from .peftcore" in text_of(again)
    assert "embedded bow seed 42" not in text_of(again)
    assert "benchmark 'peftcore" not in text_of(again)
    assert stored(benchmarks) == [record]
    assert (benchmarks / "here" / "report.md").read_text(encoding="utf-8") == text


@pytest.mark.slow
def test_rates_are_searched_for_first_and_another_protocol_stands_beside(
    session: Session, benchmarks: Path, tiny: list[str]
) -> None:
    options = [*tiny, "--peft-method", "lora,bow"]
    tuned = [*options, "--peft-protocol", "tuned", "--peft-search-trials", "2"]
    result = session(*tuned)
    result.assert_outcomes(passed=2)
    assert result.ret == 0
    searched = [one for one in stored(benchmarks) if one.trial["task"]["split"] == "tuning"]
    (lora,) = [one for one in stored(benchmarks) if one not in searched and one.method == "lora"]
    assert [one.method for one in searched] == ["lora", "lora"]
    assert {one.seed for one in searched} == {SEARCH_SEED}
    best = max(searched, key=lambda one: one.measurement.accuracy)  # type: ignore[union-attr]
    known = {one.trial["recipe"]["learning_rate"]: one.measurement.accuracy for one in searched}  # type: ignore[union-attr]
    assert len(known) == 2
    assert known[lora.trial["recipe"]["learning_rate"]] == best.measurement.accuracy  # type: ignore[union-attr]
    folder = benchmarks / "reports" / "embedded"
    text = (folder / "report.md").read_text(encoding="utf-8")
    assert "each the best of a search of its own" in text, text
    assert "Rate or method?" not in text
    assert "of 2 full-length trials" in (folder / "search" / "report.md").read_text("utf-8")

    # Again: nothing runs.
    before = stored(benchmarks)
    session(*tuned).assert_outcomes(passed=2)
    assert stored(benchmarks) == before

    # The other protocol, with this one beside it, and both from the store alone.
    session(*options, "--peft-protocol", "study").assert_outcomes(passed=2)
    text = (folder / "report.md").read_text(encoding="utf-8")
    assert "| Rate, study |" in " ".join(text.split())
    runner = CliRunner()
    store, out = str(benchmarks / ".peftcore"), benchmarks / "again"
    rendered = runner.invoke(main, ["report", "--store", store, "--out", str(out)])
    assert rendered.exit_code == 0
    for name in ("report.md", "search/report.md"):
        again = (out / "embedded" / name).read_text(encoding="utf-8")
        assert again == (folder / name).read_text(encoding="utf-8")
        found = runner.invoke(main, ["audit", str((folder / name).parent)])
        assert found.exit_code == 0, found.output


@pytest.mark.slow
def test_pairs_of_several_named_classes_under_other_columns(
    session: Session, benchmarks: Path, tiny: list[str]
) -> None:
    """Data as people have it: nothing of it is named on the command line."""
    queues, folder = ("billing", "out|age", "other"), benchmarks / "tickets"
    folder.mkdir()
    for split, count in (("train", 90), ("test", 60)):
        rows = [
            f"{n},the customer number {n} asks,it is about {queues[n % 3]},{queues[n % 3]}"
            for n in range(count)
        ]
        text = "\n".join(["id,question,sentence,queue", *rows, ""])
        (folder / f"{split}.csv").write_text(text, encoding="utf-8")
    options = list(tiny)
    options[options.index("--peft-data") + 1] = "tickets"
    result = session(*options, "--peft-method", "full,bow")
    result.assert_outcomes(passed=2)
    for record in stored(benchmarks):
        task = record.trial["task"]
        assert task["classes"] == sorted(queues)
        assert (task["labels"], task["pair_column"]) == (3, "sentence")
        assert set(record.labels or ()) == {0, 1, 2}
    (bow,) = [record for record in stored(benchmarks) if record.method == "bow"]
    assert bow.measurement is not None
    assert bow.measurement.accuracy == 1.0
    report = benchmarks / "reports" / "embedded"
    text = (report / "report.md").read_text(encoding="utf-8")
    assert (
        "> Data: columns were guessed: label is 'queue', text is 'question', second text is "
        "'sentence'" in text
    )
    assert "Found of out\\|age (%)" in text
    found = CliRunner().invoke(main, ["audit", str(report)])
    assert found.exit_code == 0, found.output


@pytest.mark.slow
def test_a_search_of_which_a_trial_is_missing_fails_the_session(
    session: Session, benchmarks: Path, tiny: list[str]
) -> None:
    (benchmarks / "conftest.py").write_text(
        "from peftcore.tuning import searching\n"
        "from peftcore.comparison import Comparison\n"
        "Comparison.search = lambda self, scenario, method: None\n"
    )
    result = session(*tiny, "--peft-method", "lora", "--peft-protocol", "tuned")
    assert result.ret != 0
    assert "8 trials of its search for a learning rate" in text_of(result)


def test_without_pytest_benchmark_and_with_a_store_elsewhere(
    session: Session, benchmarks: Path, tiny: list[str], tmp_path: Path
) -> None:
    options = [*tiny, "--peft-method", "bow", "--peft-store", str(tmp_path / "kept")]
    result = session(*options, "-p", "no:benchmark")
    result.assert_outcomes(passed=1)
    assert (benchmarks / "reports" / "embedded" / "report.md").is_file()
    with Store(tmp_path / "kept", create=False) as store:
        assert len(store.records()) == 1
    assert not (benchmarks / ".peftcore").exists()


def test_a_trial_that_does_not_end_well_fails_its_test_and_is_in_the_report(
    session: Session, benchmarks: Path, tiny: list[str]
) -> None:
    result = session(*tiny, "--peft-method", "bow", "--peft-timeout", "0.2")
    result.assert_outcomes(failed=1)
    assert result.ret == pytest.ExitCode.TESTS_FAILED
    assert "embedded bow seed 42: timeout: stopped after 0.2 s" in text_of(result)
    (record,) = stored(benchmarks)
    assert record.outcome is Outcome.TIMEOUT
    report = (benchmarks / "reports" / "embedded" / "report.md").read_text(encoding="utf-8")
    assert "stopped after 0.2 s" in report


def test_parallel_workers_give_the_records_of_a_serial_session(
    session: Session, benchmarks: Path, tiny: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("OMP_NUM_THREADS", "1")
    monkeypatch.setenv("PEFTCORE_RUNTIME", str(benchmarks / "runtime"))
    options = [*tiny, "--peft-method", "bow,head"]
    serial = session(*options, "--peft-store", "serial", "--peft-report", "one")
    serial.assert_outcomes(passed=2)
    parallel = session(
        *options, *("-n", "2", "--dist", "worksteal", "--peft-report", "two", "-W", "error")
    )
    parallel.assert_outcomes(passed=2)
    for method in ("bow", "head"):
        assert text_of(parallel).count(f"embedded {method} seed 42: accuracy") == 1
    assert "report: two" in text_of(parallel)
    one, two = (list(read_records(benchmarks / name / "records.jsonl")) for name in ("one", "two"))
    assert [record.id for record in one] == [record.id for record in two]
    assert len(one) == 2
    for left, right in zip(one, two, strict=True):
        assert left.outcome is right.outcome is Outcome.OK
        assert (left.predictions, left.labels) == (right.predictions, right.labels)
        assert left.measurement is not None
        assert right.measurement is not None
        assert left.measurement.losses == right.measurement.losses
        assert left.measurement.weights_sha256 == right.measurement.weights_sha256
        assert left.measurement.shared is False
        assert environment_key(left.environment) == environment_key(right.environment)
    # Either both overlapped or neither did.
    assert len({r.measurement.shared for r in two if r.measurement}) == 1
    # What workers reused is known to the session, too.
    again = session(*options, "-n", "2")
    again.assert_outcomes(passed=2)
    assert "reused 2 of 2 records" in text_of(again)


@pytest.mark.parametrize("name", ["SIGINT", "SIGKILL"])
def test_after_an_interruption_only_what_is_missing_runs(
    session: Session, benchmarks: Path, tiny: list[str], name: str
) -> None:
    options = [*tiny, "--peft-method", "head", "--peft-seeds", "2"]
    with (
        (benchmarks / "output.txt").open("w") as output,
        subprocess.Popen(
            [sys.executable, "-m", "pytest", *options],
            cwd=benchmarks,
            stdout=output,
            stderr=subprocess.STDOUT,
            # What runs the tests may ignore it, as a shell does for what it runs aside.
            preexec_fn=lambda: signal.signal(signal.SIGINT, signal.SIG_DFL),
        ) as running,
    ):
        wait_for_first_record(benchmarks, running)
        # Well into the second trial, whose process takes seconds to load torch.
        time.sleep(1)
        os.kill(running.pid, getattr(signal, name))
        running.wait(timeout=60)
    first = stored(benchmarks)
    if name == "SIGINT":
        assert running.returncode == pytest.ExitCode.INTERRUPTED
        assert [record.outcome for record in first] == [Outcome.OK, Outcome.CANCELLED]
    else:
        assert running.returncode == -signal.SIGKILL
        assert [record.outcome for record in first] == [Outcome.OK]
    result = session(*options)
    result.assert_outcomes(passed=1)
    assert "embedded head seed 42" not in text_of(result)
    assert "embedded head seed 43: accuracy" in text_of(result)
    assert "reused 1 of 2 records" in text_of(result)
    last = stored(benchmarks)
    assert {record.outcome for record in last} == {Outcome.OK}
    assert sorted(record.seed for record in last) == [42, 43]
    assert first[0] in last


def wait_for_first_record(folder: Path, running: subprocess.Popen[bytes]) -> None:
    """Wait until the session has committed its first record."""
    until = time.monotonic() + 120
    while time.monotonic() < until:
        assert running.poll() is None, (folder / "output.txt").read_text()
        if (folder / ".peftcore" / "store.sqlite3").exists() and stored(folder):
            return
        time.sleep(0.05)
    raise AssertionError("no record was committed")


# The comparison of the engines


def test_the_engines_are_compared_only_where_that_is_asked_for(
    session: Session, benchmarks: Path, tiny: list[str]
) -> None:
    with_test_engine(benchmarks)
    listed = ("--collect-only", "-q", "--peft-scenario", "embedded")
    assert "test_engine" not in text_of(session(*listed))
    assert text_of(session("test_engine.py", *listed)).count("::test_engine[") == 4 * len(Part) + 1
    # The head, a reference row elsewhere, is the smallest share that can be trained.
    shares = text_of(session("test_engine.py", "-k", "growth-share", *listed))
    slugs = ("full", "lora", "qlora", "ia3", "head")
    assert [line.partition("::")[2] for line in shares.splitlines() if "::" in line] == [
        f"test_engine[{slug}-growth-share]" for slug in slugs
    ]
    on = ("padding-free", "frozen-weights", "used-rows")
    options = [*tiny, "--peft-method", "lora", "--peft-seeds", "1", "test_engine.py"]
    options += ["-k", "pairs or ablation", "--peft-set", f"accelerations={','.join(on)}"]
    result = session(*options)
    result.assert_outcomes(passed=2)
    assert "report: reports/engine/report.md" in text_of(result)
    records = list(read_records(benchmarks / "reports" / "engine" / "records.jsonl"))
    # A pair; an ablation with all that were asked for and without each that serves LoRA.
    assert len(records) == 2 + 1 + len(set(on) - {"used-rows"})
    assert [r.trial["engine"] for r in records].count("trainer") == 1
    report = (benchmarks / "reports" / "engine" / "report.md").read_text(encoding="utf-8")
    assert "## What each acceleration is worth" in report
    # Its records are no scenario's: they would pass for its newest setting.
    assert not (benchmarks / ".peftcore" / "store.sqlite3").exists()
    assert (benchmarks / ".peftcore" / "engine" / "store.sqlite3").exists()
    (benchmarks / "reports" / "engine" / "report.md").unlink()
    again = session(*options)
    again.assert_outcomes(passed=2)
    assert (benchmarks / "reports" / "engine" / "report.md").read_text(encoding="utf-8") == report


def test_trained_weights_are_compared_and_none_is_left_behind(
    session: Session, benchmarks: Path, tiny: list[str]
) -> None:
    with_test_engine(benchmarks)
    options = [*tiny, "--peft-method", "lora", "test_engine.py", "-k", "equality"]
    session(*options).assert_outcomes(passed=1)
    folder = benchmarks / "reports" / "engine"
    records = {
        (str(r.trial["engine"]), str(r.trial["recipe"]["precision"])): r
        for r in read_records(folder / "records.jsonl")
    }
    exact, trainer, ours = (
        records[key] for key in (("peftcore", "fp32"), ("trainer", "bf16"), ("peftcore", "bf16"))
    )
    apart = [r.measurement.weights_apart for r in (exact, trainer, ours) if r.measurement]
    assert [set(found) for found in apart] == [set(), {exact.id}, {exact.id, trainer.id}]
    # Rounding moves weights, though far less than training does.
    for record in (trainer, ours):
        assert record.measurement is not None
        assert record.measurement.weights_moved is not None
        assert 0 < record.measurement.weights_apart[exact.id] < record.measurement.weights_moved / 2
    report = (folder / "report.md").read_text(encoding="utf-8")
    assert (
        "is within the stated bounds with LoRA" in report or "not shown to be with LoRA" in report
    )
    store = benchmarks / ".peftcore" / "engine"
    # The folder of checkpoints stays, with nothing in it.
    assert [path.name for path in store.rglob("*") if path.is_dir()] == ["checkpoints"]
    assert not list((store / "checkpoints").iterdir())
    # A session that went on, and one that lacks a run: distances need all three.
    session(*options).assert_outcomes(passed=1)
    assert {r.created for r in stored(store.parent, "engine")} == {
        r.created for r in records.values()
    }
    with contextlib.closing(sqlite3.connect(store / "store.sqlite3")) as database:
        database.execute("DELETE FROM records WHERE trial_id = ?", (ours.id,))
        database.commit()
    session(*options).assert_outcomes(passed=1)
    again = {r.id: r for r in stored(store.parent, "engine")}
    assert set(again) == {exact.id, trainer.id, ours.id}
    assert again[ours.id].measurement is not None
    assert set(again[ours.id].measurement.weights_apart) == {exact.id, trainer.id}
    assert again[exact.id].created != exact.created or again[trainer.id].created != trainer.created


# What a test finds wrong with its records


@pytest.fixture
def declared(make_trial: MakeTrial) -> Trial:
    """A trial of a scenario as declared, for which an accuracy of 0.9115 is expected."""
    return dataclasses.replace(make_trial("lora"), scenario="imdb-roberta", overrides=())


def record_of(trial: Trial, accuracy: float | None, **changes: Any) -> Record:
    numbers = Measurement(accuracy=accuracy, majority_share=0.5)
    fields = {"outcome": Outcome.OK, "measurement": numbers, **changes}
    return Record(trial=trial.describe(), **fields)


def cell(*trials: Trial) -> RunnableCell:
    nothing: Any = None
    return RunnableCell(Cell("imdb-roberta", "lora"), list(trials), nothing, nothing)


def test_a_floor_that_is_missed_is_a_fault(declared: Trial) -> None:
    (fault,) = cell(declared).faults([record_of(declared, 0.8860)])
    assert "LoRA, seed 42: accuracy 0.8860 is under the floor 0.8865" in fault
    assert cell(declared).faults([record_of(declared, 0.8870)]) == []


def test_with_overrides_there_is_no_floor(declared: Trial) -> None:
    changed = dataclasses.replace(declared, overrides=("epochs=1",))
    assert cell(changed).faults([record_of(changed, 0.5)]) == []


def test_every_outcome_but_ok_is_a_fault(declared: Trial) -> None:
    for outcome in set(Outcome) - {Outcome.OK}:
        bad = record_of(declared, None, outcome=outcome, measurement=None, error="because")
        assert cell(declared).faults([bad]) == [f"imdb-roberta lora seed 42: {outcome}: because"]


def test_an_ok_without_numbers_is_a_fault(declared: Trial) -> None:
    assert len(cell(declared).faults([record_of(declared, None, measurement=None)])) == 1


def test_each_seed_has_its_own_fault(declared: Trial) -> None:
    other = dataclasses.replace(declared, seed=43)
    records = [record_of(declared, 0.95), record_of(other, 0.6)]
    (fault,) = cell(declared, other).faults(records)
    assert "seed 43" in fault


def test_a_record_that_is_missing_never_passes(declared: Trial) -> None:
    other = dataclasses.replace(declared, seed=43)
    with pytest.raises(ValueError, match="zip"):
        cell(declared, other).faults([record_of(declared, 0.95)])

"""The gate in a pytest session. All trials are in the store already, so that none has to run."""

from __future__ import annotations

import io
import json
import random
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest

from peftcore.comparison import Comparison
from peftcore.gate.baseline import write_baseline
from peftcore.gate.options import Gate
from peftcore.gate.sides import read_side
from peftcore.gate.verdicts import GateMode, Verdict
from peftcore.measuring.environment import describe_environment
from peftcore.methods import find_method
from peftcore.results.collecting import Collector
from peftcore.results.records import Measurement, Record, read_records
from peftcore.results.store import Store
from peftcore.running.planning import Selection, plan
from peftcore.running.progress import ProgressDisplay
from peftcore.trials import Outcome, Trial
from tests.conftest import write_bare_model
from tests.gate.runs import run

BENCHMARK = Path(__file__).resolve().parents[2] / "benchmarks" / "test_methods.py"
EXAMPLES = 60
SETTINGS = ("epochs=1", "max_length=32", "train_examples=48", f"test_examples={EXAMPLES}")
METHODS = ("bow", "head")
USAGE_ERROR = 4

Session = Callable[..., pytest.RunResult]


def text_of(result: pytest.RunResult) -> str:
    return f"{result.stdout.str()}\n{result.stderr.str()}"


@pytest.fixture
def model(tmp_path: Path) -> Path:
    return write_bare_model(tmp_path / "model", max_position_embeddings=66)


@pytest.fixture
def options(
    pytester: pytest.Pytester, monkeypatch: pytest.MonkeyPatch, model: Path, tiny_data: Path
) -> list[str]:
    """Options for a session in a folder with this repository's benchmark."""
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "")
    (pytester.path / "test_methods.py").write_bytes(BENCHMARK.read_bytes())
    found = ["--peft-scenario", "embedded", "--peft-method", ",".join(METHODS)]
    found += ["--peft-model", str(model), "--peft-data", str(tiny_data)]
    return found + [word for setting in SETTINGS for word in ("--peft-set", setting)]


@pytest.fixture
def session(pytester: pytest.Pytester, options: list[str]) -> Session:
    """Return a function that runs pytest there."""
    return lambda *more: pytester.runpytest_subprocess(*options, *more, timeout=300)


@pytest.fixture
def light(pytester: pytest.Pytester, options: list[str]) -> Session:
    """Return a function that does so within this process: where nothing is run or reported."""
    return lambda *more: pytester.runpytest_inprocess(*options, *more)


@pytest.fixture
def trials(model: Path, tiny_data: Path) -> Callable[[str], list[Trial]]:
    """Return a function that plans what a session with these seeds runs."""

    def planned(seeds: str) -> list[Trial]:
        return plan(
            Selection(
                scenario="embedded",
                methods=METHODS,
                seeds=tuple(int(seed) for seed in seeds.split(",")),
                model=str(model),
                data=str(tiny_data),
                settings=SETTINGS,
            )
        )

    return planned


def ended(trial: Trial, *, errors: int) -> Record:
    """Return a record of this trial, made here and now, with about so many wrong answers."""
    draw = random.Random(f"{trial.method.slug} {trial.seed}")
    labels = tuple(n % 2 for n in range(EXAMPLES))
    wrong = set(draw.sample(range(EXAMPLES), errors + draw.randrange(2)))
    predictions = tuple(1 - label if n in wrong else label for n, label in enumerate(labels))
    return Record(
        trial=trial.describe(),
        outcome=Outcome.OK,
        measurement=Measurement(
            accuracy=1 - len(wrong) / EXAMPLES,
            train_seconds=10 + draw.random() / 50,
            peak_bytes=500_000_000 + draw.randrange(100_000),
            total_parameters=1_000,
            trainable_parameters=100,
            evaluated_examples=EXAMPLES,
            majority_share=0.5,
        ),
        environment=describe_environment(),
        predictions=predictions,
        labels=labels,
        created="2026-01-02T03:04:05+00:00",
    )


@pytest.fixture
def stored(
    pytester: pytest.Pytester, trials: Callable[[str], list[Trial]]
) -> Callable[[str, int], list[Record]]:
    """Return a function that puts the records of a session with these seeds into its store."""

    def commit(seeds: str, errors: int) -> list[Record]:
        records = [ended(trial, errors=errors) for trial in trials(seeds)]
        with Store(pytester.path / ".peftcore") as store:
            for record in records:
                store.commit(record)
        return records

    return commit


@pytest.fixture
def baseline(pytester: pytest.Pytester, trials: Callable[[str], list[Trial]]) -> str:
    """A baseline of six seeds with few errors."""
    records = [ended(trial, errors=5) for trial in trials("42,43,44,45,46,47")]
    write_baseline(pytester.path / "b.json", records)
    return "b.json"


@pytest.mark.parametrize(
    # What else there is, tests/gate/test_verdicts.py shows.
    ("mode", "code"),
    [(None, 1), ("warn", 0), ("off", 0)],
)
def test_a_regression_fails_the_session_as_the_gate_says(
    session: Session,
    pytester: pytest.Pytester,
    stored: Callable[[str, int], list[Record]],
    baseline: str,
    mode: str | None,
    code: int,
) -> None:
    stored("42,43,44", 40)
    options = [] if mode is None else ["--peft-gate", mode]
    result = session("--peft-seeds", "3", "--peft-baseline", baseline, *options)
    # The tests themselves are content: the trials ended well.
    result.assert_outcomes(passed=2)
    assert result.ret == code
    summary = pytester.path / "reports" / "embedded" / "gate.md"
    if mode == "off":
        assert "gate" not in text_of(result)
        assert not summary.exists()
        return
    result.stdout.fnmatch_lines(
        [
            "*= peftcore =*",
            "gate on embedded: REGRESSION",
            "Bag of words *Accuracy*REGRESSION*worse beyond chance*",
            "gate: reports/embedded/gate.md",
            "report: reports/embedded/report.md",
        ]
    )
    text = summary.read_text(encoding="utf-8")
    assert text.startswith("## ❌ Gate on embedded: REGRESSION")


def test_what_did_not_change_passes_under_strict(
    session: Session,
    pytester: pytest.Pytester,
    stored: Callable[[str, int], list[Record]],
    baseline: str,
) -> None:
    stored("42,43", 5)
    result = session(
        *("--peft-seeds", "2", "--peft-baseline", baseline, "--peft-gate", "strict"),
        *("--peft-gate-metrics", "accuracy,counts", "--peft-gate-summary", "out/pr.md"),
    )
    assert result.ret == 0
    assert "gate on embedded: PASS (identical)" in text_of(result)
    assert "Train time" not in text_of(result)
    text = (pytester.path / "out" / "pr.md").read_text(encoding="utf-8")
    assert "**Not gated**, as asked: train time" in text


@pytest.mark.parametrize(
    "parallel",
    [(), pytest.param(("-n", "1"), marks=pytest.mark.slow)],
    ids=["serial", "parallel"],
)
def test_an_open_verdict_adds_seeds_that_join_the_report(
    session: Session,
    pytester: pytest.Pytester,
    stored: Callable[[str, int], list[Record]],
    baseline: str,
    parallel: tuple[str, ...],
) -> None:
    # Those that will be added: of the baseline first, then the next number.
    stored("42,43,44,45,46,47,101,102,103", 8)
    result = session(
        *("--peft-seeds", "101,102", "--peft-baseline", baseline, "--peft-gate", "strict"),
        *("--peft-gate-metrics", "accuracy", "--peft-seeds-max", "5", *parallel),
    )
    text = text_of(result)
    assert "the gate is undecided with 2 seeds: adding [42, 43, 44]" in text
    assert "adding [45" not in text
    assert result.ret == 1
    records = read_records(pytester.path / "reports" / "embedded" / "records.jsonl")
    assert {record.seed for record in records} == {42, 43, 44, 101, 102}


def test_a_trial_that_is_missing_is_no_pass(
    session: Session,
    pytester: pytest.Pytester,
    stored: Callable[[str, int], list[Record]],
    baseline: str,
) -> None:
    records = stored("42", 5)
    with Store(pytester.path / ".peftcore") as store:
        store._connection.execute("DELETE FROM records WHERE trial_id LIKE 'head%'")
    assert {record.method for record in records} == set(METHODS)
    # Its test was left out, its trial was planned all the same.
    result = session("--peft-seeds", "42,", "--peft-baseline", baseline, "-k", "bow")
    assert result.ret == 1
    assert "gate on embedded: INVALID" in text_of(result)
    assert "no trial with seed 42" in text_of(result)


@pytest.mark.parametrize("asked", [True, False])
def test_a_method_that_the_scenario_has_lost_is_no_pass(
    trials: Callable[[str], list[Trial]],
    pytester: pytest.Pytester,
    model: Path,
    tiny_data: Path,
    asked: bool,
) -> None:
    """Nobody left it out: the baseline has it, and without --peft-method all is expected."""
    planned = trials("42")
    lost = replace(planned[0], method=find_method("lora"))
    write_baseline(pytester.path / "b.json", [ended(trial, errors=5) for trial in [*planned, lost]])
    collector = Collector(pytester.path / ".peftcore", ProgressDisplay(io.StringIO()))
    with Store(collector.folder) as store:
        for trial in planned:
            store.commit(ended(trial, errors=5))
    selection = Selection(
        scenario="embedded",
        methods=METHODS if asked else None,
        seeds=(42,),
        model=str(model),
        data=str(tiny_data),
        settings=SETTINGS,
    )
    comparison = Comparison(selection, ("embedded",), collector)
    comparison._plans["embedded"] = planned
    gate = Gate(baseline=read_side(pytester.path / "b.json"), mode=GateMode.FAIL, seeds_max=None)
    verdicts = comparison.judge(gate, lambda _: None)
    assert ("lora" in verdicts.not_asked_for) is asked
    if not asked:
        assert verdicts.verdict_on("lora") is Verdict.INVALID


def test_where_the_scenario_did_not_run_nothing_passes(
    light: Session, pytester: pytest.Pytester, baseline: str
) -> None:
    (pytester.path / "test_other.py").write_text("def test_other(): pass\n")
    for mode, code in (("fail", 1), ("warn", 0)):
        result = light("test_other.py", "--peft-baseline", baseline, "--peft-gate", mode)
        result.assert_outcomes(passed=1)
        assert "gate on embedded: INVALID: no trial of that scenario ran" in text_of(result)
        assert result.ret == code


@pytest.mark.parametrize("case", ["absent", "none", "scenario", "truncated", "version", "most"])
def test_what_can_not_be_meant_is_refused_before_anything_runs(
    light: Session, pytester: pytest.Pytester, baseline: str, case: str
) -> None:
    file = pytester.path / baseline
    whole = json.loads(file.read_text(encoding="utf-8"))
    if case == "truncated":
        file.write_text(file.read_text(encoding="utf-8")[:500], encoding="utf-8")
    elif case == "version":
        file.write_text(json.dumps({**whole, "schema": 2}), encoding="utf-8")
    elif case == "scenario":
        write_baseline(file, run())
    given = ("--peft-baseline", baseline)
    options, words = {
        "absent": (("--peft-baseline", "absent.json"), "there is no absent.json"),
        "none": (("--peft-gate", "fail"), "--peft-gate compares with a baseline and there is none"),
        "scenario": (given, "is of scenario imdb-roberta, and this session compares in embedded"),
        "truncated": (given, "b.json is no whole JSON"),
        "version": (given, "has schema version 2, this release reads 1"),
        "most": ((*given, "--peft-seeds-max", "many"), "--peft-seeds-max 'many' is not usable"),
    }[case]
    result = light(*options)
    assert result.ret == USAGE_ERROR
    (message,) = [line for line in text_of(result).splitlines() if line.strip()]
    assert message.startswith("ERROR: ")
    assert words in message
    assert not (pytester.path / ".peftcore").exists()


@pytest.mark.slow
def test_a_scenario_of_ones_own_is_gated_too(
    pytester: pytest.Pytester, monkeypatch: pytest.MonkeyPatch, model: Path, tiny_data: Path
) -> None:
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "")
    pytester.makepyfile(
        "def test_mine(peft_trial):\n"
        f"    peft_trial(method='bow', model={str(model)!r}, data={str(tiny_data)!r},\n"
        "               name='mine', max_length=32, seeds=2)\n"
    )
    assert pytester.runpytest_subprocess(timeout=300).ret == 0
    with Store(pytester.path / ".peftcore", create=False) as store:
        records = store.records("mine")
    write_baseline(pytester.path / "b.json", records)
    options = ("--peft-baseline", "b.json", "--peft-gate-metrics", "accuracy,counts")
    result = pytester.runpytest_subprocess(*options, "--peft-gate", "strict", timeout=300)
    assert "gate on mine: PASS (identical)" in text_of(result)
    assert result.ret == 0
    # Of another method that the baseline has, no test asks.
    other = [replace(r, trial={**r.trial, "method": "ia3", "id": f"i{r.seed}"}) for r in records]
    write_baseline(pytester.path / "b.json", [*records, *other])
    result = pytester.runpytest_subprocess(*options, timeout=300)
    assert "no trial with seed 42, 43" in text_of(result)
    assert result.ret == 1

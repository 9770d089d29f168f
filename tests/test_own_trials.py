"""The fixture ``peft_trial``, as a project of one's own uses it: pytest inside pytest."""

from __future__ import annotations

import json
import shutil
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from peftcore.comparison import Comparison
from peftcore.errors import UsageError
from peftcore.methods import METHODS, Adapter, Method, Trains, find_method
from peftcore.pytest_trial import TrialResult
from peftcore.results.records import Measurement, Record, read_records
from peftcore.results.store import Store
from peftcore.running.planning import shortfall
from peftcore.trials import Outcome, Trial, Weights
from tests.conftest import MakeTrial

Project = Callable[..., pytest.RunResult]

MINE = """
from peftcore.methods import Adapter, Method, Trains

MINE = Method(
    slug="thin-lora",
    name="Thin LoRA",
    summary="LoRA of rank 2 on the value projections.",
    paper=None,
    trains=Trains.ADAPTER,
    adapter=Adapter(
        config="LoraConfig", options={"r": 2, "lora_alpha": 4}, targets=("value",)
    ),
    rate_of="lora",
)
"""


@pytest.fixture
def project(
    pytester: pytest.Pytester,
    monkeypatch: pytest.MonkeyPatch,
    tiny_bert: Path,
    tiny_data: Path,
) -> Project:
    """Return a function that runs pytest on this test, in a project with its model and data."""
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "")
    shutil.copytree(tiny_bert, pytester.path / "models" / "mine")
    shutil.copytree(tiny_data, pytester.path / "data" / "mine")
    (pytester.path / "pytest.ini").write_text("[pytest]\n")
    (pytester.path / "own_methods.py").write_text(MINE)

    def run(test: str, *options: str) -> pytest.RunResult:
        (pytester.path / "test_mine.py").write_text(test)
        # As `python -m pytest` does, the project's own modules are found.
        return pytester.run(sys.executable, "-m", "pytest", *options, timeout=300)

    return run


def call(arguments: str = "", *, method: str = '"bow"', check: str = "") -> str:
    """Return a test that asks for one trial."""
    return (
        "from own_methods import MINE\n"
        "def test_my_adapter(peft_trial):\n"
        f"    result = peft_trial(method={method}, model='models/mine', data='data/mine',\n"
        f"        max_length=32, {arguments})\n"
        + "".join(f"    {line.strip()}\n" for line in check.split(";"))
    )


def text_of(result: pytest.RunResult) -> str:
    return f"{result.stdout.str()}\n{result.stderr.str()}"


def stored(folder: Path) -> list[Record]:
    with Store(folder / ".peftcore", create=False) as store:
        return store.records()


# One's own model, data and method


@pytest.mark.slow
def test_a_method_of_ones_own_is_trained_reported_and_reused(
    project: Project, pytester: pytest.Pytester
) -> None:
    test = call(
        "epochs=1, learning_rate=5e-3, seeds=2",
        method="MINE",
        check="assert result.accuracy >= 0.0; assert len(result.accuracies) == 2;"
        "low, high = result.interval; assert 0 <= low < result.accuracy < high <= 1;"
        "assert result.trainable_parameters == 642; assert result.train_seconds > 0;"
        "assert result.peak_bytes > 0; assert result.method is MINE",
    )
    result = project(test)
    result.assert_outcomes(passed=1)
    assert "test_mine.test_my_adapter thin-lora seed 43: accuracy" in text_of(result)
    records = stored(pytester.path)
    assert [record.seed for record in records] == [42, 43]
    trial = records[0].trial
    assert (trial["method"], trial["scenario"]) == ("thin-lora", "test_mine.test_my_adapter")
    assert trial["hyperparameters"]["r"] == 2
    assert trial["recipe"]["learning_rate"] == 5e-3
    # All that the data has, and nothing that departs from what the test declares.
    assert (trial["task"]["train_examples"], trial["task"]["test_examples"]) == (200, 60)
    assert trial["overrides"] == []
    report = pytester.path / "reports" / "test_mine.test_my_adapter"
    assert list(read_records(report / "records.jsonl")) == records
    assert "thin-lora" in (report / "report.md").read_text(encoding="utf-8")

    again = project(test.replace(">= 0.0", "> 1.0"), "-vv")
    again.assert_outcomes(failed=1)
    assert "reused 2 of 2 records" in text_of(again)
    assert "<thin-lora in test_mine.test_my_adapter: accuracy 0." in text_of(again)
    assert stored(pytester.path) == records


def test_calls_of_one_test_are_rows_of_one_report(
    project: Project, pytester: pytest.Pytester
) -> None:
    test = (
        "import pytest\n"
        "@pytest.mark.parametrize('method', ['bow', 'head'])\n"
        "def test_all(peft_trial, method):\n"
        "    peft_trial(method=method, model='models/mine', data='data/mine', name='sentiment',\n"
        "               max_length=32, epochs=1, train_examples=48)\n"
    )
    result = project(test, "--peft-seeds", "7,", "--peft-set", "test_examples=24", "-n", "2")
    result.assert_outcomes(passed=2)
    records = list(read_records(pytester.path / "reports" / "sentiment" / "records.jsonl"))
    assert [(record.method, record.seed) for record in records] == [("bow", 7), ("head", 7)]
    for record in records:
        assert record.outcome is Outcome.OK
        # What the command line asks for beyond the test is said.
        assert record.trial["overrides"] == ["test_examples=24"]
    assert "report: reports/sentiment/report.md" in text_of(result)


def test_a_trial_that_does_not_end_well_fails_its_test(
    project: Project, pytester: pytest.Pytester
) -> None:
    result = project(call("seeds=[5]"), "--peft-timeout", "0.2")
    result.assert_outcomes(failed=1)
    assert "test_mine.test_my_adapter bow seed 5: timeout: stopped after 0.2 s" in text_of(result)
    (record,) = stored(pytester.path)
    assert record.outcome is Outcome.TIMEOUT
    report = pytester.path / "reports" / "test_mine.test_my_adapter" / "report.md"
    assert "stopped after 0.2 s" in report.read_text(encoding="utf-8")


def result_of(*accuracies: float, weights: Weights = Weights.PRETRAINED) -> TrialResult:
    """Return what a call gives whose trials reached these accuracies."""
    records = [
        Record(
            trial={"method": "lora", "scenario": "mine", "seed": seed, "weights": str(weights)},
            outcome=Outcome.OK,
            measurement=Measurement(
                accuracy=accuracy,
                evaluated_examples=100,
                train_seconds=float(seed),
                peak_bytes=seed,
            ),
        )
        for seed, accuracy in enumerate(accuracies, start=1)
    ]
    return TrialResult(scenario="mine", method=find_method("lora"), records=tuple(records))


def test_a_result_is_that_of_all_its_seeds() -> None:
    result = result_of(0.8, 0.9, 0.85)
    assert result.accuracies == pytest.approx((0.8, 0.9, 0.85))
    assert result.accuracy == pytest.approx(0.85)
    assert (result.train_seconds, result.peak_bytes) == (2.0, 3)
    assert result.trainable_parameters is None
    assert repr(result) == "<lora in mine: accuracy 0.8500, seeds 1, 2, 3>"


def test_with_one_seed_the_interval_is_that_of_its_model() -> None:
    result = result_of(0.8)
    assert result.interval is not None
    # Wilson's, of 80 in 100.
    assert result.interval == pytest.approx((0.7112, 0.8666), abs=1e-4)
    assert repr(result) == "<lora in mine: accuracy 0.8000 [0.7112, 0.8666], seeds 1>"


def test_with_fresh_weights_a_test_of_the_accuracy_is_skipped() -> None:
    result = result_of(0.99, weights=Weights.RANDOM)
    for name in ("accuracy", "accuracies", "interval"):
        with pytest.raises(pytest.skip.Exception, match="accuracy means nothing"):
            getattr(result, name)
    assert result.train_seconds == 1.0
    assert repr(result) == "<lora in mine: no accuracy, seeds 1>"


@pytest.mark.slow
def test_a_baseline_gates_a_test_of_ones_own(project: Project, pytester: pytest.Pytester) -> None:
    test = call("seeds=2, name='mine'")
    project(test).assert_outcomes(passed=1)
    wrote = pytester.run(sys.executable, "-m", "peftcore", "baseline", "--out", "baseline.json")
    assert wrote.ret == 0
    gate = ("--peft-baseline", "baseline.json", "--peft-gate-metrics", "accuracy")
    same = project(test, *gate)
    assert same.ret == 0
    assert "gate on mine: PASS" in text_of(same)
    assert (pytester.path / "reports" / "mine" / "gate.md").is_file()
    # Another length reads other words: not comparable, whatever the accuracy.
    shorter = test.replace("max_length=32", "max_length=8").replace("seeds=2", "seeds=1")
    other = project(shorter, *gate)
    other.assert_outcomes(passed=1)
    assert other.ret == pytest.ExitCode.TESTS_FAILED
    assert "gate on mine: INVALID" in text_of(other)
    # Missing never means passed.
    nothing = project("def test_nothing(peft_trial):\n    pass\n", *gate)
    assert nothing.ret == pytest.ExitCode.TESTS_FAILED
    assert "gate on mine: INVALID: no trial of that scenario ran" in text_of(nothing)


# What can't be meant


REFUSED: dict[str, tuple[str, tuple[str, ...]]] = {
    "a method": (
        "peft_trial(method='lorra', model='models/mine', data='data/mine')",
        ("'lorra'", "did you mean 'lora'?"),
    ),
    "a setting": (
        "peft_trial(method='lora', model='models/mine', data='data/mine', epoch=1)",
        ("'epoch'", "did you mean 'epochs'?"),
    ),
    "a value": (
        "peft_trial(method='lora', model='models/mine', data='data/mine', epochs=1.5)",
        ("epochs=1.5", "a whole number"),
    ),
    "a model": (
        "peft_trial(method='lora', model='models/others', data='data/mine')",
        ("model 'models/others' is no folder in", "no hub id with its revision"),
    ),
    "data": (
        "peft_trial(method='lora', model='models/mine', data='elsewhere')",
        ("data 'elsewhere' is neither a folder nor a known data set",),
    ),
    "seeds": (
        "peft_trial(method='lora', model='models/mine', data='data/mine', seeds=[-1])",
        ("seeds '-1,'", "whole numbers from 0"),
    ),
    "a scenario's name": (
        "peft_trial(method='lora', model='models/mine', data='data/mine', name='embedded')",
        ("name='embedded' is one of peftcore's own",),
    ),
    "a name with a folder in it": (
        "peft_trial(method='lora', model='models/mine', data='data/mine', name='../up')",
        ("name='../up'", "small letters"),
    ),
    "a length": (
        "peft_trial(method='lora', model='models/mine', data='data/mine', max_length=5000)",
        ("max_length=5000 is more than the 66 tokens",),
    ),
    "a slug of peftcore's": (
        "peft_trial(method=replace(MINE, slug='lora'), model='models/mine', data='data/mine')",
        ("method 'lora' is one of peftcore's own, and this is another",),
    ),
    "a slug that is none": (
        "peft_trial(method=replace(MINE, slug='My LoRA'), model='models/mine', data='data/mine')",
        ("method slug 'My LoRA' is not usable",),
    ),
}


def test_what_can_not_be_meant_fails_in_one_sentence_and_runs_nothing(
    project: Project, pytester: pytest.Pytester
) -> None:
    tests = "from dataclasses import replace\nfrom own_methods import MINE\n"
    for number, (text, _) in enumerate(REFUSED.values()):
        tests += f"def test_{number}(peft_trial):\n    {text}\n"
    result = project(tests, "--tb=short", "-p", "no:randomly")
    result.assert_outcomes(failed=len(REFUSED))
    messages = [line for line in result.outlines if line.startswith("peft_trial: ")]
    assert len(messages) == len(REFUSED)
    for message, (_, words) in zip(messages, REFUSED.values(), strict=True):
        for word in words:
            assert word in message
    assert not (pytester.path / "reports").exists()
    assert not (pytester.path / ".peftcore").exists()


# The session's plan


@pytest.fixture
def comparison() -> Comparison:
    nothing: Any = None
    return Comparison(nothing, (), nothing)


def named(trial: Trial, **changes: Any) -> Trial:
    from dataclasses import replace

    return replace(trial, scenario="sentiment", **changes)


def test_trials_of_one_name_join_its_plan_once(
    comparison: Comparison, make_trial: MakeTrial
) -> None:
    lora, ia3 = named(make_trial("lora")), named(make_trial("ia3", learning_rate=0.5))
    comparison.adopt([lora, ia3])
    comparison.adopt([lora])
    assert comparison.trials("sentiment") == [lora, ia3]


def test_trials_that_can_not_share_a_table_need_names_of_their_own(
    comparison: Comparison, make_trial: MakeTrial
) -> None:
    comparison.adopt([named(make_trial("lora"))])
    with pytest.raises(UsageError, match=r"sentiment was asked for with other data.*name="):
        comparison.adopt([named(make_trial("ia3", epochs=2))])
    with pytest.raises(UsageError, match=r"sentiment has lora with seed 42 already.*name="):
        comparison.adopt([named(make_trial("lora", learning_rate=0.5))])
    assert len(comparison.trials("sentiment")) == 1


def test_the_floor_of_a_test_of_ones_own_is_its_own_assertion(make_trial: MakeTrial) -> None:
    trial = named(make_trial("lora"), overrides=())
    assert shortfall(trial, accuracy=0.0, majority=0.5) is None


# A declaration on its way to a trial's process


@pytest.mark.parametrize("method", METHODS, ids=lambda method: method.slug)
def test_a_declaration_comes_back_as_the_method_it_was(method: Method) -> None:
    assert Method.declared(json.loads(json.dumps(method.declaration()))) == method


def test_a_declaration_that_is_no_plain_data_is_refused() -> None:
    lora = find_method("lora").adapter
    assert lora is not None
    for value in ({"query"}, ("a", "tuple"), float("nan"), {1: "a number for a key"}):
        method = Method(
            slug="mine",
            name="Mine",
            summary="",
            paper=None,
            trains=Trains.ADAPTER,
            adapter=Adapter(config="LoraConfig", options={"r": 2, "rank_pattern": value}),
        )
        with pytest.raises(UsageError, match=r"'mine': option rank_pattern=.* is not plain data"):
            method.declaration()


def test_a_test_that_asks_for_none_pays_nothing() -> None:
    code = (
        "import sys, peftcore.pytest_trial\n"
        "heavy = {'torch', 'transformers', 'scipy', 'numpy', 'sqlite3', 'pyarrow'}\n"
        "assert not heavy & set(sys.modules), heavy & set(sys.modules)\n"
    )
    subprocess.run([sys.executable, "-c", code], check=True)

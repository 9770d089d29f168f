"""A method served in a process of its own."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import psutil
import pytest

from peftcore.errors import UsageError
from peftcore.measuring.environment import sources_sha256
from peftcore.running.planning import Selection
from peftcore.serving import process
from peftcore.serving.process import drive_plainly, run_serving
from peftcore.serving.trials import ServingPlan, ServingTrial
from peftcore.trials import Outcome
from tests.serving.conftest import MakeServing


def test_rounds_are_called_for_and_come_back_as_a_measurement(make_serving: MakeServing) -> None:
    trial = make_serving(residents=(1,))
    calls: list[tuple[int, int]] = []
    phases: list[str] = []

    def drive(measure: Callable[[], None], warm_up_rounds: int, rounds: int) -> None:
        calls.append((warm_up_rounds, rounds))
        drive_plainly(measure, warm_up_rounds, rounds)
        # As pytest-benchmark does once more for a profile: it does not count.
        measure()

    report = run_serving(
        trial,
        drive=drive,
        timeout_seconds=300,
        progress=lambda event: phases.append(event["phase"]),
    )
    assert report.outcome is Outcome.OK, report.error
    assert calls == [(1, 2)]
    assert phases[0] == "load"
    assert phases[-2:] == ["round 3 of 3", "round 4 of 3"]
    assert report.measurement is not None
    figures = report.measurement["serving"]["figures"]
    assert {figure["status"] for figure in figures} == {"measured"}
    assert {len(f["seconds"]) for f in figures if f["what"] == "load"} == {2}


def test_rounds_that_nobody_called_for_are_no_measurement(make_serving: MakeServing) -> None:
    with pytest.raises(RuntimeError, match="called for 1 of 3 rounds"):
        run_serving(
            make_serving(residents=(1,)),
            drive=lambda measure, *_: measure(),
            timeout_seconds=300,
            progress=lambda _: None,
        )


def test_a_process_that_dies_in_a_round_is_a_crash(make_serving: MakeServing) -> None:
    def drive(measure: Callable[[], None], *_: int) -> None:
        (child,) = [
            one for one in psutil.Process().children() if "peftcore.serving.child" in one.cmdline()
        ]
        child.kill()
        measure()

    report = run_serving(
        make_serving(residents=(1,)), drive=drive, timeout_seconds=300, progress=lambda _: None
    )
    assert report.outcome is Outcome.CRASHED
    assert "SIGKILL" in str(report.error)


def test_what_takes_too_long_is_stopped(make_serving: MakeServing) -> None:
    report = run_serving(make_serving(), timeout_seconds=0.2, progress=lambda _: None)
    assert report.outcome is Outcome.TIMEOUT
    assert "0.2 s" in str(report.error)


def test_other_sources_are_refused(make_serving: MakeServing) -> None:
    report = run_serving(make_serving(code="0" * 12), timeout_seconds=300, progress=lambda _: None)
    assert report.outcome is Outcome.FAILED
    assert "sources have changed" in str(report.error)


def test_sources_that_changed_since_the_session_began_are_refused(
    make_serving: MakeServing, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Its record would name those that the session began with."""
    monkeypatch.setattr(process, "sources_sha256", lambda: "0" * 64)
    report = run_serving(make_serving(), timeout_seconds=300, progress=lambda _: None)
    assert report.outcome is Outcome.FAILED
    assert "sources have changed" in str(report.error)


def test_a_trial_is_itself_again_after_a_job(make_serving: MakeServing) -> None:
    trial = make_serving("ia3")
    again = ServingTrial.from_job(trial.to_job())
    assert again == trial
    assert again.id == trial.id
    assert again.describe() == trial.describe()


@pytest.mark.parametrize("change", [{"rounds": 3}, {"batch_size": 2}, {"code": "f" * 12}])
def test_what_changes_the_numbers_changes_the_id(
    make_serving: MakeServing, change: dict[str, Any]
) -> None:
    assert make_serving(**change).id != make_serving().id


def test_a_bag_of_words_is_served_by_no_backbone() -> None:
    plan = ServingPlan(Selection(methods=("lora", "bow")))
    assert [method.slug for method, _ in plan.cells()] == ["lora"]
    with pytest.raises(UsageError, match="names no method that serves a backbone"):
        ServingPlan(Selection(methods=("bow",))).cells()


def test_a_plan_serves_in_32_bits_unless_asked_otherwise() -> None:
    trial = ServingPlan(Selection(methods=("lora",))).methods()[0]
    plan = ServingPlan(Selection(methods=("lora",)), rounds=5)
    made = plan.trial(trial)
    assert (str(made.recipe.precision), made.serving.batch_size, made.serving.rounds) == (
        "fp32",
        16,
        5,
    )
    settings = ("precision=bf16", "eval_batch_size=3")
    other = ServingPlan(Selection(methods=("lora",), settings=settings)).trial(trial)
    assert (str(other.recipe.precision), other.serving.batch_size) == ("bf16", 3)


def test_how_serving_is_measured_costs_no_training_run(monkeypatch: pytest.MonkeyPatch) -> None:
    from peftcore.measuring import environment

    sources_sha256.cache_clear()
    known = sources_sha256()
    sources_sha256.cache_clear()
    without = tuple(name for name in environment._NOT_MEASURING if name != "serving")
    monkeypatch.setattr(environment, "_NOT_MEASURING", without)
    assert sources_sha256() != known
    sources_sha256.cache_clear()

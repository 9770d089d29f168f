"""A search that an earlier session left: what is run again decides the rate, not what was there."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from peftcore.comparison import Comparison
from peftcore.methods import find_method
from peftcore.results import collecting
from peftcore.results.collecting import Collector
from peftcore.running.planning import Selection
from peftcore.running.process import ChildReport
from peftcore.scenarios import Protocol
from peftcore.trials import Outcome, Trial
from tests.sizes.test_reusing import Silent

SCENARIO = "imdb-minilm"
LORA = find_method("lora")


class Sessions:
    """Starts one session after another on the same store.

    Attributes:
        outcome: what comes of trials with the rate ``spoilt``; others end well.
        spoilt: a learning rate.
        ran: the rates of the trials that the newest session ran.
    """

    def __init__(self, selection: Selection, folder: Path) -> None:
        self.selection, self.folder = selection, folder
        self.outcome = Outcome.OK
        self.spoilt = 0.0
        self.ran: list[float] = []

    def begin(self, day: int, monkeypatch: pytest.MonkeyPatch, **options: Any) -> Comparison:
        monkeypatch.setattr(collecting, "_now", lambda: f"2026-01-{day:02}T00:00:00+00:00")
        self.ran = []
        collector = Collector(self.folder, Silent(), runner=self._run, **options)
        return Comparison(self.selection, (SCENARIO,), collector, search_trials=4)

    def _run(self, trial: Trial, **_: Any) -> ChildReport:
        rate = trial.recipe.learning_rate
        self.ran.append(rate)
        if self.outcome is not Outcome.OK and rate == self.spoilt:
            return ChildReport(outcome=self.outcome, error="as the test has it")
        return ChildReport(outcome=Outcome.OK, measurement={"accuracy": min(rate, 1.0)})


@pytest.fixture
def sessions(tiny_data: Path, bare_model: Path, tmp_path: Path) -> Sessions:
    selection = Selection(
        scenario=SCENARIO,
        methods=(LORA,),
        seeds=(1, 2),
        data=str(tiny_data),
        model=str(bare_model),
        settings=("train_examples=40", "test_examples=20", "max_length=16"),
        protocol=Protocol.TUNED,
    )
    return Sessions(selection, tmp_path / "store")


def rates(comparison: Comparison) -> set[float]:
    return {trial.recipe.learning_rate for trial in comparison.trials(SCENARIO)}


@pytest.mark.parametrize(
    "outcome", [Outcome.CANCELLED, Outcome.CRASHED, Outcome.OOM, Outcome.TIMEOUT, Outcome.NAN]
)
def test_trials_are_at_the_rate_that_the_search_found_when_it_went_on(
    sessions: Sessions, monkeypatch: pytest.MonkeyPatch, outcome: Outcome
) -> None:
    whole = sessions.begin(1, monkeypatch).search(SCENARIO, LORA)
    assert whole.rate is not None
    sessions.spoilt, sessions.folder = whole.rate, sessions.folder.with_name("left")
    sessions.outcome = outcome
    left = sessions.begin(2, monkeypatch)
    without = left.search(SCENARIO, LORA)
    assert without.rate is not None
    assert without.rate < whole.rate
    # In its own session what did not end well is tried, and the best of the others is trained.
    assert rates(left) == {without.rate}
    assert left.unfinished(SCENARIO, LORA) == []

    sessions.outcome = Outcome.OK
    resumed = sessions.begin(3, monkeypatch)
    controller = sessions.begin(3, monkeypatch)
    # As at collection, before anything ran, and as of a method that the session leaves out.
    assert rates(resumed) == rates(controller) == {without.rate}
    assert "trials of its search" in controller.unfinished(SCENARIO, LORA)[0]
    found = resumed.search(SCENARIO, LORA)
    assert sessions.ran[0] == whole.rate
    assert found.rate == whole.rate
    for process in (resumed, controller):
        assert rates(process) == {whole.rate}
        assert process.unfinished(SCENARIO, LORA) == []


def test_run_afresh_trials_are_at_the_rate_that_the_new_search_found(
    sessions: Sessions, monkeypatch: pytest.MonkeyPatch
) -> None:
    first = sessions.begin(1, monkeypatch).search(SCENARIO, LORA)
    assert first.rate is not None
    sessions.spoilt, sessions.outcome = first.rate, Outcome.NAN
    fresh = sessions.begin(2, monkeypatch, fresh=True)
    assert rates(fresh) == {first.rate}
    found = fresh.search(SCENARIO, LORA)
    assert found.rate != first.rate
    assert rates(fresh) == {found.rate}

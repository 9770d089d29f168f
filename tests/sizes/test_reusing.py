"""Records of the comparison itself stand for trials on its own size."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from peftcore.comparison import Comparison
from peftcore.measuring.environment import describe_environment
from peftcore.results.collecting import Collector
from peftcore.results.records import Measurement, Record
from peftcore.results.store import Store, sizes_store
from peftcore.running.planning import Selection
from peftcore.running.process import ChildReport
from peftcore.trials import Outcome, Trial
from tests.conftest import MakeTrial


class Silent:
    def show(self, label: str, event: Any) -> None: ...

    def done(self, label: str, summary: str) -> None: ...


@pytest.mark.parametrize("fresh", [False, True])
def test_a_record_of_the_comparison_is_taken_unless_all_is_run_again(
    make_trial: MakeTrial, tmp_path: Path, fresh: bool
) -> None:
    ran: list[str] = []

    def run(trial: Trial, **_: Any) -> ChildReport:
        ran.append(trial.id)
        return ChildReport(outcome=Outcome.OK, measurement={"accuracy": 0.5})

    own, smaller = make_trial(), make_trial(train_examples=16)
    made = Record(
        trial=own.describe(),
        outcome=Outcome.OK,
        measurement=Measurement(accuracy=0.75),
        environment=describe_environment(),
        created="2026-01-02T03:04:05+00:00",
    )
    with Store(tmp_path) as store:
        store.commit(made)
    collector = Collector(tmp_path, Silent(), fresh=fresh, runner=run)
    comparison = Comparison(Selection(), ("embedded",), collector)
    found = [comparison.collect_sized(trial) for trial in (own, smaller)]
    assert ran == ([own.id] if fresh else []) + [smaller.id]
    assert (found[0] == made) is not fresh
    with Store(sizes_store(tmp_path), create=False) as store:
        assert {record.id for record in store.records()} == {own.id, smaller.id}
    with Store(tmp_path) as store:
        assert store.records() == [made]

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
from tests.report.test_sizes import content, contents, read
from tests.test_command_line import invoke


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


def test_where_nothing_could_be_stored_there_is_no_report(tmp_path: Path) -> None:
    comparison = Comparison(Selection(), ("embedded",), Collector(tmp_path / "store", Silent()))
    assert comparison.write_sizes_report(["lora-embedded-s42-0123456789ab"]) == []


def test_the_report_says_which_sizes_of_the_store_it_leaves_out(tmp_path: Path) -> None:
    collector = Collector(tmp_path / "store", Silent())
    comparison = Comparison(Selection(), ("embedded",), collector, report=tmp_path / "report")
    by_steps = [*contents(), content("lora", 30, 42, accuracies={30: 0.6})]
    by_epochs = [one for one in contents("epochs") if one["trial"]["task"]["train_examples"] < 600]
    with Store(sizes_store(tmp_path / "store")) as store:
        for record in (*read(by_steps), *read(by_epochs)):
            store.commit(record)
    _, left_out = comparison.write_sizes_report([one["trial"]["id"] for one in by_epochs])
    assert left_out.endswith("the store's records on 30 examples")
    # Nothing ran, so that what the store got last stands for what ran last.
    told = invoke("report", "--store", tmp_path / "store", "--out", tmp_path / "again")
    assert told.exit_code == 0
    assert left_out in told.stderr
    (line,) = comparison.write_sizes_report([one["trial"]["id"] for one in contents()])
    assert line.startswith("report: ")

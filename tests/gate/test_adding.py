from __future__ import annotations

from collections.abc import Sequence

import pytest

from peftcore.gate.adding import judge_in_groups, seeds_to_add
from peftcore.gate.evidence import Evidence
from peftcore.gate.options import Gate
from peftcore.gate.verdicts import GateMode, Verdict, Verdicts
from peftcore.report.metrics import ACCURACY
from peftcore.results.records import Record
from tests.gate.runs import METHODS, run, worse

TRIALS = [(method, seed) for method in METHODS for seed in (100, 101)]
BASELINE = run(range(42, 54), of="baseline")


def judged(
    seeds_max: int | None, points: float, missing: str = ""
) -> tuple[Verdicts, list[list[int]]]:
    """Return the verdicts on a run that is worse by these points, and what was asked to run."""
    asked: list[list[int]] = []

    def collect(seeds: Sequence[int]) -> list[Record]:
        asked.append(list(seeds))
        found = worse(run(seeds, of="now"), points)
        return [record for record in found if record.method != missing]

    gate = Gate(
        baseline=[Evidence.of(record) for record in BASELINE],
        mode=GateMode.FAIL,
        seeds_max=seeds_max,
        metrics=(ACCURACY,),
    )
    lines: list[str] = []
    verdicts = judge_in_groups(gate, TRIALS, collect, lines.append)
    assert len(lines) == len(asked) - 1
    return verdicts, asked


def test_without_leave_nothing_is_added() -> None:
    verdicts, asked = judged(None, 0.5)
    assert verdicts.verdict is Verdict.INCONCLUSIVE
    assert verdicts.look.share == 1
    assert asked == [[100, 101]]


def test_while_it_is_open_seeds_are_added_in_groups_up_to_the_most() -> None:
    verdicts, asked = judged(7, 0.3)
    # First the baseline's own, which settle counts as well.
    assert asked == [[100, 101], [42, 43, 44], [45, 46]]
    assert verdicts.look.seeds == 7
    assert {cell.seeds[1] for cell in verdicts.cells} == {7}


def test_a_regression_that_more_seeds_show_is_one() -> None:
    few, _ = judged(None, 0.5)
    many, asked = judged(11, 0.5)
    assert few.verdict is Verdict.INCONCLUSIVE
    assert many.verdict is Verdict.REGRESSION
    # And it ends there: nothing would take it back.
    assert sum(map(len, asked)) < 11


def test_nothing_is_added_to_what_failed() -> None:
    verdicts, asked = judged(11, 8)
    assert verdicts.verdict is Verdict.REGRESSION
    assert len(asked) == 1
    verdicts, asked = judged(11, 0, missing="lora")
    assert verdicts.verdict is Verdict.INVALID
    assert len(asked) == 1


def test_a_trial_that_fails_on_the_way_is_no_pass() -> None:
    gate = Gate(
        baseline=[Evidence.of(record) for record in BASELINE],
        mode=GateMode.FAIL,
        seeds_max=9,
        metrics=(ACCURACY,),
    )

    def collect(seeds: Sequence[int]) -> list[Record]:
        found = worse(run(seeds, of="now"), 0.5)
        return found if 100 in seeds else [r for r in found if r.method != "ia3"]

    verdicts = judge_in_groups(gate, TRIALS, collect, lambda _: None)
    assert verdicts.verdict is Verdict.INVALID


@pytest.mark.parametrize(
    ("planned", "baseline", "count", "added"),
    [
        ([42, 43], [42, 43, 44, 45], 2, [44, 45]),
        ([42, 43], [42, 43, 44], 3, [44, 45, 46]),
        ([7], [44, 42], 2, [42, 44]),
        ([50], [], 2, [51, 52]),
    ],
)
def test_seeds_that_are_added(
    planned: list[int], baseline: list[int], count: int, added: list[int]
) -> None:
    assert seeds_to_add(planned, baseline, count) == added

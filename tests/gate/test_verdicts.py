from __future__ import annotations

import itertools

import pytest

from peftcore.gate.verdicts import FAILING, WORST_FIRST, Cell, GateMode, Verdict, Verdicts, looks
from peftcore.report.metrics import ACCURACY


def cells(*verdicts: Verdict | None) -> Verdicts:
    found = tuple(
        Cell(method=str(n), metric=ACCURACY, verdict=verdict) for n, verdict in enumerate(verdicts)
    )
    return Verdicts(scenario="embedded", cells=found)


@pytest.mark.parametrize("verdict", Verdict)
def test_exit_codes(verdict: Verdict) -> None:
    fails = {mode: cells(verdict).fails(mode) for mode in GateMode}
    expected = verdict in {Verdict.INVALID, Verdict.FLOOR, Verdict.REGRESSION}
    assert fails == {
        GateMode.OFF: False,
        GateMode.WARN: False,
        GateMode.FAIL: expected,
        GateMode.STRICT: expected or verdict is Verdict.INCONCLUSIVE,
    }
    assert (verdict in FAILING) is expected


def test_a_run_is_as_good_as_its_worst_cell() -> None:
    assert set(WORST_FIRST) == set(Verdict)
    for first, second in itertools.combinations(WORST_FIRST, 2):
        assert cells(second, first).verdict is first


def test_what_is_told_alone_decides_nothing() -> None:
    assert cells(None, Verdict.PASS).verdict is Verdict.PASS


def test_nothing_judged_is_no_pass() -> None:
    assert cells().verdict is Verdict.INVALID
    assert cells(None).verdict is Verdict.INVALID


@pytest.mark.parametrize(
    ("first", "most", "seeds"),
    [
        (3, 9, [3, 6, 9]),
        (3, 8, [3, 6, 8]),
        (3, 4, [3, 4]),
        (3, 3, [3]),
        (5, 3, [5]),
        (1, 5, [1, 4, 5]),
    ],
)
def test_looks_share_what_there_is_to_spend(first: int, most: int, seeds: list[int]) -> None:
    plan = looks(first, most)
    assert [look.seeds for look in plan] == seeds
    assert sum(look.share for look in plan) == pytest.approx(1)
    assert all(look.share > 0 for look in plan)

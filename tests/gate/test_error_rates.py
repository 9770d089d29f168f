"""The gate is as seldom wrong, and sees as much, as docs/gate.md says.

The whole table is made by ``python -m tests.gate.simulation docs/gate.md``.
"""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from peftcore.gate.verdicts import Look, looks
from tests.gate.simulation import (
    DROPS,
    END,
    POWER_SPREADS,
    SPREADS,
    START,
    Drop,
    designs,
    normal,
    simulate,
)

PAGE = Path(__file__).resolve().parents[2] / "docs" / "gate.md"
NORMAL = SPREADS["normal, 0.7 points"]


def only(seeds: int) -> list[Look]:
    return [Look(seeds=seeds, share=1.0)]


def test_draws_have_the_spread_they_are_said_to_have() -> None:
    draws = normal(0.7)(np.random.default_rng(0), 20_000)
    assert draws.std(axis=1) == pytest.approx([0.7] * 6, rel=0.03)
    # A third of the variance is in common.
    assert np.corrcoef(draws)[0, 1] == pytest.approx(0.3, abs=0.03)


@pytest.mark.parametrize("spread", SPREADS)
def test_false_alarms_are_rare(spread: str) -> None:
    """Of 100 runs one is expected at the most; more than four have a chance of 0.3%."""
    assert simulate(SPREADS[spread], 10, only(3), Drop(), 100).caught <= 0.04


def test_looking_several_times_makes_no_more_false_alarms() -> None:
    assert simulate(NORMAL, 10, list(looks(3, 9)), Drop(), 60).caught <= 0.05


def test_losses_are_seen_and_more_seeds_see_more() -> None:
    """Of 40 runs: a loss of two points in one method, and of one point in all of them."""
    few, many = (simulate(NORMAL, 10, only(n), Drop(points=2.0), 40).caught for n in (3, 8))
    assert few >= 0.3
    assert many >= 0.85
    everywhere = simulate(NORMAL, 10, only(8), Drop(points=1.0, everywhere=True), 40)
    alone = simulate(NORMAL, 10, only(8), Drop(points=1.0), 40)
    assert everywhere.caught >= 0.5
    assert everywhere.caught > alone.caught


def test_a_loss_as_large_as_the_margin_seldom_passes() -> None:
    """5% of runs at the most; more than ten of 100 have a chance of 1%."""
    assert simulate(NORMAL, 10, only(8), Drop(points=0.5), 100).passed <= 0.1


def test_the_page_has_a_figure_for_every_setting() -> None:
    made = PAGE.read_text(encoding="utf-8").partition(START)[2].partition(END)[0]
    rows = [line for line in made.splitlines() if line.startswith("|") and " / " in line]
    names = [name for name, _, _ in designs()]
    tables = 1 + len(POWER_SPREADS)
    found = [row.split("|")[1].strip() for row in rows]
    assert [one for one in found if one in names] == names * tables
    for row in rows:
        if row.split("|")[1].strip() in names:
            assert row.count("|") in (len(SPREADS) + 2, len(DROPS) + 2)

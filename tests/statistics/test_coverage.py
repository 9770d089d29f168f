"""Intervals hold the truth as often as they say, in the settings of docs/statistics.md.

The whole table is made by ``python -m tests.statistics.simulation docs/statistics.md``.
"""

from pathlib import Path

import numpy as np
import pytest
from scipy.special import ndtr

from tests.statistics.simulation import (
    COLUMNS,
    END,
    OWN,
    SEEDS,
    SHARED,
    START,
    Cell,
    cells,
    modes,
    normal,
    simulate,
)

PAGE = Path(__file__).resolve().parents[2] / "docs" / "statistics.md"


def alike(accuracy: float, points: float) -> Cell:
    return Cell(name="", accuracy=accuracy, methods=(normal(accuracy, points / 100),) * 4)


@pytest.mark.parametrize(("accuracy", "points"), [(0.7, 3), (0.9, 1), (0.98, 0.3)])
def test_the_truth_of_the_simulation_is_what_is_asked_for(accuracy, points):
    seeds = normal(accuracy, points / 100)
    assert (seeds.accuracy, 100 * seeds.spread) == pytest.approx((accuracy, points))
    # And what is drawn has it: a direct draw of seeds, examples and noise.
    rng = np.random.default_rng(1)
    draws = 400_000
    latent = seeds.level + seeds.normal * rng.standard_normal(draws)
    latent += SHARED * rng.standard_normal(draws) + OWN * rng.standard_normal(draws)
    assert ndtr(latent).mean() == pytest.approx(accuracy, abs=0.002)


def test_two_modes_have_the_truth_between_them():
    seeds = modes((0.9, 0.5), 0.1)
    assert seeds.accuracy == pytest.approx(0.86)
    assert seeds.spread == pytest.approx(0.12)


@pytest.mark.parametrize("seeds", SEEDS)
def test_intervals_hold_the_truth(seeds):
    """Two hundred repetitions: a figure is off by 2.5 points at the most, by chance."""
    found = simulate(alike(0.9, 1), seeds, 200)
    assert set(found.held) == set(COLUMNS)
    for column, held in found.held.items():
        assert 0.915 <= held <= 0.985, column


def test_a_t_over_seeds_is_too_sure_of_reviews_like_these():
    """What the crossed components are for: the interval of the one question misses the other."""
    cell = alike(0.9, 0.3)
    half = simulate(cell, 8, 40).half_points
    here, reviews = (half["accuracy", estimand] for _, estimand in COLUMNS[:2])
    # Examples alone have a standard error of 0.6 points or so, whatever the seeds.
    assert here < 0.6
    assert reviews > 1.0


def test_the_page_has_a_figure_for_every_setting():
    page = PAGE.read_text(encoding="utf-8")
    table = page.partition(START)[2].partition(END)[0]
    rows = [line for line in table.splitlines() if line.startswith("| ") and "±" in line]
    assert len(rows) == len(SEEDS) * len(list(cells()))
    assert all(line.count("±") == len(COLUMNS) for line in rows)


@pytest.mark.slow
@pytest.mark.parametrize("points", [0.3, 1, 3])
@pytest.mark.parametrize("seeds", SEEDS)
def test_coverage_is_between_93_and_97_percent(seeds, points):
    found = simulate(alike(0.9, points), seeds, 500, draw=7)
    for column, held in found.held.items():
        # One point for chance: about a standard error of five hundred repetitions.
        assert 0.92 <= held <= 0.98, column

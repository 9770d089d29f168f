"""The same accuracy with dropout, from made-up records."""

from __future__ import annotations

import numpy as np
import pytest
from scipy import stats

from peftcore.report.engines.learning import (
    Differences,
    draw_learning,
    gather,
    pooled,
    section,
    verdict,
)
from tests.report.engines.conftest import learned, row

POINTS = (0.4, -0.2, 0.1, 0.5, -0.3)


def test_interval_and_tests_are_scipys() -> None:
    found = Differences(POINTS)
    assert found.mean == pytest.approx(0.1)
    ours = stats.ttest_1samp(POINTS, 0.0).confidence_interval(0.95)
    assert found.interval == pytest.approx((ours.low, ours.high))
    above = stats.ttest_1samp(POINTS, -1.0, alternative="greater").pvalue
    below = stats.ttest_1samp(POINTS, 1.0, alternative="less").pvalue
    assert found.p == pytest.approx(max(above, below))
    assert found.equivalent


@pytest.mark.parametrize("points", [(1.4, 0.8, 1.1), (-3.0, 3.0, 0.1), (0.9, 0.95, 1.04)])
def test_equivalence_is_shown_by_the_test_and_not_by_a_small_mean(
    points: tuple[float, ...],
) -> None:
    found = Differences(points)
    above = stats.ttest_1samp(points, -1.0, alternative="greater").pvalue
    below = stats.ttest_1samp(points, 1.0, alternative="less").pvalue
    assert found.p == pytest.approx(max(above, below))
    assert not found.equivalent
    assert found.verdict() == "equivalence within ±1 point is not shown"


def test_one_pair_shows_nothing() -> None:
    found = Differences((0.0,))
    assert (found.interval, found.p, found.equivalent) == (None, None, False)
    assert "there is no test" in found.verdict()


@pytest.mark.parametrize("points", [(0.0, 0.0), (0.5, 0.5, 0.5), (1.5, 1.5)])
def test_pairs_without_any_spread_show_nothing(points: tuple[float, ...]) -> None:
    """Accuracies come in steps: a few pairs may agree by chance."""
    found = Differences(points)
    assert found.p is None
    assert not found.equivalent
    assert "there is no test" in found.verdict()


def test_differences_are_the_engines_less_trainers_seed_by_seed() -> None:
    (found,) = gather(learned("lora", (0.80, 0.81, 0.79), (0.80, 0.82, 0.78)))
    assert found.differences.points == pytest.approx((0.0, 1.0, -1.0))


def test_a_seed_that_one_engine_lacks_is_no_pair() -> None:
    (found,) = gather(learned("lora", (0.80, 0.81, 0.79), (0.80, 0.82)))
    assert found.differences.points == pytest.approx((0.0, 1.0))
    assert gather(learned("lora", (0.8,), ())) == []


def test_the_table_shows_means_difference_interval_and_verdict() -> None:
    records = [
        *learned("full", (0.80, 0.81, 0.79, 0.80, 0.80), (0.802, 0.811, 0.789, 0.803, 0.799)),
        *learned("lora", (0.80, 0.81, 0.79, 0.80, 0.80), (0.81, 0.79, 0.82, 0.77, 0.80)),
    ]
    found = gather(records)
    text = "\n\n".join(section(found, records, {}))
    points = np.array([0.2, 0.1, -0.1, 0.3, -0.1])
    low, high = stats.ttest_1samp(points, 0).confidence_interval(0.95)
    cells = row(text, "Full")
    assert cells[:4] == ["Full", "5", "80.00", "80.08"]
    assert cells[4] == f"+0.08 [−{-low:.2f}, +{high:.2f}]"
    p = stats.ttest_1samp(points, 1.0, alternative="less").pvalue
    assert p < 0.001
    assert cells[5:] == ["< 0.001", "equivalent within ±1 point"]
    assert row(text, "LoRA")[-1] == "equivalence within ±1 point is not shown"
    assert "Both engines end equivalent within ±1 point with Full." in text
    assert "**With LoRA equivalence is not shown:**" in text
    assert "1,000 training examples, 1 epoch, texts of at most 128 tokens" in text


def test_all_methods_together_carry_their_caveat() -> None:
    records = [
        *learned("full", (0.80, 0.81), (0.80, 0.82)),
        *learned("lora", (0.80, 0.81), (0.79, 0.81)),
    ]
    found = gather(records)
    assert pooled(found).points == pytest.approx((0.0, 1.0, -1.0, 0.0))
    text = "\n\n".join(section(found, records, {}))
    assert row(text, "All")[1] == "4"
    assert row(text, "All")[-1] == "—"
    assert "as if they were of one kind. They are not" in text
    alone = "\n\n".join(section(found[:1], records, {}))
    assert "| All" not in alone


def test_a_difference_that_the_interval_excludes_is_told() -> None:
    found = gather(learned("ia3", (0.80, 0.81, 0.79), (0.85, 0.861, 0.839)))
    assert "excludes that there is no difference with IA3" in verdict(found)


@pytest.mark.parametrize("accuracy", [0.5, 0.51])
def test_near_chance_nothing_is_equal(accuracy: float) -> None:
    """Engines that hardly learn are alike, and it means nothing."""
    records = learned("lora", (accuracy, accuracy + 0.001, accuracy), (accuracy,) * 3)
    found = gather(records)
    assert found[0].differences.equivalent
    assert not found[0].equivalent
    text = "\n\n".join(section(found, records, {}))
    assert row(text, "LoRA")[-1] == "too near chance to tell"
    assert "**With LoRA equivalence is not shown:**" in text
    assert "being alike says nothing" in text


def test_one_engine_near_chance_is_enough_to_tell_nothing() -> None:
    (found,) = gather(learned("lora", (0.5, 0.5, 0.5), (0.7, 0.71, 0.69)))
    assert found.flat


def test_the_plot_has_a_dot_a_seed_and_a_row_for_all() -> None:
    records = [
        *learned("full", (0.80, 0.81), (0.80, 0.82)),
        *learned("lora", (0.80, 0.81), (0.79, 0.81)),
    ]
    plot = draw_learning(gather(records))
    assert plot is not None
    (axes,) = plot.figure.axes
    assert [label.get_text() for label in axes.get_yticklabels()] == ["Full", "LoRA", "All"]
    dots = [line for line in axes.lines if line.get_marker() == "o"]
    assert [list(line.get_xdata()) for line in dots] == [
        pytest.approx([0.0, 1.0]),
        pytest.approx([-1.0, 0.0]),
        pytest.approx([0.0, 1.0, -1.0, 0.0]),
    ]
    assert draw_learning([]) is None


def test_without_records_it_says_how_to_get_them() -> None:
    assert "-k learning`" in section([], [], {})[1]

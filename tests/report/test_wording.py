from dataclasses import replace

import pytest

from peftcore.report.pairing import PairedAccuracy, PairedSeed
from peftcore.report.wording import between, bracketed, compared, count_of_seeds, figures, p_value
from peftcore.statistics.variance import Components


def paired(points: float, seeds: int = 5, square: float = 0.5) -> PairedAccuracy:
    return PairedAccuracy(
        seeds=tuple(PairedSeed(seed=n, points=points) for n in range(seeds)),
        components=Components(
            mean=points,
            seeds=seeds,
            examples=2000,
            seed_square=2000 * square,
            example_square=300.0,
            rest_square=200.0,
            unit=100,
        ),
    )


def test_what_can_not_be_told_apart_is_said_with_its_interval():
    # Variance (1000 + 300 − 200) / 10000, so ±2.0 or so with Satterthwaite's degrees.
    text = compared(paired(-0.3), "LoRA", "Full")
    low, high = paired(-0.3).interval_points
    assert text == (
        f"LoRA and Full can't be told apart: −0.30 points [−{-low:.2f}, +{high:.2f}], 5 seeds"
    )


@pytest.mark.parametrize(("points", "word"), [(4.0, "above"), (-4.0, "below")])
def test_what_is_told_apart_says_which_is_ahead(points, word):
    text = compared(paired(points), "LoRA", "Full")
    assert text.startswith(f"LoRA is {word} Full: ")


def test_a_corrected_p_may_leave_open_what_the_interval_excludes():
    open_ = replace(paired(1.5), adjusted_p=0.2)
    assert open_.interval_points[0] > 0
    text = compared(open_, "A", "B")
    assert text.startswith("A and B can't be told apart: +1.50 points [+")
    assert text.endswith("], 5 seeds (p = 0.20 when corrected for all pairs)")


def test_equivalence_is_added():
    narrow = paired(0.1, square=0.01)
    narrow = replace(narrow, components=replace(narrow.components, example_square=200.0))
    assert compared(narrow, "A", "B").endswith("; they are equivalent within ±0.5 points")


def test_without_predictions_there_is_no_interval():
    untested = PairedAccuracy(seeds=(PairedSeed(seed=1, points=-0.25),))
    assert figures(untested) == "−0.25 points, 1 seed"
    assert compared(untested, "A", "B").startswith("Whether A and B differ can't be tested")


def test_brackets():
    assert bracketed((-1.1, 0.5)) == "[−1.10, +0.50]"
    assert between((90.079, 92.55)) == "[90.08, 92.55]"
    assert (bracketed(None), between(None)) == ("", "")
    assert (count_of_seeds(1), count_of_seeds(3)) == ("1 seed", "3 seeds")


@pytest.mark.parametrize(
    ("value", "text"),
    [(0.0004, "< 0.001"), (0.0312, "= 0.031"), (0.2723, "= 0.27"), (1.0, "= 1.00"), (None, "—")],
)
def test_p_value(value, text):
    assert p_value(value) == text

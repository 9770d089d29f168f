from itertools import combinations

import numpy as np
import pytest
from scipy import stats

from peftcore.statistics.comparing import agresti_min, holm, letters, mcnemar, paired_components
from peftcore.statistics.variance import components


def test_a_difference_is_paired_on_seeds_and_examples():
    rng = np.random.default_rng(3)
    first, second = rng.random((2, 4, 100)) < 0.8
    found = paired_components(first, second, unit=100)
    per_seed = 100 * (first.mean(axis=1) - second.mean(axis=1))
    expected = stats.ttest_rel(first.mean(axis=1), second.mean(axis=1))
    mean = found.on_this_test_set()
    assert mean.estimate == pytest.approx(per_seed.mean())
    assert mean.p_value() == pytest.approx(expected.pvalue)
    low, high = expected.confidence_interval(0.95)
    assert mean.interval() == pytest.approx((100 * low, 100 * high))


def test_what_seeds_and_examples_do_to_both_drops_out():
    """Both fall by the same with a poor seed, so that the difference is known far better."""
    hard = np.arange(200) < 30
    poor = np.zeros((3, 200), bool)
    poor[1, 100:180] = True
    first = ~(hard | poor)
    second = first.copy()
    second[:, 190:194] = False
    difference = paired_components(first, second, unit=100)
    assert difference.seed_square == pytest.approx(0, abs=1e-9)
    assert components(first, unit=100).on_this_test_set().standard_error > 10
    assert difference.on_texts_like_these().standard_error < 1.1


def test_answers_of_other_shapes_are_not_paired():
    with pytest.raises(ValueError, match=r"\(2, 3\) and \(3, 3\)"):
        paired_components(np.ones((2, 3)), np.ones((3, 3)))


def test_identical_answers_differ_by_nothing_with_little_doubt():
    answers = np.random.default_rng(1).random((3, 1000)) < 0.9
    found = paired_components(answers, answers, unit=100)
    assert found.on_this_test_set().p_value() == 1
    reviews = found.on_texts_like_these()
    assert reviews.interval() == pytest.approx((-0.39, 0.39), abs=0.01)
    assert reviews.equivalence_p(0.5) < 0.05


@pytest.mark.parametrize(
    ("only_first", "only_second", "expected"),
    [
        # From statsmodels.stats.contingency_tables.mcnemar(table, exact=True).
        (10, 2, 0.03857421875),
        (2, 10, 0.03857421875),
        (5, 5, 1.0),
        (0, 6, 0.03125),
        (47, 36, 0.272268945972048),
        (0, 0, 1.0),
    ],
)
def test_mcnemar_is_exact_and_two_sided(only_first, only_second, expected):
    assert mcnemar(only_first, only_second) == pytest.approx(expected, rel=1e-6)


def test_agresti_min():
    centre, half = 5 / 102, 1.959963984540054 * (12 - 25 / 102) ** 0.5 / 102
    assert agresti_min(8, 3, 100) == pytest.approx((centre - half, centre + half))
    low, high = agresti_min(0, 0, 100)
    assert low < 0 < high


@pytest.mark.parametrize(
    ("p_values", "expected"),
    [
        # From statsmodels.stats.multitest.multipletests(p_values, method="holm").
        ([0.01, 0.04, 0.03, 0.005], [0.03, 0.06, 0.06, 0.02]),
        ([0.5, 0.9], [1.0, 1.0]),
        ([0.02], [0.02]),
        ([0.01, 0.01, 0.2], [0.03, 0.03, 0.2]),
        ([], []),
    ],
)
def test_holm(p_values, expected):
    assert holm(p_values) == pytest.approx(expected)


@pytest.mark.parametrize(
    ("ordered", "apart", "expected"),
    [
        ("abc", [], {"a": "a", "b": "a", "c": "a"}),
        ("abc", ["ac"], {"a": "a", "b": "ab", "c": "b"}),
        ("abc", ["ab", "ac", "bc"], {"a": "a", "b": "b", "c": "c"}),
        ("abc", ["ac", "bc"], {"a": "a", "b": "a", "c": "b"}),
        # A middle method that is apart from one neighbour only, given the other way round.
        ("abcd", ["da", "db", "ca"], {"a": "a", "b": "ab", "c": "bc", "d": "c"}),
        # Not in order of the means: a is level with c though b, between them, is apart from both.
        ("abc", ["ab", "bc"], {"a": "a", "b": "b", "c": "a"}),
        ("a", [], {"a": "a"}),
        ("", [], {}),
    ],
)
def test_letters(ordered, apart, expected):
    assert letters(list(ordered), {(pair[0], pair[1]) for pair in apart}) == expected


@pytest.mark.parametrize("draw", range(20))
def test_two_share_a_letter_just_where_they_are_not_told_apart(draw):
    rng = np.random.default_rng(draw)
    methods = [f"m{n}" for n in range(8)]
    apart = {pair for pair in combinations(methods, 2) if rng.random() < 0.4}
    found = letters(methods, apart)
    for pair in combinations(methods, 2):
        assert bool(set(found[pair[0]]) & set(found[pair[1]])) == (pair not in apart)
    assert all(found.values())


def test_more_columns_than_letters():
    methods = [f"m{n}" for n in range(54)]
    found = letters(methods, set(combinations(methods, 2)))
    assert found["m25"] == "z"
    assert found["m53"] == "(54)"
    assert len(set(found.values())) == 54

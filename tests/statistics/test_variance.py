import math

import numpy as np
import pytest
from scipy import stats

from peftcore.statistics.variance import (
    MOST_PRIOR_DEGREES,
    Components,
    Mean,
    Prior,
    components,
    fit_prior,
    inverse_trigamma,
    mean_of_seeds,
    wilson,
)


def drawn(seeds: int, examples: int, accuracy: float = 0.85, draw: int = 1) -> np.ndarray:
    """Answers in which some examples are harder than others and some seeds better."""
    rng = np.random.default_rng(draw)
    latent = stats.norm.ppf(accuracy) * 2.2 + 2 * rng.standard_normal(examples)
    latent = latent + 0.3 * rng.standard_normal((seeds, 1))
    return latent + rng.standard_normal((seeds, examples)) > 0


def by_hand(values: np.ndarray) -> tuple[float, float, float]:
    """The three mean squares, each as a sum over single values."""
    s, n = values.shape
    grand = sum(values[i][j] for i in range(s) for j in range(n)) / (s * n)
    rows = [sum(values[i]) / n for i in range(s)]
    columns = [sum(values[i][j] for i in range(s)) / s for j in range(n)]
    rest = sum(
        (values[i][j] - rows[i] - columns[j] + grand) ** 2 for i in range(s) for j in range(n)
    )
    return (
        n * sum((row - grand) ** 2 for row in rows) / (s - 1),
        s * sum((column - grand) ** 2 for column in columns) / (n - 1),
        rest / ((s - 1) * (n - 1)),
    )


@pytest.mark.parametrize("seeds", [2, 3, 8])
def test_mean_squares_are_those_of_the_two_way_analysis(seeds):
    values = drawn(seeds, 60).astype(float)
    found = components(values)
    squares = (found.seed_square, found.example_square, found.rest_square)
    assert squares == pytest.approx(by_hand(values))
    assert found.mean == pytest.approx(values.mean())
    assert (found.seeds, found.examples) == (seeds, 60)


def test_two_answers_of_two_seeds_by_hand():
    # Rows (1, 1) and (0, 1): means 1 and 1/2, columns 1/2 and 1, grand mean 3/4.
    found = components([[1, 1], [0, 1]])
    assert (found.seed_square, found.example_square, found.rest_square) == (0.25, 0.25, 0.25)


def test_a_balanced_design_as_statsmodels_analyses_it():
    # statsmodels 0.15: anova_lm(ols("y ~ C(seed) + C(example)", data).fit()), column mean_sq.
    found = components([[1, 1, 0, 1, 0], [1, 1, 1, 1, 0], [1, 0, 0, 1, 0]])
    assert found.seed_square == pytest.approx(0.2)
    assert found.example_square == pytest.approx(0.566666666666666)
    assert found.rest_square == pytest.approx(0.116666666666667)


def test_equivalence_as_statsmodels_tests_it():
    # statsmodels 0.15: weightstats.ttost_paired(first, second, -0.5, 0.5)[0].
    first, second = [91.0, 92.0, 90.5, 91.2], [91.2, 91.7, 90.6, 91.1]
    differences = [a - b for a, b in zip(first, second, strict=True)]
    assert mean_of_seeds(differences).equivalence_p(0.5) == pytest.approx(0.01168270255768154)


def test_where_a_component_would_be_negative_the_interval_keeps_its_mean_square():
    found = Components(
        mean=0.5, seeds=3, examples=100, seed_square=0.1, example_square=0.05, rest_square=0.2
    )
    test_set, reviews = found.on_this_test_set(), found.on_texts_like_these()
    assert test_set.standard_error == pytest.approx(math.sqrt(0.1 / 300))
    # The part of examples would be negative: what is left is the seeds'.
    assert reviews.standard_error == pytest.approx(max(math.sqrt(0.1 / 300), 0.02))
    assert reviews.degrees == pytest.approx(2)


@pytest.mark.parametrize("seeds", [2, 3, 5])
def test_on_this_test_set_is_students_t_of_the_seeds_as_scipy_makes_it(seeds):
    values = drawn(seeds, 200)
    accuracies = values.mean(axis=1)
    expected = stats.ttest_1samp(accuracies, 0)
    mean = components(values).on_this_test_set()
    assert mean.interval() == pytest.approx(tuple(expected.confidence_interval(0.95)))
    assert mean.p_value() == pytest.approx(expected.pvalue)
    assert mean_of_seeds(list(accuracies)).interval() == pytest.approx(mean.interval())


def test_on_texts_like_these_adds_the_examples_with_satterthwaites_degrees():
    found = Components(
        mean=0.9, seeds=4, examples=50, seed_square=0.6, example_square=0.3, rest_square=0.05
    )
    mean = found.on_texts_like_these()
    total = 0.6 + 0.3 - 0.05
    degrees = total**2 / (0.6**2 / 3 + 0.3**2 / 49 + 0.05**2 / (3 * 49))
    assert mean.standard_error == pytest.approx(math.sqrt(total / 200))
    assert mean.degrees == pytest.approx(degrees)
    half = stats.t.ppf(0.975, degrees) * math.sqrt(total / 200)
    assert mean.interval() == pytest.approx((0.9 - half, 0.9 + half))
    # It is the variance of a mean of crossed random effects, component by component.
    of_seeds, of_examples = (0.6 - 0.05) / 50, (0.3 - 0.05) / 4
    parts = of_seeds / 4 + of_examples / 50 + 0.05 / 200
    assert mean.standard_error**2 == pytest.approx(parts)


def test_unit_scales_everything_but_the_degrees():
    shares, points = (components(drawn(3, 80), unit=unit) for unit in (1, 100))
    assert points.mean == pytest.approx(100 * shares.mean)
    for name in ("on_this_test_set", "on_texts_like_these"):
        share, point = getattr(shares, name)(), getattr(points, name)()
        assert point.standard_error == pytest.approx(100 * share.standard_error)
        assert point.degrees == pytest.approx(share.degrees)


def test_one_seed_says_nothing_of_seeds():
    found = components(drawn(1, 50))
    assert found.on_this_test_set() is None
    assert found.on_texts_like_these() is None
    assert mean_of_seeds([0.9]) is None


def test_all_right_excludes_an_error_rate_of_four_examples_and_not_of_zero():
    found = components(np.ones((3, 2000), bool), unit=100)
    assert found.on_this_test_set().interval() == (100, 100)
    low, high = found.on_texts_like_these().interval()
    assert low == pytest.approx(100 - 400 / 2000, abs=0.01)
    assert high > 100


def test_equal_accuracies_by_coincidence_are_no_certainty():
    values = np.array([[1, 1, 0, 0], [0, 1, 1, 0], [0, 0, 1, 1]])
    found = components(values)
    assert found.seed_square == 0
    assert found.on_this_test_set().standard_error == pytest.approx(
        math.sqrt(found.rest_square / (3 * 4))
    )


def test_identical_seeds_differ_by_nothing_on_this_test_set():
    found = components([[1, 0, 1, 1]] * 3)
    assert found.on_this_test_set().interval() == (0.75, 0.75)
    reviews = found.on_texts_like_these()
    assert reviews.standard_error == pytest.approx(max(0.5 / 2, 2 / 4))


def test_no_answers_are_an_error():
    for values in (np.empty((0, 5)), np.empty((3, 0)), np.ones(4)):
        with pytest.raises(ValueError, match="expected seeds × examples"):
            components(values)


def test_means_that_are_all_alike_tell_nothing_of_their_spread():
    assert mean_of_seeds([0.1 + 0.2, 0.3, 0.3]) is None
    lent = mean_of_seeds([0.3, 0.3, 0.3], Prior(variance=0.03, degrees=1))
    assert lent.standard_error == pytest.approx(0.1 / 3**0.5)


def test_p_value_and_equivalence_are_one_and_two_tests():
    mean = Mean(estimate=-0.3, standard_error=0.2, degrees=7)
    assert mean.p_value() == pytest.approx(2 * stats.t.sf(1.5, 7))
    lower = stats.t.sf((-0.3 + 0.5) / 0.2, 7)
    upper = stats.t.cdf((-0.3 - 0.5) / 0.2, 7)
    assert mean.equivalence_p(0.5) == pytest.approx(max(lower, upper))


@pytest.mark.parametrize("estimate", [-0.4, 0.0, 0.1, 0.25, 0.6])
def test_equivalence_is_the_90_percent_interval_within_the_margin(estimate):
    mean = Mean(estimate=estimate, standard_error=0.12, degrees=5)
    low, high = mean.interval(0.90)
    assert (mean.equivalence_p(0.5) < 0.05) == (low > -0.5 and high < 0.5)


def test_without_an_error_there_is_no_doubt():
    same, other = (Mean(estimate=e, standard_error=0, degrees=2) for e in (0.0, 0.7))
    assert (same.p_value(), same.equivalence_p(0.5)) == (1, 0)
    assert (other.p_value(), other.equivalence_p(0.5)) == (0, 1)


@pytest.mark.parametrize("value", [1e-8, 0.01, 0.3, 1.6449340668482264, 20.0, 1e9])
def test_inverse_trigamma(value):
    assert float(special_trigamma(inverse_trigamma(value))) == pytest.approx(value, rel=1e-3)


def special_trigamma(y: float) -> float:
    """The series, far enough: sum of 1 / (y + k)², its tail as an integral."""
    terms = sum(1 / (y + k) ** 2 for k in range(2000))
    return terms + 1 / (y + 2000 - 0.5)


def test_variances_that_differ_by_chance_alone_weigh_one_more_seed():
    prior = fit_prior([1.0, 1.1, 0.9, 1.05], [2, 2, 2, 2])
    assert (prior.variance, prior.degrees) == (pytest.approx(1.0125), MOST_PRIOR_DEGREES)
    assert prior.shrink(0.9, 2) == (pytest.approx((1.0125 + 2 * 0.9) / 3), 3)


def test_variances_that_differ_widely_lend_little():
    prior = fit_prior([1e-4, 1e-2, 1.0, 1e2], [2, 2, 2, 2])
    assert prior.degrees < 0.4
    variance, degrees = prior.shrink(1e2, 2)
    assert variance == 1e2
    assert 2 < degrees < 2.4


def test_the_prior_is_found_again_in_many_variances():
    """Variances of a scaled F distribution, whose prior weighs less than is allowed at most."""
    rng = np.random.default_rng(5)
    true = 0.5 * 0.8 / rng.chisquare(0.8, size=8000)
    seen = true * rng.chisquare(3, size=8000) / 3
    prior = fit_prior(list(seen), [3] * 8000)
    assert prior.degrees == pytest.approx(0.8, rel=0.1)
    assert prior.variance == pytest.approx(0.5, rel=0.2)


def test_shrinking_is_the_weighted_mean_of_the_two_variances_and_never_less_than_its_own():
    prior = Prior(variance=4.0, degrees=1)
    assert prior.shrink(1.0, 2) == (2.0, 3)
    assert prior.shrink(7.0, 2) == (7.0, 3)


def test_too_few_variances_lend_nothing():
    assert fit_prior([1.0, 2.0], [2, 2]) is None
    assert fit_prior([1.0, 2.0, 3.0], [2, 2, 0]) is None
    assert fit_prior([0.0, 0.0, 3.0], [2, 2, 2]) is None


def test_a_prior_that_agrees_narrows_few_seeds():
    found = components(drawn(3, 400), unit=100)
    prior = Prior(variance=found.variance_of_seeds, degrees=1)
    for name in ("on_this_test_set", "on_texts_like_these"):
        own, lent = (getattr(found, name)(p) for p in (None, prior))
        assert lent.standard_error == pytest.approx(own.standard_error)
        assert lent.degrees > own.degrees


@pytest.mark.parametrize(("right", "examples"), [(1828, 2000), (0, 50), (50, 50), (7, 9)])
def test_wilson_as_scipy_makes_it(right, examples):
    interval = stats.binomtest(right, examples).proportion_ci(0.95, method="wilson")
    assert wilson(right, examples) == pytest.approx((interval.low, interval.high))


def test_wilson_refuses_what_is_no_share():
    for right, examples in ((3, 2), (-1, 2), (0, 0)):
        with pytest.raises(ValueError, match="no share"):
            wilson(right, examples)

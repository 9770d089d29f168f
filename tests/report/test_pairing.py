from dataclasses import replace

import pytest
from scipy import stats
from scipy.stats import binom

from peftcore.report.pairing import Standing, pair


def answering(right: list[bool]) -> dict[str, tuple[int, ...]]:
    """Predictions that are right just where asked; every label is 1."""
    return {
        "predictions": tuple(int(one) for one in right),
        "labels": (1,) * len(right),
    }


def two(record, only_first: int, only_second: int, both: int = 20, neither: int = 3, seed: int = 1):
    """Records of two methods that differ on so many examples."""
    first = [True] * (only_first + both) + [False] * (only_second + neither)
    second = [False] * only_first + [True] * (both + only_second) + [False] * neither
    return (
        record("full", seed=seed, **answering(first)),
        record("lora", seed=seed, **answering(second)),
    )


@pytest.mark.parametrize(
    ("only_first", "only_second", "expected"),
    [
        # From statsmodels.stats.contingency_tables.mcnemar(table, exact=True).
        (10, 2, 0.03857421875),
        (2, 10, 0.03857421875),
        (5, 5, 1.0),
        (0, 6, 0.03125),
        (0, 5, 0.0625),
        (47, 36, 0.272268945972048),
        (0, 0, 1.0),
    ],
)
def test_mcnemar_is_exact_and_two_sided(record, only_first, only_second, expected):
    first, second = two(record, only_first, only_second)
    (seed,) = pair([first], [second]).seeds
    assert seed.discordant == (only_first, only_second)
    assert seed.p_value == pytest.approx(expected, rel=1e-6)
    total = only_first + only_second
    by_hand = min(1.0, 2 * binom.cdf(min(only_first, only_second), total, 0.5))
    assert seed.p_value == pytest.approx(by_hand)


def test_points_are_the_first_less_the_second(record):
    first, second = two(record, 8, 3, both=80, neither=9)
    (seed,) = pair([first], [second]).seeds
    assert seed.points == pytest.approx(5.0)
    assert seed.examples == 100


def test_interval_is_agresti_and_min(record):
    (seed,) = pair(*[[r] for r in two(record, 8, 3, both=80, neither=9)]).seeds
    centre, half = 5 / 102, 1.959963984540054 * (12 - 25 / 102) ** 0.5 / 102
    assert seed.interval_points == pytest.approx((100 * (centre - half), 100 * (centre + half)))


def test_no_discordant_example_is_still_uncertain(record):
    (seed,) = pair(*[[r] for r in two(record, 0, 0)]).seeds
    low, high = seed.interval_points
    assert low < 0 < high


def test_only_shared_seeds_are_paired(record):
    paired = pair(
        [record("full", seed=seed) for seed in (3, 1, 2)],
        [record("lora", seed=seed) for seed in (2, 9, 3)],
    )
    assert [seed.seed for seed in paired.seeds] == [2, 3]
    assert pair([record("full", seed=1)], [record("lora", seed=2)]) is None


def test_without_predictions_a_difference_is_known_but_untested(record):
    paired = pair([record("full")], [record("lora", keep_predictions=False)])
    assert paired.mean_points == pytest.approx(0.25)
    assert paired.standing is Standing.UNTESTED
    assert (paired.p_value, paired.interval_points) == (None, None)


def test_without_predictions_seeds_still_tell_of_this_test_set(record):
    full = [record("full", seed=s, accuracy=0.90) for s in (1, 2, 3)]
    lora = [
        record("lora", seed=s, accuracy=a, keep_predictions=False)
        for s, a in ((1, 0.91), (2, 0.895), (3, 0.905))
    ]
    paired = pair(lora, full)
    expected = stats.ttest_1samp([1.0, -0.5, 0.5], 0)
    assert paired.test_set.interval() == pytest.approx(tuple(expected.confidence_interval(0.95)))
    assert paired.texts is None
    assert paired.standing is Standing.UNTESTED


def test_predictions_about_other_labels_are_not_paired(record):
    first = record("full", predictions=(1, 1, 0), labels=(1, 1, 1))
    second = record("lora", predictions=(1, 1, 0), labels=(1, 0, 1))
    assert pair([first], [second]).standing is Standing.UNTESTED
    firsts = [first, record("full", seed=1, predictions=(1, 1, 0), labels=(1, 1, 1))]
    seconds = [second, record("lora", seed=1, predictions=(1, 1, 0), labels=(1, 0, 1))]
    assert pair(firsts, seconds).components is None


@pytest.mark.parametrize(
    ("counts", "standing"),
    [((10, 2), Standing.ABOVE), ((2, 10), Standing.BELOW), ((0, 5), Standing.OPEN)],
)
def test_one_seed_is_decided_by_mcnemar(record, counts, standing):
    paired = pair(*[[r] for r in two(record, *counts)])
    assert paired.single
    assert paired.standing is standing
    assert paired.interval_points == paired.seeds[0].interval_points
    assert (paired.test_set, paired.texts, paired.equivalence_p) == (None, None, None)


def of_seeds(record, *counts: tuple[int, int], both: int = 900, neither: int = 60):
    """Paired records of several seeds, each with so many examples that one alone gets right."""
    total = max(a + b for a, b in counts)
    sides = [
        two(record, a, b, both=both + total - a - b, neither=neither, seed=n)
        for n, (a, b) in enumerate(counts)
    ]
    return pair([first for first, _ in sides], [second for _, second in sides])


@pytest.mark.parametrize(
    ("counts", "standing"),
    [
        # Far apart with each seed, and by about as much.
        (((40, 5), (42, 4), (38, 5)), Standing.ABOVE),
        (((5, 40), (4, 42), (5, 38)), Standing.BELOW),
        # McNemar's p is under 0.001 with the second seed alone; the seeds don't agree on a size.
        (((12, 10), (60, 5), (10, 10)), Standing.OPEN),
        # And here not on a sign.
        (((10, 2), (2, 10)), Standing.OPEN),
    ],
)
def test_several_seeds_are_decided_by_how_they_differ(record, counts, standing):
    paired = of_seeds(record, *counts)
    assert paired.standing is standing
    low, high = paired.interval_points
    assert (low > 0, high < 0) == (standing is Standing.ABOVE, standing is Standing.BELOW)


def test_the_components_are_of_the_differences_in_points(record):
    paired = of_seeds(record, (12, 4), (9, 5), (15, 3))
    assert paired.components.mean == pytest.approx(paired.mean_points)
    assert paired.components.seeds == 3
    spread = stats.tstd([seed.points for seed in paired.seeds])
    assert paired.components.variance_of_seeds == pytest.approx(spread**2)


def test_a_corrected_p_decides(record):
    paired = pair(*[[r] for r in two(record, 10, 2)])
    assert replace(paired, adjusted_p=0.2).standing is Standing.OPEN
    assert replace(paired, adjusted_p=0.04).standing is Standing.ABOVE


def test_turned_is_the_other_way_round(record):
    for paired in (of_seeds(record, (40, 5), (42, 4)), of_seeds(record, (40, 5))):
        turned = paired.turned()
        assert turned.mean_points == pytest.approx(-paired.mean_points)
        low, high = paired.interval_points
        assert turned.interval_points == pytest.approx((-high, -low))
        assert (turned.standing, paired.standing) == (Standing.BELOW, Standing.ABOVE)


def test_equivalent_and_different_are_shown_not_assumed(record):
    same = of_seeds(record, (4, 4), (5, 5), (4, 4), both=9000)
    assert same.equivalent
    assert not same.differs
    unclear = of_seeds(record, (30, 30), (45, 40), (38, 42))
    assert (unclear.equivalent, unclear.differs) == (False, False)
    far = of_seeds(record, (60, 5), (62, 5), (58, 4))
    assert (far.equivalent, far.differs) == (False, True)

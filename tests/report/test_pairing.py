import pytest
from scipy.stats import binom

from peftcore.report.pairing import PairedAccuracy, PairedSeed, Standing, pair


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
    assert paired.largest_p_value is None


def test_predictions_about_other_labels_are_not_paired(record):
    first = record("full", predictions=(1, 1, 0), labels=(1, 1, 1))
    second = record("lora", predictions=(1, 1, 0), labels=(1, 0, 1))
    assert pair([first], [second]).standing is Standing.UNTESTED


@pytest.mark.parametrize(
    ("seeds", "standing"),
    [
        ([(10, 2)], Standing.ABOVE),
        ([(2, 10)], Standing.BELOW),
        ([(0, 5)], Standing.OPEN),
        ([(10, 2), (12, 1)], Standing.ABOVE),
        ([(10, 2), (5, 4)], Standing.OPEN),
        ([(10, 2), (2, 10)], Standing.OPEN),
    ],
)
def test_told_apart_only_if_every_seed_says_so_one_way(seeds, standing):
    paired = PairedAccuracy(
        seeds=tuple(
            PairedSeed(seed=n, points=float(a - b), discordant=(a, b), examples=100)
            for n, (a, b) in enumerate(seeds)
        )
    )
    assert paired.standing is standing


def test_sign_and_range_over_seeds():
    paired = PairedAccuracy(seeds=(PairedSeed(seed=1, points=-0.5), PairedSeed(seed=2, points=1.5)))
    assert paired.mean_points == pytest.approx(0.5)
    assert paired.range_points == (-0.5, 1.5)
    assert paired.changes_sign
    assert not PairedAccuracy(seeds=paired.seeds[:1]).changes_sign

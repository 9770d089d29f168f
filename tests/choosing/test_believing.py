import numpy as np
import pytest

from peftcore.choosing.believing import believe, stand
from tests.choosing.simulation import SLUGS, TRAIN, World, arm_of, flat, simulate


def runs_of(world, *, slugs, seeds=(42,), size=TRAIN):
    return [world.run(arm_of(slug), size, seed, 1e6) for slug in slugs for seed in seeds]


def static_world(number, *, spread, validation, seed_points=0.7):
    random = np.random.default_rng([11, number])
    ends = {f"{slug}@0.001": 0.87 + random.standard_normal() * spread / 100 for slug in SLUGS}
    curves = {key: flat(end) for key, end in ends.items()}
    return World(curves, validation=validation, seed_points=seed_points, draw=number), ends


def test_probabilities_of_being_within_the_tolerance_are_right_as_often_as_they_say():
    stated, kept = [], []
    for number in range(120):
        spread = (0.3, 1.0, 3.0)[number % 3]
        world, ends = static_world(number, spread=spread, validation=(180, 400, 1000)[number % 2])
        belief = believe(stand(runs_of(world, slugs=SLUGS), TRAIN), TRAIN)
        for key, share in belief.within(0.005).items():
            stated.append(share)
            kept.append(ends[key] >= max(ends.values()) - 0.005)
    stated, kept = np.array(stated), np.array(kept)
    # Of 720 arms: overall, and where it is improbable, open and probable.
    assert abs(stated.mean() - kept.mean()) < 0.05
    for low, high in ((0.0, 0.3), (0.3, 0.6), (0.6, 1.01)):
        inside = (stated >= low) & (stated < high)
        assert inside.sum() > 40
        assert abs(stated[inside].mean() - kept[inside].mean()) < 0.1


def test_of_choices_that_are_sure_no_fewer_keep_their_promise():
    # Whole races of eighteen arms; docs/choose.md has more of them, in other situations.
    found = simulate(16, spread=3.0, validation=1000, seed_points=0.7, budget=1500)
    sure = [one for one in found if one.stated >= 0.8]
    assert len(sure) >= 3
    assert np.mean([one.kept for one in sure]) >= 0.75
    stated = np.mean([one.stated for one in found])
    assert 0.5 < stated < np.mean([one.kept for one in found]) + 0.1
    assert np.mean([one.lost_points for one in found]) < 0.6


def test_more_seeds_make_it_surer():
    curves = {"full@0.001": flat(0.90), "lora@0.001": flat(0.88)}
    spreads = []
    for seeds in ((42,), (42, 43, 44, 45)):
        world = World(curves, validation=1000, seed_points=0.7)
        runs = runs_of(world, slugs=("full", "lora"), seeds=seeds)
        belief = believe(stand(runs, TRAIN), TRAIN)
        low, high = belief.interval("full@0.001")
        spreads.append(high - low)
    assert spreads[1] < 0.9 * spreads[0]


def test_the_spread_over_seeds_follows_what_repeats_show():
    found = {}
    for points in (0.1, 3.0):
        curves = {"full@0.001": flat(0.85), "lora@0.001": flat(0.85)}
        world = World(curves, validation=5000, seed_points=points)
        runs = runs_of(world, slugs=("full", "lora"), seeds=range(42, 50))
        found[points] = 100 * believe(stand(runs, TRAIN), TRAIN).seed_spread
    # Before any repeat 0.7 points times the root of 3000 / 1600.
    assert 0.4 < found[0.1] < 0.96 < 1.8 < found[3.0] < 4


def test_an_arm_that_stopped_early_is_taken_to_gain_what_others_gained_from_there():
    curves = {
        "full@0.001": {400: 0.80, 1600: 0.90}.__getitem__,
        "lora@0.001": {400: 0.80, 1600: 0.90}.__getitem__,
        "ia3@0.001": {400: 0.79}.__getitem__,
    }
    world = World(curves, validation=4000, seed_points=0.1)
    runs = [
        run for size in (400, 1600) for run in runs_of(world, slugs=("full", "lora"), size=size)
    ]
    runs += runs_of(world, slugs=("ia3",), size=400)
    (early,) = [one for one in stand(runs, TRAIN) if one.arm == arm_of("ia3")]
    assert early.gain == pytest.approx(0.10, abs=0.015)
    belief = believe(stand(runs, TRAIN), TRAIN)
    assert belief.expected()["ia3@0.001"] == pytest.approx(0.89, abs=0.02)
    # Nothing was seen of it there: more probable than nought, less than those that were.
    assert 0.02 < belief.best()["ia3@0.001"] < 0.45


def test_one_arm_that_fell_by_a_bad_seed_does_not_make_others_fall():
    gaining = {200: 0.70, 400: 0.80, 1600: 0.90}
    curves = {f"{slug}@0.001": gaining.__getitem__ for slug in SLUGS}
    curves["dora@0.001"] = {200: 0.70, 400: 0.80, 1600: 0.45}.__getitem__
    world = World(curves, validation=4000, seed_points=0.1)
    gone = ("full", "lora", "dora")
    runs = [run for size in (200, 400) for run in runs_of(world, slugs=SLUGS, size=size)]
    runs += runs_of(world, slugs=gone)
    early = [one for one in stand(runs, TRAIN) if one.arm.method.slug not in gone]
    assert len(early) == 3
    for one in early:
        assert one.gain == pytest.approx(0.10, abs=0.02)
        # But it may fall, too.
        assert one.gain_spread > 0.15


def test_of_one_arm_that_went_on_not_much_follows_for_others():
    slopes = dict(zip(SLUGS, np.linspace(0.0, 0.2, len(SLUGS)), strict=True))
    curves = {
        f"{slug}@0.001": {200: 0.70, 400: 0.70 + slope, 1600: 0.90}.__getitem__
        for slug, slope in slopes.items()
    }
    world = World(curves, validation=4000, seed_points=0.1)
    before = [run for size in (200, 400) for run in runs_of(world, slugs=SLUGS, size=size)]
    (unsure,) = {one.gain_spread for one in stand(before, TRAIN) if one.arm == arm_of("ia3")}
    runs = before + runs_of(world, slugs=("full",))
    (still,) = {one.gain_spread for one in stand(runs, TRAIN) if one.arm == arm_of("ia3")}
    assert still == pytest.approx(unsure)


@pytest.mark.parametrize(("apart", "unsure"), [(0.0, False), (0.12, True)])
def test_while_none_has_gone_on_it_is_as_unsure_as_arms_differ_in_what_they_gained(apart, unsure):
    ends = np.linspace(0.75 - apart, 0.75 + apart, len(SLUGS))
    curves = {
        f"{slug}@0.001": {200: 0.70, 400: end}.__getitem__
        for slug, end in zip(SLUGS, ends, strict=True)
    }
    world = World(curves, validation=2000, seed_points=0.3)
    runs = [run for size in (200, 400) for run in runs_of(world, slugs=SLUGS, size=size)]
    standings = stand(runs, TRAIN)
    # Two doublings are left: each may bring less or more by as much as the last one did.
    middle = standings[len(SLUGS) // 2]
    assert (middle.gain_spread > 0.1) == unsure
    if not unsure:
        assert middle.gain_spread < 0.06


def test_an_arm_far_behind_neither_wins_nor_keeps_others_apart():
    curves = {f"{slug}@0.001": flat(0.88) for slug in SLUGS}
    with_outlier = World({**curves, "vera@0.001": flat(0.50)}, validation=400)
    runs = runs_of(with_outlier, slugs=SLUGS)
    belief = believe(stand(runs, TRAIN), TRAIN)
    assert belief.best()["vera@0.001"] == 0
    low, high = belief.interval("vera@0.001")
    assert 0.4 < low < 0.50 < high < 0.6
    without = believe(stand(runs[:-1], TRAIN), TRAIN)
    assert belief.within(0.005)["lora@0.001"] == pytest.approx(
        without.within(0.005)["lora@0.001"], abs=0.03
    )


def test_perfect_answers_are_no_proof_of_perfection():
    curves = {"full@0.001": flat(0.9949), "lora@0.001": flat(0.9949)}
    world = World(curves, validation=60, seed_points=0.0)
    belief = believe(stand(runs_of(world, slugs=("full", "lora")), TRAIN), TRAIN)
    assert 0.3 < belief.best()["full@0.001"] < 0.7
    low, high = belief.interval("full@0.001")
    assert high - low > 0.01
    assert high <= 1


def test_an_arm_far_behind_is_within_a_tolerance_that_is_wider_than_that():
    curves = {"full@0.001": flat(0.90), "lora@0.001": flat(0.90), "vera@0.001": flat(0.80)}
    world = World(curves, validation=4000, seed_points=0.1)
    belief = believe(stand(runs_of(world, slugs=("full", "lora", "vera")), TRAIN), TRAIN)
    shares = [belief.within(points / 100)["vera@0.001"] for points in (0.5, 10, 20)]
    # Ten points behind: as probably within ten of the best of two as not, or somewhat less.
    assert shares[0] == 0
    assert 0.1 < shares[1] < 0.6
    assert shares[2] > 0.99
    assert belief.expected()["vera@0.001"] == pytest.approx(0.80, abs=0.02)

from dataclasses import replace

import numpy as np
import pytest

from peftcore.choosing.arms import End, Fate, Run, ladder_of, rungs_of
from peftcore.choosing.asking import Cost, Request
from peftcore.choosing.beginning import Begun
from peftcore.choosing.choice import require_memory
from peftcore.choosing.deciding import NothingToChoose, as_tested, decide
from peftcore.choosing.pace import Pace
from peftcore.choosing.racing import Race
from peftcore.errors import UsageError
from peftcore.results.records import Record
from tests.choosing.simulation import SLUGS, TRAIN, World, arm_of, draw_world, flat, race_in

RUNGS = [200, 400, 800, 1600]


def stepped(*accuracies):
    """Return a curve with these accuracies at an eighth, a quarter, a half and all."""
    return dict(zip(RUNGS, accuracies, strict=True)).__getitem__


def ends(race):
    return {key: fate.end for key, fate in race.fates.items()}


def sizes(world, key):
    return sorted({size for name, size, _ in world.asked if name == key})


def test_rungs_double_up_to_all_and_are_never_too_small_to_tell_anything():
    assert rungs_of(ladder_of(1600), 1600) == RUNGS
    assert rungs_of(ladder_of(540), 540) == [135, 270, 540]
    assert rungs_of(ladder_of(90), 90) == [90]
    # Of many examples a first short trial finds out how fast the machine is.
    assert ladder_of(100_000)[0] == 391
    assert rungs_of(ladder_of(100_000), 100_000)[0] == 12_500


def test_a_loser_is_dropped_from_a_quarter_on_and_never_before():
    world = World(
        {
            "lora@0.001": stepped(0.80, 0.84, 0.87, 0.90),
            "full@0.001": stepped(0.79, 0.84, 0.87, 0.89),
            "ia3@0.001": stepped(0.60, 0.62, 0.63, 0.64),
        }
    )
    race = race_in(world, [arm_of("full"), arm_of("lora"), arm_of("ia3")])
    assert sizes(world, "ia3@0.001") == [200, 400]
    assert ends(race)["ia3@0.001"] is End.BEHIND
    assert "after 400" in race.fates["ia3@0.001"].words
    assert sizes(world, "lora@0.001") == sizes(world, "full@0.001") == RUNGS


def test_a_slow_starter_that_is_far_behind_at_an_eighth_and_best_in_the_end_is_chosen():
    world = World(
        {
            "full@0.001": stepped(0.82, 0.84, 0.85, 0.86),
            "lora@0.001": stepped(0.81, 0.83, 0.85, 0.86),
            "ia3@0.001": stepped(0.60, 0.74, 0.84, 0.92),
        }
    )
    race = race_in(world, [arm_of("full"), arm_of("lora"), arm_of("ia3")])
    assert sizes(world, "ia3@0.001") == RUNGS
    assert decide(race, tolerance=0.005, cost=Cost.TIME).chosen == arm_of("ia3")


def test_an_arm_that_has_not_left_the_plateau_is_not_judged_by_it_at_a_quarter():
    world = World(
        {
            "full@0.001": stepped(0.82, 0.84, 0.85, 0.86),
            "lora@0.001": stepped(0.81, 0.83, 0.85, 0.86),
            "ia3@0.001": stepped(0.50, 0.50, 0.72, 0.92),
            "vera@0.001": stepped(0.50, 0.50, 0.51, 0.92),
        }
    )
    race = race_in(world, [arm_of(slug) for slug in ("full", "lora", "ia3", "vera")])
    assert sizes(world, "ia3@0.001") == RUNGS
    assert decide(race, tolerance=0.005, cost=Cost.TIME).chosen == arm_of("ia3")
    # At a half, still guessing, it is.
    assert sizes(world, "vera@0.001") == [200, 400, 800]
    assert ends(race)["vera@0.001"] is End.BEHIND


def test_of_many_that_are_alike_few_are_dropped_though_each_is_improbably_the_best():
    arms = [arm_of(slug, rate) for rate in (0.001, 0.003, 0.0003) for slug in SLUGS]
    race = race_in(World({arm.key: flat(0.85) for arm in arms}, draw=1), arms)
    early = [arm for arm in arms if "after 400" in race.fates[arm.key].words]
    assert 1 <= len(early) <= 6


def test_where_some_rise_all_at_once_none_is_out_before_it_may_have():
    """At a quarter two have risen; that others gained nothing yet says little of what they will."""
    late = {f"{slug}@0.001": stepped(0.60, 0.61, 0.90, 0.93) for slug in ("ia3", "vera")}
    soon = {f"{slug}@0.001": stepped(0.60, 0.75, 0.88, 0.90) for slug in ("full", "lora")}
    world = World({**late, **soon})
    race = race_in(world, [arm_of(slug) for slug in ("full", "lora", "ia3", "vera")])
    chosen = decide(race, tolerance=0.005, cost=Cost.PARAMETERS).chosen
    assert chosen in (arm_of("ia3"), arm_of("vera"))


def test_two_methods_stay_to_the_end_however_far_one_is_behind():
    world = World(
        {
            "lora@0.001": stepped(0.80, 0.84, 0.88, 0.90),
            "lora@0.003": stepped(0.80, 0.84, 0.88, 0.90),
            "ia3@0.001": stepped(0.60, 0.62, 0.63, 0.64),
        }
    )
    race_in(world, [arm_of("lora"), arm_of("ia3"), arm_of("lora", 0.003)])
    assert sizes(world, "ia3@0.001") == RUNGS


@pytest.mark.parametrize("budget", [200, 400, 900, 2000])
def test_the_budget_holds_with_what_comes_after_the_race(budget):
    world = draw_world(1, spread=1.5, validation=400, seed_points=0.7)
    arms = [arm_of(slug, rate) for rate in (0.001, 0.003, 0.0003) for slug in SLUGS]
    race = race_in(world, arms, budget=budget)
    assert world.seconds + race.reserve() <= 1.02 * budget
    # It is used, too, where it is not enough for all that is worth trying.
    assert world.seconds + race.reserve() >= 0.75 * budget or budget == 2000
    reached = {run.arm.method.slug for run in race.runs if run.examples == race.top}
    assert len(reached) >= 2
    untried = {arm.key for arm in arms} - {run.arm.key for run in race.runs}
    assert {key for key, end in ends(race).items() if end is End.UNTRIED} == untried
    assert set(race.fates) == {arm.key for arm in arms}


def test_a_budget_too_short_for_all_the_data_races_on_less_and_says_so():
    world = draw_world(2, spread=1.5, validation=400, seed_points=0.7)
    arms = [arm_of(slug) for slug in SLUGS]
    race = race_in(world, arms, budget=170)
    assert race.top < TRAIN
    # The last training goes before the race.
    assert race.ending.examples == round(TRAIN * 4 / 3)
    assert any("too short to race on all 1,600" in note for note in race.notes)
    assert world.seconds + race.reserve() <= 170 * 1.02
    shorter = race_in(draw_world(2, spread=1.5, validation=400, seed_points=0.7), arms, budget=80)
    assert shorter.ending.examples < TRAIN


def test_a_race_that_was_begun_goes_on_as_the_race_that_it_was(tmp_path):
    arms = [arm_of(slug) for slug in SLUGS]
    request = Request(data=tmp_path, budget_seconds=170)
    world = draw_world(2, spread=1.5, validation=400, seed_points=0.7)
    first = race_in(world, arms, budget=170)
    begun = Begun.of(request, first, tmp_path)
    begun.keep(first)
    found = Race(**{**vars(first), "rungs": [], "runs": [], "fates": {}, "notes": []})
    begun.take_up(found)
    world.seconds = 60.0
    found.begin()
    assert found.rungs == first.rungs
    assert found.ending.examples == first.ending.examples
    found.finish()
    assert found.notes == first.notes
    # Another budget is another race, and a file that can't be read is none.
    other = Race(**{**vars(first), "rungs": []})
    Begun.of(replace(request, budget_seconds=171), other, tmp_path).take_up(other)
    assert other.rungs == []
    for damaged in ("{", "[]", f'{{"{begun.key}": {{}}}}'):
        begun.file.write_text(damaged)
        begun.take_up(other)
        assert other.rungs == []


def test_methods_over_the_limit_of_memory_are_dropped_with_their_figures():
    curves = {f"{slug}@{rate:g}": flat(0.85) for slug in SLUGS for rate in (0.001, 0.003)}
    world = World(curves, memory={"full": 9 * 10**9, "dora": 3 * 10**9})
    arms = [arm_of(slug, rate) for rate in (0.001, 0.003) for slug in SLUGS]
    race = race_in(world, arms, memory_bytes=2 * 10**9, budget=1500)
    for slug, taken in (("full", "9.00"), ("dora", "3.00")):
        assert ends(race)[f"{slug}@0.001"] is End.MEMORY
        assert f"{taken} GB, more than 2.00 GB" in race.fates[f"{slug}@0.001"].words
        # What one rate takes, the others take too.
        assert ends(race)[f"{slug}@0.003"] is End.MEMORY
        assert len([one for one in world.asked if one[0].startswith(slug)]) == 1
    chosen = decide(race, tolerance=0.005, cost=Cost.PARAMETERS).chosen
    assert chosen.method.slug not in ("full", "dora")


def test_a_method_over_the_limit_is_tried_with_no_rate_that_had_to_wait():
    rates = (0.001, 0.003, 0.0003)
    arms = [arm_of("lora", rate) for rate in rates] + [arm_of("full", rate) for rate in rates]
    world = World({arm.key: flat(0.85) for arm in arms}, memory={"full": 9 * 10**9})
    # There is time for one rate of Full on an eighth, and for the others when the race is over.
    race = race_in(world, arms, memory_bytes=2 * 10**9, budget=500, beside=0)
    full = [one for one in world.asked if one[0].startswith("full")]
    assert len(full) == 1
    assert {ends(race)[arm.key] for arm in arms if arm.method.slug == "full"} == {End.MEMORY}


def test_a_limit_that_no_method_keeps_is_refused_with_the_least_that_is_needed(tmp_path):
    curves = {f"{slug}@0.001": flat(0.85) for slug in ("full", "lora")}
    world = World(curves, memory={"full": 9 * 10**9, "lora": 3 * 10**9})
    race = race_in(world, [arm_of("full"), arm_of("lora")], memory_bytes=2 * 10**9)
    request = Request(data=tmp_path, memory_bytes=2 * 10**9)
    expected = r"--memory 2.00 GB is less than .*: LoRA took the least, 3.00 GB; allow more"
    with pytest.raises(UsageError, match=expected):
        require_memory(race, request)
    require_memory(race, Request(data=tmp_path, memory_bytes=3 * 10**9))


def test_a_limit_that_is_kept_on_few_examples_alone_is_refused_too(tmp_path):
    arm = arm_of("lora")
    race = race_in(
        World({arm.key: flat(0.85)}, memory={"lora": 3 * 10**9}), [arm], memory_bytes=2 * 10**9
    )
    race.runs.insert(0, replace(race.runs[-1], peak_bytes=10**9))
    with pytest.raises(UsageError, match=r"LoRA took the least, 3\.00 GB; allow more"):
        require_memory(race, Request(data=tmp_path, memory_bytes=2 * 10**9))


def test_a_limit_that_an_arm_keeps_is_none_that_no_method_keeps(tmp_path):
    """Though the last trial of its method, of another arm, took more."""
    kept, other = arm_of("lora"), arm_of("lora", 0.003)
    limit = 2 * 10**9
    race = race_in(World({kept.key: flat(0.85)}), [kept], memory_bytes=limit)
    race.runs.append(replace(race.runs[-1], arm=other, peak_bytes=9 * 10**9))
    race.fates[other.key] = Fate(end=End.MEMORY, words="it took more")
    require_memory(race, Request(data=tmp_path, memory_bytes=limit))


def test_an_arm_that_fails_is_out_and_named():
    curves = {f"{slug}@0.001": flat(0.85) for slug in SLUGS}
    world = World(curves, failing=("lora@0.001",))
    race = race_in(world, [arm_of(slug) for slug in SLUGS], budget=1500)
    assert ends(race)["lora@0.001"] is End.FAILED
    assert "the loss became nan" in race.fates["lora@0.001"].words
    assert sizes(world, "lora@0.001") == [200]


def test_an_arm_whose_repeat_was_stopped_for_time_keeps_what_it_showed():
    class Slow(World):
        def run(self, arm, examples, seed, most_seconds):
            # Another program takes the machine once the race is over.
            return super().run(arm, examples, seed, most_seconds if seed == 42 else -1.0)

    world = Slow({"full@0.001": flat(0.90), "lora@0.001": flat(0.89)}, validation=1000)
    race = race_in(world, [arm_of("full"), arm_of("lora")], budget=1000)
    assert any(run.stopped for run in race.runs)
    assert set(ends(race).values()) == {End.FINISHED}
    assert decide(race, tolerance=0.005, cost=Cost.TIME).chosen == arm_of("full")


def test_an_arm_whose_repeat_failed_keeps_what_it_showed_and_it_is_said():
    class Unlucky(World):
        def run(self, arm, examples, seed, most_seconds):
            self.failing = ("full@0.001",) if seed == 43 else ()
            return super().run(arm, examples, seed, most_seconds)

    world = Unlucky({"full@0.001": flat(0.90), "lora@0.001": flat(0.89)}, validation=1000)
    race = race_in(world, [arm_of("full"), arm_of("lora")], budget=1000)
    assert ("full@0.001", TRAIN, 43) in world.asked
    assert set(ends(race).values()) == {End.FINISHED}
    assert decide(race, tolerance=0.005, cost=Cost.TIME).chosen == arm_of("full")
    assert any("Full at 0.001 failed with seed 43 (nan: the loss" in note for note in race.notes)
    # It is not tried with the same seed for ever.
    assert len(world.asked) == len(set(world.asked))


def test_where_nothing_goes_on_from_a_rung_that_was_the_last_one_and_no_trial_counts_twice():
    class Slow(World):
        def run(self, arm, examples, seed, most_seconds):
            # Another program takes the machine from a half of the examples on.
            return super().run(arm, examples, seed, -1.0 if examples > 400 else most_seconds)

    curves = {f"{slug}@0.001": flat(0.88) for slug in ("full", "lora", "ia3")}
    world = Slow(curves, validation=1000)
    race = race_in(world, [arm_of(slug) for slug in ("full", "lora", "ia3")], budget=2000)
    assert race.top == 400
    assert set(ends(race).values()) == {End.FINISHED}
    assert len(world.asked) == len(set(world.asked))
    assert any("it was on 400 of them (25%)" in note for note in race.notes)


def test_an_arm_stopped_for_time_is_left_and_not_called_a_failure():
    class Slow(World):
        def run(self, arm, examples, seed, most_seconds):
            late = arm.method.slug == "lora" and examples == TRAIN
            return super().run(arm, examples, seed, -1.0 if late else most_seconds)

    curves = {f"{slug}@0.001": flat(0.88) for slug in ("full", "lora", "ia3")}
    world = Slow(curves, validation=1000)
    race = race_in(world, [arm_of(slug) for slug in ("full", "lora", "ia3")], budget=2000)
    assert ends(race)["lora@0.001"] is End.BUDGET
    assert "stopped on 1,600 for want of time" in race.fates["lora@0.001"].words
    assert [size for name, size, _ in world.asked if name == "lora@0.001"] == RUNGS
    assert "lora@0.001" in race.belief().best()


def test_a_budget_too_short_for_a_first_trial_is_refused_at_once():
    world = World({f"{slug}@0.001": flat(0.88) for slug in SLUGS}, slowness={"full": 1000.0})
    with pytest.raises(UsageError, match=r"--budget 60s is too short: .*give ten times as long"):
        race_in(world, [arm_of(slug) for slug in SLUGS], budget=60)
    assert world.asked == [("full@0.001", 200, 42)]
    assert world.seconds < 70


def test_time_for_a_reference_row_is_kept_too():
    world = draw_world(2, spread=1.5, validation=400, seed_points=0.7)
    arms = [arm_of(slug) for slug in SLUGS]
    alone = race_in(world, arms, budget=310)
    again = draw_world(2, spread=1.5, validation=400, seed_points=0.7)
    beside = race_in(again, arms, budget=310, beside=1)
    assert alone.rungs[-1] == TRAIN
    assert beside.rungs[-1] == TRAIN / 2


def test_where_all_fail_nothing_is_chosen_and_the_reasons_are_told():
    world = World({}, failing=("lora@0.001", "full@0.001"))
    race = race_in(world, [arm_of("lora"), arm_of("full")], budget=1500)
    with pytest.raises(NothingToChoose, match="the loss became nan"):
        decide(race, tolerance=0.005, cost=Cost.TIME)


def test_what_is_known_is_used_again_even_where_time_is_up():
    arms = [arm_of(slug) for slug in SLUGS]
    world = draw_world(3, spread=1.5, validation=400, seed_points=0.7)
    first = race_in(world, arms, budget=900)
    again = draw_world(3, spread=1.5, validation=400, seed_points=0.7)
    again.seconds = 15.0
    asked = set(world.asked)
    second = race_in(
        again,
        arms,
        budget=900,
        known=lambda arm, size, seed: (arm.key, size, seed) in asked,
    )
    assert set(again.asked) == asked
    assert decide(first, tolerance=0.005, cost=Cost.TIME).within == pytest.approx(
        decide(second, tolerance=0.005, cost=Cost.TIME).within
    )


def test_the_cheapest_of_the_equally_good_is_chosen_by_the_cost_that_was_asked_for():
    curves = {f"{slug}@0.001": flat(0.88) for slug in SLUGS}
    world = World(curves, validation=1000, seed_points=0.2, memory={"qlora": 10**8})
    race = race_in(world, [arm_of(slug) for slug in SLUGS], budget=4000)
    belief = race.belief()
    within = belief.within(0.02)
    top = max(within.values())
    enough = [key.partition("@")[0] for key, share in within.items() if share >= 0.9 * top]
    cheapest = min(enough, key=("vera", "ia3", "qlora", "lora", "dora", "full").index)
    chosen = decide(race, tolerance=0.02, cost=Cost.PARAMETERS)
    assert chosen.chosen.method.slug == cheapest
    assert chosen.within >= 0.9 * chosen.highest[1]
    if "qlora" in enough:
        assert decide(race, tolerance=0.02, cost=Cost.MEMORY).chosen.method.slug == "qlora"


def test_a_method_is_not_cheaper_for_another_of_its_rates_having_stopped_early():
    curves = {"full@0.001": flat(0.88), "lora@0.001": flat(0.88), "lora@0.003": flat(0.60)}
    world = World(curves, validation=1000, seed_points=0.1, slowness={"lora": 1.5})
    arms = [arm_of("full"), arm_of("lora"), arm_of("lora", 0.003)]
    race = race_in(world, arms, tolerance=0.1)
    assert sizes(world, "lora@0.003") == [200, 400]
    # On all examples Full takes 32 seconds and LoRA 48; 12 are of the arm that stopped.
    decision = decide(race, tolerance=0.1, cost=Cost.TIME)
    assert decision.chosen == arm_of("full")


def test_a_cheap_arm_that_is_probably_worse_is_not_chosen_for_its_cost():
    world = World({"full@0.001": flat(0.90), "vera@0.001": flat(0.86)}, validation=1000)
    race = race_in(world, [arm_of("full"), arm_of("vera")], budget=4000)
    decision = decide(race, tolerance=0.005, cost=Cost.PARAMETERS)
    assert decision.chosen == arm_of("full")
    assert decision.within > 0.9
    assert decision.runner_up[0] == arm_of("vera")
    assert decision.runner_up[1] < 0.3


def test_a_reference_that_is_as_good_is_said_to_be():
    world = World({"full@0.001": flat(0.88), "lora@0.001": flat(0.88)}, validation=1000)
    race = race_in(world, [arm_of("full"), arm_of("lora")], budget=4000)
    best = World({"full@0.002": flat(0.90), "full@0.004": flat(0.80)}, validation=1000)
    good, bad = (best.run(arm_of("full", rate), TRAIN, 42, 1e6) for rate in (0.002, 0.004))
    decision = decide(race, tolerance=0.005, cost=Cost.TIME, references=[good, bad])
    assert decision.references[0].as_good > 0.7
    assert decision.references[1].as_good < 0.01
    assert np.isfinite(decision.belief.seed_spread)


def test_on_the_test_set_a_reference_is_judged_by_its_answers_there():
    world = World({"full@0.001": flat(0.88), "lora@0.001": flat(0.88)}, validation=1000)
    race = race_in(world, [arm_of("full"), arm_of("lora")], budget=4000)
    run = world.run(arm_of("full"), TRAIN, 42, 1e6)
    decision = decide(race, tolerance=0.005, cost=Cost.TIME, references=[run])
    labels = tuple(n % 2 for n in range(400))

    def answering(right):
        answers = tuple(n if i < right else 1 - n for i, n in enumerate(labels))
        trial = {"id": "x", "method": "bow"}
        return Record(trial=trial, outcome="ok", predictions=answers, labels=labels)

    (reference,) = decision.references
    far = as_tested(reference, answering(240), answering(350), decision, 0.005)
    near = as_tested(reference, answering(352), answering(350), decision, 0.005)
    assert far.as_good < 0.01 < 0.5 < reference.as_good
    assert near.as_good > 0.7
    assert near.test.predictions == answering(352).predictions


def test_what_a_trial_will_take_follows_from_those_that_were_run():
    pace = Pace()
    assert pace.predict("lora", 100) is None
    full, lora = (
        Run(
            arm=arm_of(slug),
            examples=100,
            seed=42,
            right=None,
            wall_seconds=30 + train,
            once_seconds=10,
            train_seconds=train,
            eval_seconds=4,
        )
        for slug, train in (("full", 50.0), ("lora", 20.0))
    )
    pace.learn(full)
    # 16 seconds beside training and evaluating; compiling is over.
    assert pace.predict("full", 200) == 16 + 100 + 4
    assert pace.predict("full", 200, evaluation=0.5, spare=0.1) == pytest.approx(1.1 * 118)
    assert pace.most_examples("full", 120) == 200
    assert pace.predict("dora", 100) == 70
    assert pace.predict("dora", 100, spare=0.1) == pytest.approx(77)
    # Of an adapter that was not tried another adapter tells more than Full.
    pace.learn(lora)
    assert pace.predict("dora", 100) == 40

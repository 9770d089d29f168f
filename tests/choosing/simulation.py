"""Races whose truth is known: how often a choice keeps what it promises.

``python -m tests.choosing.simulation docs/choose.md`` renews the table of that page.

An arm has a true accuracy at each number of training examples. Answers come from a probit model
with crossed effects, as in tests/statistics/simulation.py: an example is hard for all arms, or for
one; a seed shifts an arm's level; the rest is chance.
"""

from __future__ import annotations

import sys
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
from scipy.special import ndtri

from peftcore.choosing.arms import Arm, End, Run
from peftcore.choosing.asking import Cost
from peftcore.choosing.deciding import Decision, decide
from peftcore.choosing.racing import Ending, Race
from peftcore.choosing.trialling import LEAST_SECONDS
from peftcore.methods import find_method
from peftcore.report.markdown import table

SHARED, OWN = 1.8, 0.8
"""Spread of what makes an example hard for every arm, and for one alone."""
_SCALE = float(np.sqrt(1 + SHARED**2 + OWN**2))

FALL = 0.2
"""What a trial of a bad seed loses: few-sample fine-tuning is known for it (arXiv:2006.04884)."""

SLUGS = ("full", "lora", "qlora", "ia3", "dora", "vera")
WEIGHTS = dict(zip(SLUGS, (22_000_000, 148_000, 111_000, 17_000, 153_000, 8_000), strict=True))
TRAIN = 1600


def arm_of(slug: str, rate: float = 0.001) -> Arm:
    return Arm(method=find_method(slug), rate=rate)


@dataclass
class World:
    """Stands for training: what an arm would really reach, and a clock that trials move on.

    Attributes:
        curves: by arm, its true accuracy by the number of training examples.
        validation: how many examples each trial answers.
        seed_points: spread of an arm's accuracy over seeds.
        draw: what tells this world's chance from another's.
        memory: by a method's slug, what it takes.
        slowness: by a method's slug, how many times as long as others it trains.
        failing: arms whose trials don't end well.
        falling: share of the trials that end :data:`FALL` lower, by nothing but a bad seed.
    """

    curves: dict[str, Callable[[int], float]]
    validation: int = 400
    seed_points: float = 0.7
    draw: int = 0
    memory: dict[str, int] = field(default_factory=dict)
    slowness: dict[str, float] = field(default_factory=dict)
    failing: tuple[str, ...] = ()
    falling: float = 0.0
    seconds: float = 0.0
    asked: list[tuple[str, int, int]] = field(default_factory=list)

    def run(self, arm: Arm, examples: int, seed: int, most_seconds: float) -> Run:
        """Train an arm, or pretend to."""
        self.asked.append((arm.key, examples, seed))
        train, evaluation = 0.02 * examples * self.slowness.get(arm.method.slug, 1.0), 2.0
        wall = 8 + train + evaluation
        if wall > max(LEAST_SECONDS, most_seconds):
            wall = max(LEAST_SECONDS, most_seconds)
            self.seconds += wall
            return Run(
                arm=arm, examples=examples, seed=seed, right=None, wall_seconds=wall, stopped=True
            )
        self.seconds += wall
        if arm.key in self.failing:
            return Run(
                arm=arm,
                examples=examples,
                seed=seed,
                right=None,
                wall_seconds=wall,
                problem="nan: the loss became nan",
            )
        return Run(
            arm=arm,
            examples=examples,
            seed=seed,
            right=self._answers(arm, examples, seed),
            wall_seconds=wall,
            train_seconds=train,
            eval_seconds=evaluation,
            peak_bytes=self.memory.get(arm.method.slug, 10**9),
            trained_parameters=WEIGHTS[arm.method.slug],
        )

    def _answers(self, arm: Arm, examples: int, seed: int) -> np.ndarray:
        def normal(*which: object) -> np.random.Generator:
            words = "/".join(map(str, (self.draw, *which)))
            return np.random.default_rng(list(words.encode()))

        accuracy = self.curves[arm.key](examples)
        shift = normal(arm.key, examples, seed).standard_normal() * self.seed_points / 100
        if self.falling and normal("falls", arm.key, examples, seed).random() < self.falling:
            shift -= FALL
        level = ndtri(np.clip(accuracy + shift, 0.01, 0.995)) * _SCALE
        shared = normal("shared").standard_normal(self.validation) * SHARED
        own = normal("own", arm.key).standard_normal(self.validation) * OWN
        rest = normal("rest", arm.key, examples, seed).standard_normal(self.validation)
        return np.asarray(level + shared + own + rest > 0)


def race_in(world: World, arms: Sequence[Arm], *, budget: float = 1e6, **options: object) -> Race:
    """Return a race in a world, run to its end."""
    settings: dict[str, object] = {"train": TRAIN, "tolerance": 0.005, "majority": 0.5, **options}
    race = Race(
        arms=arms,
        ending=Ending(examples=round(TRAIN * 4 / 3), fixed_seconds=20),
        run=world.run,
        spent=lambda: world.seconds,
        budget_seconds=budget,
        **settings,
    )
    race.begin()
    race.finish()
    return race


def draw_world(
    number: int,
    *,
    spread: float,
    validation: int,
    seed_points: float,
    sudden: bool = False,
    falling: float = 0.0,
) -> World:
    """Return a world of eighteen arms whose curves rise, at paces of their own, to where they end.

    Args:
        number: which one.
        spread: of the methods' true accuracies at the end, in points.
        validation: how many validation examples.
        seed_points: see :class:`World`.
        sudden: whether arms learn little for long and then all at once, each at a size of its own.
        falling: see :class:`World`.
    """
    random = np.random.default_rng([7, number])
    curves = {}
    takes_off = random.uniform(-3.0, -1.0)
    for slug in SLUGS:
        end = 0.88 + random.standard_normal() * spread / 100
        for rate, loss in ((0.001, 0.0), (0.003, None), (0.0003, None)):
            # A rate beside the declared one is mostly worse, now and then better.
            lost = abs(random.normal(0.01, 0.015)) - 0.005 if loss is None else loss
            slow = random.uniform(0.02, 0.08)
            top = min(end - lost, 0.97)
            later = random.normal(takes_off, 0.6) if sudden else None
            curves[f"{slug}@{rate:g}"] = _curve(top, slow) if later is None else _sudden(top, later)
    return World(
        curves=curves,
        validation=validation,
        seed_points=seed_points,
        draw=10_000 + number,
        falling=falling,
    )


def flat(accuracy: float) -> Callable[[int], float]:
    """Return the curve of an arm that learns all there is from a few examples."""
    return lambda _: accuracy


def _curve(end: float, slow: float) -> Callable[[int], float]:
    """Return a curve that ends at ``end`` and is lower by ``slow`` and more with each halving."""
    return lambda examples: max(0.5, end - slow * (np.log2(TRAIN / examples) ** 1.3) / 2)


def _sudden(end: float, takes_off: float) -> Callable[[int], float]:
    """Return a curve that leaves 60% steeply, ``takes_off`` doublings away from all examples."""

    def curve(examples: int) -> float:
        risen = 1 / (1 + np.exp(-5 * (np.log2(examples / TRAIN) - takes_off)))
        return float(0.6 + (end - 0.6) * risen)

    return curve


@dataclass(frozen=True)
class Outcome:
    """What a choice promised, and what was true.

    Attributes:
        stated: the probability that what was chosen is within the tolerance.
        kept: whether it was.
        lost_points: how far below the best it was.
        runner_up: the same two of the runner-up, if there was one.
    """

    stated: float
    kept: bool
    lost_points: float
    runner_up: tuple[float, bool] | None = None


def outcome_of(world: World, race: Race, decision: Decision, tolerance: float) -> Outcome:
    """Return whether what was chosen is within the tolerance of the best of all that was tried."""
    tried = [arm for arm in race.arms if any(run.arm == arm for run in race.runs)]
    best = max(world.curves[arm.key](TRAIN) for arm in tried)
    lost = best - world.curves[decision.chosen.key](TRAIN)
    second = None
    if decision.runner_up is not None:
        arm, share = decision.runner_up
        second = share, bool(world.curves[arm.key](TRAIN) >= best - tolerance)
    return Outcome(decision.within, bool(lost <= tolerance), float(100 * lost), second)


def simulate(
    worlds: int,
    *,
    spread: float,
    validation: int,
    seed_points: float,
    budget: float,
    **options: Any,
) -> list[Outcome]:
    """Return what came of so many races; options are those of :func:`draw_world`."""
    found = []
    for number in range(worlds):
        world = draw_world(
            number, spread=spread, validation=validation, seed_points=seed_points, **options
        )
        arms = [arm_of(slug, rate) for rate in (0.001, 0.003, 0.0003) for slug in SLUGS]
        race = race_in(world, arms, budget=budget)
        decision = decide(race, tolerance=0.005, cost=Cost.PARAMETERS)
        assert race.fates[decision.chosen.key].end is End.FINISHED
        found.append(outcome_of(world, race, decision, 0.005))
    return found


SITUATIONS = (
    # spread of methods, validation examples, spread over seeds, budget in seconds, how they learn
    (0.5, 400, 0.7, 1200.0, "evenly"),
    (1.5, 400, 0.7, 1200.0, "evenly"),
    (3.0, 400, 0.7, 1200.0, "evenly"),
    (1.5, 180, 0.7, 1200.0, "evenly"),
    (1.5, 1000, 0.7, 1200.0, "evenly"),
    (1.5, 400, 1.5, 1200.0, "evenly"),
    (1.5, 400, 0.3, 1200.0, "evenly"),
    (1.5, 400, 0.7, 600.0, "evenly"),
    (1.5, 400, 0.7, 3600.0, "evenly"),
    (1.5, 400, 0.7, 1200.0, "late, at once"),
    (1.5, 400, 0.7, 3600.0, "late, at once"),
    (1.5, 400, 0.7, 1200.0, "some fall"),
    (1.5, 400, 0.7, 3600.0, "some fall"),
)
LEARNING: dict[str, dict[str, Any]] = {
    "evenly": {},
    "late, at once": {"sudden": True},
    "some fall": {"falling": 0.1},
}


def to_table(worlds: int) -> str:
    """Return how often choices kept what they promised, as a table."""
    rows = []
    for spread, validation, seed_points, budget, learning in SITUATIONS:
        found = simulate(
            worlds,
            spread=spread,
            validation=validation,
            seed_points=seed_points,
            budget=budget,
            **LEARNING[learning],
        )
        sure = [one for one in found if one.stated >= 0.8]
        seconds = np.array([one.runner_up for one in found if one.runner_up is not None])
        rows.append(
            [
                f"{spread:g}",
                f"{validation}",
                f"{seed_points:g}",
                f"{budget / 60:g} min",
                learning,
                f"{np.mean([one.stated for one in found]):.0%}",
                f"{np.mean([one.kept for one in found]):.0%}",
                f"{np.mean([one.kept for one in sure]):.0%} of {len(sure)}" if sure else "—",
                f"{np.mean([one.lost_points for one in found]):.2f}",
                f"{seconds[:, 0].mean():.0%} / {seconds[:, 1].mean():.0%}",
            ]
        )
    headings = ["Methods differ by", "Validation", "Seeds differ by", "Budget", "They learn"]
    headings += ["Stated", "Kept", "Kept where 80% or more was stated", "Lost (points)"]
    headings += ["Runner-up: stated / kept"]
    return table(headings, rows, text_columns=0)


if __name__ == "__main__":
    page, mark = Path(sys.argv[1]), "<!-- made by tests/choosing/simulation.py -->"
    before, _, rest = page.read_text(encoding="utf-8").partition(mark)
    _, _, after = rest.partition("<!-- end -->")
    made = to_table(100)
    page.write_text(f"{before}{mark}\n\n{made}\n\n<!-- end -->{after}", encoding="utf-8")

"""How often the gate is wrong, and how often it sees what is there, where both are known.

``python -m tests.gate.simulation docs/gate.md`` renews the table of that page, in a quarter of an
hour.

A run is six methods, two of them reference rows, each with an accuracy, a time and a memory a seed,
and all but the bag of words with a training loss: all the cells that are tested, in one family.
Accuracies spread over seeds, and part of the spread is common to all methods, as all train on the
sample that a seed draws; they come in steps of one example. No seed is in both the baseline and the
run. Losses spread normally, time and memory log-normally.
"""

from __future__ import annotations

import math
import sys
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from peftcore.gate.judging import over_all
from peftcore.gate.testing import Case, judge_cases, smallest_spread
from peftcore.gate.verdicts import Cell, Look, Verdict, looks
from peftcore.report.markdown import table
from peftcore.report.metrics import ACCURACY, ANONYMOUS_MEMORY, TRAIN_LOSS, TRAIN_TIME

METHODS = ("full", "lora", "qlora", "ia3", "bow", "head")
EXAMPLES = 2000
COMMON = 0.3
"""Share of the variance over seeds that all methods have in common."""

LEVELS = {ACCURACY.key: 88.0, TRAIN_TIME.key: 60.0, ANONYMOUS_MEMORY.key: 0.8}
LOSS_SPREAD = 0.05
"""Of training losses over seeds, in nats: as of LoRA in ``reports/embedded``."""

LOG_SPREADS = {TRAIN_TIME.key: 0.03, ANONYMOUS_MEMORY.key: 0.003}

Draw = Callable[[np.random.Generator, int], NDArray[np.float64]]
"""Returns how far accuracies are from their means, in points: methods × seeds."""


def normal(*points: float) -> Draw:
    """Return a draw of normal accuracies with these standard deviations, one a method or one."""
    scale = np.broadcast_to(np.asarray(points), (len(METHODS),))

    def draw(rng: np.random.Generator, seeds: int) -> NDArray[np.float64]:
        own = rng.standard_normal((len(METHODS), seeds))
        common = rng.standard_normal(seeds)
        return scale[:, None] * (math.sqrt(COMMON) * common + math.sqrt(1 - COMMON) * own)

    return draw


def two_modes(rng: np.random.Generator, seeds: int) -> NDArray[np.float64]:
    """Half of the seeds 3 points lower."""
    sides = np.where(rng.random((len(METHODS), seeds)) < 0.5, -1.5, 1.5)
    return sides + normal(0.3)(rng, seeds)


def one_stuck(rng: np.random.Generator, seeds: int) -> NDArray[np.float64]:
    """One method fails with one seed in ten, by 10 points; the others are normal."""
    found = normal(0.7)(rng, seeds)
    found[1] -= 10 * (rng.random(seeds) < 0.1)
    return found


SPREADS: dict[str, Draw] = {
    "normal, 0.7 points": normal(0.7),
    "normal, 0.3 to 3 points": normal(0.7, 0.3, 1, 3, 0.7, 1.5),
    "half 3 points lower": two_modes,
    "one method stuck, one seed in ten": one_stuck,
}


@dataclass(frozen=True, kw_only=True)
class Drop:
    """How much worse the run is, in points: nowhere, in the first method or in all candidates."""

    points: float = 0.0
    everywhere: bool = False

    def of(self, method: str) -> float:
        """Return by how many points this method is worse."""
        hit = self.everywhere or method == METHODS[0]
        return self.points if hit and method not in ("bow", "head") else 0.0


@dataclass(frozen=True, kw_only=True)
class Rates:
    """Shares of runs.

    Attributes:
        caught: with a REGRESSION in a cell of what is worse; of any cell where nothing is.
        passed: in which the first method's accuracy passes.
        seeds: the mean number of seeds that a run came to.
    """

    caught: float
    passed: float
    seeds: float


def simulate(
    spread: Draw, before: int, plan: list[Look], drop: Drop, repeats: int, *, draw: int = 0
) -> Rates:
    """Return how runs are judged.

    Args:
        spread: draws accuracies.
        before: seeds of the baseline.
        plan: the looks at the run; one for a run of a fixed number of seeds.
        drop: what is worse.
        repeats: how many runs, each against a baseline of its own.
        draw: starts the random numbers.
    """
    rng = np.random.default_rng([draw, before, len(plan), plan[-1].seeds])
    caught = passed = seeds = 0
    for _ in range(repeats):
        baseline = _draw(spread, before, rng, Drop())
        run = _draw(spread, plan[-1].seeds, rng, drop)
        decided: dict[tuple[str, str], Verdict | None] = {}
        for look in plan:
            cells = _judge(baseline, run, look)
            for cell in cells:
                key = (cell.method, cell.metric.key)
                if decided.get(key) in (None, Verdict.INCONCLUSIVE):
                    decided[key] = cell.verdict
            worse = [key for key, verdict in decided.items() if verdict is Verdict.REGRESSION]
            if worse or Verdict.INCONCLUSIVE not in decided.values():
                break
        seeds += look.seeds
        caught += any(_meant(key, drop) for key in worse)
        passed += decided[METHODS[0], ACCURACY.key] is Verdict.PASS
    return Rates(caught=caught / repeats, passed=passed / repeats, seeds=seeds / repeats)


def _meant(key: tuple[str, str], drop: Drop) -> bool:
    """Return whether a REGRESSION there names what is worse; where nothing is, any counts."""
    method, metric = key
    if not drop.points:
        return True
    return metric == ACCURACY.key and (
        method == METHODS[0] or (drop.everywhere and method not in ("bow", "head"))
    )


Side = dict[str, NDArray[np.float64]]


def _draw(spread: Draw, seeds: int, rng: np.random.Generator, drop: Drop) -> Side:
    points = LEVELS[ACCURACY.key] + spread(rng, seeds)
    points -= np.array([drop.of(method) for method in METHODS])[:, None]
    side = {ACCURACY.key: np.round(points * EXAMPLES / 100) * 100 / EXAMPLES}
    for key, scale in LOG_SPREADS.items():
        noise = scale * rng.standard_normal((len(METHODS), seeds))
        side[key] = LEVELS[key] * np.exp(noise)
    noise = rng.standard_normal((len(METHODS), seeds))
    side[TRAIN_LOSS.key] = 0.15 + LOSS_SPREAD * noise
    return side


def _judge(baseline: Side, run: Side, look: Look) -> list[Cell]:
    cases = [
        Case(
            method=method,
            metric=metric,
            before=dict(enumerate(baseline[metric.key][n])),
            # Other seeds than the baseline's, as many as the look has.
            after=dict(enumerate(run[metric.key][n][: look.seeds], start=1000)),
            least=smallest_spread(metric, EXAMPLES),
        )
        for metric in (ACCURACY, TRAIN_LOSS, TRAIN_TIME, ANONYMOUS_MEMORY)
        for n, method in enumerate(METHODS)
        # A bag of words has no loss.
        if not (metric is TRAIN_LOSS and method == "bow")
    ]
    return judge_cases([*cases, *over_all(cases)], look)


FIXED = ((3, 3), (5, 5), (8, 8), (10, 3), (10, 5), (10, 8))
"""Seeds of the baseline and of the run."""

GROWING = (10, 3, 9)
"""Seeds of the baseline, of the run as it begins, and the most it may have."""

DROPS = tuple(
    Drop(points=points, everywhere=everywhere)
    for everywhere in (False, True)
    for points in (0.5, 1.0, 2.0)
)
POWER_SPREADS = ("normal, 0.7 points", "half 3 points lower")

START = "<!-- error rates: made by tests/gate/simulation.py -->"
END = "<!-- end of error rates -->"


def designs() -> list[tuple[str, int, list[Look]]]:
    """Return what is simulated: a name, the seeds of the baseline and the looks at the run."""
    fixed = [
        (f"{before} / {after}", before, [Look(seeds=after, share=1.0)]) for before, after in FIXED
    ]
    before, first, most = GROWING
    return [*fixed, (f"{before} / {first} to {most}", before, list(looks(first, most)))]


def false_alarms(repeats: int) -> str:
    """Return the table of how often anything is called a REGRESSION where nothing changed."""
    rows = []
    for name, before, plan in designs():
        found = [
            simulate(spread, before, plan, Drop(), repeats, draw=n)
            for n, spread in enumerate(SPREADS.values())
        ]
        rows.append([name, *(f"{100 * rates.caught:.1f}" for rates in found)])
        sys.stderr.write(f"{rows[-1]}\n")
    return table(["Seeds: baseline / run", *SPREADS], rows)


def power(spread: str, repeats: int) -> str:
    """Return the table of how often a loss is called a REGRESSION where it is."""
    rows = []
    for name, before, plan in designs():
        found = [simulate(SPREADS[spread], before, plan, drop, repeats) for drop in DROPS]
        cells = [f"{100 * rates.caught:.0f}" for rates in found]
        if len(plan) > 1:
            cells = [
                f"{c} ({rates.seeds:.1f} seeds)" for c, rates in zip(cells, found, strict=True)
            ]
        rows.append([name, *cells])
        sys.stderr.write(f"{rows[-1]}\n")
    headings = [f"{'all' if d.everywhere else 'one'}: −{d.points:g}" for d in DROPS]
    return table(["Seeds: baseline / run", *headings], rows)


def main(path: Path, repeats: int = 800) -> None:
    """Write the tables between the two marks of a page."""
    begun = time.monotonic()
    blocks = [f"### Any REGRESSION where nothing changed, % of runs\n\n{false_alarms(repeats)}"]
    for spread in POWER_SPREADS:
        title = f"### A loss that is called by its name, % of runs: {spread}"
        blocks.append(f"{title}\n\n{power(spread, repeats // 4)}")
    made = "\n\n".join(blocks)
    page = path.read_text(encoding="utf-8")
    before, after = page.partition(START)[0], page.partition(END)[2]
    path.write_text(f"{before}{START}\n\n{made}\n\n{END}{after}", encoding="utf-8")
    sys.stderr.write(f"{time.monotonic() - begun:.0f} s\n")


if __name__ == "__main__":
    main(Path(sys.argv[1]), *(int(argument) for argument in sys.argv[2:]))

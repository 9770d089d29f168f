"""How often intervals hold the truth, where the truth is known.

``python -m tests.statistics.simulation docs/statistics.md`` renews the tables of that page.

Answers come from a probit model with crossed effects: method k with seed i answers example j
right if ``level[k] + shared[j] + own[k, j] + effect[k, i] + noise[k, i, j] > 0``, all but the
level random. Noise and examples are standard normal times fixed scales, so that the accuracy of a
method whose seed has effect a is Φ((level + a) / T) with T² = 1 + SHARED² + OWN²: both estimands
have exact values. The effects are chosen so that accuracy over seeds has the mean and the standard
deviation asked for, or two modes.
"""

from __future__ import annotations

import math
import sys
import time
from collections.abc import Iterator
from dataclasses import dataclass
from itertools import combinations
from pathlib import Path

import numpy as np
from scipy.optimize import brentq
from scipy.special import ndtr, ndtri

from peftcore.report.markdown import table
from peftcore.statistics.comparing import paired_components
from peftcore.statistics.variance import Components, Estimand, Prior, components, fit_prior

METHODS = 4
EXAMPLES = 2000
SHARED, OWN = 1.8, 0.8
"""Spread of what makes an example hard for every method, and for one alone."""

COMMON = 0.3
"""Share of the variance of a normal seed effect that all methods have in common: the sample."""

_SCALE = math.sqrt(1 + SHARED**2 + OWN**2)
_NODES, _WEIGHTS = np.polynomial.hermite_e.hermegauss(21)
_WEIGHTS = _WEIGHTS / _WEIGHTS.sum()


@dataclass(frozen=True, kw_only=True)
class Seeds:
    """How the seeds of one method are spread.

    Attributes:
        level: the latent level.
        values: a seed effect's values: nodes of a normal distribution, or the modes.
        weights: how likely each is.
        normal: the standard deviation of a normal effect; ``None`` where there are modes.
    """

    level: float
    values: np.ndarray
    weights: np.ndarray
    normal: float | None

    @property
    def accuracy(self) -> float:
        """The accuracy on examples and seeds like these, as a share."""
        return float(self.weights @ ndtr((self.level + self.values) / _SCALE))

    @property
    def spread(self) -> float:
        """The standard deviation over seeds of the accuracy on endless examples, as a share."""
        accuracies = ndtr((self.level + self.values) / _SCALE)
        return math.sqrt(self.weights @ (accuracies - self.accuracy) ** 2)


def normal(accuracy: float, spread: float) -> Seeds:
    """Return seeds with a normal latent effect whose accuracies have this mean and spread."""

    def made(sigma: float) -> Seeds:
        level = float(ndtri(accuracy)) * math.sqrt(_SCALE**2 + sigma**2)
        return Seeds(level=level, values=sigma * _NODES, weights=_WEIGHTS, normal=sigma)

    return made(brentq(lambda sigma: made(sigma).spread - spread, 1e-6, 10))


def modes(accuracies: tuple[float, float], rare: float) -> Seeds:
    """Return seeds that end at the first accuracy, or with this chance at the second."""
    effects = _SCALE * ndtri(np.array(accuracies))
    weights = np.array([1 - rare, rare])
    return Seeds(level=0.0, values=effects, weights=weights, normal=None)


@dataclass(frozen=True, kw_only=True)
class Cell:
    """One setting: what it is called, the seeds of each method, and which methods are counted."""

    name: str
    accuracy: float
    methods: tuple[Seeds, ...]
    counted: tuple[int, ...] = tuple(range(METHODS))


def cells(accuracies: tuple[float, ...] = (0.7, 0.9, 0.98)) -> Iterator[Cell]:
    """Yield every setting of the tables."""
    for accuracy in accuracies:
        for points in (0.3, 1, 3):
            seeds = normal(accuracy, points / 100)
            yield Cell(
                name=f"normal, {points:g} point{'' if points == 1 else 's'}",
                accuracy=accuracy,
                methods=(seeds,) * METHODS,
            )
        two = modes((accuracy + 0.015, accuracy - 0.015), 0.5)
        yield Cell(name="half 3 points lower", accuracy=accuracy, methods=(two,) * METHODS)
    for accuracy in accuracies:
        mixed = tuple(normal(accuracy, points / 100) for points in (0.3, 1, 1, 3))
        for counted, points in ((0, 0.3), (1, 1), (3, 3)):
            yield Cell(
                name=f"{points:g} among 0.3, 1, 1, 3 points",
                accuracy=accuracy,
                methods=mixed,
                counted=(counted,),
            )
        usual = normal(accuracy, 0.007)
        stuck = modes((accuracy, 0.5), 0.1)
        yield Cell(
            name="one in ten at 50%",
            accuracy=accuracy,
            methods=(stuck, usual, usual, usual),
            counted=(0,),
        )


@dataclass(frozen=True, kw_only=True)
class Coverage:
    """Share of intervals that held the truth, and their mean half width in points."""

    held: dict[tuple[str, Estimand], float]
    half_points: dict[tuple[str, Estimand], float]


def simulate(cell: Cell, seeds: int, repeats: int, *, draw: int = 0, shrink: bool = True):
    """Return the :class:`Coverage` of one cell: of single accuracies and of paired differences."""
    rng = np.random.default_rng([draw, seeds, repeats])
    held: dict[tuple[str, Estimand], list[bool]] = {}
    halves: dict[tuple[str, Estimand], list[float]] = {}
    pairs = list(combinations(range(METHODS), 2))
    like_these = np.array([100 * method.accuracy for method in cell.methods])
    for _ in range(repeats):
        right, here = _answers(cell, seeds, rng)
        single = [components(one, unit=100) for one in right]
        paired = [paired_components(right[a], right[b], unit=100) for a, b in pairs]
        priors = [None, None]
        if shrink:
            priors = [_prior(single), _prior(paired)]
        counted = [("accuracy", single[k], here[k], like_these[k], priors[0]) for k in cell.counted]
        counted += [
            ("difference", one, here[a] - here[b], like_these[a] - like_these[b], priors[1])
            for one, (a, b) in zip(paired, pairs, strict=True)
            if a in cell.counted or b in cell.counted
        ]
        for what, found, truth_here, truth, prior in counted:
            for estimand, mean, value in (
                (Estimand.TEST_SET, found.on_this_test_set(prior), truth_here),
                (Estimand.TEXTS, found.on_texts_like_these(prior), truth),
            ):
                low, high = mean.interval()
                held.setdefault((what, estimand), []).append(low <= value <= high)
                halves.setdefault((what, estimand), []).append((high - low) / 2)
    return Coverage(
        held={key: float(np.mean(values)) for key, values in held.items()},
        half_points={key: float(np.mean(values)) for key, values in halves.items()},
    )


def _prior(found: list[Components]) -> Prior | None:
    return fit_prior([one.variance_of_seeds for one in found], [one.seeds - 1 for one in found])


def _answers(cell: Cell, seeds: int, rng: np.random.Generator) -> tuple[np.ndarray, np.ndarray]:
    """Return answers (methods × seeds × examples) and each method's accuracy on those examples.

    The latter is the mean over all seeds that there could be, in percent.
    """
    examples = SHARED * rng.standard_normal(EXAMPLES)
    common = rng.standard_normal(seeds)
    right = np.empty((METHODS, seeds, EXAMPLES), dtype=bool)
    here = np.empty(METHODS)
    for k, method in enumerate(cell.methods):
        latent = method.level + examples + OWN * rng.standard_normal(EXAMPLES)
        here[k] = 100 * method.weights @ ndtr(latent + method.values[:, None]).mean(axis=1)
        if method.normal is None:
            effects = rng.choice(method.values, size=seeds, p=method.weights)
        else:
            own = rng.standard_normal(seeds)
            effects = math.sqrt(COMMON) * common + math.sqrt(1 - COMMON) * own
            effects = method.normal * effects
        noise = rng.standard_normal((seeds, EXAMPLES), dtype=np.float32)
        right[k] = noise > -(latent + effects[:, None])
    return right, here


SEEDS = (3, 5, 8)
ASKED = (0.93, 0.97)
COLUMNS = tuple((what, estimand) for what in ("accuracy", "difference") for estimand in Estimand)


def tables(repeats: int) -> str:
    """Return the tables of coverage as Markdown, figures outside of what is asked in bold."""
    blocks = []
    for seeds in SEEDS:
        rows = []
        for number, cell in enumerate(cells()):
            found = simulate(cell, seeds, repeats, draw=number)
            rows.append(
                [cell.name, f"{100 * cell.accuracy:g}%", *(_shown(found, key) for key in COLUMNS)]
            )
            sys.stderr.write(f"{seeds} seeds, {cell.name}, {cell.accuracy}: {rows[-1][2:]}\n")
        headings = ["Spread of seeds", "True accuracy", *map(_heading, COLUMNS)]
        blocks.append(f"### {seeds} seeds\n\n{table(headings, rows)}")
    return "\n\n".join(blocks)


def _heading(key: tuple[str, Estimand]) -> str:
    return f"{key[0].capitalize()} {key[1]}"


def _shown(found: Coverage, key: tuple[str, Estimand]) -> str:
    held = found.held[key]
    text = f"{100 * held:.1f}"
    mark = "**" if not ASKED[0] <= round(held, 3) <= ASKED[1] else ""
    return f"{mark}{text}{mark} (±{found.half_points[key]:.2f})"


START, END = "<!-- coverage: made by tests/statistics/simulation.py -->", "<!-- end of coverage -->"


def main(path: Path, repeats: int = 1000) -> None:
    """Write the tables between the two marks of a page."""
    begun = time.monotonic()
    made = tables(repeats)
    page = path.read_text(encoding="utf-8")
    before, after = page.partition(START)[0], page.partition(END)[2]
    path.write_text(f"{before}{START}\n\n{made}\n\n{END}{after}", encoding="utf-8")
    sys.stderr.write(f"{time.monotonic() - begun:.0f} s\n")


if __name__ == "__main__":
    main(Path(sys.argv[1]), *(int(argument) for argument in sys.argv[2:]))

"""Learning: with dropout, whether both engines end at the same accuracy.

Dropout draws other numbers in the two engines, so that single runs differ by chance; seeds are
paired, and equivalence is tested by two one-sided t tests (TOST: Schuirmann 1987).
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from statistics import fmean

from peftcore.report.canvas import Plot, new_figure
from peftcore.report.engines.runs import NAMES, engine_of, measured, not_measured, of_parts
from peftcore.report.markdown import escape, listed, signed, table
from peftcore.report.metrics import ACCURACY, MISSING
from peftcore.report.render import image
from peftcore.report.style import looks, plain
from peftcore.report.summary import MethodSummary, by_method
from peftcore.report.wording import p_value
from peftcore.results.records import Record
from peftcore.statistics.variance import Mean, mean_of_seeds
from peftcore.trials import Engine, Part

LEARNING = "learning"
"""Name of the plot."""

MARGIN_POINTS = 1.0
"""Accuracies that differ by less than this, either way, are equivalent."""

LEVEL = 0.05
"""Below this p equivalence is shown."""

CONFIDENCE = 0.95
"""Of the interval of a mean difference."""


@dataclass(frozen=True)
class Differences:
    """Paired differences of accuracy, the engine's less Trainer's, in points.

    Attributes:
        points: one a pair, in order of the seeds.
    """

    points: tuple[float, ...]

    @property
    def mean(self) -> float:
        """The mean difference."""
        return fmean(self.points)

    @property
    def _over_seeds(self) -> Mean | None:
        """The mean with its error on this test set.

        ``None`` for a single pair, and where the pairs have no spread to test by: accuracies come
        in steps, so that a few pairs may agree by chance.
        """
        return mean_of_seeds(self.points)

    @property
    def interval(self) -> tuple[float, float] | None:
        """Student's interval of the mean difference; ``None`` where its error isn't known."""
        return self._over_seeds.interval(CONFIDENCE) if self._over_seeds else None

    @property
    def p(self) -> float | None:
        """The larger p of the two tests that the mean is above −1 and below +1 point.

        ``None`` where its error isn't known.
        """
        return self._over_seeds.equivalence_p(MARGIN_POINTS) if self._over_seeds else None

    @property
    def equivalent(self) -> bool:
        """Whether equivalence within the margin is shown."""
        return self.p is not None and self.p < LEVEL

    def verdict(self) -> str:
        """Return what is shown and what isn't."""
        if self.p is None:
            return "equivalence is not shown: without a spread between pairs there is no test"
        if self.equivalent:
            return f"equivalent within ±{MARGIN_POINTS:g} point"
        return f"equivalence within ±{MARGIN_POINTS:g} point is not shown"


@dataclass(frozen=True)
class Learned:
    """What one method learned under both engines.

    Attributes:
        method: the method.
        accuracy: of each engine in percent, by seed; the seeds that both ran.
        chance: what the most frequent label alone would get, in percent, or by luck on another
            test set of the same size: two standard errors are added.
    """

    method: MethodSummary
    accuracy: Mapping[Engine, Mapping[int, float]]
    chance: float | None

    @property
    def differences(self) -> Differences:
        """The engine's accuracy less Trainer's, seed by seed."""
        ours, theirs = self.accuracy[Engine.PEFTCORE], self.accuracy[Engine.TRAINER]
        return Differences(tuple(ours[seed] - theirs[seed] for seed in sorted(ours)))

    def mean(self, engine: Engine) -> float:
        """Return an engine's mean accuracy."""
        return fmean(self.accuracy[engine].values())

    @property
    def flat(self) -> bool:
        """Whether an engine is not clear of chance by more than the margin of equivalence."""
        worst = min(self.mean(engine) for engine in Engine)
        return self.chance is not None and worst <= self.chance + MARGIN_POINTS

    @property
    def equivalent(self) -> bool:
        """Whether equivalence is shown; where nothing was learned, being alike shows nothing."""
        return self.differences.equivalent and not self.flat

    def verdict(self) -> str:
        """Return what is shown and what isn't."""
        return "too near chance to tell" if self.flat else self.differences.verdict()


def gather(records: Sequence[Record]) -> list[Learned]:
    """Return what the methods learned, of seeds that both engines finished."""
    found = []
    for method in by_method(of_parts(records, Part.LEARNING)):
        accuracy: dict[Engine, dict[int, float]] = {engine: {} for engine in Engine}
        chance = None
        for record in method.records:
            measurement, value = measured(record), ACCURACY.value(record)
            if measurement is None or value is None:
                continue
            accuracy[engine_of(record)][record.seed] = value
            if measurement.majority_share is not None:
                share = measurement.majority_share
                error = math.sqrt(share * (1 - share) / max(len(record.labels or ()), 1))
                chance = 100 * (share + 2 * error)
        seeds = set.intersection(*(set(values) for values in accuracy.values()))
        if seeds:
            paired = {e: {seed: accuracy[e][seed] for seed in seeds} for e in Engine}
            found.append(Learned(method, paired, chance))
    return found


def pooled(learned: Sequence[Learned]) -> Differences:
    """Return the differences of all methods together."""
    return Differences(tuple(p for one in learned for p in one.differences.points))


def section(
    learned: Sequence[Learned], records: Sequence[Record], plots: Mapping[str, Plot]
) -> list[str]:
    """Return the section as Markdown blocks."""
    heading = "## The same accuracy, with dropout"
    if not learned:
        return [heading, not_measured("learning", tried=bool(of_parts(records, Part.LEARNING)))]
    trial = of_parts(records, Part.LEARNING)[0].trial
    task, recipe = trial["task"], trial["recipe"]
    return [
        heading,
        "Each engine draws other numbers in dropout, so single runs differ by chance. A shorter "
        f"protocol than the scenario's: {task['train_examples']:,} training examples, "
        f"{recipe['epochs']} epoch{'s' if recipe['epochs'] > 1 else ''}, texts of at most "
        f"{task['max_length']} tokens, {task['test_examples']:,} test examples. A seed draws the "
        "same training sample, fresh weights and order for both engines; the learning rates, in "
        "the setup, are larger than the scenario's as the steps are fewer. The difference is the "
        "engine's accuracy less Trainer's in percentage points, mean over seeds with Student's "
        f"{100 * CONFIDENCE:.0f}% interval; equivalence is tested by two one-sided t tests at "
        f"±{MARGIN_POINTS:g} point, and shown where the larger p is below {LEVEL:g}. All this is "
        "about this test set and other seeds on it.",
        verdict(learned),
        _table(learned),
        *_warnings(learned),
        *(image(plots[name]) for name in (LEARNING,) if name in plots),
    ]


def answer(learned: Sequence[Learned]) -> str:
    """Return in a sentence with which methods equivalence is shown."""
    shown = [escape(one.method.name) for one in learned if one.equivalent]
    others = [escape(one.method.name) for one in learned if not one.equivalent]
    parts = [f"equivalent within ±{MARGIN_POINTS:g} point with {listed(shown)}"] if shown else []
    parts += [f"not shown to be equivalent with {listed(others)}"] if others else []
    return f"With dropout, both engines' accuracies are {' and '.join(parts)}."


def verdict(learned: Sequence[Learned]) -> str:
    """Return in words with which methods the engines are equivalent, and where it isn't shown."""
    shown = [escape(one.method.name) for one in learned if one.equivalent]
    open_ = [escape(one.method.name) for one in learned if not one.equivalent]
    sentences = []
    if shown:
        sentences.append(
            f"Both engines end equivalent within ±{MARGIN_POINTS:g} point with {listed(shown)}."
        )
    if open_:
        sentences.append(
            f"**With {listed(open_)} equivalence is not shown:** which is not to say that they "
            "differ, but that these runs can't exclude a difference of a point."
        )
    differ = [
        escape(one.method.name)
        for one in learned
        if (interval := one.differences.interval) and (interval[0] > 0 or interval[1] < 0)
    ]
    if differ:
        sentences.append(
            f"The interval excludes that there is no difference with {listed(differ)}."
        )
    return " ".join(sentences)


def _table(learned: Sequence[Learned]) -> str:
    rows = [
        [
            escape(one.method.name),
            str(len(one.differences.points)),
            *(ACCURACY.show(one.mean(engine)) for engine in (Engine.TRAINER, Engine.PEFTCORE)),
            *_cells(one.differences, one.verdict()),
        ]
        for one in learned
    ]
    if len(learned) > 1:
        together = pooled(learned)
        count = str(len(together.points))
        rows.append(["All", count, MISSING, MISSING, *_cells(together, MISSING)])
    headings = [
        "Method",
        "Pairs",
        f"{NAMES[Engine.TRAINER]} (%)",
        f"{NAMES[Engine.PEFTCORE]} (%)",
        "Difference (points)",
        "TOST p",
        "Verdict",
    ]
    return table(headings, rows)


def _cells(differences: Differences, verdict: str) -> list[str]:
    interval = differences.interval
    mean = signed(differences.mean, 2)
    if interval is not None:
        mean += f" [{signed(interval[0], 2)}, {signed(interval[1], 2)}]"
    p = differences.p
    return [mean, p_value(p).removeprefix("= "), verdict]


def _warnings(learned: Sequence[Learned]) -> list[str]:
    texts = []
    if len(learned) > 1:
        texts.append(
            "The last row takes the pairs of all methods together as if they were of one kind. "
            "They are not: methods differ in how much chance moves them, and share training "
            "samples and test examples; it says something of the engine on the whole, nothing of "
            "any one method."
        )
    flat = [escape(one.method.name) for one in learned if one.flat]
    if flat:
        texts.append(
            f"With {listed(flat)} an engine is less than a point clear of what the most frequent "
            "label gets, two standard errors of the test set allowed for, so that being alike says "
            "nothing."
        )
    return [" ".join(texts)] if texts else []


def draw_learning(learned: Sequence[Learned]) -> Plot | None:
    """Draw the paired differences, a dot a seed, with the interval of their mean."""
    if not learned:
        return None
    rows: list[tuple[str, Differences, str]] = []
    look = looks([one.method.slug for one in learned])
    for one in learned:
        rows.append((plain(one.method.name), one.differences, look[one.method.slug].colour))
    if len(learned) > 1:
        rows.append(("All", pooled(learned), "#444444"))
    figure = new_figure(0.55 * len(rows) + 1.4)
    axes = figure.subplots()
    axes.axvspan(-MARGIN_POINTS, MARGIN_POINTS, color="#eef3e8", zorder=0)
    axes.axvline(0, color="#444444", linewidth=1, linestyle="--")
    for row, (_, differences, colour) in enumerate(rows):
        points = differences.points
        axes.plot(points, [row + 0.16] * len(points), "o", color=colour, alpha=0.55, markersize=5)
        interval = differences.interval
        if interval is not None:
            axes.plot(interval, [row - 0.16] * 2, color=colour, linewidth=2.5)
        axes.plot(differences.mean, row - 0.16, "D", color=colour, markersize=7)
    axes.set_yticks(range(len(rows)), [name for name, _, _ in rows])
    axes.set_ylim(len(rows) - 0.4, -0.6)
    axes.set_xlabel("accuracy of the engine less Trainer's (points)")
    axes.grid(axis="x")
    names = listed([escape(one.method.name) for one in learned])
    return Plot(
        name=LEARNING,
        caption="Accuracy of the engine less Trainer's: a dot a seed, above it the mean with its "
        f"{100 * CONFIDENCE:.0f}% interval; the band is ±{MARGIN_POINTS:g} point.",
        alt=f"Dots of paired differences of accuracy for {names}",
        figure=figure,
    )

"""Searches for learning rates: what was tried of each method, and what fewer trials would find."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from matplotlib.ticker import MaxNLocator, NullFormatter

from peftcore.report.canvas import Plot, new_figure
from peftcore.report.markdown import escape, table
from peftcore.report.metrics import MISSING
from peftcore.report.style import looks, plain
from peftcore.report.summary import MethodSummary
from peftcore.results.records import Record
from peftcore.statistics.expecting import deviation_of_best, expected_best
from peftcore.statistics.variance import wilson
from peftcore.trials import Outcome

_COLUMNS = 4
_NAMES_IN_A_ROW = 5


@dataclass(frozen=True, kw_only=True)
class Searched:
    """What was tried of one method.

    Attributes:
        slug: the method's.
        name: what readers call it.
        tried: rate and accuracy in percent, by rate; ``None`` where a trial did not end well.
        examples: how many each accuracy is a share of.
        declared: the rate that the scenario has for it.
    """

    slug: str
    name: str
    tried: tuple[tuple[float, float | None], ...]
    examples: int
    declared: float | None

    @property
    def best(self) -> tuple[float, float] | None:
        """Rate and accuracy of the best trial; of equal ones that with the lowest rate."""
        known = [(rate, accuracy) for rate, accuracy in self.tried if accuracy is not None]
        return max(known, key=lambda one: (one[1], -one[0]), default=None)

    def at_edge(self) -> bool:
        """Return whether the best rate is the lowest or the highest that was tried."""
        rates = [rate for rate, _ in self.tried]
        return self.best is not None and self.best[0] in (min(rates), max(rates))

    def expected(self, guessing: float) -> list[float]:
        """Return the best accuracy to be expected of 1, 2, … trials, in percent.

        Args:
            guessing: what a trial that did not end well counts as.
        """
        found = self._counted(guessing)
        return [expected_best(found, trials) for trials in range(1, len(found) + 1)]

    def deviations(self, guessing: float) -> list[float]:
        """Return the standard deviation of each of those, in points."""
        found = self._counted(guessing)
        return [deviation_of_best(found, trials) for trials in range(1, len(found) + 1)]

    def _counted(self, guessing: float) -> list[float]:
        return [guessing if accuracy is None else accuracy for _, accuracy in self.tried]


def gather(
    records: Sequence[Record],
    methods: Sequence[MethodSummary],
    declared: Mapping[str, float | None],
) -> list[Searched]:
    """Return what was tried of each method, in their order.

    Args:
        records: of all searches.
        methods: those that were searched for.
        declared: by slug, the rate that the scenario has.
    """
    found = []
    for method in methods:
        mine = [record for record in records if record.method == method.slug]
        tried = sorted(
            (float(record.trial["recipe"]["learning_rate"]), accuracy_percent(record))
            for record in mine
        )
        found.append(
            Searched(
                slug=method.slug,
                name=method.name,
                tried=tuple(tried),
                examples=max(int(record.trial["task"]["test_examples"]) for record in mine),
                declared=declared.get(method.slug),
            )
        )
    return found


def accuracy_percent(record: Record) -> float | None:
    """Return the accuracy in percent; ``None`` of a trial that did not end well."""
    measured = record.measurement
    if record.outcome is not Outcome.OK or measured is None or measured.accuracy is None:
        return None
    return 100 * measured.accuracy


def searches_table(searches: Sequence[Searched]) -> str:
    """Return the table of what was found, and what was tried on the way."""
    rows = []
    for one in searches:
        best = one.best
        rows.append(
            [
                escape(one.name),
                ", ".join(
                    f"{rate:g}: {MISSING if accuracy is None else f'{accuracy:.1f}'}"
                    for rate, accuracy in one.tried
                ),
                str(len(one.tried)),
                MISSING if best is None else f"{best[0]:g}",
                MISSING if best is None else f"{best[1]:.1f}",
                MISSING if one.declared is None else f"{one.declared:g}",
            ]
        )
    headings = ["Method", "Rate: accuracy (%)", "Trials", "Best rate", "Its accuracy (%)"]
    return table([*headings, "Declared rate"], rows, text_columns=2)


def draw_rates(searches: Sequence[Searched]) -> Plot | None:
    """Draw accuracy against learning rate, a panel for each method."""
    drawn = [one for one in searches if one.best is not None]
    if not drawn:
        return None
    rows = math.ceil(len(drawn) / _COLUMNS)
    figure = new_figure(0.6 + 1.75 * rows)
    panels = figure.subplots(rows, _COLUMNS, sharey=True, squeeze=False).flatten()
    style = looks([one.slug for one in searches])
    for axes, one in zip(panels, drawn, strict=False):
        look = style[one.slug]
        known = [(rate, accuracy) for rate, accuracy in one.tried if accuracy is not None]
        bars = [error_bar(accuracy, one.examples) for _, accuracy in known]
        axes.errorbar(
            *zip(*known, strict=True),
            yerr=list(zip(*bars, strict=True)),
            marker=look.marker,
            color=look.colour,
            markersize=5,
            linewidth=1,
            capsize=2,
        )
        assert one.best is not None
        axes.plot(
            *one.best, marker="o", markersize=12, color=look.colour, fillstyle="none", clip_on=False
        )
        if one.declared is not None:
            axes.axvline(one.declared, color="#777777", linestyle=":", linewidth=1)
        failed = [rate for rate, accuracy in one.tried if accuracy is None]
        for rate in failed:
            axes.axvline(rate, color="#B00020", linestyle="--", linewidth=1)
        axes.set_xscale("log")
        axes.xaxis.set_minor_formatter(NullFormatter())
        axes.set_title(plain(one.name), fontsize=10)
        axes.grid()
    for axes in panels[len(drawn) :]:
        axes.set_visible(False)
    figure.supxlabel("Learning rate (logarithmic)", fontsize=10)
    figure.supylabel("Accuracy (%); doesn't start at 0", fontsize=10)
    return Plot(
        name="rates",
        caption="Accuracy against learning rate, on training examples that the protocol leaves "
        "unused. A ring marks the best rate, a dotted line the one that the scenario declares; a "
        "dashed line a rate at which the trial did not end well. Bars are the 95% interval of one "
        "trained model.",
        alt=f"A panel for each of {len(drawn)} methods: accuracy against learning rate",
        figure=figure,
    )


def error_bar(accuracy: float, examples: int) -> tuple[float, float]:
    """Return how far the 95% interval of one model reaches below and above, in points."""
    low, high = wilson(round(accuracy * examples / 100), examples)
    return max(accuracy - 100 * low, 0.0), max(100 * high - accuracy, 0.0)


def draw_compute(searches: Sequence[Searched], guessing: float) -> Plot | None:
    """Draw the best accuracy to be expected against the number of trials.

    Args:
        searches: those of all methods.
        guessing: accuracy in percent that a trial which did not end well counts as.
    """
    drawn = [one for one in searches if one.best is not None and len(one.tried) > 1]
    if not drawn:
        return None
    figure = new_figure(4.2 + 0.22 * math.ceil(len(drawn) / _NAMES_IN_A_ROW))
    axes = figure.subplots()
    style = looks([one.slug for one in searches])
    for one in drawn:
        look = style[one.slug]
        expected = one.expected(guessing)
        axes.plot(
            range(1, len(expected) + 1),
            expected,
            marker=look.marker,
            color=look.colour,
            linestyle=look.line,
            markersize=5,
            label=plain(one.name),
        )
        deviations = one.deviations(guessing)
        axes.fill_between(
            range(1, len(expected) + 1),
            [mean - spread for mean, spread in zip(expected, deviations, strict=True)],
            [mean + spread for mean, spread in zip(expected, deviations, strict=True)],
            color=look.colour,
            alpha=0.12,
            linewidth=0,
        )
    axes.set_xlabel("Full-length trials of the search")
    axes.set_ylabel("Expected best accuracy (%); doesn't start at 0")
    axes.xaxis.set_major_locator(MaxNLocator(integer=True))
    axes.grid()
    figure.legend(loc="outside lower center", ncols=min(len(drawn), _NAMES_IN_A_ROW), frameon=False)
    return Plot(
        name="expected_best",
        caption="The best accuracy that a search of so many trials is expected to find: the mean "
        "over all ways to have run only so many of those that were run (Dodge et al., 2019), in a "
        "band of one standard deviation over those ways. The last trials were placed where the "
        "first had done best, which a shorter search could not have known: for few trials the "
        "curve says somewhat too much. One that still rises wants more trials; a trial that did "
        "not end well counts as guessing.",
        alt="Expected best accuracy against the number of trials, a line for each method",
        figure=figure,
    )

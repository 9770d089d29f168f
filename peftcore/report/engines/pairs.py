"""The pairs: ratios of both engines' cost on the same trial.

A ratio is Trainer's figure over the engine's, of the two runs of one pair; of several pairs the
median is shown with the smallest and the largest. Nothing is averaged over methods.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from statistics import median

from peftcore.accelerations import ALL
from peftcore.report.canvas import Plot, new_figure
from peftcore.report.engines.runs import (
    COSTS,
    Cost,
    Spread,
    accelerations_of,
    engine_of,
    measured,
    not_measured,
    of_parts,
    ratios,
)
from peftcore.report.markdown import escape, listed, table
from peftcore.report.metrics import HOST_MEMORY, MISSING, STEP_TIME, TRAIN_TIME
from peftcore.report.render import image
from peftcore.report.style import looks, plain
from peftcore.report.summary import MethodSummary, by_method
from peftcore.results.records import Measurement, Record
from peftcore.trials import Engine, Part

GAINS = "engine"
"""Name of the plot."""


@dataclass(frozen=True)
class Runs:
    """All runs of one method.

    Attributes:
        summary: the method, with all its records.
        trainer: Trainer's runs, by seed.
        engine: the engine's, by seed.
        without: the engine's with one acceleration left out, by its name and by seed.
        asked: the names of the accelerations that any run was asked to have.
    """

    summary: MethodSummary
    trainer: dict[int, Measurement]
    engine: dict[int, Measurement]
    without: dict[str, dict[int, Measurement]]
    asked: tuple[str, ...] = ()

    def gain(self, cost: Cost) -> Spread:
        """Return how many times as much Trainer took, pair by pair."""
        return ratios(self.trainer, self.engine, cost)

    def cost_without(self, name: str, cost: Cost) -> Spread:
        """Return how many times as much it took without an acceleration, seed by seed."""
        return ratios(self.without.get(name, {}), self.engine, cost)

    def off(self, name: str) -> str | None:
        """Return why an acceleration was off where it was asked for, if it was."""
        told = {m.accelerations.get(name, "on") for m in self.engine.values()} - {"on"}
        return listed(sorted(told)) or None


def gather(records: Sequence[Record]) -> list[Runs]:
    """Group the records of pairs and of their ablation by method.

    A whole run has the accelerations that any of these runs has: a later release may know more.
    """
    mine = of_parts(records, Part.PAIRS, Part.ABLATION)
    every = [name for name in ALL if any(name in accelerations_of(record) for record in mine)]
    found = []
    for method in by_method(mine):
        trainer: dict[int, Measurement] = {}
        engine: dict[int, Measurement] = {}
        without: dict[str, dict[int, Measurement]] = {}
        for record in method.records:
            measurement = measured(record)
            if measurement is None:
                continue
            names = accelerations_of(record)
            missing = [name for name in every if name not in names]
            if engine_of(record) is Engine.TRAINER:
                trainer[record.seed] = measurement
            elif not missing:
                engine[record.seed] = measurement
            elif len(missing) == 1:
                without.setdefault(missing[0], {})[record.seed] = measurement
        asked = {name for record in method.records for name in accelerations_of(record)}
        found.append(Runs(method, trainer, engine, without, tuple(sorted(asked))))
    return found


def section(runs: Sequence[Runs], plots: Mapping[str, Plot]) -> list[str]:
    """Return the section as Markdown blocks."""
    if not any(run.trainer.keys() & run.engine.keys() for run in runs):
        return ["## Pairs", not_measured("pairs")]
    return [
        *(image(plots[name]) for name in (GAINS,) if name in plots),
        "## Pairs",
        "How many times as much Trainer with peft took as the engine, median of the pairs "
        "[smallest, largest]. A pair is the same trial, the same examples in the same order, run "
        "by both engines one right after the other; which goes first alternates.",
        _gain_table(runs),
        "The same in figures, medians over the pairs:",
        _figures_table(runs),
        "Wall and CPU time are of training alone; memory is the highest in it, of the whole "
        "process where nothing ran on a GPU, libraries included; on a GPU it is what torch's "
        "allocator had handed out, and what recorded steps keep reserved stands in the records. "
        "Start to trained is wall time from the start of the trial's process to the end of its "
        "training, without what compiles kernels once a machine.",
    ]


def answer(runs: Sequence[Runs]) -> str:
    """Return in a sentence how much faster and leaner the engine is, method by method."""
    wall, memory = COSTS["Wall time"], COSTS["Peak memory"]
    parts = []
    for run in runs:
        faster, leaner = run.gain(wall), run.gain(memory)
        if faster.ratios and leaner.ratios:
            parts.append(
                f"**{escape(run.summary.name)}** trains {faster.middle:.1f} times as fast in "
                f"{100 / leaner.middle:.0f}% of the memory"
            )
    if not parts:
        return "There is no pair of finished runs, so nothing can be said."
    pairs = {len(run.gain(wall).ratios) for run in runs} - {0}
    steps = {len(m.losses) for run in runs for m in run.trainer.values()}
    counted = (
        "from one interleaved pair a method"
        if pairs == {1}
        else f"medians of {_range(pairs)} interleaved pairs a method"
    )
    return (
        f"Against Trainer with peft, on the same trial: {listed(parts)} ({counted}, of "
        f"{_range(steps)} steps each)."
    )


def _range(counts: Collection[int]) -> str:
    """Return a count as text, or the smallest and the largest of several."""
    low, high = min(counts), max(counts)
    return f"{low}" if low == high else f"{low} to {high}"


def _gain_table(runs: Sequence[Runs]) -> str:
    rows = [
        [
            escape(run.summary.name),
            str(len(run.trainer.keys() & run.engine.keys())),
            *(run.gain(cost).show() for cost in COSTS.values()),
        ]
        for run in runs
    ]
    return table(["Method", "Pairs", *COSTS], rows)


def _figures_table(runs: Sequence[Runs]) -> str:
    columns = (
        ("Wall time (s)", COSTS["Wall time"], 1.0, TRAIN_TIME),
        ("Step (ms)", COSTS["Step"], 1e3, STEP_TIME),
        ("CPU time (s)", COSTS["CPU time"], 1.0, TRAIN_TIME),
        ("Peak memory (GB)", COSTS["Peak memory"], 1e-9, HOST_MEMORY),
        ("Start to trained (s)", COSTS["Start to trained"], 1.0, TRAIN_TIME),
    )
    rows = []
    for run in runs:
        paired = run.trainer.keys() & run.engine.keys()
        for name, taken in (("Trainer", run.trainer), ("peftcore", run.engine)):
            cells = [escape(run.summary.name), name]
            for _, cost, times, metric in columns:
                values = [v for seed in paired if (v := cost(taken[seed])) is not None]
                cells.append(metric.show(times * median(values)) if values else MISSING)
            rows.append(cells)
    return table(["Method", "Engine", *(c[0] for c in columns)], rows, text_columns=2)


def draw_gains(runs: Sequence[Runs]) -> Plot | None:
    """Draw each pair's ratio of wall time and of memory, a row a method."""
    panels = ("Wall time", "Peak memory")
    if not any(run.gain(COSTS[name]).ratios for run in runs for name in panels):
        return None
    figure = new_figure(0.5 * len(runs) + 1.5)
    look = looks([run.summary.slug for run in runs])
    for axes, name in zip(figure.subplots(1, 2, sharey=True), panels, strict=True):
        largest = 1.0
        for row, run in enumerate(runs):
            spread = run.gain(COSTS[name])
            if not spread.ratios:
                continue
            largest = max(largest, *spread.ratios)
            colour = look[run.summary.slug].colour
            axes.barh(row, spread.middle, height=0.6, color=colour, alpha=0.35)
            axes.plot(spread.ratios, [row] * len(spread.ratios), "o", color=colour, markersize=6)
            axes.annotate(
                f"{spread.middle:.2f}",
                (max(spread.ratios), row),
                xytext=(8, 0),
                textcoords="offset points",
                va="center",
                fontsize=9,
            )
        axes.axvline(1, color="#444444", linewidth=1, linestyle="--")
        axes.set_title(f"{name}, Trainer's over the engine's", loc="left", fontweight="bold")
        axes.set_yticks(range(len(runs)), [plain(run.summary.name) for run in runs])
        axes.set_ylim(len(runs) - 0.4, -0.6)
        axes.set_xlim(0, largest * 1.2)
        axes.set_xlabel("times as much")
        axes.grid(axis="x")
    names = listed([escape(run.summary.name) for run in runs])
    return Plot(
        name=GAINS,
        caption="How many times as much wall time and memory Trainer with peft takes as the "
        "engine: a dot a pair, the bar their median; the dashed line is where both are level.",
        alt=f"Bars of the ratios of wall time and of peak memory for {names}",
        figure=figure,
    )

"""The report of the engine against transformers' Trainer: ratios of pairs, and an ablation.

A ratio is Trainer's figure over the engine's, of the two runs of one pair; of several pairs the
median is shown with the smallest and the largest. Nothing is averaged over methods.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from statistics import median

from matplotlib.figure import Figure

from peftcore.accelerations import ACCELERATIONS, ALL, SORTED_EVALUATION
from peftcore.errors import UsageError
from peftcore.report.canvas import Plot, new_figure
from peftcore.report.figures import write_drawn
from peftcore.report.markdown import escape, listed, table
from peftcore.report.metrics import HOST_MEMORY, MISSING, STEP_TIME, TRAIN_TIME
from peftcore.report.render import FIGURES_NAME, RECORDS_NAME, REPORT_NAME, image
from peftcore.report.setup import setup_table
from peftcore.report.style import looks, plain
from peftcore.report.summary import MethodSummary, reason, summarise
from peftcore.results.records import Measurement, Record, write_records
from peftcore.trials import Engine, Outcome

Cost = Callable[[Measurement], float | None]
"""Reads one figure of a measurement; less of it is better."""

COSTS: dict[str, Cost] = {
    "Wall time": lambda m: m.train_seconds,
    "Step": lambda m: m.step_seconds,
    "CPU time": lambda m: m.train_cpu_seconds,
    "Peak memory": lambda m: m.peak_bytes,
    "Start to trained": lambda m: m.seconds_to_trained,
}
"""What the engines are compared by; the first is the headline."""


@dataclass(frozen=True)
class Spread:
    """Ratios of several pairs."""

    ratios: tuple[float, ...]

    @property
    def middle(self) -> float:
        """The median."""
        return median(self.ratios)

    def show(self) -> str:
        """Return the median with the smallest and the largest, or a dash where there is none."""
        if not self.ratios:
            return MISSING
        return f"{self.middle:.2f} [{min(self.ratios):.2f}, {max(self.ratios):.2f}]"


@dataclass(frozen=True)
class Runs:
    """All runs of one method.

    Attributes:
        summary: of the runs with every acceleration.
        trainer: Trainer's runs, by seed.
        engine: the engine's, by seed.
        without: the engine's with one acceleration left out, by its name and by seed.
    """

    summary: MethodSummary
    trainer: dict[int, Measurement]
    engine: dict[int, Measurement]
    without: dict[str, dict[int, Measurement]]

    def gain(self, cost: Cost) -> Spread:
        """Return how many times as much Trainer took, pair by pair."""
        return _ratios(self.trainer, self.engine, cost)

    def cost_without(self, name: str, cost: Cost) -> Spread:
        """Return how many times as much it took without an acceleration, seed by seed."""
        return _ratios(self.without.get(name, {}), self.engine, cost)

    def off(self, name: str) -> str | None:
        """Return why an acceleration was off where it was asked for, if it was."""
        told = {m.accelerations.get(name, "on") for m in self.engine.values()} - {"on"}
        return listed(sorted(told)) or None


def _ratios(above: dict[int, Measurement], below: dict[int, Measurement], cost: Cost) -> Spread:
    found = []
    for seed in sorted(above.keys() & below.keys()):
        numerator, denominator = cost(above[seed]), cost(below[seed])
        if numerator is not None and denominator:
            found.append(numerator / denominator)
    return Spread(tuple(found))


def gather(records: Sequence[Record]) -> list[Runs]:
    """Group the records of a comparison of the engines by method.

    Raises:
        UsageError: there is no run of the engine with all its accelerations.
    """
    whole = [r for r in records if _accelerations(r) == ALL]
    if not whole:
        raise UsageError("no record is of the engine with all its accelerations")
    found = []
    for method in summarise(whole).methods:
        mine = [r for r in records if r.method == method.slug and r.outcome is Outcome.OK]
        trainer: dict[int, Measurement] = {}
        engine: dict[int, Measurement] = {}
        without: dict[str, dict[int, Measurement]] = {}
        for record in mine:
            if record.measurement is None:
                continue
            names = _accelerations(record)
            missing = [name for name in ALL if name not in names]
            if record.trial["engine"] == Engine.TRAINER:
                trainer[record.seed] = record.measurement
            elif not missing:
                engine[record.seed] = record.measurement
            elif len(missing) == 1:
                without.setdefault(missing[0], {})[record.seed] = record.measurement
        found.append(Runs(method, trainer, engine, without))
    return found


def _accelerations(record: Record) -> tuple[str, ...]:
    return tuple(record.trial["recipe"].get("accelerations", ()))


def write_engine_report(records: Sequence[Record], folder: Path) -> Path:
    """Write the report of a comparison of the engines, and return the path of ``report.md``.

    Args:
        records: of one scenario at one size, from one environment.
        folder: where ``report.md``, ``records.jsonl`` and ``figures/`` go; made if need be.

    Raises:
        UsageError: the records hold no such comparison.
    """
    runs = gather(records)
    folder.mkdir(parents=True, exist_ok=True)
    write_records(folder / RECORDS_NAME, sorted(records, key=_order))
    drawings = (partial(draw, runs) for draw in (_gains, _ablation_plot))
    plots = write_drawn(drawings, folder / FIGURES_NAME)
    report = folder / REPORT_NAME
    report.write_text(compose(records, runs, plots), encoding="utf-8", newline="\n")
    return report


def _order(record: Record) -> tuple[str, int, str, tuple[str, ...]]:
    return record.method, record.seed, str(record.trial["engine"]), _accelerations(record)


def compose(records: Sequence[Record], runs: Sequence[Runs], plots: Sequence[Plot]) -> str:
    """Return the report as Markdown."""
    whole = summarise([r for r in records if _accelerations(r) == ALL])
    failed = [r for r in records if r.outcome is not Outcome.OK]
    blocks = [
        "# peftcore's engine against transformers' Trainer",
        _answer(runs),
        *map(image, plots[:1]),
        "## Pairs",
        "How many times as much Trainer with peft took as the engine, median of the pairs "
        "[smallest, largest]. A pair is the same trial, the same examples in the same order, run "
        "by both engines one right after the other; which goes first alternates.",
        _gain_table(runs),
        "The same in figures, medians over the pairs:",
        _figures_table(runs),
        "Wall and CPU time are of training alone; memory is the highest in it, of the whole "
        "process where nothing ran on a GPU, libraries included. Start to trained is wall time "
        "from the start of the trial's process to the end of its training.",
    ]
    taken_apart = [run for run in runs if run.without]
    if taken_apart:
        blocks += [
            "## What each acceleration is worth",
            "How many times as much it takes with one left out and all others on: wall time of a "
            "median step, and peak memory. Gains overlap, so they don't multiply up to the whole.",
            _ablation_table(taken_apart, COSTS["Step"]),
            "Peak memory:",
            _ablation_table(taken_apart, COSTS["Peak memory"]),
            *_evaluation_without_sorting(runs),
            *map(image, plots[1:]),
        ]
    blocks += [
        "## What each acceleration does",
        table(
            ["Acceleration", "What it does", "What it changes in the numbers"],
            [[a.name, escape(a.summary), escape(a.numerics)] for a in ACCELERATIONS],
            text_columns=3,
        ),
    ]
    off = [
        f"Off with {escape(run.summary.name)}: {name} ({escape(why)})."
        for run in runs
        for name in ALL
        if (why := run.off(name)) is not None
    ]
    blocks += [" ".join(off)] if off else []
    if failed:
        rows = [
            [escape(r.method), str(r.seed), str(r.trial["engine"]), escape(reason(r))]
            for r in failed
        ]
        blocks += [
            "## Trials without a result",
            table(["Method", "Seed", "Engine", "Outcome"], rows, text_columns=4),
        ]
    blocks += [
        "## Setup",
        setup_table(whole),
        f"Every number here is computed from [{RECORDS_NAME}]({RECORDS_NAME}), one line a trial.",
    ]
    return "\n\n".join(blocks) + "\n"


def _answer(runs: Sequence[Runs]) -> str:
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
    return (
        f"Against Trainer with peft, on the same trial: {listed(parts)} (medians of "
        f"{_range(pairs)} interleaved pairs a method, of {_range(steps)} steps each)."
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
        for name, measured in (("Trainer", run.trainer), ("peftcore", run.engine)):
            cells = [escape(run.summary.name), name]
            for _, cost, times, metric in columns:
                values = [v for seed in paired if (v := cost(measured[seed])) is not None]
                cells.append(metric.show(times * median(values)) if values else MISSING)
            rows.append(cells)
    return table(["Method", "Engine", *(c[0] for c in columns)], rows, text_columns=2)


def _ablation_table(runs: Sequence[Runs], cost: Cost) -> str:
    rows = [
        [name, *(run.cost_without(name, cost).show() for run in runs)] for name in _of_steps(runs)
    ]
    return table(["Left out", *(escape(run.summary.name) for run in runs)], rows)


def _of_steps(runs: Sequence[Runs]) -> list[str]:
    """Return which accelerations of training steps were left out in turn."""
    return [
        name
        for name in ALL
        if name != SORTED_EVALUATION.name and any(name in run.without for run in runs)
    ]


def _evaluation_without_sorting(runs: Sequence[Runs]) -> list[str]:
    """Return a sentence on the acceleration that no training step can show."""
    spreads = [
        f"{run.cost_without(SORTED_EVALUATION.name, lambda m: m.eval_seconds).show()} "
        f"({escape(run.summary.name)})"
        for run in runs
        if SORTED_EVALUATION.name in run.without
    ]
    if not spreads:
        return []
    return [
        f"An evaluation without {SORTED_EVALUATION.name} takes {listed(spreads)} times as long."
    ]


def _gains(runs: Sequence[Runs]) -> Plot | None:
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
        name="engine",
        caption="How many times as much wall time and memory Trainer with peft takes as the "
        "engine: a dot a pair, the bar their median; the dashed line is where both are level.",
        alt=f"Bars of the ratios of wall time and of peak memory for {names}",
        figure=figure,
    )


def _ablation_plot(runs: Sequence[Runs]) -> Plot | None:
    """Draw what a step takes with each acceleration left out, relative to all on."""
    runs = [run for run in runs if run.without]
    names = _of_steps(runs)
    if not names:
        return None
    figure: Figure = new_figure(0.5 * len(names) + 1.6)
    axes = figure.subplots()
    look = looks([run.summary.slug for run in runs])
    height = 0.8 / len(runs)
    for number, run in enumerate(runs):
        for row, name in enumerate(names):
            spread = run.cost_without(name, COSTS["Step"])
            if not spread.ratios:
                continue
            mine = look[run.summary.slug]
            where = row + (number - (len(runs) - 1) / 2) * height
            axes.barh(
                where,
                spread.middle - 1,
                left=1,
                height=0.85 * height,
                color=mine.colour,
                hatch=mine.hatch,
                edgecolor="white",
                linewidth=0,
                label=plain(run.summary.name) if row == 0 else None,
            )
            ends = [[spread.middle - min(spread.ratios)], [max(spread.ratios) - spread.middle]]
            axes.errorbar(spread.middle, where, xerr=ends, color="0.3", capsize=2, linewidth=1)
    axes.axvline(1, color="#444444", linewidth=1, linestyle="--")
    axes.set_yticks(range(len(names)), names)
    axes.set_ylim(len(names) - 0.5, -0.5)
    axes.set_xlabel("median step with it left out, relative to all on")
    axes.grid(axis="x")
    figure.legend(loc="outside lower center", ncols=min(len(runs), 6), frameon=False)
    return Plot(
        name="ablation",
        caption="What a training step takes with one acceleration left out, relative to all on; "
        "bars are medians over seeds, whiskers go from the smallest to the largest.",
        alt=f"Bars of relative step time for each of {len(names)} accelerations left out",
        figure=figure,
    )

"""Growth: how step time and memory grow with length, batch size and the share that is trained."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from statistics import median

from matplotlib.artist import Artist
from matplotlib.axes import Axes
from matplotlib.ticker import NullLocator

from peftcore.report.canvas import Plot, new_figure
from peftcore.report.engines.runs import (
    COLOURS,
    COSTS,
    LINES,
    NAMES,
    Cost,
    Spread,
    engine_of,
    measured,
    not_measured,
    of_parts,
    ratios,
)
from peftcore.report.markdown import escape, listed, table
from peftcore.report.metrics import MISSING
from peftcore.report.render import image
from peftcore.report.style import looks, plain
from peftcore.report.summary import MethodSummary, by_method
from peftcore.results.records import Measurement, Record
from peftcore.trials import Engine, Part

GROWTH = "growth"
"""Name of the plot."""


@dataclass(frozen=True)
class Cell:
    """All runs of one method at one size.

    Attributes:
        method: the method.
        length: the longest text, in tokens.
        batch: the batch size.
        runs: of each engine, by seed.
    """

    method: MethodSummary
    length: int
    batch: int
    runs: Mapping[Engine, Mapping[int, Measurement]]

    def paired(self, engine: Engine, cost: Cost) -> list[float]:
        """Return what it came to with each of the seeds that both engines ran."""
        seeds = self.runs[Engine.TRAINER].keys() & self.runs[Engine.PEFTCORE].keys()
        values = [cost(self.runs[engine][seed]) for seed in sorted(seeds)]
        return [value for value in values if value is not None]

    def middle(self, engine: Engine, cost: Cost) -> float | None:
        """Return the median over the seeds that both engines ran."""
        known = self.paired(engine, cost)
        return median(known) if known else None

    def gain(self, cost: Cost) -> Spread:
        """Return how many times as much Trainer took, pair by pair."""
        return ratios(self.runs[Engine.TRAINER], self.runs[Engine.PEFTCORE], cost)

    @property
    def parameters(self) -> tuple[int, int] | None:
        """How many parameters are trained, and how many there are."""
        for runs in self.runs.values():
            for m in runs.values():
                if m.trainable_parameters is not None and m.total_parameters:
                    return m.trainable_parameters, m.total_parameters
        return None

    @property
    def tokens(self) -> float | None:
        """Tokens of a text, padding left out: the mean over all runs."""
        found = [
            m.train_tokens / (len(m.losses) * self.batch)
            for runs in self.runs.values()
            for m in runs.values()
            if m.train_tokens and m.losses
        ]
        return sum(found) / len(found) if found else None


@dataclass(frozen=True)
class Sweep:
    """One way to grow.

    Attributes:
        part: which.
        name: what grows, in tables and plots.
        unit: of the size, in plots.
        size: reads from a cell how far it has grown; ``None`` of shares, where a cell is a method.
    """

    part: Part
    name: str
    unit: str = ""
    size: Callable[[Cell], int] | None = None

    @property
    def title(self) -> str:
        """The name with its unit."""
        return f"{self.name} ({self.unit})" if self.unit else self.name


SWEEPS = (
    Sweep(Part.LENGTH, "Longest text", "tokens", lambda cell: cell.length),
    Sweep(Part.BATCH, "Batch size", "", lambda cell: cell.batch),
    Sweep(Part.SHARE, "Trained share"),
)


def gather(records: Sequence[Record], part: Part) -> list[Cell]:
    """Return the cells of one sweep: method by method, from small to large.

    Of shares, which are a method each, from the smallest share to the largest.
    """
    found = []
    for method in by_method(of_parts(records, part)):
        sizes: dict[tuple[int, int], dict[Engine, dict[int, Measurement]]] = {}
        for record in method.records:
            measurement = measured(record)
            size = (record.trial["task"]["max_length"], record.trial["recipe"]["batch_size"])
            runs = sizes.setdefault(size, {engine: {} for engine in Engine})
            if measurement is not None:
                runs[engine_of(record)][record.seed] = measurement
        found += [Cell(method, *size, runs=sizes[size]) for size in sorted(sizes)]
    if part is Part.SHARE:
        found.sort(key=lambda cell: cell.parameters or (0, 0))
    return found


def section(records: Sequence[Record], plots: Mapping[str, Plot]) -> list[str]:
    """Return the section as Markdown blocks."""
    cells = {sweep: gather(records, sweep.part) for sweep in SWEEPS}
    heading = "## How time and memory grow"
    if not any(cells.values()):
        return [heading, not_measured("growth")]
    steps = {
        len(m.losses)
        for found in cells.values()
        for cell in found
        for runs in cell.runs.values()
        for m in runs.values()
    }
    missing = [sweep for sweep, found in cells.items() if not found]
    return [
        heading,
        "Median step and peak memory of both engines, each cell "
        f"{listed([str(count) for count in sorted(steps)])} steps a run, of which the first five "
        "don't count; medians over the pairs, and Trainer's over the engine's pair by pair "
        "[smallest, largest]. Tokens are those of a text, padding left out: most texts are shorter "
        "than the longest. Memory is of the whole process where nothing ran on a GPU, so that the "
        "libraries' own share stands in every row.",
        _table(cells),
        " ".join(
            sentence for sweep, found in cells.items() for sentence in _sentences(sweep, found)
        ),
        *(image(plots[name]) for name in (GROWTH,) if name in plots),
        *(f"{sweep.name}: {not_measured(sweep.part)}" for sweep in missing),
    ]


def _table(cells: Mapping[Sweep, Sequence[Cell]]) -> str:
    rows = []
    for sweep, found in cells.items():
        for cell in found:
            numbers = [
                _show(cell.middle(engine, COSTS[name]), times, digits)
                for name, times, digits in (("Step", 1e3, 1), ("Peak memory", 1e-9, 3))
                for engine in (Engine.TRAINER, Engine.PEFTCORE)
            ]
            parameters = cell.parameters
            rows.append(
                [
                    sweep.name,
                    escape(cell.method.name),
                    str(cell.length),
                    str(cell.batch),
                    _show(cell.tokens, 1.0, 0),
                    f"{parameters[0]:,}" if parameters else MISSING,
                    *numbers[:2],
                    cell.gain(COSTS["Step"]).show(),
                    *numbers[2:],
                    cell.gain(COSTS["Peak memory"]).show(),
                ]
            )
    headings = [
        "What grows",
        "Method",
        "Longest text",
        "Batch",
        "Tokens",
        "Trained",
        "Step, Trainer (ms)",
        "Step, peftcore (ms)",
        "Ratio",
        "Memory, Trainer (GB)",
        "Memory, peftcore (GB)",
        "Ratio",
    ]
    return table(headings, rows, text_columns=2)


def _show(number: float | None, times: float, digits: int) -> str:
    return MISSING if number is None else f"{times * number:,.{digits}f}"


def _sentences(sweep: Sweep, cells: Sequence[Cell]) -> list[str]:
    """Return, method by method, how many times as much the largest cell takes as the smallest."""
    found = []
    for group in _lines(sweep, cells):
        first, last = group[0], group[-1]
        grown = []
        for noun, cost in (("step", COSTS["Step"]), ("memory", COSTS["Peak memory"])):
            by_engine = []
            for engine in (Engine.TRAINER, Engine.PEFTCORE):
                low, high = first.middle(engine, cost), last.middle(engine, cost)
                if low and high:
                    by_engine.append(f"{high / low:.1f} times with {NAMES[engine]}")
            if len(by_engine) == 2:
                grown.append(f"the {noun} grows {listed(by_engine)}")
        if len(group) > 1 and grown:
            name, other = escape(first.method.name), escape(last.method.name)
            ends = f"from {name} to {other}"
            if sweep.size is not None:
                ends = f"of {name} from {sweep.size(first)} to {sweep.size(last)}"
            found.append(f"{sweep.name} {ends}: {'; '.join(grown)}.")
    return found


def _lines(sweep: Sweep, cells: Sequence[Cell]) -> list[list[Cell]]:
    """Return the cells that a line joins: a method's, or, of shares, all."""
    if sweep.size is None:
        return [list(cells)] if cells else []
    lines: dict[str, list[Cell]] = {}
    for cell in cells:
        lines.setdefault(cell.method.slug, []).append(cell)
    return list(lines.values())


def draw_growth(records: Sequence[Record]) -> Plot | None:
    """Draw step time and peak memory over what grows: a column a sweep, a line an engine."""
    drawn = [(sweep, gather(records, sweep.part)) for sweep in SWEEPS]
    drawn = [(sweep, cells) for sweep, cells in drawn if any(map(_has_pair, cells))]
    if not drawn:
        return None
    figure = new_figure(5.6)
    panels = figure.subplots(2, len(drawn), squeeze=False, sharex="col")
    rows: tuple[tuple[str, str, float], ...] = (
        ("Step", "median step (ms)", 1e3),
        ("Peak memory", "peak memory (GB)", 1e-9),
    )
    for column, (sweep, cells) in enumerate(drawn):
        for row, (cost, label, times) in enumerate(rows):
            axes = panels[row][column]
            _draw_lines(axes, sweep, cells, COSTS[cost], times)
            axes.set_ylim(bottom=0)
            axes.grid(axis="y")
            if column == 0:
                axes.set_ylabel(label)
        panels[0][column].set_title(sweep.title, loc="left", fontweight="bold")
        _scale(panels[1][column], sweep, cells)
    handles: dict[str, Artist] = {}
    for axes in panels.flat:
        for handle, text in zip(*axes.get_legend_handles_labels(), strict=True):
            handles.setdefault(text, handle)
    figure.legend(
        list(handles.values()),
        list(handles),
        loc="outside lower center",
        ncols=min(len(handles), 4),
        frameon=False,
    )
    what = listed([sweep.name.lower() for sweep, _ in drawn])
    return Plot(
        name=GROWTH,
        caption=f"Median step and peak memory by {what}; medians over the pairs, with bars from "
        "the smallest to the largest. Sizes are on logarithmic axes, time and memory are not; "
        "shares, a method each, stand side by side.",
        alt=f"Lines of step time and of peak memory of both engines by {what}",
        figure=figure,
    )


def _has_pair(cell: Cell) -> bool:
    return any(cell.gain(COSTS[name]).ratios for name in ("Step", "Peak memory"))


def _draw_lines(axes: Axes, sweep: Sweep, cells: Sequence[Cell], cost: Cost, times: float) -> None:
    """Draw a line an engine and method; of shares, where a method is a point, one an engine."""
    look = looks(list(dict.fromkeys(cell.method.slug for cell in cells)))
    for line in _lines(sweep, cells):
        method = line[0].method
        marker = "." if sweep.size is None else look[method.slug].marker
        places = range(len(line)) if sweep.size is None else [sweep.size(cell) for cell in line]
        for engine in (Engine.TRAINER, Engine.PEFTCORE):
            runs = [[times * value for value in cell.paired(engine, cost)] for cell in line]
            known = [(x, values) for x, values in zip(places, runs, strict=True) if values]
            middles = [median(values) for _, values in known]
            axes.errorbar(
                [x for x, _ in known],
                middles,
                yerr=[
                    [y - min(values) for y, (_, values) in zip(middles, known, strict=True)],
                    [max(values) - y for y, (_, values) in zip(middles, known, strict=True)],
                ],
                capsize=3,
                color=COLOURS[engine],
                linestyle=LINES[engine],
                marker=marker,
                markersize=9 if marker == "." else 6,
                label=NAMES[engine]
                if sweep.size is None
                else f"{NAMES[engine]}, {plain(method.name)}",
            )


def _scale(axes: Axes, sweep: Sweep, cells: Sequence[Cell]) -> None:
    """Put a tick at each cell: on a logarithmic axis, or, of shares, one beside the other."""
    if sweep.size is None:
        shares = [f"{100 * p[0] / p[1]:.3g}%" if (p := c.parameters) else "" for c in cells]
        names = [f"{plain(c.method.name)} {share}" for c, share in zip(cells, shares, strict=True)]
        axes.set_xticks(range(len(cells)), names, rotation=40, ha="right", fontsize=8.5)
        return
    axes.set_xscale("log")
    sizes = sorted({sweep.size(cell) for cell in cells})
    axes.set_xticks(sizes, [str(size) for size in sizes])
    axes.xaxis.set_minor_locator(NullLocator())

"""The ablation: what a step costs with each acceleration left out in turn."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from matplotlib.figure import Figure

from peftcore.accelerations import (
    ACCELERATIONS,
    ALL,
    BF16_GRADIENTS,
    CHEAP_DROPOUT,
    COMPILED_KERNELS,
    FIRST_TOKEN,
    FUSED_UPDATE,
    PADDING_FREE,
    SORTED_EVALUATION,
    STEP_GRAPH,
)
from peftcore.report.canvas import Plot, new_figure
from peftcore.report.engines.pairs import Runs
from peftcore.report.engines.runs import COSTS, Cost, not_measured
from peftcore.report.markdown import escape, listed, table
from peftcore.report.metrics import MISSING
from peftcore.report.render import image
from peftcore.report.style import looks, plain

ABLATION = "ablation"
"""Name of the plot."""


def section(runs: Sequence[Runs], plots: Mapping[str, Plot]) -> list[str]:
    """Return the section as Markdown blocks."""
    taken_apart = [run for run in runs if run.without]
    heading = "## What each acceleration is worth"
    if not taken_apart:
        return [heading, not_measured("ablation"), *_what_each_does(runs)]
    return [
        heading,
        "How many times as much it takes with one left out: wall time of a median step, and peak "
        "memory. What needs the one that is left out goes with it: on a processor compiled "
        f"attention and normalisation with {CHEAP_DROPOUT.name} where there is dropout, "
        f"{BF16_GRADIENTS.name} with {COMPILED_KERNELS.name} or {FUSED_UPDATE.name}; on a GPU "
        f"{FIRST_TOKEN.name} and {STEP_GRAPH.name} with {PADDING_FREE.name}. Gains overlap, so "
        "they don't multiply up to the whole.",
        _ablation_table(taken_apart, COSTS["Step"]),
        "Peak memory:",
        _ablation_table(taken_apart, COSTS["Peak memory"]),
        *_evaluation_without_sorting(runs),
        *(image(plots[name]) for name in (ABLATION,) if name in plots),
        *_what_each_does(runs),
    ]


def _what_each_does(runs: Sequence[Runs]) -> list[str]:
    """Return what the accelerations are that the runs had; where there is no run, all there are."""
    # A release may know more of them than the one that ran.
    known = {name for run in runs for name in run.asked} or set(ALL)
    return [
        "## What each acceleration does",
        table(
            ["Acceleration", "What it does", "What it changes in the numbers", "Off here"],
            [
                [a.name, escape(a.summary), escape(a.numerics), _off(runs, a.name)]
                for a in ACCELERATIONS
                if a.name in known
            ],
            text_columns=4,
        ),
    ]


def _off(runs: Sequence[Runs], name: str) -> str:
    """Return with which methods an acceleration was off, and why; a dash where nothing ran."""
    if not any(run.engine for run in runs):
        return MISSING
    methods: dict[str, list[str]] = {}
    for run in runs:
        why = run.off(name)
        if why is not None:
            methods.setdefault(why, []).append(escape(run.summary.name))
    return "; ".join(f"with {listed(names)}: {escape(why)}" for why, names in methods.items())


def _ablation_table(runs: Sequence[Runs], cost: Cost) -> str:
    rows = [
        [
            name,
            *(
                run.cost_without(name, cost).show() if run.off(name) is None else MISSING
                for run in runs
            ),
        ]
        for name in _of_steps(runs)
    ]
    return table(["Left out", *(escape(run.summary.name) for run in runs)], rows)


def _of_steps(runs: Sequence[Runs]) -> list[str]:
    """Return which accelerations of training steps were left out in turn where they were on."""
    return [
        name
        for name in ALL
        if name != SORTED_EVALUATION.name
        and any(name in run.without and run.off(name) is None for run in runs)
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


def draw_ablation(runs: Sequence[Runs]) -> Plot | None:
    """Draw what a step takes with each acceleration left out, relative to all on."""
    runs = [run for run in runs if run.without]
    names = _of_steps(runs)
    if not names:
        return None
    figure: Figure = new_figure(0.5 * len(names) + 1.6)
    axes = figure.subplots()
    look = looks([run.summary.slug for run in runs])
    height = 0.8 / len(runs)
    labelled = set()
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
                label=None if number in labelled else plain(run.summary.name),
            )
            labelled.add(number)
            ends = [[spread.middle - min(spread.ratios)], [max(spread.ratios) - spread.middle]]
            axes.errorbar(spread.middle, where, xerr=ends, color="0.3", capsize=2, linewidth=1)
    axes.axvline(1, color="#444444", linewidth=1, linestyle="--")
    axes.set_yticks(range(len(names)), names)
    axes.set_ylim(len(names) - 0.5, -0.5)
    axes.set_xlabel("median step with it left out, relative to all on")
    axes.grid(axis="x")
    figure.legend(loc="outside lower center", ncols=min(len(runs), 6), frameon=False)
    return Plot(
        name=ABLATION,
        caption="What a training step takes with one acceleration left out, relative to all on; "
        "bars are medians over seeds, whiskers go from the smallest to the largest.",
        alt=f"Bars of relative step time for each of {len(names)} accelerations left out",
        figure=figure,
    )

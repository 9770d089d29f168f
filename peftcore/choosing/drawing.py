"""The figure of a race: accuracy against training examples, a line an arm."""

from __future__ import annotations

from matplotlib.ticker import FixedLocator, NullFormatter, StrMethodFormatter

from peftcore.choosing.arms import Arm, End, Run
from peftcore.choosing.choice import Choice
from peftcore.choosing.deciding import last_run
from peftcore.report.canvas import Plot, new_figure
from peftcore.report.markdown import escape
from peftcore.report.searches import error_bar
from peftcore.report.style import looks, plain

FIGURE = "race"


def draw_race(choice: Choice) -> Plot:
    """Draw how the arms went on from rung to rung, and where each ended."""
    race, decision = choice.race, choice.decision
    ran = [arm for arm in race.arms if any(_ended_well(run, arm) for run in race.runs)]
    style = looks([arm.method.slug for arm in race.arms])
    figure = new_figure(4.8)
    axes = figure.subplots()
    named: set[str] = set()
    for arm in ran:
        look = style[arm.method.slug]
        points = _points(race.runs, arm)
        chosen = arm == decision.chosen
        compared = chosen or (decision.runner_up is not None and arm == decision.runner_up[0])
        label = None if arm.method.slug in named else plain(arm.method.name)
        named.add(arm.method.slug)
        axes.errorbar(
            [size for size, _ in points],
            [accuracy for _, accuracy in points],
            # Of all, they would hide one another.
            yerr=_bars(race.runs, arm, points) if compared else None,
            capsize=3,
            elinewidth=1,
            color=look.colour,
            marker=look.marker,
            linestyle=look.line,
            linewidth=2.4 if chosen else 1.1,
            markersize=5,
            label=label,
            zorder=3 if chosen else 2,
        )
        fate = race.fates.get(arm.key)
        if fate is not None and fate.end in (End.BEHIND, End.MEMORY, End.FAILED):
            axes.plot(*points[-1], marker="x", markersize=11, color="#B00020", zorder=4)
        if chosen:
            axes.plot(
                *points[-1], marker="o", markersize=14, fillstyle="none", color="black", zorder=5
            )
    for reference, line in zip(decision.references, ("--", ":"), strict=False):
        accuracy = reference.run.accuracy
        if accuracy is not None:
            axes.axhline(
                100 * accuracy,
                color="#777777",
                linestyle=line,
                linewidth=1.2,
                zorder=1,
                label=plain(reference.run.arm.method.name),
            )
    sizes = sorted({run.examples for run in race.runs})
    axes.set_xscale("log", base=2)
    axes.xaxis.set_major_locator(FixedLocator(sizes))
    axes.xaxis.set_major_formatter(StrMethodFormatter("{x:,.0f}"))
    axes.xaxis.set_minor_formatter(NullFormatter())
    axes.set_xlabel("Training examples (logarithmic)")
    axes.set_ylabel("Validation accuracy (%); doesn't start at 0")
    axes.grid()
    axes.legend(fontsize=9, loc="center left", bbox_to_anchor=(1.0, 0.5))
    name = escape(decision.chosen.words)
    return Plot(
        name=FIGURE,
        caption=f"Each line is a method with one learning rate, trained anew on each part. A ring "
        f"marks what was chosen, {name}; a red cross an arm that was dropped or failed. Other "
        "lines that end before the last part were left for want of time. Bars, of what was chosen "
        "and of the runner-up, are the 95% interval of one trained model on other examples.",
        alt=f"Validation accuracy against training examples; {name} is chosen at "
        f"{100 * (last_run(race, decision.chosen).accuracy or 0):.1f}%",
        figure=figure,
    )


def _ended_well(run: Run, arm: Arm) -> bool:
    return run.arm == arm and run.right is not None


def _bars(
    runs: list[Run], arm: Arm, points: list[tuple[int, float]]
) -> tuple[list[float], list[float]]:
    """Return how far the intervals of an arm's points reach below and above, in points."""
    # All arms are asked the same examples.
    asked = next(len(run.right) for run in runs if run.arm == arm and run.right is not None)
    below, above = zip(*(error_bar(accuracy, asked) for _, accuracy in points), strict=True)
    return list(below), list(above)


def _points(runs: list[Run], arm: Arm) -> list[tuple[int, float]]:
    """Return an arm's sizes with its mean accuracy over seeds, in percent."""
    mine = [run for run in runs if _ended_well(run, arm)]
    points = []
    for size in sorted({run.examples for run in mine}):
        found = [run.accuracy or 0.0 for run in mine if run.examples == size]
        points.append((size, 100 * sum(found) / len(found)))
    return points

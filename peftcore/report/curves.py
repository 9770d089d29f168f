"""The learning curves: loss by step and accuracy by epoch."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np
from matplotlib.axes import Axes
from matplotlib.ticker import MaxNLocator

from peftcore.report.canvas import Plot, draw_bag_of_words, looks_of, new_figure
from peftcore.report.metrics import ACCURACY
from peftcore.report.style import plain
from peftcore.report.summary import (
    BAG_OF_WORDS,
    BASELINE,
    MANY,
    MethodSummary,
    Summary,
    method_names,
)
from peftcore.statistics.variance import wilson

MOST_CURVES = 10
"""Of very many methods so many are drawn, beside those that are always looked for."""


def learning_curves(summary: Summary) -> Plot | None:
    """Draw the learning curves; nothing where no trial kept its losses."""
    with_losses = [method for method in summary.candidates if losses_of(method).mean]
    with_losses += [method for method in summary.references if losses_of(method).mean]
    if not with_losses:
        return None
    kept = _readable(with_losses)
    left_out = [method for method in with_losses if method not in kept]
    with_accuracy = [
        method
        for method in summary.methods
        if method not in left_out and epochs_of(summary, method).mean
    ]
    columns = 2 if with_accuracy else 1
    figure = new_figure(4.2 + 0.25 * (len(kept) // 6))
    figure.set_layout_engine("constrained", wspace=0.05)
    panels = figure.subplots(1, columns, squeeze=False)[0]
    style = looks_of(summary)
    for method in kept:
        curve = losses_of(method)
        steps, losses = list(curve.mean), list(curve.mean.values())
        look = style[method.slug]
        if curve.several:
            low, high = list(curve.low.values()), list(curve.high.values())
            panels[0].fill_between(steps, low, high, color=look.colour, alpha=0.18, linewidth=0)
        panels[0].plot(
            steps,
            losses,
            color=look.colour,
            linestyle=look.line,
            linewidth=1.8,
            marker=look.marker,
            markersize=6,
            markevery=max(len(steps) // 5, 1),
            label=plain(method.name),
        )
    panels[0].set_title("Training loss, smoothed", loc="left", fontweight="bold")
    panels[0].set_xlabel("step")
    panels[0].set_ylabel("cross-entropy (nats)")
    panels[0].set_ylim(bottom=0)
    panels[0].grid(axis="y")
    if with_accuracy:
        _accuracy_curves(panels[1], summary, with_accuracy)
    figure.legend(
        *panels[0].get_legend_handles_labels(),
        loc="outside lower center",
        ncols=min(len(kept), 6),
        frameon=False,
    )
    names = method_names(kept)
    caption = caption_of(summary, spread="bands and bars", of_one="error bars")
    if left_out:
        caption += (
            f" Of {len(with_losses)} methods these are Full, the reference rows and those with the "
            "highest accuracies; the report's page shows all."
        )
    return Plot(
        name="learning_curves",
        caption=caption,
        alt=f"Line plots of training loss{' and accuracy' if with_accuracy else ''} for {names}",
        figure=figure,
    )


def _readable(methods: Sequence[MethodSummary]) -> Sequence[MethodSummary]:
    """Return these methods, of very many those that a reader looks for."""
    if len(methods) <= MANY:
        return methods
    measured = [method for method in methods if method.mean(ACCURACY) is not None]
    best = sorted(measured, key=lambda method: -(method.mean(ACCURACY) or 0.0))[:MOST_CURVES]
    always = {BASELINE, *(method.slug for method in methods if method.reference)}
    return [method for method in methods if method in best or method.slug in always]


def caption_of(summary: Summary, *, spread: str, of_one: str) -> str:
    """Return what learning curves show, and of how many seeds, wherever they are drawn.

    Args:
        summary: whose curves.
        spread: what shows how far seeds are apart.
        of_one: what shows how sure the accuracy of a single seed is.
    """
    accuracies = [epochs_of(summary, method) for method in summary.methods]
    single = [curve for curve in accuracies if curve.mean and not curve.several]
    caption = "Training loss by step (running mean over a twentieth of the steps)"
    if any(curve.mean for curve in accuracies):
        recipes = [record.trial.get("recipe") or {} for record in summary.records]
        ended = any(recipe.get("evaluation") == "end" for recipe in recipes)
        when = "at the end of training" if ended else "after each epoch"
        caption += f" and accuracy on the test set {when}, whose axis doesn't start at zero"
    if summary.several_seeds:
        caption += (
            f"; means over the seeds that finished, with {spread} from the lowest to the highest "
            "of them"
        )
        if single:
            caption += " (where one seed alone finished, for the 95% interval of its model)"
    elif single:
        caption += (
            f"; of accuracy with {of_one} for the 95% interval of one trained model on texts like "
            "these, and of other seeds one seed says nothing"
        )
    return f"{caption}."


def _accuracy_curves(axes: Axes, summary: Summary, methods: Sequence[MethodSummary]) -> None:
    style = looks_of(summary)
    for number, method in enumerate(methods):
        curve = epochs_of(summary, method)
        look = style[method.slug]
        centre, low, high = (
            100 * np.array(list(side.values())) for side in (curve.mean, curve.low, curve.high)
        )
        # Side by side, or the bars of methods that end alike would hide one another.
        shift = 0.035 * (number - (len(methods) - 1) / 2)
        axes.errorbar(
            [epoch + shift for epoch in curve.mean],
            centre,
            # Not below zero, where rounding would put the mean of equal seeds.
            yerr=np.maximum([centre - low, high - centre], 0),
            color=look.colour,
            linestyle=look.line,
            linewidth=1.8,
            elinewidth=1.2,
            capsize=2,
            marker=look.marker,
            markersize=7,
        )
    # Named below the axis: within it, there is always a line or an error bar in the way.
    draw_bag_of_words(axes, summary, named=False)
    bag_of_words = summary.find(BAG_OF_WORDS)
    accuracy = bag_of_words.mean(ACCURACY) if bag_of_words else None
    dashed = "" if accuracy is None else f" (dashed: bag of words, {ACCURACY.show(accuracy)}%)"
    axes.set_title("Accuracy by epoch", loc="left", fontweight="bold")
    axes.set_xlabel(f"epoch{dashed}")
    axes.set_ylabel("accuracy (%); axis doesn't start at 0")
    axes.xaxis.set_major_locator(MaxNLocator(integer=True, min_n_ticks=1))
    axes.margins(x=0.1, y=0.1)
    axes.grid(axis="y")


@dataclass(frozen=True, kw_only=True)
class Curve:
    """A curve over seeds, each part by step or epoch.

    Attributes:
        mean: over seeds.
        low: the lowest of the seeds; of one seed's accuracy, the lower end of its interval.
        high: the highest, likewise.
        several: whether it is of several seeds.
    """

    mean: dict[float, float]
    low: dict[float, float]
    high: dict[float, float]
    several: bool


def losses_of(method: MethodSummary) -> Curve:
    """Return a method's smoothed loss at each step that every finished seed has."""
    curves = [r.measurement.losses for r in method.finished if r.measurement]
    by_seed = _at_shared(curves)
    return _over_seeds([_smoothed(curve) for curve in by_seed])


def epochs_of(summary: Summary, method: MethodSummary) -> Curve:
    """Return the accuracy after each epoch, as a share; empty with random weights."""
    measured = [r.measurement for r in method.finished if r.measurement and summary.pretrained]
    curve = _over_seeds(_at_shared([measurement.epoch_accuracies for measurement in measured]))
    examples = measured[0].evaluated_examples if measured else None
    if curve.several or not examples:
        return curve
    ends = {x: wilson(round(share * examples), examples) for x, share in curve.mean.items()}
    low, high = ({x: pair[side] for x, pair in ends.items()} for side in (0, 1))
    return replace(curve, low=low, high=high)


def _at_shared(curves: Sequence[Sequence[Sequence[float]]]) -> list[dict[float, float]]:
    """Return the curves that have points, at the steps or epochs that all of those have."""
    by_seed = [{point[0]: point[1] for point in curve} for curve in curves if curve]
    shared = sorted(set.intersection(*(set(curve) for curve in by_seed))) if by_seed else []
    return [{x: curve[x] for x in shared} for curve in by_seed]


def _over_seeds(by_seed: Sequence[dict[float, float]]) -> Curve:
    values = {x: [curve[x] for curve in by_seed] for x in (by_seed[0] if by_seed else ())}
    return Curve(
        mean={x: float(np.mean(ys)) for x, ys in values.items()},
        low={x: min(ys) for x, ys in values.items()},
        high={x: max(ys) for x, ys in values.items()},
        several=len(by_seed) > 1,
    )


def _smoothed(curve: dict[float, float]) -> dict[float, float]:
    """Return the running mean over a twentieth of the points, each at the middle of its window."""
    window = max(len(curve) // 20, 1)
    kernel = np.ones(window) / window
    steps = np.convolve(list(curve), kernel, mode="valid")
    losses = np.convolve(list(curve.values()), kernel, mode="valid")
    return dict(zip(steps.tolist(), losses.tolist(), strict=True))

"""The learning curves: loss by step and accuracy by epoch."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from matplotlib.axes import Axes
from matplotlib.ticker import MaxNLocator

from peftcore.report.canvas import Plot, draw_bag_of_words, looks_of, method_names, new_figure
from peftcore.report.style import plain
from peftcore.report.summary import MethodSummary, Summary


def learning_curves(summary: Summary) -> Plot | None:
    """Draw the learning curves; nothing where no trial kept its losses."""
    with_losses = [method for method in summary.candidates if _losses(method)]
    with_losses += [method for method in summary.references if _losses(method)]
    if not with_losses:
        return None
    with_accuracy = [method for method in summary.methods if _epochs(summary, method)]
    columns = 2 if with_accuracy else 1
    figure = new_figure(4.2 + 0.25 * (len(with_losses) // 6))
    figure.set_layout_engine("constrained", wspace=0.05)
    panels = figure.subplots(1, columns, squeeze=False)[0]
    style = looks_of(summary)
    for method in with_losses:
        steps, losses = _smoothed(_losses(method))
        look = style[method.slug]
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
        ncols=min(len(with_losses), 6),
        frameon=False,
    )
    caption = "Training loss by step (running mean over a twentieth of the steps)"
    if with_accuracy:
        caption += (
            " and accuracy on the test set after each epoch, whose axis doesn't start at zero"
        )
    if len(summary.seeds) > 1:
        caption += "; means over the seeds that finished"
    names = method_names(with_losses)
    return Plot(
        name="learning_curves",
        caption=f"{caption}.",
        alt=f"Line plots of training loss{' and accuracy' if with_accuracy else ''} for {names}",
        figure=figure,
    )


def _accuracy_curves(axes: Axes, summary: Summary, methods: Sequence[MethodSummary]) -> None:
    style = looks_of(summary)
    for method in methods:
        curve = _epochs(summary, method)
        look = style[method.slug]
        axes.plot(
            list(curve),
            [100 * accuracy for accuracy in curve.values()],
            color=look.colour,
            linestyle=look.line,
            linewidth=1.8,
            marker=look.marker,
            markersize=7,
        )
    draw_bag_of_words(axes, summary)
    axes.set_title("Accuracy by epoch", loc="left", fontweight="bold")
    axes.set_xlabel("epoch")
    axes.set_ylabel("accuracy (%); axis doesn't start at 0")
    axes.xaxis.set_major_locator(MaxNLocator(integer=True, min_n_ticks=1))
    axes.margins(x=0.1, y=0.1)
    axes.grid(axis="y")


def _losses(method: MethodSummary) -> dict[float, float]:
    """Return the loss at each step that every finished seed has, averaged over seeds."""
    return _mean_curve([r.measurement.losses for r in method.finished if r.measurement])


def _epochs(summary: Summary, method: MethodSummary) -> dict[float, float]:
    """Return the accuracy after each epoch, averaged over seeds; empty with random weights."""
    if not summary.pretrained:
        return {}
    return _mean_curve([r.measurement.epoch_accuracies for r in method.finished if r.measurement])


def _mean_curve(curves: Sequence[Sequence[Sequence[float]]]) -> dict[float, float]:
    by_seed = [{point[0]: point[1] for point in curve} for curve in curves if curve]
    if not by_seed:
        return {}
    shared = sorted(set.intersection(*(set(curve) for curve in by_seed)))
    return {x: float(np.mean([curve[x] for curve in by_seed])) for x in shared}


def _smoothed(curve: dict[float, float]) -> tuple[list[float], list[float]]:
    """Return the running mean over a twentieth of the points, each at the middle of its window."""
    window = max(len(curve) // 20, 1)
    kernel = np.ones(window) / window
    steps = np.convolve(list(curve), kernel, mode="valid")
    losses = np.convolve(list(curve.values()), kernel, mode="valid")
    return steps.tolist(), losses.tolist()

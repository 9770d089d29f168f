"""Accuracy against what it costs."""

from __future__ import annotations

from peftcore.report import labels
from peftcore.report.canvas import (
    Plot,
    accuracy_limits,
    draw_bag_of_words,
    drawn_error,
    error_of,
    in_sentence,
    looks_of,
    new_figure,
)
from peftcore.report.metrics import ACCURACY, TRAIN_TIME, Metric
from peftcore.report.style import plain
from peftcore.report.summary import BAG_OF_WORDS, Summary, method_names


def accuracy_by_train_time(summary: Summary) -> Plot | None:
    """Draw accuracy against train time; nothing where no candidate has both."""
    return _scatter(summary, TRAIN_TIME, "accuracy_by_train_time")


def accuracy_by_memory(summary: Summary) -> Plot | None:
    """Draw accuracy against peak memory; nothing where no candidate has both."""
    return _scatter(summary, summary.memory, "accuracy_by_memory")


def _scatter(summary: Summary, cost: Metric, name: str) -> Plot | None:
    drawn = [
        (method, x, y)
        for method in summary.methods
        if method.slug != BAG_OF_WORDS
        and (x := method.mean(cost)) is not None
        and (y := method.mean(ACCURACY)) is not None
    ]
    if not any(not method.reference for method, _, _ in drawn):
        return None
    figure = new_figure(4.6)
    axes = figure.subplots()
    style = looks_of(summary)
    points = []
    for method, x, y in drawn:
        look = style[method.slug]
        error = error_of(summary, method, ACCURACY)
        axes.errorbar(
            x,
            y,
            xerr=drawn_error(error_of(summary, method, cost)),
            yerr=drawn_error(error),
            marker=look.marker,
            markersize=9,
            color=look.colour,
            markerfacecolor="white" if method.reference else look.colour,
            markeredgecolor=look.colour if method.reference else "0.25",
            capsize=3,
            linewidth=1.4,
        )
        points.append(labels.Point(x=x, y=y, error=max(error), text=plain(method.name)))
    axes.set_xlim(0, max(x for _, x, _ in drawn) * 1.15)
    axes.set_ylim(*accuracy_limits(summary))
    line = draw_bag_of_words(axes, summary)
    axes.set_xlabel(cost.heading)
    axes.set_ylabel("Accuracy (%); axis doesn't start at 0")
    axes.grid()
    labels.place(figure, axes, points, beside=[line] if line else [])
    what = in_sentence(cost)
    names = method_names([method for method, _, _ in drawn])
    return Plot(
        name=name,
        caption=f"Accuracy against {what}: up and to the left is better. Hollow markers are "
        "reference rows; error bars are those of the overview.",
        alt=f"Scatter plot of accuracy against {what} for {names}",
        figure=figure,
    )

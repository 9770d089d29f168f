"""The overview: four panels of numbers, a row a method."""

from __future__ import annotations

from collections.abc import Sequence

from matplotlib.axes import Axes
from matplotlib.ticker import FuncFormatter, MaxNLocator, NullLocator

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
from peftcore.report.markdown import escape
from peftcore.report.metrics import ACCURACY, MISSING, TRAIN_TIME, TRAINABLE_PARAMETERS, Metric
from peftcore.report.style import Look, plain
from peftcore.report.summary import BAG_OF_WORDS, Summary, method_names


def overview(summary: Summary) -> Plot:
    """Draw accuracy, train time, trainable parameters and peak memory of each method."""
    metrics = (ACCURACY, TRAIN_TIME, TRAINABLE_PARAMETERS, summary.memory)
    rows = len(summary.methods)
    figure = new_figure(2 * (0.36 * rows + 1.35))
    panels = figure.subplots(2, 2, sharey=True).flat
    for axes, metric in zip(panels, metrics, strict=True):
        _panel(axes, summary, metric)
    failed = [method for method in summary.methods if not method.finished]
    caption = (
        "Accuracy, train time, trainable parameters and peak memory of each method. "
        "The axes of accuracy and of trainable parameters (logarithmic) don't start at zero, "
        "so those two show dots, not bars."
    )
    if any(method.mean(ACCURACY) is not None for method in summary.methods):
        caption += f" {summary.error_bars_note}."
        bag_of_words = summary.find(BAG_OF_WORDS)
        if bag_of_words is not None:
            caption += (
                f" The dashed line is the accuracy of the {escape(bag_of_words.name.lower())}."
            )
    else:
        caption += " There is no accuracy to show."
    if failed:
        caption += f" No trial finished of {method_names(failed)}."
    shown = ", ".join(in_sentence(metric) for metric in metrics)
    alt = f"Four panels ({shown}) with a row each for {method_names(summary.methods)}"
    return Plot(name="overview", caption=caption, alt=alt, figure=figure)


def _panel(axes: Axes, summary: Summary, metric: Metric) -> None:
    """Draw one metric: bars from zero, or dots where the axis can't start there."""
    logarithmic = metric is TRAINABLE_PARAMETERS
    dots = metric is ACCURACY or logarithmic
    axes.set_title(metric.heading, loc="left", fontweight="bold")
    axes.set_yticks(range(len(summary.methods)), [plain(method.name) for method in summary.methods])
    axes.set_ylim(len(summary.methods) - 0.4, -0.6)
    axes.tick_params(axis="y", length=0)
    values = {method.slug: method.mean(metric) for method in summary.methods}
    known = [value for value in values.values() if value is not None]
    if not known:
        why = "not measured" if summary.pretrained or metric is not ACCURACY else "random weights"
        axes.text(0.5, 0.5, why, transform=axes.transAxes, ha="center", color="0.45")
        axes.set_xticks([])
        return
    _scale(axes, metric, summary, known, logarithmic)
    axes.grid(axis="x")
    for row, method in enumerate(summary.methods):
        value = values[method.slug]
        if value is None:
            text = MISSING if method.finished else "failed"
            inside = axes.get_yaxis_transform()
            axes.text(0.015, row, text, transform=inside, va="center", color="0.45", style="italic")
            continue
        look = looks_of(summary)[method.slug]
        error = error_of(summary, method, metric)
        if dots:
            _dot(axes, value, row, look, error, method.reference)
        else:
            _bar(axes, value, row, look, error)
        axes.annotate(
            metric.show(value),
            (value + error[1], row),
            xytext=(7 if dots else 4, 0),
            textcoords="offset points",
            va="center",
            fontsize=9,
            bbox={"facecolor": "white", "edgecolor": "none", "pad": 0.6},
        )
    if metric is ACCURACY:
        draw_bag_of_words(axes, summary, upright=True)


def _scale(
    axes: Axes, metric: Metric, summary: Summary, known: Sequence[float], logarithmic: bool
) -> None:
    """Set the axis of values, with room at its right for the numbers beside bars and dots."""
    if logarithmic:
        low, high = min(known), max(known)
        axes.set_xscale("log")
        axes.set_xlim(max(low, 1) / 5, 20 * max(high, 1) * (max(high, 1) / max(low, 1)) ** 0.25)
        axes.set_xlabel("log scale")
        axes.xaxis.set_major_formatter(FuncFormatter(lambda value, _: _short_count(value)))
        axes.xaxis.set_minor_locator(NullLocator())
        return
    if metric is ACCURACY:
        low, high = accuracy_limits(summary)
        axes.set_xlim(low, high + (high - low) * 0.22)
        axes.set_xlabel("axis doesn't start at 0")
    else:
        axes.set_xlim(0, max(known) * 1.28 or 1)
    axes.xaxis.set_major_locator(MaxNLocator(5))
    if metric is ACCURACY:
        # The room for numbers may go beyond what an accuracy can be.
        low, high = axes.get_xlim()
        axes.set_xticks([tick for tick in axes.get_xticks() if low <= tick <= min(high, 100)])


def _short_count(value: float) -> str:
    for size, suffix in ((1e9, " B"), (1e6, " M"), (1e3, " k")):
        if value >= size:
            return f"{value / size:g}{suffix}"
    return f"{value:g}"


def _bar(axes: Axes, value: float, row: int, look: Look, error: tuple[float, float]) -> None:
    axes.barh(
        row, value, height=0.62, color=look.colour, hatch=look.hatch, edgecolor="white", linewidth=0
    )
    if any(error):
        axes.errorbar(value, row, xerr=drawn_error(error), color="0.2", capsize=3, linewidth=1.2)


def _dot(
    axes: Axes, value: float, row: int, look: Look, error: tuple[float, float], hollow: bool
) -> None:
    axes.errorbar(
        value,
        row,
        xerr=drawn_error(error),
        marker=look.marker,
        markersize=8,
        color=look.colour,
        markerfacecolor="white" if hollow else look.colour,
        markeredgecolor=look.colour if hollow else "0.25",
        capsize=3,
        linewidth=1.6,
    )

"""What the figures share: what one is, and how accuracy and its error are drawn."""

from __future__ import annotations

from dataclasses import dataclass

from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.text import Text

from peftcore.report.metrics import ACCURACY, Metric
from peftcore.report.style import WIDTH_INCHES, Look, looks, plain
from peftcore.report.summary import BAG_OF_WORDS, MethodSummary, Summary


@dataclass(frozen=True, kw_only=True)
class Plot:
    """One figure.

    Attributes:
        name: its files' name, without the ending.
        caption: what it shows, as Markdown.
        alt: the same for those who can't see it, as Markdown.
        figure: the drawing.
    """

    name: str
    caption: str
    alt: str
    figure: Figure


def new_figure(height_inches: float) -> Figure:
    """Return an empty figure of the width that all have."""
    return Figure(figsize=(WIDTH_INCHES, height_inches), layout="constrained")


def looks_of(summary: Summary) -> dict[str, Look]:
    """Return how each method of the report is drawn, by slug."""
    return looks([method.slug for method in summary.methods])


def in_sentence(metric: Metric) -> str:
    """Return a metric's label as it stands within a sentence."""
    return metric.label[0].lower() + metric.label[1:]


def accuracy_limits(summary: Summary) -> tuple[float, float]:
    """Return limits in percent that hold every accuracy with its error, with some air."""
    ends = []
    for method in summary.methods:
        value = method.mean(ACCURACY)
        if value is not None:
            below, above = error_of(summary, method, ACCURACY)
            ends += [value - below, value + above]
    # Under two points of width, noise would look like a difference.
    air = max(0.08 * (max(ends) - min(ends)), 1.0)
    return max(min(ends) - air, 0.0), max(ends) + air


def error_of(summary: Summary, method: MethodSummary, metric: Metric) -> tuple[float, float]:
    """Return how far an error bar reaches below and above; zeros where there is none to draw."""
    estimate = summary.estimate(method, metric)
    return estimate.error if estimate else (0.0, 0.0)


def drawn_error(error: tuple[float, float]) -> list[list[float]] | None:
    """Return an error as matplotlib takes it; ``None`` where there is none to draw."""
    return [[error[0]], [error[1]]] if any(error) else None


def draw_bag_of_words(
    axes: Axes, summary: Summary, *, upright: bool = False, named: bool = True
) -> Text | None:
    """Draw the accuracy of the bag of words as a dashed line and return its name, if written.

    Args:
        axes: what to draw in.
        summary: whose bag of words.
        upright: whether accuracy is the axis from left to right; the name is then left out.
        named: whether its name is written at the line.
    """
    method = summary.find(BAG_OF_WORDS)
    accuracy = method.mean(ACCURACY) if method else None
    if method is None or accuracy is None:
        return None
    look = {"color": "#777777", "linestyle": "--", "linewidth": 1.2, "zorder": 1}
    if upright:
        axes.axvline(accuracy, **look)  # type: ignore[arg-type]
        return None
    axes.axhline(accuracy, **look)  # type: ignore[arg-type]
    if not named:
        return None
    return axes.annotate(
        f"{plain(method.name)}, {ACCURACY.show(accuracy)}%",
        (0.01, accuracy),
        xycoords=axes.get_yaxis_transform(),
        xytext=(0, 3),
        textcoords="offset points",
        fontsize=9,
        color="#555555",
    )

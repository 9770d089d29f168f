"""Labels of a scatter plot's points, placed so that they cover neither points nor each other."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import product

from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.text import Text
from matplotlib.transforms import Bbox, IdentityTransform

_DIRECTIONS = ((1, 0), (-1, 0), (0, 1), (0, -1), (1, 1), (1, -1), (-1, 1), (-1, -1))
_DISTANCES_POINTS = (8.0, 14.0, 22.0, 32.0, 44.0, 58.0, 74.0)
_MARKER_PIXELS = 7.0
_HORIZONTAL = {-1: "right", 0: "center", 1: "left"}
_VERTICAL = {-1: "top", 0: "center", 1: "bottom"}


@dataclass(frozen=True, kw_only=True)
class Point:
    """A labelled point in data coordinates; ``error`` is what its bar spans up and down."""

    x: float
    y: float
    error: float
    text: str


def place(
    figure: Figure, axes: Axes, points: Sequence[Point], *, beside: Sequence[Text] = ()
) -> None:
    """Write each point's label at the nearest free place around it, with a line if it is far off.

    Points are taken in their order; one with no free place around it gets the place that covers
    least. The axes' limits must be final.

    Args:
        figure: whose layout is settled here.
        axes: what the points are drawn in.
        points: in data coordinates.
        beside: text that is there already and must not be covered.
    """
    figure.draw_without_rendering()  # Settles the layout, on which positions in pixels depend.
    inside = axes.get_window_extent()
    # Text is measured as its own artist, moved about, so that a line to the point does not count.
    probe = axes.text(0, 0, "", transform=IdentityTransform())
    taken = [_marker(axes, point) for point in points]
    taken += [text.get_window_extent() for text in beside]
    for point in points:
        x, y = axes.transData.transform((point.x, point.y))
        probe.set_text(point.text)
        best: tuple[float, tuple[float, float], tuple[int, int], Bbox] | None = None
        for distance, direction in product(_DISTANCES_POINTS, _DIRECTIONS):
            offset = (direction[0] * distance, direction[1] * distance)
            pixels = figure.dpi / 72
            _align(probe, direction)
            probe.set_position((x + offset[0] * pixels, y + offset[1] * pixels))
            box = probe.get_window_extent()
            covered = sum(_overlap(box, other) for other in taken)
            covered += box.width * box.height - _overlap(box, inside)
            if best is None or covered < best[0] - 1e-6:
                best = (covered, offset, direction, box)
            if covered < 1e-6:
                break
        if best is None:  # pragma: no cover - there are always places to try
            continue
        _, offset, direction, box = best
        far = max(abs(offset[0]), abs(offset[1])) > _DISTANCES_POINTS[0]
        label = axes.annotate(
            point.text,
            (point.x, point.y),
            xytext=offset,
            textcoords="offset points",
            arrowprops={"arrowstyle": "-", "color": "0.6", "linewidth": 0.8} if far else None,
            bbox={"facecolor": "white", "edgecolor": "none", "pad": 0.5},
        )
        _align(label, direction)
        label.set_in_layout(False)
        taken.append(box)
    probe.remove()


def _align(text: Text, direction: tuple[int, int]) -> None:
    text.set_horizontalalignment(_HORIZONTAL[direction[0]])  # type: ignore[arg-type]
    text.set_verticalalignment(_VERTICAL[direction[1]])  # type: ignore[arg-type]


def _marker(axes: Axes, point: Point) -> Bbox:
    """Return what a point's marker and error bar cover, in pixels."""
    x, low = axes.transData.transform((point.x, point.y - point.error))
    _, high = axes.transData.transform((point.x, point.y + point.error))
    return Bbox.from_extents(
        x - _MARKER_PIXELS, low - _MARKER_PIXELS, x + _MARKER_PIXELS, high + _MARKER_PIXELS
    )


def _overlap(first: Bbox, second: Bbox) -> float:
    """Return the area that two boxes share, in square pixels."""
    width = min(first.x1, second.x1) - max(first.x0, second.x0)
    height = min(first.y1, second.y1) - max(first.y0, second.y0)
    return float(max(width, 0.0) * max(height, 0.0))

"""The figures of a report: which there are, and their files."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from functools import partial
from pathlib import Path

from peftcore.report.agreement import draw_agreement
from peftcore.report.canvas import Plot
from peftcore.report.curves import learning_curves
from peftcore.report.overview import overview
from peftcore.report.scatter import accuracy_by_memory, accuracy_by_train_time
from peftcore.report.style import PNG_DOTS_PER_INCH, applied
from peftcore.report.summary import Summary

FORMATS = ("png", "svg")

_FIGURES: tuple[Callable[[Summary], Plot | None], ...] = (
    overview,
    learning_curves,
    accuracy_by_train_time,
    accuracy_by_memory,
    draw_agreement,
)


def write_figures(
    summary: Summary, folder: Path, *, more: Sequence[Callable[[], Plot | None]] = ()
) -> list[Plot]:
    """Draw every figure that the records can carry, and remove those of an earlier report.

    Args:
        summary: of what is drawn.
        folder: where the files go; made if need be.
        more: what draws figures of this report alone.

    Returns:
        The figures, in the order of the report.
    """
    return write_drawn([*(partial(draw, summary) for draw in _FIGURES), *more], folder)


def write_drawn(drawings: Iterable[Callable[[], Plot | None]], folder: Path) -> list[Plot]:
    """Draw in this project's style, write what was drawn, and remove what else was in the folder.

    Args:
        drawings: each gives a figure, or ``None`` where there is nothing to draw.
        folder: where the files go; made if need be.

    Returns:
        The figures, in their order.
    """
    folder.mkdir(parents=True, exist_ok=True)
    with applied():
        drawn = [draw() for draw in drawings]
        plots = [plot for plot in drawn if plot is not None]
        for plot in plots:
            plot.figure.savefig(
                folder / f"{plot.name}.png", dpi=PNG_DOTS_PER_INCH, metadata={"Software": None}
            )
            plot.figure.savefig(
                folder / f"{plot.name}.svg", metadata={"Date": None, "Creator": None}
            )
    written = {f"{plot.name}.{ending}" for plot in plots for ending in FORMATS}
    for ending in FORMATS:
        for old in folder.glob(f"*.{ending}"):
            if old.name not in written:
                old.unlink()
    return plots

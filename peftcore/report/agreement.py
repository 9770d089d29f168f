"""How far methods give the same answers: a matrix as a table and as a figure."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import matplotlib
import numpy as np

from peftcore.report.canvas import Plot, new_figure
from peftcore.report.markdown import escape, table
from peftcore.report.metrics import MISSING
from peftcore.report.pairing import answers_of
from peftcore.report.style import plain
from peftcore.report.summary import MANY, MethodSummary, Summary, method_names
from peftcore.report.wording import ONE_SEED
from peftcore.statistics.agreeing import Agreement, agreement

AGREEMENT = "agreement"
"""Name of the plot."""


@dataclass(frozen=True, kw_only=True)
class Cell:
    """How alike the models of two methods answer, the mean over pairs of models.

    Attributes:
        share: of test examples with the same answer.
        kappa: Cohen's; ``None`` where chance alone would make all answers equal.
    """

    share: float
    kappa: float | None


@dataclass(frozen=True, kw_only=True)
class Matrix:
    """Methods × methods, symmetric.

    Attributes:
        methods: in the order of the report.
        cells: ``None`` where there is no pair of models.
        several: whether pairs are of different seeds, on the diagonal of one method; else of the
            same seed, and the diagonal is empty.
    """

    methods: tuple[MethodSummary, ...]
    cells: tuple[tuple[Cell | None, ...], ...]
    several: bool

    @property
    def crowded(self) -> bool:
        """Whether there are too many methods for their numbers to be read."""
        return len(self.methods) > MANY


def gather_agreement(summary: Summary) -> Matrix | None:
    """Return how alike the methods answer; ``None`` where there are no two to compare.

    With several seeds, pairs of models are of different seeds throughout, so that methods are
    compared on the terms on which one method is compared with itself.
    """
    if not summary.pretrained:
        return None
    kept = tuple(m for m in summary.methods if m.finished and answers_of(m.finished) is not None)
    models = [(n, record) for n, method in enumerate(kept) for record in method.finished]
    if len(kept) < 2 or answers_of([record for _, record in models]) is None:
        return None
    found = agreement([record.predictions or () for _, record in models])
    owners = np.array([owner for owner, _ in models])
    seeds = np.array([record.seed for _, record in models])
    same_seed = seeds[:, None] == seeds[None, :]
    several = len(set(seeds.tolist())) > 1
    wanted = ~same_seed if several else same_seed & (owners[:, None] != owners[None, :])
    cells = tuple(
        tuple(
            _cell(found, wanted & (owners[:, None] == first) & (owners[None, :] == second))
            for second in range(len(kept))
        )
        for first in range(len(kept))
    )
    return Matrix(methods=kept, cells=cells, several=several)


def _cell(found: Agreement, pairs: np.ndarray[tuple[int, ...], np.dtype[np.bool_]]) -> Cell | None:
    if not pairs.any():
        return None
    kappas = found.kappas[pairs]
    known = kappas[~np.isnan(kappas)]
    return Cell(
        share=float(found.shares[pairs].mean()), kappa=float(known.mean()) if known.size else None
    )


def agreement_table(matrix: Matrix) -> str:
    """Return the matrix as a table: percent of equal answers, and kappa in brackets."""
    rows = [
        [escape(method.name), *(_show(cell) for cell in line)]
        for method, line in zip(matrix.methods, matrix.cells, strict=True)
    ]
    return table(["Equal answers (%)", *(escape(m.name) for m in matrix.methods)], rows)


def _show(cell: Cell | None) -> str:
    if cell is None:
        return MISSING
    kappa = "" if cell.kappa is None else f" ({_two_digits(cell.kappa)})"
    return f"{100 * cell.share:.1f}{kappa}"


def _two_digits(number: float) -> str:
    text = f"{abs(number):.2f}"
    return f"−{text}" if number < 0 and text != "0.00" else text


def agreement_section(matrix: Matrix | None, images: Sequence[str]) -> list[str]:
    """Return the section as Markdown blocks; none where there is no matrix."""
    if matrix is None:
        return []
    text = "The share of test examples on which two methods give the same answer, right or wrong"
    if matrix.crowded:
        text += ". Of so many methods the picture alone is shown."
    else:
        text += (
            ", with Cohen's kappa in brackets: 1 where all answers are equal, 0 where no more are "
            "than by chance."
        )
    if matrix.several:
        text += (
            " Every number is the mean over pairs of models of different seeds; on the diagonal "
            "both are of one method, and how far a number off the diagonal is under the mean of "
            "the diagonal's two, in its row and in its column, is what the methods themselves add."
        )
    else:
        text += f" Each pair of models has the same seed; {ONE_SEED}, so the diagonal is empty."
    numbers = [] if matrix.crowded else [agreement_table(matrix)]
    return ["## Agreement between methods", text, *numbers, *images]


def draw_agreement(summary: Summary) -> Plot | None:
    """Draw the matrix with a colour for each share; nothing where there is none."""
    matrix = gather_agreement(summary)
    if matrix is None:
        return None
    count = len(matrix.methods)
    percent = np.array(
        [[np.nan if c is None else 100 * c.share for c in line] for line in matrix.cells]
    )
    figure = new_figure((0.16 if matrix.crowded else 0.5) * count + 1.6)
    axes = figure.subplots()
    # Squares and not an image, which an SVG would hold as pixels.
    low = min(float(np.nanmin(percent)), 99.0)
    drawn = axes.pcolormesh(
        np.ma.masked_invalid(percent),
        cmap=matplotlib.colormaps["Blues"],
        vmin=low,
        vmax=100,
        edgecolors="white",
        linewidth=0.5 if matrix.crowded else 2,
    )
    for row, line in enumerate(() if matrix.crowded else matrix.cells):
        for column, cell in enumerate(line):
            dark = cell is not None and 100 * cell.share > low + 0.6 * (100 - low)
            axes.text(
                column + 0.5,
                row + 0.5,
                MISSING if cell is None else f"{100 * cell.share:.1f}",
                ha="center",
                va="center",
                fontsize=9.5,
                fontweight="bold" if row == column else "normal",
                color="white" if dark else "black",
            )
    names = [plain(method.name) for method in matrix.methods]
    turned = 90 if matrix.crowded else 30 if count > 6 else 0
    axes.set_xticks(np.arange(count) + 0.5, names, rotation=turned)
    axes.set_yticks(np.arange(count) + 0.5, names)
    axes.tick_params(length=0)
    if matrix.crowded:
        axes.tick_params(labelsize=7)
    axes.invert_yaxis()
    for side in ("left", "bottom"):
        axes.spines[side].set_visible(False)
    axes.set_title("Equal answers (%)", loc="left", fontweight="bold")
    figure.colorbar(drawn, ax=axes, pad=0.01)
    diagonal = "; on the diagonal, bold, two seeds of one method" if matrix.several else ""
    of = "of different seeds" if matrix.several else "of the same seed"
    return Plot(
        name=AGREEMENT,
        caption=f"Share of test examples on which two models {of} give the same answer"
        f"{diagonal}. The colours don't start at zero.",
        alt=f"Heat map of the share of equal answers between {method_names(matrix.methods)}",
        figure=figure,
    )

"""How plots look: one colour, marker and hatch a method, the same in every figure and report."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import matplotlib

from peftcore.methods import METHODS

WIDTH_INCHES = 9.0
"""About the width that a README is shown at, so that points of type stay points."""

PNG_DOTS_PER_INCH = 150

# Okabe and Ito's colours, which colour-blind readers can tell apart; black is left for text, and
# yellow is darker than theirs, of which a thin line is hardly seen on white.
_COLOURS = ("#0072B2", "#E69F00", "#009E73", "#CC79A7", "#56B4E9", "#D55E00", "#A89A00")
_MARKERS = ("o", "s", "^", "D", "v", "P", "X", "<", ">", "p", "h", "*", "8")
_HATCHES = ("", "//", "..", "xx", "\\\\", "--", "++", "||", "oo")
_LINES: tuple[Any, ...] = ("-", (0, (5, 2)), (0, (1, 1.2)), (0, (5, 1.5, 1, 1.5)))
_REFERENCE_COLOURS = ("#777777", "#444444")

_RC: Any = {
    "font.size": 10,
    "axes.titlesize": 11,
    "axes.labelsize": 10,
    "xtick.labelsize": 9.5,
    "ytick.labelsize": 10,
    "legend.fontsize": 9.5,
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.axisbelow": True,
    "axes.grid": False,
    "grid.color": "#e3e3e3",
    "hatch.linewidth": 0.7,
    "figure.facecolor": "white",
    "savefig.facecolor": "white",
    # The same records give the same bytes: no random ids.
    "svg.hashsalt": "peftcore",
}


@dataclass(frozen=True, kw_only=True)
class Look:
    """How one method is drawn."""

    colour: str
    marker: str
    hatch: str
    line: Any


def looks(slugs: list[str]) -> dict[str, Look]:
    """Return how each method is drawn; a declared method looks the same whatever else is shown."""
    candidates = [method.slug for method in METHODS if not method.reference]
    references = [method.slug for method in METHODS if method.reference]
    candidates += [slug for slug in slugs if slug not in candidates and slug not in references]
    found = {slug: _look(_COLOURS, n) for n, slug in enumerate(candidates)}
    found |= {slug: _look(_REFERENCE_COLOURS, n) for n, slug in enumerate(references)}
    return {slug: found[slug] for slug in slugs}


def _look(colours: tuple[str, ...], position: int) -> Look:
    return Look(
        colour=colours[position % len(colours)],
        marker=_MARKERS[position % len(_MARKERS)],
        hatch=_HATCHES[position % len(_HATCHES)],
        line=_LINES[position % len(_LINES)],
    )


@contextmanager
def applied() -> Iterator[None]:
    """Draw in this style, whatever the reader's own matplotlib settings are."""
    with matplotlib.rc_context():
        matplotlib.rcdefaults()
        matplotlib.rcParams.update(_RC)
        yield


def plain(text: str, longest: int = 24) -> str:
    """Return a name fit for a plot: short, with glyphs that the font has, and no mathematics."""
    kept = "".join(c if c.isprintable() and ord(c) < 0x250 else "?" for c in text)
    kept = kept if len(kept) <= longest else f"{kept[: longest - 1]}…"
    return kept.replace("$", r"\$")

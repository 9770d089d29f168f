"""Markdown: text from elsewhere made harmless, and tables."""

from __future__ import annotations

import re
from collections.abc import Sequence

from tabulate import tabulate

_SPECIAL = re.compile(r"([\\`*_\[\]|~$])")
_HTML = {"&": "&amp;", "<": "&lt;", ">": "&gt;"}


def one_line(text: object) -> str:
    """Return text on one line, without what is obeyed rather than shown, such as line ends."""
    return " ".join("".join(c if c.isprintable() else " " for c in str(text)).split())


def escape(text: object) -> str:
    """Return text from a record so that Markdown shows it as it is, on one line of a table."""
    line = "".join(_HTML.get(c, c) for c in one_line(text))
    return _SPECIAL.sub(r"\\\1", line)


def table(headings: Sequence[str], rows: Sequence[Sequence[str]], *, text_columns: int = 1) -> str:
    """Return a pipe table of cells that are Markdown already.

    Args:
        headings: one a column.
        rows: cells, as many as there are headings.
        text_columns: how many columns, from the left, hold text; numbers are aligned right.
    """
    alignment = ["left" if n < text_columns else "right" for n in range(len(headings))]
    return tabulate(
        rows, headers=headings, tablefmt="pipe", colalign=alignment, disable_numparse=True
    )


def signed(number: float, digits: int) -> str:
    """Return a number with its sign, a true minus; no sign where it rounds to zero."""
    text = f"{abs(number):,.{digits}f}"
    if not text.strip("0.,"):
        return text
    return f"{'−' if number < 0 else '+'}{text}"


def listed(names: Sequence[str]) -> str:
    """Return names as a list in a sentence: ``A``, ``A and B``, ``A, B and C``."""
    if len(names) < 2:
        return "".join(names)
    return f"{', '.join(names[:-1])} and {names[-1]}"

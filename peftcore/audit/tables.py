"""Tables of a published report, read back from Markdown, and numbers checked in their cells."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass

from peftcore.audit.findings import Ledger, shown
from peftcore.methods import METHODS
from peftcore.report.markdown import escape
from peftcore.report.render import REPORT_NAME

_CELL = re.compile(r"(?<!\\)\|")
_NUMBER = re.compile(r"[−+-]?(?:\d{1,3}(?:,\d{3})+|\d+)(?:\.\d+)?(?:e[−+-]?\d+)?")
_NAMES = {method.slug: method.name for method in METHODS}
_REFERENCE = re.compile(r"\*(.*)\* \(reference\)")


@dataclass(frozen=True, kw_only=True)
class Table:
    """One table of a report.

    Attributes:
        section: the heading that it stands under.
        columns: the heads of the columns.
        rows: the line that each row stands in, and its cells.
    """

    section: str
    columns: tuple[str, ...]
    rows: tuple[tuple[int, tuple[str, ...]], ...]


def read_tables(text: str) -> list[Table]:
    """Return the tables of a report in their order."""
    found = []
    section = ""
    lines = text.split("\n")
    number = 0
    while number < len(lines):
        line = lines[number]
        if line.startswith("## "):
            section = line.removeprefix("## ")
        if not line.startswith("|"):
            number += 1
            continue
        end = number
        while end < len(lines) and lines[end].startswith("|"):
            end += 1
        # The line between head and rows holds no cell.
        rows = tuple((n + 1, _cells(lines[n])) for n in range(number + 2, end))
        found.append(Table(section=section, columns=_cells(line), rows=rows))
        number = end
    return found


def _cells(line: str) -> tuple[str, ...]:
    return tuple(cell.strip() for cell in _CELL.split(line)[1:-1])


def plain_name(cell: str) -> str:
    """Return a method's name from the first cell of its row, without its marks."""
    reference = _REFERENCE.fullmatch(cell)
    return (reference.group(1) if reference else cell).removesuffix(" ▼")


def slug_of(name: str, slugs: Iterable[str]) -> str | None:
    """Return which of these methods a name in a table stands for, if any."""
    return next((slug for slug in slugs if escape(_NAMES.get(slug, slug)) == name), None)


def numbers_in(cell: str) -> list[tuple[float, float]]:
    """Return each number of a cell, with half a unit of its last digit."""
    found = []
    for text in _NUMBER.findall(cell):
        plain = text.replace("−", "-").replace(",", "")
        digits, _, power = plain.partition("e")
        unit = 10.0 ** (int(power or 0) - len(digits.partition(".")[2]))
        found.append((float(plain), unit / 2))
    return found


class Cells:
    """The cells of one table, checked one by one.

    Args:
        table: whose.
        ledger: gets the findings.
    """

    def __init__(self, table: Table, ledger: Ledger) -> None:
        self._table = table
        self._ledger = ledger

    def place(self, line: int, name: str, column: int) -> str:
        """Return where a cell stands, in words."""
        head = shown(self._table.columns[column], 50)
        return f"{REPORT_NAME}, line {line}, row “{shown(name, 40)}”, column “{head}”"

    def numbers(
        self, line: int, cells: Sequence[str], column: int, follows: Sequence[float] | None
    ) -> None:
        """Check the numbers of a cell to the digits that are printed.

        Args:
            line: of the row.
            cells: the row.
            column: which of its cells.
            follows: the numbers that it should hold in their order; ``None`` for none at all.
        """
        cell = cells[column] if column < len(cells) else ""
        where = self.place(line, cells[0], column)
        published = numbers_in(cell)
        expected = list(follows or ())
        told = ", ".join(f"{number:.6g}" for number in expected) or "no number"
        if len(published) != len(expected):
            what = "it holds another count of numbers than the second way gives"
            self._ledger.that(False, where, what, published=cell, follows=told)
            return
        holds = all(
            abs(number - value) <= half * (1 + 1e-6) + 1e-9 * abs(value)
            for (number, half), value in zip(published, expected, strict=True)
        )
        what = "the second way gives another number"
        self._ledger.that(holds, where, what, published=cell, follows=told)
        # One check a number, of which `that` counted one.
        self._ledger.checked += max(len(expected) - 1, 0)

    def words(self, line: int, cells: Sequence[str], column: int, follows: str) -> None:
        """Check a cell of words alone."""
        cell = cells[column] if column < len(cells) else ""
        what = "the second way gives another answer"
        where = self.place(line, cells[0], column)
        self._ledger.that(cell == follows, where, what, published=cell, follows=follows)

    def p(self, line: int, cells: Sequence[str], column: int, follows: float | None) -> None:
        """Check a cell that holds a p, such as ``0.32`` or ``< 0.001``, or none."""
        cell = cells[column] if column < len(cells) else ""
        holds = _is_p(cell, follows) if follows is not None else not numbers_in(cell)
        where = self.place(line, cells[0], column)
        what = "the second way gives another p"
        told = "none" if follows is None else f"{follows:.6g}"
        self._ledger.that(holds, where, what, published=cell, follows=told)

    def test(self, line: int, cells: Sequence[str], column: int, p: float, yes: bool) -> None:
        """Check a cell such as ``no, p = 0.32``: the answer, and p to the digits printed."""
        cell = cells[column] if column < len(cells) else ""
        answer, _, printed = cell.partition(",")
        holds = _is_p(printed, p) and answer == ("yes" if yes else "no")
        where = self.place(line, cells[0], column)
        what = "the second way gives another answer"
        follows = f"{'yes' if yes else 'no'}, p {p:.6g}"
        self._ledger.that(holds, where, what, published=cell, follows=follows)


def _is_p(printed: str, p: float) -> bool:
    numbers = numbers_in(printed)
    if len(numbers) != 1:
        return False
    value, half = numbers[0]
    # The tails of Student's distribution agree to many digits, but not to all.
    return p < value if "<" in printed else abs(value - p) <= half + 1e-6


def columns_of(table: Table) -> Mapping[str, int]:
    """Return where each head stands; of two alike, the first."""
    found: dict[str, int] = {}
    for number, head in enumerate(table.columns):
        found.setdefault(head, number)
    return found

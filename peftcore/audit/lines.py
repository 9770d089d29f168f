"""Two texts of Markdown or CSV, number by number: what was published, and what follows."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass
from difflib import SequenceMatcher

from peftcore.audit.findings import Ledger, shown

_NUMBER = re.compile(r"[−+-]?(?:\d{1,3}(?:,\d{3})+|\d+)(?:\.\d+)?(?:e[−+-]?\d+)?")
_CSV_NUMBER = re.compile(r"\d+")
_RULE = re.compile(r"\|[:| -]+\|")
_CELL = re.compile(r"(?<!\\)\|")

_MOST_PAIRS = 4_000_000
"""Where more pairs of lines than this could belong together, lines are taken in their order."""


@dataclass(frozen=True)
class _Line:
    """One line of a text.

    Attributes:
        place: where it stands, in words.
        text: the line, without what aligns columns.
        key: what it is matched by.
        columns: the heads of the columns, if it is a row of a table.
    """

    place: str
    text: str
    key: str
    columns: tuple[str, ...] = ()

    def column(self, position: int) -> str:
        """Return the head of the column at a position in the text, in words."""
        number = len(_CELL.findall(self.text[:position])) - 1
        if not 0 <= number < len(self.columns):
            return ""
        return f", column “{shown(self.columns[number], 50)}”"


def compare_texts(name: str, published: str, follows: str, ledger: Ledger) -> None:
    """Check a text line by line against what it should be.

    Lines are matched with their numbers masked (of CSV, by their first two cells), so that one with
    another number is still known as that line. In tables the blanks that align columns don't count:
    one longer number moves all.

    Args:
        name: of the file, for findings.
        published: the text as it was published.
        follows: the text that follows from the records.
        ledger: gets the findings; every number that follows counts as a check, and every line
            without one.
    """
    ours, theirs = _lines(name, published), _lines(name, follows)
    number = _CSV_NUMBER if name.endswith(".csv") else _NUMBER
    ledger.checked += sum(max(len(number.findall(line.text)), 1) for line in theirs)
    start = 0
    while start < min(len(ours), len(theirs)) and ours[start].text == theirs[start].text:
        start += 1
    for line, other in _matched(ours[start:], theirs[start:]):
        if line is None:
            assert other is not None
            what = "a line is missing that follows from the records"
            _fail(ledger, f"{name}, near {other.place}", what, None, other.text)
        elif other is None:
            what = "this line does not follow from the records"
            _fail(ledger, f"{name}, {line.place}", what, line.text, None)
        elif line.text != other.text:
            _compare_lines(f"{name}, {line.place}", line, other, number, ledger)


def _matched(
    ours: Sequence[_Line], theirs: Sequence[_Line]
) -> list[tuple[_Line | None, _Line | None]]:
    """Return the lines that belong together, and those that have no other."""
    if len(ours) * len(theirs) > _MOST_PAIRS:
        blocks = [(0, len(ours), 0, len(theirs))]
    else:
        keys = [[line.key for line in side] for side in (ours, theirs)]
        matcher = SequenceMatcher(a=keys[0], b=keys[1], autojunk=False)
        blocks = [place for _, *place in matcher.get_opcodes()]  # type: ignore[misc]
    found: list[tuple[_Line | None, _Line | None]] = []
    for start, end, other_start, other_end in blocks:
        mine, others = ours[start:end], theirs[other_start:other_end]
        both = min(len(mine), len(others))
        found += zip(mine[:both], others[:both], strict=True)
        found += [(line, None) for line in mine[both:]]
        found += [(None, line) for line in others[both:]]
    return found


def _compare_lines(
    place: str, line: _Line, other: _Line, number: re.Pattern[str], ledger: Ledger
) -> None:
    """Tell each number in which two lines differ, or, if words do too, where they first part."""
    if number.split(line.text) == number.split(other.text):
        numbers = zip(number.finditer(line.text), number.finditer(other.text), strict=True)
        for ours, theirs in numbers:
            if ours.group() != theirs.group():
                where = f"{place}{line.column(ours.start())}"
                _fail(ledger, where, "another number follows", ours.group(), theirs.group())
        return
    pairs = enumerate(zip(line.text, other.text, strict=False))
    first = next((n for n, (a, b) in pairs if a != b), min(len(line.text), len(other.text)))
    start = max(first - 30, 0)
    _fail(ledger, place, "other words follow", line.text[start:], other.text[start:])


def _fail(
    ledger: Ledger, where: str, what: str, published: str | None, follows: str | None
) -> None:
    # Counted already, with the line.
    ledger.checked -= 1
    ledger.that(False, where, what, published=published, follows=follows)


def _lines(name: str, text: str) -> list[_Line]:
    if name.endswith(".csv"):
        return [
            _Line(f"line {number}", line, ",".join(line.split(",")[:2]))
            for number, line in enumerate(text.split("\n"), start=1)
        ]
    found = []
    columns: tuple[str, ...] = ()
    for number, line in enumerate(text.split("\n"), start=1):
        place = f"line {number}"
        if not line.startswith("|"):
            columns = ()
            found.append(_Line(place, line, _masked(line)))
            continue
        cells = [cell.strip(" ") for cell in _CELL.split(line)]
        plain = re.sub("-+", "-", line) if _RULE.fullmatch(line) else "|".join(cells)
        if columns and not _RULE.fullmatch(line):
            place += f", row “{shown(cells[1], 40)}”" if len(cells) > 1 else ""
        found.append(_Line(place, plain, _masked(plain), columns))
        columns = columns or tuple(cells[1:-1])
    return found


def _masked(line: str) -> str:
    # Bold marks the best of a column, which another number may make another.
    return _NUMBER.sub("#", line).replace("*", "")

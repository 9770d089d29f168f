"""The tables that tell the learning rate's part of a gap from the method's, in a second way."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property

import numpy as np

from peftcore.audit import second
from peftcore.audit.answers import Content, Data, difference_of, p_of
from peftcore.audit.findings import Ledger
from peftcore.audit.second import Answers, Prior
from peftcore.audit.tables import Cells, Table, columns_of, plain_name, read_tables

SECTION = "Rate or method?"


def protocol_of(content: Content) -> str:
    """Return the name of the protocol that a trial was run by."""
    return str(content["trial"].get("protocol") or "declared")


@dataclass(frozen=True)
class Changes:
    """Differences of one kind between two protocols, by method."""

    apart: Mapping[str, Answers]

    @cached_property
    def p(self) -> dict[str, float]:
        """The p of each, corrected for their number."""
        found = {slug: p_of(apart, self.prior) for slug, apart in self.apart.items()}
        return dict(zip(found, second.holm(list(found.values())), strict=True))

    @cached_property
    def prior(self) -> Prior | None:
        """What the variances over seeds of all these differences have in common."""
        return second.common_variance([100 * apart.mean(axis=1) for apart in self.apart.values()])

    def difference(self, slug: str) -> list[float]:
        """Return the difference in points with its interval."""
        return difference_of(self.apart[slug], self.prior)


def recompute_protocols(text: str, sides: Mapping[str, Data], ledger: Ledger) -> None:
    """Check the tables of each two protocols.

    Args:
        text: of the report.
        sides: the finished trials by each protocol.
        ledger: gets the findings.
    """
    for table in read_tables(text):
        if table.section != SECTION:
            continue
        heads = [head for head in table.columns if head.startswith(("Rate, ", "Less Full, "))]
        names = [head.split(", ")[1].removesuffix(" (points)") for head in heads]
        if len(names) != 2 or not set(names) <= set(sides):
            where = f"section “{SECTION}”"
            ledger.that(False, where, "its columns name no two protocols of the records")
            continue
        before, after = (sides[name] for name in names)
        if before.kept and after.kept:
            check = _gains if heads[0].startswith("Rate") else _gaps
            check(table, (before, after), ledger)


def _gains(table: Table, sides: tuple[Data, Data], ledger: Ledger) -> None:
    before, after = sides
    gains = Changes(
        {
            slug: np.array([after.right[slug][seed] - before.right[slug][seed] for seed in seeds])
            for slug in after.right
            if _has_steps(before, slug) and (seeds := _shared(before, after, slug))
        }
    )
    cells = Cells(table, ledger)
    for line, row in table.rows:
        for side, column in zip(sides, (1, 3), strict=True):
            slug = side.slug(plain_name(row[0]))
            if slug is None:
                continue
            trials = side.finished[slug].values()
            rates = {float(one["trial"]["recipe"]["learning_rate"]) for one in trials}
            cells.numbers(line, row, column, sorted(rates))
            cells.numbers(line, row, column + 1, [float(np.mean(side.means(slug)))])
            if slug in gains.apart:
                cells.numbers(line, row, 5, gains.difference(slug))
                cells.test(line, row, 6, gains.p[slug], gains.p[slug] < 0.05)


def _has_steps(side: Data, slug: str) -> bool:
    trials = side.finished.get(slug, {}).values()
    return any(one["measurement"].get("losses") for one in trials)


def _shared(before: Data, after: Data, *slugs: str) -> list[int]:
    seeds = [set(side.right.get(slug, {})) for side in (before, after) for slug in slugs]
    return sorted(set.intersection(*seeds))


def _gaps(table: Table, sides: tuple[Data, Data], ledger: Ledger) -> None:
    before, after = sides

    def gap(side: Data, slug: str, seed: int) -> Answers:
        return side.right[slug][seed] - side.right["full"][seed]

    closed = Changes(
        {
            slug: np.array([gap(after, slug, seed) - gap(before, slug, seed) for seed in seeds])
            for slug in after.right
            if slug != "full"
            and _has_steps(before, slug)
            # One seed has no test of a change of a difference.
            and len(seeds := _shared(before, after, slug, "full")) > 1
        }
    )
    cells, columns = Cells(table, ledger), columns_of(table)
    for line, row in table.rows:
        slug = after.slug(plain_name(row[0]))
        if slug is None or not _shared(before, after, slug, "full"):
            continue
        for side, column in zip(sides, (1, 2), strict=True):
            cells.numbers(line, row, column, side.difference(slug, "full"))
        if slug not in closed.apart:
            cells.words(line, row, columns["The gap is"], "untested")
            continue
        cells.numbers(line, row, 3, closed.difference(slug))
        cells.test(line, row, 4, closed.p[slug], closed.p[slug] < 0.05)
        gaps = [side.difference(slug, "full")[0] for side in sides]
        told = [side.adjusted[frozenset((slug, "full"))] < 0.05 for side in sides]
        change = closed.difference(slug)[0] if closed.p[slug] < 0.05 else 0.0
        cells.words(line, row, columns["The gap is"], _words(gaps, told, change))


def _words(gaps: Sequence[float], told: Sequence[bool], closed: float) -> str:
    """Return what a gap comes from.

    Args:
        gaps: the method less Full, before and after.
        told: whether each is told from none.
        closed: by how much it has changed; 0 where nothing could be told of that.
    """
    below = [gap < 0 and sure for gap, sure in zip(gaps, told, strict=True)]
    if closed > 0 and gaps[0] < 0:
        return "the rate's and the method's" if below[1] else "the rate's"
    if closed < 0 and gaps[1] < 0:
        return "wider with rates of their own"
    answers = {(True, True): "the method's", (False, False): "none to explain"}
    return answers.get((below[0], below[1]), "open")

"""The tables of a report by size of the training set, in a second way."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np

from peftcore.audit.answers import Content, Data, gather
from peftcore.audit.findings import Ledger
from peftcore.audit.recomputing_comparison import interval_of
from peftcore.audit.recomputing_protocols import Changes
from peftcore.audit.tables import Cells, Table, plain_name, read_tables

_OTHERS = {"Against Full": "full", "Against a bag of words": "bow"}


def recompute_sizes(text: str, contents: Sequence[Content], ledger: Ledger) -> None:
    """Check the tables of accuracy, of differences by size and of what was trained."""
    sizes = sorted({int(one["trial"]["task"]["train_examples"]) for one in contents})
    by_size = {
        size: gather([c for c in contents if c["trial"]["task"]["train_examples"] == size])
        for size in sizes
    }
    kept = all(data.kept for data in by_size.values())
    for table in read_tables(text):
        if table.section == "Accuracy by size" and kept:
            _accuracies(table, by_size, ledger)
        elif table.section in _OTHERS and kept:
            _differences(table, by_size, _OTHERS[table.section], ledger)
        elif table.section == "What was trained":
            _trained(table, contents, sizes, ledger)


def _slug(name: str, by_size: Mapping[int, Data]) -> str | None:
    found = (data.slug(plain_name(name)) for data in by_size.values())
    return next((slug for slug in found if slug is not None), None)


def _accuracies(table: Table, by_size: Mapping[int, Data], ledger: Ledger) -> None:
    cells = Cells(table, ledger)
    for line, row in table.rows:
        slug = _slug(row[0], by_size)
        for column, data in enumerate(by_size.values(), start=1):
            follows: list[float] = []
            if slug in data.right:
                assert slug is not None
                follows = [float(np.mean(data.means(slug))), *interval_of(data, slug)]
            cells.numbers(line, row, column, follows)


def _differences(table: Table, by_size: Mapping[int, Data], other: str, ledger: Ledger) -> None:
    cells = Cells(table, ledger)
    for line, row in table.rows:
        slug = _slug(row[0], by_size)
        apart = {
            str(size): data.apart(slug, other)
            for size, data in by_size.items()
            if slug in data.right and other in data.right and data.shared(slug, other)
        }
        changes = Changes(apart)
        for place, size in enumerate(map(str, by_size)):
            column = 1 + 2 * place
            if size not in apart:
                cells.numbers(line, row, column, [])
                continue
            cells.numbers(line, row, column, changes.difference(size))
            cells.test(line, row, column + 1, changes.p[size], changes.p[size] < 0.05)


def _trained(
    table: Table, contents: Sequence[Content], sizes: Sequence[int], ledger: Ledger
) -> None:
    cells = Cells(table, ledger)
    for (line, row), size in zip(table.rows, sizes, strict=True):
        mine = [c for c in contents if c["trial"]["task"]["train_examples"] == size]
        cells.numbers(line, row, 0, [size])
        losses = {len(c["measurement"]["losses"]) for c in mine if c["measurement"]} - {0}
        cells.numbers(line, row, 3, sorted(losses))
        cells.numbers(line, row, 4, [len(mine)])

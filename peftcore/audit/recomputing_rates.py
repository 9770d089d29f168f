"""The table of a search over learning rates, in a second way."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from typing import Any

from peftcore.audit.findings import Ledger
from peftcore.audit.tables import Cells, Table, plain_name, read_tables, slug_of


def recompute_rates(text: str, contents: Sequence[Mapping[str, Any]], ledger: Ledger) -> None:
    """Check each accuracy against the predictions, and that the best of each method is bold."""
    table = read_tables(text)[0]
    if table.columns[1:2] == ("Rate: accuracy (%)",):
        _recompute_searches(table, contents, ledger)
        return
    cells = Cells(table, ledger)
    for line, row in table.rows:
        slug = slug_of(plain_name(row[0]), {str(c["trial"]["method"]) for c in contents})
        tried: dict[str, list[float]] = {}
        for content in contents:
            if content["trial"]["method"] == slug and content["outcome"] == "ok":
                rate = f"{content['trial']['recipe']['learning_rate']:g}"
                pairs = zip(content["predictions"], content["labels"], strict=True)
                right = [p == y for p, y in pairs]
                tried.setdefault(rate, []).append(100 * sum(right) / len(right))
        best = max((value for values in tried.values() for value in values), default=None)
        bold = [found for cell in row[1:] for found in re.findall(r"\*\*([^*]+)\*\*", cell)]
        ledger.that(
            len(bold) == (best is not None),
            cells.place(line, row[0], 0),
            "not one accuracy is bold as the best",
            published=bold,
        )
        for column, rate in enumerate(table.columns[1:], start=1):
            values = tried.get(rate, [])
            if "failed" not in row[column]:
                cells.numbers(line, row, column, values)
            ledger.that(
                ("**" in row[column]) <= (best in values),
                cells.place(line, row[0], column),
                "it is bold, but another rate is better",
            )


def _recompute_searches(
    table: Table, contents: Sequence[Mapping[str, Any]], ledger: Ledger
) -> None:
    """Check each rate's accuracy, how many were tried, and which is said to be the best."""
    cells = Cells(table, ledger)
    for line, row in table.rows:
        slug = slug_of(plain_name(row[0]), {str(c["trial"]["method"]) for c in contents})
        tried: dict[float, float | None] = {}
        for content in contents:
            if content["trial"]["method"] == slug:
                right = [
                    p == y
                    for p, y in zip(
                        content["predictions"] or [], content["labels"] or [], strict=True
                    )
                ]
                rate = float(content["trial"]["recipe"]["learning_rate"])
                tried[rate] = 100 * sum(right) / len(right) if right else None
        # As numbers, and not as words: of 77.15 either way of rounding is right.
        told = [value for rate in sorted(tried) for value in (rate, tried[rate])]
        cells.numbers(line, row, 1, [value for value in told if value is not None])
        cells.numbers(line, row, 2, [len(tried)])
        known = {rate: accuracy for rate, accuracy in tried.items() if accuracy is not None}
        if not known:
            continue
        highest = max(known.values())
        cells.numbers(line, row, 3, [min(r for r, a in known.items() if a == highest)])
        cells.numbers(line, row, 4, [highest])

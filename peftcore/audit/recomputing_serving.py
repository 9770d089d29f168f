"""The tables of a report on serving, in a second way."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

from peftcore.audit.findings import Ledger
from peftcore.audit.tables import Cells, plain_name, read_tables, slug_of

Figures = Sequence[Mapping[str, Any]]


def recompute_serving(text: str, contents: Sequence[Mapping[str, Any]], ledger: Ledger) -> None:
    """Check the tables of loading, of memory, of latency and of throughput."""
    ended = {str(one["trial"]["method"]): one for one in contents if one["outcome"] == "ok"}
    for table in read_tables(text):
        follow = _follows(table.section)
        if follow is None:
            continue
        cells = Cells(table, ledger)
        for line, row in table.rows:
            one = ended.get(slug_of(plain_name(row[0]), ended) or "")
            for column, head in enumerate(table.columns[1:], start=1):
                cells.numbers(line, row, column, [] if one is None else follow(one, head))


def _follows(section: str) -> Callable[[Mapping[str, Any], str], list[float]] | None:
    """Return what gives the numbers of a cell, from a record and the head of the column."""
    if section == "Keep, load and swap":
        return _keeping
    if section == "Memory held":
        return _memory
    if section == "Latency: one example":
        return lambda one, head: _latency(one, head, 1)
    if section.startswith("Latency: a batch"):
        return lambda one, head: _latency(one, head, int(one["trial"]["serving"]["batch_size"]))
    return _throughput if section == "Throughput" else None


def _figures(one: Mapping[str, Any]) -> Figures:
    found: Figures = one["measurement"]["serving"]["figures"]
    return found


def _place(head: str) -> tuple[str, int]:
    """Return how the model of a column predicts, and how many adapters it holds."""
    first = head.split(" ", 1)[0].rstrip(",")
    if first.isdigit():
        return "attached", int(first)
    return {"Plain": ("plain", 0), "Attached": ("attached", 1)}.get(first, ("merged", 0))


def _times(one: Mapping[str, Any], **wanted: Any) -> list[float]:
    for figure in _figures(one):
        if all(figure[name] == value for name, value in wanted.items()):
            return list(figure["seconds"]) if figure["status"] == "measured" else []
    return []


def _quantile(values: Sequence[float], share: float) -> float:
    """Return what this share of the values is below, between two neighbours in proportion."""
    ordered = sorted(values)
    place = share * (len(ordered) - 1)
    below = int(place)
    above = min(below + 1, len(ordered) - 1)
    return ordered[below] + (place - below) * (ordered[above] - ordered[below])


def _spread(values: Sequence[float], times: float) -> list[float]:
    return [times * _quantile(values, share) for share in (0.5, 0.05, 0.95)] if values else []


def _keeping(one: Mapping[str, Any], head: str) -> list[float]:
    if head.startswith("File"):
        size = one["measurement"].get("adapter_file_bytes")
        return [] if size is None else [size / 1e6]
    if head.startswith("Swap among"):
        return _spread(_times(one, what="swap", residents=int(head.split()[2])), 1e3)
    return _spread(_times(one, what="exchange" if "place" in head else "load"), 1e3)


def _memory(one: Mapping[str, Any], head: str) -> list[float]:
    served, residents = _place(head)
    for figure in _figures(one):
        if (figure["what"], figure["served"], figure["residents"]) == ("hold", served, residents):
            return [] if figure["bytes"] is None else [figure["bytes"] / 1e6]
    return []


def _latency(one: Mapping[str, Any], head: str, examples: int) -> list[float]:
    served, residents = _place(head)

    def times(way: str, count: int) -> list[float]:
        return _times(one, what="predict", served=way, residents=count, examples=examples)

    ours = times(served, residents)
    if not head.endswith("ratio"):
        return _spread(ours, 1e3)
    pairs = zip(ours, times("plain", 0), strict=False)
    return _spread([above / below for above, below in pairs], 1.0)


def _throughput(one: Mapping[str, Any], head: str) -> list[float]:
    served, residents = _place(head)
    size = int(one["trial"]["serving"]["batch_size"])
    found = _times(one, what="predict", served=served, residents=residents, examples=size)
    return [size / _quantile(found, 0.5)] if found else []

"""The tables and sentences of the report on serving."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

from peftcore.report.markdown import escape, table
from peftcore.report.metrics import MISSING
from peftcore.report.serving.gathering import (
    Served,
    Spread,
    batch_size,
    kinds,
)
from peftcore.results.serving import (
    ATTACHED,
    ESTIMATED,
    EXCHANGE,
    HOLD,
    LOAD,
    MEASURED,
    MERGED,
    PLAIN,
    PREDICT,
    SWAP,
)

_WORDS = {
    LOAD: "load onto a bare model",
    EXCHANGE: "load in another's place",
    SWAP: "swap among {residents} resident",
    PREDICT: "predict {examples}, {way}",
    HOLD: "memory, {way}",
}


def _milliseconds(seconds: Sequence[float]) -> str:
    spread = Spread.of(seconds)
    return MISSING if spread is None else spread.show(1e3)


def _several(served: Sequence[Served]) -> list[int]:
    """Return the numbers of residents above one."""
    return sorted({n for one in served for n in one.settings["residents"] if n > 1})


def keeping_table(served: Sequence[Served]) -> str:
    """Return what is kept of a method, and how long loading and swapping take."""
    several = _several(served)
    rows = []
    for one in served:
        measured = one.record.measurement
        size = measured.adapter_file_bytes if measured else None
        rows.append(
            [
                escape(one.method.name),
                MISSING if size is None else f"{1e-6 * size:,.3f}",
                _milliseconds(one.seconds(LOAD)),
                _milliseconds(one.seconds(EXCHANGE, residents=1)),
                *(_milliseconds(one.seconds(SWAP, residents=count)) for count in several),
            ]
        )
    headings = ["Method", "File to keep (MB)", "Load (ms)", "Load in another's place (ms)"]
    headings += [f"Swap among {count} (ms)" for count in several]
    return table(headings, rows)


def memory_table(served: Sequence[Served]) -> str:
    """Return the bytes of all tensors that a model holds."""
    ways = kinds(served)
    rows = [
        [
            escape(one.method.name),
            *(_megabytes(one.figure(HOLD, way, count)) for way, count, _ in ways),
        ]
        for one in served
    ]
    return table(["Method", *(f"{name} (MB)" for *_, name in ways)], rows)


def _megabytes(figure: Mapping[str, Any] | None) -> str:
    if figure is None or figure["bytes"] is None:
        return MISSING
    text = f"{1e-6 * figure['bytes']:,.2f}"
    return f"≈ {text} (estimated)" if figure["status"] == ESTIMATED else text


def latency_table(served: Sequence[Served], examples: Callable[[Served], int]) -> str:
    """Return how long a prediction takes, and as a ratio to the plain model's."""
    ways = kinds(served)
    rows = []
    for one in served:
        size = examples(one)
        cells = [escape(one.method.name)]
        for way, count, _ in ways:
            cells.append(_milliseconds(one.seconds(PREDICT, way, count, size)))
            if way != PLAIN:
                ratio = Spread.of(one.ratios(way, count, size))
                cells.append(MISSING if ratio is None else ratio.show())
        rows.append(cells)
    headings = ["Method"]
    for way, _, name in ways:
        headings += [f"{name} (ms)"] if way == PLAIN else [f"{name} (ms)", f"{name}, ratio"]
    return table(headings, rows)


def throughput_table(served: Sequence[Served]) -> str:
    """Return the examples a second that batches come to, by their median."""
    ways = kinds(served)
    rows = []
    for one in served:
        size = batch_size(one)
        spreads = [Spread.of(one.seconds(PREDICT, way, count, size)) for way, count, _ in ways]
        cells = [MISSING if s is None else f"{size / s.median:,.1f}" for s in spreads]
        rows.append([escape(one.method.name), *cells])
    return table(["Method", *(f"{name} (examples/s)" for *_, name in ways)], rows)


def gaps(served: Sequence[Served]) -> list[list[str]]:
    """Return what was not measured: method, what, whether it is estimated, and why.

    What is not there for one and the same reason stands in one row.
    """
    return _explained(served, lambda figure: figure["status"] != MEASURED)


def remarks(served: Sequence[Served]) -> list[list[str]]:
    """Return what must be known of what was measured: method, what and that; in rows as above."""
    found = _explained(served, lambda figure: figure["status"] == MEASURED and figure["detail"])
    return [[name, what, why] for name, what, _, why in found]


def _explained(
    served: Sequence[Served], wanted: Callable[[Mapping[str, Any]], object]
) -> list[list[str]]:
    found: dict[tuple[str, str, str], list[str]] = {}
    for one in served:
        for figure in filter(wanted, one.figures):
            key = (escape(one.method.name), figure["status"], escape(figure["detail"] or ""))
            found.setdefault(key, []).append(_called(figure))
    return [
        [name, ", ".join(dict.fromkeys(what)), status, why]
        for (name, status, why), what in found.items()
    ]


def _called(figure: Mapping[str, Any]) -> str:
    way = figure["served"] or ""
    if way == ATTACHED:
        way = f"{figure['residents']} resident"
    examples = "one" if figure["examples"] == 1 else f"{figure['examples']} together"
    template = _WORDS.get(figure["what"], escape(figure["what"]))
    return template.format(residents=figure["residents"], examples=examples, way=way)


def sentences(served: Sequence[Served]) -> list[str]:
    """Return what the tables come to: the smallest and the largest, with whose they are."""
    found = []
    for way, held, words in ((ATTACHED, 1, "with its adapter attached"), (MERGED, 0, "merged")):
        ratios = {
            escape(one.method.name): spread.median
            for one in served
            if one.is_adapter and (spread := Spread.of(one.ratios(way, held, 1))) is not None
        }
        found += _range(f"One example takes, {words},", ratios, " times the plain model's time")
    several = _several(served)
    for what, words, count in (
        (LOAD, "Loading from disk onto a bare model takes", None),
        *((SWAP, f"Swapping among {n} resident takes", n) for n in several[-1:]),
    ):
        times = {
            escape(one.method.name): 1e3 * spread.median
            for one in served
            if (spread := Spread.of(one.seconds(what, residents=count))) is not None
        }
        found += _range(words, times, " ms")
    return found


def _range(words: str, values: Mapping[str, float], unit: str) -> list[str]:
    if not values:
        return []
    low, high = (pick(values, key=lambda name: values[name]) for pick in (min, max))
    if low == high:
        return [f"{words} {values[low]:.2f}{unit} ({low})."]
    return [f"{words} from {values[low]:.2f} ({low}) to {values[high]:.2f}{unit} ({high})."]

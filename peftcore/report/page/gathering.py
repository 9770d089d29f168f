"""What the page's script computes from: numbers of the report, as JSON.

Texts are those that ``report.md`` shows; numbers beside them are there to sort, draw and choose by,
rounded to what another processor would give too.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from typing import Any

from peftcore.report.canvas import looks_of
from peftcore.report.curves import Curve, epochs_of, losses_of
from peftcore.report.flips import MethodFlips, rows_of
from peftcore.report.markdown import one_line
from peftcore.report.metrics import (
    ACCURACY,
    ENERGY,
    FILE_SIZE,
    METRICS,
    TRAIN_TIME,
    TRAINABLE_PARAMETERS,
    Metric,
)
from peftcore.report.pairing import PairedAccuracy
from peftcore.report.recommend import eligible
from peftcore.report.style import Look
from peftcore.report.summary import BAG_OF_WORDS, BASELINE, MethodSummary, Summary
from peftcore.report.tables import metric_rows, shown_metrics
from peftcore.report.wording import compared, figures

MOST_POINTS = 80
"""A curve has no more points than this, evenly taken: a screen shows no more."""

MOST_FLIPS = 500
"""Of one method and kind, the page lists no more examples than this; the file of flips has all."""

_DIGITS = 10
_BY_KEY = {metric.key: metric for metric in METRICS}

_MEMORY_OF_A_GPU = ("peak_process_bytes", "peak_reserved_bytes", "gpu_peak_bytes")
"""What a GPU must have, from what tells most of it to what tells least."""

_ESCAPES = {c: f"\\u{ord(c):04x}" for c in "<>&\u2028\u2029"}


def embedded(data: Mapping[str, Any]) -> str:
    """Return JSON that can stand within a tag of HTML, with lines that an audit can name."""
    parts = []
    for key, value in data.items():
        if isinstance(value, list):
            items = ",\n".join(_json(item) for item in value)
            parts.append(f"{_json(key)}: [\n{items}\n]" if items else f"{_json(key)}: []")
        else:
            parts.append(f"{_json(key)}: {_json(value)}")
    return "{\n" + ",\n".join(parts) + "\n}"


def _json(value: object) -> str:
    text = json.dumps(value, ensure_ascii=False, allow_nan=False, separators=(",", ":"))
    return "".join(_ESCAPES.get(c, c) for c in text)


def costs(summary: Summary) -> list[Metric]:
    """Return what accuracy is drawn against: what some candidate was measured to cost."""
    # CO2 is left out: it follows from the energies, by one factor.
    metrics = (summary.memory, TRAIN_TIME, TRAINABLE_PARAMETERS, FILE_SIZE, *ENERGY)
    return [
        metric
        for metric in metrics
        if any(
            method.mean(metric) is not None and method.mean(ACCURACY) is not None
            for method in summary.candidates
        )
    ]


def gather_page(summary: Summary, flips: Sequence[MethodFlips]) -> dict[str, Any]:
    """Return all that the page's script needs, as JSON values."""
    metrics = shown_metrics(summary, METRICS)
    learned = [m for m in summary.candidates if m.finished and not summary.learned_nothing(m)]
    best = {
        "qualified": summary.most_accurate(eligible(summary)),
        "all": summary.most_accurate(learned),
    }
    full = summary.find(BASELINE)
    rivals = {m.slug: m for m in (*best.values(), full) if m is not None}
    bag_of_words = summary.find(BAG_OF_WORDS)
    rows = {row.method.slug: row for row in metric_rows(summary, metrics)}
    style = looks_of(summary)
    methods = []
    for method in summary.methods:
        cells = rows[method.slug].cells
        shown = zip(metrics, cells, strict=True) if cells else ()
        methods.append(
            {
                "slug": one_line(method.slug),
                "name": one_line(method.name),
                "reference": method.reference,
                "trains": str(method.declared.trains) if method.declared else None,
                "look": _look(style[method.slug]),
                "failure": method.failure and one_line(method.failure),
                "under": summary.under_bag_of_words(method),
                "idle": summary.learned_nothing(method),
                "values": {
                    metric.key: _value(summary, method, metric, cell.text)
                    for metric, cell in shown
                    if cell.mean is not None
                },
                "against": _against(summary, method, rivals),
                "memory": _memory(summary, method),
            }
        )
    return {
        "best": {name: one and one_line(one.slug) for name, one in best.items()},
        "full": full and one_line(full.slug),
        "bagOfWords": bag_of_words and one_line(bag_of_words.slug),
        "caveat": summary.caveat is not None,
        "severalSeeds": summary.several_seeds,
        "onGpu": summary.memory.key.startswith("gpu") if learned else None,
        "memory": summary.memory.key,
        "metrics": [
            {
                "key": metric.key,
                "label": metric.label,
                "unit": metric.unit,
                "heading": metric.heading,
                "better": metric.better,
            }
            for metric in metrics
        ],
        "methods": methods,
        "losses": _curves(summary, {m.slug: losses_of(m) for m in summary.methods}, 1.0),
        "epochs": _curves(summary, {m.slug: epochs_of(summary, m) for m in summary.methods}, 100.0),
        "flips": [_flips(one) for one in flips],
    }


def _rounded(number: float) -> float:
    found = float(f"{number:.{_DIGITS}g}")
    return int(found) if found.is_integer() else found


def _look(look: Look) -> dict[str, Any]:
    dashes = [] if look.line == "-" else list(look.line[1])
    return {"colour": look.colour, "marker": look.marker, "dashes": dashes}


def _value(summary: Summary, method: MethodSummary, metric: Metric, text: str) -> dict[str, Any]:
    estimate = summary.estimate(method, metric)
    assert estimate is not None  # The cell has a mean.
    found: dict[str, Any] = {"text": text, "mean": _rounded(estimate.mean)}
    if estimate.ends is not None:
        found["ends"] = [_rounded(end) for end in estimate.ends]
    if method.says_little(metric):
        found["shared"] = True
    return found


def _against(
    summary: Summary, method: MethodSummary, rivals: Mapping[str, MethodSummary]
) -> dict[str, Any]:
    """Return the method's accuracy less that of each rival it can be compared with."""
    found = {}
    for slug, rival in rivals.items():
        paired = None if rival is method else summary.paired(method, rival)
        if paired is not None:
            found[one_line(slug)] = _paired(paired, method, rival)
    return found


def _paired(paired: PairedAccuracy, method: MethodSummary, other: MethodSummary) -> dict[str, Any]:
    interval = paired.interval_points
    return {
        "points": _rounded(paired.mean_points),
        "ends": interval and [_rounded(end) for end in interval],
        "single": paired.single,
        "figures": figures(paired),
        "words": compared(paired, one_line(method.name), one_line(other.name)),
    }


def _memory(summary: Summary, method: MethodSummary) -> dict[str, Any] | None:
    """Return how much memory training took, by whatever tells most of what a machine must have."""
    on_gpu = summary.memory.key.startswith("gpu")
    for key in _MEMORY_OF_A_GPU if on_gpu else (summary.memory.key,):
        mean = method.mean(_BY_KEY[key])
        if mean is not None:
            metric = _BY_KEY[key]
            return {
                "mean": _rounded(mean),
                "text": f"{metric.show(mean)} {metric.unit}",
                "label": metric.label,
            }
    return None


def _curves(summary: Summary, curves: Mapping[str, Curve], times: float) -> list[dict[str, Any]]:
    found = []
    for method in summary.methods:
        curve = curves[method.slug]
        if not curve.mean:
            continue
        every = -(-len(curve.mean) // MOST_POINTS)
        places = list(curve.mean)
        # The last one counts most, so it is from there that points are taken.
        kept = places[::-1][::every][::-1]
        found.append(
            {
                "slug": one_line(method.slug),
                "x": [_rounded(x) for x in kept],
                "mean": [round(times * curve.mean[x], 4) for x in kept],
                "low": [round(times * curve.low[x], 4) for x in kept],
                "high": [round(times * curve.high[x], 4) for x in kept],
                "several": curve.several,
            }
        )
    return found


def _flips(one: MethodFlips) -> dict[str, Any]:
    """Return the examples that flip with most seeds, as lists of small numbers."""
    flips = one.flips
    rows, labels = rows_of(one.full[0]), one.full[0].labels or ()
    ours, theirs = flips.ours.sum(axis=0), flips.theirs.sum(axis=0)
    lost, gained = flips.sure(flips.most)
    return {
        "slug": one_line(one.method.slug),
        "seeds": flips.seeds,
        "classes": _classes(one),
        "counts": {"lost": len(lost), "gained": len(gained)},
        "lost": [_flip(n, rows, labels, ours, theirs) for n in lost[:MOST_FLIPS].tolist()],
        "gained": [_flip(n, rows, labels, ours, theirs) for n in gained[:MOST_FLIPS].tolist()],
    }


def _flip(
    example: int, rows: Sequence[int] | None, labels: Sequence[int], ours: Any, theirs: Any
) -> list[int | None]:
    """Return an example's place, row and label, and how often Full and the method are right."""
    row = None if rows is None else rows[example]
    return [example, row, labels[example], int(ours[example]), int(theirs[example])]


def _classes(one: MethodFlips) -> list[str]:
    """Return the names of the classes; none where they are numbers."""
    task = one.full[0].trial.get("task")
    names = task.get("classes") if isinstance(task, Mapping) else None
    return [one_line(name) for name in names or ()]

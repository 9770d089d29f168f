"""Write the page: its texts, its data, its style and its script in one file.

The page asks for nothing: a policy within it forbids every request, and every script and style but
its own two, which are named by their hashes.
"""

from __future__ import annotations

import base64
import hashlib
from collections.abc import Sequence
from functools import cache
from importlib import resources
from typing import Any

from jinja2 import Environment, StrictUndefined, Template
from markupsafe import Markup

from peftcore.report import accuracies, recommend, setup, tables
from peftcore.report.curves import caption_of
from peftcore.report.flips import MethodFlips, flips_section
from peftcore.report.markdown import one_line
from peftcore.report.metrics import ACCURACY, METRICS, Metric
from peftcore.report.page.gathering import costs, embedded, gather_page
from peftcore.report.page.prose import inline, paragraphs, to_html
from peftcore.report.summary import Summary

PAGE_NAME = "report.html"

SCRIPTS = (
    "dom.js",
    "theme.js",
    "table.js",
    "highlight.js",
    "drawing.js",
    "points.js",
    "fronts.js",
    "curves.js",
    "flips.js",
    "deciding.js",
    "chooser.js",
    "printing.js",
)
"""In the order in which they are joined: each uses only what stands before it."""

_BAND = "a band, at the method that is pointed at,"

STYLES = ("page.css", "chooser.css", "tables.css", "charts.css", "narrow.css", "print.css")
"""In the order in which they are joined: a later one counts for more."""


def compose_page(
    summary: Summary,
    flips: Sequence[MethodFlips],
    *,
    warnings: Sequence[str] = (),
    sections: Sequence[Sequence[str]] = (),
) -> str:
    """Return the page.

    Args:
        summary: of what is reported.
        flips: of each method that can be compared with Full.
        warnings: what must be known before any number is read, as Markdown.
        sections: of the report, which the page shows as they are, each as blocks of Markdown of
            which the first is its heading; an empty one is left out.
    """
    metrics = tables.shown_metrics(summary, METRICS)
    script, style = joined("script", SCRIPTS), joined("style", STYLES)
    return _template().render(
        title=one_line(summary.title),
        policy=Markup(_policy(script, style)),
        script=Markup(script),
        style=Markup(style),
        data=Markup(embedded(gather_page(summary, flips))),
        warnings=paragraphs(warnings),
        answer=to_html(recommend.answer(summary)),
        columns=[(metric, group_of(metric)) for metric in metrics],
        groups=_groups(metrics),
        rows=[_row(summary, row) for row in tables.metric_rows(summary, metrics)],
        notes=paragraphs(
            [
                " ".join(tables.key_metrics_notes(summary)),
                tables.machine_use_note(summary),
                tables.energy_note(summary),
            ]
        ),
        known=any(method.mean(ACCURACY) is not None for method in summary.candidates),
        references=bool(summary.references),
        costs=costs(summary),
        error_bars=summary.error_bars_note,
        accuracies=paragraphs(
            [
                accuracies.accuracies(summary),
                accuracies.differences_from_best(summary),
                accuracies.notes(summary),
            ]
        ),
        excluded=to_html(" ".join(recommend.excluded(summary))),
        curves=caption_of(summary, spread=_BAND, of_one=_BAND),
        learned=bool(any(r.measurement and r.measurement.losses for r in summary.records)),
        sections=[
            (blocks[0].removeprefix("## "), paragraphs(blocks[1:])) for blocks in sections if blocks
        ],
        flips=paragraphs(flips_section(summary, flips)[1:]),
        setup=to_html(setup.setup_table(summary)),
        methods=to_html(setup.methods_table(summary)),
        failed=to_html(tables.failed_trials(summary) or ""),
    )


def group_of(metric: Metric) -> str:
    """Return which of the report's tables of metrics a column belongs to."""
    if metric.key_metric:
        return "key"
    return "machine" if metric.machine_use else "more"


def _groups(metrics: Sequence[Metric]) -> list[tuple[str, str]]:
    names = {"key": "Key metrics", "machine": "Use of the machine", "more": "More measurements"}
    there = {group_of(metric) for metric in metrics}
    return [(key, name) for key, name in names.items() if key in there]


def _row(summary: Summary, row: tables.MetricRow) -> dict[str, Any]:
    method = row.method
    best = summary.most_accurate(summary.candidates)
    return {
        "slug": one_line(method.slug),
        "name": inline(tables.named(summary, method)),
        "plain": one_line(method.name),
        "reference": method.reference,
        "level": method is best or tables.level_with_best(summary, method),
        "seeds": row.seeds,
        "finished": len(method.finished),
        "failure": method.failure and one_line(method.failure),
        "cells": row.cells,
    }


def _policy(script: str, style: str) -> str:
    return (
        f"default-src 'none'; script-src '{_hash(script)}'; style-src '{_hash(style)}'; "
        "img-src data:; base-uri 'none'; form-action 'none'"
    )


def _hash(text: str) -> str:
    return f"sha256-{base64.b64encode(hashlib.sha256(text.encode()).digest()).decode()}"


def joined(folder: str, names: Sequence[str]) -> str:
    """Return several files of the page as one text."""
    return "\n".join(_file(f"{folder}/{name}") for name in names)


@cache
def _file(name: str) -> str:
    return resources.files("peftcore.report.page").joinpath(name).read_text("utf-8")


@cache
def _template() -> Template:
    environment = Environment(
        autoescape=True, undefined=StrictUndefined, trim_blocks=True, lstrip_blocks=True
    )
    return environment.from_string(_file("page.html"))

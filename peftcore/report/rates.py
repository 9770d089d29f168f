"""How learning rates were chosen: accuracy of each method at each rate that was tried."""

from __future__ import annotations

from collections.abc import Sequence
from functools import partial
from pathlib import Path

from peftcore.errors import UsageError
from peftcore.report import refusals
from peftcore.report.canvas import Plot
from peftcore.report.figures import write_drawn
from peftcore.report.markdown import escape, listed, table
from peftcore.report.metrics import MISSING
from peftcore.report.render import FIGURES_NAME, RECORDS_NAME, REPORT_NAME, image
from peftcore.report.searches import (
    Searched,
    accuracy_percent,
    draw_compute,
    draw_rates,
    gather,
    searches_table,
)
from peftcore.report.setup import setup_table
from peftcore.report.summary import MethodSummary, Summary, reason, summarise
from peftcore.results.records import Record, write_records
from peftcore.results.selecting import of_a_search
from peftcore.scenarios import find_scenario

SEARCH_NAME = "search"
"""The folder, in that of a report, of the report on the searches that its rates come from."""


def is_search(records: Sequence[Record]) -> bool:
    """Return whether records try several learning rates for the same method and seed.

    By the protocol ``tuned``, whatever has one rate a method on examples kept for searches is the
    beginning of one.
    """
    if any(of_a_search(record) for record in records):
        return True
    known = {(record.method, record.seed, record.trial.get("protocol")) for record in records}
    return len(known) < len(records)


@refusals.told
def write_rates_report(records: Sequence[Record], folder: Path) -> Path:
    """Write the report of a search over learning rates, and return the path of ``report.md``.

    Args:
        records: of one scenario under one setting, several rates a method.
        folder: where ``report.md`` and ``records.jsonl`` go; made if need be.

    Raises:
        UsageError: a record was evaluated on the test set, which no choice may look at.
        StoreError: a file can't be written.
    """
    if any(record.trial["task"]["split"] != "tuning" for record in records):
        raise UsageError(
            "several learning rates of one method and seed were evaluated on the test set: "
            "a search is evaluated on the split “tuning”; or import one rate a method"
        )
    ordered = sorted(records, key=lambda record: (record.method, record.seed, _rate(record)))
    folder.mkdir(parents=True, exist_ok=True)
    write_records(folder / RECORDS_NAME, ordered)
    plots: list[Plot] = []
    if of_a_search(ordered[0]):
        found = _searches(ordered, _summary(ordered))
        guessing = 100 * _majority(ordered)
        drawings = [partial(draw_rates, found), partial(draw_compute, found, guessing)]
        plots = write_drawn(drawings, folder / FIGURES_NAME)
    path = folder / REPORT_NAME
    path.write_text(compose(ordered, plots), encoding="utf-8", newline="\n")
    return path


def _summary(records: Sequence[Record]) -> Summary:
    """Return a summary of the best of each method and seed: it takes one record of each."""
    best = {(record.method, record.seed): record for record in sorted(records, key=_accuracy)}
    return summarise(list(best.values()))


def _searches(records: Sequence[Record], summary: Summary) -> list[Searched]:
    declared = {method.slug: _declared_rate(method) for method in summary.methods}
    return gather(records, summary.methods, declared)


def compose(records: Sequence[Record], plots: Sequence[Plot] = ()) -> str:
    """Return the report as Markdown."""
    summary = _summary(records)
    if of_a_search(records[0]):
        return _of_searches(summary, _searches(records, summary), plots)
    return _of_rates(records, summary)


def _of_searches(summary: Summary, searches: Sequence[Searched], plots: Sequence[Plot]) -> str:
    """Return the report on a search a method, each of rates of its own, as Markdown."""
    records = summary.records
    task = records[0].trial["task"]
    edges = [escape(one.name) for one in searches if one.at_edge()]
    most = max(len(one.tried) for one in searches)
    fewer = [escape(one.name) for one in searches if len(one.tried) < most]
    blocks = [
        f"# Learning rates for {escape(summary.title)}",
        f"A search for each method, of {most} full-length trials "
        f"{f'(fewer of {listed(fewer)}, see the table) ' if fewer else ''}on "
        f"{task['train_examples']:,} training examples of at most {task['max_length']} tokens, "
        f"evaluated on {task['test_examples']:,} other training examples, drawn by a seed that no "
        "trial of the comparison has; the test set was not looked at. Rates are "
        "drawn log-uniformly, and then where the best lies, beyond the range if it lies at its "
        "edge. One trial has a sampling error of about "
        f"{_sampling_error_points(records):.1f} points, so rates that lie closer than that are as "
        "good as each other.",
        "The accuracy of the best rate is the highest of several, and so flattered by chance: it "
        "chooses the rate and is no result. What a method comes to with it is measured by other "
        "seeds, on the test set, in the report of the comparison.",
        searches_table(searches),
        edges
        and f"The best rate of {listed(edges)} lies at the edge of those tried: one beyond it may "
        "be better still.",
        *(image(plot) for plot in plots),
        "## Setup",
        setup_table(summary),
        f"Every number here is computed from [{RECORDS_NAME}]({RECORDS_NAME}), one line a trial.",
    ]
    return "\n\n".join(block for block in blocks if block) + "\n"


def _of_rates(records: Sequence[Record], summary: Summary) -> str:
    """Return the report on rates that were tried with all methods, as Markdown."""
    task = records[0].trial["task"]
    blocks = [
        f"# Learning rates for {escape(summary.title)}",
        f"Accuracy in percent of each method at each learning rate, trained on "
        f"{task['train_examples']:,} training examples of at most {task['max_length']} tokens and "
        f"evaluated on {task['test_examples']:,} others, both from the part of the training set "
        "that the protocol's own sample leaves unused; the test set was not looked at. One run has "
        f"a sampling error of about {_sampling_error_points(records):.1f} points, so rates that "
        "lie closer than that are as good as each other. The best of each method is bold; an "
        "asterisk marks the rate that the scenario declares.",
        _accuracies(records, summary.methods),
        *_edges(records, summary.methods),
        f"Another rate is tried by `pytest benchmarks/ --peft-scenario {escape(summary.scenario)} "
        "--peft-set split=tuning --peft-set learning_rate=…`.",
        "## Setup",
        setup_table(summary),
        f"Every number here is computed from [{RECORDS_NAME}]({RECORDS_NAME}), one line a trial.",
    ]
    return "\n\n".join(blocks) + "\n"


def _rate(record: Record) -> float:
    return float(record.trial["recipe"]["learning_rate"])


def _accuracy(record: Record) -> float:
    """Return the accuracy in percent; of a trial that did not end well one below all others."""
    found = accuracy_percent(record)
    return -1.0 if found is None else found


def _sampling_error_points(records: Sequence[Record]) -> float:
    """Return the largest binomial standard error that a run of this size can have."""
    return float(50 / records[0].trial["task"]["test_examples"] ** 0.5)


def _majority(records: Sequence[Record]) -> float:
    """Return the largest share of one label in what was evaluated on; 0 where that is not known."""
    shares = [record.measurement.majority_share for record in records if record.measurement]
    return max((share for share in shares if share is not None), default=0.0)


def _accuracies(records: Sequence[Record], methods: Sequence[MethodSummary]) -> str:
    rates = sorted({_rate(record) for record in records})
    rows = []
    for method in methods:
        mine = [record for record in records if record.method == method.slug]
        best = max(mine, key=_accuracy)
        declared = _declared_rate(method)
        cells = []
        for rate in rates:
            tried = [record for record in mine if _rate(record) == rate]
            cell = ", ".join(_cell(record, bold=record is best) for record in tried) or MISSING
            cells.append(f"{cell} \\*" if rate == declared else cell)
        rows.append([escape(method.name), *cells])
    return table(["Method", *(f"{rate:g}" for rate in rates)], rows)


def _cell(record: Record, *, bold: bool) -> str:
    accuracy = accuracy_percent(record)
    if accuracy is None:
        return escape(reason(record))
    return f"**{accuracy:.1f}**" if bold else f"{accuracy:.1f}"


def _declared_rate(method: MethodSummary) -> float | None:
    if method.declared is None:
        return None
    return find_scenario(method.records[0].scenario).learning_rate(method.declared)


def _edges(records: Sequence[Record], methods: Sequence[MethodSummary]) -> list[str]:
    """Return the warning that a best rate lies at the edge of those tried, if one does."""
    at_edge = []
    for method in methods:
        mine = [record for record in records if record.method == method.slug]
        tried, best = sorted(_rate(record) for record in mine), max(mine, key=_accuracy)
        if accuracy_percent(best) is not None and _rate(best) in (tried[0], tried[-1]):
            at_edge.append(escape(method.name))
    if not at_edge:
        return []
    return [
        f"The best rate of {listed(at_edge)} lies at the edge of those tried: one beyond it may be "
        "better still."
    ]

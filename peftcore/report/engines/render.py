"""The report of a comparison of the engines: a folder like that of any report, a section a part."""

from __future__ import annotations

from collections.abc import Sequence
from functools import partial
from pathlib import Path

from peftcore.errors import UsageError
from peftcore.report import refusals
from peftcore.report.canvas import Plot
from peftcore.report.engines import ablation, equality, growth, learning, pairs
from peftcore.report.engines.runs import accelerations_of
from peftcore.report.figures import write_drawn
from peftcore.report.markdown import escape, table
from peftcore.report.render import FIGURES_NAME, RECORDS_NAME, REPORT_NAME
from peftcore.report.setup import protocols_table, setup_table
from peftcore.report.summary import gather, reason
from peftcore.results.records import Record, write_records
from peftcore.trials import Engine, Outcome


@refusals.told
def write_engine_report(records: Sequence[Record], folder: Path) -> Path:
    """Write the report of a comparison of the engines, and return the path of ``report.md``.

    Args:
        records: of one scenario; each part's under one protocol and from one environment, as
            :func:`peftcore.results.selecting.newest_parts` gives them.
        folder: where ``report.md``, ``records.jsonl`` and ``figures/`` go; made if need be.

    Raises:
        UsageError: the records hold no such comparison.
        StoreError: a file can't be written.
    """
    if not any(record.trial.get("engine") == Engine.PEFTCORE for record in records):
        raise UsageError("no record is of the engine, so it can't be compared with Trainer")
    folder.mkdir(parents=True, exist_ok=True)
    write_records(folder / RECORDS_NAME, sorted(records, key=_order))
    runs = pairs.gather(records)
    drawings = (
        partial(pairs.draw_gains, runs),
        partial(ablation.draw_ablation, runs),
        partial(growth.draw_growth, records),
        partial(equality.draw_equality, equality.gather(records)),
        partial(learning.draw_learning, learning.gather(records)),
    )
    plots = write_drawn(drawings, folder / FIGURES_NAME)
    report = folder / REPORT_NAME
    report.write_text(compose(records, plots), encoding="utf-8", newline="\n")
    return report


def _order(record: Record) -> tuple[str, str, int, str, str, tuple[str, ...]]:
    return (
        str(record.trial.get("part")),
        record.method,
        record.seed,
        str(record.trial["setting_id"]),
        str(record.trial["engine"]),
        accelerations_of(record),
    )


def compose(records: Sequence[Record], plots: Sequence[Plot]) -> str:
    """Return the report as Markdown."""
    runs = pairs.gather(records)
    triples = equality.gather(records)
    learned = learning.gather(records)
    by_name = {plot.name: plot for plot in plots}
    whole = gather(records)
    answers = [pairs.answer(runs)]
    answers += [equality.answer(triples)] if triples else []
    answers += [learning.answer(learned)] if learned else []
    blocks = [
        "# peftcore's engine against transformers' Trainer",
        *answers,
        *pairs.section(runs, by_name),
        *ablation.section(runs, by_name),
        *growth.section(records, by_name),
        *equality.section(triples, records, by_name),
        *learning.section(learned, records, by_name),
        *_failed(records),
        "## Setup",
        "What each part ran:",
        protocols_table(records),
        "What all share (values that differ between parts are listed):",
        setup_table(whole, leave_out=_TOLD_BY_PART),
        f"Every number here is computed from [{RECORDS_NAME}]({RECORDS_NAME}), one line a trial.",
    ]
    return "\n\n".join(blocks) + "\n"


_TOLD_BY_PART = {
    "Changed from the scenario as declared",
    "Examples",
    "Most frequent label",
    "Longest text",
    "Epochs",
    "Batch size",
    "Learning rates",
    "Precision",
    "Dropout",
    "Seeds",
    "Training loop",
    "Accelerations",
    "Recorded",
}
"""Rows of the setup that the table of the parts has as columns, or that engines differ in."""


def _failed(records: Sequence[Record]) -> list[str]:
    rows = [
        [
            escape(record.trial.get("part") or "pairs"),
            escape(record.method),
            str(record.seed),
            str(record.trial["engine"]),
            escape(reason(record)),
        ]
        for record in records
        if record.outcome is not Outcome.OK
    ]
    if not rows:
        return []
    headings = ["Part", "Method", "Seed", "Engine", "Outcome"]
    return ["## Trials without a result", table(headings, rows, text_columns=5)]

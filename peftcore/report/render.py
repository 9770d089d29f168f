"""A report: a folder with ``report.md``, a page, figures and the records it was computed from."""

from __future__ import annotations

from collections.abc import Sequence
from functools import partial
from pathlib import Path

from peftcore.report import accuracies, analysis, claims, recommend, refusals, setup, tables
from peftcore.report.agreement import AGREEMENT, agreement_section, gather_agreement
from peftcore.report.canvas import Plot
from peftcore.report.classes import classes_section
from peftcore.report.figures import write_figures
from peftcore.report.flips import FLIPS_NAME, flips_file, flips_section, gather_flips
from peftcore.report.markdown import escape
from peftcore.report.page.rendering import PAGE_NAME, compose_page
from peftcore.report.protocols import (
    TwoProtocols,
    by_protocol,
    compare_protocols,
    draw_protocols,
    protocols_section,
)
from peftcore.report.summary import Summary, summarise
from peftcore.results.records import Record, write_records

REPORT_NAME = "report.md"
RECORDS_NAME = "records.jsonl"
FIGURES_NAME = "figures"


@refusals.told
def write_report(records: Sequence[Record], folder: Path) -> Path:
    """Write the report of one scenario and one setting, in place of an earlier one.

    The same records give the same bytes, also when they are read back from the folder's
    ``records.jsonl``.

    It is about the protocol of the first record; what others came to stands in a section of it.

    Args:
        records: at least one; no more than one a method, seed and protocol.
        folder: where ``report.md``, ``report.html``, ``records.jsonl``, ``flips.csv`` (if methods
            can be compared with Full) and ``figures/`` go; made if need be.

    Returns:
        The path of ``report.md``.

    Raises:
        UsageError: there are no records, or they can't share a report.
        StoreError: a record holds a number that is not finite, or a file can't be written.
    """
    summary, *others = (summarise(found) for found in by_protocol(records))
    protocols = [compare_protocols(summary, other) for other in others]
    folder.mkdir(parents=True, exist_ok=True)
    kept = [record for one in (summary, *others) for record in one.records]
    write_records(folder / RECORDS_NAME, kept)
    plots = write_figures(
        summary, folder / FIGURES_NAME, more=[partial(draw_protocols, one) for one in protocols]
    )
    write_flips(summary, folder / FLIPS_NAME)
    page = compose_page(
        summary,
        gather_flips(summary),
        warnings=warnings(summary),
        sections=[classes_section(summary), protocols_section(protocols, {})],
    )
    (folder / PAGE_NAME).write_text(page, encoding="utf-8", newline="\n")
    path = folder / REPORT_NAME
    path.write_text(compose(summary, plots, protocols), encoding="utf-8", newline="\n")
    return path


def write_flips(summary: Summary, path: Path) -> None:
    """Write the file of all flips, or remove that of an earlier report where there are none."""
    flips = gather_flips(summary)
    if flips:
        path.write_text(flips_file(flips), encoding="utf-8", newline="\n")
    else:
        path.unlink(missing_ok=True)


def compose(summary: Summary, plots: Sequence[Plot], protocols: Sequence[TwoProtocols] = ()) -> str:
    """Return the report as Markdown."""
    elsewhere = {AGREEMENT, *(one.figure for one in protocols)}
    overview, *others = [plot for plot in plots if plot.name not in elsewhere]
    images = {plot.name: image(plot) for plot in plots}
    blocks: list[str | None] = [
        f"# {escape(summary.title)}",
        *warnings(summary),
        recommend.answer(summary),
        image(overview),
        "## Key metrics",
        tables.key_metrics(summary),
        " ".join(tables.key_metrics_notes(summary)),
        *_section("## Accuracy: what can be told apart", accuracies.accuracies(summary)),
        accuracies.differences_from_best(summary),
        accuracies.notes(summary),
        *classes_section(summary),
        *_section("## Differences from Full", tables.differences_from_full(summary)),
        *_section(
            "## Differences from the reference rows", tables.differences_from_references(summary)
        ),
        "## Analysis",
        *analysis.against_full(summary),
        *analysis.against_references(summary),
        " ".join([*analysis.extremes(summary), *analysis.step_times(summary)]),
        analysis.what_tests_mean(summary),
        *(image(plot) for plot in others),
        *flips_section(summary, gather_flips(summary)),
        *agreement_section(
            gather_agreement(summary), [images[AGREEMENT]] if AGREEMENT in images else []
        ),
        *protocols_section(protocols, images),
        "## The source study's claims",
        claims.INTRODUCTION,
        claims.claims_table(summary),
        "How each verdict is reached:",
        claims.rules(),
        "## Which method for what",
        summary.caveat and f"**{escape(summary.caveat)}** What the rules pick on it:",
        recommend.use_cases_table(summary),
        " ".join(recommend.excluded(summary)),
        "## Conclusion",
        recommend.conclusion(summary),
        "## Setup",
        setup.setup_table(summary),
        setup.methods_table(summary),
        *_section("## Use of the machine", tables.machine_use(summary)),
        tables.machine_use_note(summary),
        *_section("## More measurements", tables.details(summary)),
        tables.energy_note(summary),
        *_section("## Trials without a result", tables.failed_trials(summary)),
        *_section("## Checks that passed", tables.passed_checks(summary)),
        f"Every number here is computed from [{RECORDS_NAME}]({RECORDS_NAME}), one line a trial; "
        f"[{PAGE_NAME}]({PAGE_NAME}) shows them as a page to sort, filter and choose by.",
    ]
    return "\n\n".join(block for block in blocks if block) + "\n"


def _section(heading: str, content: str | None) -> list[str]:
    return [heading, content] if content else []


def warnings(summary: Summary) -> list[str]:
    """Return, as block quotes, what must be known before any number is read."""
    texts = [f"**{escape(summary.caveat)}**"] if summary.caveat else []
    return [f"> {text}" for text in [*texts, *setup.rates_notes(summary), *setup.notes(summary)]]


def image(plot: Plot) -> str:
    """Return a figure with its caption, as Markdown."""
    return f"![{plot.alt}]({FIGURES_NAME}/{plot.name}.png)\n\n*{plot.caption}*"

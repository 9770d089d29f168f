"""Whether a report is the one that its records give: rendered once more, and compared."""

from __future__ import annotations

import tempfile
from collections.abc import Sequence
from enum import StrEnum
from pathlib import Path

from peftcore.audit.figures import compare_figures
from peftcore.audit.findings import Ledger, shown
from peftcore.audit.lines import compare_texts
from peftcore.audit.pages import compare_pages
from peftcore.audit.reading import Published, read_bytes, read_text
from peftcore.errors import PeftcoreError, StoreError, UsageError
from peftcore.report.engines.render import write_engine_report
from peftcore.report.figures import FORMATS
from peftcore.report.flips import FLIPS_NAME
from peftcore.report.page.rendering import PAGE_NAME
from peftcore.report.rates import is_search, write_rates_report
from peftcore.report.render import FIGURES_NAME, RECORDS_NAME, REPORT_NAME, write_report
from peftcore.report.serving.render import write_serving_report
from peftcore.report.sizes.render import write_sizes_report
from peftcore.results.records import Record
from peftcore.results.selecting import of_serving, of_sizes


class Kind(StrEnum):
    """What a report is about; its records tell."""

    COMPARISON = "a comparison of methods"
    RATES = "a search over learning rates"
    ENGINES = "a comparison of the engines"
    SERVING = "what serving costs"
    SIZES = "a comparison by size of the training set"


_WRITERS = {
    Kind.COMPARISON: write_report,
    Kind.RATES: write_rates_report,
    Kind.ENGINES: write_engine_report,
    Kind.SERVING: write_serving_report,
    Kind.SIZES: write_sizes_report,
}


def kind_of(records: Sequence[Record]) -> Kind:
    """Return what the report of these records is about."""
    if any(map(of_serving, records)):
        return Kind.SERVING
    if any(record.trial.get("part") is not None for record in records):
        return Kind.ENGINES
    if of_sizes(records):
        return Kind.SIZES
    return Kind.RATES if is_search(records) else Kind.COMPARISON


def check_rendering(published: Published, ledger: Ledger) -> None:
    """Render the report again from its records, and check each file against the published one.

    Raises:
        StoreError: there is no room for it here.
    """
    records = [one.record for one in published.records]
    with tempfile.TemporaryDirectory(prefix="peftcore-audit-") as scratch:
        again = Path(scratch)
        try:
            _WRITERS[kind_of(records)](records, again)
        except StoreError:
            # That says nothing of the report.
            raise StoreError(
                f"the report can't be rendered again to be compared: make room in {scratch}, or "
                "name another folder for temporary files by TMPDIR"
            ) from None
        except PeftcoreError as error:
            ledger.that(False, REPORT_NAME, f"no report follows: {shown(str(error))}")
            return
        except Exception as error:  # Records from anywhere may break the report in any way.
            why = shown(f"{type(error).__name__}: {error}")
            ledger.that(False, REPORT_NAME, f"no report can be made of these records: {why}")
            return
        compare_texts(REPORT_NAME, published.text, read_text(again / REPORT_NAME), ledger)
        _compare_files(published, again, ledger)


def _compare_files(published: Published, again: Path, ledger: Ledger) -> None:
    """Check all files but the report's text and its records."""
    folder = published.folder
    for path in sorted(path for path in again.rglob("*") if path.is_file()):
        name = path.relative_to(again).as_posix()
        if name in (REPORT_NAME, RECORDS_NAME):
            continue
        # Releases before there were pages wrote none, and named none.
        unnamed = name == PAGE_NAME and f"]({PAGE_NAME})" not in published.text
        if unnamed and not (folder / name).exists():
            continue
        if not ledger.that((folder / name).is_file(), name, "this file is missing"):
            continue
        try:
            if path.suffix.removeprefix(".") in FORMATS:
                compare_figures(name, read_bytes(folder / name), read_bytes(path), ledger)
            elif name == PAGE_NAME:
                compare_pages(name, read_text(folder / name), read_text(path), ledger)
            else:
                compare_texts(name, read_text(folder / name), read_text(path), ledger)
        except UsageError as error:
            ledger.that(False, name, shown(str(error)))
    others = [folder / FLIPS_NAME, folder / PAGE_NAME]
    others += [path for ending in FORMATS for path in (folder / FIGURES_NAME).glob(f"*.{ending}")]
    for path in sorted(others):
        name = path.relative_to(folder).as_posix()
        if path.exists():
            ledger.that(
                (again / name).is_file(), shown(name), "this file does not follow from the records"
            )

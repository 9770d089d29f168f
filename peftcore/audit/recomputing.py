"""The headline numbers of a report, computed from its records in a second, plain way.

Rendering a report again finds what was changed since, but no error of the code that renders both
times. So its main tables are read back from Markdown and compared with numbers that come straight
from the records by other means.
"""

from __future__ import annotations

from peftcore.audit.findings import Ledger, shown
from peftcore.audit.reading import Published
from peftcore.audit.recomputing_comparison import recompute_comparison
from peftcore.audit.recomputing_engines import recompute_engines
from peftcore.audit.recomputing_rates import recompute_rates
from peftcore.audit.recomputing_serving import recompute_serving
from peftcore.audit.recomputing_sizes import recompute_sizes
from peftcore.audit.rendering import Kind, kind_of
from peftcore.report.render import REPORT_NAME

_WAYS = {
    Kind.COMPARISON: recompute_comparison,
    Kind.ENGINES: recompute_engines,
    Kind.RATES: recompute_rates,
    Kind.SERVING: recompute_serving,
    Kind.SIZES: recompute_sizes,
}


def recompute(published: Published, ledger: Ledger) -> None:
    """Check the main tables of a report against numbers computed in a second way."""
    kind = kind_of([one.record for one in published.records])
    contents = [one.content for one in published.records]
    try:
        _WAYS[kind](published.text, contents, ledger)
    except Exception as error:  # A report from anywhere may have tables of any form.
        why = shown(f"{type(error).__name__}: {error}")
        ledger.that(False, REPORT_NAME, f"its tables can't be computed in a second way: {why}")
    # A report without a table that is known would pass for one without an error.
    ledger.that(ledger.checked > 0, REPORT_NAME, "it has no table that could be checked")

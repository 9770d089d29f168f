"""The audit of a published report: what was checked, and what does not follow."""

from __future__ import annotations

import dataclasses
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from peftcore.audit.consistency import check_records
from peftcore.audit.findings import Finding, Ledger, shown
from peftcore.audit.reading import read_published
from peftcore.audit.recomputing import recompute
from peftcore.audit.rendering import check_rendering, kind_of
from peftcore.report.render import RECORDS_NAME, REPORT_NAME

MOST_TOLD = 40
"""Of each part, people are told no more findings than this."""


@dataclass(frozen=True, kw_only=True)
class Part:
    """One part of an audit.

    Attributes:
        name: what was checked against what.
        checked: how many checks were made.
        findings: what does not follow.
    """

    name: str
    checked: int
    findings: tuple[Finding, ...]


@dataclass(frozen=True, kw_only=True)
class Audit:
    """The audit of one report.

    Attributes:
        folder: of the report.
        kind: what the report is about; ``None`` where it has no record that could be read.
        records: how many it has.
        parts: what was checked, in that order.
    """

    folder: Path
    kind: str | None
    records: int
    parts: tuple[Part, ...]

    @property
    def findings(self) -> tuple[Finding, ...]:
        """All that does not follow."""
        return tuple(finding for part in self.parts for finding in part.findings)

    @property
    def follows(self) -> bool:
        """Whether everything does."""
        return not self.findings

    def lines(self) -> list[str]:
        """Return the audit in lines for people: the parts, and what does not follow in each."""
        found = [f"{shown(str(self.folder))}: {self.kind or 'a report'}, {self.records:,} records"]
        for part in self.parts:
            count = len(part.findings)
            met = f"{count:,} not met" if count else "all met"
            found.append(f"{part.name}: {part.checked:,} checks, {met}")
            found += [f"  {finding.sentence()}" for finding in part.findings[:MOST_TOLD]]
            if count > MOST_TOLD:
                found.append(f"  … and {count - MOST_TOLD:,} more; --json FILE has all")
        found.append("everything follows" if self.follows else "not everything follows")
        return found

    def to_json(self) -> dict[str, Any]:
        """Return the audit as JSON values."""
        return {
            "folder": str(self.folder),
            "kind": self.kind,
            "records": self.records,
            "follows": self.follows,
            "parts": [dataclasses.asdict(part) for part in self.parts],
        }


RECORDS_PART = "the records against themselves"
RENDERED_PART = "the report against its records, rendered again"
RECOMPUTED_PART = "the tables against the predictions, computed in a second way"


def audit(folder: Path) -> Audit:
    """Check every number of a published report against the records it was published with.

    Args:
        folder: with ``report.md`` and ``records.jsonl``.

    Raises:
        UsageError: the folder holds no report.
    """
    ledger = Ledger()
    published = read_published(folder, ledger)
    try:
        check_records(published.records, ledger)
    except Exception as error:  # Records from anywhere may hold values of any type and size.
        why = shown(f"{type(error).__name__}: {error}")
        ledger.that(False, RECORDS_NAME, f"they can't be checked: {why}")
    parts = [_part(RECORDS_PART, ledger)]
    kind = kind_of([one.record for one in published.records]) if published.records else None
    for name, check in ((RENDERED_PART, check_rendering), (RECOMPUTED_PART, recompute)):
        ledger = Ledger()
        if published.whole:
            check(published, ledger)
        else:
            what = f"it can't be checked, as not all of {RECORDS_NAME} could be read"
            ledger.that(False, REPORT_NAME, what)
        parts.append(_part(name, ledger))
    return Audit(folder=folder, kind=kind, records=len(published.records), parts=tuple(parts))


def _part(name: str, ledger: Ledger) -> Part:
    return Part(name=name, checked=ledger.checked, findings=tuple(ledger.findings))

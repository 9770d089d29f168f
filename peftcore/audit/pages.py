"""The page of a report: its texts and its data line by line, its style and script as wholes."""

from __future__ import annotations

import re

from peftcore.audit.findings import Ledger
from peftcore.audit.lines import compare_texts

_WHOLES = tuple(
    re.compile(f"({re.escape(start)})(.*?)({re.escape(end)})", re.DOTALL)
    for start, end in (
        ('<meta http-equiv="Content-Security-Policy" content="', '">'),
        ("<style>", "</style>"),
        ('<script type="module">', "</script>"),
    )
)


def compare_pages(name: str, published: str, follows: str, ledger: Ledger) -> None:
    """Check a page against the one that follows from the records.

    Args:
        name: of the file, for findings.
        published: the page as it was published.
        follows: the page that follows.
        ledger: gets the findings; every number of its texts and its data counts as a check, and its
            style, script and policy as one.
    """
    (ours, our_wholes), (theirs, their_wholes) = (_taken_apart(p) for p in (published, follows))
    before = len(ledger.findings)
    ledger.that(
        our_wholes == their_wholes,
        name,
        "its style, script or policy is not what this release writes: the page is stale, or was "
        "changed; peftcore import and peftcore report write it anew",
    )
    compare_texts(name, ours, theirs, ledger)
    if published != follows and len(ledger.findings) == before:
        ledger.that(False, name, "the page that follows from the records has other bytes")


def _taken_apart(page: str) -> tuple[str, list[str]]:
    """Return a page without its style, script and policy, and these."""
    wholes: list[str] = []
    for pattern in _WHOLES:
        wholes += [found.group(2) for found in pattern.finditer(page)]
        page = pattern.sub(r"\1\3", page)
    return page, wholes

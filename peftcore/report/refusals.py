"""What is said where the system refuses a report's files."""

from __future__ import annotations

from peftcore.errors import telling_what_is_kept

told = telling_what_is_kept(
    "the records are in the store still: make room, or name a folder that can be written to, and "
    "`peftcore report` writes the report"
)
"""Decorates what writes a report."""

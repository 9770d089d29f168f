"""Figures as a reader has them."""

from __future__ import annotations


def gigabytes(size: float) -> str:
    """Return bytes as a reader has them: ``1.24 GB``."""
    return f"{size / 1e9:.2f} GB"


def percent(share: float) -> str:
    """Return a probability in whole percent, the ends never quite."""
    if share < 0.01:
        return "<1%"
    return ">99%" if share > 0.99 else f"{share:.0%}"


def in_minutes(seconds: float) -> str:
    """Return a duration as a reader has it: ``29 min 05 s``."""
    whole = round(seconds)
    return f"{whole // 60} min {whole % 60:02d} s"

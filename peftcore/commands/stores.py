"""The store that a command works on: which, whether it is whole, and what is in it."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import click

from peftcore.errors import UsageError

if TYPE_CHECKING:
    from peftcore.results.records import Record

DEFAULT_STORE = Path(".peftcore")

store_option = click.option(
    "--store",
    type=click.Path(file_okay=False, path_type=Path),
    default=DEFAULT_STORE,
    show_default=True,
    help="Folder of the store.",
)


def mend(store: Path) -> int:
    """Mend a store that is damaged, say so, and return how many were."""
    from peftcore.results.repairing import mend_stores

    repairs = mend_stores(store)
    for repair in repairs:
        click.echo(f"peftcore: {repair}", err=True)
    return len(repairs)


def stored_somewhere(folder: Path) -> None:
    """Check that there is a store, without opening it."""
    from peftcore.results.store import all_stores, has_store

    if not any(has_store(place) for place in all_stores(folder)):
        raise UsageError(f"there is no store in {folder}: run a trial or import records first")


def stored(folder: Path, scenario: str | None) -> list[Record]:
    """Return the records of a store and of those in it."""
    from peftcore.results.store import all_stores, has_store

    # Without any, the error names the folder that was asked for.
    folders = [place for place in all_stores(folder) if has_store(place)] or [folder]
    return read(folders, scenario)


def read(folders: Sequence[Path], scenario: str | None) -> list[Record]:
    """Return the records of several stores, of one scenario or of all."""
    from peftcore.results.store import Store

    found: list[Record] = []
    for place in folders:
        with Store(place, create=False) as opened:
            found += opened.records(scenario)
    return found

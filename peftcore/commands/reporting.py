"""Commands on records and on the reports made of them; none needs torch."""

from __future__ import annotations

import dataclasses
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import click

from peftcore.commands.speaking import (
    EXIT_MISSING,
    EXIT_NOT_OK,
    json_option,
    require_writable,
    told,
    write_json,
)
from peftcore.commands.stores import mend, read, store_option, stored, stored_somewhere
from peftcore.errors import UsageError

if TYPE_CHECKING:
    from peftcore.results.records import Record

DEFAULT_REPORTS = Path("reports")


@click.command("import")
@click.argument("file", type=click.Path(path_type=Path))
@store_option
@told
def import_records(file: Path, store: Path) -> None:
    """Put exported records (records.jsonl) back into a store."""
    from peftcore.results.records import read_records
    from peftcore.results.selecting import of_serving, of_sizes
    from peftcore.results.store import Store, engine_store, serving_store, sizes_store

    # Read to the end before the store is touched: a broken file must not leave half of itself.
    records = list(read_records(file))
    if not records:
        raise UsageError(f"{file} holds no record")
    # What is measured beside the comparison would pass for its newest setting.
    beside = store
    if all(map(of_serving, records)):
        beside = serving_store(store)
    elif all(record.trial.get("part") is not None for record in records):
        beside = engine_store(store)
    elif of_sizes(records):
        beside = sizes_store(store)
    # Unless that is the very store that was named.
    store = store if beside.name == store.name else beside
    with Store(store) as opened:
        better = [record for record in records if not opened.has_better(record)]
        for record in better:
            opened.commit(record)
        click.echo(f"{len(better)} records from {file} are in {opened.path}", err=True)
        if len(better) < len(records):
            click.echo(
                f"{len(records) - len(better)} are not: of their trials it has records that ended "
                "well, or are newer",
                err=True,
            )


@click.command()
@store_option
@click.option("--scenario", help="Only this scenario; default: each that the store has.")
@click.option(
    "--out",
    type=click.Path(file_okay=False, path_type=Path),
    default=DEFAULT_REPORTS,
    show_default=True,
    help="Folder of the reports; each scenario gets one of its name in it.",
)
@told
def report(store: Path, scenario: str | None, out: Path) -> None:
    """Render reports again from stored records; needs neither a GPU nor torch.

    Of each scenario the setting that ran last is reported, with what there is of other protocols
    under it. Where it tried several learning rates a method, the report is of that search, in a
    folder of its own; searches by the protocol "tuned" are in "search" in the scenario's folder.
    Comparisons of the engines are reported in the folder "engine": the parts that ran last, of the
    scenario that ran last; serving and sizes in "serving" and "sizes" in the scenario's folder.
    """
    from peftcore.report.engines.render import write_engine_report
    from peftcore.report.rates import SEARCH_NAME, is_search, write_rates_report
    from peftcore.report.render import write_report
    from peftcore.report.serving.render import SERVING_NAME, write_serving_report
    from peftcore.report.sizes.render import SIZES_NAME, left_out, write_sizes_report
    from peftcore.results.selecting import (
        newest_parts,
        newest_serving,
        newest_settings,
        newest_sizes,
        of_a_search,
        of_serving,
        of_sizes,
        other_protocols,
    )
    from peftcore.results.store import all_stores, has_store, sizes_store

    stored_somewhere(store)
    sized = read([sizes_store(store)], scenario) if has_store(sizes_store(store)) else []
    beside = [place for place in all_stores(store) if place != sizes_store(store)]
    records = read([place for place in beside if has_store(place)], scenario)
    served = newest_serving(records)
    own = [r for r in records if r.trial.get("part") is None and not of_serving(r)]
    groups = newest_settings(record for record in own if not of_a_search(record))
    searches = newest_settings(record for record in own if of_a_search(record))
    compared = newest_parts(records)
    by_size = newest_sizes(sized)
    if not groups and not searches and not compared and not served and not by_size:
        wanted = f" of scenario {scenario!r}" if scenario else ""
        raise UsageError(f"{store} holds no record{wanted}: run one first, or import some")

    def tell(path: Path, reported: Sequence[Record]) -> None:
        click.echo(f"{path}: {len(reported)} records", err=True)

    for name, group in groups.items():
        if is_search(group):
            tell(write_rates_report(group, out / f"{name}-rates"), group)
        else:
            both = [*group, *other_protocols(own, group)]
            tell(write_report(both, out / name), both)
    for name, group in searches.items():
        tell(write_rates_report(group, out / name / SEARCH_NAME), group)
    for name, group in served.items():
        tell(write_serving_report(group, out / name / SERVING_NAME), group)
    if of_sizes(by_size):
        tell(write_sizes_report(by_size, out / by_size[0].scenario / SIZES_NAME), by_size)
        for line in left_out(sized, by_size):
            click.echo(line, err=True)
    if compared:
        tell(write_engine_report(compared, out / "engine"), compared)


@click.command()
@store_option
@told
def check(store: Path) -> None:
    """Look at every record of a store; a damaged one is moved aside, and what is whole is saved.

    A session and `peftcore run` do so before the first trial. Exits with 3 if it was damaged.
    """
    stored_somewhere(store)
    if mend(store):
        sys.exit(EXIT_MISSING)
    click.echo(f"{len(stored(store, None))} records in {store}, each as it was written", err=True)


@click.command("audit")
@click.argument("folder", metavar="DIR", type=click.Path(path_type=Path))
@json_option
@told
def audit_report(folder: Path, json_file: str | None) -> None:
    """Compute every number of a published report again, and say what does not follow.

    DIR holds report.md and records.jsonl. Exits with 1 where something does not follow from the
    records; needs neither a GPU nor torch.
    """
    from peftcore.audit.auditing import audit

    require_writable(json_file)
    found = audit(folder)
    as_json = write_json(found.to_json(), json_file)
    for line in found.lines():
        click.echo(line, err=as_json)
    if not found.follows:
        sys.exit(EXIT_NOT_OK)


@click.command()
@click.argument("file", type=click.Path(path_type=Path))
@click.option("--data", required=True, metavar="ID-OR-PATH", help="Where the data is.")
@click.option("--most", type=click.IntRange(1), default=5, show_default=True, help="Of each kind.")
@json_option
@told
def flips(file: Path, data: str, most: int, json_file: str | None) -> None:
    """Show the texts of examples that flip against Full with every seed.

    FILE is a report's records.jsonl; DATA is what its trials were run on, which a report does not
    hold.
    """
    from peftcore.audit.findings import shown
    from peftcore.report.texts import flipped_texts
    from peftcore.results.records import read_records

    require_writable(json_file)
    found = flipped_texts(list(read_records(file)), data, most)
    if write_json([dataclasses.asdict(one) for one in found], json_file):
        return
    for one in found:
        seeds = "one seed" if one.seeds == 1 else f"each of {one.seeds} seeds"
        place = f"example {one.example}" if one.row is None else f"row {one.row}"
        click.echo(
            f"{shown(one.method)} {one.kind} {place} (label {shown(one.class_name)}) with {seeds}:"
        )
        click.echo(f"  {shown(one.text, len(one.text))}")
    if not found:
        click.echo("no example flips with every seed", err=True)

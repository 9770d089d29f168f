"""Commands that hold one side against another: baselines, the gate, and fingerprints."""

from __future__ import annotations

import dataclasses
import json
import sys
import tempfile
from pathlib import Path
from typing import TYPE_CHECKING

import click

from peftcore.commands.speaking import (
    EXIT_NOT_OK,
    json_option,
    require_writable,
    told,
    write_json,
)
from peftcore.commands.stores import store_option
from peftcore.errors import UsageError, member, unknown
from peftcore.methods import ALL as ALL_METHODS
from peftcore.methods import Trains
from peftcore.running.planning import Selection, parse_methods
from peftcore.writing import write_whole

if TYPE_CHECKING:
    from peftcore.gate.verdicts import GateMode


@click.command()
@store_option
@click.option("--scenario", help="Only this scenario; needed where the store has several.")
@click.option(
    "--out",
    type=click.Path(dir_okay=False, path_type=Path),
    required=True,
    help="File of the baseline.",
)
@told
def baseline(store: Path, scenario: str | None, out: Path) -> None:
    """Write a baseline from the store: what later runs are compared with.

    It holds the setting that ran last, all methods and seeds of it.
    """
    from peftcore.gate.baseline import write_baseline
    from peftcore.gate.sides import newest
    from peftcore.results.store import Store

    with Store(store, create=False) as opened:
        records = newest(opened.records(), scenario, store)
    write_baseline(out, records)
    seeds = {record.seed for record in records}
    click.echo(f"{out}: {len(records)} trials, {len(seeds)} seeds", err=True)


@click.command()
@click.argument("baseline", type=click.Path(path_type=Path))
@click.argument("current", type=click.Path(path_type=Path))
@click.option("--gate", default="fail", show_default=True, help="off, warn, fail or strict.")
@click.option("--scenario", help="Which one; needed where BASELINE is a store with several.")
@click.option("--method", metavar="NAME[,NAME…]", help="These only; default: all of either side.")
@click.option("--metrics", metavar="NAME[,NAME…]", help="Gate these only; default: all.")
@click.option(
    "--markdown",
    type=click.Path(dir_okay=False, path_type=Path),
    help="Write the summary for a pull request to this file.",
)
@json_option
@told
def compare(
    baseline: Path,
    current: Path,
    gate: str,
    scenario: str | None,
    method: str | None,
    metrics: str | None,
    markdown: Path | None,
    json_file: str | None,
) -> None:
    """Say whether CURRENT is worse than BASELINE: the gate, without pytest.

    Either is the folder of a store, exported records (.jsonl) or a baseline file. Exits with 1
    where the gate fails. Metrics are named by accuracy, time, memory and counts, or by their keys.

    Of two files that `peftcore fingerprint` wrote it says what changed between them.
    """
    from peftcore.conformance.fingerprints import is_fingerprint
    from peftcore.gate.judging import judge
    from peftcore.gate.metrics import GATED, parse_metrics
    from peftcore.gate.sides import read_side
    from peftcore.gate.summary import to_lines, write_markdown
    from peftcore.gate.verdicts import GateMode

    mode = member(GateMode, gate, where="--gate")
    if mode is GateMode.OFF:
        click.echo("the gate is off: nothing was compared", err=True)
        return
    require_writable(json_file)
    if is_fingerprint(baseline) or is_fingerprint(current):
        unused = {
            "--scenario": scenario,
            "--method": method,
            "--metrics": metrics,
            "--markdown": markdown,
        }
        for option, value in unused.items():
            if value is not None:
                raise UsageError(
                    f"{option} {value} is not usable for files of fingerprints, all of which are "
                    "compared: leave it out"
                )
        _compare_fingerprints(baseline, current, mode, json_file)
        return
    before = read_side(baseline, scenario=scenario)
    verdicts = judge(
        before,
        read_side(current, scenario=before[0].record.scenario),
        methods=None if method is None else parse_methods(method),
        metrics=GATED if metrics is None else parse_metrics(metrics, where="--metrics"),
    )
    if markdown is not None:
        write_markdown(markdown, verdicts)
    failed = verdicts.fails(mode)
    content = {**verdicts.to_json(), "gate": str(mode), "failed": failed}
    click.echo("\n".join(to_lines(verdicts)), err=write_json(content, json_file))
    if failed:
        sys.exit(EXIT_NOT_OK)


def _compare_fingerprints(
    baseline: Path, current: Path, mode: GateMode, json_file: str | None
) -> None:
    """Say what differs between two files of fingerprints; with mode warn it fails nothing."""
    from peftcore.conformance.fingerprints import changes, read, to_lines
    from peftcore.gate.verdicts import GateMode

    found = changes(read(baseline), read(current))
    changed = any(change.counts for change in found)
    content = {
        "changes": [dataclasses.asdict(change) for change in found],
        "gate": str(mode),
        "failed": changed and mode is not GateMode.WARN,
    }
    to_stderr = write_json(content, json_file)
    click.echo("\n".join(to_lines(found)), err=to_stderr)
    if content["failed"]:
        sys.exit(EXIT_NOT_OK)


@click.command()
@click.option(
    "--out",
    required=True,
    type=click.Path(dir_okay=False, path_type=Path),
    help="Write the fingerprints to this file.",
)
@click.option("--method", default="all", show_default=True, help="These methods or groups only.")
@click.option("--architecture", metavar="NAME[,NAME…]", help="These only; default: all.")
@told
def fingerprint(out: Path, method: str, architecture: str | None) -> None:
    """Write what each method does on a tiny model of each architecture, as numbers.

    `peftcore compare A.json B.json` says what changed between two such files: of two versions of
    peft, of a branch and main. With all methods it tries what the installed peft has besides, too.
    Exits with 1 where a method fails that is declared, or learns just what another one does.
    """
    from peftcore.conformance.cells import Bench, undeclared_methods
    from peftcore.conformance.fingerprints import Verdict, to_json, twins
    from peftcore.conformance.tiny import ARCHITECTURES
    from peftcore.measuring.environment import describe_environment
    from peftcore.training.trial import quiet_libraries

    methods = [
        one
        for one in Selection(methods=parse_methods(method)).find_methods()
        if one.trains is not Trains.BAG_OF_WORDS
    ]
    if method == ALL_METHODS:
        methods += undeclared_methods()
    kinds = list(ARCHITECTURES) if architecture is None else list(parse_methods(architecture))
    if not kinds:
        known = ", ".join(ARCHITECTURES)
        raise UsageError(f"--architecture {architecture!r} names none: known are {known}")
    for kind in kinds:
        if kind not in ARCHITECTURES:
            raise unknown("architecture", kind, ARCHITECTURES, where="--architecture")
    require_writable(str(out), "--out", whole=True)
    quiet_libraries()
    cells = []
    with tempfile.TemporaryDirectory(prefix="peftcore-") as folder:
        bench = Bench(Path(folder))
        for kind in kinds:
            for one in methods:
                cells.append(bench.fingerprint(one, kind))
                last = cells[-1]
                why = f": {last.detail}" if last.detail else ""
                by = "" if last.declared else ", declared by nobody,"
                click.echo(f"{one.slug} on {kind}{by} {last.verdict}{why}", err=True)
    content = to_json(cells, describe_environment())
    try:
        write_whole(out, json.dumps(content, indent=1) + "\n")
    except OSError as error:
        raise UsageError(f"--out {out} can't be written: {error.strerror or error}") from None
    failed = sum(cell.declared and cell.verdict is Verdict.FAILS for cell in cells)
    click.echo(f"{len(cells)} fingerprints in {out}, {failed} of them of failures", err=True)
    equal = twins(cells)
    for kind, one_slug, other_slug in equal:
        click.echo(f"{one_slug} and {other_slug} on {kind} have equal losses: one method", err=True)
    if failed or equal:
        sys.exit(EXIT_NOT_OK)

"""The command line: ``peftcore``, or ``python -m peftcore``."""

from __future__ import annotations

import dataclasses
import functools
import json
import os
import sys
import tempfile
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click
from tabulate import tabulate

from peftcore.accelerations import ACCELERATIONS
from peftcore.errors import (
    PeftcoreError,
    RecordNotStored,
    StoreError,
    UsageError,
    member,
    printable,
    unknown,
)
from peftcore.methods import ALL as ALL_METHODS
from peftcore.methods import METHODS, Trains
from peftcore.running.planning import Selection, parse_methods, plan
from peftcore.running.progress import ProgressDisplay
from peftcore.scenarios import DEFAULT_SCENARIO, SCENARIOS
from peftcore.trials import Engine, Outcome, Weights
from peftcore.writing import write_whole

if TYPE_CHECKING:
    from peftcore.gate.verdicts import GateMode
    from peftcore.results.records import Record

DEFAULT_STORE = Path(".peftcore")
DEFAULT_REPORTS = Path("reports")

EXIT_NOT_OK = 1
EXIT_USAGE = 2
EXIT_MISSING = 3


def _told(command: Callable[..., None]) -> Callable[..., None]:
    """Turn peftcore's errors into a sentence on standard error and their exit code."""

    @functools.wraps(command)
    def wrapped(*arguments: Any, **options: Any) -> None:
        try:
            command(*arguments, **options)
        except PeftcoreError as error:
            if isinstance(error, RecordNotStored):
                # Kept at least where whoever started the trial sees it.
                click.echo(error.line)
            code = EXIT_NOT_OK
            if isinstance(error, UsageError):
                code = EXIT_USAGE
            elif isinstance(error, StoreError):
                code = EXIT_MISSING
            click.echo(f"peftcore: {error}", err=True)
            sys.exit(code)

    return wrapped


_json_option = click.option(
    "--json", "json_file", metavar="FILE", help="Write JSON to FILE; '-' is standard output."
)
_store_option = click.option(
    "--store",
    type=click.Path(file_okay=False, path_type=Path),
    default=DEFAULT_STORE,
    show_default=True,
    help="Folder of the store.",
)


def _require_writable(file: str | None, option: str = "--json") -> None:
    """Check that a file can be written where it was asked for, before a trial is run for it."""
    if file in (None, "-"):
        return
    path = Path(file)
    if path.is_dir() or not os.access(path if path.exists() else path.parent, os.W_OK):
        raise UsageError(f"{option} {file} can't be written: name a file in a folder that is there")


def _write_json(content: Any, file: str | None) -> bool:
    """Write JSON where it was asked for; return whether that is standard output."""
    if file is None:
        return False
    text = json.dumps(content, ensure_ascii=False, allow_nan=False, sort_keys=True)
    if file == "-":
        click.echo(text)
        return True
    try:
        Path(file).write_text(text + "\n", encoding="utf-8")
    except OSError as error:
        raise UsageError(f"--json {file} can't be written: {error.strerror}") from None
    return False


@click.group(context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 100})
@click.version_option(package_name="peftcore")
def main() -> None:
    """Compare fine-tuning methods on equal terms, and say how sure the answer is."""


@main.command()
@click.option("--scenario", default=DEFAULT_SCENARIO, show_default=True, help="Where to compare.")
@click.option("--method", required=True, help="Method to run, by its slug.")
@click.option("--seed", type=click.IntRange(0, 2**32 - 1), help="Default: the scenario's first.")
@click.option("--model", metavar="ID-OR-PATH", help="Another backbone in the scenario's place.")
@click.option("--data", metavar="ID-OR-PATH", help="Another data set in the scenario's place.")
@click.option("--weights", default="pretrained", show_default=True, help="pretrained or random.")
@click.option(
    "--set", "settings", multiple=True, metavar="KEY=VALUE", help="Override one field; repeatable."
)
@click.option("--engine", default="peftcore", show_default=True, help="peftcore or trainer.")
@click.option("--timeout", type=click.FloatRange(min=0, min_open=True), metavar="SECONDS")
@click.option(
    "--checkpoint-seconds",
    type=click.FloatRange(min=0),
    metavar="SECONDS",
    help="Training between two checkpoints; default: 60, or as many more as cost about 1%.",
)
@click.option("--fresh", is_flag=True, help="Run again what the store already has.")
@_store_option
@_json_option
@_told
def run(
    scenario: str,
    method: str,
    seed: int | None,
    model: str | None,
    data: str | None,
    weights: str,
    settings: tuple[str, ...],
    engine: str,
    timeout: float | None,
    checkpoint_seconds: float | None,
    fresh: bool,
    store: Path,
    json_file: str | None,
) -> None:
    """Run one trial and print its record; progress goes to standard error."""
    from peftcore.results.collecting import Collector

    selection = Selection(
        scenario=scenario,
        methods=parse_methods(method),
        seeds=None if seed is None else (seed,),
        model=model,
        data=data,
        weights=member(Weights, weights, where="--weights"),
        settings=settings,
        engine=member(Engine, engine, where="--engine"),
    )
    _require_writable(json_file)
    trials = plan(dataclasses.replace(selection, seeds=selection.find_seeds()[:1]))
    if len(trials) != 1:
        raise UsageError(f"--method {method} names {len(trials)} methods: run takes one")
    trial = trials[0]
    _mend(store)
    collector = Collector(
        store, ProgressDisplay(sys.stderr), timeout, fresh, checkpoint_seconds=checkpoint_seconds
    )
    record = collector.collect(trial)
    if collector.reused:
        click.echo(f"{trial.id}: reused from {store}", err=True)
    if not _write_json(record.to_json(), json_file):
        click.echo(record.to_line())
    if record.outcome is not Outcome.OK:
        sys.exit(EXIT_NOT_OK)


@main.command()
@click.option(
    "--data",
    required=True,
    type=click.Path(path_type=Path),
    help="A file with texts and their classes (CSV, parquet, JSON lines), or a folder.",
)
@click.option("--model", default="minilm", show_default=True, metavar="ID-OR-PATH")
@click.option("--budget", default="30m", show_default=True, help="Wall time for all of it.")
@click.option("--memory", metavar="SIZE", help="Most memory that training may take, such as 8GB.")
@click.option(
    "--within",
    type=click.FloatRange(min=0, min_open=True, max=50),
    default=0.5,
    show_default=True,
    metavar="POINTS",
    help="How far below the best it may be and still do.",
)
@click.option(
    "--cost",
    default="parameters",
    show_default=True,
    help="What the cheapest is told by: parameters, time or memory.",
)
@click.option("--methods", metavar="NAME[,NAME…]", help="Methods or groups of them to race.")
@click.option(
    "--rates",
    type=click.IntRange(1, 9),
    default=3,
    show_default=True,
    help="Learning rates to try of each method.",
)
@click.option(
    "--set", "settings", multiple=True, metavar="KEY=VALUE", help="Override one field; repeatable."
)
@click.option(
    "--out",
    type=click.Path(path_type=Path),
    default=Path("peftcore-choice"),
    show_default=True,
    help="Folder for the trained model, its card and the report.",
)
@_store_option
@_json_option
@_told
def choose(
    data: Path,
    model: str,
    budget: str,
    memory: str | None,
    within: float,
    cost: str,
    methods: str | None,
    rates: int,
    settings: tuple[str, ...],
    out: Path,
    store: Path,
    json_file: str | None,
) -> None:
    """Find the method for your own data: race several, train the best, say how sure that is."""
    from peftcore.choosing.asking import (
        DEFAULT_METHODS,
        Cost,
        Request,
        parse_bytes,
        parse_duration,
        parse_raced,
    )
    from peftcore.choosing.choice import choose as choose_method
    from peftcore.choosing.papers import write_papers
    from peftcore.choosing.telling import to_json, verdict
    from peftcore.choosing.trialling import store_of

    names = DEFAULT_METHODS if methods is None else parse_methods(methods)
    request = Request(
        data=data,
        model=model,
        methods=parse_raced(names, where="--methods"),
        rates=rates,
        budget_seconds=parse_duration(budget, where="--budget"),
        memory_bytes=None if memory is None else parse_bytes(memory, where="--memory"),
        within=within,
        cost=member(Cost, cost, where="--cost"),
        settings=settings,
        store=store,
        out=out,
    )
    _require_writable(json_file)
    _mend(store_of(store))
    choice = choose_method(
        request, ProgressDisplay(sys.stderr), lambda line: click.echo(printable(line), err=True)
    )
    path = write_papers(choice)
    to_stderr = _write_json(to_json(choice), json_file)
    for line in (*verdict(choice), f"The report is {path}, the model is in {out / 'adapter'}."):
        click.echo(printable(line), err=to_stderr)


@main.command("import")
@click.argument("file", type=click.Path(path_type=Path))
@_store_option
@_told
def import_records(file: Path, store: Path) -> None:
    """Put exported records (records.jsonl) back into a store."""
    from peftcore.results.records import read_records
    from peftcore.results.selecting import of_serving, of_sizes
    from peftcore.results.store import Store, serving_store, sizes_store

    # Read to the end before the store is touched: a broken file must not leave half of itself.
    records = list(read_records(file))
    if not records:
        raise UsageError(f"{file} holds no record")
    # What is measured beside the comparison would pass for its newest setting.
    if all(map(of_serving, records)):
        store = serving_store(store)
    elif of_sizes(records):
        store = sizes_store(store)
    with Store(store) as opened:
        for record in records:
            opened.commit(record)
        click.echo(f"{len(records)} records from {file} are in {opened.path}", err=True)


@main.command()
@_store_option
@click.option("--scenario", help="Only this scenario; default: each that the store has.")
@click.option(
    "--out",
    type=click.Path(file_okay=False, path_type=Path),
    default=DEFAULT_REPORTS,
    show_default=True,
    help="Folder of the reports; each scenario gets one of its name in it.",
)
@_told
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
    from peftcore.report.sizes.render import SIZES_NAME, write_sizes_report
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

    _stored_somewhere(store)
    sized = _read([sizes_store(store)], scenario) if has_store(sizes_store(store)) else []
    beside = [place for place in all_stores(store) if place != sizes_store(store)]
    records = _read([place for place in beside if has_store(place)], scenario)
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
    if compared:
        tell(write_engine_report(compared, out / "engine"), compared)


@main.command()
@_store_option
@click.option("--scenario", help="Only this scenario; needed where the store has several.")
@click.option(
    "--out",
    type=click.Path(dir_okay=False, path_type=Path),
    required=True,
    help="File of the baseline.",
)
@_told
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


@main.command()
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
@_json_option
@_told
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
    _require_writable(json_file)
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
    click.echo("\n".join(to_lines(verdicts)), err=_write_json(content, json_file))
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
    to_stderr = _write_json(content, json_file)
    click.echo("\n".join(to_lines(found)), err=to_stderr)
    if content["failed"]:
        sys.exit(EXIT_NOT_OK)


@main.command()
@click.option(
    "--out",
    required=True,
    type=click.Path(dir_okay=False, path_type=Path),
    help="Write the fingerprints to this file.",
)
@click.option("--method", default="all", show_default=True, help="These methods or groups only.")
@click.option("--architecture", metavar="NAME[,NAME…]", help="These only; default: all.")
@_told
def fingerprint(out: Path, method: str, architecture: str | None) -> None:
    """Write what each method does on a tiny model of each architecture, as numbers.

    `peftcore compare A.json B.json` says what changed between two such files: of two versions of
    peft, of a branch and main. With all methods it tries what the installed peft has besides, too.
    Exits with 1 where a method fails that is declared.
    """
    from peftcore.conformance.cells import Bench, undeclared_methods
    from peftcore.conformance.fingerprints import Verdict, to_json
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
    for kind in kinds:
        if kind not in ARCHITECTURES:
            raise unknown("architecture", kind, ARCHITECTURES, where="--architecture")
    _require_writable(str(out), "--out")
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
    write_whole(out, json.dumps(content, indent=1) + "\n")
    failed = sum(cell.declared and cell.verdict is Verdict.FAILS for cell in cells)
    click.echo(f"{len(cells)} fingerprints in {out}, {failed} of them of failures", err=True)
    if failed:
        sys.exit(EXIT_NOT_OK)


def _mend(store: Path) -> int:
    """Mend a store that is damaged, say so, and return how many were."""
    from peftcore.results.repairing import mend_stores

    repairs = mend_stores(store)
    for repair in repairs:
        click.echo(f"peftcore: {repair}", err=True)
    return len(repairs)


@main.command()
@_store_option
@_told
def check(store: Path) -> None:
    """Look at every record of a store; a damaged one is moved aside, and what is whole is saved.

    A session and `peftcore run` do so before the first trial. Exits with 3 if it was damaged.
    """
    _stored_somewhere(store)
    if _mend(store):
        sys.exit(EXIT_MISSING)
    click.echo(f"{len(_stored(store, None))} records in {store}, each as it was written", err=True)


def _stored_somewhere(folder: Path) -> None:
    """Check that there is a store, without opening it."""
    from peftcore.results.store import all_stores, has_store

    if not any(has_store(place) for place in all_stores(folder)):
        raise UsageError(f"there is no store in {folder}: run a trial or import records first")


@main.command("audit")
@click.argument("folder", metavar="DIR", type=click.Path(path_type=Path))
@_json_option
@_told
def audit_report(folder: Path, json_file: str | None) -> None:
    """Compute every number of a published report again, and say what does not follow.

    DIR holds report.md and records.jsonl. Exits with 1 where something does not follow from the
    records; needs neither a GPU nor torch.
    """
    from peftcore.audit.auditing import audit

    _require_writable(json_file)
    found = audit(folder)
    as_json = _write_json(found.to_json(), json_file)
    for line in found.lines():
        click.echo(line, err=as_json)
    if not found.follows:
        sys.exit(EXIT_NOT_OK)


@main.command()
@click.argument("file", type=click.Path(path_type=Path))
@click.option("--data", required=True, metavar="ID-OR-PATH", help="Where the data is.")
@click.option("--most", type=click.IntRange(1), default=5, show_default=True, help="Of each kind.")
@_json_option
@_told
def flips(file: Path, data: str, most: int, json_file: str | None) -> None:
    """Show the texts of examples that flip against Full with every seed.

    FILE is a report's records.jsonl; DATA is what its trials were run on, which a report does not
    hold.
    """
    from peftcore.audit.findings import shown
    from peftcore.report.texts import flipped_texts
    from peftcore.results.records import read_records

    _require_writable(json_file)
    found = flipped_texts(list(read_records(file)), data, most)
    if _write_json([dataclasses.asdict(one) for one in found], json_file):
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


def _stored(folder: Path, scenario: str | None) -> list[Record]:
    """Return the records of a store and of those in it."""
    from peftcore.results.store import all_stores, has_store

    # Without any, the error names the folder that was asked for.
    folders = [place for place in all_stores(folder) if has_store(place)] or [folder]
    return _read(folders, scenario)


def _read(folders: Sequence[Path], scenario: str | None) -> list[Record]:
    from peftcore.results.store import Store

    found: list[Record] = []
    for place in folders:
        with Store(place, create=False) as opened:
            found += opened.records(scenario)
    return found


@main.command()
@_json_option
@_told
def methods(json_file: str | None) -> None:
    """List the methods that can be compared."""
    content = [
        {
            "slug": method.slug,
            "name": method.name,
            "summary": method.summary,
            "paper": method.paper,
            "reference": method.reference,
            "groups": list(method.groups),
            "hyperparameters": method.hyperparameters(),
        }
        for method in METHODS
    ]
    if not _write_json(content, json_file):
        rows = [
            [
                method.slug,
                method.name,
                ", ".join(method.groups) or "—",
                method.summary,
                method.paper or "—",
            ]
            for method in METHODS
        ]
        click.echo(tabulate(rows, headers=["slug", "name", "groups", "what it does", "paper"]))


@main.command()
@_json_option
@_told
def scenarios(json_file: str | None) -> None:
    """List the scenarios in which methods are compared."""
    content = [scenario.describe() for scenario in SCENARIOS]
    if not _write_json(content, json_file):
        rows = [
            [
                scenario.name,
                scenario.title,
                scenario.backbone,
                scenario.data,
                f"{scenario.task.train_examples:,} / {scenario.task.test_examples:,}",
                scenario.task.max_length,
                scenario.recipe.epochs,
                str(scenario.recipe.precision),
                "yes" if scenario.gpu else "no",
            ]
            for scenario in SCENARIOS
        ]
        headers = [
            "name",
            "what it is",
            "backbone",
            "data",
            "train / test",
            "tokens",
            "epochs",
            "precision",
            "needs a GPU",
        ]
        click.echo(tabulate(rows, headers=headers))


@main.command()
@_json_option
@_told
def accelerations(json_file: str | None) -> None:
    """List the ways in which the engine makes training cheap, and what each changes."""
    content = [dataclasses.asdict(acceleration) for acceleration in ACCELERATIONS]
    if not _write_json(content, json_file):
        rows = [[a.name, a.summary, a.numerics] for a in ACCELERATIONS]
        click.echo(tabulate(rows, headers=["name", "what it does", "what it changes"]))


@main.command()
@_json_option
@_told
def doctor(json_file: str | None) -> None:
    """Say what this machine can run, and what is missing, in words."""
    from peftcore.diagnosis import examine

    findings = examine()
    if not _write_json([dataclasses.asdict(finding) for finding in findings], json_file):
        for finding in findings:
            mark = "ok     " if finding.ok else "missing"
            click.echo(f"{mark}  {finding.subject}: {finding.words}")


if __name__ == "__main__":
    main()

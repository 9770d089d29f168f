"""Commands that train: one trial, or a choice by a race of many."""

from __future__ import annotations

import dataclasses
import sys
from pathlib import Path

import click

from peftcore.commands.speaking import (
    EXIT_NOT_OK,
    FiniteRange,
    json_option,
    require_writable,
    told,
    write_json,
)
from peftcore.commands.stores import mend, store_option
from peftcore.errors import UsageError, member, printable
from peftcore.running.planning import Selection, parse_methods, plan
from peftcore.running.progress import ProgressDisplay
from peftcore.scenarios import DEFAULT_SCENARIO
from peftcore.trials import Engine, Outcome, Weights


@click.command()
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
@click.option("--timeout", type=FiniteRange(min=0, min_open=True), metavar="SECONDS")
@click.option(
    "--checkpoint-seconds",
    type=FiniteRange(min=0),
    metavar="SECONDS",
    help="Training between two checkpoints; default: 60, or as many more as cost about 1%.",
)
@click.option("--fresh", is_flag=True, help="Run again what the store already has.")
@store_option
@json_option
@told
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
    require_writable(json_file)
    trials = plan(dataclasses.replace(selection, seeds=selection.find_seeds()[:1]))
    if len(trials) != 1:
        raise UsageError(f"--method {method} names {len(trials)} methods: run takes one")
    trial = trials[0]
    mend(store)
    collector = Collector(
        store, ProgressDisplay(sys.stderr), timeout, fresh, checkpoint_seconds=checkpoint_seconds
    )
    record = collector.collect(trial)
    if collector.reused:
        click.echo(f"{trial.id}: reused from {store}", err=True)
    if not write_json(record.to_json(), json_file):
        click.echo(record.to_line())
    if record.outcome is not Outcome.OK:
        sys.exit(EXIT_NOT_OK)


@click.command()
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
    type=FiniteRange(min=0, min_open=True, max=50),
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
@store_option
@json_option
@told
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
    require_writable(json_file)
    mend(store_of(store))
    choice = choose_method(
        request, ProgressDisplay(sys.stderr), lambda line: click.echo(printable(line), err=True)
    )
    path = write_papers(choice)
    to_stderr = write_json(to_json(choice), json_file)
    for line in (*verdict(choice), f"The report is {path}, the model is in {out / 'adapter'}."):
        click.echo(printable(line), err=to_stderr)

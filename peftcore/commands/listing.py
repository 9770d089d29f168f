"""Commands that list what there is, and what this machine can run."""

from __future__ import annotations

import dataclasses

import click
from tabulate import tabulate

from peftcore.accelerations import ACCELERATIONS
from peftcore.commands.speaking import json_option, told, write_json
from peftcore.methods import METHODS
from peftcore.scenarios import SCENARIOS


@click.command()
@json_option
@told
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
    if not write_json(content, json_file):
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


@click.command()
@json_option
@told
def scenarios(json_file: str | None) -> None:
    """List the scenarios in which methods are compared."""
    content = [scenario.describe() for scenario in SCENARIOS]
    if not write_json(content, json_file):
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


@click.command()
@json_option
@told
def accelerations(json_file: str | None) -> None:
    """List the ways in which the engine makes training cheap, and what each changes."""
    content = [dataclasses.asdict(acceleration) for acceleration in ACCELERATIONS]
    if not write_json(content, json_file):
        rows = [[a.name, a.summary, a.numerics] for a in ACCELERATIONS]
        click.echo(tabulate(rows, headers=["name", "what it does", "what it changes"]))


@click.command()
@json_option
@told
def doctor(json_file: str | None) -> None:
    """Say what this machine can run, and what is missing, in words."""
    from peftcore.diagnosis import examine

    findings = examine()
    if not write_json([dataclasses.asdict(finding) for finding in findings], json_file):
        for finding in findings:
            mark = "ok     " if finding.ok else "missing"
            click.echo(f"{mark}  {finding.subject}: {finding.words}")

"""What `peftcore choose` recommends, against everything run to the end.

::

    python benchmarks/choice_evidence.py run --name reviews --data reviews.csv --fresh others.csv \
        --about "2,000 reviews" --work evidence --budget 20m
    python benchmarks/choice_evidence.py report --work evidence --name reviews

``run`` has the choice made, with its budget of time, on a machine that should do nothing else. Then
each pair of a method and a learning rate that was in the race, tried or not, is trained on all but
the choice's test set, and tested on examples that the choice never saw: that may take hours, and
goes on where it stopped. ``report`` publishes both, and makes the page beside them from all that is
published. Without ``--work`` it only makes the page again. What can't be done ends in a sentence,
with exit code 2.
"""

from __future__ import annotations

import argparse
import json
import shutil
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from base_and_head import Version
from choice_page import arms, page

from peftcore.choosing.asking import DEFAULT_RATES
from peftcore.choosing.parts import Parts, divide, write_part
from peftcore.choosing.trialling import REFERENCES
from peftcore.data.adapting import adapt_files
from peftcore.data.sources import read_examples
from peftcore.errors import PeftcoreError, UsageError
from peftcore.results.records import Record, read_records, write_records
from peftcore.scenarios import Recipe, Task, override
from peftcore.writing import write_whole

REPOSITORY = Path(__file__).resolve().parent.parent
PUBLISHED = REPOSITORY / "reports" / "choose"
SCENARIO = "imdb-minilm"
"""Whose backbone a choice has by default; all else of it is replaced by the choice's own."""

TO_THE_END = "to-the-end.jsonl"
"""The records of the trials that the last run asked for, in its folder."""

EXIT_USAGE = 2


def choose(asked: argparse.Namespace, folder: Path, parts: Parts) -> dict[str, Any]:
    """Return what the choice came to, made if it was not before.

    Raises:
        UsageError: it was made before, and something else was asked for then.
        PeftcoreError: it did not end well.
    """
    told, beside = folder / "choice.json", folder / "asked.json"
    # Of the data what it holds counts, and not where it lies.
    wanted = {
        "data": parts.folder.name,
        "model": asked.model,
        "budget": asked.budget,
        "methods": asked.methods,
        "rates": asked.rates,
        "set": list(asked.settings),
    }
    if told.is_file():
        before = json.loads(beside.read_text(encoding="utf-8")) if beside.is_file() else {}
        changed = [name for name, value in wanted.items() if before.get(name) != value]
        if changed:
            raise UsageError(
                f"{told} was made with another --{' and another --'.join(changed)} than is asked "
                "for now: name another --work or --name, or delete it to have the choice made again"
            )
    else:
        settings = [part for setting in asked.settings for part in ("--set", setting)]
        found = _version().ask(
            *("choose", "--data", str(asked.data.resolve()), "--budget", asked.budget),
            *("--store", str(folder / "store"), "--out", str(folder / "choice")),
            *("--json", str(folder / "making.json"), *settings, *_model(asked)),
            *(() if asked.methods is None else ("--methods", asked.methods)),
            *("--rates", str(asked.rates)),
        )
        if found.returncode != 0:
            raise PeftcoreError(f"the choice did not end well: {_last(found.stderr)}")
        write_whole(beside, json.dumps(wanted, indent=1, sort_keys=True) + "\n")
        (folder / "making.json").rename(told)
    choice: dict[str, Any] = json.loads(told.read_text(encoding="utf-8"))
    return choice


def _model(asked: argparse.Namespace) -> tuple[str, ...]:
    return () if asked.model is None else ("--model", asked.model)


def _last(text: str) -> str:
    return (text.strip().splitlines() or ["no word on why"])[-1]


def _version() -> Version:
    return Version("here", REPOSITORY, sys.executable)


def write_data(asked: argparse.Namespace, folder: Path, parts: Parts) -> tuple[Path, int]:
    """Write the data of all trials: what the choice did not keep for its test, and fresh examples.

    Returns:
        The folder, and how many examples there are to be tested on.

    Raises:
        UsageError: the fresh examples can't be read, or are not of the same kind, or none is fresh.
    """
    if not asked.fresh.is_file():
        raise UsageError(f"--fresh {asked.fresh} is no file: name one, in the columns of the data")
    task, _, named = override(Task(), Recipe(), tuple(asked.settings))
    fresh = adapt_files([asked.fresh], task, named).task
    if fresh.classes != parts.task.classes:
        raise UsageError(f"--fresh {asked.fresh} has other classes than {asked.data}")
    if (fresh.pair_column is None) is not (parts.task.pair_column is None):
        raise UsageError(f"of {asked.fresh} and {asked.data} only one has pairs of texts")
    examples = read_examples([asked.fresh], fresh, what="the fresh examples")
    had = [parts.final / "train.jsonl", parts.final / "test.jsonl"]
    known = set(read_examples(had, parts.task, what="the data").joined())
    data = folder / "everything"
    data.mkdir(exist_ok=True)
    shutil.copy(parts.final / "train.jsonl", data / "train.jsonl")
    # A text that the choice had is no fresh one.
    new = [place for place, text in enumerate(examples.joined()) if text not in known]
    if not new:
        raise UsageError(f"--fresh {asked.fresh} holds no text that {asked.data} does not hold")
    write_part(data / "test.jsonl", examples.select(new), fresh)
    return data, len(new)


def run(asked: argparse.Namespace) -> None:
    """Have the choice made, and run everything to the end.

    Raises:
        PeftcoreError: something can't be used, or did not end well.
    """
    folder = (asked.work / asked.name).resolve()
    folder.mkdir(parents=True, exist_ok=True)
    task, _, named = override(Task(), Recipe(), tuple(asked.settings))
    parts = divide(asked.data, task, named=named, within=folder / "parts")
    data, test = write_data(asked, folder, parts)
    choice = choose(asked, folder, parts)
    (last,) = (
        record
        for record in read_records(folder / "choice" / "records.jsonl")
        if record.method == choice["chosen"]["method"]
        and record.trial["task"]["test_examples"] == choice["test_examples"]
        and record.trial["data"]["name"].endswith("-final")
    )
    recipe, pair = last.trial["recipe"], parts.task.pair_column
    shared = {
        **{name: value for name, value in recipe.items() if name != "accelerations"},
        "max_length": last.trial["task"]["max_length"],
        "train_examples": parts.train + parts.validation,
        "test_examples": test,
        # The first text has the usual column's name, beside which no second one is looked for.
        **({} if pair is None else {"pair_column": pair}),
    }
    # What an earlier run asked for is in the store still, and is not what this one comes to.
    (folder / TO_THE_END).unlink(missing_ok=True)
    records = []
    for seed in asked.seeds:
        for slug, rate in [*arms(choice), *((slug, None) for slug in REFERENCES)]:
            own = {**shared, "learning_rate": rate or rate_beside(folder, slug)}
            settings = [part for k, v in own.items() for part in ("--set", f"{k}={v}")]
            found = _version().ask(
                *("run", "--scenario", SCENARIO, "--method", slug, "--seed", str(seed)),
                *("--data", str(data), "--store", str(folder / "to-the-end"), *settings),
                *("--json", "-", *_model(asked)),
            )
            # A trial that does not end well is a result like any other.
            if found.returncode not in (0, 1) or not found.stdout.strip():
                raise PeftcoreError(f"{slug}, seed {seed}: {_last(found.stderr)}")
            records.append(Record.from_json(json.loads(found.stdout)))
            sys.stderr.write(f"{asked.name}: {slug} at {own['learning_rate']:g}, seed {seed}\n")
    about = {"about": asked.about, "seeds": asked.seeds, "choice": choice}
    write_whole(folder / "about.json", json.dumps(about, indent=1, sort_keys=True) + "\n")
    write_records(folder / TO_THE_END, records)


def rate_beside(folder: Path, slug: str) -> float:
    """Return the learning rate that a reference row had in the choice."""
    records = read_records(folder / "choice" / "records.jsonl")
    return next(float(r.trial["recipe"]["learning_rate"]) for r in records if r.method == slug)


def publish(work: Path, name: str, out: Path) -> None:
    """Publish what came of the choice and of everything run to the end.

    Raises:
        UsageError: not all of it was run.
    """
    folder = work / name
    if not (folder / TO_THE_END).is_file():
        raise UsageError(f"{folder} holds no finished run: give the command run again to finish it")
    out.mkdir(parents=True, exist_ok=True)
    about = json.loads((folder / "about.json").read_text(encoding="utf-8"))
    # Where it lies on this machine is nobody's concern.
    del about["choice"]["out"]
    (out / f"{name}.json").write_text(json.dumps(about, indent=1, sort_keys=True) + "\n")
    shutil.copy(folder / "choice" / "records.jsonl", out / f"{name}-race.jsonl")
    records = sorted(
        read_records(folder / TO_THE_END),
        key=lambda r: (r.method, r.trial["recipe"]["learning_rate"], r.seed),
    )
    write_records(out / f"{name}.jsonl", records)


def parse(arguments: Sequence[str] | None) -> argparse.Namespace:
    """Return what the command line asks for."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("task", choices=["run", "report"])
    parser.add_argument("--name", help="what the data is called on the page")
    parser.add_argument("--data", type=Path, help="what is chosen on, as peftcore choose takes it")
    parser.add_argument("--fresh", type=Path, help="a file of others, in the same columns")
    parser.add_argument("--model", metavar="ID-OR-PATH", help="as peftcore choose takes it")
    parser.add_argument("--about", default="", help="a sentence on the data")
    parser.add_argument("--budget", default="20m", help="of the choice")
    parser.add_argument("--methods", help="what it races, as peftcore choose takes it")
    parser.add_argument("--rates", type=int, default=DEFAULT_RATES, help="rates of each method")
    parser.add_argument("--set", dest="settings", action="append", default=[], metavar="KEY=VALUE")
    parser.add_argument("--seeds", type=int, nargs="+", default=[42], help="of all run to the end")
    parser.add_argument("--work", type=Path, help="folder of stores")
    parser.add_argument("--out", type=Path, default=PUBLISHED, help="folder of the page")
    asked = parser.parse_args(arguments)
    needed = ["name", "data", "fresh", "work"] if asked.task == "run" else []
    if asked.task == "report" and asked.work is not None:
        needed = ["name"]
    for name in needed:
        if getattr(asked, name) is None:
            parser.error(f"{asked.task} needs --{name}")
    return asked


def main(arguments: Sequence[str] | None = None) -> None:
    """Do what the command line asks for."""
    asked = parse(arguments)
    try:
        if asked.task == "run":
            run(asked)
            return
        if asked.work is not None:
            publish(asked.work, asked.name, asked.out)
    except PeftcoreError as error:
        sys.stderr.write(f"choice_evidence: {error}\n")
        sys.exit(EXIT_USAGE)
    (asked.out / "report.md").write_text(page(asked.out), encoding="utf-8", newline="\n")


if __name__ == "__main__":
    main()

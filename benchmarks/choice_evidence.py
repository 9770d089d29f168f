"""What `peftcore choose` recommends, against everything run to the end.

::

    python benchmarks/choice_evidence.py run --name reviews --data reviews.csv --fresh others.csv \
        --about "2,000 reviews" --work evidence --budget 20m
    python benchmarks/choice_evidence.py report --work evidence --name reviews

``run`` has the choice made, with its budget of time, on a machine that should do nothing else. Then
each pair of a method and a learning rate that was in the race, tried or not, is trained on all but
the choice's test set, and tested on examples that the choice never saw: that may take hours, and
goes on where it stopped. ``report`` publishes both, and makes the page beside them from all that is
published. Without ``--work`` it only makes the page again.
"""

from __future__ import annotations

import argparse
import json
import shutil
import sys
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

from base_and_head import Version

from peftcore.choosing.arms import Arm, End
from peftcore.choosing.asking import DEFAULT_RATES
from peftcore.choosing.parts import divide, write_part
from peftcore.choosing.trialling import REFERENCES
from peftcore.choosing.wording import in_minutes, percent
from peftcore.data.adapting import adapt_files
from peftcore.data.sources import read_examples
from peftcore.methods import find_method
from peftcore.report.markdown import escape, table
from peftcore.report.pairing import answers_of, pair
from peftcore.results.records import Record, read_records, write_records
from peftcore.results.store import Store
from peftcore.scenarios import Recipe, Task, override
from peftcore.statistics.variance import wilson
from peftcore.trials import Outcome

REPOSITORY = Path(__file__).resolve().parent.parent
PUBLISHED = REPOSITORY / "reports" / "choose"
SCENARIO = "imdb-minilm"
"""Whose backbone a choice has by default; all else of it is replaced by the choice's own."""


# Running


def choose(asked: argparse.Namespace, folder: Path) -> dict[str, Any]:
    """Return what the choice came to, made if it was not before."""
    told = folder / "choice.json"
    if not told.is_file():
        settings = [part for setting in asked.settings for part in ("--set", setting)]
        found = _version().ask(
            *("choose", "--data", str(asked.data.resolve()), "--budget", asked.budget),
            *("--store", str(folder / "store"), "--out", str(folder / "choice")),
            *("--json", str(folder / "making.json"), *settings),
            *(() if asked.methods is None else ("--methods", asked.methods)),
            *("--rates", str(asked.rates)),
        )
        if found.returncode != 0:
            sys.exit(f"the choice did not end well: {found.stderr.strip().splitlines()[-1]}")
        (folder / "making.json").rename(told)
    choice: dict[str, Any] = json.loads(told.read_text(encoding="utf-8"))
    return choice


def _version() -> Version:
    return Version("here", REPOSITORY, sys.executable)


def write_data(asked: argparse.Namespace, folder: Path) -> tuple[Path, int, int]:
    """Write the data of all trials: what the choice did not keep for its test, and fresh examples.

    Returns:
        The folder, and how many examples there are to train on and to be tested on.
    """
    task, _, named = override(Task(), Recipe(), tuple(asked.settings))
    parts = divide(asked.data, task, named=named, within=folder / "parts")
    fresh = adapt_files([asked.fresh], task, named).task
    if fresh.classes != parts.task.classes:
        sys.exit(f"{asked.fresh} has other classes than {asked.data}")
    examples = read_examples([asked.fresh], fresh, what="the fresh examples")
    known = set(read_examples([asked.data], fresh, what="the data").joined())
    data = folder / "everything"
    data.mkdir(exist_ok=True)
    shutil.copy(parts.final / "train.jsonl", data / "train.jsonl")
    # A text that the choice had is no fresh one.
    new = [place for place, text in enumerate(examples.joined()) if text not in known]
    write_part(data / "test.jsonl", examples.select(new), fresh)
    return data, parts.train + parts.validation, len(new)


def run(asked: argparse.Namespace) -> None:
    """Have the choice made, and run everything to the end."""
    folder = (asked.work / asked.name).resolve()
    folder.mkdir(parents=True, exist_ok=True)
    choice = choose(asked, folder)
    data, train, test = write_data(asked, folder)
    (last,) = (
        record
        for record in read_records(folder / "choice" / "records.jsonl")
        if record.method == choice["chosen"]["method"]
        and record.trial["task"]["test_examples"] == choice["test_examples"]
        and record.trial["data"]["name"].endswith("-final")
    )
    recipe, task = last.trial["recipe"], last.trial["task"]
    shared = {
        **{name: value for name, value in recipe.items() if name != "accelerations"},
        "max_length": task["max_length"],
        "train_examples": train,
        "test_examples": test,
    }
    about = {"about": asked.about, "seeds": asked.seeds, "choice": choice}
    (folder / "about.json").write_text(json.dumps(about, indent=1, sort_keys=True) + "\n")
    for seed in asked.seeds:
        for slug, rate in [*arms(choice), *((slug, None) for slug in REFERENCES)]:
            own = {**shared, "learning_rate": rate or rate_beside(folder, slug)}
            settings = [part for k, v in own.items() for part in ("--set", f"{k}={v}")]
            found = _version().ask(
                *("run", "--scenario", SCENARIO, "--method", slug, "--seed", str(seed)),
                *("--data", str(data), "--store", str(folder / "to-the-end"), *settings),
            )
            # A trial that does not end well is a result like any other.
            if found.returncode not in (0, 1):
                sys.exit(found.stderr.strip())
            sys.stderr.write(f"{asked.name}: {slug} at {own['learning_rate']:g}, seed {seed}\n")


def arms(choice: Mapping[str, Any]) -> list[tuple[str, float]]:
    """Return the method and the learning rate of each arm."""
    return [(arm["method"], arm["learning_rate"]) for arm in choice["arms"]]


def rate_beside(folder: Path, slug: str) -> float:
    """Return the learning rate that a reference row had in the choice."""
    records = read_records(folder / "choice" / "records.jsonl")
    return next(float(r.trial["recipe"]["learning_rate"]) for r in records if r.method == slug)


def publish(work: Path, name: str, out: Path) -> None:
    """Publish what came of the choice and of everything run to the end."""
    folder = work / name
    out.mkdir(parents=True, exist_ok=True)
    about = json.loads((folder / "about.json").read_text(encoding="utf-8"))
    # Where it lies on this machine is nobody's concern.
    del about["choice"]["out"]
    (out / f"{name}.json").write_text(json.dumps(about, indent=1, sort_keys=True) + "\n")
    shutil.copy(folder / "choice" / "records.jsonl", out / f"{name}-race.jsonl")
    with Store(folder / "to-the-end", create=False) as store:
        records = sorted(
            store.records(SCENARIO),
            key=lambda r: (r.method, r.trial["recipe"]["learning_rate"], r.seed),
        )
    write_records(out / f"{name}.jsonl", records)


# The page


@dataclass(frozen=True)
class Reached:
    """What an arm reached on fresh examples, run to the end.

    Attributes:
        name: what a reader calls it.
        trials: one a seed, finished; none if one of them did not end well.
    """

    name: str
    trials: tuple[Record, ...]

    @cached_property
    def accuracy(self) -> float:
        """The mean over seeds, a share of 1; of a trial that did not end well 0."""
        right = answers_of(self.trials) if self.trials else None
        return 0.0 if right is None else float(right.mean())

    def shown(self) -> str:
        """Return the accuracy in percent, with the interval of one trained model."""
        right = answers_of(self.trials) if self.trials else None
        if right is None:
            return "failed"
        if len(right) > 1:
            each = ", ".join(f"{100 * one.mean():.1f}" for one in right)
            return f"{100 * self.accuracy:.1f} ({each})"
        low, high = wilson(int(right.sum()), right.size)
        return f"{100 * self.accuracy:.1f} [{100 * low:.1f}, {100 * high:.1f}]"

    def against(self, other: Reached) -> str:
        """Return the difference to another in points, with its interval."""
        paired = pair(self.trials, other.trials)
        if paired is None or paired.interval_points is None:
            return "—"
        low, high = paired.interval_points
        return f"{paired.mean_points:+.2f} [{low:+.2f}, {high:+.2f}]"


def reached(records: Sequence[Record]) -> dict[tuple[str, float], Reached]:
    """Return what each arm reached, by its method and learning rate."""
    grouped: dict[tuple[str, float], list[Record]] = {}
    for record in records:
        key = (record.method, float(record.trial["recipe"]["learning_rate"]))
        grouped.setdefault(key, []).append(record)
    found = {}
    for (slug, rate), trials in grouped.items():
        arm = Arm(method=find_method(slug), rate=rate)
        whole = all(record.outcome is Outcome.OK for record in trials)
        found[slug, rate] = Reached(
            arm.method.name if arm.method.reference else arm.words, tuple(trials) if whole else ()
        )
    return found


_ENDS = {
    End.FINISHED: "raced to the end",
    End.BEHIND: "dropped: improbably the best",
    End.BUDGET: "left for want of time",
    End.UNTRIED: "not tried",
    End.MEMORY: "too much memory",
    End.FAILED: "failed",
}


def section(folder: Path, name: str) -> Iterator[str]:
    """Yield the paragraphs on one choice."""
    about = json.loads((folder / f"{name}.json").read_text(encoding="utf-8"))
    choice, seeds = about["choice"], len(about["seeds"])
    records = list(read_records(folder / f"{name}.jsonl"))
    race = list(read_records(folder / f"{name}-race.jsonl"))
    found = reached(records)
    rows = {arm: found[arm] for arm in arms(choice)}
    chosen = rows[choice["chosen"]["method"], choice["chosen"]["learning_rate"]]
    # Of several that are the best what was recommended is it.
    best = max(rows.values(), key=lambda one: (one.accuracy, one is chosen))
    within = choice["within"] / 100
    task = records[0].trial["task"]
    low, high = (100 * end for end in choice["test_interval"])
    lost = 100 * (best.accuracy - chosen.accuracy)
    behind = (
        "the best of them" if best is chosen else f"{lost:.2f} points below {best.name}, the best"
    )
    as_good = sum(one.accuracy >= best.accuracy - within for one in rows.values())
    yield f"## {name}"
    yield escape(about["about"])
    yield (
        f"**Recommended** after {in_minutes(choice['spent_seconds'])} of "
        f"{in_minutes(choice['budget_seconds'])}: **{chosen.name}**. Stated was a probability of "
        f"{_percent(choice['probability_within'])} that it is within {choice['within']:g} points "
        f"of the best of what was tried, and an accuracy of {100 * choice['test_accuracy']:.1f}% "
        f"[{low:.1f}, {high:.1f}] on {choice['test_examples']:,} test examples."
    )
    yield (
        f"**To the end** each of the {len(rows)} arms was trained on the "
        f"{task['train_examples']:,} examples that are not the choice's test set, where the race "
        f"was on {_largest(race):,} at the most, and tested on "
        f"{task['test_examples']:,} that the choice never saw. What was recommended is {behind}; "
        f"{as_good} of {len(rows)} are no more than {choice['within']:g} points below that. "
        f"Training took {_minutes(records):.0f} minutes of processor time, and in the choice, its "
        f"last training included, {_minutes(race):.0f}."
    )
    ends = {(arm["method"], arm["learning_rate"]): arm for arm in choice["arms"]}
    lines = [
        [
            f"**{one.name}**" if one is chosen else one.name,
            _ENDS[End(ends[key]["end"])],
            _percent(ends[key]["probability_within"]),
            one.shown(),
            one.against(best) if one is not best else "—",
        ]
        for key, one in sorted(
            rows.items(), key=lambda item: (-item[1].accuracy, item[1] is not chosen)
        )
    ]
    lines += [
        [found[key].name, "a row to be beaten", "—", found[key].shown(), found[key].against(best)]
        for key in found
        if key[0] in REFERENCES
    ]
    headings = ["Arm", "In the race", f"Within {choice['within']:g} points, as stated"]
    headings += ["To the end (%)", "Less the best (points)"]
    yield table(headings, lines, text_columns=2)
    of_what = "of these trained models; what another seed would change is not in it"
    if seeds > 1:
        of_what = "on texts like these, of other seeds and other examples"
    yield (
        f"*{_seeds(seeds)}. Differences are paired, example by example, with the 95% interval "
        f"{of_what}.*"
    )


def _seeds(count: int) -> str:
    if count > 1:
        return f"{count} seeds: the mean, and each"
    return "One seed, with the 95% interval of one trained model on other examples"


def _percent(share: float | None) -> str:
    return "—" if share is None else percent(share)


def _largest(race: Sequence[Record]) -> int:
    """Return the largest part of the training set that arms were compared on."""
    compared = [r.trial for r in race if r.trial["data"]["name"].endswith("-race")]
    return max(int(trial["task"]["train_examples"]) for trial in compared)


def _minutes(records: Sequence[Record]) -> float:
    measured = [record.measurement for record in records if record.measurement is not None]
    return sum(one.train_cpu_seconds or 0.0 for one in measured) / 60


def page(folder: Path) -> str:
    """Return the page on what is published in a folder, as Markdown."""
    names = sorted(path.stem for path in folder.glob("*.json"))
    blocks = [
        "# What `peftcore choose` recommends, against everything run to the end",
        "A choice has a budget, drops what looks worse and leaves what there is no time for. Here "
        "everything that it could have recommended was run to the end afterwards.",
    ]
    for name in names:
        blocks += section(folder, name)
    files = ", ".join(
        f"[{file}]({file})"
        for name in names
        for file in (f"{name}.json", f"{name}-race.jsonl", f"{name}.jsonl")
    )
    hardware = sorted(
        {
            str(record.environment["hardware"]["cpu"])
            for name in names
            for record in read_records(folder / f"{name}.jsonl")
        }
    )
    blocks.append(
        f"Measured on {' and '.join(hardware)}. All of it follows from {files}, and comes again "
        "from `python benchmarks/choice_evidence.py report`."
    )
    return "\n\n".join(blocks) + "\n"


def parse(arguments: Sequence[str] | None) -> argparse.Namespace:
    """Return what the command line asks for."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("task", choices=["run", "report"])
    parser.add_argument("--name", help="what the data is called on the page")
    parser.add_argument("--data", type=Path, help="what is chosen on, as peftcore choose takes it")
    parser.add_argument("--fresh", type=Path, help="other examples, in the same columns")
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
    if asked.task == "run":
        run(asked)
        return
    if asked.work is not None:
        publish(asked.work, asked.name, asked.out)
    (asked.out / "report.md").write_text(page(asked.out), encoding="utf-8", newline="\n")


if __name__ == "__main__":
    main()

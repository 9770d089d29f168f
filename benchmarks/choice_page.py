"""The page on what choices were worth, from the records that `choice_evidence.py` publishes."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

from peftcore.choosing.arms import Arm, End
from peftcore.choosing.trialling import REFERENCES
from peftcore.choosing.wording import in_minutes, percent
from peftcore.methods import find_method
from peftcore.report.markdown import escape, listed, table
from peftcore.report.pairing import answers_of, pair
from peftcore.results.records import Record, read_records
from peftcore.statistics.variance import wilson
from peftcore.trials import Outcome


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


def arms(choice: Mapping[str, Any]) -> list[tuple[str, float]]:
    """Return the method and the learning rate of each arm."""
    return [(arm["method"], arm["learning_rate"]) for arm in choice["arms"]]


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
    behind = f"{lost:.2f} points below {best.name}, the best"
    if best is chosen:
        equal = [one.name for one in rows.values() if one.accuracy == best.accuracy]
        equal.remove(best.name)
        behind = "the best of them" + (f", with {listed(equal)} beside it" if equal else "")
    ends = {(arm["method"], arm["learning_rate"]): arm for arm in choice["arms"]}
    as_good = [key for key, one in rows.items() if one.accuracy >= best.accuracy - within]
    not_ended = [key for key in as_good if ends[key]["end"] != End.FINISHED]
    lost_for_it = (
        f", of which the race had not run {listed([rows[key].name for key in not_ended])} to the "
        "end"
        if not_ended
        else ""
    )
    yield f"## {name}"
    yield escape(about["about"])
    yield (
        f"**Recommended** after {in_minutes(choice['spent_seconds'])} of "
        f"{in_minutes(choice['budget_seconds'])}: **{chosen.name}**. Stated was a probability of "
        f"{_percent(choice['probability_within'])} that it is within {choice['within']:g} points "
        f"of the best of what was tried, once trained on {_largest(race):,} examples, and an "
        f"accuracy of {100 * choice['test_accuracy']:.1f}% "
        f"[{low:.1f}, {high:.1f}] on {choice['test_examples']:,} test examples."
    )
    yield (
        f"**To the end** each of the {len(rows)} arms was trained on the "
        f"{task['train_examples']:,} examples that are not the choice's test set, and tested on "
        f"{task['test_examples']:,} that the choice never saw. What was recommended is {behind}; "
        f"{len(as_good)} of {len(rows)} are no more than {choice['within']:g} points below that"
        f"{lost_for_it}. Training took {_minutes(records):.0f} minutes of processor time, and in "
        f"the choice, its last training included, {_minutes(race):.0f}."
    )
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

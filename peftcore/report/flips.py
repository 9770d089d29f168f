"""Which test examples a method gets right and Full wrong, and the reverse.

What two seeds of one method differ in is the yardstick: a method's flips mean something only as far
as they are more than those, or come back with every seed.
"""

from __future__ import annotations

import csv
import io
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property

import numpy as np
from numpy.typing import NDArray

from peftcore.data.examples import TEST_SIZES, evaluated_rows
from peftcore.report.markdown import escape, listed, signed, table
from peftcore.report.metrics import MISSING
from peftcore.report.pairing import answers_of
from peftcore.report.summary import BASELINE, MethodSummary, Summary
from peftcore.report.tables import named
from peftcore.report.wording import ONE_SEED
from peftcore.results.records import Record
from peftcore.scenarios import Split
from peftcore.statistics.agreeing import Flips, differing

FLIPS_NAME = "flips.csv"
"""Holds every flip, beside the report."""

NAMED = 5
"""The report names no more examples than this of each kind; the file has all."""

_MOST_ROWS = 10_000_000
"""A record may come from anywhere, and the memory that its rows take is not for it to say."""

COLUMNS = (
    "method",
    "example",
    "row",
    "label",
    "seeds",
    "full_right",
    "method_right",
    "lost",
    "gained",
)
"""Of the file; the last four are counts of seeds."""


@dataclass(frozen=True, kw_only=True)
class MethodFlips:
    """The flips of one method against Full.

    Attributes:
        method: the method.
        full: Full's trials with the seeds that both finished, in order of their seeds.
        own: the method's, likewise.
        flips: on which examples they differ, Full first.
    """

    method: MethodSummary
    full: tuple[Record, ...]
    own: tuple[Record, ...]
    flips: Flips

    @cached_property
    def same_seed(self) -> float:
        """On how many examples the two differ, with the same seed."""
        return float(np.mean(np.diag(differing(self.flips.ours, self.flips.theirs))))

    @cached_property
    def other_seed(self) -> float | None:
        """The same with different seeds: the mean of all such pairs; ``None`` with one seed."""
        return _off_diagonal(differing(self.flips.ours, self.flips.theirs))

    @cached_property
    def between_seeds(self) -> float | None:
        """On how many examples two seeds of the method differ; ``None`` with one seed."""
        return _off_diagonal(differing(self.flips.theirs, self.flips.theirs))

    @cached_property
    def between_seeds_of_full(self) -> float | None:
        """The same of Full, with the same seeds."""
        return _off_diagonal(differing(self.flips.ours, self.flips.ours))

    @property
    def beyond_seeds(self) -> float | None:
        """On how many examples they differ for the methods' sake alone; ``None`` with one seed.

        With chances a and b that models of the two methods get an example right, one of each
        differ with a (1 − b) + b (1 − a), two of one method with 2 a (1 − a): the former less the
        mean of the latter two is (a − b)², of which this is the unbiased estimate, summed over the
        examples. It is negative where chance makes it.
        """
        known = self.other_seed, self.between_seeds_of_full, self.between_seeds
        if known[0] is None or known[1] is None or known[2] is None:
            return None
        return known[0] - (known[1] + known[2]) / 2


def _off_diagonal(matrix: NDArray[np.int64]) -> float | None:
    kept = matrix[~np.eye(len(matrix), dtype=bool)]
    return float(kept.mean()) if kept.size else None


def gather_flips(summary: Summary) -> list[MethodFlips]:
    """Return the flips of each method that shares a seed with Full and kept its predictions."""
    full = summary.find(BASELINE)
    if full is None or not summary.pretrained:
        return []
    found = []
    for method in summary.methods:
        theirs = {record.seed: record for record in method.finished}
        seeds = [record.seed for record in full.finished if record.seed in theirs]
        if method is full or not seeds:
            continue
        of_full = tuple(record for record in full.finished if record.seed in seeds)
        own = tuple(theirs[record.seed] for record in of_full)
        right = answers_of([*of_full, *own])
        if right is None:
            continue
        flips = Flips(ours=right[: len(seeds)], theirs=right[len(seeds) :])
        found.append(MethodFlips(method=method, full=of_full, own=own, flips=flips))
    return found


def rows_of(record: Record) -> list[int] | None:
    """Return where each evaluated example stands in its file, counted from 0, if that is known.

    It follows from the size of the test set, which old records don't tell.
    """
    task, data = record.trial.get("task"), record.trial.get("data")
    if not isinstance(task, Mapping) or not isinstance(data, Mapping):
        return None
    told = record.measurement.drawn_from if record.measurement else None
    size = TEST_SIZES.get(str(data.get("name"))) if told is None else told
    count = len(record.labels or ())
    if size is None or not count <= size <= _MOST_ROWS:
        return None
    if task.get("split") != Split.TEST or task.get("test_examples") != count:
        return None
    return evaluated_rows(task, size, record.seed)


def flips_file(flips: Sequence[MethodFlips]) -> str:
    """Return the file of all flips as CSV: each example on which a method and Full ever differ."""
    out = io.StringIO()
    writer = csv.writer(out, lineterminator="\n")
    writer.writerow(COLUMNS)
    for one in flips:
        lost, gained = one.flips.lost, one.flips.gained
        rows = rows_of(one.full[0])
        labels = one.full[0].labels or ()
        full_right, own_right = one.flips.ours.sum(axis=0), one.flips.theirs.sum(axis=0)
        for example in np.flatnonzero(lost + gained).tolist():
            writer.writerow(
                [
                    _cell(one.method.slug),
                    example,
                    "" if rows is None else rows[example],
                    labels[example],
                    one.flips.seeds,
                    full_right[example],
                    own_right[example],
                    lost[example],
                    gained[example],
                ]
            )
    return out.getvalue()


def _cell(text: str) -> str:
    """Return text that no spreadsheet takes for a formula."""
    return f"'{text}" if text[:1] in "=+-@\t\r" else text


def flips_section(summary: Summary, flips: Sequence[MethodFlips]) -> list[str]:
    """Return the section as Markdown blocks; none where nothing can be compared."""
    if not flips:
        return []
    examples = flips[0].flips.ours.shape[1]
    return [
        "## Which examples flipped",
        f"Of the {examples:,} test examples, how many Full gets right and a method wrong, and the "
        "reverse: means over the seeds that both finished, each method's model beside Full's of "
        "the same seed.",
        _counts_table(summary, flips),
        _yardstick(flips),
        *_sure(summary, flips),
        f"[{FLIPS_NAME}]({FLIPS_NAME}) lists every example on which a method and Full differ with "
        "any seed, its place in the test sample and its row in the test file where that is known, "
        "both counted from 0, its label, and with how many seeds each is right.",
    ]


def _counts_table(summary: Summary, flips: Sequence[MethodFlips]) -> str:
    headings = [
        "Method",
        "Seeds in common",
        "Full right, it wrong",
        "Full wrong, it right",
        "They differ, same seed",
        "They differ, other seeds",
        "Two seeds of Full differ",
        "Two seeds of it differ",
        "More than seeds",
    ]
    rows = [
        [
            named(summary, one.method),
            str(one.flips.seeds),
            f"{one.flips.lost.sum() / one.flips.seeds:,.1f}",
            f"{one.flips.gained.sum() / one.flips.seeds:,.1f}",
            f"{one.same_seed:,.1f}",
            *(
                MISSING if number is None else f"{number:,.1f}"
                for number in (one.other_seed, one.between_seeds_of_full, one.between_seeds)
            ),
            _signed_one(one.beyond_seeds),
        ]
        for one in flips
    ]
    known = [n for n in range(len(headings)) if any(row[n] != MISSING for row in rows)]
    return table([headings[n] for n in known], [[row[n] for n in known] for row in rows])


def _yardstick(flips: Sequence[MethodFlips]) -> str:
    """Return what the counts are to be measured by."""
    if all(one.beyond_seeds is None for one in flips):
        return (
            f"Each method has one seed in common with Full, and {ONE_SEED}: another seed of the "
            "same method would flip examples too, and how many can't be told, so that no flip is "
            "known to be the method's."
        )
    own = [
        f"{_signed_one(one.beyond_seeds)} of {one.other_seed:,.1f} with {escape(one.method.name)}"
        for one in flips
        if one.beyond_seeds is not None and one.other_seed is not None
    ]
    return (
        "Two seeds of one method differ as well. What models of the two methods with different "
        "seeds differ in more than two seeds of Full and two of the method do, in the mean of "
        "these two, is the method's own part: in expectation the sum over the examples of the "
        "squared difference of the two methods' chances to be right, so that chance alone, which "
        f"may make it negative, gives zero. It is {listed(own)}."
    )


def _signed_one(number: float | None) -> str:
    return MISSING if number is None else signed(number, 1).removeprefix("+")


def _sure(summary: Summary, flips: Sequence[MethodFlips]) -> list[str]:
    """Return which examples flip with every seed or with most, beside what chance would give."""
    several = [one for one in flips if one.flips.seeds > 1]
    if not several:
        return []
    with_most = any(one.flips.most < one.flips.seeds for one in several)
    rows = []
    for one in several:
        seeds, most = one.flips.seeds, one.flips.most
        lost, gained = one.flips.sure(seeds)
        cells = [
            named(summary, one.method),
            str(seeds),
            f"{len(lost):,}",
            f"{len(gained):,}",
            f"{one.flips.by_chance(seeds):,.1f}",
        ]
        if with_most:
            often_lost, often_gained = one.flips.sure(most)
            cells += [
                f"{len(often_lost):,}",
                f"{len(often_gained):,}",
                f"{one.flips.by_chance(most):,.1f}",
            ]
        rows.append([*cells, _named_examples(one, lost), _named_examples(one, gained)])
    headings = [
        "Method",
        "Seeds",
        "Lost with every seed",
        "Gained with every seed",
        "By chance, each",
    ]
    if with_most:
        headings += ["Lost with most", "Gained with most", "By chance, of most, each"]
    headings += ["Surest lost", "Surest gained"]
    return [
        "Lost with every seed are examples that all of Full's models get right and all of the "
        "method's wrong; with most, more than half of Full's right and more than half of the "
        "method's wrong; gained is the reverse. “By chance” is how many would be there in each "
        "direction if it made no difference which method a model is of: those that are right on "
        "an example, dealt out at random between the two.",
        table(headings, rows),
        f"Named are up to {NAMED} examples that flip with every seed, the first of the test "
        f"sample, each by {_places(several)}.",
    ]


def _named_examples(one: MethodFlips, examples: NDArray[np.int64]) -> str:
    rows = rows_of(one.full[0])
    shown = [str(n if rows is None else rows[n]) for n in examples[:NAMED].tolist()]
    return f"{', '.join(shown)}{', …' if len(examples) > NAMED else ''}" or MISSING


def _places(flips: Sequence[MethodFlips]) -> str:
    """Return what the numbers of examples count."""
    if rows_of(flips[0].full[0]) is None:
        return (
            "its place in the test sample, counted from 0 (its row in the test file follows from "
            "that file's size, which these records don't tell)"
        )
    return "its row in the test file, counted from 0"

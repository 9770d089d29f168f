"""The texts of the examples that flipped, for a reader who has the data.

Reports and records hold no text of a data set; they name examples by their rows.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from peftcore.data.examples import draw
from peftcore.data.sources import locate_data, read_data
from peftcore.errors import UsageError
from peftcore.report.flips import MethodFlips, gather_flips, rows_of
from peftcore.report.summary import summarise
from peftcore.results.records import Record
from peftcore.scenarios import Task


@dataclass(frozen=True, kw_only=True)
class FlippedText:
    """One example that Full gets right and a method wrong, or the reverse, with every seed.

    Attributes:
        method: the method's slug.
        kind: ``"lost"`` where Full is right, ``"gained"`` where the method is.
        example: its place in the test sample, counted from 0.
        row: its place in the test file, if that is known.
        label: the true label.
        class_name: the name of its class; where it has none, the label.
        seeds: how many seeds both methods have.
        text: the text, or the two of a pair.
    """

    method: str
    kind: str
    example: int
    row: int | None
    label: int
    class_name: str
    seeds: int
    text: str


def flipped_texts(records: Sequence[Record], data: str, most: int) -> list[FlippedText]:
    """Return the examples that flip with every seed, with their texts.

    Args:
        records: of one report.
        data: where the data is, as ``--peft-data`` takes it.
        most: how many of each method, and each of lost and gained, from the beginning of the test
            sample on.

    Raises:
        UsageError: nothing can be compared with Full, or the data is not that of the records.
    """
    flips = gather_flips(summarise(records))
    if not flips:
        raise UsageError(
            "no method can be compared with Full: that takes trials of both that ended well with "
            "the same seed, pretrained weights and their predictions"
        )
    trial, labels = flips[0].full[0].trial, flips[0].full[0].labels
    if "task" not in trial or "data" not in trial:
        raise UsageError("the records don't tell their data and task, so texts can't be found")
    task = Task.described(trial["task"])
    source = locate_data(data, task, where="--data")
    if source.identity != trial["data"]["identity"]:
        raise UsageError(
            f"--data {data} is other data than the records': its identity is {source.identity}, "
            f"theirs is {trial['data']['identity']}; name the data that they were made with, rows "
            "in the same order"
        )
    sample = draw(read_data(source, task), task, flips[0].full[0].seed).test
    if tuple(sample.labels) != labels:
        raise UsageError(
            "the records' labels are not those of the data, although its identity is: check the "
            "records with peftcore audit"
        )
    return [found for one in flips for found in _of_method(one, sample.joined(), task, most)]


def _of_method(
    one: MethodFlips, texts: Sequence[str], task: Task, most: int
) -> Iterator[FlippedText]:
    rows, labels = rows_of(one.full[0]), one.full[0].labels or ()
    for kind, examples in zip(("lost", "gained"), one.flips.sure(one.flips.seeds), strict=True):
        for example in examples[:most].tolist():
            yield FlippedText(
                method=one.method.slug,
                kind=kind,
                example=example,
                row=None if rows is None else rows[example],
                label=labels[example],
                class_name=task.class_of(labels[example]),
                seeds=one.flips.seeds,
                text=texts[example],
            )

"""What the test set tells of what was chosen: its accuracy, and what accuracy leaves out."""

from __future__ import annotations

from dataclasses import dataclass, replace

from peftcore.choosing.choice import Choice
from peftcore.choosing.deciding import as_good_there
from peftcore.report.classes import ByClass, by_class
from peftcore.report.markdown import escape, table
from peftcore.report.metrics import MISSING
from peftcore.report.summary import BAG_OF_WORDS
from peftcore.results.records import Record
from peftcore.statistics.variance import wilson

MOST_CLASSES = 12
"""Of more classes than this those are shown that are found least."""


@dataclass(frozen=True, kw_only=True)
class Always:
    """Giving every text the class that most examples have: what must be beaten first of all.

    Attributes:
        name: of that class.
        accuracy: on the test set, in percent.
        as_good: the probability that it is no more than the tolerance below what was chosen.
        classes: how well it finds each class.
    """

    name: str
    accuracy: float
    as_good: float
    classes: ByClass


def tested_accuracy(record: Record) -> tuple[float, float, float]:
    """Return a record's accuracy on the test set with its 95% interval, in percent."""
    predictions, labels = record.predictions or (), record.labels or ()
    right = sum(mine == its for mine, its in zip(predictions, labels, strict=True))
    low, high = wilson(right, len(labels))
    return 100 * right / len(labels), 100 * low, 100 * high


def always(choice: Choice) -> Always:
    """Return what always giving the most frequent class would come to."""
    parts, record = choice.parts, choice.record
    label = parts.counts.index(max(parts.counts))
    constant = replace(record, predictions=(label,) * len(record.labels or ()))
    return Always(
        name=parts.task.class_of(label),
        accuracy=tested_accuracy(constant)[0],
        as_good=as_good_there(constant, record, choice.decision, choice.request.within / 100),
        classes=classes_of(constant),
    )


def classes_of(record: Record) -> ByClass:
    """Return how well a model that was tested finds each class."""
    found = by_class(record)
    assert found is not None, "a trial that ended well has its predictions"
    return found


def missed(choice: Choice) -> list[tuple[str, int]]:
    """Return the classes of which nothing is found, each with its test examples."""
    recalls, labels = classes_of(choice.record).recalls, choice.record.labels or ()
    return [
        (choice.parts.task.class_of(label), labels.count(label))
        for label, recall in enumerate(recalls)
        if recall == 0
    ]


def _classes(count: int) -> str:
    return "1 more class is" if count == 1 else f"{count} more classes are"


def classes_table(choice: Choice) -> str:
    """Return how well each class is found, as a table with a sentence on it."""
    parts, labels = choice.parts, choice.record.labels or ()
    words = [
        one.test for one in choice.decision.references if one.run.arm.method.slug == BAG_OF_WORDS
    ]
    rows = {choice.decision.chosen.method.name: classes_of(choice.record).recalls}
    if words and words[0] is not None:
        rows["Bag of words"] = classes_of(words[0]).recalls
    ours = next(iter(rows.values()))
    # Those that no test example is of come last: nothing is known of them.
    order = sorted(range(parts.task.labels), key=lambda n: 101 if (r := ours[n]) is None else r)
    cells = [
        [
            escape(parts.task.class_of(label)),
            f"{parts.counts[label]:,}",
            f"{labels.count(label):,}",
            *(MISSING if (r := of[label]) is None else f"{r:.1f}" for of in rows.values()),
        ]
        for label in order[:MOST_CLASSES]
    ]
    heads = ["Class", "To train on", "Tested on", *(f"{escape(name)} finds (%)" for name in rows)]
    hidden = [ours[label] for label in order[MOST_CLASSES:]]
    untested = hidden.count(None)
    rest = "".join(
        f" {_classes(count)} {words}."
        for count, words in (
            (len(hidden) - untested, "found as well or better"),
            (untested, "in no test example"),
        )
        if count
    )
    return (
        table(heads, cells)
        + "\n\n*Found of a class is the share of its test examples that are given it, its recall. "
        f"Methods were compared by accuracy, which tells little of rare classes.{rest}*"
    )

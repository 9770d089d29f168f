"""What accuracy does not tell: how well each class is found."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from statistics import fmean, stdev

from peftcore.report.markdown import escape, table
from peftcore.report.metrics import MISSING
from peftcore.report.summary import Summary
from peftcore.report.tables import named
from peftcore.results.records import Record

HEADING = "Beyond accuracy"

MOST_CLASSES = 12
"""Of more classes than this there is no table: it could not be read."""


@dataclass(frozen=True)
class ByClass:
    """How well one trained model finds each class.

    Attributes:
        macro_f1: the mean of the harmonic mean of precision and recall over the classes that there
            are examples or predictions of, in percent.
        matthews: Matthews' correlation of predictions and labels, from −1 to 1; 0 is guessing.
        recalls: of each class, the share of its examples that are found, in percent; ``None`` of a
            class that no example is of.
    """

    macro_f1: float
    matthews: float
    recalls: tuple[float | None, ...]


def by_class(record: Record) -> ByClass | None:
    """Return what predictions tell of the classes; ``None`` if they or those are not told.

    Macro-F1 is that of scikit-learn, over the classes that are there or predicted: of another no
    answer is right or wrong, and a test set without it would pull the mean down for any model.
    Matthews' correlation is Gorodkin's for several classes ("Comparing two
    K-category assignments by a K-category correlation coefficient", Computational Biology and
    Chemistry 28, 2004).
    """
    predictions, labels = record.predictions, record.labels
    task = record.trial.get("task") or {}
    if "labels" not in task:
        return None
    if not predictions or not labels or len(predictions) != len(labels):
        return None
    # Slow to import, and needed where a report is written alone.
    from sklearn.metrics import f1_score, matthews_corrcoef, recall_score

    classes = range(int(task["labels"]))
    there = set(labels)
    recalls = recall_score(labels, predictions, labels=classes, average=None, zero_division=0)
    return ByClass(
        macro_f1=100 * float(f1_score(labels, predictions, average="macro", zero_division=0)),
        matthews=float(matthews_corrcoef(labels, predictions)),
        recalls=tuple(
            100 * float(recall) if label in there else None
            for label, recall in zip(classes, recalls, strict=True)
        ),
    )


def classes_section(summary: Summary) -> list[str]:
    """Return the section on classes; nothing where no predictions were kept."""
    if not summary.pretrained:
        return []
    found = {
        method.slug: [one for record in method.finished if (one := by_class(record)) is not None]
        for method in summary.methods
    }
    shown = [method for method in summary.methods if found[method.slug]]
    if not shown:
        return []
    names = _class_names(summary.records)
    rows = [
        [
            named(summary, method),
            str(len(found[method.slug])),
            _spread([one.macro_f1 for one in found[method.slug]], 2),
            _spread([one.matthews for one in found[method.slug]], 3),
        ]
        for method in shown
    ]
    blocks = [
        f"## {HEADING}",
        table(["Method", "Seeds", "Macro-F1 (%)", "Matthews' correlation"], rows),
    ]
    if len(names) <= MOST_CLASSES:
        recalls = [
            [named(summary, method), *_recalls(found[method.slug], len(names))] for method in shown
        ]
        heads = [f"Found of {escape(name)} (%)" for name in names]
        blocks.append(table(["Method", *heads], recalls))
    partly = any(None in one.recalls for method in shown for one in found[method.slug])
    blocks.append(
        "Macro-F1 is the mean over classes of the harmonic mean of precision and recall, and "
        "Matthews' correlation is 0 for guessing and 1 for no error: both tell where accuracy "
        "comes from the frequent classes alone. What is found of a class is its recall. Means over "
        "the seeds that finished, ± the standard deviation."
        + (" A class that is neither there nor predicted is not in macro-F1." if partly else "")
    )
    return blocks


def _class_names(records: Sequence[Record]) -> list[str]:
    task = records[0].trial["task"]
    return list(task.get("classes") or map(str, range(int(task["labels"]))))


def _recalls(found: Sequence[ByClass], classes: int) -> list[str]:
    cells = []
    for label in range(classes):
        known = [value for one in found if (value := one.recalls[label]) is not None]
        cells.append(_spread(known, 1))
    return cells


def _spread(values: Sequence[float], digits: int) -> str:
    if not values:
        return MISSING
    mean = f"{fmean(values):.{digits}f}".replace("-", "−")
    return f"{mean} ± {stdev(values):.{digits}f}" if len(values) > 1 else mean

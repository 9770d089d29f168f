"""The tables of accuracy: how well each is known, for which question, and what is told apart."""

from __future__ import annotations

from peftcore.report.markdown import escape, signed, table
from peftcore.report.metrics import ACCURACY, MISSING
from peftcore.report.pairing import PairedAccuracy
from peftcore.report.summary import MethodSummary, Summary
from peftcore.report.tables import named, told_apart
from peftcore.report.wording import ONE_SEED, between, bracketed, p_value
from peftcore.statistics.comparing import MARGIN_POINTS
from peftcore.statistics.variance import Estimand


def accuracies(summary: Summary) -> str | None:
    """Return each method's accuracy with its intervals and letters; ``None`` where none has any."""
    rows = []
    for method in _with_accuracy(summary):
        found = summary.inference.accuracies[method.slug]
        rows.append(
            [
                named(summary, method),
                str(len(found.seeds)),
                ACCURACY.show(found.mean),
                between(found.interval) or MISSING,
                between(found.test_set_interval) or MISSING,
                MISSING if found.spread is None else f"{found.spread:.2f}",
                summary.inference.letters.get(method.slug, MISSING),
            ]
        )
    headings = [
        "Method",
        "Seeds",
        "Accuracy (%)",
        _on_texts(summary),
        Estimand.TEST_SET.capitalize(),
        "SD over seeds (points)",
        "Letters",
    ]
    return _known_columns(headings, rows) if rows else None


def differences_from_best(summary: Summary) -> str | None:
    """Return each method less the most accurate candidate; ``None`` where nothing is to compare."""
    best = summary.most_accurate(summary.candidates)
    others = [method for method in _with_accuracy(summary) if method is not best]
    if best is None or not others:
        return None
    rows = []
    for method in others:
        paired = summary.paired(method, best)
        rows.append([named(summary, method), *_cells(paired)])
    headings = [
        "Method",
        "Seeds in common",
        f"Less {escape(best.name)} (points)",
        _on_texts(summary),
        Estimand.TEST_SET.capitalize(),
        "Told apart?",
        f"Within ±{MARGIN_POINTS:g} points?",
    ]
    return _known_columns(headings, rows)


def _known_columns(headings: list[str], rows: list[list[str]]) -> str:
    """Return the table without the columns of which no row knows anything, as with one seed."""
    known = [n for n in range(len(headings)) if any(row[n] != MISSING for row in rows)]
    return table([headings[n] for n in known], [[row[n] for n in known] for row in rows])


def _on_texts(summary: Summary) -> str:
    """Return the heading of the intervals on texts like these."""
    heading = Estimand.TEXTS.capitalize()
    return heading if summary.several_seeds else f"{heading} (these models alone)"


def _with_accuracy(summary: Summary) -> list[MethodSummary]:
    return [method for method in summary.methods if method.slug in summary.inference.accuracies]


def _cells(paired: PairedAccuracy | None) -> list[str]:
    if paired is None:
        return ["none", *[MISSING] * 5]
    test_set = paired.test_set.interval() if paired.test_set else None
    return [
        str(len(paired.seeds)),
        signed(paired.mean_points, 2),
        bracketed(paired.interval_points) or MISSING,
        bracketed(test_set) or MISSING,
        told_apart(paired),
        _equivalence(paired),
    ]


def _equivalence(paired: PairedAccuracy) -> str:
    if paired.equivalence_p is None:
        return MISSING
    if paired.differs:
        return "no"
    return f"{'yes' if paired.equivalent else 'not shown'}, p {p_value(paired.equivalence_p)}"


def notes(summary: Summary) -> str | None:
    """Return what the two tables mean; ``None`` where no method has an accuracy."""
    found = summary.inference.accuracies
    if not found:
        return None
    several = any(len(one.seeds) > 1 for one in found.values())
    sentences = []
    if several:
        sentences += [
            f"Intervals are at 95%, each by itself. “{Estimand.TEXTS.capitalize()}” asks what "
            "other seeds would give on other test examples of this kind, "
            f"“{Estimand.TEST_SET}” what other seeds would give on the same examples.",
            *summary.one_seed_note,
        ]
    if not summary.several_seeds:
        seeds = {record.seed for method in summary.methods for record in method.finished}
        there_is = (
            "There is one seed"
            if len(seeds) == 1
            else "Each method has one seed, not all of them the same"
        )
        sentences.append(
            f"{there_is}, and {ONE_SEED}: the intervals are those of the models that were "
            "trained, on texts like these, and methods are told apart, or not, only as these "
            "models. How much of a difference is the method's and how much the seed's, and "
            "whether two methods are equivalent, can't be told."
        )
    if summary.inference.letters:
        sentences.append("Methods that share a letter can't be told apart.")
    if summary.inference.pairs:
        test = "McNemar's exact test" if not several else "a paired test over seeds and examples"
        sentences.append(
            f"p is that of {test}, corrected for the number of pairs of rows (Holm); "
            + (
                f"equivalence within ±{MARGIN_POINTS:g} points is tested by two one-sided tests "
                "on texts like these, and not to be told apart is not to be equivalent."
                if several
                else "not to be told apart is not to be equal."
            )
        )
    return " ".join(sentences)

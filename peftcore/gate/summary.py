"""The verdicts as Markdown fit for a pull request, and as lines for a terminal."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import groupby
from pathlib import Path

from tabulate import tabulate

from peftcore.errors import UsageError
from peftcore.gate.testing import FALSE_ALARMS, WRONG_PASSES
from peftcore.gate.verdicts import ALL_METHODS, FAILING, WORST_FIRST, Cell, Verdict, Verdicts
from peftcore.methods import find_method
from peftcore.report.markdown import escape, listed, signed, table
from peftcore.report.metrics import MISSING

_MARKS = {
    Verdict.INVALID: "❌",
    Verdict.FLOOR: "❌",
    Verdict.REGRESSION: "❌",
    Verdict.INCONCLUSIVE: "❔",
    Verdict.PASS: "✅",
    Verdict.IDENTICAL: "✅",
}
_MOST_NAMED = 4
_MOST_LABELS = 3
_HEADINGS = ("Method", "Metric", "Verdict", "Why", "Baseline", "Now", "Change", "90% interval")
_TEXT_COLUMNS = 4

_NEXT = {
    Verdict.INVALID: "Mend what the table gives as the reason: run what is missing, run on the "
    "machine of the baseline, or make a new baseline of the accepted code there "
    "(`peftcore baseline --out FILE`). What this machine can't tell is left out by "
    "`--peft-gate-metrics`.",
    Verdict.FLOOR: "A method that does not reach its floor has not learned what it is known to "
    "learn here: look at its losses in the report before anything else.",
    Verdict.REGRESSION: "Find the change that made it worse. If the loss is meant and accepted, "
    "make a new baseline (`peftcore baseline --out FILE`) and commit it with the change, so that "
    "a reviewer sees both.",
    Verdict.INCONCLUSIVE: "Nothing has failed. To know more, let the run add seeds "
    "(`--peft-seeds-max N`), or make the baseline of more seeds, ten or so.",
    Verdict.PASS: "Nothing to do.",
    Verdict.IDENTICAL: "Nothing to do.",
}


def headline(verdicts: Verdicts) -> str:
    """Return the verdict on the run in one sentence, as Markdown."""
    cells = verdicts.cells
    worse = [cell for cell in cells if cell.verdict is Verdict.REGRESSION]
    under = [cell for cell in cells if cell.verdict is Verdict.FLOOR]
    invalid = [cell for cell in cells if cell.verdict is Verdict.INVALID]
    open_ones = [cell for cell in cells if cell.verdict is Verdict.INCONCLUSIVE]
    parts = []
    if invalid:
        parts.append(f"not comparable: {_named(invalid)}")
    if under:
        parts.append(f"under the floor: {_named(under)}")
    if worse:
        parts.append(f"worse than the baseline: {_named(worse)}")
    if not parts and open_ones:
        parts.append(f"nothing is shown to be worse; still open: {_named(open_ones)}")
    if not parts:
        identical = verdicts.verdict is Verdict.IDENTICAL
        parts.append(
            "nothing changed, to the bit" if identical else "no loss above the margins, anywhere"
        )
    return f"{verdicts.verdict}: {'; '.join(parts)}."


def to_markdown(verdicts: Verdicts) -> str:
    """Return the summary for a pull request; all that came from data is escaped."""
    blocks = [
        f"## {_MARKS[verdicts.verdict]} Gate on {escape(verdicts.scenario)}: {verdicts.verdict}",
        headline(verdicts),
        table(
            _HEADINGS,
            [_as_markdown(verdict, row) for verdict, row in _rows(verdicts)],
            text_columns=_TEXT_COLUMNS,
        ),
    ]
    if verdicts.better:
        blocks.append(f"**Better than before**, beyond chance: {_named(verdicts.better, most=99)}.")
    if verdicts.changed:
        lines = [
            f"- {_name(slug)}: {escape('; '.join(words))}"
            for slug, words in verdicts.changed.items()
        ]
        blocks += [
            "**Changed hyperparameters**, for which counts are told and not judged",
            "\n".join(lines),
        ]
    if verdicts.environment:
        lines = [f"- {escape(words)}" for words in verdicts.environment]
        blocks += ["**Differences between the environments**", "\n".join(lines)]
    left_out = [escape(label.lower()) for label in verdicts.left_out]
    if left_out:
        blocks.append(f"**Not gated**, as asked: {listed(left_out)}.")
    unknown = [escape(label.lower()) for label in verdicts.not_in_baseline]
    if unknown:
        blocks.append(
            f"**Not gated**, as the baseline was made without it: {listed(unknown)}. "
            "A new baseline has it."
        )
    if verdicts.not_asked_for:
        names = [_name(slug) for slug in verdicts.not_asked_for]
        blocks.append(f"**Not run**, as asked, though the baseline has it: {listed(names)}.")
    blocks += [f"**What to do next.** {_next(verdicts)}", f"<sub>{_fine_print(verdicts)}</sub>"]
    return "\n\n".join(blocks) + "\n"


def to_lines(verdicts: Verdicts) -> list[str]:
    """Return the verdicts as lines for a terminal."""
    rows = [row for verdict, row in _rows(verdicts) if verdict is not Verdict.IDENTICAL]
    lines = [f"gate on {verdicts.scenario}: {verdicts.verdict}"]
    if rows:
        text = tabulate(rows, headers=_HEADINGS, disable_numparse=True)
        lines += text.splitlines()
    identical = sum(cell.verdict is Verdict.IDENTICAL for cell in verdicts.cells)
    if identical:
        lines.append(f"{identical} of {len(verdicts.cells)} numbers are identical, and not listed")
    lines += [
        f"{_plain(slug)}: changed {'; '.join(words)}" for slug, words in verdicts.changed.items()
    ]
    if verdicts.environment:
        lines.append(f"environment: {'; '.join(verdicts.environment)}")
    for cell in verdicts.better:
        lines.append(f"better than before: {cell.metric.label.lower()} of {_plain(cell.method)}")
    return lines


def write_markdown(path: Path, verdicts: Verdicts) -> None:
    """Write the summary, in place of what the file held.

    Raises:
        UsageError: it can't be written there.
    """
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(to_markdown(verdicts), encoding="utf-8", newline="\n")
    except OSError as error:
        raise UsageError(f"{path} can't be written: {error.strerror}") from None


def _rows(verdicts: Verdicts) -> list[tuple[Verdict | None, list[str]]]:
    """Return the rows of the table as plain text, what is invalid or equal alike in one row."""
    rows = []
    for slug in verdicts.methods:
        cells = sorted(
            verdicts.of(slug),
            key=lambda cell: (cell.verdict not in FAILING, cell.metric.counted is not None),
        )
        for key, group in groupby(cells, key=_joined):
            same = list(group)
            if key is None or len(same) == 1:
                rows += [(cell.verdict, _row(slug, cell)) for cell in same]
                continue
            kind = "counts" if all(cell.metric.counted for cell in same) else "metrics"
            labels = listed([cell.metric.label for cell in same])
            labels = labels if len(same) <= _MOST_LABELS else f"{len(same)} {kind}"
            row = [_plain(slug), labels, str(key[0]), key[1], *[MISSING] * 4]
            rows.append((key[0], row))
    return rows


def _as_markdown(verdict: Verdict | None, row: Sequence[str]) -> list[str]:
    name, metric, said, words, *figures = row
    said = f"**{said}**" if verdict in FAILING else said
    return [escape(name), escape(metric), said, escape(words), *figures]


def _joined(cell: Cell) -> tuple[Verdict, str] | None:
    """Return what cells must share to be told in one row; ``None`` for a row of its own."""
    if cell.verdict is Verdict.INVALID or (
        cell.verdict is Verdict.IDENTICAL and cell.metric.counted
    ):
        return cell.verdict, cell.words
    return None


def _row(slug: str, cell: Cell) -> list[str]:
    said = MISSING if cell.verdict is None else str(cell.verdict)
    return [_plain(slug), cell.metric.heading, said, cell.words, *_figures(cell)]


def _figures(cell: Cell) -> list[str]:
    """Return baseline, run, change and interval."""
    before, after = cell.metric.show(cell.before), cell.metric.show(cell.after)
    tested = cell.tested
    if tested is None:
        change = MISSING
        if cell.before is not None and cell.after is not None and cell.verdict is not None:
            change = _change(cell)
        return [before, after, change if cell.verdict is not Verdict.INVALID else MISSING, MISSING]
    unit = "%" if tested.unit == "%" else f" {tested.unit}"
    low, high = (signed(end, 2) for end in tested.interval)
    return [before, after, f"{signed(tested.change, 2)}{unit}", f"[{low}, {high}]"]


def _change(cell: Cell) -> str:
    assert cell.before is not None
    assert cell.after is not None
    if cell.before == cell.after:
        return "0"
    if not cell.before:
        return MISSING
    share = 100 * (cell.after / cell.before - 1)
    return f"{'+' if share > 0 else '−'}{abs(share):.2g}%"


def _named(cells: Sequence[Cell], *, most: int = _MOST_NAMED) -> str:
    """Return cells by name, such as ``accuracy of LoRA and train time of Full``."""
    names = []
    for slug, group in groupby(cells, key=lambda cell: cell.method):
        metrics = [cell.metric.label for cell in group]
        what = listed([m[0].lower() + m[1:] for m in metrics])
        if len(metrics) > _MOST_LABELS:
            what = f"{len(metrics)} numbers"
        names.append(f"{escape(what)} of {_name(slug)}")
    if len(names) > most:
        names = [*names[: most - 1], f"{len(names) - most + 1} more"]
    return listed(names)


def _next(verdicts: Verdicts) -> str:
    given = {cell.verdict for cell in verdicts.cells}
    failing = [verdict for verdict in WORST_FIRST if verdict in FAILING & given]
    return " ".join(_NEXT[verdict] for verdict in failing or [verdicts.verdict])


def _fine_print(verdicts: Verdicts) -> str:
    text = (
        f"One-sided tests over seeds, on this test set. If nothing changed, a run shows any "
        f"REGRESSION by chance at most {100 * FALSE_ALARMS:g}% of the time (Holm over its tested "
        f"cells); a cell whose loss is its margin passes at most {100 * WRONG_PASSES:g}% of the "
        "time. Counts are compared to the last unit."
    )
    if verdicts.look.share < 1:
        text += (
            f" This is one of several looks, with {verdicts.look.seeds} seeds a method; it spends "
            f"{100 * verdicts.look.share:.0f}% of both."
        )
    return text


def _name(slug: str) -> str:
    return escape(_plain(slug))


def _plain(slug: str) -> str:
    if slug == ALL_METHODS:
        return "Mean of all methods"
    try:
        return find_method(slug).name
    except UsageError:
        return slug

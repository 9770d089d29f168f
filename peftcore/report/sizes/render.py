"""The report by size: a folder with ``report.md``, its figure and its records."""

from __future__ import annotations

import math
from collections.abc import Collection, Mapping, Sequence
from functools import partial
from itertools import takewhile
from pathlib import Path

from matplotlib.ticker import NullLocator

from peftcore.errors import UsageError
from peftcore.report import refusals
from peftcore.report.canvas import Plot, new_figure
from peftcore.report.figures import write_drawn
from peftcore.report.markdown import escape, listed, table
from peftcore.report.metrics import MISSING
from peftcore.report.pairing import PairedAccuracy, Standing
from peftcore.report.render import FIGURES_NAME, RECORDS_NAME, REPORT_NAME, image, warnings
from peftcore.report.setup import setup_table
from peftcore.report.sizes.gathering import BySize, repeats_of, size_of, standing_from
from peftcore.report.style import looks, plain
from peftcore.report.summary import BAG_OF_WORDS, BASELINE, MethodSummary, gather, reason
from peftcore.report.tables import paired_cells
from peftcore.report.wording import ONE_SEED, between
from peftcore.results.records import Record, write_records
from peftcore.results.selecting import of_sizes, sizes_left_out

SIZES_NAME = "sizes"
"""The folder, in that of a scenario's report, of this one; and the name of its figure."""

LONGER = 1.5
"""By how much a training is longer before it is said that rates were not chosen for it."""

_ELSEWHERE = ("Examples", "Epochs", "Changed from the scenario as declared")
"""Rows of the setup that differ from size to size, and are told in a table of their own."""


@refusals.told
def write_sizes_report(records: Sequence[Record], folder: Path) -> Path:
    """Write the report by size, and return the path of ``report.md``.

    Args:
        records: of one scenario, differing in method, seed and size alone.
        folder: where ``report.md``, ``records.jsonl`` and ``figures/`` go; made if need be.

    Raises:
        UsageError: there are not several sizes.
        StoreError: a file can't be written.
    """
    if not of_sizes(records):
        raise UsageError(
            "a report by size needs records of several sizes of the training set, and of nothing "
            "else: name two sizes or more by --peft-sizes"
        )
    ordered = sorted(records, key=lambda record: (size_of(record), record.method, record.seed))
    folder.mkdir(parents=True, exist_ok=True)
    write_records(folder / RECORDS_NAME, ordered)
    found = BySize(ordered)
    plots = write_drawn([partial(draw_sizes, found)], folder / FIGURES_NAME)
    path = folder / REPORT_NAME
    path.write_text(compose(found, plots), encoding="utf-8", newline="\n")
    return path


def left_out(records: Sequence[Record], reported: Sequence[Record]) -> list[str]:
    """Return a line on the sizes in a store that its report by size can't hold, if there are any.

    Args:
        records: all of the store.
        reported: those of the report.
    """
    sizes = sizes_left_out(records, reported)
    if not sizes:
        return []
    return [
        "left out of the report by size, which holds sets that were all trained for as many "
        f"steps, or all for as many epochs: the store's records on {_sizes(sizes)} examples"
    ]


def compose(found: BySize, plots: Sequence[Plot]) -> str:
    """Return the report as Markdown."""
    summary = gather(found.records)
    blocks = [
        f"# How much data: {escape(summary.title)}",
        *warnings(summary),
        f"Accuracy of each method by the size of the training set. A smaller set is the beginning "
        f"of a larger one's shuffle, a seed draws another; the test set is the same for all. "
        f"{_hold(found)}",
        *_answers(found),
        *(image(plot) for plot in plots),
        "## Accuracy by size",
        _accuracy_table(found),
        f"Accuracy in percent; {_brackets(found)}.",
    ]
    for slug, heading in (
        (BASELINE, "## Against Full"),
        (BAG_OF_WORDS, "## Against a bag of words"),
    ):
        blocks += _against(found, slug, heading)
    blocks += [
        "## What was trained",
        _trained_table(found),
        *_failed(found),
        "## Setup",
        setup_table(summary, leave_out=_ELSEWHERE),
        f"Every number here is computed from [{RECORDS_NAME}]({RECORDS_NAME}), one line a trial.",
    ]
    return "\n\n".join(block for block in blocks if block) + "\n"


def _brackets(found: BySize) -> str:
    if found.seeds > 1:
        note = "[…] is the 95% interval on texts like these: with other seeds and other texts"
        known = [found.accuracy(m.slug, size) for m in found.methods for size in found.sizes]
        if any(one is not None and len(one.seeds) == 1 for one in known):
            note += "; where one seed alone finished, of its trained model"
        return note
    return f"[…] is the 95% interval of one trained model on other texts; {ONE_SEED}"


def _hold(found: BySize) -> str:
    """Return in words what was the same for all sizes, as the records have it."""
    trained = [record for record in found.records if _has_steps(record)]
    if not trained:
        return ""
    repeated = [_steps(record) for record in trained if repeats_of(record) > 1]
    # Sets that are much larger than the scenario's own take more steps, repeated or not.
    usual = LONGER * max(repeated) if repeated else math.inf
    steps = {_steps(record) for record in trained}
    count = _from_to([n for n in steps if n <= usual])
    if repeated:
        longer = [n for n in steps if n > usual]
        more = f" The largest took {_from_to(longer)}, more than those are for." if longer else ""
        return (
            f"Small sets were gone through more often than large ones, to {count} steps: the "
            f"learning rates are those of a training of that length.{more}"
        )
    return (
        f"Every size was trained for as many epochs, and so for {count} steps: what a small set "
        "lacks is not data alone, but steps too."
    )


def _from_to(steps: Collection[int]) -> str:
    return f"{min(steps):,}" + (f" to {max(steps):,}" if len(steps) > 1 else "")


def _has_steps(record: Record) -> bool:
    return bool(record.measurement and record.measurement.losses)


def _steps(record: Record) -> int:
    trained = size_of(record) * repeats_of(record)
    return int(record.trial["recipe"]["epochs"]) * math.ceil(
        trained / int(record.trial["recipe"]["batch_size"])
    )


def _accuracy_table(found: BySize) -> str:
    rows = []
    for method in found.methods:
        cells = [escape(method.name)]
        for size in found.sizes:
            one = found.accuracy(method.slug, size)
            cells.append(
                MISSING if one is None else f"{one.mean:.2f} {between(one.interval)}".strip()
            )
        rows.append(cells)
    return table(["Method", *(f"{size:,}" for size in found.sizes)], rows)


def _compared(found: BySize, other: str) -> list[tuple[MethodSummary, dict[int, PairedAccuracy]]]:
    """Return each method's differences from another, by size."""
    if found.find(other) is None:
        return []
    sides = [method for method in found.methods if method.slug != other]
    pairs = [(method, found.against(method.slug, other)) for method in sides]
    return [(method, paired) for method, paired in pairs if paired]


def _against(found: BySize, other: str, heading: str) -> list[str]:
    compared = _compared(found, other)
    if not compared:
        return []
    rows = []
    for method, pairs in compared:
        cells = [escape(method.name)]
        for size in found.sizes:
            cells += paired_cells(pairs.get(size))
        rows.append(cells)
    headings = ["Method"]
    for size in found.sizes:
        headings += [f"{size:,}: points", f"{size:,}: told apart?"]
    return [
        heading,
        table(headings, rows),
        "The method's accuracy less the other's, on the same seeds and test examples. Each p is "
        "corrected for the number of sizes by Holm's procedure; over methods it is not.",
    ]


def _answers(found: BySize) -> list[str]:
    """Return what follows from the tests: where adapters overtake Full, where words are enough."""
    blocks = []
    full = [_against_full(method, pairs) for method, pairs in _compared(found, BASELINE)]
    if full:
        blocks += ["**Against Full.** " + " ".join(full)]
    compared = _compared(found, BAG_OF_WORDS)
    if compared:
        sentences = [_against_words(method, pairs) for method, pairs in compared]
        blocks += ["**Against a bag of words.** " + " ".join([*sentences, _enough(compared)])]
    if blocks and found.seeds == 1:
        blocks.append(f"These are comparisons of single trained models: {ONE_SEED}.")
    return blocks


def _sizes(sizes: Sequence[int]) -> str:
    return listed([f"{size:,}" for size in sizes])


def _by_standing(pairs: Mapping[int, PairedAccuracy]) -> dict[Standing, list[int]]:
    found: dict[Standing, list[int]] = {}
    for size in sorted(pairs):
        found.setdefault(pairs[size].standing, []).append(size)
    return found


def _against_full(method: MethodSummary, pairs: Mapping[int, PairedAccuracy]) -> str:
    """Return at which sizes a method is above Full, below it, or neither."""
    name, standing = escape(method.name), _by_standing(pairs)
    if set(standing) == {Standing.OPEN}:
        return f"{name} can't be told apart from it at any size."
    parts = [
        f"{words} at {_sizes(standing[kind])} examples"
        for kind, words in (
            (Standing.ABOVE, "above it"),
            (Standing.BELOW, "below it"),
            (Standing.OPEN, "not to be told apart from it"),
            (Standing.UNTESTED, "not tested against it"),
        )
        if kind in standing
    ]
    text = f"{name} is {'; '.join(parts)}"
    start = standing_from(pairs, Standing.BELOW)
    if Standing.BELOW in standing and start is not None:
        text += f": from {start:,} on it is not shown to be worse"
    return f"{text}."


def _against_words(method: MethodSummary, pairs: Mapping[int, PairedAccuracy]) -> str:
    """Return from which size on a method is above the bag of words."""
    name, standing = escape(method.name), _by_standing(pairs)
    above = standing.get(Standing.ABOVE, [])
    if not above:
        return f"{name} is at no size shown to be above it."
    text = f"{name} is above it at {_sizes(above)} examples"
    if Standing.BELOW in standing:
        text += f" and below it at {_sizes(standing[Standing.BELOW])}"
    return f"{text}."


def _enough(
    compared: Sequence[tuple[MethodSummary, Mapping[int, PairedAccuracy]]],
) -> str:
    """Return where the bag of words is shown to be best, and up to where nothing is above it."""
    candidates = [pairs for method, pairs in compared if not method.reference]
    sizes = sorted({size for pairs in candidates for size in pairs})
    standings = {
        size: {pairs[size].standing for pairs in candidates if size in pairs} for size in sizes
    }
    told = []
    beaten = [
        size
        for size in sizes
        if standings[size] == {Standing.BELOW} and all(size in pairs for pairs in candidates)
    ]
    if beaten:
        told.append(f"It is shown to be above every method at {_sizes(beaten)} examples.")
    # What was not tested ends what can be said.
    ends = {Standing.ABOVE, Standing.UNTESTED}
    without = list(takewhile(lambda size: standings[size].isdisjoint(ends), sizes))
    if without:
        told.append(f"Up to {without[-1]:,} examples, no method is shown to be above it.")
    elif sizes and Standing.ABOVE in standings[sizes[0]]:
        told.append("At the smallest size already, one method or more is shown to be above it.")
    return " ".join(told)


def _trained_table(found: BySize) -> str:
    rows = []
    for size in found.sizes:
        records = [r for r in found.records if size_of(r) == size and _has_steps(r)]
        epochs = sorted({int(r.trial["recipe"]["epochs"]) for r in records})
        repeats = sorted({repeats_of(r) for r in records})
        steps = sorted({_steps(r) for r in records})
        trials = [r for r in found.records if size_of(r) == size]
        cells = [
            ", ".join(f"{n:,}" for n in values) or MISSING for values in (epochs, repeats, steps)
        ]
        rows.append([f"{size:,}", *cells, str(len(trials))])
    return table(
        ["Training examples", "Epochs", "Times each comes in an epoch", "Steps", "Trials"], rows
    )


def _failed(found: BySize) -> list[str]:
    rows = [
        [escape(method.name), f"{size_of(record):,}", str(record.seed), escape(reason(record))]
        for method in found.methods
        for record in method.unfinished
    ]
    if not rows:
        return []
    return [
        "## Trials without a result",
        table(["Method", "Training examples", "Seed", "Why"], rows, text_columns=4),
    ]


def draw_sizes(found: BySize) -> Plot | None:
    """Draw a curve a method: accuracy by size, with its interval."""
    drawn = [method for method in found.methods if found.find(method.slug)]
    if not drawn:
        return None
    figure = new_figure(4.6)
    axes = figure.subplots()
    style = looks([method.slug for method in drawn])
    for number, method in enumerate(drawn):
        look = style[method.slug]
        known = [(s, one) for s in found.sizes if (one := found.accuracy(method.slug, s))]
        # A little apart, so that bars of one size don't hide each other.
        shift = 1.02 ** (number - (len(drawn) - 1) / 2)
        low, high = (
            # Where nothing is known of it, there is no bar: one without length would tell of none.
            [abs(one.mean - (one.interval or (math.nan, math.nan))[end]) for _, one in known]
            for end in (0, 1)
        )
        axes.errorbar(
            [size * shift for size, _ in known],
            [one.mean for _, one in known],
            yerr=[low, high],
            color=look.colour,
            marker=look.marker,
            linestyle=look.line,
            markersize=6,
            capsize=2,
            linewidth=1.4,
            label=plain(method.name),
        )
    axes.set_xscale("log")
    axes.set_xticks(found.sizes, [f"{size:,}" for size in found.sizes])
    axes.xaxis.set_minor_locator(NullLocator())
    axes.set_xlabel("Training examples")
    axes.set_ylabel("Accuracy (%); axis doesn't start at 0")
    axes.grid(axis="y")
    figure.legend(loc="outside lower center", ncols=min(len(drawn), 5), frameon=False)
    several = "with other seeds and other texts" if found.seeds > 1 else "of one trained model"
    return Plot(
        name=SIZES_NAME,
        caption=f"Accuracy by the size of the training set, which is on a logarithmic axis; bars "
        f"are 95% intervals on texts like these, {several}. Methods stand a little apart.",
        alt=f"Accuracy of {len(drawn)} methods at {len(found.sizes)} sizes of the training set",
        figure=figure,
    )

"""The report on serving: a folder with ``report.md``, its figure and its records."""

from __future__ import annotations

from collections.abc import Sequence
from functools import partial
from pathlib import Path

from matplotlib.axes import Axes

from peftcore.errors import UsageError
from peftcore.report import refusals
from peftcore.report.canvas import Plot, new_figure
from peftcore.report.figures import write_drawn
from peftcore.report.markdown import escape, listed, table
from peftcore.report.render import FIGURES_NAME, RECORDS_NAME, REPORT_NAME, image
from peftcore.report.serving import tables
from peftcore.report.serving.gathering import (
    Served,
    Spread,
    batch_size,
    gather_served,
)
from peftcore.report.setup import notes, setup_table
from peftcore.report.style import looks, plain
from peftcore.report.summary import Summary, gather
from peftcore.results.records import Record, write_records
from peftcore.results.serving import ATTACHED, MERGED

SERVING_NAME = "serving"
"""The folder, in that of a scenario's report, of this one; and the name of its figure."""

_TRAINING_ONLY = (
    "Examples",
    "Epochs",
    "Batch size",
    "Optimiser",
    "Schedule",
    "Learning rates",
    "Dropout",
    "Accelerations",
    "Training loop",
    "Most frequent label",
)
"""Rows of the setup that say nothing of a model that is not trained."""


@refusals.told
def write_serving_report(records: Sequence[Record], folder: Path) -> Path:
    """Write the report on serving, and return the path of ``report.md``.

    Args:
        records: of one scenario under one setting, one a method.
        folder: where ``report.md``, ``records.jsonl`` and ``figures/`` go; made if need be.

    Raises:
        UsageError: there are none, or they are of different settings.
        StoreError: a file can't be written.
    """
    if not records:
        raise UsageError("there is nothing to report: no records of serving were given")
    settings = {str(record.trial["setting_id"]) for record in records}
    if len(settings) > 1:
        raise UsageError(
            "records of different settings can't share a report: setting_id is one of "
            f"{', '.join(sorted(settings))}; write a report for each"
        )
    summary = gather(records)
    folder.mkdir(parents=True, exist_ok=True)
    write_records(folder / RECORDS_NAME, summary.records)
    served = gather_served(summary.records)
    plots = write_drawn([partial(draw_serving, served)], folder / FIGURES_NAME)
    path = folder / REPORT_NAME
    path.write_text(compose(summary, served, plots), encoding="utf-8", newline="\n")
    return path


def compose(summary: Summary, served: Sequence[Served], plots: Sequence[Plot]) -> str:
    """Return the report as Markdown."""
    blocks: list[str] = [f"# What serving costs: {escape(summary.title)}", *_warnings(summary)]
    if served:
        blocks += _measured(served, plots)
    failed = [
        [escape(method.name), escape(method.failure)]
        for method in summary.methods
        if method.failure
    ]
    if failed:
        blocks += ["## Methods without a result", table(["Method", "Why"], failed, text_columns=2)]
    blocks += [
        "## Setup",
        setup_table(summary, leave_out=_TRAINING_ONLY),
        f"Every number here is computed from [{RECORDS_NAME}]({RECORDS_NAME}), one line a method.",
    ]
    return "\n\n".join(block for block in blocks if block) + "\n"


def _warnings(summary: Summary) -> list[str]:
    found = notes(summary)
    shared = [escape(method.name) for method in summary.methods if method.shared_seeds]
    if shared:
        found.append(
            "Other trials ran on the machine at the same time, so that these times say little: "
            f"those of {listed(shared)}."
        )
    return [f"> {text}" for text in found]


def _measured(served: Sequence[Served], plots: Sequence[Plot]) -> list[str]:
    first = served[0]
    settings, serving = first.settings, first.serving
    size = batch_size(first)
    missing, remarks = tables.gaps(served), tables.remarks(served)
    blocks = [
        "Nothing was trained for this: adapters were attached as for training, moved from where "
        "they begin until their logits showed it, and saved. Each method was measured in a process "
        f"of its own on {_device(serving)}, in {settings['rounds']} rounds after "
        f"{settings['warm_up_rounds']} that don't count; a round measures everything once, in an "
        "order drawn anew, so that what else the machine does falls on all alike. Numbers are "
        "medians with the 5th and 95th percentile in brackets. What is timed gave, just before, "
        "the logits of the adapter that it serves, up to rounding, unless it is told below.",
        " ".join(tables.sentences(served)),
        *(image(plot) for plot in plots),
        "## Keep, load and swap",
        tables.keeping_table(served),
        "*Load* puts a saved adapter onto a model in memory that has none, *Load in another's "
        "place* puts it there instead of the one that is in use, with its file in the system's "
        "cache, as after a first read. *Swap* lets another adapter that is in memory predict. Of "
        "a method that trains the model's own weights, all three put weights in the place of "
        "others; what it swaps among are sets of these weights, kept beside the model.",
        "## Memory held",
        tables.memory_table(served),
        "Bytes of all tensors of the model and of what it keeps beside; counted, so that they are "
        "the same each time. The plain model is the backbone with its head, in full precision.",
        "## Latency: one example",
        tables.latency_table(served, lambda _: 1),
        f"From padded token ids to logits, both where the model is, {settings['singles']} examples "
        "in each round, the same for all: percentiles are over texts of different lengths too. "
        "Ratios are to the plain model on the very same example, in the same round.",
    ]
    if size > 1:
        blocks += [
            f"## Latency: a batch of {size}",
            tables.latency_table(served, batch_size),
            f"One batch of {size} in each round, padded to its longest text.",
        ]
    blocks += [
        "## Throughput",
        tables.throughput_table(served),
        f"Examples a second in batches of {size}, one after the other, by their median time.",
    ]
    if remarks:
        blocks += [
            "## What must be known of what was measured",
            table(["Method", "What", "To be known"], remarks, text_columns=3),
        ]
    blocks.append("## What was not measured")
    if not missing:
        return [*blocks, "Every figure is measured, none estimated."]
    return [
        *blocks,
        "Every other figure is measured; a dash in a table stands for what is listed here.",
        table(["Method", "What", "It is", "Why"], missing, text_columns=4),
    ]


def _device(serving: object) -> str:
    assert isinstance(serving, dict)
    if serving["device"] == "cuda":
        return "a GPU, waited for at both ends of each measurement"
    threads = serving["threads"]
    return f"a processor with {threads} thread{'' if threads == 1 else 's'}"


def draw_serving(served: Sequence[Served]) -> Plot | None:
    """Draw each method's latency as a ratio to the plain model's: one example, and a batch."""
    known = [one for one in served if one.ratios(ATTACHED, 1, 1)]
    if not known:
        return None
    figure = new_figure(1.6 + 0.34 * len(known))
    sizes = list(dict.fromkeys((1, batch_size(known[0]))))
    panels = figure.subplots(1, len(sizes), sharey=True, squeeze=False)[0]
    for axes, examples in zip(panels, sizes, strict=True):
        _draw_ratios(axes, known, examples)
        axes.set_title(
            "One example" if examples == 1 else f"A batch of {examples}",
            loc="left",
            fontweight="bold",
        )
        axes.set_xlabel("time over the plain model's")
    panels[0].set_yticks(range(len(known)), [plain(one.method.name) for one in known])
    panels[0].invert_yaxis()
    return Plot(
        name=SERVING_NAME,
        caption="Time of a prediction over the plain model's, of the same examples in the same "
        "round: full with the adapter attached, hollow merged; bars reach from the 5th to the 95th "
        "percentile.",
        alt=f"Latency of {len(known)} methods as a ratio to the plain model's",
        figure=figure,
    )


def _draw_ratios(axes: Axes, served: Sequence[Served], examples: int) -> None:
    style = looks([one.method.slug for one in served])
    for place, one in enumerate(served):
        look = style[one.method.slug]
        for way, count, shift, filled in ((ATTACHED, 1, -0.12, True), (MERGED, 0, 0.12, False)):
            ratio = Spread.of(one.ratios(way, count, examples))
            if ratio is None:
                continue
            axes.errorbar(
                ratio.median,
                place + shift,
                xerr=[[ratio.median - ratio.low], [ratio.high - ratio.median]],
                fmt="o",
                color=look.colour,
                markerfacecolor=look.colour if filled else "white",
                markersize=6,
                linewidth=1,
            )
    axes.axvline(1.0, color="#777777", linestyle="--", linewidth=1, zorder=1)
    axes.grid(axis="x")

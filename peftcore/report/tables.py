"""The tables of numbers; their columns are those of :mod:`peftcore.report.metrics`."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from peftcore.report.markdown import escape, listed, signed, table
from peftcore.report.metrics import (
    ACCURACY,
    CO2,
    ENERGY,
    GPU_MEMORY,
    GRID_GRAMS_PER_KWH,
    METRICS,
    MISSING,
    SHARED_MARK,
    UTILISATION,
    Metric,
)
from peftcore.report.pairing import PairedAccuracy, Standing
from peftcore.report.summary import BASELINE, MethodSummary, Summary, reason
from peftcore.report.wording import between, bracketed, p_value

UNDER_MARK = "▼"
"""Stands beside the name of a method whose mean accuracy is under the bag of words'."""


def named(summary: Summary, method: MethodSummary) -> str:
    """Return a method's name for the first column of a table, with its marks."""
    name = escape(method.name)
    if method.reference:
        return f"*{name}* (reference)"
    return f"{name} {UNDER_MARK}" if summary.under_bag_of_words(method) else name


def key_metrics(summary: Summary) -> str:
    """Return the table of key metrics: a row a method, the best candidate of each column bold."""
    return _metric_table(summary, [m for m in METRICS if m.key_metric])


def details(summary: Summary) -> str:
    """Return the table of the other metrics."""
    metrics = [m for m in METRICS if not (m.key_metric or m.machine_use)]
    return _metric_table(summary, metrics)


def machine_use(summary: Summary) -> str | None:
    """Return the table of how well the machine was used; ``None`` where nothing is known of it."""
    metrics = [m for m in METRICS if m.machine_use]
    known = any(_shown(summary, metric) for metric in metrics)
    return _metric_table(summary, metrics) if known else None


def machine_use_note(summary: Summary) -> str | None:
    """Return what utilisation means; ``None`` where it isn't shown."""
    if not _shown(summary, UTILISATION):
        return None
    return (
        "Tokens are those of the training texts, padding left out; model FLOPs are the products "
        "that forward and backward of the plain model need for them, whatever the training loop "
        "adds or saves; utilisation is their number a second of training as a share of the "
        "matrix-product rate, that of one product of the backbone's size in the same precision, "
        "measured in the same process after training."
    )


def energy_note(summary: Summary) -> str | None:
    """Return where the energy comes from, or why nothing is known of it.

    ``None`` where no trial finished, so that there is nothing to be known.
    """
    processor, gpu = (
        any(_shown(summary, metric) for metric in ENERGY if device in metric.key)
        for device in ("processor", "gpu")
    )
    finished = sum(len(method.finished) for method in summary.methods)
    shared = sum(len(method.shared_seeds) for method in summary.methods)
    if not finished:
        return None
    if not (processor or gpu):
        if shared == finished:
            why = (
                "other trials ran on the machine at the same time, and a counter of energy counts "
                "for all"
            )
        elif shared:
            why = (
                "no counter of energy could be read where trials ran alone, and where others ran "
                "at the same time it would have counted for all"
            )
        else:
            why = "where these trials ran, no counter of energy could be read"
        return f"Energy and CO2 are unavailable: {why}."
    counters = ["a GPU's by its driver"] * gpu + [
        "a processor's packages and memory by RAPL"
    ] * processor
    unread = ""
    if not processor:
        unread = " The processor's could not be read: its share is in no number, CO2 included."
    elif not gpu and summary.memory is GPU_MEMORY:
        unread = " The GPU has none: its share is in no number, CO2 included."
    beside = " or other trials ran on the machine at the same time" if shared else ""
    return (
        f"Energy is measured by the counters of whole devices ({listed(counters)}), idle power and "
        f"other programs' share included; a dash stands where there is no counter{beside}.{unread} "
        "Predictions are those of the evaluations. CO2 is what those devices took at "
        f"{GRID_GRAMS_PER_KWH} g/kWh, the world's mean of 2024 (Ember).{_uncounted(summary)}"
    )


def _uncounted(summary: Summary) -> str:
    """Return which trials have no CO2, because a device was not counted that others' was."""
    found: dict[str, list[str]] = {}
    for method in summary.methods:
        alone = [record for record in method.finished if record.seed not in method.shared_seeds]
        for metric in CO2:
            for part in metric.parts:
                seeds = [r.seed for r in alone if part in method.lacks(metric, r)]
                if not seeds:
                    continue
                of = "" if len(seeds) == len(method.finished) else f" (seeds {_numbers(seeds)})"
                found.setdefault(part.label, []).append(f"{escape(method.name)}{of}")
    if not found:
        return ""
    lacking = "; ".join(f"“{label}” of {listed(names)}" for label, names in found.items())
    return (
        " Sums over other devices can't be compared, so there is no CO2 where a number is missing "
        f"that others have: {lacking}."
    )


def _numbers(seeds: Sequence[int]) -> str:
    return ", ".join(map(str, seeds))


def key_metrics_notes(summary: Summary) -> list[str]:
    """Return the sentences that a reader of the key metrics needs."""
    notes = []
    if not summary.pretrained:
        notes.append(
            "The backbone's weights are random: time and memory are those of the architecture, "
            "and accuracy is not shown because it would mean nothing."
        )
    elif any(method.mean(ACCURACY) is not None for method in summary.methods):
        notes.append(f"{summary.error_note}.")
    if summary.several_seeds:
        notes.append("± is the standard deviation over the seeds that finished.")
    bold = "The best method of each column is bold"
    if any(level_with_best(summary, method) for method in summary.candidates):
        bold += ", of accuracy with those that can't be told apart from it"
    notes.append(f"{bold}; reference rows don't compete.")
    if any(summary.under_bag_of_words(method) for method in summary.candidates):
        notes.append(
            f"{UNDER_MARK} marks a method whose mean accuracy is under that of the bag of words."
        )
    busy = [method for method in summary.methods if method.shared_seeds]
    if busy:
        listing = "; ".join(
            f"{escape(method.name)} (seeds {_numbers(method.shared_seeds)})" for method in busy
        )
        if all(len(method.shared_seeds) == len(method.finished) for method in summary.methods):
            listing = "here all of them"
        notes.append(
            f"{SHARED_MARK} marks times that were taken while other trials ran on the machine, so "
            f"that they say little: {listing}."
        )
    if any(method.finished for method in summary.candidates or summary.methods):
        notes.append(_memory_note(summary))
    resumed = sum(bool(r.measurement and r.measurement.resumed) for r in summary.records)
    if resumed:
        trials = "1 trial" if resumed == 1 else f"{resumed} trials"
        notes.append(
            f"{trials} went on from a checkpoint (resumed): times are sums of parts, peak memory "
            "is the largest of them."
        )
    notes.append("MB and GB are decimal.")
    return notes


def _memory_note(summary: Summary) -> str:
    if summary.memory.key.startswith("gpu"):
        return (
            "GPU memory is the peak that tensors had allocated in training; what the allocator "
            "reserved and what the driver counted for the process are among the details."
        )
    return (
        "Memory is the peak resident memory of the process in training, its libraries included; "
        "no trial ran on a GPU."
    )


@dataclass(frozen=True, kw_only=True)
class MetricCell:
    """One number of a table of metrics.

    Attributes:
        text: as it is shown, with its error.
        mean: over seeds, in the metric's unit; ``None`` where it was not measured.
        best: whether no candidate is better, or known to be.
    """

    text: str
    mean: float | None
    best: bool


@dataclass(frozen=True, kw_only=True)
class MetricRow:
    """One method's row of a table of metrics.

    Attributes:
        method: whose.
        seeds: how many of its trials finished, in words.
        cells: one a metric; none where no trial finished.
    """

    method: MethodSummary
    seeds: str
    cells: tuple[MetricCell, ...]


def shown_metrics(summary: Summary, metrics: Sequence[Metric]) -> list[Metric]:
    """Return those metrics that a table has a column of."""
    return [metric for metric in metrics if _shown(summary, metric)]


def metric_rows(summary: Summary, metrics: Sequence[Metric]) -> list[MetricRow]:
    """Return the rows of a table of these metrics."""
    best = {metric.key: _best(summary, metric) for metric in metrics}
    # Over the seeds that two have in common, it need not be the one with the highest number.
    ahead = summary.most_accurate(summary.candidates)

    def cell(method: MethodSummary, metric: Metric) -> MetricCell:
        mean = method.mean(metric)
        leads = (
            metric.show(mean) == best[metric.key]
            or (metric is ACCURACY and best[metric.key] is not None and method is ahead)
            or (metric is ACCURACY and level_with_best(summary, method))
        )
        return MetricCell(
            text=_cell(summary, method, metric), mean=mean, best=leads and not method.reference
        )

    return [
        MetricRow(
            method=method,
            seeds=_seeds(method),
            cells=()
            if method.failure is not None
            else tuple(cell(method, metric) for metric in metrics),
        )
        for method in summary.methods
    ]


def _metric_table(summary: Summary, metrics: Sequence[Metric]) -> str:
    shown = shown_metrics(summary, metrics)
    rows = []
    for row in metric_rows(summary, shown):
        cells = [named(summary, row.method), row.seeds]
        if row.method.failure is not None:
            # The reason takes the first column of numbers, and no other cell says anything.
            rows.append(
                [*cells, escape(row.method.failure), *[""] * (len(shown) - 1)][: len(shown) + 2]
            )
            continue
        rows.append(cells + [f"**{cell.text}**" if cell.best else cell.text for cell in row.cells])
    return table(["Method", "Seeds", *(metric.heading for metric in shown)], rows)


def _seeds(method: MethodSummary) -> str:
    if not method.finished:
        return "none"
    return f"{len(method.finished)} of {len(method.records)}"


def _shown(summary: Summary, metric: Metric) -> bool:
    """Accuracy always; another column where any candidate has a number."""
    if metric is ACCURACY:
        return True
    methods = summary.candidates or summary.methods
    return any(method.mean(metric) is not None for method in methods)


def _best(summary: Summary, metric: Metric) -> str | None:
    """Return the best candidate's number as shown, so that ties as shown are all best."""
    values = [method.mean(metric) for method in summary.candidates]
    known = [value for value in values if value is not None]
    if metric.better is None or len(known) < 2:
        return None
    return metric.show(max(known) if metric.better == "higher" else min(known))


def level_with_best(summary: Summary, method: MethodSummary) -> bool:
    """Return whether a method's accuracy can't be told apart from the most accurate candidate's."""
    best = summary.most_accurate(summary.candidates)
    paired = None if best is None or best is method else summary.paired(method, best)
    return paired is not None and paired.standing is Standing.OPEN


def _cell(summary: Summary, method: MethodSummary, metric: Metric) -> str:
    estimate = summary.estimate(method, metric)
    if estimate is None:
        return MISSING
    text = metric.show(estimate.mean)
    if estimate.ends is not None and metric is ACCURACY:
        return f"{text} {between(estimate.ends)}"
    if estimate.ends is not None and estimate.error[0]:
        text = f"{text} ± {metric.show(estimate.error[0])}"
    return f"{text} {SHARED_MARK}" if method.says_little(metric) else text


def differences_from_full(summary: Summary) -> str | None:
    """Return each method less Full; ``None`` where Full or every other method has no number."""
    full = summary.find(BASELINE)
    others = [m for m in summary.methods if m.finished and m is not full]
    if full is None or not others:
        return None
    metrics = [
        metric
        for metric in METRICS
        if metric.difference
        and full.mean(metric) is not None
        and any(other.mean(metric) is not None for other in others)
    ]
    headings = ["Method"]
    rows = [[named(summary, other)] for other in others]
    for metric in metrics:
        if metric.difference == "points":
            headings += [f"{metric.label} (points)", "Told apart from Full?"]
            for row, other in zip(rows, others, strict=True):
                row += paired_cells(summary.paired(other, full))
        elif metric.difference == "units":
            headings.append(metric.heading)
            for row, other in zip(rows, others, strict=True):
                row.append(_difference(other.mean(metric), full.mean(metric)))
        else:
            headings.append(metric.label)
            for row, other in zip(rows, others, strict=True):
                text = _percent(other.mean(metric), full.mean(metric))
                doubtful = full.says_little(metric) or other.says_little(metric)
                row.append(f"{text} {SHARED_MARK}" if doubtful and text != MISSING else text)
    return table(headings, rows)


def differences_from_references(summary: Summary) -> str | None:
    """Return each candidate's accuracy less each reference row's; ``None`` where there is none."""
    references = [m for m in summary.references if m.mean(ACCURACY) is not None]
    candidates = [m for m in summary.candidates if m.mean(ACCURACY) is not None]
    if not references or not candidates:
        return None
    headings = ["Method"]
    rows = [[named(summary, candidate)] for candidate in candidates]
    for reference in references:
        headings += [f"Above {escape(reference.name)} (points)", "Told apart?"]
        for row, candidate in zip(rows, candidates, strict=True):
            row += paired_cells(summary.paired(candidate, reference))
    return table(headings, rows)


def paired_cells(paired: PairedAccuracy | None) -> list[str]:
    """Return a difference in points and whether the two are told apart, as two cells."""
    if paired is None:
        return [MISSING, MISSING]
    points = f"{signed(paired.mean_points, 2)} {bracketed(paired.interval_points)}".strip()
    return [points, told_apart(paired)]


def told_apart(paired: PairedAccuracy) -> str:
    """Return whether two accuracies are told apart, with the p corrected for many pairs."""
    if paired.standing is Standing.UNTESTED:
        return "untested"
    answer = "no" if paired.standing is Standing.OPEN else "yes"
    return f"{answer}, p {p_value(paired.adjusted_p)}"


def _percent(value: float | None, base: float | None) -> str:
    if value is None or not base:
        return MISSING
    percent = 100 * (value / base - 1)
    return f"{signed(percent, 2 if percent < -99 else 0)}%"


def _difference(value: float | None, base: float | None) -> str:
    return MISSING if value is None or base is None else signed(value - base, 4)


def failed_trials(summary: Summary) -> str | None:
    """Return the trials that have no numbers, with what went wrong; ``None`` if all have."""
    rows = [
        [escape(method.name), str(record.seed), escape(reason(record)), escape(record.error or "")]
        for method in summary.methods
        for record in method.unfinished
    ]
    return table(["Method", "Seed", "Outcome", "Error"], rows, text_columns=4) if rows else None


def passed_checks(summary: Summary) -> str | None:
    """Return each check with the methods whose trials passed it; ``None`` if none was made."""
    passed: dict[str, dict[str, int]] = {}
    for method in summary.methods:
        for record in method.finished:
            checks = record.measurement.checks if record.measurement else []
            for name in dict.fromkeys(str(check.get("name", "")) for check in checks):
                by_method = passed.setdefault(name, {})
                by_method[method.name] = by_method.get(method.name, 0) + 1
    rows = [
        [
            escape(name),
            ", ".join(
                escape(method) if len(summary.seeds) == 1 else f"{escape(method)} ({count})"
                for method, count in by_method.items()
            ),
        ]
        for name, by_method in passed.items()
    ]
    heading = "Passed by" if len(summary.seeds) == 1 else "Passed by (trials)"
    return table(["Check", heading], rows, text_columns=2) if rows else None

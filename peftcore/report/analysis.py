"""Prose: each sentence is computed from the records, and is left out where they can't carry it."""

from __future__ import annotations

from collections.abc import Sequence

from peftcore.report.markdown import escape, listed, signed
from peftcore.report.metrics import (
    ACCURACY,
    FILE_SIZE,
    GPU_MEMORY,
    SHARED_MARK,
    STEP_TIME,
    TRAIN_TIME,
    TRAINABLE_SHARE,
    Metric,
)
from peftcore.report.pairing import PairedAccuracy, Standing
from peftcore.report.summary import BASELINE, MethodSummary, Summary
from peftcore.report.wording import ONE_SEED, between, bracketed, compared, p_value
from peftcore.statistics.comparing import MARGIN_POINTS
from peftcore.statistics.variance import Estimand


def against_full(summary: Summary) -> list[str]:
    """Return a paragraph for each candidate on how it differs from Full."""
    full = summary.find(BASELINE)
    if full is None:
        return ["Full fine-tuning has no result here, so nothing is measured against it."]
    paragraphs = []
    for method in summary.candidates:
        if method is full or not method.finished:
            continue
        name = escape(method.name)
        sentences = [
            *accuracy_difference(summary, method, full),
            *_trained_weights(method),
            *_costs(summary, method, full),
        ]
        if sentences:
            paragraphs.append(f"**{name}.** {' '.join(sentences)}")
    return paragraphs or ["Nothing but Full has a result here, so there is nothing to compare."]


def against_references(summary: Summary) -> list[str]:
    """Return a paragraph for each reference row on which candidates beat it."""
    paragraphs = []
    for reference in summary.references:
        accuracy = reference.mean(ACCURACY)
        if accuracy is None:
            continue
        groups: dict[str, list[str]] = {}
        for candidate in summary.candidates:
            paired = summary.paired(candidate, reference)
            if paired is not None:
                points = f"{signed(paired.mean_points, 2)} {bracketed(paired.interval_points)}"
                gap = f"{escape(candidate.name)} ({points.strip()})"
                groups.setdefault(_group(paired), []).append(gap)
        if not groups:
            continue
        found = "; ".join(
            f"{text} {listed(names)}" for text, names in sorted(groups.items(), key=_group_order)
        )
        name = escape(reference.name)
        paragraphs.append(
            f"**{name}** reaches {ACCURACY.show(accuracy)}%. In points of accuracy, {found}."
        )
    return paragraphs


_GROUPS = {
    Standing.ABOVE: "beating it:",
    Standing.OPEN: "not told apart from it:",
    Standing.BELOW: "beaten by it:",
    Standing.UNTESTED: "not tested against it for want of predictions:",
}


def _group(paired: PairedAccuracy) -> str:
    return _GROUPS[paired.standing]


def _group_order(item: tuple[str, list[str]]) -> int:
    return list(_GROUPS.values()).index(item[0])


def extremes(summary: Summary) -> list[str]:
    """Return a sentence each on which candidate is most accurate, fastest, leanest, smallest."""
    sentences = _most_accurate(summary)
    for metric, word in (
        (TRAIN_TIME, "fastest to train"),
        (summary.memory, "leanest in memory"),
        (FILE_SIZE, "smallest to keep"),
    ):
        candidates = [m for m in summary.candidates if m.mean(metric) is not None]
        leaders = best_of(candidates, metric)
        # Of fewer than two, none is the most anything.
        if len(candidates) < 2 or not leaders:
            continue
        names = listed([escape(method.name) for method in leaders])
        verb = "is" if len(leaders) == 1 else "are equally"
        told = f"{names} {verb} {word} ({mean_with_unit(leaders[0], metric)})"
        sentences.append(f"{told}{as_far_as_told(candidates, metric)}.")
    return sentences


def _most_accurate(summary: Summary) -> list[str]:
    """Return who leads in accuracy, and from whom the leader can't be told apart."""
    measured = [m for m in summary.candidates if m.mean(ACCURACY) is not None]
    best = summary.most_accurate(measured)
    if best is None or len(measured) < 2:
        return []
    level, open_ = [], []
    for method in measured:
        paired = None if method is best else summary.paired(method, best)
        if paired is not None and paired.standing is Standing.OPEN:
            level.append(escape(method.name))
        elif method is not best and (paired is None or paired.standing is Standing.UNTESTED):
            open_.append(escape(method.name))
    # Another's mean may be higher, over other seeds: on those that both have it is lower.
    leads = (
        "has the highest accuracy"
        if best in best_of(measured, ACCURACY)
        else "is the most accurate with the seeds in common"
    )
    text = f"{escape(best.name)} {leads} ({with_unit(ACCURACY, best.mean(ACCURACY))})"
    if level:
        text += f", and can't be told apart from {listed(level)}"
    if open_:
        text += f"; {listed(open_)} could not be tested against it"
    if not level and not open_:
        text += ", and every other method is told apart from it"
    return [f"{text}."]


def best_of(methods: Sequence[MethodSummary], metric: Metric) -> list[MethodSummary]:
    """Return the methods that are best by this metric as it is shown; ties are all returned."""
    measured = [(method, method.mean(metric)) for method in methods]
    known = [value for _, value in measured if value is not None]
    if not known:
        return []
    best = metric.show(max(known) if metric.better == "higher" else min(known))
    return [method for method, value in measured if metric.show(value) == best]


def with_unit(metric: Metric, value: float | None) -> str:
    """Return a number with its unit, such as ``91.40%`` or ``614.1 s``."""
    if value is None or not metric.unit:
        return metric.show(value)
    return f"{metric.show(value)}{'' if metric.unit == '%' else ' '}{metric.unit}"


def mean_with_unit(method: MethodSummary, metric: Metric) -> str:
    """Return a method's mean with its unit, and with a mark if it is a time that says little."""
    text = with_unit(metric, method.mean(metric))
    return f"{text} {SHARED_MARK}" if method.says_little(metric) else text


def as_far_as_told(methods: Sequence[MethodSummary], metric: Metric) -> str:
    """Return what follows on who is best of these, where some times say little; else nothing."""
    doubtful = any(method.says_little(metric) for method in methods)
    return f", as far as times with {SHARED_MARK} can tell" if doubtful else ""


def accuracy_difference(summary: Summary, method: MethodSummary, other: MethodSummary) -> list[str]:
    """Return sentences on one accuracy against another, and on what can be told from it."""
    paired = summary.paired(method, other)
    if paired is None:
        return []
    name, base = escape(method.name), escape(other.name)
    estimate = summary.estimate(method, ACCURACY)
    interval = between(estimate.ends if estimate else None)
    accuracy = f"{with_unit(ACCURACY, method.mean(ACCURACY))} {interval}".strip()
    sentences = [f"Its accuracy is {accuracy}.", f"{compared(paired, name, base)}."]
    seed = paired.seeds[0]
    if paired.single:
        if seed.discordant is not None:
            only, only_base = seed.discordant
            corrected = "" if paired.adjusted_p is None else ", corrected"
            p = seed.p_value if paired.adjusted_p is None else paired.adjusted_p
            sentences.append(
                f"That is about these two trained models ({only:,} examples are right in {name} "
                f"alone, {only_base:,} in {base} alone: exact McNemar p {p_value(p)}{corrected}); "
                f"{ONE_SEED}."
            )
        return sentences
    if paired.test_set is not None:
        sentences.append(
            f"{Estimand.TEST_SET.capitalize()} other seeds would give "
            f"{bracketed(paired.test_set.interval())}."
        )
    if paired.equivalence_p is not None and not (paired.equivalent or paired.differs):
        sentences.append(
            f"That they are equivalent within ±{MARGIN_POINTS:g} points is not shown "
            f"(TOST p {p_value(paired.equivalence_p)})."
        )
    return sentences


def _trained_weights(method: MethodSummary) -> list[str]:
    measured = [record.measurement for record in method.finished if record.measurement]
    if not measured or measured[0].trainable_parameters is None:
        return []
    trainable, head = measured[0].trainable_parameters, measured[0].head_parameters
    share = method.mean(TRAINABLE_SHARE)
    amount = f"{trainable:,} parameters" if share is None else f"{share:.2f}% of its parameters"
    count = "" if share is None else f" ({trainable:,})"
    if head and head <= trainable:
        part = f", {100 * head / trainable:.0f}% of them in the head"
        return [f"It trains {amount}{count}{part}."]
    return [f"It trains {amount}{count}."]


def _costs(summary: Summary, method: MethodSummary, full: MethodSummary) -> list[str]:
    phrases = cost_phrases(summary, method, full)
    return [f"Against {escape(full.name)} it took {listed(phrases)}."] if phrases else []


def cost_phrases(summary: Summary, method: MethodSummary, base: MethodSummary) -> list[str]:
    """Return what a method cost against another, such as ``25% less time``."""
    memory = "GPU memory" if summary.memory is GPU_MEMORY else "memory"
    phrases = []
    for metric, noun in ((TRAIN_TIME, "time"), (summary.memory, memory)):
        value, other = method.mean(metric), base.mean(metric)
        if value is not None and other:
            doubtful = method.says_little(metric) or base.says_little(metric)
            mark = f" {SHARED_MARK}" if doubtful else ""
            phrases.append(more_or_less(value / other, noun) + mark)
    return phrases


def more_or_less(ratio: float, noun: str) -> str:
    """Return a ratio in words, such as ``25% less time`` or ``2.4 times the memory``."""
    if ratio >= 2:
        return f"{ratio:.1f} times the {noun}"
    percent = round(100 * abs(ratio - 1))
    if percent == 0:
        return f"the same {noun} to within a percent"
    return f"{percent}% {'less' if ratio < 1 else 'more'} {noun}"


def step_times(summary: Summary) -> list[str]:
    """Return a sentence on the fastest and the slowest step; none where they are level."""
    timed = [m for m in summary.candidates if m.mean(STEP_TIME) is not None]
    if not timed:
        return []
    by_time = sorted(timed, key=lambda m: m.mean(STEP_TIME) or 0.0)
    fast, slow = by_time[0], by_time[-1]
    times = [mean_with_unit(method, STEP_TIME) for method in (fast, slow)]
    if times[0] == times[1]:
        return []
    return [
        f"The median training step takes from {times[0]} ({escape(fast.name)}) "
        f"to {times[1]} ({escape(slow.name)})."
    ]


def what_tests_mean(summary: Summary) -> str | None:
    """Return what the tests of accuracy can and can't show; ``None`` where none was made."""
    if not summary.inference.pairs:
        return None
    if not summary.several_seeds:
        return (
            "Each test asks whether two trained models differ on texts like these (McNemar's "
            "exact test, corrected by Holm's procedure for there being several); "
            f"{ONE_SEED}, so nothing here tells a method from a lucky draw of weights and of "
            "training examples."
        )
    sentences = [
        "Intervals and tests of differences are about other seeds and other test examples: two-way "
        "variance components of seeds and examples, paired, with Satterthwaite's degrees of "
        "freedom and the variance over seeds drawn towards what the methods have in common. Two "
        "methods are told apart where p < 0.05 after Holm's correction for all pairs; intervals "
        "are not corrected, so that one which excludes zero need not be enough.",
        *summary.one_seed_note,
    ]
    return " ".join(sentences)

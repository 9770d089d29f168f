"""How each claim of the source study is decided from the records.

Accuracy is decided by the paired difference on texts like these, over several seeds: by its 95%
interval, or by its test after Holm's correction. One seed decides nothing about methods; nor does a
scenario with a caveat, nor random weights. Time leaves a band undecided, because one run's time may
be a few percent off, and is not judged where other trials ran on the machine. How much less one
method takes is told by the means, as in the tables, and decided by every seed; a claim that says
how much counts as confirmed from about four fifths of it.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass
from enum import StrEnum

from peftcore.report.analysis import mean_with_unit
from peftcore.report.markdown import escape, listed, signed
from peftcore.report.metrics import (
    ACCURACY,
    FILE_SIZE,
    GPU_MEMORY,
    HOST_MEMORY,
    MISSING,
    SHARED_MARK,
    STEP_TIME,
    TRAIN_CO2,
    TRAIN_TIME,
    TRAINABLE_SHARE,
    Metric,
)
from peftcore.report.pairing import PairedAccuracy, Standing
from peftcore.report.summary import MethodSummary, Summary
from peftcore.report.wording import ONE_SEED, compared, count_of_seeds

REPRODUCED_SHARE = 0.997
TRAINABLE_LIMIT_PERCENT = 1.0
TIME_CONFIRMED_PERCENT, TIME_REFUTED_PERCENT = 20.0, 15.0
MEMORY_CONFIRMED_PERCENT = 35.0
SLOWER_CONFIRMED_PERCENT, SLOWER_REFUTED_PERCENT = 5.0, 0.0
CO2_CONFIRMED_PERCENT, CO2_REFUTED_PERCENT = 5.0, 0.0
FILE_LIMIT_MEGABYTES = 10.0

_NAMES = {"full": "Full", "lora": "LoRA", "qlora": "QLoRA", "ia3": "IA3"}
_ADAPTERS = ("lora", "qlora", "ia3")


class Verdict(StrEnum):
    """What the measurements say of a claim."""

    CONFIRMED = "confirmed"
    NOT_CONFIRMED = "not confirmed"
    OPEN = "can't tell yet"


@dataclass(frozen=True, kw_only=True)
class Finding:
    """What became of one claim: the measured figure, the verdict and a reason, as Markdown."""

    verdict: Verdict
    measured: str
    why: str


def _open(why: str, measured: str = MISSING) -> Finding:
    return Finding(verdict=Verdict.OPEN, measured=measured, why=why)


def _verdict(decisions: Iterable[bool | None]) -> Verdict:
    """Return the verdict that all decisions share; they are open if any is or if they differ."""
    found = set(decisions)
    if found == {True}:
        return Verdict.CONFIRMED
    return Verdict.NOT_CONFIRMED if found == {False} else Verdict.OPEN


def _absent(summary: Summary, slugs: Iterable[str], metric: Metric) -> list[str]:
    """Return the names of the methods that have no such number here."""
    found = {slug: summary.find(slug) for slug in slugs}
    return [
        _NAMES[slug]
        for slug, method in found.items()
        if method is None or method.mean(metric) is None
    ]


def _no_number(names: list[str]) -> Finding:
    return _open(f"not measured: {listed(names)}")


def _each(summary: Summary, slugs: Iterable[str]) -> list[MethodSummary]:
    return [method for slug in slugs if (method := summary.find(slug)) is not None]


def _on_accuracy(
    *slugs: str,
) -> Callable[[Callable[[Summary], Finding]], Callable[[Summary], Finding]]:
    """Let a judge of accuracy speak only where accuracy can decide something."""

    def guard(judge: Callable[[Summary], Finding]) -> Callable[[Summary], Finding]:
        def judged(summary: Summary) -> Finding:
            if not summary.pretrained:
                return _open("the weights are random, so accuracy means nothing")
            absent = _absent(summary, slugs, ACCURACY)
            if absent:
                return _no_number(absent)
            finding = judge(summary)
            if summary.caveat is not None:
                return _open("this scenario's data can't decide it", finding.measured)
            return finding

        return judged

    return guard


def _paired(summary: Summary, first: str, second: str) -> PairedAccuracy | None:
    a, b = summary.find(first), summary.find(second)
    return summary.paired(a, b) if a and b else None


_BESIDE_OTHERS = (
    "times taken while other trials ran on the machine say little, so they decide nothing"
)
_NO_PAIRS = "the two share no seed"
_NO_PREDICTIONS = "predictions were not kept, so the difference can't be tested"


def _about_two_models(paired: PairedAccuracy, name: str, other: str) -> str:
    """Return what one seed tells, which is no verdict on methods."""
    return f"{ONE_SEED}; of the two trained models: {compared(paired, name, other)}"


@_on_accuracy("lora", "full")
def lora_reproduces_full(summary: Summary) -> Finding:
    """Judge LoRA's share of Full's accuracy by the interval of their difference."""
    paired = _paired(summary, "lora", "full")
    lora, full = (method.mean(ACCURACY) or 0.0 for method in _each(summary, ("lora", "full")))
    measured = f"{100 * lora / full:.2f}% of Full's accuracy" if full else MISSING
    if paired is None:
        return _open(_NO_PAIRS, measured)
    limit = -(1 - REPRODUCED_SHARE) * full
    if paired.interval_points is None:
        return _open(_NO_PREDICTIONS, measured)
    if paired.single:
        return _open(_about_two_models(paired, "LoRA", "Full"), measured)
    low, high = paired.interval_points
    return Finding(
        verdict=_verdict([True if low >= limit else False if high < limit else None]),
        measured=measured,
        why=f"{compared(paired, 'LoRA', 'Full')}; the limit is {signed(limit, 2)}",
    )


@_on_accuracy("full", "lora")
def full_beats_lora(summary: Summary) -> Finding:
    """Judge whether Full is told apart above LoRA."""
    paired = _paired(summary, "full", "lora")
    if paired is None:
        return _open(_NO_PAIRS)
    measured = f"{signed(paired.mean_points, 2)} points"
    if paired.standing is Standing.UNTESTED:
        return _open(_NO_PREDICTIONS, measured)
    if paired.single:
        return _open(_about_two_models(paired, "Full", "LoRA"), measured)
    told = {Standing.ABOVE: True, Standing.BELOW: False}.get(paired.standing)
    return Finding(
        verdict=_verdict([told]), measured=measured, why=compared(paired, "Full", "LoRA")
    )


@_on_accuracy("full", "lora", "qlora", "ia3")
def ia3_has_the_largest_gap(summary: Summary) -> Finding:
    """Judge whether IA3 is told apart below each of the other three."""
    pairs = {other: _paired(summary, "ia3", other) for other in ("full", "lora", "qlora")}
    known = {other: pair for other, pair in pairs.items() if pair is not None}
    if len(known) < len(pairs):
        return _open("the methods share no seed")
    measured = f"{signed(known['full'].mean_points, 2)} points from Full"
    standings = {other: pair.standing for other, pair in known.items()}
    if Standing.UNTESTED in standings.values():
        return _open(_NO_PREDICTIONS, measured)
    whys = [compared(pair, "IA3", _NAMES[other]) for other, pair in known.items()]
    if any(pair.single for pair in known.values()):
        return _open(f"{ONE_SEED}; of the trained models: {'; '.join(whys)}", measured)
    if Standing.ABOVE in standings.values():
        decision: bool | None = False
    else:
        decision = None if Standing.OPEN in standings.values() else True
    return Finding(verdict=_verdict([decision]), measured=measured, why="; ".join(whys))


def lora_trains_little(summary: Summary) -> Finding:
    """Judge the share of parameters that LoRA trains, head included."""
    absent = _absent(summary, ("lora",), TRAINABLE_SHARE)
    if absent:
        return _no_number(absent)
    (lora,) = _each(summary, ("lora",))
    share = lora.mean(TRAINABLE_SHARE) or 0.0
    heads = [r.measurement.head_parameters for r in lora.finished if r.measurement]
    head = f", {heads[0]:,} of them the head's" if heads and heads[0] else ""
    count = sorted(
        {r.measurement.trainable_parameters or 0 for r in lora.finished if r.measurement}
    )
    return Finding(
        verdict=_verdict([share < TRAINABLE_LIMIT_PERCENT]),
        measured=f"{share:.2f}%",
        why=f"{count[0]:,} parameters are trained{head}",
    )


@dataclass(frozen=True, kw_only=True)
class _Less:
    """How much less of something one method takes than another.

    Attributes:
        mean: by how many percent its mean is under the other's, as the tables have them.
        percents: the same for each seed that both finished.
        whole: whether those are all seeds of both.
        doubtful: whether these are times of trials that ran beside others.
    """

    mean: float
    percents: tuple[float, ...]
    whole: bool
    doubtful: bool

    def text(self, word: str, other_word: str) -> str:
        """Return it in words, with the word for less and the one for more."""
        # As the table of differences rounds it.
        text = f"{abs(self.mean):.0f}% {word if self.mean >= 0 else other_word}"
        if self.doubtful:
            text += f" {SHARED_MARK}"
        if not self.whole:
            return f"{text} by the means, {count_of_seeds(len(self.percents))} in common"
        return text if len(self.percents) == 1 else f"{text} over {len(self.percents)} seeds"


def _less(summary: Summary, metric: Metric, slug: str, base: str) -> _Less | None:
    """Return how much less one method takes than another; ``None`` if no seed has both."""
    method, other = summary.find(slug), summary.find(base)
    if method is None or other is None:
        return None
    ours, theirs = (
        {r.seed: value for r in side.finished if (value := side.value(metric, r)) is not None}
        for side in (method, other)
    )
    shared = [seed for seed in ours if theirs.get(seed)]
    mean, reference = method.mean(metric), other.mean(metric)
    if not shared or mean is None or not reference:
        return None
    return _Less(
        mean=100 * (1 - mean / reference),
        # Rounded, so that four fifths of 25% is 20% and not a hair under it.
        percents=tuple(round(100 * (1 - ours[seed] / theirs[seed]), 9) for seed in shared),
        whole=ours.keys() == theirs.keys(),
        doubtful=metric.timed
        and any(seed in side.shared_seeds for side in (method, other) for seed in shared),
    )


def _band(percents: Iterable[float], confirmed: float, refuted: float) -> Verdict:
    """Confirm at or above one limit, refute below the other; between them is open."""
    return _verdict(True if p >= confirmed else False if p < refuted else None for p in percents)


def _two_values(summary: Summary, metric: Metric, *slugs: str) -> str:
    return " against ".join(
        f"{mean_with_unit(method, metric)} ({escape(method.name)})"
        for method in _each(summary, slugs)
    )


def lora_saves_time(summary: Summary) -> Finding:
    """Judge LoRA's train time against Full's."""
    less = _less(summary, TRAIN_TIME, "lora", "full")
    if less is None:
        return _no_number(_absent(summary, ("lora", "full"), TRAIN_TIME) or ["a shared seed"])
    measured, why = less.text("less", "more"), _two_values(summary, TRAIN_TIME, "lora", "full")
    if less.doubtful:
        return _open(f"{why}; {_BESIDE_OTHERS}", measured)
    return Finding(
        verdict=_band(less.percents, TIME_CONFIRMED_PERCENT, TIME_REFUTED_PERCENT),
        measured=measured,
        why=why,
    )


def lora_saves_memory(summary: Summary) -> Finding:
    """Judge LoRA's memory against Full's, on a GPU."""
    less = _less(summary, GPU_MEMORY, "lora", "full")
    if less is not None:
        return Finding(
            verdict=_band(less.percents, MEMORY_CONFIRMED_PERCENT, MEMORY_CONFIRMED_PERCENT),
            measured=less.text("less", "more"),
            why=_two_values(summary, GPU_MEMORY, "lora", "full"),
        )
    host = _less(summary, HOST_MEMORY, "lora", "full")
    if host is not None:
        measured = f"{host.text('less', 'more')} (memory of the process, no GPU)"
        return _open("nothing ran on a GPU", measured)
    return _no_number(_absent(summary, ("lora", "full"), GPU_MEMORY) or ["a shared seed"])


def qlora_is_leanest(summary: Summary) -> Finding:
    """Judge whether none of the study's methods allocates less than QLoRA on a GPU."""
    metric = GPU_MEMORY if summary.memory is GPU_MEMORY else HOST_MEMORY
    if summary.find("qlora") is None or _absent(summary, ("qlora",), metric):
        return _no_number(["QLoRA"])
    methods = _each(summary, _NAMES)
    values = {m.slug: v for m in methods if (v := m.mean(metric)) is not None}
    measured = ", ".join(f"{_NAMES[slug]} {metric.show(v)}" for slug, v in values.items()) + " GB"
    if metric is HOST_MEMORY:
        return _open("nothing ran on a GPU", f"{measured} (memory of the process)")
    leaner = [_NAMES[slug] for slug, v in values.items() if v < values["qlora"]]
    if leaner:
        return Finding(
            verdict=Verdict.NOT_CONFIRMED,
            measured=measured,
            why=f"{listed(leaner)} {'needs' if len(leaner) == 1 else 'need'} less",
        )
    absent = _absent(summary, _NAMES, metric)
    if absent:
        return _open(f"not measured: {listed(absent)}", measured)
    return Finding(verdict=Verdict.CONFIRMED, measured=measured, why="none of the four needs less")


def qlora_steps_are_slower(summary: Summary) -> Finding:
    """Judge QLoRA's step time against LoRA's."""
    less = _less(summary, STEP_TIME, "qlora", "lora")
    if less is None:
        return _no_number(_absent(summary, ("qlora", "lora"), STEP_TIME) or ["a shared seed"])
    measured, why = less.text("faster", "slower"), _two_values(summary, STEP_TIME, "qlora", "lora")
    if less.doubtful:
        return _open(f"{why}; {_BESIDE_OTHERS}", measured)
    slower = [-percent for percent in less.percents]
    return Finding(
        verdict=_band(slower, SLOWER_CONFIRMED_PERCENT, SLOWER_REFUTED_PERCENT),
        measured=measured,
        why=why,
    )


def adapters_save_carbon(summary: Summary) -> Finding:
    """Judge the CO2 of each adapter's training against that of Full's."""
    less = {slug: _less(summary, TRAIN_CO2, slug, "full") for slug in _ADAPTERS}
    known = {slug: found for slug, found in less.items() if found is not None}
    if not known:
        return _open("not measured: energy")
    measured = ", ".join(
        f"{_NAMES[slug]} {found.text('less', 'more')}" for slug, found in known.items()
    )
    bands = {
        slug: _band(found.percents, CO2_CONFIRMED_PERCENT, CO2_REFUTED_PERCENT)
        for slug, found in known.items()
    }
    worse = [_NAMES[slug] for slug, band in bands.items() if band is Verdict.NOT_CONFIRMED]
    if worse:
        why = f"{listed(worse)} {'takes' if len(worse) == 1 else 'take'} more than Full"
        return Finding(verdict=Verdict.NOT_CONFIRMED, measured=measured, why=why)
    absent = [_NAMES[slug] for slug in _ADAPTERS if slug not in known]
    if absent:
        return _open(f"not measured: {listed(absent)}", measured)
    close = [_NAMES[slug] for slug, band in bands.items() if band is Verdict.OPEN]
    if close:
        return _open(f"too close, or not with every seed: {listed(close)}", measured)
    return Finding(verdict=Verdict.CONFIRMED, measured=measured, why="each takes less than Full")


def adapters_are_small(summary: Summary) -> Finding:
    """Judge the size of what each adapter must keep."""
    sizes = {
        method.slug: size
        for method in _each(summary, _ADAPTERS)
        if (size := method.mean(FILE_SIZE)) is not None
    }
    absent = [_NAMES[slug] for slug in _ADAPTERS if slug not in sizes]
    if not sizes:
        return _no_number(absent)
    measured = ", ".join(f"{_NAMES[s]} {FILE_SIZE.show(v)}" for s, v in sizes.items()) + " MB"
    large = [_NAMES[slug] for slug, size in sizes.items() if size >= FILE_LIMIT_MEGABYTES]
    if large:
        why = f"{listed(large)} {'is' if len(large) == 1 else 'are'} not under 10 MB"
        return Finding(verdict=Verdict.NOT_CONFIRMED, measured=measured, why=why)
    if absent:
        return _open(f"not measured: {listed(absent)}", measured)
    return Finding(verdict=Verdict.CONFIRMED, measured=measured, why="head and adapter in one file")


def not_measured(what: str) -> Callable[[Summary], Finding]:
    """Return a judge that leaves a claim open for want of a measurement."""
    return lambda _summary: _open(f"not measured: {what}")

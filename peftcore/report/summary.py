"""Records of one setting, gathered by method: what tables, figures and prose are computed from."""

from __future__ import annotations

import statistics
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cached_property

from peftcore.errors import UsageError
from peftcore.methods import METHODS, Method, place_of
from peftcore.report.inference import Inference, infer
from peftcore.report.markdown import escape, listed
from peftcore.report.metrics import (
    ACCURACY,
    GPU_MEMORY,
    HOST_MEMORY,
    METRICS,
    SHARED_MARK,
    Metric,
)
from peftcore.report.pairing import PairedAccuracy
from peftcore.report.wording import ONE_SEED
from peftcore.results.records import Record
from peftcore.scenarios import SCENARIOS, Protocol
from peftcore.trials import Outcome

BASELINE = "full"
"""The slug of the method that all others are measured against."""

BAG_OF_WORDS = "bow"
"""The slug of the reference row that a method must not end under."""

MANY = 20
"""More methods are counted where a sentence would name them, and drawn without numbers."""

_METHODS = {method.slug: method for method in METHODS}
_SCENARIOS = {scenario.name: scenario for scenario in SCENARIOS}

_RATES_ORIGINS = {
    str(Protocol.STUDY): "one for all, by the protocol study",
    str(Protocol.TUNED): "each the best of a search of its own, by the protocol tuned; the folder "
    "search tells of them",
}

_OUTCOMES = {
    Outcome.OOM: "out of memory",
    Outcome.NAN: "the loss was not finite",
    Outcome.CRASHED: "the process died",
    Outcome.TIMEOUT: "timed out",
    Outcome.CANCELLED: "cancelled",
}


@dataclass(frozen=True, kw_only=True)
class Estimate:
    """One metric of one method over the seeds that finished, in the metric's unit.

    Attributes:
        mean: over seeds.
        count: how many seeds.
        ends: of accuracy, the 95% interval on texts like these; of any other metric, one
            standard deviation over seeds either way; ``None`` where nothing is known of it.
    """

    mean: float
    count: int
    ends: tuple[float, float] | None

    @property
    def error(self) -> tuple[float, float]:
        """How far the ends are below and above the mean; zeros where they are not known."""
        if self.ends is None:
            return 0.0, 0.0
        return self.mean - self.ends[0], self.ends[1] - self.mean


@dataclass(frozen=True, kw_only=True)
class MethodSummary:
    """All trials of one method, one a seed, in order of their seeds.

    Attributes:
        slug: of the method.
        records: its trials.
        counted: the keys of those parts of metrics that some trial of a candidate knows.
    """

    slug: str
    records: tuple[Record, ...]
    counted: frozenset[str] = frozenset()

    @property
    def declared(self) -> Method | None:
        """The method's declaration; ``None`` for one that this release does not have."""
        return _METHODS.get(self.slug)

    @property
    def name(self) -> str:
        """The name in tables and plots."""
        return self.declared.name if self.declared else self.slug

    @property
    def reference(self) -> bool:
        """Whether it is a row to be beaten and not a candidate."""
        return self.declared is not None and self.declared.reference

    @property
    def finished(self) -> tuple[Record, ...]:
        """The trials that ended well."""
        return tuple(
            record
            for record in self.records
            if record.outcome is Outcome.OK and record.measurement is not None
        )

    @property
    def unfinished(self) -> tuple[Record, ...]:
        """The trials that did not end well."""
        finished = {record.id for record in self.finished}
        return tuple(record for record in self.records if record.id not in finished)

    @property
    def failure(self) -> str | None:
        """Why there is no number at all; ``None`` if any trial ended well."""
        if self.finished:
            return None
        return "; ".join(dict.fromkeys(reason(record) for record in self.records))

    @property
    def shared_seeds(self) -> tuple[int, ...]:
        """The finished seeds that ran beside other trials, so that their times say little."""
        return tuple(r.seed for r in self.finished if r.measurement and r.measurement.shared)

    def says_little(self, metric: Metric) -> bool:
        """Return whether it is a time that was taken while other trials ran on the machine."""
        return metric.timed and bool(self.shared_seeds)

    def value(self, metric: Metric, record: Record) -> float | None:
        """Return the metric of one of the trials; ``None`` if it can't be held against others'."""
        return None if self.lacks(metric, record) else metric.value(record)

    def lacks(self, metric: Metric, record: Record) -> list[Metric]:
        """Return the parts of a metric that other trials of the report know and this one not."""
        known = [part for part in metric.parts if part.key in self.counted]
        return [part for part in known if part.value(record) is None]

    def values(self, metric: Metric) -> list[float]:
        """Return the metric of each finished seed that measured it, in its unit."""
        values = (self.value(metric, record) for record in self.finished)
        return [value for value in values if value is not None]

    def mean(self, metric: Metric) -> float | None:
        """Return the metric's mean over finished seeds, in its unit."""
        values = self.values(metric)
        return statistics.fmean(values) if values else None


@dataclass(frozen=True, kw_only=True)
class Summary:
    """Everything that one report is about.

    Attributes:
        scenario: the scenario's name.
        title: what a reader calls it.
        caveat: what a reader must not conclude from it, if anything.
        rates_origin: where the learning rates come from; ``None`` where that is not known.
        methods: in the order of their declarations, reference rows last.
    """

    scenario: str
    title: str
    caveat: str | None
    rates_origin: str | None
    methods: tuple[MethodSummary, ...]

    @property
    def records(self) -> tuple[Record, ...]:
        """All records, by method and then by seed."""
        return tuple(record for method in self.methods for record in method.records)

    @property
    def candidates(self) -> tuple[MethodSummary, ...]:
        """The methods that are compared, reference rows left out."""
        return tuple(method for method in self.methods if not method.reference)

    @property
    def references(self) -> tuple[MethodSummary, ...]:
        """The reference rows."""
        return tuple(method for method in self.methods if method.reference)

    @property
    def seeds(self) -> tuple[int, ...]:
        """The seeds of all trials, finished or not."""
        return tuple(sorted({record.seed for record in self.records}))

    @property
    def several_seeds(self) -> bool:
        """Whether any method has finished trials of several seeds, so that they tell of others."""
        return any(len(method.finished) > 1 for method in self.methods)

    @property
    def pretrained(self) -> bool:
        """Whether the backbone was pretrained, so that accuracy means something."""
        return all(record.pretrained for record in self.records)

    @property
    def memory(self) -> Metric:
        """The memory that methods are compared by: the GPU's where they ran on one."""
        used = any(method.mean(GPU_MEMORY) is not None for method in self.candidates)
        return GPU_MEMORY if used else HOST_MEMORY

    @property
    def test_examples(self) -> int | None:
        """How many examples accuracy is a share of; ``None`` where trials disagree or don't say."""
        counts = {
            record.measurement.evaluated_examples
            for method in self.methods
            for record in method.finished
            if record.measurement
        }
        return counts.pop() if len(counts) == 1 else None

    @property
    def error_note(self) -> str:
        """What the brackets after an accuracy stand for, in this report."""
        if self.several_seeds:
            return (
                "[…] is the 95% interval on texts like these: with other seeds and other test "
                "examples"
            )
        examples = f"{self.test_examples:,}" if self.test_examples else "the test"
        return (
            f"[…] is the 95% interval on texts like these of one trained model, from {examples} "
            "examples; one seed says nothing about other seeds"
        )

    @property
    def one_seed_note(self) -> list[str]:
        """What intervals and tests are of where one seed alone finished, and of others several."""
        alone = [method for method in self.methods if len(method.values(ACCURACY)) == 1]
        if not alone or not self.several_seeds:
            return []
        return [
            f"Of {method_names(alone)} one seed finished, and {ONE_SEED}: the interval is that of "
            "the trained model, and tests are of two trained models (McNemar's exact test)."
        ]

    @property
    def error_bars_note(self) -> str:
        """What the error bars of figures stand for, in this report, and what times are worth."""
        note = (
            "Error bars are the 95% interval of accuracy on texts like these of one trained "
            "model; one seed says nothing about other seeds, nor how times and memory vary"
        )
        if self.several_seeds:
            note = (
                "Error bars of accuracy are its 95% interval on texts like these (other seeds, "
                "other test examples), those of time and memory one standard deviation over seeds"
            )
        if any(method.shared_seeds for method in self.methods):
            note += f"; times that have {SHARED_MARK} in the tables say little"
        return note

    @cached_property
    def inference(self) -> Inference:
        """What can be told of the accuracies."""
        return infer(
            {
                method.slug: [r for r in method.finished if ACCURACY.value(r) is not None]
                for method in self.methods
            }
        )

    def estimate(self, method: MethodSummary, metric: Metric) -> Estimate | None:
        """Return a method's metric over finished seeds; ``None`` where no seed measured it."""
        values = method.values(metric)
        if not values:
            return None
        mean = statistics.fmean(values)
        ends: tuple[float, float] | None = None
        if metric is ACCURACY:
            # One finished seed among several: its model's interval is not what the others' mean.
            if len(values) > 1 or not self.several_seeds:
                ends = self.inference.accuracies[method.slug].interval
        elif len(values) > 1:
            spread = statistics.stdev(values)
            ends = mean - spread, mean + spread
        return Estimate(mean=mean, count=len(values), ends=ends)

    def find(self, slug: str) -> MethodSummary | None:
        """Return the method with this slug if any of its trials ended well."""
        return next((m for m in self.methods if m.slug == slug and m.finished), None)

    def paired(self, first: MethodSummary, second: MethodSummary) -> PairedAccuracy | None:
        """Return the difference of two accuracies; ``None`` where they can't be compared."""
        return self.inference.paired(first.slug, second.slug)

    def most_accurate(self, methods: Sequence[MethodSummary]) -> MethodSummary | None:
        """Return the method of the highest mean accuracy, two held against each other at a time.

        They are by the seeds that both finished, so that one that finished the easier seeds alone
        does not lead, and one with few seeds does not decide between others with many. Where two
        share no seed each is taken by its own. ``None`` where none has an accuracy.
        """
        known = {
            method.slug: {
                record.seed: value
                for record in method.finished
                if (value := ACCURACY.value(record)) is not None
            }
            for method in methods
        }
        best: MethodSummary | None = None
        # Those with most seeds first: the others are held against what is surest.
        for method in sorted(methods, key=lambda one: -len(known[one.slug])):
            accuracies = known[method.slug]
            if accuracies and (best is None or _is_above(accuracies, known[best.slug])):
                best = method
        return best

    def under_bag_of_words(self, method: MethodSummary) -> bool:
        """Return whether the bag of words was measured and is more accurate by the means."""
        reference = self.find(BAG_OF_WORDS)
        floor = reference.mean(ACCURACY) if reference else None
        accuracy = method.mean(ACCURACY)
        return floor is not None and accuracy is not None and accuracy < floor

    def learned_nothing(self, method: MethodSummary) -> bool:
        """Return whether answering the most frequent label each time is as accurate or more so."""
        accuracy = method.mean(ACCURACY)
        shares = [r.measurement.majority_share for r in method.finished if r.measurement]
        known = [share for share in shares if share is not None]
        return accuracy is not None and bool(known) and accuracy <= 100 * max(known)


def _is_above(accuracies: Mapping[int, float], others: Mapping[int, float]) -> bool:
    """Return whether the mean over the seeds that both have is the higher one."""
    seeds = accuracies.keys() & others.keys()
    ours, theirs = (
        statistics.fmean(side[seed] for seed in seeds or side) for side in (accuracies, others)
    )
    return ours > theirs


def reason(record: Record) -> str:
    """Return why a trial has no numbers, in one short line."""
    if record.outcome is Outcome.OK:
        return "failed: the record has no measurement"
    known = _OUTCOMES.get(record.outcome)
    if known is not None:
        return f"failed: {known}"
    verb = "skipped" if record.outcome is Outcome.SKIPPED else "failed"
    lines = (record.error or "").strip().splitlines()
    if not lines:
        return verb
    first = lines[0].strip()
    return f"{verb}: {first if len(first) <= 80 else first[:79] + '…'}"


def summarise(records: Sequence[Record]) -> Summary:
    """Gather the records of one setting.

    Raises:
        UsageError: there are none, they are not of one scenario and one setting, or a method has
            two trials with the same seed.
    """
    if not records:
        raise UsageError("there is nothing to report: no records were given")
    for name in ("scenario", "setting_id"):
        values = sorted({str(record.trial.get(name)) for record in records})
        if len(values) > 1:
            raise UsageError(
                f"records of different settings can't share a report: {name} is one of "
                f"{', '.join(values)}; write a report for each"
            )
    known: dict[str, dict[int, Record]] = {}
    for record in records:
        trials = known.setdefault(record.method, {})
        if record.seed in trials:
            raise UsageError(
                f"{record.method} has two records with seed {record.seed}: "
                f"{trials[record.seed].id} and {record.id}; give the one to report"
            )
        trials[record.seed] = record
    return gather(records)


def gather(records: Sequence[Record]) -> Summary:
    """Gather the records of one scenario, of whatever settings: for what all of them share."""
    title, caveat, rates_origin = _declared(records)
    return Summary(
        scenario=records[0].scenario,
        title=title,
        caveat=caveat,
        rates_origin=rates_origin,
        methods=by_method(records),
    )


def method_names(methods: Collection[MethodSummary]) -> str:
    """Return the methods' names as a list in a sentence, as Markdown; of very many how many."""
    if len(methods) > MANY:
        return f"{len(methods)} methods"
    return listed([escape(method.name) for method in methods])


def by_method(records: Sequence[Record]) -> tuple[MethodSummary, ...]:
    """Return the records by method, in the order of the declarations, each's by seed."""
    found: dict[str, list[Record]] = {}
    for record in sorted(records, key=lambda record: record.seed):
        found.setdefault(record.method, []).append(record)
    methods = [
        MethodSummary(slug=slug, records=tuple(found[slug]))
        for slug in sorted(found, key=_position)
    ]
    counted = frozenset(
        part.key
        for part in {part for metric in METRICS for part in metric.parts}
        if any(one.values(part) for one in methods if not one.reference)
    )
    return tuple(replace(method, counted=counted) for method in methods)


def _declared(records: Sequence[Record]) -> tuple[str, str | None, str | None]:
    """Return title, caveat and origin of the rates as far as the scenario's words still hold.

    What it says of its data or its backbone does not hold for others in their place.
    """
    trial = records[0].trial
    scenario = _SCENARIOS.get(records[0].scenario)
    if scenario is None:
        return records[0].scenario, None, None
    changed = {text.partition("=")[0] for text in trial.get("overrides", ())}
    by_protocol = _RATES_ORIGINS.get(str(trial.get("protocol")))
    if not changed & {"model", "data"}:
        return scenario.title, scenario.caveat, by_protocol or scenario.rates_origin
    title = f"{trial['backbone']['name']} on {trial['data']['name']}"
    caveat = None if "data" in changed else scenario.caveat
    borrowed = f"those of scenario {scenario.name}, not chosen for this one"
    return title, caveat, by_protocol or borrowed


def _position(slug: str) -> tuple[bool, tuple[int, str]]:
    """Sort key: declared methods, then unknown ones, then reference rows."""
    method = _METHODS.get(slug)
    return method is not None and method.reference, place_of(slug)

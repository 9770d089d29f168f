"""Records of one setting, gathered by method: what tables, figures and prose are computed from."""

from __future__ import annotations

import math
import statistics
from collections.abc import Sequence
from dataclasses import dataclass
from enum import StrEnum

from peftcore.errors import UsageError
from peftcore.methods import METHODS, Method
from peftcore.report.metrics import ACCURACY, GPU_MEMORY, HOST_MEMORY, Metric
from peftcore.report.pairing import PairedAccuracy, pair
from peftcore.results.records import Record
from peftcore.scenarios import SCENARIOS
from peftcore.trials import Outcome

BASELINE = "full"
"""The slug of the method that all others are measured against."""

BAG_OF_WORDS = "bow"
"""The slug of the reference row that a method must not end under."""

_ORDER = {
    method.slug: position
    for position, method in enumerate(sorted(METHODS, key=lambda method: method.reference))
}
_METHODS = {method.slug: method for method in METHODS}
_SCENARIOS = {scenario.name: scenario for scenario in SCENARIOS}

_OUTCOMES = {
    Outcome.OOM: "out of memory",
    Outcome.NAN: "the loss was not finite",
    Outcome.CRASHED: "the process died",
    Outcome.TIMEOUT: "timed out",
    Outcome.CANCELLED: "cancelled",
}


class Error(StrEnum):
    """What the error of an estimate stands for."""

    SAMPLING = "sampling error of one run"
    SEEDS = "standard deviation over seeds"


@dataclass(frozen=True, kw_only=True)
class Estimate:
    """One metric of one method over the seeds that finished, in the metric's unit.

    Attributes:
        mean: over seeds.
        count: how many seeds.
        error: plus or minus; ``None`` where nothing is known of it.
        error_kind: what the error stands for.
    """

    mean: float
    count: int
    error: float | None
    error_kind: Error | None


@dataclass(frozen=True, kw_only=True)
class MethodSummary:
    """All trials of one method, one a seed, in order of their seeds."""

    slug: str
    records: tuple[Record, ...]

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

    def estimate(self, metric: Metric) -> Estimate | None:
        """Return the metric over finished seeds; ``None`` where no seed measured it."""
        measured = [(record, metric.value(record)) for record in self.finished]
        values = [value for _, value in measured if value is not None]
        if not values:
            return None
        error: float | None = None
        kind: Error | None = None
        if len(values) > 1:
            error, kind = statistics.stdev(values), Error.SEEDS
        elif metric is ACCURACY:
            error = _sampling_error_points(measured[0][0])
            kind = Error.SAMPLING if error is not None else None
        return Estimate(
            mean=statistics.fmean(values), count=len(values), error=error, error_kind=kind
        )

    def mean(self, metric: Metric) -> float | None:
        """Return the metric's mean over finished seeds, in its unit."""
        estimate = self.estimate(metric)
        return estimate.mean if estimate else None


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
        """What the plus or minus of an accuracy stands for, in this report."""
        if len(self.seeds) > 1:
            return "± is the standard deviation over the seeds that finished"
        examples = f"{self.test_examples:,}" if self.test_examples else "the test"
        return (
            f"± is the sampling error of one run on {examples} examples; "
            "it says nothing about other seeds"
        )

    def find(self, slug: str) -> MethodSummary | None:
        """Return the method with this slug if any of its trials ended well."""
        return next((m for m in self.methods if m.slug == slug and m.finished), None)

    def paired(self, first: MethodSummary, second: MethodSummary) -> PairedAccuracy | None:
        """Return the difference of two accuracies; ``None`` where they can't be compared."""
        with_accuracy = [
            [record for record in method.finished if ACCURACY.value(record) is not None]
            for method in (first, second)
        ]
        return pair(*with_accuracy)

    def under_bag_of_words(self, method: MethodSummary) -> bool:
        """Return whether the bag of words was measured and is more accurate."""
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


def by_method(records: Sequence[Record]) -> tuple[MethodSummary, ...]:
    """Return the records by method, in the order of the declarations, each's by seed."""
    found: dict[str, list[Record]] = {}
    for record in sorted(records, key=lambda record: record.seed):
        found.setdefault(record.method, []).append(record)
    return tuple(
        MethodSummary(slug=slug, records=tuple(found[slug]))
        for slug in sorted(found, key=_position)
    )


def _declared(records: Sequence[Record]) -> tuple[str, str | None, str | None]:
    """Return title, caveat and origin of the rates as far as the scenario's words still hold.

    What it says of its data or its backbone does not hold for others in their place.
    """
    trial = records[0].trial
    scenario = _SCENARIOS.get(records[0].scenario)
    if scenario is None:
        return records[0].scenario, None, None
    changed = {text.partition("=")[0] for text in trial.get("overrides", ())}
    if not changed & {"model", "data"}:
        return scenario.title, scenario.caveat, scenario.rates_origin
    title = f"{trial['backbone']['name']} on {trial['data']['name']}"
    caveat = None if "data" in changed else scenario.caveat
    return title, caveat, f"those of scenario {scenario.name}, not chosen for this one"


def _position(slug: str) -> tuple[bool, int, str]:
    """Sort key: declared methods, then unknown ones, then reference rows."""
    method = _METHODS.get(slug)
    return method is not None and method.reference, _ORDER.get(slug, len(_ORDER)), slug


def _sampling_error_points(record: Record) -> float | None:
    """Return the binomial standard error of one accuracy, in percentage points."""
    measurement = record.measurement
    if measurement is None or measurement.accuracy is None or not measurement.evaluated_examples:
        return None
    p = measurement.accuracy
    return 100 * math.sqrt(p * (1 - p) / measurement.evaluated_examples)

"""A comparison from beginning to end: what is planned, what is wrong with it, and its report."""

from __future__ import annotations

import math
import tempfile
from collections.abc import Callable, Collection, Iterable, Sequence
from dataclasses import dataclass, field, replace
from functools import cached_property, partial
from pathlib import Path
from typing import TYPE_CHECKING

from peftcore.enginepairs import EnginePairs
from peftcore.errors import UsageError, printable
from peftcore.gate.adding import judge_in_groups
from peftcore.gate.verdicts import Verdicts
from peftcore.measuring.driver import gpu
from peftcore.measuring.weights import KeptWeights
from peftcore.methods import Method, Trains
from peftcore.report.engines.render import write_engine_report
from peftcore.report.rates import SEARCH_NAME, write_rates_report
from peftcore.report.render import write_report
from peftcore.report.serving.render import SERVING_NAME, write_serving_report
from peftcore.report.sizes.render import SIZES_NAME, left_out, write_sizes_report
from peftcore.results.collecting import Collector
from peftcore.results.records import Record
from peftcore.results.selecting import (
    newest_parts,
    newest_serving,
    newest_sizes,
    other_protocols,
)
from peftcore.results.store import Store, engine_store, has_store, serving_store, sizes_store
from peftcore.running.planning import Selection, plan, shortfall
from peftcore.scenarios import Protocol, find_scenario, is_declared, override
from peftcore.serving.process import Drive, run_serving
from peftcore.serving.trials import ROUNDS, ServingPlan, ServingTrial
from peftcore.sizes.planning import Hold, SizesPlan
from peftcore.trials import Outcome, Part, Trial
from peftcore.tuning.searching import SEARCH_SEED, SEARCH_TRIALS, Search, search

if TYPE_CHECKING:
    from peftcore.gate.options import Gate

REPORTS = Path("reports")
"""Where reports go unless a folder is named, one of each scenario's name."""


def has_gpu() -> bool:
    """Return whether the driver shows a CUDA GPU to this process; imports no torch."""
    return gpu()["gpu"] is not None


@dataclass
class Comparison:
    """Methods in one or several scenarios, planned alike.

    Attributes:
        selection: what the options ask for; its scenario counts where ``scenarios`` names it.
        scenarios: names of the scenarios to run.
        collector: what gets the records.
        report: the folder of the report; ``None`` for the usual place.
        search_trials: how many trials each method's search for a learning rate takes.
        serving_rounds: in how many rounds it is measured what serving costs.
        sizes: of training sets; ``None`` for the usual ones.
        sizes_hold: what is the same for all of them.
    """

    selection: Selection
    scenarios: Sequence[str]
    collector: Collector
    report: Path | None = None
    search_trials: int = SEARCH_TRIALS
    serving_rounds: int = ROUNDS
    sizes: Sequence[str] | None = None
    sizes_hold: Hold = Hold.STEPS
    _plans: dict[str, list[Trial]] = field(default_factory=dict)

    def validate(self) -> None:
        """Check all that can be wrong without looking at a file.

        Raises:
            UsageError: something is; the message names it and the mend.
        """
        scenario = self.selection.find_scenario()
        self.selection.find_methods()
        *_, changed = override(scenario.task, scenario.recipe, self.selection.settings)
        if self.selection.protocol is Protocol.TUNED:
            self._require_free(changed)
        timeout = self.collector.timeout_seconds
        if timeout is not None and not 0 < timeout < math.inf:
            option = f"{self.selection.prefix}timeout {timeout:g}"
            raise UsageError(f"{option} is not usable: expected a number of seconds above 0")
        between = self.collector.checkpoint_seconds
        if between is not None and not between >= 0:
            option = f"{self.selection.prefix}checkpoint-seconds {between:g}"
            raise UsageError(f"{option} is not usable: expected seconds, 0 or more")
        places = self.collector.gpu_places
        if places < 1:
            option = f"{self.selection.prefix}gpu-trials {places}"
            raise UsageError(f"{option} is not usable: expected 1 or more trials")

    def _require_free(self, changed: Collection[str]) -> None:
        """Check that nothing was fixed that the searches are to find, or that they are for.

        Raises:
            UsageError: something was.
        """
        prefix = self.selection.prefix
        fixed = [name for name in ("learning_rate", "split") if name in changed]
        if fixed:
            raise UsageError(
                f"{prefix}set {fixed[0]}=… can't stand beside {prefix}protocol tuned, which "
                "searches for each method's learning rate on a split of its own: leave one of the "
                "two out"
            )
        if SEARCH_SEED in self.selection.find_seeds():
            raise UsageError(
                f"{prefix}seeds {SEARCH_SEED} is not usable by {prefix}protocol tuned: the "
                "searches have that seed, and what they find is to be tried with others"
            )

    def methods(self, scenario: str) -> list[Method]:
        """Return the methods to run in a scenario."""
        return replace(self.selection, scenario=scenario).find_methods()

    def trials(self, scenario: str) -> list[Trial]:
        """Return the planned trials of a scenario; data and backbone are looked at once.

        By the protocol ``tuned`` those of a method are planned once its search has ended.

        Raises:
            UsageError: one of them can't be used.
        """
        if scenario in self._plans:
            return self._plans[scenario]
        selection = replace(self.selection, scenario=scenario)
        searches = self.searches(scenario)
        found = {one.method.slug: one.rate for one in searches if one.complete and one.rate}
        planned = plan(replace(selection, rates=found))
        # Where a search is still to run, here or in another process, more is planned after it, or
        # at another rate.
        if all(one.complete for one in self.searches(scenario, settled=True)):
            self._plans[scenario] = planned
        return planned

    def searches_for(self, method: Method) -> bool:
        """Return whether this method's learning rate is searched for."""
        tuned = self.selection.protocol is Protocol.TUNED
        return tuned and method.trains is not Trains.BAG_OF_WORDS

    def unfinished(self, scenario: str, method: Method) -> list[str]:
        """Return in words what is missing of a method's search, if it is searched for."""
        if not self.searches_for(method):
            return []
        searches = self.searches(scenario, settled=True)
        found = next(one for one in searches if one.method == method)
        if found.complete:
            return []
        missing = self.search_trials - len(found.tried)
        return [f"{scenario} {method.slug}: {missing} trials of its search for a learning rate"]

    def search(self, scenario: str, method: Method) -> Search:
        """Run what is missing of a method's search for its learning rate, and return what it found.

        Raises:
            StoreError: a record could not be stored.
        """
        selection = replace(self.selection, scenario=scenario)
        found = search(method, selection, trials=self.search_trials, look=self.collector.collect)
        # Made from what was stored before, which may have led to another rate.
        self._plans.pop(scenario, None)
        return found

    def searches(self, scenario: str, *, settled: bool = False) -> list[Search]:
        """Return what the store has of each method's search, run or not.

        Args:
            scenario: its name.
            settled: whether to leave a search at the first trial that this session would run again,
                such as one that was interrupted in an earlier session.
        """
        if self.selection.protocol is not Protocol.TUNED:
            return []
        selection = replace(self.selection, scenario=scenario)

        def stored(trial: Trial) -> Record | None:
            if settled and self.collector.missing([trial]):
                return None
            return next(iter(self.collector.committed([trial])), None)

        return [
            search(method, selection, trials=self.search_trials, look=stored)
            for method in self.methods(scenario)
            if self.searches_for(method)
        ]

    def adopt(self, trials: Iterable[Trial]) -> None:
        """Add trials that tests declared to the plans of their scenarios.

        Raises:
            UsageError: a trial can't stand in one table with those that its scenario has.
        """
        for trial in trials:
            planned = self._plans.setdefault(trial.scenario, [])
            if trial.id in {other.id for other in planned}:
                continue
            if any(other.setting() != trial.setting() for other in planned):
                raise UsageError(
                    f"{trial.scenario} was asked for with other data, another model or another "
                    "recipe before: give each its own name=…"
                )
            key = (trial.method.slug, trial.seed)
            if key in {(other.method.slug, other.seed) for other in planned}:
                raise UsageError(
                    f"{trial.scenario} has {trial.method.slug} with seed {trial.seed} already, "
                    "with another learning rate or other hyperparameters: give each its own name=…"
                )
            planned.append(trial)

    @cached_property
    def engine_collector(self) -> Collector:
        """What gets the records of a comparison of the engines: a store of their own.

        Beside those of the scenario they would pass for its newest setting.
        """
        return self._collector_in(engine_store(self.collector.folder))

    def _collector_in(self, folder: Path) -> Collector:
        return replace(self.collector, folder=folder, ran=[], reused=[])

    def engine_pairs(self) -> EnginePairs:
        """Return what a comparison of the engines runs."""
        return EnginePairs(self.selection)

    def compare_engines(self, group: Sequence[Trial]) -> list[Record]:
        """Return the records of trials that are compared with each other, in their order.

        They are reused together or not at all. Where equality is asked for, their weights are kept
        until the last has ended.

        Raises:
            StoreError: a record could not be stored.
        """
        collector = self.engine_collector
        stored = [record for trial in group if (record := collector.stored(trial))]
        if len(stored) == len(group):
            return stored
        if group[0].part is not Part.EQUALITY:
            return [collector.run(trial) for trial in group]
        collector.folder.mkdir(parents=True, exist_ok=True)
        # In the store and not where the system keeps scratch files, which may be memory.
        with tempfile.TemporaryDirectory(prefix="weights-", dir=collector.folder) as folder:
            kept = KeptWeights(Path(folder))
            return [collector.run(trial, beside=kept) for trial in group]

    def write_engine_report(self, ids: Collection[str]) -> list[str]:
        """Write the report of a comparison of the engines, and return a line that tells of it.

        It holds what the store has of each part: of one that ran now all that may stand beside
        these trials, of another what ran last.

        Args:
            ids: of the trials that ran now, or whose records were there.

        Raises:
            PeftcoreError: the records can't be read or hold no such comparison.
        """
        with Store(self.engine_collector.folder) as store:
            records = newest_parts(store.records(), now=ids)
        path = write_engine_report(records, self.report or REPORTS / "engine")
        return [f"report: {path}"]

    @cached_property
    def serving_collector(self) -> Collector:
        """What gets the records of serving: a store of their own, as for the engines."""
        return self._collector_in(serving_store(self.collector.folder))

    @cached_property
    def _serving_plan(self) -> ServingPlan:
        return ServingPlan(self.selection, self.serving_rounds)

    def serving_plan(self) -> ServingPlan:
        """Return what is measured of serving."""
        return self._serving_plan

    def serve(self, trial: ServingTrial, drive: Drive) -> Record:
        """Return the record of what serving a method costs, measured if the store has none.

        Args:
            trial: which method, and how.
            drive: calls for the rounds.

        Raises:
            StoreError: the record could not be stored.
        """
        collector = replace(self.serving_collector, runner=partial(run_serving, drive=drive))
        return collector.collect(trial)

    def write_serving_report(self, ids: Collection[str]) -> list[str]:
        """Write the report of what serving costs, and return a line that tells of it.

        It holds all methods that the store has under the settings of these trials.

        Args:
            ids: of the trials that ran now, or whose records were there.

        Raises:
            PeftcoreError: the records can't be read.
        """
        with Store(self.serving_collector.folder) as store:
            known = store.records()
        now = [record for record in known if record.id in ids]
        records = list(newest_serving([*known, *now]).get(now[-1].scenario, ())) if now else []
        if not records:
            return []
        folder = self.report or REPORTS / records[0].scenario / SERVING_NAME
        return [f"report: {write_serving_report(records, folder)}"]

    @cached_property
    def sizes_collector(self) -> Collector:
        """What gets the records by size: a store of their own, as for the engines."""
        return self._collector_in(sizes_store(self.collector.folder))

    @cached_property
    def _sizes_plan(self) -> SizesPlan:
        return SizesPlan(self.selection, self.sizes, self.sizes_hold)

    def sizes_plan(self) -> SizesPlan:
        """Return what is trained on how many examples."""
        return self._sizes_plan

    def collect_sized(self, trial: Trial) -> Record:
        """Return the record of a trial on so many examples, reused where it can be.

        On as many as the scenario has it is a trial of the comparison itself, whose record is taken
        where there is one.

        Raises:
            StoreError: the record could not be stored.
        """
        collector = self.sizes_collector
        if collector.stored(trial) is None and has_store(self.collector.folder):
            found = self.collector.stored(trial)
            if found is not None:
                with Store(collector.folder) as store:
                    store.commit(found)
        return collector.collect(trial)

    def write_sizes_report(self, ids: Collection[str]) -> list[str]:
        """Write the report by size, and return lines that tell of it; none if nothing was stored.

        Args:
            ids: of the trials that ran now, or whose records were there.

        Raises:
            PeftcoreError: the records can't be read, or are of a single size.
        """
        with Store(self.sizes_collector.folder) as store:
            known = store.records()
        if not any(record.id in ids for record in known):
            return []
        records = newest_sizes(known, now=ids)
        folder = self.report or REPORTS / records[0].scenario / SIZES_NAME
        return [f"report: {write_sizes_report(records, folder)}", *left_out(known, records)]

    def require_usable(self, scenarios: Iterable[str]) -> None:
        """Plan these scenarios; one usable among several is enough to go on.

        A scenario that this machine has no GPU for is left out: its trials won't run.

        Raises:
            UsageError: none of them can be run as asked.
        """
        names = [name for name in scenarios if has_gpu() or not find_scenario(name).gpu]
        refused: list[str] = []
        for name in names:
            try:
                self.trials(name)
            except UsageError as error:
                refused.append(str(error))
        if refused and len(refused) == len(names):
            raise UsageError("; ".join(dict.fromkeys(refused)))

    def judge(self, gate: Gate, told: Callable[[str], None]) -> Verdicts:
        """Return the gate's verdicts on what ran, after adding seeds if it may and must.

        Added trials run here, one after the other, and join the plan.

        Args:
            gate: what was asked for; its baseline names the scenario.
            told: takes a line on what is about to run.

        Raises:
            PeftcoreError: records can't be read or stored.
        """
        planned = list(self.trials(gate.scenario))
        firsts = {trial.method.slug: trial for trial in reversed(planned)}
        pairs = [(trial.method.slug, trial.seed) for trial in planned]
        seeds = {trial.seed for trial in planned}
        if self.selection.methods is None or not is_declared(gate.scenario):
            # A method that a scenario has lost, or a test, is in the baseline still.
            pairs += [
                (slug, seed)
                for slug in dict.fromkeys(one.method for one in gate.baseline)
                if slug not in firsts
                for seed in sorted(seeds)
            ]

        def run(wanted: Sequence[int]) -> list[Record]:
            if seeds.issuperset(wanted):
                return self.collector.committed(planned)
            added = [replace(one, seed=seed) for one in firsts.values() for seed in wanted]
            self._plans[gate.scenario] = [*self.trials(gate.scenario), *added]
            return [self.collector.collect(trial) for trial in added]

        return judge_in_groups(gate, pairs, run, told)

    def write_report(
        self, scenario: str, reused: Collection[str], folder: Path | None = None
    ) -> list[str]:
        """Write the report of one scenario, and return lines that tell of it.

        It is about the protocol that was asked for; what the store has of others stands beside it.

        Args:
            scenario: its name.
            reused: ids of trials whose records were in the store before.
            folder: where to; ``None`` for the usual place.

        Raises:
            PeftcoreError: the records can't be read or can't share a report.
        """
        trials = self.trials(scenario)
        records = self.collector.committed(trials)
        if not records:
            return []
        with Store(self.collector.folder) as store:
            beside = other_protocols(store.records(scenario), records)
        path = write_report([*records, *beside], folder or REPORTS / scenario)
        lines = [f"report: {path}"]
        lines += self._write_searches(scenario, path.parent / SEARCH_NAME)
        count = sum(trial.id in reused for trial in trials)
        if count:
            lines.append(f"reused {count} of {len(trials)} records from {self.collector.folder}")
        if len(records) < len(trials):
            lines.append(f"{len(trials) - len(records)} of {len(trials)} trials were not run")
        return lines

    def _write_searches(self, scenario: str, folder: Path) -> list[str]:
        """Write the report of the searches, if there were any, and return a line that tells it."""
        tried = [trial for one in self.searches(scenario) for trial in one.trials]
        if not tried:
            return []
        path = write_rates_report(self.collector.committed(tried), folder)
        return [f"report of the searches: {path}"]


def faults(trials: Sequence[Trial], records: Sequence[Record]) -> list[str]:
    """Return in words each trial that did not end well or misses its floor.

    Args:
        trials: what was planned.
        records: what came of each, in the same order.
    """
    found = []
    for trial, record in zip(trials, records, strict=True):
        measured = record.measurement
        if record.outcome is not Outcome.OK or measured is None:
            found.append(f"{trial.label}: {record.outcome}: {record.error}")
        elif measured.accuracy is not None and measured.majority_share is not None:
            missed = shortfall(trial, measured.accuracy, measured.majority_share)
            found += [missed] if missed else []
    return [printable(fault) for fault in found]

"""What the tests of ``benchmarks/`` get: a method in a scenario, or a part of a comparison.

Both are parametrised over all that the options select, and tell the session what they run.
"""

from __future__ import annotations

import json
import os
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Protocol, TypeVar

import pytest

from peftcore.errors import UsageError
from peftcore.methods import Method, find_method
from peftcore.pytest_session import PAIRED, PLANNED, RAN_IN, REUSED, SESSION
from peftcore.pytest_trial import kept_in
from peftcore.scenarios import find_scenario
from peftcore.trials import Part, Trial

if TYPE_CHECKING:
    from peftcore.comparison import Comparison
    from peftcore.results.records import Record

NO_GPU = "needs a CUDA GPU, and this machine has none that the NVIDIA driver knows of"


@dataclass(frozen=True)
class Cell:
    """One test: a method in a scenario, all its seeds."""

    scenario: str
    method: str


@dataclass(frozen=True)
class RunnablePairs:
    """What a test of a comparison of the engines gets.

    Attributes:
        groups: trials of one method and one part, in their order; those that are compared with
            each other in one group.
    """

    groups: list[list[Trial]]
    _comparison: Comparison
    _request: pytest.FixtureRequest

    @property
    def trials(self) -> list[Trial]:
        """All trials, in the order in which they are run."""
        return [trial for group in self.groups for trial in group]

    def run(self) -> list[Record]:
        """Return the record of each trial, run in the order of the trials."""
        announce(self._request, self.trials)
        with kept_in(self._request):
            return [
                record
                for group in self.groups
                for record in self._comparison.compare_engines(group)
            ]

    def faults(self, records: list[Record]) -> list[str]:
        """Return in words each trial that did not end well."""
        from peftcore.comparison import faults

        return faults(self.trials, records)


@dataclass(frozen=True)
class RunnableCell:
    """What a test gets: run it, and see what is wrong with its records.

    Attributes:
        cell: the method and the scenario.
        trials: one per seed; of the protocol ``tuned`` none before the search for the method's
            learning rate has ended.
    """

    cell: Cell
    trials: list[Trial]
    _comparison: Comparison
    _request: pytest.FixtureRequest

    def run(self) -> list[Record]:
        """Return the record of each trial, in the order of the seeds.

        Trials that are not in the store are run, those of a search for a learning rate first; in a
        serial session each of the others is a round in pytest-benchmark's table.
        """
        collector = self._comparison.collector
        method = find_method(self.cell.method)
        if self._comparison.searches_for(method):
            with kept_in(self._request):
                self._comparison.search(self.cell.scenario, method)
            planned = self._comparison.trials(self.cell.scenario)
            self.trials[:] = [trial for trial in planned if trial.method == method]
        announce(self._request, self.trials)
        records = {trial.id: collector.stored(trial) for trial in self.trials}
        waiting = [trial for trial in self.trials if records[trial.id] is None]
        self._request.node.user_properties.extend(
            (REUSED, trial.id) for trial in self.trials if trial.id in collector.reused
        )

        def run_one(trial: Trial) -> None:
            with kept_in(self._request):
                records[trial.id] = collector.collect(trial)

        benchmark = benchmark_of(self._request) if waiting else None
        if benchmark is None:
            for trial in waiting:
                run_one(trial)
        else:
            todo = iter(waiting)
            benchmark.group = f"peftcore {self.cell.scenario}"
            benchmark.pedantic(
                run_one, setup=lambda: ((next(todo),), {}), rounds=len(waiting), iterations=1
            )
            for trial in waiting:
                record = records[trial.id]
                assert record is not None
                benchmark.extra_info[trial.id] = record.key_figures()
        return [record for record in records.values() if record is not None]

    def faults(self, records: list[Record]) -> list[str]:
        """Return in words each trial that did not end well or misses its floor."""
        from peftcore.comparison import faults

        if not self.trials:
            return [
                f"{self.cell.method}: at none of the rates that were tried did a trial end well"
            ]
        return faults(self.trials, records)


@pytest.fixture
def peft_cell(request: pytest.FixtureRequest) -> RunnableCell:
    """A method in a scenario, ready to run; parametrised over all that the options select."""
    cell: Cell = request.param
    if find_scenario(cell.scenario).gpu:
        skip_without_gpu(request.config)
    session = request.config.stash[SESSION]
    request.node.user_properties.append((RAN_IN, cell.scenario))
    try:
        trials = session.trials_of("peft_cell", cell.scenario, cell.method)
    except UsageError as error:
        pytest.fail(str(error), pytrace=False)
    return RunnableCell(cell, trials, session.comparison, request)


@pytest.fixture
def peft_pairs(request: pytest.FixtureRequest) -> RunnablePairs:
    """One part of a comparison of the engines with one method; parametrised over both."""

    def make(comparison: Comparison, method: Method, part: Part) -> RunnablePairs:
        return RunnablePairs(comparison.engine_pairs().groups(method, part), comparison, request)

    return beside(request, PAIRED, make)


class Beside(Protocol):
    """What a test gets that runs trials beside those of the comparison."""

    @property
    def trials(self) -> Sequence[Trial]:
        """All trials, in the order in which they are run."""


Found = TypeVar("Found", bound=Beside)


def beside(
    request: pytest.FixtureRequest, kind: str, make: Callable[[Comparison, Method, Any], Found]
) -> Found:
    """Return what a test is parametrised with, and tell the session which trials it has.

    Args:
        request: of a fixture whose parameter is a method and something to do with it.
        kind: of the property by which the session knows such trials.
        make: makes it of the two; a UsageError fails the test.
    """
    session = request.config.stash[SESSION]
    if session.comparison.selection.find_scenario().gpu:
        skip_without_gpu(request.config)
    slug, what = request.param
    try:
        found = make(session.comparison, find_method(slug), what)
    except UsageError as error:
        pytest.fail(str(error), pytrace=False)
    request.node.user_properties.extend((kind, trial.id) for trial in found.trials)
    return found


def skip_without_gpu(config: pytest.Config) -> None:
    """Skip the running test where there is no CUDA GPU, or fail it under ``--peft-require-gpu``."""
    from peftcore.comparison import has_gpu

    if has_gpu():
        return
    if config.getoption("--peft-require-gpu"):
        pytest.fail(f"{NO_GPU} (--peft-require-gpu)", pytrace=False)
    pytest.skip(NO_GPU)


def benchmark_of(request: pytest.FixtureRequest) -> Any:
    """Return pytest-benchmark's fixture, or ``None`` where it would not count."""
    config = request.config
    installed = config.pluginmanager.has_plugin("benchmark")
    # Switched off, as it also is in whatever a worker of pytest-xdist starts, it would run one
    # round of several and complain if it ran none.
    within_worker = "PYTEST_XDIST_WORKER" in os.environ
    if not installed or within_worker or config.getoption("benchmark_disable", False):
        return None
    return request.getfixturevalue("benchmark")


def announce(request: pytest.FixtureRequest, trials: Sequence[Trial]) -> None:
    """Note that a test sets out to get the records of these trials."""
    ids = json.dumps([trial.id for trial in trials])
    request.node.user_properties.append((PLANNED, ids))

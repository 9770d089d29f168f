"""What a pytest session compares, what its tests tell of it, and where it writes.

The plugin's hooks and fixtures find it in ``config.stash``.
"""

from __future__ import annotations

import json
import secrets
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from datetime import UTC, datetime
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

from peftcore.errors import UsageError, member
from peftcore.methods import find_method
from peftcore.pytest_trial import OWN_TRIAL, read_told
from peftcore.scenarios import Protocol, find_scenario, is_declared
from peftcore.trials import Engine, Part, Trial, Weights

if TYPE_CHECKING:
    from peftcore.comparison import Comparison
    from peftcore.gate.options import Gate
    from peftcore.running.progress import ProgressWatch

DEFAULT_SCENARIOS: tuple[str, ...] = ("embedded", "imdb-roberta")
"""Without ``--peft-scenario``: the one for any machine, and the study's, which needs a GPU."""

RAN_IN, REUSED, PAIRED = "peftcore_scenario", "peftcore_reused", "peftcore_paired"
SERVED, SIZED = "peftcore_served", "peftcore_sized"
PLANNED = "peftcore_planned"
"""Names of the properties by which tests tell the session what they did."""

UNUSABLE = "can't be used for trials"
"""What a refusal to run under a value of ``--dist`` says, wherever it is raised."""


@dataclass(eq=False)
class Ran:
    """Takes note of what finished tests tell; with pytest-xdist they ran in other processes.

    Attributes:
        scenarios: names of the scenarios that tests ran in.
        reused: ids of trials whose records were in the store.
        paired: ids of the trials that compared the engines.
        served: ids of the trials that measured what serving costs.
        sized: ids of the trials by the size of their data.
        own: trials that tests declared themselves.
        planned: by the name of each test that ended by itself, the ids of the trials that it set
            out to get.
        refused: whether a worker refused to collect because of ``--dist``.
    """

    scenarios: set[str] = field(default_factory=set)
    reused: set[str] = field(default_factory=set)
    paired: set[str] = field(default_factory=set)
    served: set[str] = field(default_factory=set)
    sized: set[str] = field(default_factory=set)
    own: list[Trial] = field(default_factory=list)
    planned: dict[str, list[str]] = field(default_factory=dict)
    refused: bool = False

    def pytest_collectreport(self, report: pytest.CollectReport) -> None:
        """Notice a worker's refusal."""
        self.refused |= report.failed and UNUSABLE in str(report.longrepr)

    def pytest_runtest_logreport(self, report: pytest.TestReport) -> None:
        """Read a test's properties once it is over; they are text, which crosses processes."""
        if report.when == "teardown":
            self.planned[report.nodeid] = []
            for name, value in report.user_properties:
                if name == RAN_IN:
                    self.scenarios.add(str(value))
                elif name == REUSED:
                    self.reused.add(str(value))
                elif name == PAIRED:
                    self.paired.add(str(value))
                elif name == SERVED:
                    self.served.add(str(value))
                elif name == SIZED:
                    self.sized.add(str(value))
                elif name == OWN_TRIAL:
                    trial, reused = read_told(str(value))
                    self.own.append(trial)
                    self.scenarios.add(trial.scenario)
                    self.reused |= {trial.id} if reused else set()
                elif name == PLANNED:
                    self.planned[report.nodeid] += json.loads(str(value))


@dataclass
class PeftSession:
    """What this pytest session compares; kept in ``config.stash``.

    Attributes:
        config: pytest's configuration.
        ran: what the finished tests told.
        watch: shows the progress of pytest-xdist workers.
        summary: lines for the end of the session.
        name: what tells this session's processes from another session's.
        began: when it began, in UTC, ISO 8601.
        plan: what each selected test runs, by its name: fixture, and scenario and method, or method
            and part, or nothing where the test declares its trials itself.
        lost: ids of the trials that workers were killed in.
    """

    config: pytest.Config
    ran: Ran
    watch: ProgressWatch | None = None
    summary: list[str] = field(default_factory=list)
    name: str = field(default_factory=lambda: secrets.token_hex(8))
    began: str = field(default_factory=lambda: datetime.now(UTC).isoformat(timespec="seconds"))
    plan: dict[str, list[str]] = field(default_factory=dict)
    lost: set[str] = field(default_factory=set)

    @cached_property
    def comparison(self) -> Comparison:
        """What the options ask for.

        Raises:
            UsageError: an option's value can't be meant.
        """
        from peftcore.comparison import Comparison
        from peftcore.results.collecting import Collector
        from peftcore.running.planning import Selection, parse_methods, parse_seeds
        from peftcore.running.progress import ProgressDisplay, ProgressFile
        from peftcore.sizes.planning import Hold, parse_sizes

        option = self.config.getoption
        scenario, methods, seeds, report = (
            option(f"--peft-{name}") for name in ("scenario", "method", "seeds", "report")
        )
        names = DEFAULT_SCENARIOS
        if scenario is not None:
            names = (find_scenario(scenario, where="--peft-scenario").name,)
        selection = Selection(
            scenario=names[0],
            methods=None if methods is None else parse_methods(methods),
            seeds=None if seeds is None else parse_seeds(seeds, where="--peft-seeds"),
            model=option("--peft-model"),
            data=option("--peft-data"),
            weights=member(Weights, option("--peft-weights"), where="--peft-weights"),
            settings=tuple(option("--peft-set")),
            engine=member(Engine, option("--peft-engine"), where="--peft-engine"),
            protocol=member(Protocol, option("--peft-protocol"), where="--peft-protocol"),
            prefix="--peft-",
        )
        store = Path(option("--peft-store"))
        worker = worker_of(self.config)
        collector = Collector(
            folder=store,
            display=ProgressFile(store / "progress", worker)
            if worker
            else ProgressDisplay(Terminal(self.config)),
            timeout_seconds=option("--peft-timeout"),
            fresh=option("--peft-fresh"),
            session=self.name,
            began=self.began,
            worker=worker,
            checkpoint_seconds=option("--peft-checkpoint-seconds"),
            gpu_places=option("--peft-gpu-trials"),
        )
        trials = option("--peft-search-trials")
        if trials < 1:
            raise UsageError(f"--peft-search-trials {trials} is not usable: expected 1 or more")
        folder = Path(report) if report else None
        rounds = option("--peft-serving-rounds")
        if rounds < 1:
            raise UsageError(f"--peft-serving-rounds {rounds} is not usable: expected 1 or more")
        sizes, hold = option("--peft-sizes"), option("--peft-sizes-hold")
        return Comparison(
            selection,
            names,
            collector,
            folder,
            search_trials=trials,
            serving_rounds=rounds,
            sizes=None if sizes is None else parse_sizes(sizes, where="--peft-sizes"),
            sizes_hold=member(Hold, hold, where="--peft-sizes-hold"),
        )

    @cached_property
    def gate(self) -> Gate | None:
        """The gate that the options ask for, its baseline read; ``None`` where they ask for none.

        Raises:
            UsageError: an option's value can't be meant, or the baseline is not usable here.
        """
        from peftcore.gate.options import parse_gate

        names = ("baseline", "gate", "seeds-max", "gate-metrics", "gate-summary")
        baseline, mode, seeds_max, metrics, summary = (
            self.config.getoption(f"--peft-{name}") for name in names
        )
        gate = parse_gate(
            baseline=baseline,
            mode=mode,
            seeds_max=seeds_max,
            metrics=metrics,
            summary=summary,
            prefix="--peft-",
        )
        if gate is None or not is_declared(gate.scenario):
            # Tests may declare a scenario of their own, under any other name.
            return gate
        if gate.scenario not in self.comparison.scenarios:
            raise UsageError(
                f"--peft-baseline {baseline} is of scenario {gate.scenario}, and this session "
                f"compares in {', '.join(self.comparison.scenarios)}: name the other by "
                "--peft-scenario, or its own baseline"
            )
        return gate

    @property
    def store(self) -> Path:
        """The folder of the store."""
        return Path(self.config.getoption("--peft-store"))

    def trials_of(self, fixture: str, first: str, second: str) -> list[Trial]:
        """Return the trials of a test in the plan."""
        if fixture == "peft_cell":
            return [t for t in self.comparison.trials(first) if t.method.slug == second]
        if fixture == "peft_serving":
            return [self.comparison.serving_plan().trial(find_method(first))]
        if fixture == "peft_sizes":
            return self.comparison.sizes_plan().trials(find_method(first), second)
        groups = self.comparison.engine_pairs().groups(find_method(first), Part(second))
        return [trial for group in groups for trial in group]

    def account(self, *, stopped: bool) -> list[str]:
        """Return the labels of planned trials that no record was committed of.

        What a killed worker was in is committed as crashed first.

        Args:
            stopped: whether the session was ended early, so that tests which have not ended are
                not missing.

        Raises:
            PeftcoreError: the store can't be read.
        """
        missing: list[str] = []
        for test, planned in self.plan.items():
            if test not in self.ran.planned and stopped:
                continue
            if planned[0] == "peft_trial":
                # Only the test itself knows what it runs: without its end, nobody does.
                missing += [] if test in self.ran.planned else [test]
                continue
            collector = {
                "peft_pairs": self.comparison.engine_collector,
                "peft_serving": self.comparison.serving_collector,
                "peft_sizes": self.comparison.sizes_collector,
            }.get(planned[0], self.comparison.collector)
            try:
                trials = self.trials_of(*planned)
            except UsageError:
                continue  # Its test has failed for that.
            if planned[0] == "peft_cell":
                scenario, slug = planned[1:]
                missing += self.comparison.unfinished(scenario, find_method(slug))
            ids = self.ran.planned.get(test, [trial.id for trial in trials])
            trials = [trial for trial in trials if trial.id in ids]
            self.summary += collector.settle(trials)
            missing += [trial.label for trial in collector.missing(trials)] if trials else []
        if self.ran.own:
            own = self.comparison.collector.missing(self.ran.own)
            missing += [trial.label for trial in own]
        return missing


SESSION = pytest.StashKey[PeftSession]()


class Terminal:
    """pytest's terminal, written to past its capturing of output."""

    def __init__(self, config: pytest.Config) -> None:
        self._config = config

    def isatty(self) -> bool:
        """Return whether it is a terminal that people look at."""
        reporter: Any = self._config.pluginmanager.get_plugin("terminalreporter")
        return bool(reporter.isatty)

    def write(self, text: str) -> None:
        """Write text at once; in a log, on a line of its own."""
        reporter: Any = self._config.pluginmanager.get_plugin("terminalreporter")
        with self._uncaptured():
            if not self.isatty():
                reporter.ensure_newline()
            reporter.write(text, flush=True)

    @contextmanager
    def _uncaptured(self) -> Iterator[None]:
        capture: Any = self._config.pluginmanager.get_plugin("capturemanager")
        if capture is None:
            yield
        else:
            with capture.global_and_fixture_disabled():
                yield


def worker_of(config: pytest.Config) -> str | None:
    """Return the name of this pytest-xdist worker, or ``None`` outside one."""
    return getattr(config, "workerinput", {}).get("workerid")


def hands_out_work(config: pytest.Config) -> bool:
    """Return whether this process is the controller of pytest-xdist workers."""
    return bool(getattr(config.option, "tx", None)) and worker_of(config) is None


@contextmanager
def as_usage_error() -> Iterator[None]:
    """Turn bad input into pytest's own error, with its exit code 4."""
    try:
        yield
    except UsageError as error:
        raise pytest.UsageError(str(error)) from None

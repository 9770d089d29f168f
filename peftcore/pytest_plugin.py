"""The pytest plugin: options, one parametrised test a method and scenario, progress, the report.

Hooks only: what a trial is, how it runs and what is made of it stands in the other modules. They
are imported where they are needed, so that a session without a benchmark pays nothing for this
plugin being installed; torch is imported by no session at all, only by the trials' own processes.
"""

from __future__ import annotations

import json
import secrets
from collections.abc import Collection, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from datetime import UTC, datetime
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

from peftcore.errors import PeftcoreError, UsageError, member
from peftcore.methods import find_method
from peftcore.pytest_trial import OWN_TRIAL, PeftTrial, kept_in, read_told
from peftcore.scenarios import find_scenario, is_declared
from peftcore.trials import Engine, Part, Trial, Weights

if TYPE_CHECKING:
    from peftcore.comparison import Comparison
    from peftcore.gate.options import Gate
    from peftcore.results.records import Record
    from peftcore.running.progress import ProgressWatch

DEFAULT_SCENARIOS: tuple[str, ...] = ("embedded", "imdb-roberta")
"""Without ``--peft-scenario``: the one for any machine, and the study's, which needs a GPU."""

_SCENARIO, _REUSED, _PAIRED = "peftcore_scenario", "peftcore_reused", "peftcore_paired"
_PLANNED = "peftcore_planned"

USABLE_DISTRIBUTIONS = ("load", "worksteal")
"""Values of pytest-xdist's ``--dist`` under which no test is lost with a worker."""

_UNUSABLE = "can't be used for trials"

NO_GPU = "needs a CUDA GPU, and this machine has none that the NVIDIA driver knows of"


def pytest_addoption(parser: pytest.Parser) -> None:
    """Add the ``--peft-…`` options."""
    group = parser.getgroup("peftcore", "fine-tuning methods compared (peftcore)")
    option = group.addoption
    option("--peft-scenario", metavar="NAME", help="run this scenario")
    option("--peft-method", metavar="NAME[,NAME…]", help="these methods only")
    option("--peft-seeds", metavar="N|A,B,C", help="how many seeds, or which")
    option("--peft-model", metavar="ID-OR-PATH", help="another backbone in the scenario's place")
    option("--peft-data", metavar="ID-OR-PATH", help="another data set in the scenario's place")
    option(
        "--peft-weights",
        metavar="pretrained|random",
        default="pretrained",
        help="random: fresh weights, for time and memory alone",
    )
    option(
        "--peft-set",
        metavar="KEY=VALUE",
        action="append",
        default=[],
        help="override one field of the task or the recipe; repeatable",
    )
    option("--peft-engine", metavar="peftcore|trainer", default="peftcore", help="training loop")
    option("--peft-store", metavar="PATH", default=".peftcore", help="folder of the store")
    option("--peft-report", metavar="DIR", help="folder of the report (default: reports/SCENARIO)")
    option("--peft-fresh", action="store_true", help="run again what the store already has")
    option("--peft-require-gpu", action="store_true", help="a GPU test that would skip fails")
    option("--peft-timeout", metavar="SECONDS", type=float, help="longest a trial may take")
    option("--peft-baseline", metavar="PATH", help="compare with this baseline once all has run")
    option(
        "--peft-gate",
        metavar="off|warn|fail|strict",
        help="what a verdict does to the exit code (default with a baseline: fail)",
    )
    option(
        "--peft-seeds-max",
        metavar="N",
        help="while the gate is undecided, add seeds up to so many a method",
    )
    option("--peft-gate-metrics", metavar="NAME[,NAME…]", help="gate these metrics only")
    option(
        "--peft-gate-summary",
        metavar="FILE",
        help="file of the gate's Markdown (default: gate.md beside the report)",
    )
    option(
        "--peft-checkpoint-seconds",
        metavar="SECONDS",
        type=float,
        help="training between two checkpoints of a trial; 0: one after each step (default: 60, "
        "or as many more as keep their cost under 1%%)",
    )


@dataclass(eq=False)
class Ran:
    """Takes note of what finished tests tell; with pytest-xdist they ran in other processes.

    Attributes:
        scenarios: names of the scenarios that tests ran in.
        reused: ids of trials whose records were in the store.
        paired: ids of the trials that compared the engines.
        own: trials that tests declared themselves.
        planned: by the name of each test that ended by itself, the ids of the trials that it set
            out to get.
        refused: whether a worker refused to collect because of ``--dist``.
    """

    scenarios: set[str] = field(default_factory=set)
    reused: set[str] = field(default_factory=set)
    paired: set[str] = field(default_factory=set)
    own: list[Trial] = field(default_factory=list)
    planned: dict[str, list[str]] = field(default_factory=dict)
    refused: bool = False

    def pytest_collectreport(self, report: pytest.CollectReport) -> None:
        """Notice a worker's refusal."""
        self.refused |= report.failed and _UNUSABLE in str(report.longrepr)

    def pytest_runtest_logreport(self, report: pytest.TestReport) -> None:
        """Read a test's properties once it is over; they are text, which crosses processes."""
        if report.when == "teardown":
            self.planned[report.nodeid] = []
            for name, value in report.user_properties:
                if name == _SCENARIO:
                    self.scenarios.add(str(value))
                elif name == _REUSED:
                    self.reused.add(str(value))
                elif name == _PAIRED:
                    self.paired.add(str(value))
                elif name == OWN_TRIAL:
                    trial, reused = read_told(str(value))
                    self.own.append(trial)
                    self.scenarios.add(trial.scenario)
                    self.reused |= {trial.id} if reused else set()
                elif name == _PLANNED:
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
            prefix="--peft-",
        )
        store = Path(option("--peft-store"))
        worker = _worker(self.config)
        collector = Collector(
            folder=store,
            display=ProgressFile(store / "progress", worker)
            if worker
            else ProgressDisplay(_Terminal(self.config)),
            timeout_seconds=option("--peft-timeout"),
            fresh=option("--peft-fresh"),
            session=self.name,
            began=self.began,
            worker=worker,
            checkpoint_seconds=option("--peft-checkpoint-seconds"),
        )
        return Comparison(selection, names, collector, Path(report) if report else None)

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
            collector = self.comparison.collector
            if planned[0] == "peft_pairs":
                collector = self.comparison.engine_collector
            try:
                trials = self.trials_of(*planned)
            except UsageError:
                continue  # Its test has failed for that.
            ids = self.ran.planned.get(test, [trial.id for trial in trials])
            trials = [trial for trial in trials if trial.id in ids]
            self.summary += collector.settle(trials)
            missing += [trial.label for trial in collector.missing(trials)] if trials else []
        if self.ran.own:
            own = self.comparison.collector.missing(self.ran.own)
            missing += [trial.label for trial in own]
        return missing


_SESSION = pytest.StashKey[PeftSession]()


class _Terminal:
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


def _worker(config: pytest.Config) -> str | None:
    """Return the name of this pytest-xdist worker, or ``None`` outside one."""
    return getattr(config, "workerinput", {}).get("workerid")


def _hands_out_work(config: pytest.Config) -> bool:
    """Return whether this process is the controller of pytest-xdist workers."""
    return bool(getattr(config.option, "tx", None)) and _worker(config) is None


@contextmanager
def _as_usage_error() -> Iterator[None]:
    """Turn bad input into pytest's own error, with its exit code 4."""
    try:
        yield
    except UsageError as error:
        raise pytest.UsageError(str(error)) from None


def _asks_for_anything(config: pytest.Config) -> bool:
    """Return whether an option of this plugin was given, be it with a value such as 0."""
    return any(
        not (
            value is None or value is False or value in ([], "pretrained", "peftcore", ".peftcore")
        )
        for name, value in vars(config.option).items()
        if name.startswith("peft_")
    )


def pytest_configure(config: pytest.Config) -> None:
    """Declare the marker, and refuse options that can't be meant before anything is collected."""
    config.addinivalue_line("markers", "gpu: needs a CUDA GPU")
    session = config.stash[_SESSION] = PeftSession(config, Ran())
    given: Mapping[str, str] = getattr(config, "workerinput", {})
    session.name = given.get(_NAME, session.name)
    session.began = given.get(_BEGAN, session.began)
    config.pluginmanager.register(session.ran)
    if _asks_for_anything(config):
        with _as_usage_error():
            session.comparison.validate()
            # Read here already: a baseline that is not usable must not cost a run.
            _ = session.gate
        refusal = _refusal(config)
        if refusal is not None:
            raise pytest.UsageError(refusal)


_NAME, _BEGAN = "peftcore_session", "peftcore_began"
_DISTRIBUTION = "peftcore_distribution"


def _refusal(config: pytest.Config) -> str | None:
    """Return why trials can't be run as pytest-xdist would hand them out; ``None`` if they can."""
    used = getattr(config, "workerinput", {}).get(_DISTRIBUTION)
    if _hands_out_work(config):
        used = config.getoption("dist")
    if used in (None, "no", *USABLE_DISTRIBUTIONS):
        return None
    return (
        f"--dist {used} {_UNUSABLE}: a worker that dies would take tests with it, or hang the "
        f"session, or every trial would run more than once; use --dist worksteal"
    )


@pytest.hookimpl(optionalhook=True)
def pytest_configure_node(node: Any) -> None:
    """Tell a worker of pytest-xdist which session it belongs to."""
    peft = node.config.stash[_SESSION]
    distribution = node.config.getoption("dist")
    node.workerinput.update({_NAME: peft.name, _BEGAN: peft.began, _DISTRIBUTION: distribution})


@pytest.hookimpl(optionalhook=True)
def pytest_handlecrashitem(report: Any, crashitem: str, sched: Any) -> None:
    """Have the other trials of a test run whose worker was killed in one of them.

    That one counts as crashed. A test is handed out again only for a trial that was lost, so that a
    test which kills every worker by itself comes to an end.
    """
    from peftcore.results.store import engine_store
    from peftcore.running.claims import left_behind

    config = report.node.config
    peft = config.stash[_SESSION]
    lost = {
        claim.trial
        for folder in (peft.store, engine_store(peft.store))
        for claim in left_behind(folder, peft.name)
        if claim.worker == report.node.gateway.id
    }
    if lost - peft.lost and config.getoption("dist") in USABLE_DISTRIBUTIONS:
        peft.lost |= lost
        sched.mark_test_pending(crashitem)


@dataclass(frozen=True)
class Cell:
    """One test: a method in a scenario, all its seeds."""

    scenario: str
    method: str


def pytest_generate_tests(metafunc: pytest.Metafunc) -> None:
    """Make one test a method and scenario of each test that asks for ``peft_cell``."""
    wanted = {"peft_cell", "peft_pairs", "peft_trial"}.intersection(metafunc.fixturenames)
    if not wanted:
        return
    refusal = _refusal(metafunc.config)
    if refusal is not None:
        raise pytest.Collector.CollectError(refusal)
    if wanted == {"peft_trial"}:
        return
    comparison = metafunc.config.stash[_SESSION].comparison
    if "peft_pairs" in wanted:
        scenario = comparison.selection.find_scenario()
        marks = [pytest.mark.gpu] if scenario.gpu else []
        with _as_usage_error():
            cells_of_parts = comparison.engine_pairs().cells()
        parts = [
            pytest.param((method.slug, part), id=f"{method.slug}-{part}", marks=marks)
            for method, part in cells_of_parts
        ]
        metafunc.parametrize("peft_pairs", parts, indirect=True)
    if "peft_cell" not in wanted:
        return
    cells = [
        pytest.param(
            Cell(scenario, method.slug),
            id=f"{scenario}-{method.slug}",
            marks=[pytest.mark.gpu] if find_scenario(scenario).gpu else [],
        )
        for scenario in comparison.scenarios
        for method in comparison.methods(scenario)
    ]
    metafunc.parametrize("peft_cell", cells, indirect=True)


def pytest_collection_finish(session: pytest.Session) -> None:
    """Look at backbone and data before the first trial, so that bad input costs nothing."""
    if session.config.option.collectonly:
        return
    peft = session.config.stash[_SESSION]
    peft.plan = {item.nodeid: planned for item in session.items if (planned := _planned(item))}
    if _worker(session.config):
        if peft.plan:
            from peftcore.running.claims import write_plan

            write_plan(peft.store, peft.name, peft.plan)
        return
    scenarios = {first for fixture, first, _ in peft.plan.values() if fixture == "peft_cell"}
    _require_usable(session.config, scenarios)
    if peft.plan and not _hands_out_work(session.config):
        _mend_stores(session.config)


def _mend_stores(config: pytest.Config) -> None:
    """Look at the records there are before one is relied on, and say what was wrong."""
    from peftcore.results.repairing import mend_stores

    peft = config.stash[_SESSION]
    try:
        repairs = [str(repair) for repair in mend_stores(peft.store)]
    except PeftcoreError as error:
        pytest.exit(str(error), returncode=pytest.ExitCode.TESTS_FAILED)
    peft.summary += repairs
    for repair in repairs:
        _Terminal(config).write(f"peftcore: {repair}\n")


def _planned(item: pytest.Item) -> list[str] | None:
    """Return what a test runs, unless that is nothing or needs a GPU that is not there."""
    callspec = getattr(item, "callspec", None)
    params: Mapping[str, Any] = {} if callspec is None else callspec.params
    cell, pairs = params.get("peft_cell"), params.get("peft_pairs")
    own = "peft_trial" in getattr(item, "fixturenames", ())
    if not isinstance(cell, Cell) and pairs is None and not own:
        return None
    if item.get_closest_marker("gpu") is not None:
        from peftcore.comparison import has_gpu

        if not has_gpu():
            return None
    if isinstance(cell, Cell):
        return ["peft_cell", cell.scenario, cell.method]
    return ["peft_pairs", *map(str, pairs)] if pairs is not None else ["peft_trial", "", ""]


def _require_usable(config: pytest.Config, scenarios: Collection[str]) -> None:
    if scenarios:
        with _as_usage_error():
            config.stash[_SESSION].comparison.require_usable(sorted(scenarios))


def skip_without_gpu(config: pytest.Config) -> None:
    """Skip the running test where there is no CUDA GPU, or fail it under ``--peft-require-gpu``."""
    from peftcore.comparison import has_gpu

    if has_gpu():
        return
    if config.getoption("--peft-require-gpu"):
        pytest.fail(f"{NO_GPU} (--peft-require-gpu)", pytrace=False)
    pytest.skip(NO_GPU)


def _announce(request: pytest.FixtureRequest, trials: list[Trial]) -> None:
    """Note that a test sets out to get the records of these trials."""
    ids = json.dumps([trial.id for trial in trials])
    request.node.user_properties.append((_PLANNED, ids))


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
        _announce(self._request, self.trials)
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
        trials: one per seed.
    """

    cell: Cell
    trials: list[Trial]
    _comparison: Comparison
    _request: pytest.FixtureRequest

    def run(self) -> list[Record]:
        """Return the record of each trial, in the order of the seeds.

        Trials that are not in the store are run; in a serial session each is a round in
        pytest-benchmark's table.
        """
        collector = self._comparison.collector
        _announce(self._request, self.trials)
        records = {trial.id: collector.stored(trial) for trial in self.trials}
        waiting = [trial for trial in self.trials if records[trial.id] is None]
        self._request.node.user_properties.extend(
            (_REUSED, trial.id) for trial in self.trials if trial.id in collector.reused
        )

        def run_one(trial: Trial) -> None:
            with kept_in(self._request):
                records[trial.id] = collector.collect(trial)

        benchmark = self._benchmark() if waiting else None
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

        return faults(self.trials, records)

    def _benchmark(self) -> Any:
        """Return pytest-benchmark's fixture, or ``None`` where it would not count."""
        config = self._request.config
        installed = config.pluginmanager.has_plugin("benchmark")
        # Switched off, as it also is in a worker of pytest-xdist, it would run one round of several
        # and complain if it ran none.
        if not installed or _worker(config) or config.getoption("benchmark_disable", False):
            return None
        return self._request.getfixturevalue("benchmark")


@pytest.fixture
def peft_cell(request: pytest.FixtureRequest) -> RunnableCell:
    """A method in a scenario, ready to run; parametrised over all that the options select."""
    cell: Cell = request.param
    if find_scenario(cell.scenario).gpu:
        skip_without_gpu(request.config)
    session = request.config.stash[_SESSION]
    request.node.user_properties.append((_SCENARIO, cell.scenario))
    try:
        trials = session.trials_of("peft_cell", cell.scenario, cell.method)
    except UsageError as error:
        pytest.fail(str(error), pytrace=False)
    return RunnableCell(cell, trials, session.comparison, request)


@pytest.fixture
def peft_pairs(request: pytest.FixtureRequest) -> RunnablePairs:
    """One part of a comparison of the engines with one method; parametrised over both."""
    session = request.config.stash[_SESSION]
    if session.comparison.selection.find_scenario().gpu:
        skip_without_gpu(request.config)
    slug, part = request.param
    try:
        groups = session.comparison.engine_pairs().groups(find_method(slug), part)
    except UsageError as error:
        pytest.fail(str(error), pytrace=False)
    pairs = RunnablePairs(groups, session.comparison, request)
    request.node.user_properties.extend((_PAIRED, trial.id) for trial in pairs.trials)
    return pairs


@pytest.fixture
def peft_trial(request: pytest.FixtureRequest) -> PeftTrial:
    """Call it with a method, a model and data of one's own: it trains, and returns how it went."""
    return PeftTrial(request, request.config.stash[_SESSION].comparison)


def pytest_sessionstart(session: pytest.Session) -> None:
    """Where there are workers, look at backbone and data before they start, and watch them."""
    from peftcore.running.progress import ProgressDisplay, ProgressWatch

    if _hands_out_work(session.config):
        peft = session.config.stash[_SESSION]
        if session.config.getoption("--peft-scenario") is not None:
            # This process collects no tests: what is asked for is what workers are about to need.
            _require_usable(session.config, peft.comparison.scenarios)
        if peft.store.is_dir():
            # Before the workers have it open.
            _mend_stores(session.config)
        folder = peft.store / "progress"
        peft.watch = ProgressWatch(folder, ProgressDisplay(_Terminal(session.config)))
        peft.watch.start()


@pytest.hookimpl(trylast=True)
def pytest_sessionfinish(session: pytest.Session) -> None:
    """Write the report of each scenario that ran."""
    peft = session.config.stash[_SESSION]
    if peft.watch is not None:
        peft.watch.stop()
    if _worker(session.config):
        return
    if peft.ran.own:
        try:
            peft.comparison.adopt(peft.ran.own)
        except UsageError as error:
            peft.summary.append(str(error))
            session.exitstatus = pytest.ExitCode.TESTS_FAILED
    _account(session, peft)
    scenarios = sorted(peft.ran.scenarios)
    named = peft.comparison.report if scenarios else None
    folders = {
        scenario: named / scenario if named is not None and len(scenarios) > 1 else named
        for scenario in scenarios
    }
    # Before the reports, which show the seeds that it adds.
    _judge(session, peft, folders)
    for scenario, folder in folders.items():
        try:
            peft.summary += peft.comparison.write_report(scenario, peft.ran.reused, folder)
        except PeftcoreError as error:
            peft.summary.append(f"no report of {scenario}: {error}")
            session.exitstatus = pytest.ExitCode.TESTS_FAILED
    if peft.ran.paired:
        try:
            peft.summary += peft.comparison.write_engine_report(peft.ran.paired)
        except PeftcoreError as error:
            peft.summary.append(f"no report of the engines: {error}")
            session.exitstatus = pytest.ExitCode.TESTS_FAILED


def _judge(session: pytest.Session, peft: PeftSession, folders: Mapping[str, Path | None]) -> None:
    """Put the gate's verdicts in the summary, its Markdown in a file, and fail if it does."""
    interrupted = session.exitstatus in (
        pytest.ExitCode.INTERRUPTED,
        pytest.ExitCode.USAGE_ERROR,
        pytest.ExitCode.INTERNAL_ERROR,
    )
    if session.config.option.collectonly or interrupted or peft.gate is None:
        return
    from peftcore.comparison import REPORTS
    from peftcore.gate.options import SUMMARY_NAME
    from peftcore.gate.summary import to_lines, write_markdown
    from peftcore.gate.verdicts import GateMode, Verdict

    gate, terminal = peft.gate, _Terminal(session.config)
    try:
        if gate.scenario in folders:
            verdicts = peft.comparison.judge(gate, lambda line: terminal.write(f"\n{line}\n"))
            path = (
                gate.summary or (folders[gate.scenario] or REPORTS / gate.scenario) / SUMMARY_NAME
            )
            write_markdown(path, verdicts)
            peft.summary += [*to_lines(verdicts), f"gate: {path}"]
            failed = verdicts.fails(gate.mode)
        else:
            # Missing never means passed.
            peft.summary.append(
                f"gate on {gate.scenario}: {Verdict.INVALID}: no trial of that scenario ran"
            )
            failed = gate.mode is not GateMode.WARN
    except PeftcoreError as error:
        peft.summary.append(f"no verdict of the gate: {error}")
        failed = True
    if failed:
        session.exitstatus = pytest.ExitCode.TESTS_FAILED


def _account(session: pytest.Session, peft: PeftSession) -> None:
    """Fail the session for each planned trial that left no record."""
    if peft.ran.refused:
        session.exitstatus = pytest.ExitCode.USAGE_ERROR
        return
    handed_out = _hands_out_work(session.config)
    if handed_out:
        from peftcore.running.claims import read_plan

        peft.plan = read_plan(peft.store, peft.name)
    if not peft.plan:
        return
    from peftcore.results.store import engine_store
    from peftcore.running.claims import end_session

    ended_well = (pytest.ExitCode.OK, pytest.ExitCode.TESTS_FAILED)
    stopped = session.shouldfail or session.shouldstop or session.exitstatus not in ended_well
    try:
        missing = peft.account(stopped=bool(stopped))
    except PeftcoreError as error:
        peft.summary.append(f"the plan can't be compared with the store: {error}")
        session.exitstatus = session.exitstatus or pytest.ExitCode.TESTS_FAILED
        return
    finally:
        for folder in (peft.store, engine_store(peft.store)) if handed_out else ():
            end_session(folder, peft.name)
    if missing:
        peft.summary.append(f"planned, but without a record: {', '.join(missing)}")
        session.exitstatus = session.exitstatus or pytest.ExitCode.TESTS_FAILED


def pytest_terminal_summary(terminalreporter: Any, config: pytest.Config) -> None:
    """Say where the report is, and what was reused."""
    lines = config.stash[_SESSION].summary
    if lines:
        terminalreporter.section("peftcore")
        for line in lines:
            terminalreporter.write_line(line)

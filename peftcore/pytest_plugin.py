"""The pytest plugin: options, one parametrised test a method and scenario, progress, the report.

Hooks only: what a trial is, how it runs and what is made of it stands in the other modules. They
are imported where they are needed, so that a session without a benchmark pays nothing for this
plugin being installed; torch is imported by no session at all, only by the trials' own processes.
"""

from __future__ import annotations

from collections.abc import Collection, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

from peftcore.errors import PeftcoreError, UsageError, member
from peftcore.methods import find_method
from peftcore.pytest_trial import OWN_TRIAL, PeftTrial, read_told
from peftcore.scenarios import find_scenario, is_declared
from peftcore.trials import Engine, Trial, Weights

if TYPE_CHECKING:
    from peftcore.comparison import Comparison
    from peftcore.gate.options import Gate
    from peftcore.results.records import Record
    from peftcore.running.progress import ProgressWatch

DEFAULT_SCENARIOS: tuple[str, ...] = ("embedded", "imdb-roberta")
"""Without ``--peft-scenario``: the one for any machine, and the study's, which needs a GPU."""

_SCENARIO, _REUSED, _PAIRED = "peftcore_scenario", "peftcore_reused", "peftcore_paired"

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


@dataclass(eq=False)
class Ran:
    """Takes note of what finished tests tell; with pytest-xdist they ran in other processes.

    Attributes:
        scenarios: names of the scenarios that tests ran in.
        reused: ids of trials whose records were in the store.
        paired: ids of the trials that compared the engines.
        own: trials that tests declared themselves.
    """

    scenarios: set[str] = field(default_factory=set)
    reused: set[str] = field(default_factory=set)
    paired: set[str] = field(default_factory=set)
    own: list[Trial] = field(default_factory=list)

    def pytest_runtest_logreport(self, report: pytest.TestReport) -> None:
        """Read a test's properties once it is over; they are text, which crosses processes."""
        if report.when == "teardown":
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


@dataclass
class PeftSession:
    """What this pytest session compares; kept in ``config.stash``.

    Attributes:
        config: pytest's configuration.
        ran: what the finished tests told.
        watch: shows the progress of pytest-xdist workers.
        summary: lines for the end of the session.
    """

    config: pytest.Config
    ran: Ran
    watch: ProgressWatch | None = None
    summary: list[str] = field(default_factory=list)

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
    config.pluginmanager.register(session.ran)
    if _asks_for_anything(config):
        with _as_usage_error():
            session.comparison.validate()
            # Read here already: a baseline that is not usable must not cost a run.
            _ = session.gate


@dataclass(frozen=True)
class Cell:
    """One test: a method in a scenario, all its seeds."""

    scenario: str
    method: str


def pytest_generate_tests(metafunc: pytest.Metafunc) -> None:
    """Make one test a method and scenario of each test that asks for ``peft_cell``."""
    wanted = {"peft_cell", "peft_pairs"}.intersection(metafunc.fixturenames)
    if not wanted:
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
    if session.config.option.collectonly or _worker(session.config):
        return
    callspecs = [getattr(item, "callspec", None) for item in session.items]
    cells = [spec.params.get("peft_cell") for spec in callspecs if spec is not None]
    _require_usable(session.config, {cell.scenario for cell in cells if isinstance(cell, Cell)})


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


@dataclass(frozen=True)
class RunnablePairs:
    """What a test of a comparison of the engines gets.

    Attributes:
        groups: trials of one method and one part, in their order; those that are compared with
            each other in one group.
    """

    groups: list[list[Trial]]
    _comparison: Comparison

    @property
    def trials(self) -> list[Trial]:
        """All trials, in the order in which they are run."""
        return [trial for group in self.groups for trial in group]

    def run(self) -> list[Record]:
        """Return the record of each trial, run in the order of the trials."""
        return [
            record for group in self.groups for record in self._comparison.compare_engines(group)
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
        records = {trial.id: collector.stored(trial) for trial in self.trials}
        waiting = [trial for trial in self.trials if records[trial.id] is None]
        self._request.node.user_properties.extend(
            (_REUSED, trial.id) for trial in self.trials if trial not in waiting
        )

        def run_one(trial: Trial) -> None:
            records[trial.id] = collector.run(trial)

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
        trials = [
            t for t in session.comparison.trials(cell.scenario) if t.method.slug == cell.method
        ]
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
    pairs = RunnablePairs(groups, session.comparison)
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
        folder = Path(session.config.getoption("--peft-store")) / "progress"
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


def pytest_terminal_summary(terminalreporter: Any, config: pytest.Config) -> None:
    """Say where the report is, and what was reused."""
    lines = config.stash[_SESSION].summary
    if lines:
        terminalreporter.section("peftcore")
        for line in lines:
            terminalreporter.write_line(line)

"""The pytest plugin: options, one parametrised test a method and scenario, progress, the report.

Hooks only: what a trial is, how it runs and what is made of it stands in the other modules. They
are imported where they are needed, so that a session without a benchmark pays nothing for this
plugin being installed; torch is imported by no session at all, only by the trials' own processes.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

from peftcore.errors import PeftcoreError, UsageError, unknown
from peftcore.scenarios import SCENARIOS, find_scenario
from peftcore.trials import Engine, Outcome, Trial, Weights

if TYPE_CHECKING:
    from peftcore.methods import Method
    from peftcore.results.collecting import Collector
    from peftcore.results.records import Record
    from peftcore.running.planning import Selection
    from peftcore.running.progress import ProgressWatch

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
    option(
        "--peft-report",
        metavar="DIR",
        help="folder of the report (default: reports/<scenario>/)",
    )
    option("--peft-fresh", action="store_true", help="run again what the store already has")
    option("--peft-require-gpu", action="store_true", help="a GPU test that would skip fails")
    option("--peft-timeout", metavar="SECONDS", type=float, help="longest a trial may take")


@dataclass(frozen=True)
class Cell:
    """One test: a method in a scenario, all its seeds."""

    scenario: str
    method: str

    @property
    def needs_gpu(self) -> bool:
        """Whether the scenario needs a CUDA GPU."""
        return find_scenario(self.scenario).gpu


@dataclass
class PeftSession:
    """What this pytest session compares; kept in ``config.stash``."""

    config: pytest.Config
    used: set[str] = field(default_factory=set)
    watch: ProgressWatch | None = None
    summary: list[str] = field(default_factory=list)

    @cached_property
    def selection(self) -> Selection:
        """What the options ask for; its scenario is a stand-in unless one was named."""
        from peftcore.running.planning import Selection, parse_methods, parse_seeds

        option = self.config.getoption
        methods, seeds = option("--peft-method"), option("--peft-seeds")
        return Selection(
            scenario=option("--peft-scenario") or SCENARIOS[0].name,
            methods=None if methods is None else parse_methods(methods),
            seeds=None if seeds is None else parse_seeds(seeds, where="--peft-seeds"),
            model=option("--peft-model"),
            data=option("--peft-data"),
            weights=_member(Weights, option("--peft-weights"), "--peft-weights"),
            settings=tuple(option("--peft-set")),
            engine=_member(Engine, option("--peft-engine"), "--peft-engine"),
            prefix="--peft-",
        )

    @property
    def scenarios(self) -> list[str]:
        """The scenarios to run: the one that was named, else the embedded one and the study's."""
        named = self.config.getoption("--peft-scenario")
        return [find_scenario(named).name] if named else ["embedded", "imdb-roberta"]

    def validate(self) -> None:
        """Check every option whose value can be wrong without looking at a file.

        Raises:
            UsageError: one is.
        """
        from peftcore.scenarios import override

        scenario = self.selection.find_scenario()
        self.selection.find_methods()
        override(scenario.task, scenario.recipe, self.selection.settings)
        timeout = self.config.getoption("--peft-timeout")
        if timeout is not None and timeout <= 0:
            raise UsageError(f"--peft-timeout {timeout:g} is not usable: expected seconds above 0")

    def methods(self, scenario: str) -> list[Method]:
        """Return the methods to run in a scenario."""
        return replace(self.selection, scenario=scenario).find_methods()

    def trials(self, scenario: str) -> list[Trial]:
        """Return the planned trials of a scenario; data and backbone are looked at once."""
        if scenario not in self._plans:
            from peftcore.running.planning import plan

            self._plans[scenario] = plan(replace(self.selection, scenario=scenario))
        return self._plans[scenario]

    @cached_property
    def _plans(self) -> dict[str, list[Trial]]:
        return {}

    @cached_property
    def store(self) -> Path:
        """The store's folder."""
        return Path(self.config.getoption("--peft-store"))

    @cached_property
    def collector(self) -> Collector:
        """What gets the records."""
        from peftcore.results.collecting import Collector
        from peftcore.running.progress import ProgressDisplay, ProgressFile

        worker = _worker(self.config)
        terminal = _Terminal(self.config)
        return Collector(
            folder=self.store,
            display=ProgressFile(self.store / "progress", worker)
            if worker
            else ProgressDisplay(terminal),
            timeout_seconds=self.config.getoption("--peft-timeout"),
            fresh=self.config.getoption("--peft-fresh"),
        )


_SESSION = pytest.StashKey[PeftSession]()


class _Terminal:
    """pytest's terminal, written to past its capturing of output."""

    def __init__(self, config: pytest.Config) -> None:
        self._reporter: Any = config.pluginmanager.get_plugin("terminalreporter")
        self._capture: Any = config.pluginmanager.get_plugin("capturemanager")

    def isatty(self) -> bool:
        return bool(self._reporter.isatty)

    def write(self, text: str) -> None:
        with self._uncaptured():
            if not self.isatty():
                self._reporter.ensure_newline()
            self._reporter.write(text, flush=True)

    @contextmanager
    def _uncaptured(self) -> Iterator[None]:
        if self._capture is None:
            yield
        else:
            with self._capture.global_and_fixture_disabled():
                yield


def _member(kind: Any, value: str, where: str) -> Any:
    known = [str(member) for member in kind]
    if value.lower() not in known:
        raise unknown("value", value, known, where=where)
    return kind(value.lower())


def _worker(config: pytest.Config) -> str | None:
    """Return the name of this pytest-xdist worker, or ``None`` outside one."""
    return getattr(config, "workerinput", {}).get("workerid")


def _hands_out_work(config: pytest.Config) -> bool:
    """Return whether this process is the controller of pytest-xdist workers."""
    return bool(getattr(config.option, "tx", None)) and _worker(config) is None


def pytest_configure(config: pytest.Config) -> None:
    """Declare the marker, and refuse options that can't be meant before anything is collected."""
    config.addinivalue_line("markers", "gpu: needs a CUDA GPU")
    session = PeftSession(config)
    config.stash[_SESSION] = session
    with _as_usage_error():
        session.validate()


@contextmanager
def _as_usage_error() -> Iterator[None]:
    try:
        yield
    except UsageError as error:
        raise pytest.UsageError(str(error)) from None


def pytest_generate_tests(metafunc: pytest.Metafunc) -> None:
    """Make one test a method and scenario of each test that asks for ``peft_cell``."""
    if "peft_cell" not in metafunc.fixturenames:
        return
    session = metafunc.config.stash[_SESSION]
    cells = [
        pytest.param(
            Cell(scenario, method.slug),
            id=f"{scenario}-{method.slug}",
            marks=[pytest.mark.gpu] if find_scenario(scenario).gpu else [],
        )
        for scenario in session.scenarios
        for method in session.methods(scenario)
    ]
    metafunc.parametrize("peft_cell", cells, indirect=True)


def _cell_of(item: pytest.Item) -> Cell | None:
    callspec = getattr(item, "callspec", None)
    cell = callspec.params.get("peft_cell") if callspec is not None else None
    return cell if isinstance(cell, Cell) else None


def pytest_collection_finish(session: pytest.Session) -> None:
    """Look at backbone and data before the first trial, so that bad input costs nothing."""
    peft = session.config.stash[_SESSION]
    if session.config.option.collectonly or _worker(session.config):
        return
    if _hands_out_work(session.config):
        # The controller collects no tests: it looks at what every worker is about to need.
        wanted = (
            {Cell(name, "") for name in peft.scenarios}
            if peft.config.getoption("--peft-scenario")
            else set()
        )
    else:
        wanted = {cell for item in session.items if (cell := _cell_of(item)) is not None}
    names = {cell.scenario for cell in wanted if not cell.needs_gpu or has_gpu()}
    refused: list[UsageError] = []
    for name in sorted(names):
        try:
            peft.trials(name)
        except UsageError as error:
            refused.append(error)
    # One usable scenario is enough to go on; the tests of the others then say what is wrong.
    if refused and len(refused) == len(names):
        raise pytest.UsageError("; ".join(str(error) for error in refused))


def has_gpu() -> bool:
    """Return whether the driver shows a CUDA GPU to this process; imports no torch."""
    from peftcore.measuring.environment import gpu

    return gpu()["gpu"] is not None


def skip_without_gpu(config: pytest.Config) -> None:
    """Skip the running test where there is no CUDA GPU, or fail it under ``--peft-require-gpu``."""
    if has_gpu():
        return
    if config.getoption("--peft-require-gpu"):
        pytest.fail(f"{NO_GPU} (--peft-require-gpu)", pytrace=False)
    pytest.skip(NO_GPU)


@dataclass(frozen=True)
class RunnableCell:
    """What a test gets: run it, and see what is wrong with its records.

    Attributes:
        cell: the method and the scenario.
        trials: one per seed.
    """

    cell: Cell
    trials: list[Trial]
    _collector: Collector
    _request: pytest.FixtureRequest

    def run(self) -> list[Record]:
        """Return the record of each trial, in the order of the seeds.

        Trials that are not in the store are run; in a serial session each is a round in
        pytest-benchmark's table.
        """
        records = {trial.id: self._collector.stored(trial) for trial in self.trials}
        waiting = [trial for trial in self.trials if records[trial.id] is None]
        benchmark = self._benchmark() if waiting else None
        if benchmark is None:
            for trial in waiting:
                records[trial.id] = self._collector.run(trial)
        else:
            todo = iter(waiting)

            def run_next(trial: Trial) -> None:
                records[trial.id] = self._collector.run(trial)

            benchmark.group = f"peftcore {self.cell.scenario}"
            benchmark.pedantic(
                run_next, setup=lambda: ((next(todo),), {}), rounds=len(waiting), iterations=1
            )
            for trial in waiting:
                benchmark.extra_info[trial.id] = _key_figures(records[trial.id])
        return [record for record in records.values() if record is not None]

    def faults(self, records: list[Record]) -> list[str]:
        """Return in words each trial that did not end well or misses its floor."""
        from peftcore.running.planning import shortfall

        found = []
        for trial, record in zip(self.trials, records, strict=True):
            measured = record.measurement
            if record.outcome is not Outcome.OK or measured is None:
                found.append(f"{trial.label}: {record.outcome}: {record.error}")
            elif measured.accuracy is not None and measured.majority_share is not None:
                missed = shortfall(trial, measured.accuracy, measured.majority_share)
                found += [missed] if missed else []
        return found

    def _benchmark(self) -> Any:
        """Return pytest-benchmark's fixture, or ``None`` where it would not count."""
        if not self._request.config.pluginmanager.has_plugin("benchmark"):
            return None
        benchmark = self._request.getfixturevalue("benchmark")
        return None if benchmark.disabled else benchmark


def _key_figures(record: Record | None) -> dict[str, Any]:
    if record is None or record.measurement is None:
        return {"outcome": "missing" if record is None else str(record.outcome)}
    measured = record.measurement
    names = ("accuracy", "train_seconds", "train_cpu_seconds", "step_seconds", "peak_bytes")
    return {"outcome": str(record.outcome), **{name: getattr(measured, name) for name in names}}


@pytest.fixture
def peft_cell(request: pytest.FixtureRequest) -> RunnableCell:
    """A method in a scenario, ready to run; parametrised over all that the options select."""
    cell: Cell = request.param
    if cell.needs_gpu:
        skip_without_gpu(request.config)
    session = request.config.stash[_SESSION]
    session.used.add(cell.scenario)
    try:
        trials = [t for t in session.trials(cell.scenario) if t.method.slug == cell.method]
    except UsageError as error:
        pytest.fail(str(error), pytrace=False)
    return RunnableCell(cell, trials, session.collector, request)


def pytest_sessionstart(session: pytest.Session) -> None:
    """Watch what workers pass on, where there are any."""
    from peftcore.running.progress import ProgressDisplay, ProgressWatch

    if _hands_out_work(session.config):
        peft = session.config.stash[_SESSION]
        display = ProgressDisplay(_Terminal(session.config))
        peft.watch = ProgressWatch(peft.store / "progress", display)
        peft.watch.start()


@pytest.hookimpl(trylast=True)
def pytest_sessionfinish(session: pytest.Session) -> None:
    """Write the report of each scenario that ran."""
    peft = session.config.stash[_SESSION]
    if peft.watch is not None:
        peft.watch.stop()
    if _worker(session.config):
        return
    if _hands_out_work(session.config):
        peft.used.update(peft.scenarios)
    for scenario in sorted(peft.used):
        if find_scenario(scenario).gpu and not has_gpu():
            continue
        try:
            peft.summary += _write_report(peft, scenario)
        except PeftcoreError as error:
            peft.summary.append(f"no report of {scenario}: {error}")
            session.exitstatus = pytest.ExitCode.TESTS_FAILED


def _write_report(peft: PeftSession, scenario: str) -> list[str]:
    """Write the report of one scenario, and return what to tell of it."""
    from peftcore.report.render import write_report

    trials = peft.trials(scenario)
    records = peft.collector.committed(trials)
    if not records:
        return []
    asked = peft.config.getoption("--peft-report")
    folder = Path(asked) if asked else Path("reports") / scenario
    if asked and len(peft.used) > 1:
        folder /= scenario
    lines = [f"report: {write_report(records, folder)}"]
    reused = [trial for trial in trials if trial.id in peft.collector.reused]
    if reused:
        lines.append(f"reused {len(reused)} of {len(trials)} records from {peft.store}")
    if len(records) < len(trials):
        lines.append(f"{len(trials) - len(records)} of {len(trials)} trials were not run")
    return lines


def pytest_terminal_summary(terminalreporter: Any, config: pytest.Config) -> None:
    """Say where the report is, and what was reused."""
    lines = config.stash[_SESSION].summary
    if lines:
        terminalreporter.section("peftcore")
        for line in lines:
            terminalreporter.write_line(line)

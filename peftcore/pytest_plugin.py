"""The pytest plugin: options, one parametrised test a method and scenario, progress, the report.

Hooks only: what a trial is, how it runs and what is made of it stands in the other modules. They
are imported where they are needed, so that a session without a benchmark pays nothing for this
plugin being installed; torch is imported by no session at all, only by the trials' own processes.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping
from pathlib import Path
from typing import Any

import pytest

from peftcore.errors import PeftcoreError, RecordNotStored, UsageError
from peftcore.pytest_cells import (
    Cell,
    RunnableCell,
    RunnablePairs,
    peft_cell,
    peft_pairs,
    skip_without_gpu,
)
from peftcore.pytest_serving import RunnableServing, peft_serving
from peftcore.pytest_session import (
    SESSION,
    UNUSABLE,
    PeftSession,
    Ran,
    Terminal,
    as_usage_error,
    hands_out_work,
    worker_of,
)
from peftcore.pytest_sizes import RunnableSizes, peft_sizes
from peftcore.pytest_trial import PeftTrial
from peftcore.scenarios import find_scenario

__all__ = [
    "RunnableCell",
    "RunnablePairs",
    "RunnableServing",
    "RunnableSizes",
    "peft_cell",
    "peft_pairs",
    "peft_serving",
    "peft_sizes",
    "skip_without_gpu",
]
"""What tests import from here; the fixtures are for pytest to find."""

USABLE_DISTRIBUTIONS = ("load", "worksteal")
"""Values of pytest-xdist's ``--dist`` under which no test is lost with a worker."""

_DEFAULTS: dict[str, Any] = {}
"""What each option of this plugin is where it was not given, by its name in pytest's options."""


def pytest_addoption(parser: pytest.Parser) -> None:
    """Add the ``--peft-…`` options."""
    group = parser.getgroup("peftcore", "fine-tuning methods compared (peftcore)")

    def option(name: str, **settings: Any) -> None:
        unset = {"store_true": False}.get(settings.get("action", ""))
        _DEFAULTS[name.removeprefix("--").replace("-", "_")] = settings.get("default", unset)
        group.addoption(name, **settings)

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
    option(
        "--peft-protocol",
        metavar="declared|study|tuned",
        default="declared",
        help="each method's learning rate: as declared, one for all, or by a search of its own",
    )
    option(
        "--peft-search-trials",
        metavar="N",
        type=int,
        default=8,
        help="trials of each method's search (default: 8)",
    )
    option(
        "--peft-serving-rounds",
        metavar="N",
        type=int,
        default=20,
        help="rounds in which test_serving.py measures each method (default: 20)",
    )
    option(
        "--peft-sizes",
        metavar="N[,N…]",
        help="training examples of test_data_sizes.py, or all (default: 100,300,1000 and the "
        "scenario's own)",
    )
    option(
        "--peft-sizes-hold",
        metavar="steps|epochs",
        default="steps",
        help="what test_data_sizes.py keeps the same for all sizes (default: steps)",
    )
    option("--peft-store", metavar="PATH", default=".peftcore", help="folder of the store")
    option("--peft-report", metavar="DIR", help="folder of the report (default: reports/SCENARIO)")
    option("--peft-fresh", action="store_true", help="run again what the store already has")
    option("--peft-require-gpu", action="store_true", help="a GPU test that would skip fails")
    option(
        "--peft-gpu-trials",
        metavar="N",
        type=int,
        default=1,
        help="trials that may share a GPU, for accuracies sooner: times are then marked (default: "
        "1)",
    )
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
        "or as many more as keep their cost to about 1%%)",
    )


def _asks_for_anything(config: pytest.Config) -> bool:
    """Return whether an option of this plugin was given, be it with a value such as 0."""
    given = vars(config.option)
    return any(given[name] != default for name, default in _DEFAULTS.items())


def pytest_configure(config: pytest.Config) -> None:
    """Declare the marker, and refuse options that can't be meant before anything is collected."""
    config.addinivalue_line("markers", "gpu: needs a CUDA GPU")
    session = config.stash[SESSION] = PeftSession(config, Ran())
    given: Mapping[str, str] = getattr(config, "workerinput", {})
    session.name = given.get(_NAME, session.name)
    session.began = given.get(_BEGAN, session.began)
    config.pluginmanager.register(session.ran)
    if _asks_for_anything(config):
        with as_usage_error():
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
    if hands_out_work(config):
        used = config.getoption("dist")
    if used in (None, "no", *USABLE_DISTRIBUTIONS):
        return None
    return (
        f"--dist {used} {UNUSABLE}: a worker that dies would take tests with it, or hang the "
        f"session, or every trial would run more than once; use --dist worksteal"
    )


@pytest.hookimpl(optionalhook=True)
def pytest_configure_node(node: Any) -> None:
    """Tell a worker of pytest-xdist which session it belongs to."""
    peft = node.config.stash[SESSION]
    distribution = node.config.getoption("dist")
    node.workerinput.update({_NAME: peft.name, _BEGAN: peft.began, _DISTRIBUTION: distribution})


@pytest.hookimpl(optionalhook=True)
def pytest_handlecrashitem(report: Any, crashitem: str, sched: Any) -> None:
    """Have the other trials of a test run whose worker was killed in one of them.

    That one counts as crashed. A test is handed out again only for a trial that was lost, so that a
    test which kills every worker by itself comes to an end.
    """
    from peftcore.results.store import all_stores
    from peftcore.running.claims import left_behind

    config = report.node.config
    peft = config.stash[SESSION]
    lost = {
        claim.trial
        for folder in all_stores(peft.store)
        for claim in left_behind(folder, peft.name)
        if claim.worker == report.node.gateway.id
    }
    if lost - peft.lost and config.getoption("dist") in USABLE_DISTRIBUTIONS:
        peft.lost |= lost
        sched.mark_test_pending(crashitem)


_BESIDE = {
    "peft_pairs": "engine_pairs",
    "peft_serving": "serving_plan",
    "peft_sizes": "sizes_plan",
}
"""Fixtures of what is measured beside the comparison, each with what plans it."""


def pytest_generate_tests(metafunc: pytest.Metafunc) -> None:
    """Make one test a method and scenario of each test that asks for ``peft_cell``."""
    wanted = {"peft_cell", "peft_trial", *_BESIDE}.intersection(metafunc.fixturenames)
    if not wanted:
        return
    refusal = _refusal(metafunc.config)
    if refusal is not None:
        raise pytest.Collector.CollectError(refusal)
    if wanted == {"peft_trial"}:
        return
    comparison = metafunc.config.stash[SESSION].comparison
    for fixture, plan_of in _BESIDE.items():
        if fixture in wanted:
            scenario = comparison.selection.find_scenario()
            marks = [pytest.mark.gpu] if scenario.gpu else []
            with as_usage_error():
                cells_beside = getattr(comparison, plan_of)().cells()
            parts = [
                pytest.param(
                    (method.slug, part), id=f"{method.slug}-{part}".strip("-"), marks=marks
                )
                for method, part in cells_beside
            ]
            metafunc.parametrize(fixture, parts, indirect=True)
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
    peft = session.config.stash[SESSION]
    peft.plan = {item.nodeid: planned for item in session.items if (planned := _planned(item))}
    if worker_of(session.config):
        if peft.plan:
            from peftcore.running.claims import write_plan

            write_plan(peft.store, peft.name, peft.plan)
        return
    scenarios = {first for fixture, first, _ in peft.plan.values() if fixture == "peft_cell"}
    _require_usable(session.config, scenarios)
    if peft.plan and not hands_out_work(session.config):
        _mend_stores(session.config)


def _mend_stores(config: pytest.Config) -> None:
    """Look at the records there are before one is relied on, and say what was wrong."""
    from peftcore.results.repairing import mend_stores

    peft = config.stash[SESSION]
    try:
        repairs = [str(repair) for repair in mend_stores(peft.store)]
    except PeftcoreError as error:
        pytest.exit(str(error), returncode=pytest.ExitCode.TESTS_FAILED)
    peft.summary += repairs
    for repair in repairs:
        Terminal(config).write(f"peftcore: {repair}\n")


def _planned(item: pytest.Item) -> list[str] | None:
    """Return what a test runs, unless that is nothing or needs a GPU that is not there."""
    callspec = getattr(item, "callspec", None)
    params: Mapping[str, Any] = {} if callspec is None else callspec.params
    cell = params.get("peft_cell")
    beside = next((name for name in _BESIDE if params.get(name) is not None), None)
    own = "peft_trial" in getattr(item, "fixturenames", ())
    if not isinstance(cell, Cell) and beside is None and not own:
        return None
    if item.get_closest_marker("gpu") is not None:
        from peftcore.comparison import has_gpu

        if not has_gpu():
            return None
    if isinstance(cell, Cell):
        return ["peft_cell", cell.scenario, cell.method]
    if beside is not None:
        return [beside, *map(str, params[beside])]
    return ["peft_trial", "", ""]


def _require_usable(config: pytest.Config, scenarios: Collection[str]) -> None:
    if scenarios:
        with as_usage_error():
            config.stash[SESSION].comparison.require_usable(sorted(scenarios))


@pytest.fixture
def peft_trial(request: pytest.FixtureRequest) -> PeftTrial:
    """Call it with a method, a model and data of one's own: it trains, and returns how it went."""
    return PeftTrial(request, request.config.stash[SESSION].comparison)


def pytest_sessionstart(session: pytest.Session) -> None:
    """Where there are workers, look at backbone and data before they start, and watch them."""
    from peftcore.running.progress import ProgressDisplay, ProgressWatch

    if hands_out_work(session.config):
        peft = session.config.stash[SESSION]
        if session.config.getoption("--peft-scenario") is not None:
            # This process collects no tests: what is asked for is what workers are about to need.
            _require_usable(session.config, peft.comparison.scenarios)
        if peft.store.is_dir():
            # Before the workers have it open.
            _mend_stores(session.config)
        folder = peft.store / "progress"
        peft.watch = ProgressWatch(folder, ProgressDisplay(Terminal(session.config)))
        peft.watch.start()


@pytest.hookimpl(trylast=True)
def pytest_sessionfinish(session: pytest.Session) -> None:
    """Write the report of each scenario that ran."""
    peft = session.config.stash[SESSION]
    if peft.watch is not None:
        peft.watch.stop()
    if worker_of(session.config):
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
    for ids, what, writer in (
        (peft.ran.paired, "the engines", "write_engine_report"),
        (peft.ran.served, "serving", "write_serving_report"),
        (peft.ran.sized, "the sizes", "write_sizes_report"),
    ):
        if not ids:
            continue
        try:
            peft.summary += getattr(peft.comparison, writer)(ids)
        except PeftcoreError as error:
            peft.summary.append(f"no report of {what}: {error}")
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

    gate, terminal = peft.gate, Terminal(session.config)
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
        if isinstance(error, RecordNotStored):
            # It is kept at least where whoever started the session sees it.
            terminal.write(f"\n{error.line}\n")
        peft.summary.append(f"no verdict of the gate: {error}")
        failed = True
    if failed:
        session.exitstatus = pytest.ExitCode.TESTS_FAILED


def _account(session: pytest.Session, peft: PeftSession) -> None:
    """Fail the session for each planned trial that left no record."""
    if peft.ran.refused:
        session.exitstatus = pytest.ExitCode.USAGE_ERROR
        return
    handed_out = hands_out_work(session.config)
    if handed_out:
        from peftcore.running.claims import read_plan

        peft.plan = read_plan(peft.store, peft.name)
    if not peft.plan:
        return
    from peftcore.results.store import all_stores
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
        for folder in all_stores(peft.store) if handed_out else ():
            end_session(folder, peft.name)
    if missing:
        peft.summary.append(f"planned, but without a record: {', '.join(missing)}")
        session.exitstatus = session.exitstatus or pytest.ExitCode.TESTS_FAILED


def pytest_terminal_summary(terminalreporter: Any, config: pytest.Config) -> None:
    """Say where the report is, and what was reused."""
    lines = config.stash[SESSION].summary
    if lines:
        terminalreporter.section("peftcore")
        for line in lines:
            terminalreporter.write_line(line)

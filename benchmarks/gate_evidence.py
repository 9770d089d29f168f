"""What the gate catches, and how often it cries wolf: measured on real trials.

::

    python benchmarks/gate_evidence.py run --work evidence
    python benchmarks/gate_evidence.py report --work evidence --out reports/gate

``run`` makes a copy of the sources for each patch in ``defects/``, and runs the embedded scenario
with the code as it is and with each defect, on the same seeds; and, with the code as it is, on many
seeds more. It takes hours and goes on where it stopped. ``report`` publishes the trials, and a page
beside them that says what the gate makes of them. Without ``--work`` it makes the page again from
what is published.

Time is not judged: trials may run beside one another here, as nothing else depends on it.
"""

from __future__ import annotations

import argparse
import shutil
import subprocess
import sys
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from textwrap import shorten

from base_and_head import Version
from numpy.random import default_rng
from scipy.stats import binomtest

from peftcore.gate.baseline import write_baseline
from peftcore.gate.evidence import Evidence
from peftcore.gate.judging import judge
from peftcore.gate.metrics import GROUPS, parse_metrics
from peftcore.gate.sides import read_side
from peftcore.gate.verdicts import FAILING, WORST_FIRST, Cell, Verdict, Verdicts
from peftcore.methods import find_method
from peftcore.report.markdown import escape, table
from peftcore.results.records import write_records
from peftcore.results.store import Store

REPOSITORY = Path(__file__).resolve().parent.parent
PATCHES = REPOSITORY / "benchmarks" / "defects"
UNCHANGED = "unchanged"
SCENARIO = "embedded"

DEFECT_SEEDS = tuple(range(42, 50))
POOL_SEEDS = tuple(range(1000, 1120))
"""Of the code as it is, for runs that are compared with one another; none is a defect's seed."""

COUNTS = (1, 3, 5, 8)
"""Numbers of seeds at which a defect is looked for."""

SHUFFLES = 50
"""How often the seeds of unchanged code are dealt at random."""

RUN_SEEDS = 3
"""Seeds of each side of a comparison of unchanged code."""

Run = tuple[Sequence[int], Sequence[int]]
"""The seeds of the two sides of a comparison of unchanged code."""

_MOST_LETTERS = 70

METRICS = ",".join(group for group in GROUPS if group != "time")
WITHOUT_COMMON_SEEDS = ",".join(group for group in GROUPS if group not in ("time", "counts"))


@dataclass(frozen=True)
class Defect:
    """A change of the sources that makes them worse.

    Attributes:
        name: of its patch.
        words: what it does.
        methods: slugs of those that it is tried on.
    """

    name: str
    words: str
    methods: tuple[str, ...]


def defects() -> list[Defect]:
    """Return the defects that there are patches of; a first line says what each does."""
    found = []
    for path in sorted(PATCHES.glob("*.patch")):
        words, methods, *_ = path.read_text(encoding="utf-8").splitlines()
        slugs = tuple(methods.removeprefix("Methods: ").split(", "))
        found.append(Defect(path.stem, words, slugs))
    return found


# Running


def trials(pool: Sequence[int]) -> Iterator[tuple[str, str, int]]:
    """Yield code, method and seed of each trial, those that tell most at the least cost first."""
    tried = list(dict.fromkeys(method for defect in defects() for method in defect.methods))
    for method in tried:
        for name in [UNCHANGED, *(d.name for d in defects() if method in d.methods)]:
            yield from ((name, method, seed) for seed in DEFECT_SEEDS)
    for seed in pool:
        yield from ((UNCHANGED, method, seed) for method in METHODS_OF_A_RUN)


METHODS_OF_A_RUN = ("full", "lora", "qlora", "ia3", "bow", "head")


def sources(name: str, work: Path) -> Path:
    """Return the folder of the sources with a defect, made if need be."""
    folder = work / "sources" / name
    if not folder.is_dir():
        scratch = folder.with_suffix(".new")
        shutil.rmtree(scratch, ignore_errors=True)
        shutil.copytree(
            REPOSITORY / "peftcore",
            scratch / "peftcore",
            ignore=shutil.ignore_patterns("__pycache__"),
        )
        if name != UNCHANGED:
            patch = ["patch", "--strip=1", "--fuzz=0", f"--input={PATCHES / name}.patch"]
            subprocess.run(patch, cwd=scratch, check=True, stdout=sys.stderr)
        scratch.rename(folder)
    return folder


def run(work: Path, pool: Sequence[int]) -> None:
    """Run what is missing."""
    for name, method, seed in trials(pool):
        folder = sources(name, work.resolve())
        # A trial that fails is a result like any other.
        Version(name, folder, sys.executable).ask(
            *("run", "--scenario", SCENARIO, "--method", method, "--seed", str(seed)),
            *("--store", str(work.resolve() / "stores" / name)),
            cwd=folder,
        )


def codes() -> list[str]:
    """Return the names of the code as it is and of each defect."""
    return [UNCHANGED, *(defect.name for defect in defects())]


def file_of(name: str) -> str:
    """Return the file of the trials with this code.

    Those of a defect may have failed, and no baseline is made of such.
    """
    return f"{name}.json" if name == UNCHANGED else f"{name}.jsonl"


def collect(work: Path, out: Path) -> None:
    """Publish the trials."""
    for name in codes():
        with Store(work / "stores" / name, create=False) as store:
            records = sorted(store.records(SCENARIO), key=lambda r: (r.method, r.seed))
        write = write_baseline if name == UNCHANGED else write_records
        write(out / file_of(name), records)


# Judging


def judged(before: Sequence[Evidence], after: Sequence[Evidence], metrics: str) -> Verdicts:
    """Return the verdicts on one side against the other."""
    return judge(before, after, metrics=parse_metrics(metrics, where="metrics"))


def of_seeds(
    side: Sequence[Evidence], seeds: Sequence[int], methods: Sequence[str] = ()
) -> list[Evidence]:
    """Return the trials with these seeds, of these methods or of all."""
    return [e for e in side if e.seed in seeds and (not methods or e.method in methods)]


def caught(sides: Mapping[str, Sequence[Evidence]]) -> str:
    """Return what the gate says of each defect, by the number of seeds, and what it judged."""
    rows, all_cells, fewer = [], [], False
    for defect in defects():
        for method in defect.methods:
            row = [escape(defect.words), find_method(method).name]
            for count in COUNTS:
                after = of_seeds(sides[defect.name], DEFECT_SEEDS[:count], [method])
                seeds = [one.seed for one in after]
                verdicts = judged(of_seeds(sides[UNCHANGED], seeds, [method]), after, METRICS)
                all_cells += verdicts.cells
                some = f" ({_seeds(len(seeds))})" if len(seeds) < count else ""
                row.append(f"{_told(verdicts)}{some}")
                fewer |= bool(some)
            rows.append(row)
    headings = ["Defect", "Method", *map(_seeds, COUNTS)]
    same = "Both sides on the same seeds, from 42 on"
    same += "; where fewer of them were run than the column has, the cell says so" if fewer else ""
    return (
        f"{same}.{_not_judged(all_cells, METRICS)} What the gate says, and from which numbers:\n\n"
        f"{table(headings, rows, text_columns=len(headings))}"
    )


def _seeds(count: int) -> str:
    return f"{count} seed{'s' * (count > 1)}"


def _not_judged(cells: Sequence[Cell], metrics: str) -> str:
    """Return a sentence, after a space, on groups of metrics that there were no figures of."""
    seen = {cell.metric.key for cell in cells if cell.verdict is not None}
    without = [
        group for group in metrics.split(",") if seen.isdisjoint(one.key for one in GROUPS[group])
    ]
    if not without:
        return ""
    names = " and ".join(without)
    return f" Nor is {names} judged: these trials' records hold no figures that it is judged by."


def _told(verdicts: Verdicts) -> str:
    """Return the verdict, and which numbers led to it."""
    by_verdict = {
        verdict: [cell for cell in verdicts.cells if cell.verdict is verdict]
        for verdict in WORST_FIRST
    }
    if invalid := by_verdict[Verdict.INVALID]:
        reason = shorten(invalid[0].words, _MOST_LETTERS, placeholder=" …")
        return f"**INVALID**: {escape(reason)}"
    told = [
        f"**{verdict}**: {_labels(cells)}"
        for verdict, cells in by_verdict.items()
        if verdict in FAILING and cells
    ] or [str(verdicts.verdict)]
    if verdicts.better:
        told.append(f"better: {_labels(verdicts.better)}")
    return "; ".join(told)


def _labels(cells: Sequence[Cell]) -> str:
    return ", ".join(dict.fromkeys(cell.metric.label.lower() for cell in cells))


@dataclass(frozen=True)
class Alarms:
    """What the gate said of runs of unchanged code.

    Attributes:
        runs: how many there were.
        verdicts: how many runs had each verdict.
        alarmed: how many had any REGRESSION.
        labels: of the metrics that were said to be worse, and how often.
        not_judged: a sentence on what there were no figures of, if there is such.
    """

    runs: int
    verdicts: Mapping[Verdict, int]
    alarmed: int
    labels: Mapping[str, int]
    not_judged: str


def whole_seeds(side: Sequence[Evidence]) -> list[int]:
    """Return the seeds of the pool that all methods have."""
    return [seed for seed in POOL_SEEDS if len(of_seeds(side, [seed])) == len(METHODS_OF_A_RUN)]


def groups(seeds: Sequence[int]) -> list[Sequence[int]]:
    """Return the seeds in groups of as many as one side of a run has; what is over is left out."""
    return [seeds[n : n + RUN_SEEDS] for n in range(0, len(seeds) - RUN_SEEDS + 1, RUN_SEEDS)]


def independent(seeds: Sequence[int]) -> list[Run]:
    """Return runs of two groups each, none of which is in another run."""
    found = groups(seeds)
    return list(zip(found[::2], found[1::2], strict=False))


def in_a_ring(seeds: Sequence[int]) -> list[Run]:
    """Return a run of each group against the next, and of the last against the first."""
    found = groups(seeds)
    return list(zip(found, [*found[1:], found[0]], strict=True))


def alarms(side: Sequence[Evidence], runs: Sequence[Run]) -> Alarms:
    """Return what the gate says of these runs."""
    verdicts: Counter[Verdict] = Counter()
    labels: Counter[str] = Counter()
    alarmed = 0
    cells: list[Cell] = []
    for one in runs:
        before, after = (of_seeds(side, part) for part in one)
        found = judged(before, after, WITHOUT_COMMON_SEEDS)
        cells += found.cells
        worse = [cell for cell in found.cells if cell.verdict is Verdict.REGRESSION]
        verdicts[found.verdict] += 1
        labels.update(f"{cell.method}: {cell.metric.label.lower()}" for cell in worse)
        alarmed += bool(worse)
    return Alarms(len(runs), verdicts, alarmed, labels, _not_judged(cells, WITHOUT_COMMON_SEEDS))


def false_alarms(side: Sequence[Evidence]) -> str:
    """Return what the gate makes of unchanged code, in words."""
    seeds = whole_seeds(side)
    apart, ring = alarms(side, independent(seeds)), alarms(side, in_a_ring(seeds))
    dealt = [default_rng(n).permutation(seeds).tolist() for n in range(SHUFFLES)]
    drawn = [alarms(side, independent(order)) for order in dealt]
    runs, alarmed = (sum(getattr(one, name) for one in drawn) for name in ("runs", "alarmed"))
    verdicts = sum((Counter(one.verdicts) for one in drawn), Counter())
    labels = sum((Counter(one.labels) for one in drawn), Counter())
    interval = binomtest(apart.alarmed, apart.runs).proportion_ci(method="exact")
    which = "; ".join(f"{escape(label)} {count}" for label, count in labels.most_common())
    disjoint = (
        f"{len(seeds)} seeds of all {len(METHODS_OF_A_RUN)} rows make {apart.runs} runs of "
        f"{RUN_SEEDS} against {RUN_SEEDS} seeds, no seed in two runs. **{apart.alarmed} of "
        f"{apart.runs}** had a REGRESSION (95% interval {interval.low:.1%} to {interval.high:.1%}; "
        "at most 1% is asked for). Each group of seeds against the next, in a ring, makes "
        f"{ring.runs} runs, whose two sides are disjoint and which share a side with their "
        f"neighbours: **{ring.alarmed} of {ring.runs}** had a REGRESSION; their verdicts: "
        f"{counted(ring.verdicts)}.{ring.not_judged}"
    )
    shuffled = (
        f"Dealt {SHUFFLES} times more at random, the same seeds make {runs} runs, which are not "
        f"independent of one another: {alarmed} had a REGRESSION, {alarmed / runs:.1%}"
        f"{f' ({which})' if which else ''}. Their verdicts: {counted(verdicts)}. A FLOOR is no "
        "test, and fails a run all the same: a seed ended within ten points of chance, which in "
        "this scenario some do with the code as it is."
    )
    return f"{disjoint}\n\n{shuffled}"


def counted(verdicts: Mapping[Verdict, int]) -> str:
    """Return how often there was each verdict, the most frequent first."""
    return ", ".join(f"{verdict} {count}" for verdict, count in Counter(verdicts).most_common())


# The page


def page(folder: Path) -> str:
    """Return the page on what is published in a folder, as Markdown."""
    sides = {name: read_side(folder / file_of(name), scenario=SCENARIO) for name in codes()}
    files = ", ".join(f"[{file_of(name)}]({file_of(name)})" for name in codes())
    blocks = [
        "# What the gate catches, and how often it cries wolf",
        f"Real trials of the scenario {SCENARIO}: with the code as it is, and with one defect at "
        "a time, each a patch in `benchmarks/defects/`. The gate is told nothing of that. Time is "
        "not judged here, as trials ran beside one another.",
        "## Defects",
        caught(sides),
        "INVALID where a trial failed its own checks: the gate never takes a trial that did not "
        "end well for a pass.",
        "## Nothing changed",
        false_alarms(sides[UNCHANGED]),
        f"Every verdict follows from {files}, and comes again from "
        "`python benchmarks/gate_evidence.py report`.",
    ]
    return "\n\n".join(blocks) + "\n"


def parse(arguments: Sequence[str] | None) -> argparse.Namespace:
    """Return what the command line asks for."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("task", choices=["run", "report"])
    parser.add_argument("--work", type=Path, help="folder of sources and stores")
    parser.add_argument(
        "--out", type=Path, default=REPOSITORY / "reports" / "gate", help="folder of the page"
    )
    parser.add_argument(
        "--pool", type=int, default=len(POOL_SEEDS), help="seeds of unchanged code to run"
    )
    asked = parser.parse_args(arguments)
    if asked.task == "run" and asked.work is None:
        parser.error("run needs --work: the folder where sources and stores are to be")
    return asked


def main(arguments: Sequence[str] | None = None) -> None:
    """Do what the command line asks for."""
    asked = parse(arguments)
    if asked.task == "run":
        run(asked.work, POOL_SEEDS[: asked.pool])
        return
    if asked.work is not None:
        collect(asked.work, asked.out)
    (asked.out / "report.md").write_text(page(asked.out), encoding="utf-8", newline="\n")


if __name__ == "__main__":
    main()

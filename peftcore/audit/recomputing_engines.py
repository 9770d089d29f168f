"""The tables of a comparison of the engines, in a second way."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np
from scipy import stats

from peftcore.accelerations import ALL
from peftcore.audit.findings import Ledger
from peftcore.audit.tables import Cells, Table, columns_of, read_tables, slug_of

Content = Mapping[str, Any]
Runs = dict[int, Mapping[str, Any]]
"""Measurements by seed."""

COSTS = {
    "Wall time": "train_seconds",
    "Step": "step_seconds",
    "CPU time": "train_cpu_seconds",
    "Peak memory": "peak_bytes",
    "Start to trained": "seconds_to_trained",
}

UNITS = {
    "Wall time (s)": ("train_seconds", 1.0),
    "Step (ms)": ("step_seconds", 1e3),
    "CPU time (s)": ("train_cpu_seconds", 1.0),
    "Peak memory (GB)": ("peak_bytes", 1e-9),
    "Start to trained (s)": ("seconds_to_trained", 1.0),
}

SWEEPS = {
    "Longest text": "growth-length",
    "Batch size": "growth-batch",
    "Trained share": "growth-share",
}

EQUIVALENCE_POINTS = 1.0
"""The margin of the test in the table of learning."""


def recompute_engines(text: str, contents: Sequence[Content], ledger: Ledger) -> None:
    """Check the tables of pairs, of ablation, of growth, of equality and of learning."""
    ended = [one for one in contents if one["outcome"] == "ok"]
    ablated = 0
    for table in read_tables(text):
        head = table.columns[0]
        if table.section == "Pairs":
            _pairs(table, ended, ledger)
        elif head == "Left out":
            # The first table is of time, the second of memory.
            _ablation(table, ended, ledger, ("step_seconds", "peak_bytes")[min(ablated, 1)])
            ablated += 1
        elif head == "What grows":
            _growth(table, ended, ledger)
        elif head in ("Losses", "Weights"):
            _equality(table, ended, ledger)
        elif table.section == "The same accuracy, with dropout":
            _learning(table, ended, ledger)


def _part(contents: Sequence[Content], *parts: str) -> list[Content]:
    return [one for one in contents if one["trial"].get("part", "pairs") in parts]


def _slug(name: str, contents: Sequence[Content]) -> str | None:
    return slug_of(name, {str(one["trial"]["method"]) for one in contents})


def _runs(contents: Sequence[Content], keep: Callable[[Mapping[str, Any]], bool]) -> Runs:
    return {int(one["trial"]["seed"]): one["measurement"] for one in contents if keep(one["trial"])}


def _ratios(above: Runs, below: Runs, name: str) -> list[float]:
    """Return the median of the pairs' ratios, the smallest and the largest; nothing of none."""
    found = [
        above[seed][name] / below[seed][name]
        for seed in above.keys() & below.keys()
        if above[seed].get(name) is not None and below[seed].get(name)
    ]
    return [float(np.median(found)), min(found), max(found)] if found else []


def _engines(contents: Sequence[Content], slug: str | None) -> tuple[Runs, Runs]:
    """Return Trainer's runs of a method, and those of the engine with all that any run has."""
    every = {name for one in contents for name in one["trial"]["recipe"].get("accelerations", ())}
    every &= set(ALL)

    def whole(trial: Mapping[str, Any]) -> bool:
        return every <= set(trial["recipe"].get("accelerations", ()))

    mine = [one for one in contents if one["trial"]["method"] == slug]
    return (
        _runs(mine, lambda trial: trial["engine"] == "trainer"),
        _runs(mine, lambda trial: trial["engine"] == "peftcore" and whole(trial)),
    )


def _pairs(table: Table, contents: Sequence[Content], ledger: Ledger) -> None:
    cells, columns = Cells(table, ledger), columns_of(table)
    mine = _part(contents, "pairs", "ablation")
    for line, row in table.rows:
        trainer, engine = _engines(mine, _slug(row[0], mine))
        both = trainer.keys() & engine.keys()
        for head, column in columns.items():
            if head == "Pairs":
                cells.numbers(line, row, column, [len(both)])
            elif head in COSTS:
                cells.numbers(line, row, column, _ratios(trainer, engine, COSTS[head]))
            elif head in UNITS:
                name, factor = UNITS[head]
                runs = trainer if row[1] == "Trainer" else engine
                values = [v for seed in both if (v := runs[seed].get(name)) is not None]
                follows = [factor * float(np.median(values))] if values else []
                cells.numbers(line, row, column, follows)


def _ablation(table: Table, contents: Sequence[Content], ledger: Ledger, name: str) -> None:
    cells = Cells(table, ledger)
    mine = _part(contents, "pairs", "ablation")
    every = {one for c in mine for one in c["trial"]["recipe"].get("accelerations", ())}
    every &= set(ALL)
    for line, row in table.rows:
        for column, head in enumerate(table.columns[1:], start=1):
            slug = _slug(head, mine)
            engine = _engines(mine, slug)[1]
            left = every - {row[0]}
            without = _runs(
                [one for one in mine if one["trial"]["method"] == slug],
                lambda trial, left=left: (  # type: ignore[misc]
                    trial["engine"] == "peftcore"
                    and every & set(trial["recipe"].get("accelerations", ())) == left
                ),
            )
            off = any(m.get("accelerations", {}).get(row[0], "on") != "on" for m in engine.values())
            cells.numbers(line, row, column, [] if off else _ratios(without, engine, name))


def _growth(table: Table, contents: Sequence[Content], ledger: Ledger) -> None:
    cells = Cells(table, ledger)
    for line, row in table.rows:
        part = _part(contents, SWEEPS[row[0]])
        slug = _slug(row[1], part)
        mine = [
            one
            for one in part
            if one["trial"]["method"] == slug
            and str(one["trial"]["task"]["max_length"]) == row[2]
            and str(one["trial"]["recipe"]["batch_size"]) == row[3]
        ]
        trainer = _runs(mine, lambda trial: trial["engine"] == "trainer")
        engine = _runs(mine, lambda trial: trial["engine"] == "peftcore")
        both = trainer.keys() & engine.keys()
        for first, name, factor in ((6, "step_seconds", 1e3), (9, "peak_bytes", 1e-9)):
            for column, runs in ((first, trainer), (first + 1, engine)):
                values = [v for seed in both if (v := runs[seed].get(name)) is not None]
                follows = [factor * float(np.median(values))] if values else []
                cells.numbers(line, row, column, follows)
            cells.numbers(line, row, first + 2, _ratios(trainer, engine, name))


def _equality(table: Table, contents: Sequence[Content], ledger: Ledger) -> None:
    cells = Cells(table, ledger)
    mine = _part(contents, "equality")
    for line, row in table.rows:
        name, _, seed = row[0].partition(", seed ")
        runs: dict[str, Content] = {}
        for one in mine:
            trial = one["trial"]
            if trial["method"] != _slug(name, mine) or (seed and str(trial["seed"]) != seed):
                continue
            exact = trial["recipe"]["precision"] == "fp32"
            runs["exact" if exact else trial["engine"]] = one
        if len(runs) < 3:
            ledger.that(False, cells.place(line, row[0], 0), "not all three runs are there")
            continue
        exact, trainer, engine = (runs[kind] for kind in ("exact", "trainer", "peftcore"))
        follows = _losses if table.columns[0] == "Losses" else _weights
        for column, numbers in enumerate(follows(exact, trainer, engine), start=1):
            cells.numbers(line, row, column, numbers)


def _losses(exact: Content, trainer: Content, engine: Content) -> list[list[float]]:
    curves = [np.array(one["measurement"]["losses"])[:, 1] for one in (exact, trainer, engine)]
    pairs = ((2, 1), (1, 0), (2, 0))
    apart = [np.abs(curves[a] - curves[b]) for a, b in pairs]
    found = [[float(number)] for one in apart for number in (one.max(), one.mean())]
    return [*found, [float(apart[2].mean() / apart[1].mean())] if apart[1].any() else []]


def _weights(exact: Content, trainer: Content, engine: Content) -> list[list[float]]:
    apart = [one["measurement"]["weights_apart"] for one in (trainer, engine)]
    of_exact, of_trainer = exact["trial"]["id"], trainer["trial"]["id"]
    distances = [
        exact["measurement"].get("weights_moved"),
        apart[0].get(of_exact),
        apart[1].get(of_exact),
        apart[1].get(of_trainer),
    ]
    ratio = [distances[2] / distances[1]] if distances[1] and distances[2] is not None else []
    return [*([] if value is None else [value] for value in distances), ratio]


def _learning(table: Table, contents: Sequence[Content], ledger: Ledger) -> None:
    cells, columns = Cells(table, ledger), columns_of(table)
    mine = [one for one in _part(contents, "learning") if one["predictions"] and one["labels"]]
    together: list[float] = []
    for line, row in table.rows:
        slug = _slug(row[0], mine)
        accuracy: dict[str, dict[int, float]] = {"trainer": {}, "peftcore": {}}
        for one in mine:
            if one["trial"]["method"] == slug:
                right = np.array(one["predictions"]) == np.array(one["labels"])
                by_seed = accuracy[one["trial"]["engine"]]
                by_seed[one["trial"]["seed"]] = 100 * float(right.mean())
        seeds = sorted(accuracy["trainer"].keys() & accuracy["peftcore"].keys())
        points = [accuracy["peftcore"][seed] - accuracy["trainer"][seed] for seed in seeds]
        if slug is None:
            points = together
        together = [*together, *points]
        follows: dict[str, list[float]] = {"Pairs": [len(points)]}
        if slug is not None:
            for head, engine in (("Trainer (%)", "trainer"), ("peftcore (%)", "peftcore")):
                follows[head] = [float(np.mean([accuracy[engine][seed] for seed in seeds]))]
        mean = float(np.mean(points)) if points else 0.0
        p = None
        follows["Difference (points)"] = [mean]
        if len(points) > 1 and np.ptp(points) > 1e-9:
            interval = stats.ttest_1samp(points, 0.0).confidence_interval(0.95)
            follows["Difference (points)"] += [float(interval.low), float(interval.high)]
            tests = (
                stats.ttest_1samp(points, -EQUIVALENCE_POINTS, alternative="greater").pvalue,
                stats.ttest_1samp(points, EQUIVALENCE_POINTS, alternative="less").pvalue,
            )
            p = float(max(tests))
        for head, column in columns.items():
            if head == "TOST p":
                cells.p(line, row, column, p)
            elif head in follows:
                cells.numbers(line, row, column, follows[head])

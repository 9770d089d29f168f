"""The tables of a comparison of methods, in a second way."""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping, Sequence
from itertools import combinations
from typing import Any

import numpy as np
from numpy.typing import NDArray

from peftcore.audit import second
from peftcore.audit.answers import Content, Data, gather
from peftcore.audit.findings import Ledger, shown
from peftcore.audit.recomputing_protocols import protocol_of, recompute_protocols
from peftcore.audit.tables import Cells, Table, columns_of, numbers_in, plain_name, read_tables
from peftcore.methods import METHODS, place_of
from peftcore.report.render import REPORT_NAME

LOSS = "Training loss (nats)"
"""The column whose differences are neither percents nor points of accuracy."""

MARGIN_POINTS = 0.5
"""Of equivalence, as docs/statistics.md states it."""

_REFERENCES = {method.slug for method in METHODS if method.reference}


def _raw(name: str, factor: float = 1.0) -> Callable[[Mapping[str, Any]], float | None]:
    def read(measured: Mapping[str, Any]) -> float | None:
        value = measured.get(name)
        return None if value is None else factor * value

    return read


def _share(measured: Mapping[str, Any]) -> float | None:
    trained, total = measured.get("trainable_parameters"), measured.get("total_parameters")
    return 100 * trained / total if trained is not None and total else None


def _speed(measured: Mapping[str, Any]) -> float | None:
    tokens, seconds = measured.get("train_tokens"), measured.get("train_seconds")
    return tokens / seconds if tokens is not None and seconds else None


def _peak(on_gpu: bool) -> Callable[[Mapping[str, Any]], float | None]:
    def read(measured: Mapping[str, Any]) -> float | None:
        if (measured.get("peak_reserved_bytes") is not None) is not on_gpu:
            return None
        return _raw("peak_bytes", 1e-9)(measured)

    return read


def _anonymous(measured: Mapping[str, Any]) -> float | None:
    peak, files = _peak(False)(measured), measured.get("peak_file_bytes")
    return None if peak is None or files is None else peak - 1e-9 * files


def _alone(
    read: Callable[[Mapping[str, Any]], float | None],
) -> Callable[[Mapping[str, Any]], float | None]:
    """Return a reader of what other trials on the machine would have changed beyond use."""
    return lambda measured: None if measured.get("shared") else read(measured)


def _energy(phase: str, *names: str) -> Callable[[Mapping[str, Any]], float | None]:
    """Return what devices took in a phase, in joules, of those that tell."""

    def read(measured: Mapping[str, Any]) -> float | None:
        cost = (measured.get("phases") or {}).get(phase) or {}
        known = [cost[name] for name in names if cost.get(name) is not None]
        return float(np.sum(known)) if known else None

    return _alone(read)


def _scaled(
    read: Callable[[Mapping[str, Any]], float | None], factor: float
) -> Callable[[Mapping[str, Any]], float | None]:
    return lambda measured: None if (value := read(measured)) is None else factor * value


def _of_1000(*names: str) -> Callable[[Mapping[str, Any]], float | None]:
    def read(measured: Mapping[str, Any]) -> float | None:
        joules, examples = _energy("evaluate", *names)(measured), measured.get("evaluated_examples")
        if joules is None or not examples:
            return None
        predictions = examples * (len(measured.get("epoch_accuracies") or []) or 1)
        return float(joules / (predictions / 1000))

    return read


_DEVICES = ("processor_joules", "gpu_joules")


def _loss(measured: Mapping[str, Any]) -> float | None:
    """Return the mean loss of the last epoch, all of which have the same number of steps."""
    losses, evaluated = measured.get("losses") or [], measured.get("epoch_accuracies") or []
    epochs = round(evaluated[-1][0]) if evaluated else 0
    if not epochs or len(losses) < epochs:
        return None
    return float(np.mean([loss for _, loss in losses][-(len(losses) // epochs) :]))


COLUMNS: Mapping[str, Callable[[Mapping[str, Any]], float | None]] = {
    "Trainable parameters": _raw("trainable_parameters"),
    "Trainable share (%)": _share,
    "Train time (s)": _raw("train_seconds"),
    "Step time (ms)": _raw("step_seconds", 1e3),
    "Peak GPU memory (GB)": _peak(True),
    "Peak memory (GB)": _peak(False),
    "File to keep (MB)": _raw("adapter_file_bytes", 1e-6),
    "Parameters": _raw("total_parameters"),
    "Head parameters": _raw("head_parameters"),
    "Adapter parameters": _raw("adapter_parameters"),
    LOSS: _loss,
    "Train CPU time (s)": _raw("train_cpu_seconds"),
    "Training speed (tokens/s)": _speed,
    "Model FLOPs (TFLOP)": _raw("model_flops", 1e-12),
    "Model FLOPs a second (TFLOP/s)": _raw("model_flops_per_second", 1e-12),
    "Matrix-product rate (TFLOP/s)": _alone(_raw("matmul_flops_per_second", 1e-12)),
    "Utilisation (%)": _alone(_raw("utilisation", 100)),
    "Evaluation time (s)": _raw("eval_seconds"),
    "GPU memory reserved (GB)": _raw("peak_reserved_bytes", 1e-9),
    "GPU memory by the driver (GB)": _raw("peak_process_bytes", 1e-9),
    "Peak anonymous memory (GB)": _anonymous,
    "Operations a step": _raw("operations"),
    "Tensors held (MB)": _raw("tensor_bytes", 1e-6),
    "Train energy, processor (kJ)": _scaled(_energy("train", "processor_joules"), 1e-3),
    "Train energy, GPU (kJ)": _scaled(_energy("train", "gpu_joules"), 1e-3),
    "Energy of 1,000 predictions, processor (J)": _of_1000("processor_joules"),
    "Energy of 1,000 predictions, GPU (J)": _of_1000("gpu_joules"),
}
"""What each column of the tables of metrics is, read from a record's measurement."""

SUMS: Mapping[str, Callable[..., Callable[[Mapping[str, Any]], float | None]]] = {
    "CO2 of training (g)": lambda *devices: _energy("train", *devices),
    "CO2 of 1,000 predictions (g)": _of_1000,
}
"""The energy in joules behind each column of CO2, of the devices that are named."""


def recompute_comparison(text: str, contents: Sequence[Content], ledger: Ledger) -> None:
    """Check the tables of metrics, of accuracies, of differences, of flips and of agreement."""
    names = list(dict.fromkeys(protocol_of(one) for one in contents))
    sides = {name: gather([c for c in contents if protocol_of(c) == name]) for name in names}
    # A report is about the protocol of its first record.
    data = sides[names[0]]
    recompute_protocols(text, sides, ledger)
    for table in read_tables(text):
        if table.section in ("Key metrics", "Use of the machine", "More measurements"):
            _metrics(table, data, ledger)
        elif not data.kept:
            continue
        elif table.section == "Beyond accuracy":
            _classes(table, data, ledger)
        elif table.columns[1:3] == ("Seeds", "Accuracy (%)"):
            _accuracies(table, data, ledger)
        elif table.columns[1:2] == ("Seeds in common",) and "Less " in "".join(table.columns):
            _less_best(table, data, ledger)
        elif table.section == "Differences from Full":
            _less_full(table, data, ledger)
        elif table.section == "Differences from the reference rows":
            _above_references(table, data, ledger)
        elif table.section == "Which examples flipped":
            _flips(table, data, ledger)
        elif table.section == "Agreement between methods":
            _agreement(table, data, ledger)
    if data.kept and not data.several:
        _discordant(text, data, ledger)


def _rows(table: Table, data: Data) -> list[tuple[int, tuple[str, ...], str]]:
    """Return the rows of methods that finished a trial, with their lines."""
    found = []
    for line, row in table.rows:
        slug = data.slug(plain_name(row[0]))
        if slug is not None:
            found.append((line, row, slug))
    return found


def _metrics(table: Table, data: Data, ledger: Ledger) -> None:
    cells, columns = Cells(table, ledger), columns_of(table)
    for line, row, slug in _rows(table, data):
        measured = [one["measurement"] for one in data.finished[slug].values()]
        for head, column in columns.items():
            if head in COLUMNS:
                values = [v for one in measured if (v := COLUMNS[head](one)) is not None]
                cells.numbers(line, row, column, _mean_and_spread(values))
            elif head in SUMS:
                cells.numbers(line, row, column, _mean_and_spread(_grams(head, measured, data)))
        if "Accuracy (%)" in columns and data.kept:
            means = data.means(slug)
            follows = [float(np.mean(means))]
            if len(means) > 1 or not data.several:
                follows += interval_of(data, slug)
            cells.numbers(line, row, columns["Accuracy (%)"], follows)


def _grams(head: str, measured: Sequence[Mapping[str, Any]], data: Data) -> list[float]:
    """Return the CO2 of those trials that counted every device that any candidate's trial did."""
    candidates = [
        one["measurement"]
        for slug, trials in data.finished.items()
        if slug not in _REFERENCES
        for one in trials.values()
    ]
    joules = SUMS[head]
    devices = {
        name for name in _DEVICES if any(joules(name)(one) is not None for one in candidates)
    }
    whole = [one for one in measured if all(joules(name)(one) is not None for name in devices)]
    # 3.6 MJ are a kilowatt-hour.
    return [473 * total / 3.6e6 for one in whole if (total := joules(*devices)(one)) is not None]


def _mean_and_spread(values: Sequence[float]) -> list[float]:
    if not values:
        return []
    spread = float(np.std(values, ddof=1)) if len(values) > 1 else 0.0
    return [float(np.mean(values)), *([spread] if len(set(values)) > 1 else [])]


def interval_of(data: Data, slug: str) -> tuple[float, float]:
    """Return the 95% interval of an accuracy on texts like these; of one seed, of its model."""
    right = np.array(list(data.right[slug].values()))
    if len(right) == 1:
        return second.wilson(int(right.sum()), right.size)
    return _within(second.on_texts_like_these(second.squares(right), data.prior).interval())


def _within(interval: tuple[float, float]) -> tuple[float, float]:
    return max(interval[0], 0.0), min(interval[1], 100.0)


def _accuracies(table: Table, data: Data, ledger: Ledger) -> None:
    cells, columns = Cells(table, ledger), columns_of(table)
    letters: dict[str, set[str]] = {}
    for line, row, slug in _rows(table, data):
        means = data.means(slug)
        right = np.array(list(data.right[slug].values()))
        follows: dict[str, Sequence[float]] = {
            "Seeds": [len(means)],
            "Accuracy (%)": [float(np.mean(means))],
            "On texts like these": interval_of(data, slug),
            "On texts like these (these models alone)": interval_of(data, slug),
        }
        if len(means) > 1:
            found = second.on_this_test_set(second.squares(right), data.prior)
            follows["On this test set"] = _within(found.interval())
            follows["SD over seeds (points)"] = [float(np.std(means, ddof=1))]
        for head, column in columns.items():
            if head in follows or head in ("On this test set", "SD over seeds (points)"):
                cells.numbers(line, row, column, follows.get(head))
            elif head == "Letters":
                letters[slug] = set(re.findall(r"[A-Za-z]|\(\d+\)", row[column]))
    for pair, p in data.adjusted.items():
        first, other = sorted(pair)
        if letters.get(first) and letters.get(other):
            share = bool(letters[first] & letters[other])
            ledger.that(
                share is (p >= 0.05),
                f"{REPORT_NAME}, column “Letters”",
                f"{shown(first)} and {shown(other)} {'share one' if share else 'share none'}, "
                f"but p is {p:.3g}",
            )


def _classes(table: Table, data: Data, ledger: Ledger) -> None:
    cells = Cells(table, ledger)
    for line, row, slug in _rows(table, data):
        trials = list(data.finished[slug].values())
        found = np.array(
            [
                second.by_class(one["predictions"], one["labels"], one["trial"]["task"]["labels"])
                for one in trials
            ]
        )
        if table.columns[1] == "Seeds":
            columns = [[float(len(trials))], *map(_mean_and_deviation, found.T[:2])]
        else:
            columns = [_mean_and_deviation(recalls) for recalls in found.T[2:]]
        for column, follows in enumerate(columns, start=1):
            cells.numbers(line, row, column, follows)


def _mean_and_deviation(values: NDArray[np.float64]) -> list[float]:
    known = values[~np.isnan(values)]
    deviation = [float(np.std(known, ddof=1))] if len(known) > 1 else []
    return [float(np.mean(known)), *deviation] if len(known) else []


def _less_best(table: Table, data: Data, ledger: Ledger) -> None:
    cells, columns = Cells(table, ledger), columns_of(table)
    head = next(head for head in table.columns if head.startswith("Less "))
    best = data.slug(head.removeprefix("Less ").removesuffix(" (points)"))
    candidates = sorted((slug for slug in data.right if slug not in _REFERENCES), key=place_of)
    if best is None or best not in candidates:
        ledger.that(False, f"{REPORT_NAME}, column “{shown(head)}”", "it names no candidate")
        return
    # Those with most seeds first, each against the one that leads so far: over the seeds that two
    # have in common one may lead another in a ring, so that their order counts.
    leader = best
    for place, slug in enumerate(sorted(candidates, key=lambda one: -len(data.right[one]))):
        if place == 0 or _lead(data, slug, leader) > 1e-12:
            leader = slug
    ledger.that(
        abs(_lead(data, best, leader)) <= 1e-12,
        f"{REPORT_NAME}, column “{shown(head)}”",
        "another method is more accurate over the seeds that both have",
    )
    for line, row, slug in _rows(table, data):
        if not data.shared(slug, best):
            continue
        mean, *interval = data.difference(slug, best)
        follows: dict[str, Sequence[float]] = {
            "Seeds in common": [len(data.shared(slug, best))],
            head: [mean],
            "On texts like these": interval,
            "On texts like these (these models alone)": interval,
        }
        if len(data.shared(slug, best)) > 1:
            found = second.squares(data.apart(slug, best))
            follows["On this test set"] = second.on_this_test_set(found, data.pair_prior).interval()
            follows[f"Within ±{MARGIN_POINTS:g} points?"] = ()
        for name, column in columns.items():
            if name == "Told apart?":
                _told_apart(cells, line, row, column, data.adjusted[frozenset((slug, best))])
            elif name.startswith("Within"):
                _equivalence(cells, line, row, column, data, slug, best)
            elif name in follows or name == "On this test set":
                cells.numbers(line, row, column, follows.get(name))


def _lead(data: Data, slug: str, other: str) -> float:
    """Return how far one accuracy is above another, over the seeds that both have, if any."""
    if data.shared(slug, other):
        return float(data.apart(slug, other).mean())
    return float(np.mean(data.means(slug)) - np.mean(data.means(other)))


def _told_apart(cells: Cells, line: int, row: Sequence[str], column: int, p: float) -> None:
    cells.test(line, row, column, p, p < 0.05)


def _equivalence(
    cells: Cells, line: int, row: Sequence[str], column: int, data: Data, slug: str, best: str
) -> None:
    if len(data.shared(slug, best)) < 2:
        cells.words(line, row, column, "—")
        return
    found = data.texts(slug, best)
    low, high = found.interval()
    if low > MARGIN_POINTS or high < -MARGIN_POINTS:
        cells.words(line, row, column, "no")
        return
    p = found.equivalence_p(MARGIN_POINTS)
    published = list(row)
    published[column] = published[column].replace("not shown", "no")
    cells.test(line, published, column, p, p < 0.05)


def _less_full(table: Table, data: Data, ledger: Ledger) -> None:
    cells, columns = Cells(table, ledger), columns_of(table)
    units = {head.partition(" (")[0]: read for head, read in COLUMNS.items()}
    full = [one["measurement"] for one in data.finished["full"].values()]
    for line, row, slug in _rows(table, data):
        own = [one["measurement"] for one in data.finished[slug].values()]
        for head, column in columns.items():
            if head == "Accuracy (points)":
                shared = data.shared(slug, "full")
                cells.numbers(line, row, column, data.difference(slug, "full") if shared else [])
            elif head == "Told apart from Full?" and data.shared(slug, "full"):
                _told_apart(cells, line, row, column, data.adjusted[frozenset((slug, "full"))])
            elif head in units or head == LOSS:
                read = COLUMNS[LOSS] if head == LOSS else units[head]
                ours, theirs = (
                    [v for one in side if (v := read(one)) is not None] for side in (own, full)
                )
                if head == LOSS:
                    both = [float(np.mean(ours) - np.mean(theirs))] if ours and theirs else []
                    cells.numbers(line, row, column, both)
                    continue
                ratio = np.mean(ours) / np.mean(theirs) if ours and theirs else None
                follows = [] if ratio is None else [float(100 * (ratio - 1))]
                cells.numbers(line, row, column, follows)


def _above_references(table: Table, data: Data, ledger: Ledger) -> None:
    cells = Cells(table, ledger)
    for line, row, slug in _rows(table, data):
        for column, head in enumerate(table.columns):
            if not head.startswith("Above "):
                continue
            reference = data.slug(head.removeprefix("Above ").removesuffix(" (points)"))
            if reference is None or not data.shared(slug, reference):
                continue
            cells.numbers(line, row, column, data.difference(slug, reference))
            p = data.adjusted[frozenset((slug, reference))]
            _told_apart(cells, line, row, column + 1, p)


def _flips(table: Table, data: Data, ledger: Ledger) -> None:
    cells, columns = Cells(table, ledger), columns_of(table)
    for line, row, slug in _rows(table, data):
        seeds = data.shared(slug, "full")
        full = [data.right["full"][seed] for seed in seeds]
        own = [data.right[slug][seed] for seed in seeds]
        k = len(seeds)
        same = [float((a != b).sum()) for a, b in zip(full, own, strict=True)]
        other = [float((full[i] != own[j]).sum()) for i in range(k) for j in range(k) if i != j]
        of_full = [float((a != b).sum()) for a, b in combinations(full, 2)]
        of_own = [float((a != b).sum()) for a, b in combinations(own, 2)]
        right = [sum(int(one[n]) for one in (*full, *own)) for n in range(len(full[0]))]
        all_full, all_own = np.sum(full, axis=0), np.sum(own, axis=0)
        most = k // 2 + 1
        follows: dict[str, float | None] = {
            "Seeds in common": k,
            "Seeds": k,
            "Full right, it wrong": float((np.array(full) > np.array(own)).sum()) / k,
            "Full wrong, it right": float((np.array(full) < np.array(own)).sum()) / k,
            "They differ, same seed": float(np.mean(same)),
            "Lost with every seed": float(((all_full == k) & (all_own == 0)).sum()),
            "Gained with every seed": float(((all_full == 0) & (all_own == k)).sum()),
            "By chance, each": second.sure_by_chance(right, k, k),
            "Lost with most": float(((all_full >= most) & (all_own <= k - most)).sum()),
            "Gained with most": float(((all_full <= k - most) & (all_own >= most)).sum()),
            "By chance, of most, each": second.sure_by_chance(right, k, most),
        }
        if k > 1:
            within = float(np.mean(of_full)), float(np.mean(of_own))
            follows |= {
                "They differ, other seeds": float(np.mean(other)),
                "Two seeds of Full differ": within[0],
                "Two seeds of it differ": within[1],
                "More than seeds": float(np.mean(other)) - float(np.mean(within)),
            }
        for head, column in columns.items():
            if head in follows:
                value = follows[head]
                cells.numbers(line, row, column, [] if value is None else [value])


def _agreement(table: Table, data: Data, ledger: Ledger) -> None:
    cells = Cells(table, ledger)
    several = len({seed for trials in data.finished.values() for seed in trials}) > 1
    for line, row, slug in _rows(table, data):
        for column, head in enumerate(table.columns[1:], start=1):
            other = data.slug(head)
            if other is None:
                continue
            pairs = [
                (ours["predictions"], theirs["predictions"])
                for seed, ours in data.finished[slug].items()
                for other_seed, theirs in data.finished[other].items()
                if (seed != other_seed if several else seed == other_seed and slug != other)
            ]
            shares = [100 * float(np.mean(np.equal(a, b))) for a, b in pairs]
            kappas = [found for a, b in pairs if (found := second.kappa(a, b)) is not None]
            follows = [float(np.mean(one)) for one in (shares, kappas) if one]
            cells.numbers(line, row, column, follows)


def _discordant(text: str, data: Data, ledger: Ledger) -> None:
    """Check the counts of McNemar's test, which stand in the analysis of each method."""
    pattern = re.compile(
        r"\(([\d,]+) examples are right in (.{1,200}?) alone, "
        r"([\d,]+) in (.{1,200}?) alone: exact McNemar"
    )
    for number, line in enumerate(text.split("\n"), start=1):
        for found in pattern.finditer(line):
            slugs = data.slug(found.group(2)), data.slug(found.group(4))
            if slugs[0] is None or slugs[1] is None or not data.shared(slugs[0], slugs[1]):
                continue
            apart = data.apart(slugs[0], slugs[1])
            follows = int((apart == 1).sum()), int((apart == -1).sum())
            printed = tuple(int(numbers_in(found.group(n))[0][0]) for n in (1, 3))
            ledger.that(
                printed == follows,
                f"{REPORT_NAME}, line {number}, counts of McNemar's test",
                "the second way gives another count",
                published=f"{printed[0]} and {printed[1]}",
                follows=f"{follows[0]} and {follows[1]}",
            )

"""Which records belong in one report: those of one scenario under one setting."""

from __future__ import annotations

import json
from collections.abc import Collection, Iterable, Mapping, Sequence
from typing import Any

from peftcore.measuring.environment import environment_key
from peftcore.methods import Trains
from peftcore.results.records import Record
from peftcore.scenarios import Protocol, Split
from peftcore.trials import Part


def newest_settings(records: Iterable[Record]) -> dict[str, list[Record]]:
    """Return, by scenario, the records of the setting and environment that ran last.

    Records that differ in data, sizes, backbone, precision, engine, package versions or hardware
    can't stand side by side in one table. A search over learning rates compares accuracy alone, so
    that there the environment may differ.

    Args:
        records: in the order in which they were made.
    """
    groups: dict[str, dict[tuple[str, str], dict[str, Record]]] = {}
    for record in records:
        searched = record.trial.get("task", {}).get("split") == Split.TUNING
        environment = "" if searched else environment_key(record.environment)
        key = (str(record.trial["setting_id"]), environment)
        settings = groups.setdefault(record.scenario, {})
        # Taken out and put back, the setting that ran last stands last.
        group = settings.pop(key, {})
        group[record.id] = record
        settings[key] = group
    return {
        scenario: list(next(reversed(settings.values())).values())
        for scenario, settings in groups.items()
    }


def of_serving(record: Record) -> bool:
    """Return whether a record is of what serving a method costs."""
    return record.trial.get("serving") is not None


def newest_serving(records: Iterable[Record]) -> dict[str, list[Record]]:
    """Return, by scenario, the records of serving of the setting that ran last, one a method.

    Args:
        records: in the order in which they were made; those of anything else are left out.
    """
    served = newest_settings(record for record in records if of_serving(record))
    return {
        scenario: list({record.method: record for record in found}.values())
        for scenario, found in served.items()
    }


def of_sizes(records: Sequence[Record]) -> bool:
    """Return whether records are of methods on training sets of several sizes."""
    return len({_size(record) for record in records if _sizeable(record)}) > 1 and all(
        map(_sizeable, records)
    )


def newest_sizes(records: Iterable[Record], *, now: Collection[str] = ()) -> list[Record]:
    """Return the records of a comparison of sizes that belong in one report.

    They differ in method, seed and size alone. All were trained for about as many steps, or all for
    as many epochs, as what ran last was; and of each size they are those that saw each example as
    often as what ran last did. A bag of words is of either kind.

    Args:
        records: in the order in which they were made; what can't stand there is left out.
        now: ids of trials that count as run last, although their records were there before.
    """
    ordered = sorted(
        (record for record in records if _sizeable(record)), key=lambda record: record.id in now
    )
    chosen = _of_one_hold([one for one in ordered if _but_size(one) == _but_size(ordered[-1])])
    repeats = {_size(one): _repeats(one) for one in chosen if not _fitted(one)}
    kept = [one for one in chosen if _fitted(one) or _repeats(one) == repeats[_size(one)]]
    return list({(one.method, _size(one), one.seed): one for one in kept}.values())


def sizes_left_out(records: Iterable[Record], chosen: Sequence[Record]) -> list[int]:
    """Return the sizes that a report lacks for being held to epochs where it is to steps, or so.

    Args:
        records: all there are.
        chosen: those of the report.
    """
    kept = {_size(record) for record in chosen}
    return sorted(
        {
            _size(one)
            for one in records
            if _sizeable(one) and _size(one) not in kept and _but_size(one) == _but_size(chosen[0])
        }
    )


def _of_one_hold(records: Sequence[Record]) -> list[Record]:
    """Return those that were held to steps or to epochs, whichever the last that tells was.

    Held to steps, a set is gone through ``round(own / size)`` times, so that what was repeated
    tells at least how large the scenario's own set is, and what was not repeated though it is much
    smaller was held to epochs. What is about as large is the same by either.
    """
    trained = [record for record in records if not _fitted(record)]
    own = max((_size(r) * (_repeats(r) - 0.5) for r in trained if _repeats(r) > 1), default=0.0)

    def to_epochs(record: Record) -> bool:
        return not _fitted(record) and _repeats(record) == 1 and 1.5 * _size(record) < own

    def to_steps(record: Record) -> bool:
        return _repeats(record) > 1

    telling = [record for record in trained if to_steps(record) or to_epochs(record)]
    if not telling:
        return list(records)
    contrary = to_epochs if to_steps(telling[-1]) else to_steps
    kept = {_size(record) for record in trained if not contrary(record)}
    # A bag of words alone is no comparison at a size.
    left = {_size(record) for record in trained} - kept
    return [record for record in records if not contrary(record) and _size(record) not in left]


def _sizeable(record: Record) -> bool:
    trial = record.trial
    if trial.get("part") is not None or of_serving(record):
        return False
    return bool(trial.get("task", {}).get("split") == Split.TEST)


def _size(record: Record) -> int:
    return int(record.trial["task"]["train_examples"])


def _repeats(record: Record) -> int:
    return int(record.trial["task"].get("repeats", 1))


def _fitted(record: Record) -> bool:
    """Return whether a trial has no steps, so that it sees nothing repeatedly."""
    return bool(record.trial.get("hyperparameters", {}).get("trains") == Trains.BAG_OF_WORDS)


def _but_size(record: Record) -> str:
    trial = record.trial
    task = {n: v for n, v in trial["task"].items() if n not in ("train_examples", "repeats")}
    recipe = {n: v for n, v in trial["recipe"].items() if n != "learning_rate"}
    kept = [*_subject(record), task, recipe, trial["engine"], trial.get("protocol")]
    return f"{environment_key(record.environment)} {json.dumps(kept, sort_keys=True)}"


def of_a_search(record: Record) -> bool:
    """Return whether a record is of a search that the protocol ``tuned`` makes for each method."""
    trial = record.trial
    tuned = trial.get("protocol") == Protocol.TUNED
    return tuned and trial.get("task", {}).get("split") == Split.TUNING


def other_protocols(records: Iterable[Record], chosen: Sequence[Record]) -> list[Record]:
    """Return the records that differ from those chosen in the protocol alone, by the last to run.

    A protocol is how learning rates are come by, so that all else is equal: what was trained on
    what, where and by which sources.

    Args:
        records: in the order in which they were made, the chosen ones among them or not.
        chosen: of one setting and environment.
    """
    if not chosen:
        return []
    wanted = _but_protocol(chosen[0])
    found: dict[tuple[str, str, int], Record] = {}
    for record in records:
        differs = record.trial["setting_id"] != chosen[0].trial["setting_id"]
        if differs and record.trial.get("part") is None and _but_protocol(record) == wanted:
            found[str(record.trial.get("protocol")), record.method, record.seed] = record
    return list(found.values())


def _but_protocol(record: Record) -> str:
    trial = record.trial
    recipe = {name: value for name, value in trial["recipe"].items() if name != "learning_rate"}
    kept = [*_subject(record), trial["task"], recipe, trial["engine"]]
    return f"{environment_key(record.environment)} {json.dumps(kept, sort_keys=True)}"


_SWEPT = frozenset({"max_length", "train_examples", "batch_size"})
_VARIED: Mapping[str, frozenset[str]] = {
    Part.LENGTH: _SWEPT,
    Part.BATCH: _SWEPT,
    Part.EQUALITY: frozenset({"precision"}),
}
"""Fields of task and recipe in which the trials of one part differ on purpose.

All parts compare engines and methods, whose accelerations and learning rates differ.
"""


def newest_parts(records: Iterable[Record], *, now: Collection[str] = ()) -> list[Record]:
    """Return the records of a comparison of the engines that belong in one report.

    All are of the scenario, backbone and data that ran last. Within a part they are, besides, of
    one protocol and one environment, again those that ran last.

    Args:
        records: in the order in which they were made; those of no part, or of one that this
            release does not know, are left out.
        now: ids of trials that count as run last, although their records were there before.
    """
    ordered = sorted(
        (record for record in records if record.trial.get("part") in set(Part)),
        key=lambda record: record.id in now,
    )
    groups: dict[str, dict[str, dict[str, Record]]] = {}
    for record in ordered:
        if _subject(record) != _subject(ordered[-1]):
            continue
        protocols = groups.setdefault(str(record.trial["part"]), {})
        # Taken out and put back, the protocol that ran last stands last.
        group = protocols.pop(_protocol(record), {})
        # The setting is all but method, seed and learning rate.
        group[f"{record.method} {record.seed} {record.trial['setting_id']}"] = record
        protocols[_protocol(record)] = group
    return [
        record
        for protocols in groups.values()
        for record in next(reversed(protocols.values())).values()
    ]


def _subject(record: Record) -> tuple[Any, ...]:
    trial = record.trial
    return (
        record.scenario,
        trial["backbone"]["identity"],
        trial["data"]["identity"],
        trial["weights"],
    )


def _protocol(record: Record) -> str:
    trial = record.trial
    varied = _VARIED.get(trial["part"], frozenset()) | {"learning_rate", "accelerations"}
    kept = {
        f"{kind}.{name}": value
        for kind in ("task", "recipe")
        for name, value in trial[kind].items()
        if name not in varied
    }
    return f"{environment_key(record.environment)} {json.dumps(kept, sort_keys=True)}"

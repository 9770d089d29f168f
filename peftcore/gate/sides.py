"""Where a side of a comparison comes from: a store, exported records or a baseline file."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from peftcore.errors import UsageError
from peftcore.gate.baseline import read_baseline
from peftcore.gate.evidence import Evidence
from peftcore.results.records import Record, read_records
from peftcore.results.selecting import newest_settings, of_a_search, of_serving
from peftcore.results.store import Store, has_store

_RECORDS = "records.jsonl"


def read_side(path: Path, *, scenario: str | None = None) -> list[Evidence]:
    """Return the trials of one side, of one scenario.

    Args:
        path: the folder of a store, exported records (``.jsonl``) or a folder that holds
            them as ``records.jsonl``, or else a baseline.
        scenario: the one that is wanted; ``None`` where the side has to be of a single one.

    Raises:
        UsageError: it is none of these, or holds nothing of the scenario, or of several.
        StoreError: a store's record is not what was written.
    """
    if path.is_dir():
        if has_store(path):
            with Store(path, create=False) as store:
                return _newest(store.records(), scenario, path)
        if not (path / _RECORDS).is_file():
            raise UsageError(f"{path} holds neither a store nor a {_RECORDS}")
        return read_side(path / _RECORDS, scenario=scenario)
    if not path.exists():
        raise UsageError(
            f"there is no {path}: name a store's folder, a {_RECORDS} or a baseline, which "
            "peftcore baseline makes"
        )
    if path.suffix == ".jsonl":
        # A report's records stand in its own order: those of other protocols come last.
        records = sorted(read_records(path), key=lambda record: record.created or "")
        return _newest(records, scenario, path)
    found = read_baseline(path)
    if scenario not in (None, found[0].record.scenario):
        raise UsageError(f"{path} is of scenario {found[0].record.scenario}, not {scenario}")
    return found


def newest(records: Sequence[Record], scenario: str | None, where: Path) -> list[Record]:
    """Return the records of one scenario that ran last under one setting, one a method and seed.

    Raises:
        UsageError: there are none, or they are of several scenarios and none was named.
    """
    groups = newest_settings(
        record
        for record in records
        if record.trial.get("part") is None and not of_a_search(record) and not of_serving(record)
    )
    if scenario is None and len(groups) > 1:
        raise UsageError(f"{where} holds {', '.join(sorted(groups))}: name one by --scenario")
    if not groups or scenario not in (None, *groups):
        wanted = "" if scenario is None else f" of scenario {scenario!r}"
        raise UsageError(f"{where} holds no record{wanted}: run one first")
    chosen = groups[scenario or next(iter(groups))]
    # A learning rate is no part of a setting: of two, the one that ran last counts.
    return list({(record.method, record.seed): record for record in chosen}.values())


def _newest(records: Sequence[Record], scenario: str | None, where: Path) -> list[Evidence]:
    return [Evidence.of(record) for record in newest(records, scenario, where)]

"""Which records belong in one report: those of one scenario under one setting."""

from __future__ import annotations

from collections.abc import Iterable

from peftcore.measuring.environment import environment_key
from peftcore.results.records import Record
from peftcore.scenarios import Split


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

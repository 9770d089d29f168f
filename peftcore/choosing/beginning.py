"""What a race found at its beginning, kept for the sessions that go on with it.

How much of the data is raced on follows from how fast a first trial was, and what else had taken
time by then. Found anew in a later session, it could come out otherwise by a hair, and the race
would be another one.
"""

from __future__ import annotations

import json
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from peftcore.choosing.asking import Request
from peftcore.choosing.racing import Race
from peftcore.measuring.environment import describe_environment, environment_key
from peftcore.trials import fingerprint
from peftcore.writing import write_whole

_FILE = "races.json"


@dataclass(frozen=True, kw_only=True)
class Begun:
    """The beginnings of the races on one data set.

    Attributes:
        file: where they are kept.
        key: what tells this race from others: all that was asked for, and where it runs.
    """

    file: Path
    key: str

    @classmethod
    def of(cls, request: Request, race: Race, folder: Path) -> Begun:
        """Return the place of a race among those that are kept in a folder."""
        asked = {
            "arms": [arm.key for arm in race.arms],
            "budget": request.budget_seconds,
            "model": request.model,
            "settings": list(request.settings),
            "memory": request.memory_bytes,
            "environment": environment_key(describe_environment()),
        }
        return cls(file=folder / _FILE, key=fingerprint(asked))

    def take_up(self, race: Race) -> None:
        """Give a race what it found when it was begun, if it was."""
        found = self._read().get(self.key)
        if found is not None:
            race.rungs = list(found["rungs"])
            race.ending = replace(race.ending, examples=int(found["examples"]))

    def keep(self, race: Race) -> None:
        """Keep what a race has found."""
        found = {"rungs": race.rungs, "examples": race.ending.examples}
        content = {**self._read(), self.key: found}
        write_whole(self.file, json.dumps(content, sort_keys=True, indent=1) + "\n")

    def _read(self) -> dict[str, Any]:
        try:
            content = json.loads(self.file.read_text(encoding="utf-8"))
        except (OSError, ValueError):
            # It is found anew then.
            return {}
        return content if isinstance(content, dict) else {}

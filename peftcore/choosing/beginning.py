"""What a race found at its beginning, kept for the sessions that go on with it.

How much of the data is raced on follows from how fast a first trial was, and what else had taken
time by then. Found anew in a later session, it could come out otherwise by a hair, and the race
would be another one.
"""

from __future__ import annotations

import json
from dataclasses import dataclass, replace
from pathlib import Path

from pydantic import BaseModel, Field, PositiveInt, TypeAdapter, ValidationError

from peftcore.choosing.asking import Request
from peftcore.choosing.racing import Race
from peftcore.measuring.environment import describe_environment, environment_key
from peftcore.running.locks import lock_of, wait_for
from peftcore.trials import fingerprint
from peftcore.writing import write_whole

_FILE = "races.json"


class _Found(BaseModel):
    """What a race found: the sizes it is raced on, and the examples of the last training."""

    rungs: list[PositiveInt] = Field(min_length=1)
    examples: PositiveInt


_KEPT = TypeAdapter(dict[str, _Found])


@dataclass(frozen=True, kw_only=True)
class Begun:
    """The beginnings of the races on one data set.

    Attributes:
        file: where they are kept.
        key: what tells this race from others: all that its beginning follows from.
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
            race.rungs = list(found.rungs)
            race.ending = replace(race.ending, examples=found.examples)

    def keep(self, race: Race) -> None:
        """Keep what a race has found."""
        found = _Found(rungs=race.rungs, examples=race.ending.examples)
        with wait_for(lock_of(self.file), waiting=lambda: None):
            kept = {**self._read(), self.key: found}
            content = _KEPT.dump_python(kept, mode="json")
            write_whole(self.file, json.dumps(content, sort_keys=True, indent=1) + "\n")

    def _read(self) -> dict[str, _Found]:
        try:
            return _KEPT.validate_json(self.file.read_bytes())
        except (OSError, ValidationError):
            # It is found anew then.
            return {}

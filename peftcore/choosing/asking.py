"""What the user asks of a choice: data, budget, limits; text from options made into numbers."""

from __future__ import annotations

import re
from dataclasses import dataclass
from enum import StrEnum
from pathlib import Path

from pydantic import ByteSize, TypeAdapter, ValidationError

from peftcore.errors import UsageError
from peftcore.methods import Method, find_methods

DEFAULT_METHODS = ("full", "lora", "qlora", "ia3", "dora", "vera")
"""The source study's four, and of the popular ones two that could not be told apart from LoRA on
real reviews (reports/imdb-minilm-h100/): DoRA, and VeRA, which trains fewer weights than these."""

DEFAULT_RATES = 3
"""Learning rates of each method, unless another number is asked for."""

LEAST_BUDGET_SECONDS = 30.0
"""Loading the libraries and one model already takes about so long."""

LEAST_MEMORY_BYTES = 10_000_000
"""No training takes less: a unit was forgotten."""

_UNITS = {"s": 1.0, "m": 60.0, "min": 60.0, "h": 3600.0}
_DURATION = re.compile(r"(?:(\d+(?:\.\d+)?)\s*(s|min|m|h)\s*)+", re.IGNORECASE)
_DURATION_PART = re.compile(r"(\d+(?:\.\d+)?)\s*(s|min|m|h)", re.IGNORECASE)


class Cost(StrEnum):
    """By what the cheapest of equally good methods is told."""

    PARAMETERS = "parameters"
    TIME = "time"
    MEMORY = "memory"


@dataclass(frozen=True, kw_only=True)
class Request:
    """What is asked for.

    Attributes:
        data: a file, or a folder with a training set and maybe a test set.
        model: the backbone, as ``--model`` takes it.
        methods: what is raced; none of them a reference row.
        rates: how many learning rates of each are tried.
        budget_seconds: wall time for all of it.
        memory_bytes: the most that training may take at its peak; ``None`` for no limit.
        within: how far below the best a method may be and still do, in percentage points.
        cost: by what the cheapest of them is told.
        settings: ``KEY=VALUE`` overrides of the task and the recipe.
        store: folder of the store; the race has one of its own in it.
        out: folder of what comes of it.
    """

    data: Path
    model: str = "minilm"
    methods: tuple[Method, ...] = ()
    rates: int = DEFAULT_RATES
    budget_seconds: float = 1800.0
    memory_bytes: int | None = None
    within: float = 0.5
    cost: Cost = Cost.PARAMETERS
    settings: tuple[str, ...] = ()
    store: Path = Path(".peftcore")
    out: Path = Path("peftcore-choice")


def parse_duration(text: str, *, where: str) -> float:
    """Return the seconds that a text such as ``30m``, ``1h30m`` or ``90s`` stands for.

    Raises:
        UsageError: it stands for none, or for too few.
    """
    if not _DURATION.fullmatch(text.strip()):
        raise UsageError(f"{where} {text!r} is no duration: expected such as 90s, 30m or 1h30m")
    parts = _DURATION_PART.findall(text)
    seconds = sum(float(number) * _UNITS[unit.lower()] for number, unit in parts)
    if seconds < LEAST_BUDGET_SECONDS:
        raise UsageError(
            f"{where} {text!r} is too short for one training run: give at least "
            f"{LEAST_BUDGET_SECONDS:g}s, and 10m or more for an answer"
        )
    return seconds


def parse_bytes(text: str, *, where: str) -> int:
    """Return the bytes that a text such as ``8GB`` or ``700MiB`` stands for.

    Raises:
        UsageError: it stands for none, or for too few.
    """
    try:
        size = int(TypeAdapter(ByteSize).validate_python(text.strip()))
    except ValidationError:
        size = 0
    if size < 1:
        raise UsageError(f"{where} {text!r} is no size of memory: expected such as 8GB or 700MiB")
    if size < LEAST_MEMORY_BYTES:
        raise UsageError(
            f"{where} {text!r} is {size:,} bytes, less than any training takes: name a unit, "
            "such as 8GB or 700MiB"
        )
    return size


def parse_raced(names: tuple[str, ...], *, where: str) -> tuple[Method, ...]:
    """Return the methods to race, each once; reference rows, which run beside them, are left out.

    Raises:
        UsageError: a method does not exist, or fewer than two are left.
    """
    found = [method for name in names for method in find_methods(name, where=where)]
    raced = tuple(dict.fromkeys(method for method in found if not method.reference))
    if len(raced) < 2:
        raise UsageError(
            f"{where} {','.join(names) or 'nothing'!r} leaves {len(raced)} to race: name two "
            "methods or more, or a group such as popular (peftcore methods lists them)"
        )
    return raced

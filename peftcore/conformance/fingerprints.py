"""What a method does on an architecture, in numbers; files of them, and how two of these differ.

Needs no torch: whoever compares two files need not have what wrote them.
"""

from __future__ import annotations

import dataclasses
import hashlib
import json
import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from enum import StrEnum
from pathlib import Path
from typing import Any

from peftcore.errors import UsageError
from peftcore.writing import write_whole

FORMAT = "peftcore fingerprint"
SCHEMA_VERSION = 2
"""1 had neither accelerations nor what nobody declared, and tensors of earlier cells in bytes."""

ROUNDING = 3e-5
"""How far apart losses, and logits of about one, of another machine or thread count may be with
nothing changed. Another instruction set brings losses up to 7e-6 apart; a LoRA that is scaled by
3% more, 2e-3."""

_APART = re.compile(r"(?<=within )[\d.e+-]+")
"""How far rounding brought logits, in the words of a check: another number is no change."""


class Verdict(StrEnum):
    """What came of a cell."""

    CONFORMS = "conforms"
    REFUSED = "refused"
    FAILS = "fails"


@dataclass(frozen=True, kw_only=True)
class Fingerprint:
    """What a method does on an architecture, in numbers that the same code gives again.

    Attributes:
        method: its slug.
        architecture: the model type.
        declared: whether peftcore compares the method; else the installed peft has it besides.
        verdict: what came of it.
        detail: why it was refused or how it fails; empty where it conforms.
        losses: of each step, without dropout, in 32 bits.
        logits: of a few texts once all that is trained was moved from where it begins.
        parameters: how many, by kind: total, trainable, head, adapter.
        tensor_bytes: that the trial holds in tensors once training is over.
        operations: that torch dispatches for forward and backward of a batch.
        file_bytes: of what is kept besides the backbone.
        merged: ``"yes"``, or why it can't be merged.
        checks: what the trial's own checks found, by their names.
        accelerations: by their names ``"on"``, or why they are off: where padding-free is, texts
            were not trained on end to end.
    """

    method: str
    architecture: str
    verdict: Verdict
    declared: bool = True
    detail: str = ""
    losses: tuple[float, ...] = ()
    logits: tuple[float, ...] = ()
    parameters: Mapping[str, int] = field(default_factory=dict)
    tensor_bytes: int | None = None
    operations: int | None = None
    file_bytes: int | None = None
    merged: str = ""
    checks: Mapping[str, str] = field(default_factory=dict)
    accelerations: Mapping[str, str] = field(default_factory=dict)

    def to_json(self) -> dict[str, Any]:
        """Return it as plain JSON values."""
        return {
            **dataclasses.asdict(self),
            "losses": list(self.losses),
            "logits": list(self.logits),
        }

    @classmethod
    def from_json(cls, content: Mapping[str, Any]) -> Fingerprint:
        """Return what :meth:`to_json` gave.

        Raises:
            LookupError, TypeError, ValueError, AttributeError: it is none.
        """
        numbers: dict[str, Any] = {
            name: None if content[name] is None else int(content[name])
            for name in ("tensor_bytes", "operations", "file_bytes")
        }
        return cls(
            **numbers,
            method=str(content["method"]),
            architecture=str(content["architecture"]),
            detail=str(content["detail"]),
            merged=str(content["merged"]),
            verdict=Verdict(content["verdict"]),
            declared=bool(content["declared"]),
            losses=tuple(map(float, content["losses"])),
            logits=tuple(map(float, content["logits"])),
            parameters={str(name): int(n) for name, n in content["parameters"].items()},
            checks={str(name): str(text) for name, text in content["checks"].items()},
            accelerations={str(name): str(t) for name, t in content["accelerations"].items()},
        )


Cells = Mapping[tuple[str, str], Fingerprint]
"""Fingerprints by method and architecture."""


def twins(cells: Iterable[Fingerprint]) -> list[tuple[str, str, str]]:
    """Return pairs of declared methods with equal losses, each after the architecture's name.

    What has equal losses to the bit, step by step, is one method under two names: what should tell
    the two apart is not on.
    """
    seen: dict[tuple[str, tuple[float, ...]], str] = {}
    found = []
    for cell in cells:
        if cell.declared and cell.losses:
            first = seen.setdefault((cell.architecture, cell.losses), cell.method)
            if first != cell.method:
                found.append((cell.architecture, first, cell.method))
    return found


def kept_beside(folder: Path, name: str, losses: Sequence[float]) -> list[str]:
    """Keep losses in a folder under a name, and return the names of equal ones that are there.

    Several processes may share the folder: of two that are equal, the one kept later finds both.
    """
    write_whole(folder / f"{name}.json", json.dumps(list(losses)))
    there = {file.stem: json.loads(file.read_text()) for file in sorted(folder.glob("*.json"))}
    return [other for other, kept in there.items() if other != name and kept == list(losses)]


@dataclass(frozen=True, kw_only=True)
class Change:
    """What differs in one cell, or in the environment.

    Attributes:
        method: its slug; empty for the environment.
        architecture: the model type; empty for the environment.
        what: what differs, in words.
        rounding: whether it is no more than rounding explains, or only the environment's.
        declared: whether it is of the environment, or of a method that peftcore compares.
    """

    method: str = ""
    architecture: str = ""
    what: str
    rounding: bool = False
    declared: bool = True

    @property
    def counts(self) -> bool:
        """Whether a method does otherwise than it did."""
        return self.declared and not self.rounding

    def __str__(self) -> str:
        by = "" if self.declared else " (declared by nobody)"
        place = f"{self.method} on {self.architecture}{by}: " if self.method else ""
        return f"{place}{self.what}"


def bench_sha256() -> str:
    """Return 12 digits of the SHA-256 over the sources that say what is tried, and how."""
    digest = hashlib.sha256()
    for name in ("cells.py", "tiny.py"):
        digest.update((Path(__file__).parent / name).read_bytes() + b"\0")
    return digest.hexdigest()[:12]


def to_json(cells: Iterable[Fingerprint], environment: Mapping[str, Any]) -> dict[str, Any]:
    """Return the content of a file of fingerprints."""
    return {
        "format": FORMAT,
        "schema": SCHEMA_VERSION,
        "environment": {**environment, "bench_sha256": bench_sha256()},
        "cells": [cell.to_json() for cell in cells],
    }


def is_fingerprint(file: Path) -> bool:
    """Return whether a file says that it holds fingerprints."""
    if not file.is_file():
        return False
    try:
        with file.open(encoding="utf-8", errors="replace") as stream:
            return f'"format": "{FORMAT}"' in stream.read(200)
    except OSError:
        # Whoever reads it as something else says why it can't be read.
        return False


def read(file: Path) -> tuple[dict[str, Any], Cells]:
    """Return the environment and the fingerprints of a file.

    Raises:
        UsageError: it is none, or of another form.
    """
    try:
        content = json.loads(file.read_text(encoding="utf-8"))
        version, kind = int(content["schema"]), content["format"]
        if (kind, version) != (FORMAT, SCHEMA_VERSION):
            raise UsageError(
                f"{file} is a {kind} of schema {version}, and this release reads {FORMAT} of "
                f"schema {SCHEMA_VERSION}: write it again with peftcore fingerprint"
            )
        found = map(Fingerprint.from_json, content["cells"])
        return dict(content["environment"]), {(c.method, c.architecture): c for c in found}
    except (OSError, AttributeError, LookupError, TypeError, ValueError) as error:
        raise UsageError(
            f"{file} is no file of fingerprints ({error!r}): write one with peftcore fingerprint"
        ) from None


def changes(
    before: tuple[Mapping[str, Any], Cells], after: tuple[Mapping[str, Any], Cells]
) -> list[Change]:
    """Return what differs between two files, each its environment and its cells.

    What differs in the environment comes first, and then cell by cell in their order.
    """
    found = [Change(what=words, rounding=True) for words in _environment(before[0], after[0])]
    old, new = before[1], after[1]
    for key in dict.fromkeys((*old, *new)):
        one, other = old.get(key), new.get(key)
        declared = any(cell.declared for cell in (one, other) if cell is not None)
        place: dict[str, Any] = {"method": key[0], "architecture": key[1], "declared": declared}
        if other is None:
            found.append(Change(**place, what="is no longer there"))
        elif one is None:
            found.append(Change(**place, what=f"is new: {_outcome(other)}"))
        else:
            found += [
                Change(**place, what=what, rounding=rounding)
                for what, rounding in _cell(one, other)
            ]
    return found


def to_lines(found: Sequence[Change]) -> list[str]:
    """Return changes for people: those that count marked, those that rounding explains as a number.

    The last line counts them and names the methods.
    """
    shown = [change for change in found if change.counts or not (change.method and change.rounding)]
    lines = [f"{'! ' if change.counts else '  '}{change}" for change in shown]
    if len(shown) < len(found):
        lines.append(
            f"  no more than rounding explains: {len(found) - len(shown)} (named in --json)"
        )
    methods = [change.method for change in found if change.counts]
    if not methods:
        return [*lines, "no method does otherwise than it did"]
    return [*lines, f"changes: {len(methods)}, of {', '.join(dict.fromkeys(methods))}"]


def _environment(before: Mapping[str, Any], after: Mapping[str, Any]) -> list[str]:
    found = []
    for kind in ("packages", "hardware"):
        old, new = before.get(kind) or {}, after.get(kind) or {}
        found += [
            f"{name} {old.get(name) or '—'} → {new.get(name) or '—'}"
            for name in dict.fromkeys((*old, *new))
            if old.get(name) != new.get(name)
        ]
    for name, words in (
        ("python", "Python"),
        ("threads", "threads"),
        ("sources_sha256", "peftcore's sources"),
        ("bench_sha256", "the tiny models or what is tried on them, so that all may differ:"),
    ):
        if before.get(name) != after.get(name):
            values = (str(one.get(name))[:12] for one in (before, after))
            found.append(f"{words} {' → '.join(values)}")
    return found


def _outcome(cell: Fingerprint) -> str:
    return f"{cell.verdict} ({cell.detail})" if cell.detail else str(cell.verdict)


def _cell(before: Fingerprint, after: Fingerprint) -> list[tuple[str, bool]]:
    """Return what differs in a cell, in words, each with whether it is rounding alone."""
    if before.verdict is not after.verdict:
        return [(f"{before.verdict} → {_outcome(after)}", False)]
    found: list[tuple[str, bool]] = []
    if before.declared is not after.declared:
        found.append(("is declared now" if after.declared else "is no longer declared", False))
    if before.detail != after.detail:
        found.append((f"{before.detail} → {after.detail}", False))
    for name, words in (
        ("tensor_bytes", "tensor bytes"),
        ("operations", "operations a step"),
        ("file_bytes", "bytes of the file to keep"),
    ):
        old, new = getattr(before, name), getattr(after, name)
        if old != new:
            found.append((f"{words} {_count(old)} → {_count(new)}", False))
    if before.losses != after.losses:
        found.append(_losses(before.losses, after.losses))
    if before.logits != after.logits:
        found.append(_logits(before.logits, after.logits))
    if before.merged.partition(":")[0] != after.merged.partition(":")[0]:
        found.append((f"merges: {before.merged} → {after.merged}", False))
    return [*_kinds(before, after), *found]


def _kinds(before: Fingerprint, after: Fingerprint) -> list[tuple[str, bool]]:
    """Return what differs in numbers and words that have a name each."""
    found = []
    for kind in dict.fromkeys((*before.parameters, *after.parameters)):
        old, new = before.parameters.get(kind), after.parameters.get(kind)
        if old != new:
            found.append((f"{kind} parameters {_count(old)} → {_count(new)}", False))
    for label, one, other in (
        ("check", before.checks, after.checks),
        ("acceleration", before.accelerations, after.accelerations),
    ):
        for name in dict.fromkeys((*one, *other)):
            was, now = one.get(name, "—"), other.get(name, "—")
            if _APART.sub("", was) != _APART.sub("", now):
                found.append((f"{label} {name}: {was} → {now}", False))
    return found


def _losses(before: tuple[float, ...], after: tuple[float, ...]) -> tuple[str, bool]:
    if len(before) != len(after):
        return f"{len(before)} steps → {len(after)}", False
    apart = [abs(a - b) for a, b in zip(before, after, strict=True)]
    step = next(n for n, difference in enumerate(apart, start=1) if difference)
    words = f"losses from step {step} on, by up to {max(apart):.2g}"
    return words, max(apart) <= ROUNDING


def _logits(before: tuple[float, ...], after: tuple[float, ...]) -> tuple[str, bool]:
    if len(before) != len(after):
        return f"{len(before)} logits → {len(after)}", False
    apart = max(abs(a - b) for a, b in zip(before, after, strict=True))
    rounding = apart <= ROUNDING * (1 + max(map(abs, before)))
    return f"logits of moved weights by up to {apart:.2g}", rounding


def _count(number: int | None) -> str:
    return "—" if number is None else f"{number:,}"

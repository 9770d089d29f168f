"""Files of fingerprints, and what differs between two of them."""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from peftcore.errors import UsageError

FORMAT = "peftcore fingerprint"
SCHEMA_VERSION = 1
ROUNDING = 1e-5
"""How far apart losses of another machine, or another thread count, may be with nothing changed."""


@dataclass(frozen=True, kw_only=True)
class Change:
    """What differs in one cell, or in the environment.

    Attributes:
        method: its slug; empty for the environment.
        architecture: the model type; empty for the environment.
        what: what differs, in words.
        rounding: whether it is no more than rounding explains, or only the environment's.
    """

    method: str = ""
    architecture: str = ""
    what: str
    rounding: bool = False

    def __str__(self) -> str:
        place = f"{self.method} on {self.architecture}: " if self.method else ""
        return f"{place}{self.what}"


def to_json(cells: Iterable[Mapping[str, Any]], environment: Mapping[str, Any]) -> dict[str, Any]:
    """Return the content of a file of fingerprints."""
    return {
        "format": FORMAT,
        "schema": SCHEMA_VERSION,
        "environment": dict(environment),
        "cells": [dict(cell) for cell in cells],
    }


def is_fingerprint(file: Path) -> bool:
    """Return whether a file says that it holds fingerprints."""
    if not file.is_file():
        return False
    with file.open(encoding="utf-8", errors="replace") as stream:
        return f'"format": "{FORMAT}"' in stream.read(200)


def read(file: Path) -> dict[str, Any]:
    """Return the content of a file of fingerprints.

    Raises:
        UsageError: it is none, or of a later form.
    """
    try:
        content = json.loads(file.read_text(encoding="utf-8"))
        cells = {(cell["method"], cell["architecture"]): cell for cell in content["cells"]}
        environment = dict(content["environment"])
        version, kind = int(content["schema"]), content["format"]
        for cell in cells.values():
            [float(loss) for loss in cell["losses"]]
    except (OSError, LookupError, TypeError, ValueError) as error:
        raise UsageError(
            f"{file} is no file of fingerprints ({error}): write one with peftcore fingerprint"
        ) from None
    if kind != FORMAT or version != SCHEMA_VERSION:
        raise UsageError(
            f"{file} is a {kind} of schema {version}, and this release reads {FORMAT} of schema "
            f"{SCHEMA_VERSION}: write it again with peftcore fingerprint"
        )
    return {"environment": environment, "cells": cells}


def changes(before: Mapping[str, Any], after: Mapping[str, Any]) -> list[Change]:
    """Return what differs between the contents of two files, the environment first."""
    found = [
        Change(what=words, rounding=True)
        for words in _environment(before["environment"], after["environment"])
    ]
    old, new = before["cells"], after["cells"]
    for method, architecture in [*old, *(key for key in new if key not in old)]:
        place = {"method": method, "architecture": architecture}
        one, other = old.get((method, architecture)), new.get((method, architecture))
        if one is None or other is None:
            found.append(Change(**place, what="is new" if one is None else "is no longer there"))
        else:
            found += [
                Change(**place, what=what, rounding=rounding)
                for what, rounding in _cell(one, other)
            ]
    return found


def _environment(before: Mapping[str, Any], after: Mapping[str, Any]) -> list[str]:
    packages = before.get("packages", {}), after.get("packages", {})
    names = [*packages[0], *(name for name in packages[1] if name not in packages[0])]
    found = [
        f"{name} {packages[0].get(name, '—')} → {packages[1].get(name, '—')}"
        for name in names
        if packages[0].get(name) != packages[1].get(name)
    ]
    for name in ("python", "threads", "sources_sha256"):
        if before.get(name) != after.get(name):
            values = (str(one.get(name))[:12] for one in (before, after))
            found.append(f"{name} {' → '.join(values)}")
    return found


def _cell(before: Mapping[str, Any], after: Mapping[str, Any]) -> list[tuple[str, bool]]:
    """Return what differs in a cell, in words, each with whether it is rounding alone."""
    if before["verdict"] != after["verdict"]:
        why = f" ({after['detail']})" if after["detail"] else ""
        return [(f"{before['verdict']} → {after['verdict']}{why}", False)]
    found: list[tuple[str, bool]] = []
    if before["detail"] != after["detail"]:
        found.append((f"{before['detail']} → {after['detail']}", False))
    for kind in before["parameters"]:
        old, new = before["parameters"][kind], after["parameters"].get(kind)
        if old != new:
            found.append((f"{kind} parameters {old:,} → {_count(new)}", False))
    for name, words in (
        ("tensor_bytes", "tensor bytes"),
        ("operations", "operations a step"),
        ("file_bytes", "bytes of the file to keep"),
    ):
        if before[name] != after[name]:
            found.append((f"{words} {_count(before[name])} → {_count(after[name])}", False))
    if before["losses"] != after["losses"]:
        found.append(_losses(before["losses"], after["losses"]))
    if before["merged"].partition(":")[0] != after["merged"].partition(":")[0]:
        found.append((f"merges: {before['merged']} → {after['merged']}", False))
    return found


def _losses(before: list[float], after: list[float]) -> tuple[str, bool]:
    if len(before) != len(after):
        return f"{len(before)} steps → {len(after)}", False
    apart = [abs(a - b) for a, b in zip(before, after, strict=True)]
    step = next(n for n, difference in enumerate(apart, start=1) if difference)
    words = f"losses from step {step} on, by up to {max(apart):.2g}"
    return words, max(apart) <= ROUNDING


def _count(number: int | None) -> str:
    return "—" if number is None else f"{number:,}"

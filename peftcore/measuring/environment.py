"""Where a trial runs: hardware, software and the exact sources. Needs no torch."""

from __future__ import annotations

import hashlib
import os
import platform
import subprocess
import sys
from collections.abc import Mapping
from functools import cache
from importlib import metadata
from pathlib import Path
from typing import Any

import psutil

from peftcore.measuring.driver import gpu

PACKAGES = (
    "torch",
    "transformers",
    "peft",
    "bitsandbytes",
    "accelerate",
    "tokenizers",
    "safetensors",
    "numpy",
    "scikit-learn",
)
"""Packages whose version can change what a trial measures."""

_NOT_MEASURING = (
    "report",
    "results",
    "statistics",
    "gate",
    "audit",
    "conformance",
    "tuning",
    "serving",
    "sizes",
    "choosing",
    "commands",
    "comparison.py",
    "enginepairs.py",
    "diagnosis.py",
    "pytest_cells.py",
    "pytest_plugin.py",
    "pytest_serving.py",
    "pytest_session.py",
    "pytest_sizes.py",
    "pytest_trial.py",
    "__main__.py",
)

_PACKAGE_FOLDER = Path(__file__).resolve().parent.parent


def describe_environment() -> dict[str, Any]:
    """Return the environment of this process as plain JSON values."""
    return {
        "hardware": _hardware(),
        "packages": _packages(),
        "python": platform.python_version(),
        "platform": platform.platform(),
        "threads": _threads(),
        **_git(),
        "sources_sha256": sources_sha256(),
    }


def environment_key(environment: Mapping[str, Any]) -> str:
    """Return what must be equal before a stored record may stand for a new run.

    That is: package versions, Python, hardware, number of threads, and the hash of peftcore's own
    sources.
    """
    machine = machine_of(environment["hardware"])
    parts = (
        [f"{name}=={version}" for name, version in sorted(environment["packages"].items())]
        + [f"{name}={value}" for name, value in sorted(machine.items())]
        + [f"{name}={environment[name]}" for name in ("python", "threads", "sources_sha256")]
    )
    return hashlib.sha256("\n".join(parts).encode()).hexdigest()[:16]


def machine_of(hardware: Mapping[str, Any]) -> dict[str, Any]:
    """Return what tells a machine from others by its hardware, as an environment describes it.

    Memory is in whole GB: it differs by some MB from boot to boot.
    """
    return {
        name: f"{round(value / 1e9)} GB"
        if name.endswith("memory_bytes") and isinstance(value, int | float)
        else value
        for name, value in hardware.items()
    }


@cache
def sources_sha256() -> str:
    """Return the SHA-256 over the sources of the installed peftcore, names and contents.

    What only plans, keeps and reports records is left out: it can't change what a trial measures,
    and a better plot must not cost a run.
    """
    digest = hashlib.sha256()
    for path in sorted([*_PACKAGE_FOLDER.rglob("*.py"), *_PACKAGE_FOLDER.rglob("*.cpp")]):
        name = path.relative_to(_PACKAGE_FOLDER)
        if name.parts[0] not in _NOT_MEASURING:
            digest.update(name.as_posix().encode() + b"\0")
            digest.update(path.read_bytes() + b"\0")
    return digest.hexdigest()


def _packages() -> dict[str, str]:
    found = {}
    for name in PACKAGES:
        try:
            found[name] = metadata.version(name)
        except metadata.PackageNotFoundError:
            continue
    return found


def _threads() -> int:
    """Return how many threads torch uses: ``OMP_NUM_THREADS``, or the cores it may run on."""
    asked = os.environ.get("OMP_NUM_THREADS", "")
    return int(asked) if asked.isdigit() and int(asked) > 0 else usable_cores()


def usable_cores() -> int:
    """Return how many cores this process may run on."""
    if hasattr(os, "sched_getaffinity"):
        return len(os.sched_getaffinity(0))
    return os.cpu_count() or 1


@cache
def _hardware() -> dict[str, Any]:
    return {
        "cpu": _cpu_name(),
        "cores": usable_cores(),
        "memory_bytes": psutil.virtual_memory().total,
        **gpu(),
    }


def _cpu_name() -> str:
    if sys.platform == "linux":
        lines = Path("/proc/cpuinfo").read_text().splitlines()
        for line in lines:
            if line.startswith("model name"):
                return line.partition(":")[2].strip()
    return platform.processor() or platform.machine()


@cache
def _git() -> dict[str, Any]:
    """Return the commit of the checkout that peftcore runs from, and whether its code differs."""

    def ask(*arguments: str) -> str | None:
        try:
            answer = subprocess.run(
                ["git", "-C", str(_PACKAGE_FOLDER), *arguments],
                capture_output=True,
                text=True,
                check=True,
                timeout=10,
            )
        except (OSError, subprocess.SubprocessError):
            return None
        return answer.stdout.strip()

    top = ask("rev-parse", "--show-toplevel")
    # Installed into site-packages, the folder may lie inside somebody else's checkout.
    if top is None or Path(top) != _PACKAGE_FOLDER.parent:
        return {"git_commit": None, "git_dirty": None}
    changed = ask("status", "--porcelain", "--", ".")
    return {
        "git_commit": ask("rev-parse", "HEAD"),
        "git_dirty": None if changed is None else bool(changed),
    }

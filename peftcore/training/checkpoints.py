"""Checkpoints as files: written whole or not at all, and read only where every byte is as written.

What a checkpoint means for a training run, :mod:`peftcore.training.resuming` knows. Nothing in one
is pickled: tensors as safetensors, the rest as JSON. Needs no torch, so that the process that
starts trials can look at checkpoints, too.
"""

from __future__ import annotations

import hashlib
import json
import os
import re
import shutil
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from peftcore.errors import PeftcoreError

FORMAT = 1
KEPT = 2
"""How many checkpoints of a trial are kept: should the newest be damaged, there is another."""

MANIFEST = "manifest.json"
PROGRESS = "progress.json"
TENSORS = "tensors.safetensors"

_NAME = re.compile(r"step-(\d{9})")
_UNFINISHED = "unfinished-"
_LOCK_SECONDS = 5.0
"""How long to wait for a folder: the process that a killed session left behind ends within this."""


class CheckpointRefused(PeftcoreError):
    """A checkpoint is damaged, incomplete or not of this trial: nothing of it was used."""


@dataclass(frozen=True, kw_only=True)
class Checkpoints:
    """Where the checkpoints of one trial go, and how often one is written.

    Attributes:
        folder: of this trial in this environment, and of no other.
        environment: the key of the environment that the trial runs in
            (:func:`peftcore.measuring.environment.environment_key`).
        seconds: of training between two of them, 0 for one after each step; ``None`` for as often
            as costs little.
    """

    folder: Path
    environment: str
    seconds: float | None = None

    @classmethod
    def of(cls, store: Path, trial_id: str, environment: str, seconds: float | None) -> Checkpoints:
        """Return where, beside a store, the checkpoints of a trial go."""
        folder = store / "checkpoints" / f"{trial_id}-{environment}"
        return cls(folder=folder, environment=environment, seconds=seconds)

    def to_job(self) -> dict[str, Any]:
        """Return this as JSON values."""
        return {
            "folder": str(self.folder.resolve()),
            "environment": self.environment,
            "seconds": self.seconds,
        }

    @classmethod
    def from_job(cls, job: Mapping[str, Any]) -> Checkpoints:
        """Return what :meth:`to_job` described."""
        return cls(
            folder=Path(job["folder"]), environment=job["environment"], seconds=job["seconds"]
        )

    def newest(self) -> int | None:
        """Return after how many steps the newest checkpoint was written, whatever is in it."""
        return max((steps for steps, _ in _found(self.folder)), default=None)

    def seconds_spent(self) -> float:
        """Return what the trial took up to its newest checkpoint, 0 where that is not known."""
        newest = max(_found(self.folder), default=None)
        if newest is None:
            return 0.0
        try:
            return float(json.loads((newest[1] / PROGRESS).read_bytes())["elapsed_seconds"])
        except (OSError, ValueError, LookupError, TypeError):
            # The child will refuse it and say why.
            return 0.0

    def remove(self) -> None:
        """Delete them all."""
        shutil.rmtree(self.folder, ignore_errors=True)


@dataclass(frozen=True)
class Verified:
    """A checkpoint whose bytes are those that were written, for this very trial.

    Attributes:
        steps: how many steps of training it comes after.
        progress: all of it that is no tensor.
        tensors: the file of its tensors.
    """

    steps: int
    progress: Mapping[str, Any]
    tensors: Path


class CheckpointFolder:
    """The checkpoints of one training run.

    Args:
        folder: where they are; made when the first is written.
        identity: what a checkpoint must agree with to be of this run, in words and their values.
    """

    def __init__(self, folder: Path, identity: Mapping[str, str]) -> None:
        self.folder = folder
        self._identity = dict(identity)

    def write(
        self, steps: int, progress: Mapping[str, Any], write_tensors: Callable[[Path], None]
    ) -> None:
        """Write the checkpoint after this many steps, and delete all but the newest.

        At any moment it is either there with all its parts on the disk, or not there.

        Raises:
            OSError: it could not be written; those before it are still there.
            ValueError: ``progress`` holds a number that is not finite.
        """
        self.folder.mkdir(parents=True, exist_ok=True)
        unfinished = self.folder / f"{_UNFINISHED}{os.getpid()}"
        shutil.rmtree(unfinished, ignore_errors=True)
        unfinished.mkdir()
        try:
            write_tensors(unfinished / TENSORS)
            (unfinished / PROGRESS).write_text(json.dumps(progress, allow_nan=False))
            files = {name: _sha256(unfinished / name) for name in (TENSORS, PROGRESS)}
            manifest = {
                "format": FORMAT,
                "identity": self._identity,
                "steps": steps,
                "sha256": files,
            }
            for name in files:
                _to_disk(unfinished / name)
            (unfinished / MANIFEST).write_text(json.dumps(_signed(manifest)))
            _to_disk(unfinished / MANIFEST)
            _to_disk(unfinished)
            final = self.folder / f"step-{steps:09d}"
            shutil.rmtree(final, ignore_errors=True)
            unfinished.rename(final)
            _to_disk(self.folder)
        except BaseException:
            shutil.rmtree(unfinished, ignore_errors=True)
            raise
        for _, older in sorted(_found(self.folder), reverse=True)[KEPT:]:
            shutil.rmtree(older, ignore_errors=True)

    def newest_first(self) -> Iterator[Verified | CheckpointRefused]:
        """Yield each checkpoint, or why it can't be used; what was left unfinished is deleted."""
        for left in self.folder.glob(f"{_UNFINISHED}*"):
            shutil.rmtree(left, ignore_errors=True)
        for steps, path in sorted(_found(self.folder), reverse=True):
            try:
                yield self._verified(steps, path)
            except CheckpointRefused as refused:
                yield refused

    def discard_after(self, steps: int) -> None:
        """Delete the checkpoints after more than this many steps."""
        for found, path in _found(self.folder):
            if found > steps:
                shutil.rmtree(path, ignore_errors=True)

    def _verified(self, steps: int, path: Path) -> Verified:
        """Return the checkpoint in this folder.

        Raises:
            CheckpointRefused: it is not whole, not as it was written, or not of this run.
        """
        manifest = _read_manifest(path / MANIFEST)
        if manifest["format"] != FORMAT:
            raise CheckpointRefused(
                f"its format is {manifest['format']!r}, and this release reads {FORMAT}"
            )
        for name, ours in self._identity.items():
            theirs = manifest["identity"].get(name)
            if theirs != ours:
                raise CheckpointRefused(f"it is of another {name} ({theirs}, not {ours})")
        if manifest["steps"] != steps:
            raise CheckpointRefused(f"it was written after step {manifest['steps']}")
        for name in (TENSORS, PROGRESS):
            try:
                found = _sha256(path / name)
            except OSError as error:
                raise CheckpointRefused(f"{name} can't be read: {error.strerror}") from None
            if found != manifest["sha256"].get(name):
                raise CheckpointRefused(f"{name} is not what was written (its SHA-256 differs)")
        try:
            progress = json.loads((path / PROGRESS).read_bytes())
        except ValueError as error:
            raise CheckpointRefused(f"{PROGRESS} is not JSON: {error}") from None
        if not isinstance(progress, dict):
            raise CheckpointRefused(f"{PROGRESS} holds no object")
        return Verified(steps, progress, path / TENSORS)


@contextmanager
def sole_use(folder: Path) -> Iterator[bool]:
    """Keep other processes from using this folder for checkpoints inside the block.

    Yields:
        Whether it is ours: another session may be running the very same trial. Where the system
        has no such locks it always is.
    """
    try:
        import fcntl
    except ImportError:
        yield True
        return
    folder.mkdir(parents=True, exist_ok=True)
    # Closed by the system when the process dies, however it does, and with it the lock.
    opened = os.open(folder, os.O_RDONLY)
    try:
        deadline = time.monotonic() + _LOCK_SECONDS
        while True:
            try:
                fcntl.flock(opened, fcntl.LOCK_EX | fcntl.LOCK_NB)
                break
            except BlockingIOError:
                if time.monotonic() >= deadline:
                    yield False
                    return
            time.sleep(0.05)
        yield True
    finally:
        os.close(opened)


def _found(folder: Path) -> list[tuple[int, Path]]:
    """Return each finished checkpoint's number of steps and its folder."""
    try:
        paths = list(folder.iterdir())
    except OSError:
        return []
    matches = ((_NAME.fullmatch(path.name), path) for path in paths)
    return [(int(match[1]), path) for match, path in matches if match]


def _read_manifest(file: Path) -> dict[str, Any]:
    try:
        content = json.loads(file.read_bytes())
    except OSError as error:
        raise CheckpointRefused(f"{MANIFEST} can't be read: {error.strerror}") from None
    except ValueError:
        raise CheckpointRefused(f"{MANIFEST} is not JSON") from None
    kinds = {"format": int, "identity": dict, "steps": int, "sha256": dict, "signature": str}
    if not isinstance(content, dict) or not all(
        isinstance(content.get(name), kind) for name, kind in kinds.items()
    ):
        raise CheckpointRefused(f"{MANIFEST} lacks a part")
    signature = content.pop("signature")
    if _signed(content)["signature"] != signature:
        raise CheckpointRefused(f"{MANIFEST} is not what was written (its SHA-256 differs)")
    return content


def _signed(manifest: Mapping[str, Any]) -> dict[str, Any]:
    """Return the manifest with the SHA-256 of what it says."""
    text = json.dumps(manifest, sort_keys=True)
    return {**manifest, "signature": hashlib.sha256(text.encode()).hexdigest()}


def _sha256(file: Path) -> str:
    with file.open("rb") as stream:
        return hashlib.file_digest(stream, "sha256").hexdigest()


def _to_disk(path: Path) -> None:
    """Wait until a file or a folder is on the disk, as far as the system can tell."""
    if os.name == "nt" and path.is_dir():
        return
    opened = os.open(path, os.O_RDONLY)
    try:
        os.fsync(opened)
    finally:
        os.close(opened)

"""What processes tell each other beside a store: who runs which trial, and what was planned.

A trial is claimed while it runs, so that no two processes run it at once. A claim whose process
died stays behind, and tells a session which trial a worker was in when it was killed.
"""

from __future__ import annotations

import dataclasses
import hashlib
import json
import os
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import IO, Any

from peftcore.errors import StoreError
from peftcore.running.locks import acquire, rewrite, wait_for
from peftcore.writing import write_whole

_CLAIM, _PLAN = "claim", "plan"


@dataclass(frozen=True, kw_only=True)
class Claim:
    """Who runs a trial.

    Attributes:
        trial: its id.
        session: what tells one session's processes from another's.
        worker: the name of the worker of pytest-xdist, if one runs it.
        pid: of the process.
    """

    trial: str
    session: str
    worker: str | None = None
    pid: int = dataclasses.field(default_factory=os.getpid)

    @property
    def whose(self) -> str:
        """The process in words."""
        return f"worker {self.worker}" if self.worker else f"process {self.pid}"


@contextmanager
def claimed(folder: Path, claim: Claim, *, waiting: Callable[[], None]) -> Iterator[Claim | None]:
    """Hold a trial's claim while the block runs, and wait while another process holds it.

    Gives the claim of a process of this very session that died with it, or ``None``. That one
    stays, so that the trial counts as lost for the rest of the session.

    Args:
        folder: of the store; it is there.
        claim: who runs which trial.
        waiting: called once if another process holds it.

    Raises:
        StoreError: the claim can't be written.
    """
    # Ids come from names: the name of a file is made of digits alone.
    path = folder / f"{hashlib.sha256(claim.trial.encode()).hexdigest()[:16]}.{_CLAIM}"
    try:
        stream = wait_for(path, waiting=waiting)
    except OSError as error:
        raise _unusable(path, error) from None
    with stream:
        before = _read(stream)
        if before is not None and before.session == claim.session:
            yield before
            return
        try:
            try:
                rewrite(stream, json.dumps(dataclasses.asdict(claim)))
            except OSError as error:
                raise _unusable(path, error) from None
            yield None
        finally:
            path.unlink(missing_ok=True)


def _unusable(path: Path, error: OSError) -> StoreError:
    return StoreError(
        f"{path} can't be written, so that no record could be either: {error.strerror or error}"
    )


def left_behind(folder: Path, session: str) -> list[Claim]:
    """Return the claims of a session's processes that died while they held them."""
    found = []
    for path in sorted(folder.glob(f"*.{_CLAIM}")):
        stream = acquire(path, create=False)
        if stream is None:
            continue
        with stream:
            claim = _read(stream)
        if claim is not None and claim.session == session:
            found.append(claim)
    return found


def end_session(folder: Path, session: str) -> None:
    """Remove what a session's processes left behind."""
    for path in sorted(folder.glob(f"*.{_CLAIM}")):
        stream = acquire(path, create=False)
        if stream is None:
            continue
        with stream:
            claim = _read(stream)
            if claim is None or claim.session == session:
                path.unlink(missing_ok=True)
    (folder / f"{session}.{_PLAN}").unlink(missing_ok=True)


def _read(stream: IO[str]) -> Claim | None:
    """Return the claim that a file holds; ``None`` for an empty one or one that is cut short."""
    stream.seek(0)
    try:
        return Claim(**json.loads(stream.read()))
    except (ValueError, TypeError):
        return None


def write_plan(folder: Path, session: str, plan: Mapping[str, Any]) -> None:
    """Tell the session's other processes what its tests are about to run.

    Args:
        folder: of the store.
        session: what tells one session's processes from another's.
        plan: JSON values by the test's name.
    """
    # Every worker writes the same.
    write_whole(folder / f"{session}.{_PLAN}", json.dumps(plan))


def read_plan(folder: Path, session: str) -> dict[str, Any]:
    """Return what the session's processes told with :func:`write_plan`; empty if none did."""
    try:
        content: dict[str, Any] = json.loads(
            (folder / f"{session}.{_PLAN}").read_text(encoding="utf-8")
        )
    except FileNotFoundError:
        return {}
    return content

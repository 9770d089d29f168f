"""Whether other trials ran on the machine at the same time, so that times say little.

Each trial that runs is present by a file in one folder of the machine, locked as long as it runs.
Whoever starts looks at the others' files, and leaves a mark in each that is held.
"""

from __future__ import annotations

import os
import secrets
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import IO

from peftcore.running.locks import acquire, runtime_folder


@dataclass
class Presence:
    """One trial that runs.

    Attributes:
        shared: whether another ran at any moment since it began; ``None`` where the machine has
            no folder to tell.
    """

    stream: IO[str] | None
    beside: bool = False

    @property
    def shared(self) -> bool | None:
        """Whether another trial of this user ran on the machine since this one began."""
        if self.stream is None:
            return None
        # Not by its name: whoever tidies scratch files may have taken that.
        return self.beside or os.fstat(self.stream.fileno()).st_size > 0


@contextmanager
def present() -> Iterator[Presence]:
    """Be seen by the other trials on this machine while the block runs, and see them."""
    try:
        folder = runtime_folder() / "running"
        folder.mkdir(exist_ok=True)
        path, stream = _appear(folder)
    except OSError:
        yield Presence(None)
        return
    with stream:
        try:
            yield Presence(stream, beside=_mark_others(folder, path))
        finally:
            path.unlink(missing_ok=True)


def _appear(folder: Path) -> tuple[Path, IO[str]]:
    """Return this trial's file, locked before anybody can take it for one that was left behind."""
    path = folder / f"{secrets.token_hex(8)}.trial"
    stream = acquire(path.with_suffix(".new"))
    assert stream is not None, "nobody else knows this name"
    path.with_suffix(".new").rename(path)
    return path, stream


def _mark_others(folder: Path, own: Path) -> bool:
    """Leave a mark in each file that is held, remove those that are not; return if there were."""
    others = False
    for path in folder.glob("*.trial"):
        if path == own:
            continue
        stale = acquire(path, create=False)
        if stale is not None:
            with stale:
                path.unlink(missing_ok=True)
        elif path.exists():
            others = True
            # The one that runs may end at this very moment.
            flags = os.O_WRONLY | os.O_APPEND | os.O_NOFOLLOW
            try:
                mark = os.open(path, flags)
            except FileNotFoundError:
                continue
            os.write(mark, b"+")
            os.close(mark)
    return others

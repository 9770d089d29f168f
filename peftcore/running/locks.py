"""Locks between processes that the system itself frees when their holder dies, however it dies.

They are advisory locks (``flock``) on files: no process has to clean up after another, and a file
that was left behind is told from one that is held by trying.
"""

from __future__ import annotations

import fcntl
import os
import stat
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import IO

POLL_SECONDS = 0.2

RUNTIME_VARIABLE = "PEFTCORE_RUNTIME"
"""Names the folder of the locks that hold for the whole machine, where it is not the usual one."""


def runtime_folder() -> Path:
    """Return the folder for what the sessions of one user on this machine tell each other.

    It is in the system's folder for scratch files. Containers share it only where they share that
    folder, or where ``PEFTCORE_RUNTIME`` names one that they do.

    Raises:
        OSError: it can't be made, or somebody else has made it.
    """
    named = os.environ.get(RUNTIME_VARIABLE)
    folder = Path(named) if named else Path(tempfile.gettempdir()) / f"peftcore-{os.getuid()}"
    folder.mkdir(mode=0o700, parents=True, exist_ok=True)
    found = folder.lstat()
    # Anybody may write where scratch files are: a link there could lead what we write elsewhere.
    if not stat.S_ISDIR(found.st_mode) or found.st_uid != os.getuid():
        raise PermissionError(f"{folder} is no folder of this user: name one in {RUNTIME_VARIABLE}")
    return folder


def acquire(path: Path, *, create: bool = True, shared: bool = False) -> IO[str] | None:
    """Return the file, open for reading and writing and locked; ``None`` where another holds it.

    The lock lasts until the file is closed or the process ends.

    Args:
        path: the file.
        create: whether to make it; otherwise there is no lock where it is not there.
        shared: whether others may hold it at the same time, if they share it as well.
    """
    while True:
        flags = os.O_RDWR | os.O_CLOEXEC | os.O_NOFOLLOW | (os.O_CREAT if create else 0)
        try:
            stream = os.fdopen(os.open(path, flags, 0o666), "r+", encoding="utf-8")
        except FileNotFoundError:
            if create:
                raise
            return None
        try:
            fcntl.flock(stream, (fcntl.LOCK_SH if shared else fcntl.LOCK_EX) | fcntl.LOCK_NB)
        except BlockingIOError:
            stream.close()
            return None
        # Its holder may have removed it in between: then the lock is on a file that nobody sees.
        if _is(path, stream):
            return stream
        stream.close()


def _is(path: Path, stream: IO[str]) -> bool:
    try:
        return os.path.samestat(path.stat(), os.fstat(stream.fileno()))
    except FileNotFoundError:
        return False


def wait_for(path: Path, *, waiting: Callable[[], None]) -> IO[str]:
    """Return the file, open and locked, once no other process holds it.

    Args:
        path: the file.
        waiting: called once if another process holds it.
    """
    stream = acquire(path)
    if stream is None:
        waiting()
    while stream is None:
        time.sleep(POLL_SECONDS)
        stream = acquire(path)
    return stream


def lock_of(file: Path) -> Path:
    """Return the lock of a file that is read and written anew, beside it."""
    return file.with_name(f"{file.name}.lock")


def rewrite(stream: IO[str], text: str) -> None:
    """Put ``text`` in place of what an open file holds, at once."""
    stream.seek(0)
    stream.truncate()
    stream.write(text)
    stream.flush()

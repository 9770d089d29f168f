"""Files that appear whole or not at all."""

from __future__ import annotations

import os
from pathlib import Path


def write_whole(path: Path, text: str) -> None:
    """Write a text in place of what the file held: whoever reads sees the old one or the new one.

    It is written beside and renamed into place; where the path is a link, into that of the file it
    leads to. A pipe or a device takes the text as it is. Line ends are the same on every system.

    Raises:
        OSError: the folder can't be made or the file can't be written; what it held is still there.
    """
    if path.exists() and not path.is_file():
        path.write_text(text, encoding="utf-8", newline="\n")
        return
    path = path.resolve()
    path.parent.mkdir(parents=True, exist_ok=True)
    # Other processes may be writing the same file: each beside it under a name of its own.
    scratch = path.with_name(f"{path.name}.{os.getpid()}.new")
    try:
        scratch.write_text(text, encoding="utf-8", newline="\n")
        scratch.replace(path)
    finally:
        scratch.unlink(missing_ok=True)

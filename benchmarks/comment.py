"""Make a comment out of a summary that may come from anywhere: ``comment.py SUMMARY > BODY``.

The workflow that posts it may write to the repository, and the summary was written by the code of a
pull request. So nothing in it may notify people, link or load anything, pass for another comment,
or be long; it needs nothing but Python, and runs nothing.
"""

from __future__ import annotations

import re
import stat
import sys
import unicodedata
from pathlib import Path

MARKER = "<!-- peftcore: base and head -->"
"""How comment.yml finds the comment that it posted before."""

MOST_CHARACTERS = 40_000
"""GitHub takes 65,536 characters; what is made harmless below grows a little."""

_BREAK = "\u200b"
"""A space of no width: what it parts looks the same, and is no longer read as one."""

_NOTE = "*Written by the code of this pull request, run on a machine of its own.*"
_ALLOWED = ("<sub>", "</sub>", "<br>", "&amp;", "&lt;", "&gt;")
_TAG_OR_ENTITY = re.compile("|".join(map(re.escape, _ALLOWED)) + "|[<&]")
_MEANING = re.compile(
    r"(?P<mention>@)(?=\w)"
    r"|(?P<number>\#|\bGH-)(?=\d)"
    r"|(?P<scheme>\b(?:https?|ftp|mailto|xmpp)):"
    r"|(?P<host>\bwww)\.",
    re.IGNORECASE,
)


def harmless(text: str) -> str:
    """Return Markdown that shows what ``text`` says, and does nothing."""
    lines = [
        "".join(c for c in line if c == "\t" or unicodedata.category(c) not in ("Cc", "Cf", "Co"))
        for line in text.splitlines()
    ]
    text = "\n".join(lines)
    if len(text) > MOST_CHARACTERS:
        whole = text[:MOST_CHARACTERS].rpartition("\n")[0] or text[:MOST_CHARACTERS]
        text = f"{whole}\n\n*Cut here: the artifact has all of it.*"
    # Links, images and their definitions: `[words](place)`, `[words][place]`, `[place]: …`.
    text = re.sub(r"\](?=[(\[:])", f"]{_BREAK}", text)
    text = _TAG_OR_ENTITY.sub(_as_text, text)
    return _MEANING.sub(_parted, text)


def _as_text(found: re.Match[str]) -> str:
    return {"<": "&lt;", "&": "&amp;"}.get(found[0], found[0])


def _parted(found: re.Match[str]) -> str:
    head = found[found.lastgroup or 0]
    return f"{head}{_BREAK}{found[0][len(head) :]}"


def read(path: Path) -> str:
    """Return the beginning of a file that is one, whatever its bytes are.

    Raises:
        ValueError: it is a link, which might lead to what only this machine may know, or no file.
    """
    if not stat.S_ISREG(path.lstat().st_mode):
        raise ValueError(f"{path} is no plain file")
    with path.open("rb") as file:
        return file.read(8 * MOST_CHARACTERS).decode("utf-8", errors="replace")


def main() -> None:
    """Write the comment to standard output."""
    body = harmless(read(Path(sys.argv[1])))
    sys.stdout.reconfigure(encoding="utf-8")  # type: ignore[union-attr]
    sys.stdout.write(f"{MARKER}\n{body}\n\n{_NOTE}\n")


if __name__ == "__main__":
    main()

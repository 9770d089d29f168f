"""Two drawings of one figure: the published one, and the one that follows from the records.

The same records and the same release of matplotlib give the same bytes, and where bytes are equal
nothing more is asked. Where they differ, it must be told whether something else is drawn or another
processor rounded a coordinate: of an SVG, which is text, every word must be equal and every number
to a hundredth of a point; of a PNG a few pixels may differ in shade.
"""

from __future__ import annotations

import io
import re
import struct

import matplotlib.image
import numpy as np

from peftcore.audit.findings import Ledger

SVG_POINTS = 0.01
"""Coordinates may differ by this much: a tenth of a pixel of a PNG is three times as much."""

PNG_SHADE = 64 / 255
"""A pixel that differs by no more than this in any colour is the same."""

PNG_PIXELS = 10
"""So many pixels may differ; one changed digit is some twenty."""

_TOKEN = re.compile(r"[+-]?\d+(?:\.\d+)?(?:e[+-]?\d+)?")
_ID = re.compile(r"(?<=[#\"])[a-z]+[0-9a-f]{10}(?=[\")])")


def compare_figures(name: str, published: bytes, follows: bytes, ledger: Ledger) -> None:
    """Check one figure's file against the one that follows from the records.

    Args:
        name: of the file, for findings; it says which format it is.
        published: its bytes.
        follows: the bytes that follow.
        ledger: gets the finding; the figure counts as one check.
    """
    why = None
    if published != follows:
        compare = _compare_svg if name.endswith(".svg") else _compare_png
        why = compare(published, follows)
    hint = f"; it is compared with what matplotlib {matplotlib.__version__} draws"
    ledger.that(why is None, name, f"another figure follows from the records: {why}{hint}")


def _compare_svg(published: bytes, follows: bytes) -> str | None:
    """Return in what two drawings differ, or ``None``."""
    ours, theirs = (_numbered(text.decode(errors="replace")) for text in (published, follows))
    words = [_TOKEN.split(text) for text in (ours, theirs)]
    if words[0] != words[1]:
        return "it has other parts"
    numbers = [np.array(_TOKEN.findall(text), dtype=np.float64) for text in (ours, theirs)]
    apart = np.abs(numbers[0] - numbers[1])
    far = int((apart > SVG_POINTS).sum())
    return f"{far:,} of {apart.size:,} coordinates are elsewhere" if far else None


def _numbered(text: str) -> str:
    """Return the text with its ids, which are hashes of what they name, numbered as they come."""
    known: dict[str, str] = {}
    return _ID.sub(lambda found: known.setdefault(found.group(), f"id{len(known)}"), text)


def _compare_png(published: bytes, follows: bytes) -> str | None:
    sizes = [_size(content) for content in (published, follows)]
    # Before anything is unpacked: what claims a huge size is not given the memory for it.
    if sizes[0] != sizes[1]:
        return "it has another size" if sizes[0] else "it is no PNG"
    try:
        ours, theirs = (
            np.asarray(matplotlib.image.imread(io.BytesIO(content), format="png"))
            for content in (published, follows)
        )
    except Exception as error:  # A damaged file may raise anything.
        return f"it can't be read ({type(error).__name__})"
    if ours.shape != theirs.shape:
        return "it has other colours"
    differing = int((np.abs(ours - theirs).max(axis=-1) > PNG_SHADE).sum())
    return f"{differing:,} pixels differ" if differing > PNG_PIXELS else None


def _size(content: bytes) -> tuple[int, int] | None:
    """Return the width and height that a PNG's header tells; ``None`` of any other file."""
    if not content.startswith(b"\x89PNG\r\n\x1a\n") or len(content) < 24:
        return None
    width, height = struct.unpack(">II", content[16:24])
    return int(width), int(height)

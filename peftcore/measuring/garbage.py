"""Python's search for garbage, kept away from the half a million objects that libraries bring."""

from __future__ import annotations

import gc
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

_set_aside = False


@contextmanager
def importing() -> Iterator[None]:
    """Import libraries without looking for garbage, and never look through what they brought.

    Looking for it again and again while they grow takes a quarter of the time of importing them; it
    is done once, so that the little they leave is freed. Later looks would find all as it was, in
    the middle of some training step. For the start of a process that runs one thing: what is there
    by then is kept.
    """
    global _set_aside
    gc.disable()
    try:
        yield
    finally:
        gc.collect()
        gc.freeze()
        _set_aside = True
        gc.enable()


def live_objects() -> list[Any]:
    """Return all that Python's collector knows of and that is no garbage, of libraries too."""
    if _set_aside:
        gc.unfreeze()
    gc.collect()
    return gc.get_objects()

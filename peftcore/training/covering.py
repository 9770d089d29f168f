"""Cover the ``forward`` of single modules of an unmodified model, and uncover it again."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from typing import Any

from torch import nn


@contextmanager
def covered(forwards: Mapping[nn.Module, Callable[..., Any]]) -> Iterator[None]:
    """Let each of these modules compute what it is mapped to inside the block, and then as before.

    A module may be covered already: then that comes back.
    """
    before = {module: vars(module).get("forward") for module in forwards}
    try:
        for module, forward in forwards.items():
            setattr(module, "forward", forward)  # noqa: B010 (mypy has it a method)
        yield
    finally:
        for module, earlier in before.items():
            module.__dict__.pop("forward", None)
            if earlier is not None:
                setattr(module, "forward", earlier)  # noqa: B010

"""Cover a method of single modules of an unmodified model, and uncover it again."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from typing import Any

from torch import nn


@contextmanager
def covered(
    methods: Mapping[nn.Module, Callable[..., Any]], name: str = "forward"
) -> Iterator[None]:
    """Let each of these modules do what it is mapped to inside the block, and then as before.

    A module may be covered already: then that comes back.

    Args:
        methods: what takes the place of the method ``name`` of each module.
        name: which method.
    """
    before = {module: vars(module).get(name) for module in methods}
    try:
        for module, method in methods.items():
            setattr(module, name, method)
        yield
    finally:
        for module, earlier in before.items():
            module.__dict__.pop(name, None)
            if earlier is not None:
                setattr(module, name, earlier)

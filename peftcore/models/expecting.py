"""Warnings of peft that tell nothing wrong, and why they don't."""

from __future__ import annotations

import re
import warnings
from collections.abc import Iterator
from contextlib import contextmanager

_EXPECTED = (
    # AdaLoRA keeps ranks by the names of tensors, and reads them itself.
    "The following rank_pattern keys did not match any targeted module",
    # BOFT goes without the kernel that it would have to compile.
    "Failed to load the CUDA extension",
    "Setting boft_n_butterfly_factor to 1",
    # What LN tuning trains is no linear layer, and it does not ask how many inputs it has.
    "Unsupported layer type",
    # BEFT adds one where there is none.
    "Detected that the base layer has no bias term",
)
"""How each begins."""


@contextmanager
def as_expected() -> Iterator[None]:
    """Keep these from being shown while the block runs."""
    with warnings.catch_warnings():
        for message in _EXPECTED:
            warnings.filterwarnings("ignore", message=re.escape(message))
        yield

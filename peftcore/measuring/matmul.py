"""The rate at which this machine multiplies matrices: the yardstick of utilisation."""

from __future__ import annotations

import time
from collections.abc import Callable

import torch
from torch.nn.functional import linear

_TICK_SECONDS = 0.002
"""A repetition takes at least so long, so that neither the clock nor a launch counts."""

_SECONDS = 0.25
_REPETITIONS = 20
"""Repetitions end after so long, or so many."""


@torch.no_grad()
def matmul_rate(
    rows: int,
    width: int,
    *,
    dtype: torch.dtype,
    device: torch.device,
    synchronise: Callable[[], None],
) -> float:
    """Return the FLOPs a second of a product of ``rows`` x ``width`` by ``width`` x 4 ``width``.

    That is what a transformer's feed-forward layer computes of so many tokens. The best of several
    repetitions, as other programs only ever slow one down.

    Args:
        rows: how many tokens.
        width: of the hidden states.
        dtype: the number format of both factors.
        device: where.
        synchronise: returns when the device has done what was asked of it.
    """
    tokens = torch.randn(rows, width, device=device).to(dtype)
    weight = torch.randn(4 * width, width, device=device).to(dtype)

    def seconds(products: int) -> float:
        synchronise()
        start = time.perf_counter()
        for _ in range(products):
            linear(tokens, weight)
        synchronise()
        return time.perf_counter() - start

    products = 1
    seconds(products)  # A kernel is made, or loaded, at its first use.
    while (best := seconds(products)) < _TICK_SECONDS:
        products *= 2
    taken = best
    for _ in range(_REPETITIONS - 1):
        if taken >= _SECONDS:
            break
        again = seconds(products)
        taken += again
        best = min(best, again)
    return 2 * rows * width * 4 * width * products / best

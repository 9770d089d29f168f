"""Which metrics the gate looks at, by the names that options know them by.

Direction, margin and drift of each stand in :mod:`peftcore.report.metrics`, like all that is known
of a metric.
"""

from __future__ import annotations

from peftcore.errors import UsageError, unknown
from peftcore.report.metrics import (
    ACCURACY,
    ANONYMOUS_MEMORY,
    GPU_MEMORY,
    METRICS,
    OPERATIONS,
    TENSOR_BYTES,
    TRAIN_LOSS,
    TRAIN_TIME,
    Metric,
)

GATED: tuple[Metric, ...] = tuple(m for m in METRICS if m.margin is not None or m.counted)

GROUPS: dict[str, tuple[Metric, ...]] = {
    "accuracy": (ACCURACY,),
    "loss": (TRAIN_LOSS,),
    "time": (TRAIN_TIME,),
    "memory": (GPU_MEMORY, ANONYMOUS_MEMORY),
    "counts": tuple(metric for metric in GATED if metric.counted),
}

DISPATCHED = frozenset({OPERATIONS.key, TENSOR_BYTES.key})
"""Counts of what torch dispatches and holds, which other packages or another kind of machine may
change with no change of ours."""

DISPATCHING = frozenset({"torch", "transformers", "peft", "bitsandbytes", "accelerate"})
"""The packages that may."""


def parse_metrics(text: str, *, where: str) -> tuple[Metric, ...]:
    """Return the metrics that a comma-separated list of groups and keys names, in their order.

    Raises:
        UsageError: one does not exist, or none is named.
    """
    names = [part.strip().lower() for part in text.split(",") if part.strip()]
    known = {**GROUPS, **{metric.key: (metric,) for metric in GATED}}
    if not names:
        raise UsageError(f"{where} names no metric: known are {', '.join(known)}")
    wanted: set[str] = set()
    for name in names:
        if name not in known:
            raise unknown("metric", name, known, where=where)
        wanted |= {metric.key for metric in known[name]}
    return tuple(metric for metric in GATED if metric.key in wanted)

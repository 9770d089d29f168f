"""What is measured of serving, as records name it."""

from __future__ import annotations

from dataclasses import dataclass, field

PLAIN, ATTACHED, MERGED = "plain", "attached", "merged"
"""How a model predicts: without the method, with its adapter, with the adapter in its weights."""

LOAD, EXCHANGE, SWAP, PREDICT, HOLD = "load", "exchange", "swap", "predict", "hold"
"""What is measured: an adapter onto a bare backbone, one from disk in another's place, another
resident one, logits, and bytes held."""

MEASURED, ESTIMATED, UNAVAILABLE = "measured", "estimated", "unavailable"
"""What a figure may be."""


@dataclass
class Figure:
    """One thing that is measured, or why it isn't.

    Attributes:
        what: which of the five.
        served: how the model predicts; ``None`` of what does not.
        residents: how many adapters it holds; 0 of a model without the method.
        examples: how many are predicted together; ``None`` of what predicts none.
        seconds: of each time that it was measured.
        bytes: of what is held.
        status: whether it is measured, estimated or unavailable.
        detail: why it isn't measured, or what must be known of it.
    """

    what: str
    served: str | None = None
    residents: int = 0
    examples: int | None = None
    seconds: list[float] = field(default_factory=list)
    bytes: int | None = None
    status: str = MEASURED
    detail: str | None = None

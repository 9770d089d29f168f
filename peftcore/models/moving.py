"""Move trained weights from where they begin, until the model's logits show it.

Where they begin, many an adapter changes nothing, and whatever is tried on it (to merge it, to swap
it) seems to work. Nor is it enough that the head moves: that alone would pass for all of it.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping

import torch

from peftcore.errors import CheckFailed
from peftcore.models.attach import Classifier
from peftcore.models.checks import rounding_bound
from peftcore.scenarios import Precision

FIRST_STEP = 0.01
"""The standard deviation of the normal draw by which weights are moved, if it shows."""

CLEARLY = 3.0
"""How many times further than rounding could bring logits, a move has to."""

_FARTHEST = 1e3

_APART = 1_000_000
"""Added to a seed, from which weights may have been drawn: moved along itself, a prompt is longer,
which a normalisation hides."""


def move_until_it_shows(
    classifier: Classifier,
    start: Mapping[str, torch.Tensor],
    *,
    seed: int,
    logits: Callable[[], torch.Tensor],
    precision: Precision,
    clearly: float = CLEARLY,
) -> torch.Tensor:
    """Put the trained weights at a random distance from ``start``, and return the logits there.

    The head is moved first, and then all else: each so far that logits differ clearly from those
    before that move. So a model that has taken only one of the two gives itself away.

    Args:
        classifier: changed in place.
        start: the weights to begin at, by the names of the trained parameters.
        seed: draws the direction.
        logits: gives those of the same few texts each time.
        precision: of their products.
        clearly: how many times further than rounding could, a move has to bring logits.

    Raises:
        CheckFailed: however far they are moved, no logit changes.
    """
    parameters = classifier.trained_parameters()
    head = [name for name in parameters if classifier.in_head(name)]
    rest = [name for name in parameters if not classifier.in_head(name)]
    found = logits()
    for names in filter(None, (head, rest)):
        before, step = found, FIRST_STEP
        while True:
            torch.manual_seed(_APART + seed)
            with torch.no_grad():
                for name in names:
                    draw = torch.randn(parameters[name].shape).to(parameters[name])
                    parameters[name].copy_(start[name] + step * draw)
            found = logits()
            apart = float((found - before).abs().max())
            if apart > clearly * rounding_bound(found, precision):
                break
            step *= 3
            if step > _FARTHEST:
                raise CheckFailed(
                    f"move: no logit shows that {len(names)} trained tensors ({names[0]}, …) moved"
                )
    return found

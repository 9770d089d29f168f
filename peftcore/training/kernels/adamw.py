"""AdamW whose gradients may be narrower than the weights that it updates."""

from __future__ import annotations

import ctypes
import math
from collections.abc import Callable, Iterable, Mapping
from typing import Any

import torch
from torch import nn

from peftcore.training.kernels.passes import address, floats, kernel, whole


class AdamW(torch.optim.Optimizer):
    """AdamW (Loshchilov and Hutter, ICLR 2019), one pass over each weight and what belongs to it.

    Args:
        groups: weights in 32 bits, with their ``weight_decay``.
        rate: the learning rate.
        copies: by a weight's ``id()``, its copy in bf16, where it has one: the gradient comes to
            the copy, and an update renews it.
        library: the kernels.

    Attributes:
        grad_scale: what gradients are divided by on the way, as for torch's own fused AdamW.
        steps: how many updates there were.
    """

    def __init__(
        self,
        groups: Iterable[dict[str, Any]],
        *,
        rate: float,
        copies: Mapping[int, nn.Parameter],
        library: ctypes.CDLL,
    ) -> None:
        super().__init__(groups, {"lr": rate, "weight_decay": 0.0, "betas": (0.9, 0.999)})
        self.grad_scale: torch.Tensor | None = None
        self._copies = copies
        self._library = library
        self.steps = 0

    def gradients(self) -> list[torch.Tensor]:
        """Return all gradients that there are."""
        return [
            g
            for group in self.param_groups
            for p in group["params"]
            if (g := self._of(p).grad) is not None
        ]

    def _of(self, weight: nn.Parameter) -> nn.Parameter:
        """Return what the gradient of a weight comes to."""
        return self._copies.get(id(weight), weight)

    def gradient_norm(self) -> torch.Tensor:
        """Return the norm of all gradients together, in 32 bits."""
        squares = 0.0
        for gradient in self.gradients():
            sum_of_squares = kernel(self._library, "sum_of_squares", gradient.dtype)
            squares += sum_of_squares(address(gradient), *whole(gradient.numel()))
        return torch.tensor(math.sqrt(squares))

    @torch.no_grad()
    def step(self, closure: Callable[[], float] | None = None) -> None:  # type: ignore[override]
        """Update each weight that has a gradient, and its copy."""
        if closure is not None:
            raise ValueError("this AdamW takes no closure")
        self.steps += 1
        excess = 1.0 if self.grad_scale is None else self.grad_scale.item()
        for group in self.param_groups:
            first, second = group["betas"]
            how = floats(
                1 - group["lr"] * group["weight_decay"],
                1 - first,
                1 - second,
                group["lr"] / (1 - first**self.steps),
                math.sqrt(1 - second**self.steps),
                1e-8,
                excess,
            )
            for weight in group["params"]:
                gradient = self._of(weight).grad
                if gradient is None:
                    continue
                state = self.state[weight]
                if not state:
                    state["mean"] = torch.zeros_like(weight)
                    state["square"] = torch.zeros_like(weight)
                kernel(self._library, "adam", gradient.dtype)(
                    *map(address, (weight, gradient, state["mean"], state["square"])),
                    address(self._copies.get(id(weight))),
                    *whole(weight.numel()),
                    *how,
                )

    def zero_grad(self, set_to_none: bool = True) -> None:
        """Let all gradients go."""
        super().zero_grad(set_to_none)
        for copy in self._copies.values():
            copy.grad = None

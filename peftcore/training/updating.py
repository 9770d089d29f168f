"""One step of training: forward, backward, clip, AdamW, decay the rate.

On a GPU nothing in it waits for the GPU, and nothing that changes from step to step is a number of
Python's: it can be recorded and played back.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any

import torch
from torch import nn

from peftcore.accelerations import BF16_GRADIENTS, FUSED_UPDATE
from peftcore.data.batches import Batch
from peftcore.models.factors import lora_factors
from peftcore.scenarios import Precision, Recipe
from peftcore.training.accelerating import Accelerated
from peftcore.training.kernels.adamw import AdamW as CompiledAdamW


class LossScale:
    """The factor that keeps gradients of 16-bit floats from underflowing, as GradScaler chooses it.

    It doubles after 2,000 steps without an overflow and is halved by one (Micikevicius et al.,
    "Mixed Precision Training", ICLR 2018). torch's own GradScaler makes the same choices, but asks
    the GPU for them.
    """

    def __init__(self, device: torch.device) -> None:
        self.factor = torch.full((), 2.0**16, device=device)
        self.grown = torch.zeros((), dtype=torch.int32, device=device)

    def renew(self, overflow: torch.Tensor) -> None:
        """Choose the next factor; ``overflow`` is 1 if a gradient was not finite, else 0."""
        torch._amp_update_scale_(self.factor, self.grown, overflow, 2.0, 0.5, 2000)


class Update:
    """One step of training.

    Args:
        classifier: those of its parameters that require gradients are trained.
        recipe: how.
        steps: after how many the rate is zero.
    """

    def __init__(self, classifier: Accelerated, recipe: Recipe, steps: int) -> None:
        self._classifier = classifier
        self._recipe = recipe
        self._steps = steps
        self._fused = classifier.on(FUSED_UPDATE)
        self._trained = [parameter for _, parameter in classifier.trained()]
        device = classifier.device
        # Every other precision has the range of 32 bits.
        self._scale = LossScale(device) if recipe.precision is Precision.FP16 else None
        self._taken = torch.zeros((), dtype=torch.float64, device=device)
        self._optimiser = _optimiser(classifier, recipe)
        own = classifier.optimiser
        follows = own is not None and own.full_gradient
        self._full_gradient = FullGradient(classifier.model) if follows else None
        self._calls = 0

    def __call__(self, batch: Batch) -> torch.Tensor:
        """Train on one batch and return its mean loss before the update, still on the device."""
        objective, loss = self._classifier.losses(batch)
        (objective if self._scale is None else objective * self._scale.factor).backward()
        overflow = self._clip()
        if self._full_gradient is not None:
            self._full_gradient.apply()
        self._optimiser.step()
        if self._classifier.allocate is not None:
            # By the gradients, which are still there.
            self._classifier.allocate(self._calls)
            self._calls += 1
        self._decay(overflow)
        self._classifier.forget_gradients()
        return loss.detach()

    def _clip(self) -> torch.Tensor | None:
        """Clip the gradients, or leave it to the optimiser to divide by what is too much.

        With a loss scale, return 1 if a gradient was not finite, when the optimiser skips the
        update, else 0.
        """
        limit = self._recipe.max_gradient_norm
        if isinstance(self._optimiser, CompiledAdamW):
            norm = self._optimiser.gradient_norm()
        else:
            norm = nn.utils.get_total_norm([p.grad for p in self._trained if p.grad is not None])
        overflow = None
        # The attributes through which torch's own GradScaler has fused kernels divide and skip; the
        # small number is clip_grad_norm_'s.
        divisor = torch.ones_like(norm)
        if self._scale is not None:
            divisor = self._scale.factor.clone()
            overflow = norm.isfinite().logical_not().float()
            self._optimiser.found_inf = overflow  # type: ignore[attr-defined]
            self._scale.renew(overflow)
        excess = ((norm / divisor + 1e-6) / limit).clamp(min=1.0)
        if self._fused:
            self._optimiser.grad_scale = excess * divisor  # type: ignore[attr-defined]
        else:
            by = 1 / (excess * divisor)
            torch._foreach_mul_([p.grad for p in self._trained if p.grad is not None], by)
        return overflow

    def _decay(self, overflow: torch.Tensor | None) -> None:
        """Let the rate go down linearly; after an update that was skipped it waits."""
        self._taken += 1 if overflow is None else 1 - overflow
        self._set_rate()

    def _set_rate(self) -> None:
        left = (1 - self._taken / self._steps).clamp(min=0)
        for group in self._optimiser.param_groups:
            rate = self._recipe.learning_rate * group.get("rate_factor", 1.0) * left
            if isinstance(group["lr"], torch.Tensor):
                group["lr"].copy_(rate)
            else:
                group["lr"] = rate.item()

    def tensors(self) -> dict[str, torch.Tensor]:
        """Return all that the next step depends on but its batch and the model's frozen part.

        By name, live and not copied: trained weights, their copies in 16 bits, the optimiser's
        states, how many steps count for the rate, and the loss scale.
        """
        states = {
            f"{_STATE}{name}.{part}": state
            for name, parameter in self._classifier.trained()
            for part, state in self._optimiser.state.get(parameter, {}).items()
        }
        if isinstance(self._optimiser, CompiledAdamW):
            states[_UPDATES] = torch.tensor(self._optimiser.steps)
        return {**self._places(), **states}

    def restore(self, tensors: Mapping[str, torch.Tensor]) -> None:
        """Put back what :meth:`tensors` gave; to be called before the first step.

        Tensors that are there keep their place in memory, in which a recorded step would look.

        Raises:
            ValueError: something is missing, of another shape or number format, or unknown;
                nothing was changed.
        """
        places = self._places()
        for name, place in places.items():
            require_like(place, tensors.get(name), name)
        known = set(places)
        states: dict[torch.Tensor, dict[str, torch.Tensor]] = {}
        for name, parameter in self._classifier.trained():
            parts = {f"{_STATE}{name}.{part}": part for part in self._likes(parameter)}
            # AdamW moves nothing of which it keeps no state.
            moved = not torch.equal(parameter.detach().cpu(), tensors[f"{_WEIGHT}{name}"])
            if not moved and tensors.keys().isdisjoint(parts):
                continue
            for key, part in parts.items():
                require_like(self._likes(parameter)[part], tensors.get(key), key)
            known |= parts.keys()
            states[parameter] = {
                part: tensors[key].to(parameter.device, copy=True) for key, part in parts.items()
            }
        if isinstance(self._optimiser, CompiledAdamW):
            require_like(torch.tensor(0), tensors.get(_UPDATES), _UPDATES)
            known.add(_UPDATES)
        unknown = sorted(tensors.keys() - known)
        if unknown:
            raise ValueError(f"{unknown[0]} is not known to this trial")
        for name, place in places.items():
            place.copy_(tensors[name])
        self._optimiser.state.update(states)
        if isinstance(self._optimiser, CompiledAdamW):
            self._optimiser.steps = int(tensors[_UPDATES])
        self._set_rate()

    def _places(self) -> dict[str, torch.Tensor]:
        """Return, by name, the tensors that are there from before the first step."""
        copies = self._classifier.stand_ins.copies
        places = {f"{_WEIGHT}{name}": p.detach() for name, p in self._classifier.trained()}
        for name, parameter in self._classifier.model.named_parameters():
            if id(parameter) in copies:
                places[f"copy.{name}"] = copies[id(parameter)].detach()
        places["taken"] = self._taken
        if self._scale is not None:
            places |= {"scale.factor": self._scale.factor, "scale.grown": self._scale.grown}
        return places

    def _likes(self, parameter: torch.Tensor) -> dict[str, torch.Tensor]:
        """Return what the optimiser keeps of a parameter, each with a tensor of its kind."""
        if isinstance(self._optimiser, CompiledAdamW):
            return dict.fromkeys(("mean", "square"), parameter)
        # torch's fused kernel counts a parameter's updates in 32 bits.
        count = torch.empty((), dtype=torch.float32)
        return {"step": count, "exp_avg": parameter, "exp_avg_sq": parameter}


_WEIGHT = "weight."
_STATE = "optimiser."
_UPDATES = "optimiser's updates"


def require_like(like: torch.Tensor, found: torch.Tensor | None, name: str) -> None:
    """Check that a tensor is there, in the shape and the number format of another.

    Raises:
        ValueError: it is not.
    """
    if found is None:
        raise ValueError(f"{name} is missing")
    if (found.shape, found.dtype) != (like.shape, like.dtype):
        raise ValueError(
            f"{name} is {found.dtype} of shape {tuple(found.shape)}, not {like.dtype} of shape "
            f"{tuple(like.shape)}"
        )


def _optimiser(classifier: Accelerated, recipe: Recipe) -> torch.optim.Optimizer:
    """Return the AdamW that this recipe asks for."""
    groups = parameter_groups(classifier, recipe)
    if classifier.kernels is not None and classifier.on(BF16_GRADIENTS):
        return CompiledAdamW(
            groups,
            rate=recipe.learning_rate,
            copies=classifier.stand_ins.copies,
            library=classifier.kernels,
        )
    if classifier.device.type == "cpu":
        return torch.optim.AdamW(groups, lr=recipe.learning_rate, weight_decay=0.0, fused=True)
    for group in groups:
        # Of each group its own, as each is changed in place.
        group["lr"] = torch.tensor(group["lr"], device=classifier.device)
    return torch.optim.AdamW(groups, weight_decay=0.0, fused=True, capturable=True)


def parameter_groups(classifier: Accelerated, recipe: Recipe) -> list[dict[str, Any]]:
    """Return the trained parameters as AdamW takes them, by their decay and their rate.

    Decayed are those that Trainer decays: all but biases and those of normalisations.
    """
    normalising = {
        id(p)
        for module in classifier.model.modules()
        if isinstance(module, nn.LayerNorm)
        for p in module.parameters()
    }
    factors = {} if classifier.optimiser is None else classifier.optimiser.rate_factors
    members: dict[tuple[bool, float], list[nn.Parameter]] = {(True, 1.0): [], (False, 1.0): []}
    for name, parameter in classifier.trained():
        exempt = id(parameter) in normalising or _NOT_DECAYED.search(name.lower())
        factor = next((factor for part, factor in factors.items() if part in name), 1.0)
        members.setdefault((not exempt, factor), []).append(parameter)
    return [
        {
            "params": parameters,
            "weight_decay": recipe.weight_decay if decayed else 0.0,
            "lr": recipe.learning_rate * factor,
            "rate_factor": factor,
        }
        for (decayed, factor), parameters in members.items()
    ]


class FullGradient:
    """Replaces the gradients of LoRA's second factors by those of LoRA-FA (arXiv:2308.03303).

    With the first factor A held as it is, the gradient of B whose product with A is closest to that
    of the whole matrix is G (A Aᵀ)⁻¹ / s², of B's own gradient G and LoRA's scaling s: the least
    squares solution.

    Args:
        model: with LoRA attached, whose first factors are not trained.
    """

    def __init__(self, model: nn.Module) -> None:
        self._inverses = []
        for lora in lora_factors(model):
            # Where products are in 16 bits the factor may be kept in them, which have no inverse.
            first = lora.first.detach().float()
            inverse = torch.linalg.inv(first @ first.T) / lora.scaling**2
            self._inverses.append((lora.second, inverse))

    def apply(self) -> None:
        """Replace them, in place."""
        for second, inverse in self._inverses:
            if second.grad is not None:
                second.grad.copy_(second.grad @ inverse)


_NOT_DECAYED = re.compile(r"bias|layernorm|rmsnorm|(?:^|\.)norm(?:$|\.)|_norm(?:$|\.)")
"""The patterns of ``Trainer.get_decay_parameter_names`` (transformers 5.23)."""

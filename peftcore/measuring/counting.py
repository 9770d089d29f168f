"""What a trial asks of the machine, counted.

Times differ from run to run and machine to machine; counts don't, so that a gate can hold them to
the last unit.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Mapping

import torch
from torch.utils._python_dispatch import TorchDispatchMode

from peftcore.measuring.garbage import live_objects


class _Counting(TorchDispatchMode):
    """Counts what torch dispatches; views and the like, which compute nothing, included."""

    def __init__(self) -> None:
        super().__init__()  # type: ignore[no-untyped-call]
        self.operations: int = 0

    def __torch_dispatch__(
        self,
        function: Callable[..., object],
        types: object,
        args: tuple[object, ...] = (),
        kwargs: Mapping[str, object] | None = None,
    ) -> object:
        self.operations += 1
        return function(*args, **(kwargs or {}))


def count_operations(function: Callable[[], object]) -> int:
    """Return how many operations torch dispatches while ``function`` runs, backward included.

    What a library does within one operation, or behind torch's back, counts as it is dispatched:
    once or not at all.
    """
    with _Counting() as counting:
        function()
    operations: int = counting.operations
    return operations


def tensor_bytes() -> int:
    """Return the bytes of all tensors that Python holds, each storage once.

    Weights, what stands in for them, states of the optimiser, tokens on the device and gradients
    that were not let go. What only torch's own C++ holds is not seen.
    """
    kinds = _kinds_of_tensors()
    storages: dict[int, int] = {}
    for thing in live_objects():
        # isinstance() would ask lazy objects for their class, and so wake them up; and there are
        # half a million objects to ask.
        if type(thing) not in kinds or thing.device.type == "meta":
            continue
        try:
            storage = thing.untyped_storage()
        except (NotImplementedError, RuntimeError):
            # Kinds of tensor that have none, such as functional wrappers.
            continue
        storages[storage.data_ptr()] = storage.nbytes()
    return sum(storages.values())


def _kinds_of_tensors() -> set[type]:
    """Return the class of tensors and all that derive from it."""
    found: set[type] = set()
    left: list[type] = [torch.Tensor]
    while left:
        kind = left.pop()
        if kind not in found:
            found.add(kind)
            left += type.__subclasses__(kind)
    return found


def weights_sha256(weights: Mapping[str, torch.Tensor]) -> str:
    """Return the SHA-256 over these weights, names and numbers, in hexadecimal."""
    digest = hashlib.sha256()
    for name in sorted(weights):
        tensor = weights[name].detach().cpu().contiguous()
        digest.update(f"{name} {tensor.dtype} {tuple(tensor.shape)}\n".encode())
        digest.update(tensor.view(-1).view(torch.uint8).numpy().data)
    return digest.hexdigest()

"""GPUs are leased: one trial at a time on each, whichever sessions and workers there are."""

from __future__ import annotations

import hashlib
import os
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

from peftcore.measuring.driver import count_gpus, describe_gpu, gpu, gpu_identity
from peftcore.methods import Trains
from peftcore.running.locks import POLL_SECONDS, acquire, runtime_folder
from peftcore.trials import Trial


def visible_devices(asked: str | None, present: int) -> list[str]:
    """Return the names of the GPUs that a process may use, as ``CUDA_VISIBLE_DEVICES`` has them.

    Args:
        asked: the value of that variable; ``None`` where it is not set.
        present: how many GPUs the machine has.
    """
    if asked is None:
        return [str(index) for index in range(present)]
    found: list[str] = []
    for name in (part.strip() for part in asked.split(",")):
        # As CUDA reads it: what follows a name that names nothing, or one twice, is not seen.
        is_index = name.isdecimal() and int(name) < present
        if not (is_index or name.upper().startswith(("GPU-", "MIG-"))) or name in found:
            break
        found.append(name)
    return found


@contextmanager
def leased(
    devices: Sequence[str],
    folder: Path,
    *,
    identity: Callable[[str], str] = str,
    waiting: Callable[[], None] = lambda: None,
) -> Iterator[str | None]:
    """Give one of these GPUs, and keep every other trial of this user off it while the block runs.

    Args:
        devices: names from :func:`visible_devices`, the preferred first; without any, ``None`` is
            given at once.
        folder: for the leases, the same for all sessions on the machine.
        identity: returns what a GPU is called whichever of its names is used: one GPU is one lease.
        waiting: called once if none is free.
    """
    if not devices:
        yield None
        return
    told = False
    while True:
        for device in devices:
            # A MIG device's name can hold slashes: the name of a file is made of digits alone.
            digest = hashlib.sha256(identity(device).encode()).hexdigest()[:16]
            stream = acquire(folder / f"{digest}.gpu")
            if stream is not None:
                with stream:
                    yield device
                return
        if not told:
            waiting()
            told = True
        time.sleep(POLL_SECONDS)


@contextmanager
def gpu_for(trial: Trial, *, waiting: Callable[[], None]) -> Iterator[str | None]:
    """Give a GPU of its own to a trial that uses one while the block runs; otherwise ``None``.

    Of the GPUs that this process sees, those unlike the first are left alone: a comparison is of
    one kind of hardware, and its records name it.
    """
    if trial.method.trains is Trains.BAG_OF_WORDS or gpu()["gpu"] is None:
        yield None
        return
    visible = visible_devices(os.environ.get("CUDA_VISIBLE_DEVICES"), count_gpus())
    alike = [device for device in visible if describe_gpu(device) == gpu()]
    try:
        folder = runtime_folder() / "leases"
        folder.mkdir(exist_ok=True)
    except OSError:
        # Without a place for leases, all see what this process sees.
        yield None
        return
    with leased(alike, folder, identity=gpu_identity, waiting=waiting) as device:
        yield device

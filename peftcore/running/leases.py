"""GPUs are leased, whichever sessions and workers there are: one trial at a time on each.

Small models leave most of a large GPU idle. Where accuracies are wanted and not times, trials may
share one: as many as a session allows, and only with those of sessions that share it, too.
"""

from __future__ import annotations

import hashlib
import itertools
import os
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, contextmanager
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
    places: int = 1,
    identity: Callable[[str], str] = str,
    waiting: Callable[[], None] = lambda: None,
) -> Iterator[str | None]:
    """Give one of these GPUs, and keep this user's other trials off it while the block runs.

    Args:
        devices: names from :func:`visible_devices`, the preferred first; without any, ``None`` is
            given at once.
        folder: for the leases, the same for all sessions on the machine.
        places: how many trials may be on one GPU; of several, those share it that ask for several.
        identity: returns what a GPU is called whichever of its names is used: one GPU is one lease.
        waiting: called once if none is free.
    """
    if not devices:
        yield None
        return
    told = False
    while True:
        # A second trial joins a first one only where no GPU is free.
        for place, device in itertools.product(range(places), devices):
            # A MIG device's name can hold slashes: the name of a file is made of digits alone.
            digest = hashlib.sha256(identity(device).encode()).hexdigest()[:16]
            with ExitStack() as held:
                if places == 1:
                    free = _holds(held, folder / f"{digest}.gpu")
                else:
                    free = _holds(held, folder / f"{digest}.gpu", shared=True) and _holds(
                        held, folder / f"{digest}.{place}.place"
                    )
                if free:
                    yield device
                    return
        if not told:
            waiting()
            told = True
        time.sleep(POLL_SECONDS)


def _holds(held: ExitStack, path: Path, *, shared: bool = False) -> bool:
    """Return whether the lock on a file was to be had; it is kept until ``held`` lets go."""
    stream = acquire(path, shared=shared)
    if stream is not None:
        held.enter_context(stream)
    return stream is not None


@contextmanager
def gpu_for(trial: Trial, *, places: int = 1, waiting: Callable[[], None]) -> Iterator[str | None]:
    """Give a GPU to a trial that uses one while the block runs, its own unless there are places.

    To a trial that uses none, and where there is none, ``None`` is given.

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
    lease = leased(alike, folder, places=places, identity=gpu_identity, waiting=waiting)
    with lease as device:
        yield device

"""Energy that a span of time took, by the counters that the machine keeps.

A GPU's driver counts its energy since it was loaded
(``nvmlDeviceGetTotalEnergyConsumption``, in millijoules). A processor counts that of each package
and of its memory ("running average power limit"), which Linux shows in
``/sys/class/powercap/*/energy_uj``, in many installations to root alone. Both are of the whole
device: what other programs took in that time is in them. Where there is no counter, nothing is
known, which is not the same as nothing taken.
"""

from __future__ import annotations

import re
import threading
import weakref
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Protocol

from peftcore.measuring.driver import find_driver, handle_of

if TYPE_CHECKING:
    import torch

POWERCAP = Path("/sys/class/powercap")

_PACKAGE = re.compile(r"package-\d+(-die-\d+)?")
"""A processor, or one of the dies in it. Its memory is counted apart; all else is part of it."""

_MEMORY = "dram"

_SECONDS_BETWEEN_READINGS = 30.0
"""A package's counter may begin anew after a quarter of an hour at full load."""


@dataclass(frozen=True)
class Joules:
    """Energy of a span of time, in joules; ``None`` where no counter tells."""

    processor: float | None = None
    gpu: float | None = None


class EnergyMeter(Protocol):
    """Something that knows the energy taken since it was last reset."""

    def reset(self) -> None:
        """Begin a span."""

    def taken(self) -> Joules:
        """Return what was taken since the last reset."""


class Counter(Protocol):
    """A counter of energy that only grows."""

    def joules(self) -> float | None:
        """Return what it has counted, in joules from any beginning; ``None`` where it fails."""


class PackageCounter:
    """Energy of all processor packages and their memory, by the powercap interface of Linux.

    Each domain's counter begins anew at its ``max_energy_range_uj``: reading it now and then keeps
    any such turn from being missed, which a thread does as long as this object lives.

    Args:
        folder: where the kernel shows the domains.
    """

    def __init__(self, folder: Path = POWERCAP) -> None:
        self._domains = _domains(folder)
        self._lock = threading.Lock()
        self._last: dict[Path, int] = {}
        self._sum = 0.0
        self._ended = threading.Event()
        weakref.finalize(self, self._ended.set)
        if self.joules() is not None:
            # It must not keep alive what it reads for.
            reading = (weakref.ref(self), self._ended)
            threading.Thread(target=_keep_reading, args=reading, daemon=True).start()

    def joules(self) -> float | None:
        """Return the energy since this object was made, in joules."""
        with self._lock:
            if not self._domains:
                return None
            try:
                for domain in self._domains:
                    self._add(domain)
            except (OSError, ValueError):
                self._domains = []
                return None
            return self._sum

    def _add(self, domain: Path) -> None:
        now = int((domain / "energy_uj").read_text())
        before = self._last.get(domain, now)
        turned = int((domain / "max_energy_range_uj").read_text()) if now < before else 0
        self._sum += (now + turned - before) / 1e6
        self._last[domain] = now


def _keep_reading(counter: weakref.ref[PackageCounter], ended: threading.Event) -> None:
    while not ended.wait(_SECONDS_BETWEEN_READINGS):
        alive = counter()
        if alive is not None:
            alive.joules()
        del alive


def _domains(folder: Path) -> list[Path]:
    """Return the domains that add up to what the processor and its memory take.

    A laptop shows the same package twice, by registers and by mapped memory (``intel-rapl`` and
    ``intel-rapl-mmio``): those of one interface count. Where there is memory alone, none do.
    """
    found: dict[str, list[Path]] = {}
    packages = set()
    for domain in sorted(folder.glob("*:*")):
        name, interface = _name(domain), domain.name.partition(":")[0]
        if _PACKAGE.fullmatch(name):
            packages.add(interface)
        elif name != _MEMORY:
            continue
        found.setdefault(interface, []).append(domain)
    return found[min(packages)] if packages else []


def _name(domain: Path) -> str:
    with suppress(OSError):
        return (domain / "name").read_text().strip()
    return ""


class DriverCounter:
    """Energy of one NVIDIA GPU, by its driver; there from the Volta generation on.

    Args:
        device: a CUDA device.
    """

    def __init__(self, device: torch.device) -> None:
        self._driver = find_driver()
        import torch

        self._uuid = str(torch.cuda.get_device_properties(device).uuid)

    def joules(self) -> float | None:
        """Return the energy since the driver was loaded, in joules."""
        driver = self._driver
        if driver is None:
            return None
        try:
            handle = handle_of(driver, self._uuid)
            return float(driver.nvmlDeviceGetTotalEnergyConsumption(handle)) / 1e3
        except driver.NVMLError:
            return None


class Counters:
    """The energy of a span of time, by the counters of the processor and of a GPU.

    Args:
        counters: by the name of the field of :class:`Joules` that each tells.
    """

    def __init__(self, counters: Mapping[str, Counter]) -> None:
        self._counters = counters
        self._began: dict[str, float | None] = {}

    def reset(self) -> None:
        """Begin a span."""
        self._began = {name: counter.joules() for name, counter in self._counters.items()}

    def taken(self) -> Joules:
        """Return what was taken since the last reset."""
        found: dict[str, float] = {}
        for name, counter in self._counters.items():
            before, now = self._began.get(name), counter.joules()
            # A counter that went back, as a driver's does that was loaded anew, tells nothing.
            if before is not None and now is not None and now >= before:
                found[name] = now - before
        return Joules(**found)


def energy_meter(device: torch.device | None) -> Counters:
    """Return the meter of the energy that a trial on this device takes.

    Args:
        device: ``None`` for a trial that needs no torch.
    """
    counters: dict[str, Counter] = {"processor": PackageCounter()}
    if device is not None and device.type == "cuda":
        counters["gpu"] = DriverCounter(device)
    return Counters(counters)

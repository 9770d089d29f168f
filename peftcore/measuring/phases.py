"""What each phase of a trial takes: wall time, processor time and peak memory."""

from __future__ import annotations

import dataclasses
import os
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import psutil

from peftcore.measuring.energy import EnergyMeter, Joules
from peftcore.measuring.memory import MemoryMeter, Peak


@dataclass
class Tally:
    """What a phase has taken so far; a phase may be entered several times."""

    seconds: float = 0.0
    cpu_seconds: float = 0.0
    peak_bytes: int | None = None
    peak_reserved_bytes: int | None = None
    peak_file_bytes: int | None = None
    processor_joules: float | None = None
    gpu_joules: float | None = None

    def add(self, seconds: float, cpu_seconds: float, peak: Peak, energy: Joules) -> None:
        """Add what one more stretch of the phase took."""
        # Of a phase with a stretch that no counter tells of, the energy is not known.
        first = self.seconds == 0
        self.processor_joules = _sum(self.processor_joules, energy.processor, first=first)
        self.gpu_joules = _sum(self.gpu_joules, energy.gpu, first=first)
        self.seconds += seconds
        self.cpu_seconds += cpu_seconds
        # Of the stretch with the larger peak: together they tell what was no file's.
        if peak.used_bytes is not None and peak.used_bytes > (self.peak_bytes or 0):
            self.peak_file_bytes = peak.file_bytes
        self.peak_bytes = _larger(self.peak_bytes, peak.used_bytes)
        self.peak_reserved_bytes = _larger(self.peak_reserved_bytes, peak.reserved_bytes)

    def cost(self) -> dict[str, Any]:
        """Return what the phase took, as a record's ``phases`` name it.

        A device that is on takes something. Where its counter stood still, as that of a virtual
        machine may, or did not yet move in so short a time, nothing is known.
        """
        return {
            "seconds": self.seconds,
            "cpu_seconds": self.cpu_seconds,
            "peak_bytes": self.peak_bytes,
            "processor_joules": self.processor_joules or None,
            "gpu_joules": self.gpu_joules or None,
        }


def read_tallies(content: Mapping[str, Mapping[str, Any]]) -> dict[str, Tally]:
    """Return the tallies that :meth:`Phases.to_json` gave.

    Raises:
        ValueError: these values are none.
    """
    try:
        tallies = {name: Tally(**tally) for name, tally in content.items()}
        for tally in tallies.values():
            float(tally.seconds + tally.cpu_seconds)
            peaks = (tally.peak_bytes, tally.peak_reserved_bytes, tally.peak_file_bytes)
            sum(int(peak or 0) for peak in peaks)
            float((tally.processor_joules or 0) + (tally.gpu_joules or 0))
    except (AttributeError, TypeError) as error:
        raise ValueError(f"phases are not as they are kept: {error}") from None
    return tallies


def _larger(left: int | None, right: int | None) -> int | None:
    known = [value for value in (left, right) if value is not None]
    return max(known, default=None)


def _sum(before: float | None, more: float | None, *, first: bool) -> float | None:
    if first:
        return more
    return None if before is None or more is None else before + more


def seconds_since_start() -> float:
    """Return the wall time since this process was started, imports included."""
    clock = getattr(time, "CLOCK_BOOTTIME", None)
    if clock is None:
        return time.time() - psutil.Process().create_time()
    # Both by the clock that runs from the start of the system: no adjustment comes between. The
    # fields are counted after the name, which may hold blanks (proc_pid_stat(5)).
    fields = Path("/proc/self/stat").read_text().rpartition(")")[2].split()
    return time.clock_gettime(clock) - int(fields[19]) / os.sysconf("SC_CLK_TCK")


class Phases:
    """Clocks, memory peaks and energy of named phases.

    Entering a phase inside another pauses the outer one: an evaluation at the end of each epoch
    counts towards ``evaluate`` and not towards ``train``. Every time is monotonic and taken after
    the accelerator has finished what was asked of it.
    """

    def __init__(
        self, memory: MemoryMeter, synchronise: Callable[[], None], energy: EnergyMeter
    ) -> None:
        self._memory = memory
        self._energy = energy
        self._synchronise = synchronise
        self._tallies: dict[str, Tally] = {}
        self._open: list[str] = []
        self._began = (0.0, 0.0)

    @contextmanager
    def measure(self, name: str) -> Iterator[None]:
        """Count what happens inside towards the phase ``name``."""
        if self._open:
            self._stop()
        self._open.append(name)
        self._start()
        try:
            yield
        finally:
            self._stop()
            self._open.pop()
            if self._open:
                self._start()

    def __getitem__(self, name: str) -> Tally:
        """Return what the phase ``name`` has taken so far."""
        return self._tallies[name]

    def items(self) -> Iterator[tuple[str, Tally]]:
        """Yield each phase's name and what it took, in the order they first began."""
        yield from self._tallies.items()

    def to_json(self) -> dict[str, dict[str, Any]]:
        """Return what each phase has taken so far, as JSON values; not of the one that runs."""
        return {name: dataclasses.asdict(tally) for name, tally in self._tallies.items()}

    def add(self, earlier: Mapping[str, Tally]) -> None:
        """Add what phases took in an earlier part: times are summed, the larger peak stays."""
        for name, tally in earlier.items():
            peak = Peak(tally.peak_bytes, tally.peak_reserved_bytes, tally.peak_file_bytes)
            energy = Joules(tally.processor_joules, tally.gpu_joules)
            mine = self._tallies.setdefault(name, Tally())
            mine.add(tally.seconds, tally.cpu_seconds, peak, energy)

    def _start(self) -> None:
        self._tallies.setdefault(self._open[-1], Tally())
        self._synchronise()
        self._memory.reset()
        self._energy.reset()
        self._began = (time.perf_counter(), time.process_time())

    def _stop(self) -> None:
        self._synchronise()
        seconds, cpu_seconds = time.perf_counter(), time.process_time()
        energy = self._energy.taken()
        self._tallies[self._open[-1]].add(
            seconds - self._began[0], cpu_seconds - self._began[1], self._memory.peak(), energy
        )

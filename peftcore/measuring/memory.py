"""Peak memory of a span of time, on CUDA and on the host."""

from __future__ import annotations

import ctypes
import os
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Protocol

from peftcore.measuring.driver import find_driver, handle_of

if TYPE_CHECKING:
    import torch

_CLEAR_REFS = Path("/proc/self/clear_refs")
_STATUS = Path("/proc/self/status")


@dataclass(frozen=True)
class Peak:
    """The highest use of memory over a span of time.

    Attributes:
        used_bytes: by tensors on CUDA, resident in the process on the host.
        reserved_bytes: what torch's caching allocator held on CUDA.
        file_bytes: on the host, how many of the used bytes are pages of files (libraries, weights
            and data that are mapped), counted at the end of the span. The kernel maps as much
            around a page that is touched as its cache of that file happens to hold in one piece:
            a library that was just installed and the same one read again later differ by tens of
            megabytes, with no difference in the program.
    """

    used_bytes: int | None
    reserved_bytes: int | None = None
    file_bytes: int | None = None


class MemoryMeter(Protocol):
    """Something that knows the highest use of memory since it was last reset."""

    def reset(self) -> None:
        """Forget the peak so far."""

    def peak(self) -> Peak:
        """Return the peak since the last reset; a figure that can't be read is ``None``."""


class ResidentMemory:
    """Resident bytes of this process, by the kernel's own high-water mark (Linux).

    Writing 5 to ``/proc/self/clear_refs`` resets ``VmHWM`` (proc(5)); sampling from a thread would
    miss short peaks, and ``getrusage`` can't be reset.
    """

    def __init__(self) -> None:
        self._usable = sys.platform == "linux" and os.access(_CLEAR_REFS, os.W_OK)
        # Of glibc; another C library may not have it.
        self._give_back = getattr(ctypes.CDLL(None), "malloc_trim", None) if self._usable else None

    def reset(self) -> None:
        """Forget the peak so far, and what was freed before but kept by the allocator."""
        if self._give_back is not None:
            self._give_back(0)
        if self._usable:
            try:
                _CLEAR_REFS.write_text("5")
            except OSError:
                # Some sandboxes show the file and refuse the write: then a peak is not to be had.
                self._usable = False

    def peak(self) -> Peak:
        """Return the peak since the last reset, ``None`` where the kernel doesn't keep one."""
        if not self._usable:
            return Peak(None)
        lines = (line.split() for line in _STATUS.read_text().splitlines())
        kilobytes = {name: int(rest[0]) for name, *rest in lines if name in ("VmHWM:", "RssFile:")}
        used, files = (kilobytes.get(name) for name in ("VmHWM:", "RssFile:"))
        if used is None:
            return Peak(None)
        return Peak(1024 * used, file_bytes=None if files is None else 1024 * min(files, used))


class AllocatedMemory:
    """Bytes of tensors on a CUDA device, by torch's caching allocator."""

    def __init__(self, device: torch.device) -> None:
        import torch

        self._cuda = torch.cuda
        self._device = device

    def reset(self) -> None:
        """Forget the peaks so far."""
        self._cuda.reset_peak_memory_stats(self._device)

    def peak(self) -> Peak:
        """Return the peaks since the last reset."""
        return Peak(
            self._cuda.max_memory_allocated(self._device),
            self._cuda.max_memory_reserved(self._device),
        )


def process_bytes(device: torch.device) -> int | None:
    """Return what the CUDA driver counts for this process, or ``None`` where it doesn't tell.

    It holds the CUDA context and the libraries' own buffers too. Inside a container the driver may
    know this process under another number, and then it doesn't tell.
    """
    if device.type != "cuda":
        return None
    import torch

    driver = find_driver()
    if driver is None:
        return None
    try:
        handle = handle_of(driver, str(torch.cuda.get_device_properties(device).uuid))
        for process in driver.nvmlDeviceGetComputeRunningProcesses(handle):
            if process.pid == os.getpid() and process.usedGpuMemory is not None:
                return int(process.usedGpuMemory)
    except driver.NVMLError:
        return None
    return None


def memory_meter(device: torch.device) -> MemoryMeter:
    """Return the meter of the memory that limits training on this device."""
    return AllocatedMemory(device) if device.type == "cuda" else ResidentMemory()

"""What NVIDIA's driver tells of its GPUs. Needs no torch."""

from __future__ import annotations

import os
from functools import cache
from typing import Any

_NO_GPU: dict[str, Any] = {"gpu": None, "gpu_memory_bytes": None, "driver": None, "cuda": None}


@cache
def gpu() -> dict[str, Any]:
    """Return name, memory and driver of the first visible NVIDIA GPU, each ``None`` without one.

    It asks the driver and not torch, so that a pytest session can decide what to skip without
    importing torch.
    """
    visible = os.environ.get("CUDA_VISIBLE_DEVICES")
    first = "0" if visible is None else visible.split(",")[0].strip()
    return _NO_GPU if first in {"", "-1"} else describe_gpu(first)


def describe_gpu(device: str) -> dict[str, Any]:
    """Return the same of the GPU that is called so in ``CUDA_VISIBLE_DEVICES``."""
    driver = find_driver()
    if driver is None:
        return _NO_GPU
    try:
        handle = _handle(driver, device)
        cuda = driver.nvmlSystemGetCudaDriverVersion_v2()
        return {
            "gpu": driver.nvmlDeviceGetName(handle),
            "gpu_memory_bytes": _memory(driver, handle),
            "driver": driver.nvmlSystemGetDriverVersion(),
            "cuda": f"{cuda // 1000}.{cuda % 1000 // 10}",
        }
    except driver.NVMLError:
        return _NO_GPU


def _memory(driver: Any, handle: Any) -> int | None:
    """Return the bytes of a GPU's memory; ``None`` of one that has none of its own."""
    try:
        return int(driver.nvmlDeviceGetMemoryInfo(handle).total)
    except driver.NVMLError:
        return None


def count_gpus() -> int:
    """Return how many NVIDIA GPUs the driver knows of, visible to this process or not."""
    driver = find_driver()
    try:
        return 0 if driver is None else int(driver.nvmlDeviceGetCount())
    except driver.NVMLError:
        return 0


def gpu_identity(device: str) -> str:
    """Return the UUID of a GPU by any of its names, or that name where the driver has none."""
    driver = find_driver()
    try:
        return device if driver is None else str(driver.nvmlDeviceGetUUID(_handle(driver, device)))
    except driver.NVMLError:
        return device


def _handle(driver: Any, device: str) -> Any:
    if device.isdigit():
        return driver.nvmlDeviceGetHandleByIndex(int(device))
    return driver.nvmlDeviceGetHandleByUUID(device)


def find_driver() -> Any:
    """Return NVIDIA's library, ready to be asked; ``None`` where there is none."""
    try:
        import pynvml

        pynvml.nvmlInit()
    except (ImportError, OSError):
        return None
    except pynvml.NVMLError:
        return None
    return pynvml


def handle_of(driver: Any, uuid: str) -> Any:
    """Return the driver's handle of a GPU by its UUID, as torch or as the driver writes it."""
    return driver.nvmlDeviceGetHandleByUUID(f"GPU-{uuid.removeprefix('GPU-')}")

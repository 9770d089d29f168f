from __future__ import annotations

import os
from pathlib import Path

import numpy as np
import psutil
import pytest
import torch

from peftcore.measuring import memory
from peftcore.measuring.energy import Counters
from peftcore.measuring.memory import (
    AllocatedMemory,
    Peak,
    ResidentMemory,
    memory_meter,
    process_bytes,
)
from peftcore.measuring.phases import Phases

BIG = 200_000_000


@pytest.fixture
def meter() -> ResidentMemory:
    meter = ResidentMemory()
    meter.reset()
    if meter.peak().used_bytes is None:
        pytest.skip("this kernel doesn't let a process reset its own peak (clear_refs)")
    return meter


def touch(size: int) -> None:
    """Have this many bytes resident for a moment; so large a block goes back to the system."""
    block = np.ones(size, dtype=np.uint8)
    assert block[-1] == 1


def used(meter: ResidentMemory) -> int:
    peak = meter.peak().used_bytes
    assert peak is not None
    return peak


def files(meter: ResidentMemory) -> int:
    pages = meter.peak().file_bytes
    assert pages is not None
    return pages


def test_the_peak_is_what_the_system_counts_as_resident(meter: ResidentMemory) -> None:
    meter.reset()
    resident = psutil.Process().memory_info().rss
    assert used(meter) == pytest.approx(resident, abs=20_000_000)


def test_pages_of_files_are_told_beside_the_peak_they_are_part_of(
    meter: ResidentMemory, tmp_path: Path
) -> None:
    """The same program maps more or fewer of them by the state of the kernel's cache."""
    before, before_files = used(meter), files(meter)
    file = tmp_path / "library"
    file.write_bytes(bytes(BIG))
    mapped = np.memmap(file, dtype=np.uint8, mode="r")
    assert mapped.sum() == 0
    after, after_files = used(meter), files(meter)
    assert after - before == pytest.approx(BIG, abs=0.1 * BIG)
    assert after_files - before_files == pytest.approx(BIG, abs=0.1 * BIG)
    touch(BIG // 2)
    assert files(meter) == pytest.approx(after_files, abs=0.01 * BIG)
    assert used(meter) - after == pytest.approx(BIG // 2, abs=0.1 * BIG)


def test_a_short_allocation_is_seen_and_forgotten_on_reset(meter: ResidentMemory) -> None:
    before = used(meter)
    touch(BIG)
    assert used(meter) - before == pytest.approx(BIG, abs=0.1 * BIG)
    # It stays the peak although the memory is given back.
    assert used(meter) - before == pytest.approx(BIG, abs=0.1 * BIG)
    meter.reset()
    assert used(meter) - before < 0.1 * BIG


def test_what_was_freed_before_the_reset_does_not_count(meter: ResidentMemory) -> None:
    """A block at the heap's end keeps all below it from going back by itself."""
    if meter._give_back is None:
        pytest.skip("this C library doesn't give back what it keeps (malloc_trim)")
    before = used(meter)
    blocks = [bytearray(b"x" * 4000) for _ in range(BIG // 4000)]
    end = blocks.pop()
    del blocks
    meter.reset()
    assert used(meter) - before < 0.2 * BIG
    assert len(end) == 4000


def test_an_allocation_counts_in_its_own_phase_alone(meter: ResidentMemory) -> None:
    phases = Phases(meter, lambda: None, Counters({}))
    with phases.measure("before"):
        touch(1000)
    with phases.measure("train"):
        touch(1000)
        with phases.measure("evaluate"):
            touch(BIG)
        touch(1000)
    with phases.measure("after"):
        touch(1000)
    peaks = {name: tally.peak_bytes or 0 for name, tally in phases.items()}
    assert peaks["evaluate"] - peaks["before"] == pytest.approx(BIG, abs=0.1 * BIG)
    assert peaks["train"] - peaks["before"] < 0.1 * BIG
    assert peaks["after"] - peaks["before"] < 0.1 * BIG


def test_without_the_kernels_help_there_is_no_peak(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(memory, "_CLEAR_REFS", tmp_path / "absent")
    meter = ResidentMemory()
    meter.reset()
    assert meter.peak() == Peak(None, None)


def test_a_reset_that_is_refused_leaves_no_peak(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A peak over all of the process's life would be worse than none."""
    # A folder can be "written" by its permissions, and refuses when it is done.
    monkeypatch.setattr(memory, "_CLEAR_REFS", tmp_path)
    assert os.access(tmp_path, os.W_OK)
    meter = ResidentMemory()
    meter.reset()
    assert meter.peak() == Peak(None)


def test_another_system_has_no_peak(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(memory.sys, "platform", "darwin")
    assert ResidentMemory().peak() == Peak(None)


def test_each_device_has_its_own_meter() -> None:
    assert isinstance(memory_meter(torch.device("cpu")), ResidentMemory)
    assert isinstance(memory_meter(torch.device("cuda", 0)), AllocatedMemory)


def test_the_driver_counts_nothing_for_a_process_on_the_cpu() -> None:
    assert process_bytes(torch.device("cpu")) is None

"""Counters of energy: what they tell, and that nothing is told where there is none."""

from __future__ import annotations

import sys
import threading
import types
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch

from peftcore.measuring import energy
from peftcore.measuring.energy import Counters, DriverCounter, Joules, PackageCounter, energy_meter

RANGE = 262_143_328_850


class Package:
    """A folder of the powercap interface, with domains that count as they are told."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        for number, name in enumerate(("package-0", "dram", "core", "package-1", "psys")):
            domain = folder / f"intel-rapl:{number}"
            domain.mkdir()
            (domain / "name").write_text(f"{name}\n")
            (domain / "max_energy_range_uj").write_text(f"{RANGE}\n")
            self.count(number, 1_000_000 * (number + 1))

    def count(self, number: int, microjoules: int) -> None:
        (self.folder / f"intel-rapl:{number}" / "energy_uj").write_text(f"{microjoules}\n")


@pytest.fixture
def package(tmp_path: Path) -> Package:
    return Package(tmp_path)


@pytest.fixture
def counter(package: Package) -> PackageCounter:
    return PackageCounter(package.folder)


def test_packages_and_memory_add_up_and_their_parts_are_left_out(
    package: Package, counter: PackageCounter
) -> None:
    assert counter.joules() == 0
    package.count(0, 3_000_000)  # a package: 2 J more
    package.count(1, 2_500_000)  # memory: 0.5 J more
    package.count(2, 9_000_000)  # the cores of a package
    package.count(3, 4_250_000)  # the other package: 0.25 J more
    package.count(4, 9_000_000)  # the whole machine, packages included
    assert counter.joules() == pytest.approx(2.75)
    assert counter.joules() == pytest.approx(2.75)


def test_a_package_that_two_interfaces_show_counts_once(package: Package) -> None:
    """As on laptops; the registers' counter stands for both."""
    twice = package.folder / "intel-rapl-mmio:0"
    twice.mkdir()
    (twice / "name").write_text("package-0\n")
    (twice / "max_energy_range_uj").write_text(f"{RANGE}\n")
    (twice / "energy_uj").write_text("1\n")
    counter = PackageCounter(package.folder)
    package.count(0, 3_000_000)
    (twice / "energy_uj").write_text("2000001\n")
    assert counter.joules() == pytest.approx(2.0)


def test_dies_are_packages_and_memory_alone_is_none(package: Package) -> None:
    (package.folder / "intel-rapl:0" / "name").write_text("package-0-die-1\n")
    (package.folder / "intel-rapl:3" / "name").write_text("package-1-die-0\n")
    counter = PackageCounter(package.folder)
    package.count(0, 3_000_000)
    package.count(3, 4_250_000)
    assert counter.joules() == pytest.approx(2.25)
    for number in (0, 3):
        (package.folder / f"intel-rapl:{number}" / "name").write_text("core\n")
    assert PackageCounter(package.folder).joules() is None


def test_a_counter_that_began_anew_has_gone_on(package: Package, counter: PackageCounter) -> None:
    package.count(0, RANGE - 1_000_000)
    before = counter.joules()
    package.count(0, 2_000_000)
    after = counter.joules()
    assert before is not None
    assert after is not None
    assert after - before == pytest.approx(3.0)


def test_it_is_read_in_between_so_that_no_turn_is_missed(
    package: Package, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(energy, "_SECONDS_BETWEEN_READINGS", 0.01)
    counter = PackageCounter(package.folder)
    read = threading.Event()
    monkeypatch.setattr(counter, "_add", lambda _: read.set())
    assert read.wait(timeout=30)


def test_reading_ends_with_the_counter(package: Package) -> None:
    """A process that runs many trials makes many counters."""
    before = set(threading.enumerate())
    counter = PackageCounter(package.folder)
    (reader,) = set(threading.enumerate()) - before
    del counter
    reader.join(timeout=30)
    assert not reader.is_alive()


def test_a_counter_that_may_not_be_read_tells_nothing(
    package: Package, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse(self: Path, *_: Any, **__: Any) -> str:
        if self.name == "energy_uj":
            raise PermissionError(13, "Permission denied")
        return "package-0"

    monkeypatch.setattr(Path, "read_text", refuse)
    threads = threading.active_count()
    assert PackageCounter(package.folder).joules() is None
    assert threading.active_count() == threads


@pytest.mark.parametrize("content", ["", "unknown"])
def test_a_counter_of_no_numbers_tells_nothing(
    package: Package, counter: PackageCounter, content: str
) -> None:
    (package.folder / "intel-rapl:0" / "energy_uj").write_text(content)
    assert counter.joules() is None
    package.count(0, 1)
    assert counter.joules() is None


def test_without_the_interface_nothing_is_known(tmp_path: Path) -> None:
    assert PackageCounter(tmp_path / "none").joules() is None


@pytest.fixture
def driver(monkeypatch: pytest.MonkeyPatch) -> Callable[[object], None]:
    """A driver's library; the function says what its counter gives, or raises."""
    told: list[object] = [5_000]

    class NVMLError(Exception):
        pass

    def read(handle: object) -> object:
        assert handle == "GPU-abc"
        if told[-1] is None:
            raise NVMLError
        return told[-1]

    made: Any = types.ModuleType("pynvml")
    made.NVMLError = NVMLError
    made.nvmlInit = lambda: None
    made.nvmlDeviceGetHandleByUUID = lambda uuid: uuid
    made.nvmlDeviceGetTotalEnergyConsumption = read
    monkeypatch.setitem(sys.modules, "pynvml", made)
    monkeypatch.setattr(
        torch.cuda, "get_device_properties", lambda _: types.SimpleNamespace(uuid="abc")
    )
    return told.append


def test_the_drivers_counter_is_in_millijoules(driver: Callable[[object], None]) -> None:
    counter = DriverCounter(torch.device("cuda", 0))
    assert counter.joules() == 5.0
    driver(7_500)
    assert counter.joules() == 7.5


def test_a_gpu_that_keeps_no_counter_tells_nothing(driver: Callable[[object], None]) -> None:
    driver(None)
    assert DriverCounter(torch.device("cuda", 0)).joules() is None


class Told:
    """A counter that gives these numbers, one after the other."""

    def __init__(self, *numbers: float | None) -> None:
        self._numbers = iter(numbers)

    def joules(self) -> float | None:
        return next(self._numbers)


def test_a_span_is_what_was_counted_since_it_began() -> None:
    meter = Counters({"processor": Told(10, 14, 20, 21), "gpu": Told(100, 101, 102, 112)})
    meter.reset()
    assert meter.taken() == Joules(processor=4, gpu=1)
    meter.reset()
    assert meter.taken() == Joules(processor=1, gpu=10)


def test_a_counter_that_fails_makes_no_zero() -> None:
    meter = Counters({"processor": Told(None, 3), "gpu": Told(1, None)})
    meter.reset()
    assert meter.taken() == Joules(None, None)
    assert Counters({}).taken() == Joules(None, None)


def test_a_counter_that_went_back_tells_nothing() -> None:
    meter = Counters({"gpu": Told(100, 3)})
    meter.reset()
    assert meter.taken() == Joules(None, None)


def test_a_trial_on_the_processor_asks_no_gpu() -> None:
    meter = energy_meter(torch.device("cpu"))
    meter.reset()
    assert meter.taken().gpu is None

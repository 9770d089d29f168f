from __future__ import annotations

import subprocess
import sys
import time as real_time
from dataclasses import dataclass, field

import pytest

from peftcore.measuring import phases as measured
from peftcore.measuring.energy import Counters, Joules
from peftcore.measuring.memory import Peak
from peftcore.measuring.phases import Phases, Tally


@dataclass
class Machine:
    """A clock, a processor and a memory that do as they are told."""

    now: float = 100.0
    cpu: float = 50.0
    resident: int = 0
    highest: int = 0
    waits: int = 0
    taken: float = 0.0
    happened: list[str] = field(default_factory=list)

    def work(self, seconds: float, cpu_seconds: float = 0.0, memory: int | None = None) -> None:
        self.now += seconds
        self.cpu += cpu_seconds
        if memory is not None:
            self.resident = memory
            self.highest = max(self.highest, memory)

    # As the module ``time``
    def perf_counter(self) -> float:
        self.happened.append("clock")
        return self.now

    def process_time(self) -> float:
        return self.cpu

    # As a memory meter
    def reset(self) -> None:
        self.happened.append("reset")
        self.highest = self.resident

    def peak(self) -> Peak:
        return Peak(self.highest, 2 * self.highest)

    @property
    def energy(self) -> Counters:
        """A meter of what this machine has taken."""
        return Counters({"processor": self})

    def joules(self) -> float:
        return self.taken

    # As an accelerator
    def synchronise(self) -> None:
        self.happened.append("synchronise")
        self.waits += 1


@pytest.fixture
def machine(monkeypatch: pytest.MonkeyPatch) -> Machine:
    machine = Machine()
    monkeypatch.setattr(measured, "time", machine)
    return machine


@pytest.fixture
def phases(machine: Machine) -> Phases:
    return Phases(machine, machine.synchronise, machine.energy)


def test_a_phase_counts_what_happens_inside_it_alone(machine: Machine, phases: Phases) -> None:
    machine.work(1, 1)
    with phases.measure("train"):
        machine.work(10, 15)
    machine.work(100, 100)
    assert phases["train"].seconds == 10
    assert phases["train"].cpu_seconds == 15


def test_a_phase_that_is_entered_again_adds_up(machine: Machine, phases: Phases) -> None:
    for seconds, memory in ((1.0, 700), (2.0, 300)):
        with phases.measure("evaluate"):
            machine.work(seconds, 2 * seconds, memory=memory)
        machine.work(50, 50, memory=0)
    assert phases["evaluate"].seconds == 3
    assert phases["evaluate"].cpu_seconds == 6
    assert phases["evaluate"].peak_bytes == 700


def test_an_inner_phase_pauses_both_clocks_of_the_outer_one(
    machine: Machine, phases: Phases
) -> None:
    with phases.measure("train"):
        machine.work(10, 20)
        with phases.measure("evaluate"):
            machine.work(3, 4)
            with phases.measure("probe"):
                machine.work(0.5, 0.25)
            machine.work(2, 1)
        machine.work(5, 6)
    took = {name: (tally.seconds, tally.cpu_seconds) for name, tally in phases.items()}
    assert took == {"train": (15, 26), "evaluate": (5, 5), "probe": (0.5, 0.25)}
    assert list(took) == ["train", "evaluate", "probe"]


def test_a_peak_belongs_to_the_phase_it_was_reached_in(machine: Machine, phases: Phases) -> None:
    with phases.measure("load"):
        machine.work(1, memory=900)
        machine.work(1, memory=100)
    with phases.measure("train"):
        machine.work(1, memory=400)
        with phases.measure("evaluate"):
            machine.work(1, memory=800)
            machine.work(1, memory=300)
        machine.work(1, memory=350)
    peaks = {name: (tally.peak_bytes, tally.peak_reserved_bytes) for name, tally in phases.items()}
    assert peaks == {"load": (900, 1800), "train": (400, 800), "evaluate": (800, 1600)}


def test_pages_of_files_are_those_of_the_larger_peak() -> None:
    tally = Tally()
    for peak in (Peak(500, file_bytes=90), Peak(700, file_bytes=50), Peak(600, file_bytes=99)):
        tally.add(1.0, 1.0, peak, Joules())
    assert (tally.peak_bytes, tally.peak_file_bytes) == (700, 50)
    tally.add(1.0, 1.0, Peak(800), Joules())
    assert (tally.peak_bytes, tally.peak_file_bytes) == (800, None)


def test_what_was_there_before_counts_as_long_as_it_stays(machine: Machine, phases: Phases) -> None:
    machine.work(1, memory=500)
    with phases.measure("train"):
        pass
    assert phases["train"].peak_bytes == 500


def test_a_peak_that_can_not_be_read_is_none(machine: Machine) -> None:
    class Blind:
        def reset(self) -> None:
            pass

        def peak(self) -> Peak:
            return Peak(None)

    phases = Phases(Blind(), machine.synchronise, machine.energy)
    with phases.measure("train"):
        machine.work(1)
    assert phases["train"].peak_bytes is None
    assert phases["train"].peak_reserved_bytes is None
    assert phases["train"].seconds == 1


def test_the_accelerator_has_finished_before_any_clock_is_read(
    machine: Machine, phases: Phases
) -> None:
    with phases.measure("train"), phases.measure("evaluate"):
        pass
    # train begins, pauses for evaluate, goes on, ends.
    assert machine.happened == 3 * ["synchronise", "reset", "clock", "synchronise", "clock"]


def test_waiting_for_the_accelerator_is_time_of_the_phase(machine: Machine) -> None:
    phases = Phases(machine, lambda: machine.work(2), machine.energy)
    with phases.measure("train"):
        machine.work(1)
    assert phases["train"].seconds == 3


def test_an_error_in_an_inner_phase_leaves_the_outer_one_counting(
    machine: Machine, phases: Phases
) -> None:

    def go_wrong() -> None:
        with phases.measure("evaluate"):
            machine.work(2)
            raise ValueError("wrong")

    with phases.measure("train"):
        machine.work(1)
        with pytest.raises(ValueError, match="wrong"):
            go_wrong()
        machine.work(4)
    assert phases["train"].seconds == 5
    assert phases["evaluate"].seconds == 2


def test_a_phase_that_never_was_is_not_there(phases: Phases) -> None:
    with pytest.raises(KeyError):
        phases["train"]


def test_sleeping_takes_time_and_no_processor_and_computing_takes_both() -> None:
    machine = Machine()
    phases = Phases(machine, machine.synchronise, machine.energy)
    with phases.measure("sleep"):
        real_time.sleep(0.3)
    with phases.measure("compute"):
        until = real_time.process_time() + 0.3
        while real_time.process_time() < until:
            pass
    assert phases["sleep"].seconds >= 0.3
    assert phases["sleep"].cpu_seconds < 0.1
    assert phases["compute"].cpu_seconds >= 0.3
    # No less wall time than one thread can use of a processor; clocks differ in resolution.
    assert phases["compute"].seconds >= 0.29


def test_a_process_knows_how_long_it_has_run():
    code = (
        "import time\n"
        "began = time.monotonic()\n"
        "from peftcore.measuring.phases import seconds_since_start\n"
        "imports = time.monotonic() - began\n"
        "time.sleep(0.3)\n"
        "print(seconds_since_start() - imports)\n"
    )
    began = real_time.monotonic()
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    told = float(done.stdout)
    # The clock of processes ticks a hundred times a second.
    assert 0.28 < told < real_time.monotonic() - began + 0.02


# Energy


def test_a_phase_counts_the_energy_of_its_stretches_alone(machine: Machine, phases: Phases) -> None:
    machine.taken = 1000.0
    with phases.measure("train"):
        machine.work(1)
        machine.taken += 30
        with phases.measure("evaluate"):
            machine.work(1)
            machine.taken += 7
        machine.work(1)
        machine.taken += 20
    assert (phases["train"].processor_joules, phases["evaluate"].processor_joules) == (50, 7)
    assert phases["train"].gpu_joules is None


def test_of_a_phase_with_a_stretch_that_no_counter_tells_of_nothing_is_known() -> None:
    tally = Tally()
    tally.add(1.0, 1.0, Peak(1), Joules(processor=5.0, gpu=2.0))
    tally.add(1.0, 1.0, Peak(1), Joules(processor=None, gpu=3.0))
    tally.add(1.0, 1.0, Peak(1), Joules(processor=4.0, gpu=4.0))
    assert (tally.processor_joules, tally.gpu_joules) == (None, 9.0)


@pytest.mark.parametrize("told", [0.0, None])
def test_a_counter_that_stood_still_makes_no_zero(told: float | None) -> None:
    tally = Tally()
    tally.add(2.0, 1.0, Peak(1), Joules(processor=told, gpu=3.0))
    assert (tally.cost()["processor_joules"], tally.cost()["gpu_joules"]) == (None, 3.0)
    assert (tally.cost()["seconds"], tally.cost()["peak_bytes"]) == (2.0, 1)


def test_energy_goes_on_from_an_earlier_part(machine: Machine, phases: Phases) -> None:
    phases.add({"train": Tally(10.0, 10.0, processor_joules=100.0)})
    with phases.measure("train"):
        machine.work(1)
        machine.taken += 11
    assert phases["train"].processor_joules == 111

import threading
from contextlib import ExitStack
from pathlib import Path

import pytest

from peftcore.running import leases
from peftcore.running.leases import gpu_for, leased, visible_devices
from tests.conftest import MakeTrial

MIG = "MIG-GPU-8932f937-d72c-4106-c12f-20bd9faed9f6/1/2"


@pytest.mark.parametrize(
    ("asked", "devices"),
    [
        (None, ["0", "1"]),
        ("", []),
        (" ", []),
        ("-1", []),
        ("0", ["0"]),
        ("1,0", ["1", "0"]),
        (" 1 , 0 ", ["1", "0"]),
        # As CUDA reads it: nothing behind what names no GPU, or one twice.
        ("0,7,1", ["0"]),
        ("0,-1,1", ["0"]),
        ("1,1,0", ["1"]),
        ("NoDevFiles", []),
        ("GPU-8932f937,GPU-5ff8e1a2", ["GPU-8932f937", "GPU-5ff8e1a2"]),
        (MIG, [MIG]),
    ],
)
def test_visible_devices_are_those_that_cuda_would_see(
    asked: str | None, devices: list[str]
) -> None:
    assert visible_devices(asked, present=2) == devices


def test_each_gpu_is_leased_once_and_the_next_trial_waits(tmp_path: Path) -> None:
    waits, ends, got = threading.Event(), threading.Event(), []

    def third() -> None:
        with leased(["1", MIG], tmp_path, waiting=waits.set) as device:
            got.append(device)
        ends.set()

    with leased(["1", MIG], tmp_path) as one:
        with leased(["1", MIG], tmp_path) as two:
            assert (one, two) == ("1", MIG)
            threading.Thread(target=third).start()
            assert waits.wait(10)
            assert got == []
        assert ends.wait(10)
    assert got == [MIG]


def test_a_gpu_is_shared_by_as_many_as_may_and_each_gpu_gets_one_first(tmp_path: Path) -> None:
    got: list[str | None] = []
    with ExitStack() as held:
        for _ in range(4):
            got.append(held.enter_context(leased(["0", "1"], tmp_path, places=2)))
        assert got == ["0", "1", "0", "1"]
        assert not free(["0", "1"], tmp_path, places=2)
    assert free(["0"], tmp_path, places=2)


def test_a_trial_that_wants_a_gpu_for_itself_shares_none(tmp_path: Path) -> None:
    with leased(["0"], tmp_path, places=3):
        assert free(["0"], tmp_path, places=3)
        assert not free(["0"], tmp_path)
    with leased(["0"], tmp_path):
        assert not free(["0"], tmp_path, places=3)


def free(devices: list[str], folder: Path, *, places: int = 1) -> bool:
    """Return whether a lease is to be had at once."""

    def waits() -> None:
        raise BlockingIOError

    try:
        with leased(devices, folder, places=places, waiting=waits):
            return True
    except BlockingIOError:
        return False


def test_one_gpu_by_two_names_is_one_lease(tmp_path: Path) -> None:
    names = {"0": "GPU-a", "GPU-a": "GPU-a", "1": "GPU-b"}
    with (
        leased(["0"], tmp_path, identity=names.__getitem__) as one,
        leased(["GPU-a", "1"], tmp_path, identity=names.__getitem__) as two,
    ):
        assert (one, two) == ("0", "1")


def test_without_a_gpu_there_is_nothing_to_wait_for(tmp_path: Path) -> None:
    with leased([], tmp_path) as one, leased([], tmp_path) as two:
        assert (one, two) == (None, None)


def test_a_trial_gets_one_of_the_callers_gpus_that_are_alike(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, make_trial: MakeTrial
) -> None:
    kinds = {"0": "A", "1": "B", "2": "B", "3": "B"}
    monkeypatch.setenv("PEFTCORE_RUNTIME", str(tmp_path))
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "1,0,3")
    monkeypatch.setattr(leases, "gpu", lambda: {"gpu": "B"})
    monkeypatch.setattr(leases, "describe_gpu", lambda device: {"gpu": kinds[device]})
    monkeypatch.setattr(leases, "count_gpus", lambda: len(kinds))
    monkeypatch.setattr(leases, "gpu_identity", lambda device: f"GPU-{device}")
    trial, told = make_trial("lora"), lambda: pytest.fail("one was free")
    with (
        gpu_for(trial, waiting=told) as one,
        gpu_for(trial, waiting=told) as two,
        gpu_for(make_trial("bow"), waiting=told) as none,
    ):
        # Neither the one that is of another kind, nor the one that the caller leaves out.
        assert (one, two, none) == ("1", "3", None)
    monkeypatch.setattr(leases, "gpu", lambda: {"gpu": None})
    with gpu_for(trial, waiting=told) as none:
        assert none is None

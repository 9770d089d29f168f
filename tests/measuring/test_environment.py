from __future__ import annotations

import copy
import json
import os
import subprocess
import sys
import types
from collections.abc import Callable, Iterator
from importlib import metadata
from pathlib import Path
from typing import Any

import psutil
import pytest

from peftcore.measuring import environment
from peftcore.measuring.driver import gpu
from peftcore.measuring.environment import (
    PACKAGES,
    describe_environment,
    environment_key,
    sources_sha256,
    usable_cores,
)

CACHED = (gpu, sources_sha256, environment._hardware, environment._git)


@pytest.fixture(autouse=True)
def _asked_anew() -> Iterator[None]:
    """Forget what was found out before, and what a test made it believe."""
    for function in CACHED:
        function.cache_clear()
    yield
    for function in CACHED:
        function.cache_clear()


# What is told


def test_an_environment_has_these_keys_and_is_json() -> None:
    told = describe_environment()
    assert told.keys() >= {
        "hardware",
        "packages",
        "python",
        "platform",
        "threads",
        "git_commit",
        "git_dirty",
        "sources_sha256",
    }
    hardware = {"cpu", "cores", "memory_bytes", "gpu", "gpu_memory_bytes", "driver", "cuda"}
    assert told["hardware"].keys() >= hardware
    assert json.loads(json.dumps(told, allow_nan=False)) == told


def test_what_is_told_is_true() -> None:
    told = describe_environment()
    assert told["packages"]["torch"] == metadata.version("torch")
    assert set(told["packages"]) <= set(PACKAGES)
    assert {"torch", "transformers", "peft", "bitsandbytes"} <= set(told["packages"])
    assert told["python"] == ".".join(str(part) for part in sys.version_info[:3])
    assert told["hardware"]["memory_bytes"] == psutil.virtual_memory().total
    assert told["hardware"]["cores"] == usable_cores() == len(os.sched_getaffinity(0))
    assert told["hardware"]["cpu"].strip()


def test_a_package_that_is_not_installed_is_not_listed(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(environment, "PACKAGES", ("numpy", "no-such-package"))
    assert list(describe_environment()["packages"]) == ["numpy"]


@pytest.mark.parametrize(("asked", "threads"), [("3", 3), ("1", 1), (None, 5), ("", 5), ("0", 5)])
def test_threads_are_what_openmp_is_told_or_the_cores(
    monkeypatch: pytest.MonkeyPatch, asked: str | None, threads: int
) -> None:
    monkeypatch.setattr(environment, "usable_cores", lambda: 5)
    if asked is None:
        monkeypatch.delenv("OMP_NUM_THREADS", raising=False)
    else:
        monkeypatch.setenv("OMP_NUM_THREADS", asked)
    assert describe_environment()["threads"] == threads


def test_it_needs_no_torch() -> None:
    code = (
        "import sys\n"
        "from peftcore.measuring.environment import describe_environment\n"
        "describe_environment()\n"
        "heavy = {'torch', 'transformers', 'peft', 'bitsandbytes', 'sklearn'}\n"
        "assert not heavy & set(sys.modules), heavy & set(sys.modules)\n"
    )
    subprocess.run([sys.executable, "-c", code], check=True)


# Its key


HARDWARE = {"cpu": "Some CPU", "cores": 4, "gpu": None, "memory_bytes": 25_276_510_208}


def environment_of_a_record() -> dict[str, Any]:
    return {
        "hardware": HARDWARE,
        "packages": {"torch": "2.13.0", "peft": "0.21.0"},
        "python": "3.11.7",
        "platform": "Linux-6.1",
        "threads": 4,
        "git_commit": "0" * 40,
        "git_dirty": False,
        "sources_sha256": "a" * 64,
    }


DIFFERENT = {
    "another version": ("packages", {"torch": "2.14.0", "peft": "0.21.0"}),
    "a package more": ("packages", {"torch": "2.13.0", "peft": "0.21.0", "numpy": "2.1.0"}),
    "a package less": ("packages", {"torch": "2.13.0"}),
    "another processor": ("hardware", {**HARDWARE, "cpu": "Other CPU"}),
    "fewer cores": ("hardware", {**HARDWARE, "cores": 2}),
    "a gpu": ("hardware", {**HARDWARE, "gpu": "Some GPU"}),
    "more memory": ("hardware", {**HARDWARE, "memory_bytes": 34_000_000_000}),
    "another python": ("python", "3.12.1"),
    "fewer threads": ("threads", 2),
    "other sources": ("sources_sha256", "b" * 64),
}
EQUAL = {
    "another commit": ("git_commit", "1" * 40),
    "no checkout": ("git_commit", None),
    "a changed checkout": ("git_dirty", True),
    "another kernel": ("platform", "Linux-6.2"),
    "some MB that the kernel took": (
        "hardware",
        {**HARDWARE, "memory_bytes": 25_276_000_000},
    ),
}


@pytest.mark.parametrize("change", DIFFERENT)
def test_the_key_changes_with_what_can_change_a_measurement(change: str) -> None:
    name, value = DIFFERENT[change]
    here = environment_of_a_record()
    assert environment_key({**here, name: value}) != environment_key(here)


@pytest.mark.parametrize("change", EQUAL)
def test_the_key_stays_with_what_can_not(change: str) -> None:
    name, value = EQUAL[change]
    here = environment_of_a_record()
    assert environment_key({**here, name: value}) == environment_key(here)


def test_the_key_depends_on_no_order() -> None:
    here = environment_of_a_record()
    there = {
        name: dict(reversed(value.items())) if isinstance(value, dict) else value
        for name, value in reversed(here.items())
    }
    assert environment_key(there) == environment_key(here)


def test_the_key_is_the_same_after_json() -> None:
    here = describe_environment()
    assert environment_key(json.loads(json.dumps(here))) == environment_key(here)


def test_the_key_of_an_environment_does_not_change_between_calls() -> None:
    assert environment_key(describe_environment()) == environment_key(describe_environment())


# The sources


@pytest.fixture
def sources(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Callable[..., str]:
    """Return a function that writes files into a package of its own, and gives its hash."""
    folder = tmp_path / "peftcore"
    monkeypatch.setattr(environment, "_PACKAGE_FOLDER", folder)

    def write(**files: str) -> str:
        for name, text in files.items():
            path = folder / (name.replace("__in__", "/") + ".py")
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_text(text, encoding="utf-8")
        sources_sha256.cache_clear()
        return sources_sha256()

    write(methods="A", training__in__loop="B", report__in__tables="C", results__in__store="D")
    return write


@pytest.mark.parametrize("file", ["methods", "training__in__loop"])
def test_the_hash_changes_with_what_measures(sources: Callable[..., str], file: str) -> None:
    assert sources(**{file: "changed"}) != sources(**{file: "changed again"})


def test_the_hash_changes_with_a_new_or_a_renamed_file(
    sources: Callable[..., str], tmp_path: Path
) -> None:
    seen = {sources(), sources(training__in__new="")}
    (tmp_path / "peftcore" / "training" / "new.py").rename(
        tmp_path / "peftcore" / "training" / "newer.py"
    )
    seen.add(sources())
    assert len(seen) == 3


@pytest.mark.parametrize(
    "file",
    [
        "report__in__tables",
        "report__in__plots__in__deep",
        "results__in__store",
        "comparison",
        "pytest_plugin",
        "__main__",
        "commands__in__running",
    ],
)
def test_the_hash_stays_when_only_readers_of_records_change(
    sources: Callable[..., str], file: str
) -> None:
    assert sources() == sources(**{file: "changed"}) == sources(**{file: "changed again"})


def test_only_the_folder_at_the_top_is_a_reader(sources: Callable[..., str]) -> None:
    assert sources() != sources(training__in__report="")


def test_moving_a_line_from_one_file_to_the_next_is_a_change(sources: Callable[..., str]) -> None:
    assert sources(methods="AB", scenarios="C") != sources(methods="A", scenarios="BC")


# The checkout


def git(folder: Path, *arguments: str) -> None:
    subprocess.run(
        ["git", "-c", "user.name=a", "-c", "user.email=a@b", "-C", str(folder), *arguments],
        check=True,
        capture_output=True,
    )


@pytest.fixture
def checkout(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    folder = tmp_path / "peftcore"
    folder.mkdir()
    (folder / "methods.py").write_text("A")
    (tmp_path / "README.md").write_text("A")
    git(tmp_path, "init", "--quiet")
    git(tmp_path, "add", ".")
    git(tmp_path, "commit", "--quiet", "--no-verify", "-m", "first")
    monkeypatch.setattr(environment, "_PACKAGE_FOLDER", folder)
    return tmp_path


def test_a_checkout_tells_its_commit_and_whether_its_code_differs(checkout: Path) -> None:
    told = describe_environment()
    assert len(told["git_commit"]) == 40
    assert told["git_dirty"] is False
    (checkout / "README.md").write_text("B")
    environment._git.cache_clear()
    assert describe_environment()["git_dirty"] is False
    (checkout / "peftcore" / "methods.py").write_text("B")
    environment._git.cache_clear()
    assert describe_environment()["git_dirty"] is True


def test_a_package_inside_somebody_elses_checkout_has_no_commit(
    checkout: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    inside = checkout / "venv" / "peftcore"
    inside.mkdir(parents=True)
    monkeypatch.setattr(environment, "_PACKAGE_FOLDER", inside)
    told = describe_environment()
    assert told["git_commit"] is None
    assert told["git_dirty"] is None


# The GPU


@pytest.fixture
def two_gpus(monkeypatch: pytest.MonkeyPatch) -> list[object]:
    """A driver that knows two GPUs; the list tells which were asked for."""
    asked: list[object] = []

    class NVMLError(Exception):
        pass

    def handle(index: object) -> object:
        asked.append(index)
        if index not in (0, 1, "GPU-one"):
            raise NVMLError
        return index

    driver: Any = types.ModuleType("pynvml")
    driver.NVMLError = NVMLError
    driver.nvmlInit = lambda: None
    driver.nvmlDeviceGetHandleByIndex = handle
    driver.nvmlDeviceGetHandleByUUID = handle
    driver.nvmlDeviceGetName = lambda index: f"GPU {index}"
    driver.nvmlDeviceGetMemoryInfo = lambda _: types.SimpleNamespace(total=4_000_000_000)
    driver.nvmlSystemGetDriverVersion = lambda: "545.23"
    driver.nvmlSystemGetCudaDriverVersion_v2 = lambda: 12030
    monkeypatch.setitem(sys.modules, "pynvml", driver)
    return asked


@pytest.mark.parametrize(
    ("visible", "name", "index"),
    [
        (None, "GPU 0", 0),
        ("0", "GPU 0", 0),
        ("1", "GPU 1", 1),
        ("1,0", "GPU 1", 1),
        (" 1 ", "GPU 1", 1),
        ("GPU-one", "GPU GPU-one", "GPU-one"),
    ],
)
def test_the_first_visible_gpu_is_the_one(
    two_gpus: list[object],
    monkeypatch: pytest.MonkeyPatch,
    visible: str | None,
    name: str,
    index: object,
) -> None:
    if visible is None:
        monkeypatch.delenv("CUDA_VISIBLE_DEVICES", raising=False)
    else:
        monkeypatch.setenv("CUDA_VISIBLE_DEVICES", visible)
    assert gpu() == {
        "gpu": name,
        "gpu_memory_bytes": 4_000_000_000,
        "driver": "545.23",
        "cuda": "12.3",
    }
    assert two_gpus == [index]


@pytest.mark.parametrize("visible", ["", " ", "-1", "-1,0", "7", "GPU-gone"])
def test_a_gpu_that_is_not_visible_is_none(
    two_gpus: list[object], monkeypatch: pytest.MonkeyPatch, visible: str
) -> None:
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", visible)
    assert set(gpu()) == {"gpu", "gpu_memory_bytes", "driver", "cuda"}
    assert set(gpu().values()) == {None}


def test_a_gpu_that_has_no_memory_of_its_own_is_one(
    two_gpus: list[object], monkeypatch: pytest.MonkeyPatch
) -> None:
    driver: Any = sys.modules["pynvml"]

    def unsupported(_: object) -> None:
        raise driver.NVMLError

    monkeypatch.delenv("CUDA_VISIBLE_DEVICES", raising=False)
    driver.nvmlDeviceGetMemoryInfo = unsupported
    assert gpu() == {"gpu": "GPU 0", "gpu_memory_bytes": None, "driver": "545.23", "cuda": "12.3"}


def test_without_nvidias_library_there_is_no_gpu(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("CUDA_VISIBLE_DEVICES", raising=False)
    monkeypatch.setitem(sys.modules, "pynvml", None)
    assert gpu()["gpu"] is None


def test_a_gpu_is_part_of_the_key(two_gpus: list[object], monkeypatch: pytest.MonkeyPatch) -> None:
    keys = set()
    for visible in ("", "0", "1"):
        monkeypatch.setenv("CUDA_VISIBLE_DEVICES", visible)
        for function in CACHED:
            function.cache_clear()
        keys.add(environment_key(copy.deepcopy(describe_environment())))
    assert len(keys) == 3

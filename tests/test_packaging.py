"""What others get: the wheel, and a project of somebody else's that uses it."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import sysconfig
import venv
import zipfile
from importlib.util import find_spec
from pathlib import Path

import pytest

from peftcore.results.records import read_records
from peftcore.trials import Outcome

ROOT = Path(__file__).resolve().parents[1]
EXAMPLE = ROOT / "examples" / "sentiment-gate"


def run(*command: str | Path, cwd: Path | None = None) -> subprocess.CompletedProcess[str]:
    """Run a command as somebody would who has no checkout of this repository."""
    environment = {name: value for name, value in os.environ.items() if name != "PYTHONPATH"}
    environment["CUDA_VISIBLE_DEVICES"] = ""
    return subprocess.run(
        [str(part) for part in command],
        cwd=cwd,
        env=environment,
        text=True,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        timeout=600,
    )


def run_well(*command: str | Path, cwd: Path | None = None) -> str:
    result = run(*command, cwd=cwd)
    assert result.returncode == 0, result.stdout
    return result.stdout


def copied(folder: Path, to: Path) -> Path:
    """Copy a project without what building and running it has left behind."""
    left = shutil.ignore_patterns(".*", "__pycache__", "reports", "build", "dist", "*.egg-info")
    return Path(shutil.copytree(folder, to, ignore=left))


def built(project: Path, folder: Path) -> Path:
    """Build the wheel of a project, without a network, and return it."""
    if find_spec("hatchling") is None:
        pytest.skip("needs hatchling: install the extra 'test'")
    offline = ("--no-deps", "--no-index", "--no-build-isolation")
    run_well(sys.executable, "-m", "pip", "wheel", *offline, "-w", folder, project)
    (wheel,) = folder.glob("*.whl")
    return wheel


@pytest.fixture(scope="session")
def wheel(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The wheel of this checkout."""
    folder = tmp_path_factory.mktemp("wheel")
    source = folder / "source"
    source.mkdir()
    copied(ROOT / "peftcore", source / "peftcore")
    for name in ("pyproject.toml", "README.md", "LICENSE"):
        shutil.copy(ROOT / name, source)
    return built(source, folder)


@pytest.mark.slow
def test_the_wheel_holds_all_that_runs_and_nothing_else(wheel: Path) -> None:
    with zipfile.ZipFile(wheel) as archive:
        names = {name for name in archive.namelist() if ".dist-info/" not in name}
        (entries,) = [name for name in archive.namelist() if name.endswith("entry_points.txt")]
        declared = archive.read(entries).decode()
    sources = {
        path.relative_to(ROOT).as_posix()
        for path in (ROOT / "peftcore").rglob("*")
        if path.is_file() and path.suffix != ".pyc"
    }
    assert names == sources
    assert "peftcore/training/kernels/kernels.cpp" in names
    assert "peftcore/py.typed" in names
    assert "[pytest11]\npeftcore = peftcore.pytest_plugin" in declared
    assert "[console_scripts]\npeftcore = peftcore.__main__:main" in declared


@pytest.fixture
def somebody(tmp_path: Path, wheel: Path) -> Path:
    """The Python of an environment with the wheel and the example project, and no checkout.

    Other packages are those of the environment that runs the tests.
    """
    folder = tmp_path / "environment"
    venv.create(folder, with_pip=False, symlinks=os.name != "nt")
    scripts = "Scripts" if os.name == "nt" else "bin"
    python = folder / scripts / "python"
    paths = {"base": str(folder), "platbase": str(folder)}
    packages = Path(sysconfig.get_path("purelib", "venv", vars=paths))
    # Not their .pth files: what is installed there as a checkout stays there.
    others = [path for path in sys.path if Path(path).name == "site-packages"]
    (packages / "others.pth").write_text("".join(f"{path}\n" for path in others))
    example = built(copied(EXAMPLE, tmp_path / "source"), tmp_path)
    offline = ("--no-deps", "--no-index", "--ignore-installed", "--quiet")
    run_well(
        *(sys.executable, "-m", "pip", "--python", python, "install"), *offline, wheel, example
    )
    return python


@pytest.mark.slow
def test_the_example_passes_where_it_is_installed_and_fails_where_it_should(
    somebody: Path, tmp_path: Path
) -> None:
    project = copied(EXAMPLE, tmp_path / "project")
    where = run_well(somebody, "-c", "import peftcore; print(peftcore.__file__)", cwd=tmp_path)
    assert Path(where.strip()).is_relative_to(tmp_path / "environment")
    # One seed and two epochs, not three: what is shown here is that it works.
    once = (somebody, "-P", "-m", "pytest", "--peft-seeds", "1", "--peft-set", "epochs=2")
    output = run_well(*once, cwd=project)
    assert "1 passed" in output
    (record,) = read_records(project / "reports" / "workshop" / "records.jsonl")
    assert record.outcome is Outcome.OK
    assert (record.method, record.scenario) == ("thin-lora", "workshop")
    # Of the sources that were installed, not of this checkout.
    assert record.environment["git_commit"] is None

    # The commands of its README.
    run_well(somebody, "-P", "-m", "peftcore", "baseline", "--out", "baseline.json", cwd=project)
    gate = ["--peft-baseline", "baseline.json", "--peft-gate", "fail"]
    # Times taken while other tests train are not comparable, and the gate would say so.
    gate += ["--peft-gate-metrics", "accuracy,counts"]
    assert "gate on workshop: PASS" in run_well(*once, *gate, cwd=project)

    test = project / "tests" / "test_adapter.py"
    assert "> 0.75" in test.read_text()
    test.write_text(test.read_text().replace("> 0.75", "> 1.0"))
    again = run(*once, cwd=project)
    assert again.returncode == pytest.ExitCode.TESTS_FAILED
    assert "reused 1 of 1 records" in again.stdout
    assert "<thin-lora in workshop: accuracy 0." in again.stdout
    # Nothing reached the checkout that the example was copied from.
    assert not (EXAMPLE / "reports").exists()


def test_the_examples_data_is_what_its_script_writes(tmp_path: Path) -> None:
    script = shutil.copy(EXAMPLE / "data" / "write.py", tmp_path)
    run_well(sys.executable, script)
    for name in ("train.csv", "test.csv"):
        assert (tmp_path / name).read_bytes() == (EXAMPLE / "data" / name).read_bytes()

import subprocess
import sys
from pathlib import Path

import pytest

from peftcore.running.neighbours import present


@pytest.fixture
def runtime(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("PEFTCORE_RUNTIME", str(tmp_path / "runtime"))
    return tmp_path / "runtime"


def test_alone_is_not_shared(runtime: Path) -> None:
    with present() as one:
        assert one.shared is False
    with present() as two:
        # They did not overlap.
        assert two.shared is False
    assert list((runtime / "running").iterdir()) == []


def test_both_of_two_that_overlap_are_shared(runtime: Path) -> None:
    with present() as one:
        assert one.shared is False
        with present() as two:
            assert (one.shared, two.shared) == (True, True)
        # It stays so when the other has ended.
        assert one.shared is True
    with present() as three:
        assert three.shared is False


def test_a_killed_process_leaves_nobody_marked(runtime: Path) -> None:
    code = (
        "import os, signal\n"
        "from peftcore.running.neighbours import present\n"
        "with present():\n"
        "    os.kill(os.getpid(), signal.SIGKILL)\n"
    )
    subprocess.run([sys.executable, "-c", code], check=False)
    assert len(list((runtime / "running").iterdir())) == 1
    with present() as one:
        assert one.shared is False
        assert len(list((runtime / "running").iterdir())) == 1


def test_where_nothing_can_be_told_it_is_not_known(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "file").write_text("")
    monkeypatch.setenv("PEFTCORE_RUNTIME", str(tmp_path / "file" / "runtime"))
    with present() as one:
        assert one.shared is None


def test_whoever_tidies_scratch_files_costs_no_trial(runtime: Path) -> None:
    with present() as one:
        for path in (runtime / "running").iterdir():
            path.unlink()
        assert one.shared is False

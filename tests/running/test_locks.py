import os
import subprocess
import sys
from pathlib import Path

import pytest

from peftcore.running.locks import acquire, runtime_folder, wait_for

HOLDER = """
import sys
from pathlib import Path
from peftcore.running.locks import acquire
stream = acquire(Path(sys.argv[1]))
print("held" if stream else "taken", flush=True)
sys.stdin.readline()
"""


def holder(path: Path) -> subprocess.Popen[str]:
    """Start a process that holds the lock of a file until it is told to end, or killed."""
    process = subprocess.Popen(
        [sys.executable, "-c", HOLDER, str(path)],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    )
    assert process.stdout is not None
    assert process.stdout.readline() == "held\n"
    return process


def test_a_lock_is_one_processs_until_that_dies_however(tmp_path: Path) -> None:
    path = tmp_path / "lock"
    with holder(path) as process:
        assert acquire(path) is None
        process.kill()
    stream = acquire(path)
    assert stream is not None
    # Within one process it is exclusive, too.
    assert acquire(path) is None
    stream.close()
    again = acquire(path)
    assert again is not None
    again.close()


def test_whoever_waits_is_told_once_and_gets_it(tmp_path: Path) -> None:
    path = tmp_path / "lock"
    told = []
    with holder(path) as process:

        def waiting() -> None:
            told.append(path)
            process.kill()

        wait_for(path, waiting=waiting).close()
    assert told == [path]
    wait_for(path, waiting=lambda: pytest.fail("it was free")).close()


def test_a_file_that_was_removed_meanwhile_is_no_lock(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Its holder removes it just before it lets go: the next one must not hold what is gone."""
    path, opened = tmp_path / "lock", os.open
    removals = [path.unlink]

    def open_late(*arguments: object, **options: object) -> int:
        found = opened(*arguments, **options)  # type: ignore[arg-type]
        if removals:
            removals.pop()()
        return found

    monkeypatch.setattr(os, "open", open_late)
    stream = acquire(path)
    assert stream is not None
    assert os.path.samestat(path.stat(), os.fstat(stream.fileno()))
    stream.close()


def test_nothing_is_made_where_that_is_not_asked_for(tmp_path: Path) -> None:
    assert acquire(tmp_path / "lock", create=False) is None
    assert list(tmp_path.iterdir()) == []


def test_the_machines_folder_is_this_users_alone(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("PEFTCORE_RUNTIME", raising=False)
    monkeypatch.setattr("tempfile.gettempdir", lambda: str(tmp_path))
    folder = runtime_folder()
    assert folder.parent == tmp_path
    assert folder.stat().st_mode & 0o777 == 0o700
    folder.rmdir()
    # In a folder where everybody may write, a link could lead elsewhere.
    (tmp_path / "elsewhere").mkdir()
    folder.symlink_to(tmp_path / "elsewhere")
    with pytest.raises(PermissionError, match="PEFTCORE_RUNTIME"):
        runtime_folder()

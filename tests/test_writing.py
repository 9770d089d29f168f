"""Files that appear whole or not at all."""

from __future__ import annotations

from pathlib import Path

import pytest

from peftcore.writing import write_whole


def test_a_text_takes_the_place_of_what_was_there(tmp_path: Path) -> None:
    file = tmp_path / "deep" / "file.txt"
    write_whole(file, "one\n")
    write_whole(file, "zwei\n")
    assert file.read_bytes() == b"zwei\n"
    assert list(file.parent.iterdir()) == [file]


def test_what_can_not_be_written_leaves_what_was_there(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    file = tmp_path / "file.txt"
    write_whole(file, "old")

    def full(*_: object) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(Path, "replace", full)
    with pytest.raises(OSError, match="No space left"):
        write_whole(file, "new")
    assert file.read_text(encoding="utf-8") == "old"
    assert list(tmp_path.iterdir()) == [file]

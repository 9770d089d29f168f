"""What is handed on never costs what is there, and what fails says what is kept."""

import errno
from pathlib import Path

import pytest

from peftcore.choosing.delivering import MARK_FILE, deliver, kept_in, require_usable
from peftcore.errors import PeftcoreError, StoreError, UsageError
from tests.conftest import sample_of

STORE = Path(".peftcore")


@pytest.fixture
def saved(tmp_path):
    folder = tmp_path / "saved"
    folder.mkdir()
    (folder / "model.safetensors").write_bytes(b"new")
    return folder


@pytest.fixture
def out(tmp_path):
    """A folder of an earlier choice."""
    folder = tmp_path / "out"
    (folder / "adapter").mkdir(parents=True)
    (folder / "adapter" / "model.safetensors").write_bytes(b"old")
    (folder / MARK_FILE).touch()
    return folder


def answering(monkeypatch, answers):
    def predict(*_):
        if isinstance(answers, BaseException):
            raise answers
        return answers

    monkeypatch.setattr("peftcore.choosing.delivering.predict_plainly", predict)


def test_a_new_model_takes_the_place_of_an_earlier_one_once_it_was_tried(
    make_trial, saved, out, monkeypatch
):
    trial = make_trial("bitfit")
    labels = list(sample_of(trial).test.labels)
    answering(monkeypatch, labels)
    delivered = deliver(trial, saved, out, labels)
    assert (out / "adapter" / "model.safetensors").read_bytes() == b"new"
    assert delivered.folder == out / "adapter"
    assert (delivered.tried, delivered.equal) == (24, 24)
    assert not (out / "adapter.new").exists()


@pytest.mark.parametrize("ends", ["killed", "wrong"])
def test_one_that_was_not_tried_to_the_end_leaves_the_earlier_one_and_a_usable_folder(
    make_trial, saved, out, monkeypatch, ends
):
    trial = make_trial("bitfit")
    labels = list(sample_of(trial).test.labels)
    others = [1 - label for label in labels]
    answering(monkeypatch, KeyboardInterrupt() if ends == "killed" else others)
    expected = KeyboardInterrupt if ends == "killed" else PeftcoreError
    with pytest.raises(expected):
        deliver(trial, saved, out, labels)
    assert (out / "adapter" / "model.safetensors").read_bytes() == b"old"
    require_usable(out, STORE)


def test_a_first_choice_that_was_cut_off_at_its_end_goes_on_in_its_folder(
    make_trial, saved, tmp_path, monkeypatch
):
    trial = make_trial("bitfit")
    require_usable(tmp_path / "new", STORE)
    answering(monkeypatch, KeyboardInterrupt())
    with pytest.raises(KeyboardInterrupt):
        deliver(trial, saved, tmp_path / "new", [])
    require_usable(tmp_path / "new", STORE)


def test_a_comparisons_report_is_not_taken_for_a_choices(tmp_path):
    for name in ("report.md", "records.jsonl"):
        (tmp_path / name).write_text("of a comparison")
    with pytest.raises(UsageError, match="not of an earlier choice: name a new folder"):
        require_usable(tmp_path, STORE)


def test_the_store_of_the_choice_itself_may_lie_in_its_folder(tmp_path):
    store = tmp_path / ".peftcore"
    (store / "choose").mkdir(parents=True)
    require_usable(tmp_path, store)
    require_usable(tmp_path, store / "deeper" / "still")
    with pytest.raises(UsageError, match="not of an earlier choice"):
        require_usable(tmp_path, STORE)


def test_a_folder_that_can_not_be_written_to_is_refused_before_anything_runs(tmp_path, monkeypatch):
    (tmp_path / "file").touch()
    with pytest.raises(UsageError, match="is a file: name a folder"):
        require_usable(tmp_path / "file", STORE)
    with pytest.raises(UsageError, match="can't be made or read: Not a directory"):
        require_usable(tmp_path / "file" / "out", STORE)
    monkeypatch.setattr("peftcore.choosing.delivering.os.access", lambda *_: False)
    with pytest.raises(UsageError, match="can't be written to: name another folder"):
        require_usable(tmp_path / "out", STORE)


def test_a_full_disk_is_told_with_what_is_kept_and_how_to_go_on(tmp_path):
    expected = r"card: No space left on device; every trial .* is kept in .*store: make room"
    with pytest.raises(StoreError, match=expected), kept_in(tmp_path / "store"):
        raise OSError(errno.ENOSPC, "No space left on device", "card")

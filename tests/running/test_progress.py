from __future__ import annotations

import io
import json
from pathlib import Path
from typing import Any

import pytest

from peftcore.running import progress
from peftcore.running.progress import (
    LOG_SECONDS,
    TERMINAL_COLUMNS,
    ProgressDisplay,
    ProgressFile,
    ProgressWatch,
    clock,
    describe,
)

REDRAW = "\r\x1b[K"


class Stream(io.StringIO):
    """Keeps what is written, and says whether it is a terminal."""

    def __init__(self, *, terminal: bool) -> None:
        super().__init__()
        self.terminal = terminal
        self.flushed = 0

    def isatty(self) -> bool:
        return self.terminal

    def flush(self) -> None:
        self.flushed += 1


class Clock:
    """Stands for the module ``time``."""

    def __init__(self) -> None:
        self.now = 1000.0

    def monotonic(self) -> float:
        return self.now


@pytest.fixture
def time(monkeypatch: pytest.MonkeyPatch) -> Clock:
    clock = Clock()
    monkeypatch.setattr(progress, "time", clock)
    return clock


@pytest.fixture
def terminal() -> Stream:
    return Stream(terminal=True)


@pytest.fixture
def log() -> Stream:
    return Stream(terminal=False)


def training(step: int, steps: int = 100, loss: float = 0.5) -> dict[str, Any]:
    return {"phase": "train", "step": step, "steps": steps, "epoch": step / 50, "loss": loss}


# Words


def test_a_step_is_described_with_all_that_is_known() -> None:
    words = describe(training(25), train_seconds=30.0)
    assert words == "train epoch 0.50, step 25/100, loss 0.5000, 1:30 left"


def test_no_time_is_promised_at_the_very_start() -> None:
    assert describe(training(1), train_seconds=0.9) == "train epoch 0.02, step 1/100, loss 0.5000"


def test_phases_without_steps() -> None:
    assert describe({"phase": "load"}, 5.0) == "load"
    assert describe({"phase": "evaluate", "epoch": 2}, 5.0) == "evaluate after epoch 2"


@pytest.mark.parametrize(
    ("seconds", "words"), [(0.4, "0:00"), (9.9, "0:09"), (187, "3:07"), (3600, "60:00")]
)
def test_clock(seconds: float, words: str) -> None:
    assert clock(seconds) == words


# On a terminal


def test_a_terminal_redraws_one_line(terminal: Stream, time: Clock) -> None:
    display = ProgressDisplay(terminal)
    display.show("a", {"phase": "load"})
    display.show("a", training(1))
    display.show("a", training(2))
    text = terminal.getvalue()
    assert "\n" not in text
    assert text.split(REDRAW)[1:] == [
        "a: load",
        "a: train epoch 0.02, step 1/100, loss 0.5000",
        "a: train epoch 0.04, step 2/100, loss 0.5000",
    ]
    assert terminal.flushed == 3


def test_the_time_left_counts_from_where_training_began(terminal: Stream, time: Clock) -> None:
    display = ProgressDisplay(terminal)
    display.show("a", {"phase": "load"})
    time.now += 500
    display.show("a", {"phase": "train"})
    time.now += 20
    display.show("a", training(10))
    assert terminal.getvalue().endswith("step 10/100, loss 0.5000, 3:00 left")


def test_the_time_left_counts_evaluations_too(terminal: Stream, time: Clock) -> None:
    display = ProgressDisplay(terminal)
    display.show("a", {"phase": "train"})
    time.now += 10
    display.show("a", {"phase": "evaluate", "epoch": 1})
    time.now += 10
    display.show("a", training(50))
    assert terminal.getvalue().endswith("0:20 left")


def test_several_trials_share_the_line(terminal: Stream, time: Clock) -> None:
    display = ProgressDisplay(terminal)
    display.show("a", {"phase": "load"})
    display.show("b", {"phase": "attach"})
    assert terminal.getvalue().endswith(REDRAW + "a: load | b: attach")
    display.done("a", "accuracy 0.9")
    assert terminal.getvalue().endswith(REDRAW + "a: accuracy 0.9\n")
    display.show("b", {"phase": "save"})
    assert terminal.getvalue().endswith(REDRAW + "b: save")


def test_a_line_never_wraps(terminal: Stream, time: Clock) -> None:
    display = ProgressDisplay(terminal)
    for number in range(10):
        display.show(f"scenario method seed {number}", {"phase": "warm up"})
    last = terminal.getvalue().split(REDRAW)[-1]
    assert len(last) == TERMINAL_COLUMNS


# In a log


def test_a_log_gets_few_lines(log: Stream, time: Clock) -> None:
    display = ProgressDisplay(log)
    display.show("a", {"phase": "load"})
    display.show("a", {"phase": "train"})
    assert log.getvalue() == ""
    for step in range(1, 101):
        time.now += 1
        display.show("a", training(step))
    lines = log.getvalue().splitlines()
    assert [line.split(", ")[1] for line in lines] == [
        f"step {1 + n * int(LOG_SECONDS)}/100" for n in range(4)
    ]
    assert "\r" not in log.getvalue()
    assert "\x1b" not in log.getvalue()


def test_in_a_log_each_trial_has_its_own_turn(log: Stream, time: Clock) -> None:
    display = ProgressDisplay(log)
    display.show("a", training(1))
    display.show("b", training(1))
    display.show("a", training(2))
    assert [line.split(":")[0] for line in log.getvalue().splitlines()] == ["a", "b"]


def test_a_log_says_how_a_trial_ended(log: Stream, time: Clock) -> None:
    display = ProgressDisplay(log)
    display.done("a", "crashed: killed")
    assert log.getvalue() == "a: crashed: killed\n"
    assert log.flushed == 1


def test_the_next_trial_of_the_same_label_starts_anew(log: Stream, time: Clock) -> None:
    display = ProgressDisplay(log)
    display.show("a", {"phase": "train"})
    time.now += 10
    display.show("a", training(1))
    display.done("a", "crashed")
    display.show("a", training(1))
    assert log.getvalue().splitlines()[-1] == "a: train epoch 0.02, step 1/100, loss 0.5000"


# From worker processes


def watch(folder: Path, stream: Stream) -> ProgressWatch:
    return ProgressWatch(folder, ProgressDisplay(stream), seconds=0.01)


def test_what_workers_pass_on_is_shown(log: Stream, tmp_path: Path) -> None:
    folder = tmp_path / "store" / "progress"
    watching = watch(folder, log)
    watching.start()
    one, two = ProgressFile(folder, "gw0"), ProgressFile(folder, "gw1")
    one.show("a", training(1))
    two.show("b", {"phase": "load"})
    two.done("b", "accuracy 0.9")
    watching.stop()
    lines = log.getvalue().splitlines()
    assert sorted(lines) == ["a: train epoch 0.02, step 1/100, loss 0.5000", "b: accuracy 0.9"]


def test_the_last_word_is_shown_even_when_it_comes_just_before_the_end(
    log: Stream, tmp_path: Path
) -> None:
    watching = ProgressWatch(tmp_path, ProgressDisplay(log), seconds=600)
    watching.start()
    ProgressFile(tmp_path, "gw0").done("a", "accuracy 0.9")
    watching.stop()
    assert log.getvalue() == "a: accuracy 0.9\n"


def test_nothing_is_shown_twice(log: Stream, tmp_path: Path) -> None:
    ProgressFile(tmp_path, "gw0").done("a", "accuracy 0.9")
    watching = watch(tmp_path, log)
    for _ in range(3):
        watching._look()
    assert log.getvalue() == "a: accuracy 0.9\n"


def test_what_an_earlier_session_left_is_not_shown(log: Stream, tmp_path: Path) -> None:
    ProgressFile(tmp_path, "gw0").done("a", "accuracy 0.9")
    watching = watch(tmp_path, log)
    watching.start()
    watching.stop()
    assert log.getvalue() == ""


def test_a_reader_never_sees_half_a_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """It is written under another name and renamed into place; a full disk ends no trial."""
    file = ProgressFile(tmp_path, "gw0")
    file.show("a", {"phase": "load"})
    written = Path.write_text

    def half(path: Path, text: str, **options: Any) -> int:
        written(path, text[: len(text) // 2], **options)
        raise OSError("the disk is full")

    monkeypatch.setattr(Path, "write_text", half)
    file.show("a", {"phase": "train"})
    (path,) = tmp_path.glob("*.json")
    assert json.loads(path.read_text(encoding="utf-8"))["event"] == {"phase": "load"}

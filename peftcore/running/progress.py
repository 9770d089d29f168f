"""Progress of trials for people: one line that redraws on a terminal, few lines in a log."""

from __future__ import annotations

import time
from collections.abc import Mapping
from typing import IO, Any

LOG_SECONDS = 30.0
"""In a log, training prints no more often than this."""


class ProgressDisplay:
    """Shows the progress of one trial after another on a stream.

    Args:
        stream: where to; a terminal gets a line that is drawn again, any other stream a line per
            phase and now and then one in training.
        terminal: whether the stream is a terminal; asked from the stream unless given.
    """

    def __init__(self, stream: IO[str], *, terminal: bool | None = None) -> None:
        self._stream = stream
        self._terminal = stream.isatty() if terminal is None else terminal
        self._label = ""
        self._phase = ""
        self._logged = float("-inf")
        self._train_began = 0.0

    def show(self, label: str, event: Mapping[str, Any]) -> None:
        """Show one event of the trial that ``label`` names.

        Args:
            label: such as ``"lora seed 42"``.
            event: ``phase`` and, in training, ``step``, ``steps``, ``epoch`` and ``loss``.
        """
        now = time.monotonic()
        began = label != self._label or event["phase"] != self._phase
        if event["phase"] == "train" and (label != self._label or not self._train_began):
            self._train_began = now
        if label != self._label and event["phase"] != "train":
            self._train_began = 0.0
        self._label, self._phase = label, event["phase"]
        line = f"{label}: {describe(event, now - self._train_began)}"
        if self._terminal:
            self._stream.write(f"\r\x1b[K{line[:110]}")
        elif now - self._logged >= LOG_SECONDS or (began and event["phase"] == "train"):
            self._stream.write(line + "\n")
            self._logged = now
        self._stream.flush()

    def done(self, label: str, summary: str) -> None:
        """Leave a line that says how the trial ended."""
        start = "\r\x1b[K" if self._terminal else ""
        self._stream.write(f"{start}{label}: {summary}\n")
        self._stream.flush()
        self._label, self._phase, self._train_began = "", "", 0.0


def describe(event: Mapping[str, Any], train_seconds: float) -> str:
    """Return a progress event in words.

    Args:
        event: ``phase`` and, in training, ``step``, ``steps``, ``epoch`` and ``loss``.
        train_seconds: how long ago training began, evaluations included.
    """
    if event["phase"] != "train" or "step" not in event:
        epoch = f" after epoch {event['epoch']}" if "epoch" in event else ""
        return f"{event['phase']}{epoch}"
    step, steps = event["step"], event["steps"]
    left = ""
    if step and train_seconds > 1:
        left = f", {clock(train_seconds * (steps - step) / step)} left"
    return (
        f"train epoch {event['epoch']:.2f}, step {step}/{steps}, loss {event['loss']:.4f}{left}"
    )


def clock(seconds: float) -> str:
    """Return a duration as minutes and seconds, such as ``"3:07"``."""
    return f"{int(seconds) // 60}:{int(seconds) % 60:02d}"

"""Progress of trials for people: one line that redraws on a terminal, few lines in a log."""

from __future__ import annotations

import contextlib
import json
import threading
import time
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Protocol

from peftcore.errors import printable
from peftcore.writing import write_whole

LOG_SECONDS = 30.0
"""In a log, the training of one trial prints no more often than this."""

TERMINAL_COLUMNS = 110
"""A line that redraws is cut here, so that it never wraps into a second one."""

_REDRAW = "\r\x1b[K"


class Writable(Protocol):
    """What progress is written to."""

    def write(self, text: str, /) -> object:
        """Write text at once."""

    def isatty(self) -> bool:
        """Return whether it is a terminal."""


@dataclass
class _Running:
    """What is known of a trial that runs."""

    line: str = ""
    logged: float = float("-inf")
    train_began: float | None = None


class ProgressDisplay:
    """Shows the progress of trials, one or several at a time.

    A terminal gets one line that is drawn again; any other stream gets a line when training begins
    and now and then while it lasts.
    """

    def __init__(self, stream: Writable) -> None:
        self._stream = stream
        self._running: dict[str, _Running] = {}

    def show(self, label: str, event: Mapping[str, Any]) -> None:
        """Show one event of the trial that ``label`` names.

        Args:
            label: such as ``"embedded lora seed 42"``.
            event: ``phase`` and, in training, ``step``, ``steps``, ``epoch`` and ``loss``.
        """
        now = time.monotonic()
        trial = self._running.setdefault(label, _Running())
        if event["phase"] == "train" and trial.train_began is None:
            trial.train_began = now
        trial.line = printable(f"{label}: {describe(event, now - (trial.train_began or now))}")
        if self._stream.isatty():
            lines = " | ".join(running.line for running in self._running.values())
            self._write(f"{_REDRAW}{lines[:TERMINAL_COLUMNS]}")
        elif "step" in event and now - trial.logged >= LOG_SECONDS:
            self._write(trial.line + "\n")
            trial.logged = now

    def done(self, label: str, summary: str) -> None:
        """Leave a line that says how the trial ended."""
        self._running.pop(label, None)
        line = printable(f"{label}: {summary}")
        self._write(f"{_REDRAW if self._stream.isatty() else ''}{line}\n")

    def _write(self, text: str) -> None:
        self._stream.write(text)
        flush = getattr(self._stream, "flush", None)
        if flush is not None:
            flush()


def describe(event: Mapping[str, Any], train_seconds: float) -> str:
    """Return a progress event in words.

    Args:
        event: ``phase`` and, in training, ``step``, ``steps``, ``epoch`` and ``loss``.
        train_seconds: how long ago training began, evaluations included.
    """
    if "step" not in event:
        epoch = f" after epoch {event['epoch']}" if "epoch" in event else ""
        return f"{event['phase']}{epoch}"
    step, steps = event["step"], event["steps"]
    left = ""
    if train_seconds > 1:
        left = f", {clock(train_seconds * (steps - step) / step)} left"
    return f"train epoch {event['epoch']:.2f}, step {step}/{steps}, loss {event['loss']:.4f}{left}"


def clock(seconds: float) -> str:
    """Return a duration as minutes and seconds, such as ``"3:07"``."""
    return f"{int(seconds) // 60}:{int(seconds) % 60:02d}"


class ProgressFile:
    """Passes the progress of one worker process on through a small file.

    A worker of a parallel run has no terminal; the process that has one reads these files.
    """

    def __init__(self, folder: Path, worker: str) -> None:
        self._path = folder / f"{worker}.json"
        folder.mkdir(parents=True, exist_ok=True)

    def show(self, label: str, event: Mapping[str, Any]) -> None:
        """Pass one event on."""
        self._replace({"label": label, "event": dict(event)})

    def done(self, label: str, summary: str) -> None:
        """Pass on how the trial ended."""
        self._replace({"label": label, "summary": summary})

    def _replace(self, content: Mapping[str, Any]) -> None:
        # A full disk must not end a trial whose progress nobody gets to see.
        with contextlib.suppress(OSError):
            write_whole(self._path, json.dumps(content))


@dataclass
class ProgressWatch:
    """Shows what worker processes pass on, from a thread, until it is stopped.

    Attributes:
        folder: where the workers' files are.
        display: what shows them.
        seconds: how often to look.
    """

    folder: Path
    display: ProgressDisplay
    seconds: float = 0.5
    _seen: dict[Path, str] = field(default_factory=dict)
    _stop: threading.Event = field(default_factory=threading.Event)
    _thread: threading.Thread | None = None

    def start(self) -> None:
        """Begin to watch; what an earlier session left is removed."""
        for path in self.folder.glob("*.json"):
            path.unlink(missing_ok=True)
        self._thread = threading.Thread(target=self._watch, daemon=True)
        self._thread.start()

    def stop(self) -> None:
        """Look one last time and stop."""
        self._stop.set()
        if self._thread is not None:
            self._thread.join()

    def _watch(self) -> None:
        while not self._stop.wait(self.seconds):
            self._look()
        self._look()

    def _look(self) -> None:
        for path in sorted(self.folder.glob("*.json")):
            try:
                text = path.read_text(encoding="utf-8")
            except OSError:
                continue
            if text == self._seen.get(path):
                continue
            self._seen[path] = text
            content = json.loads(text)
            if "summary" in content:
                self.display.done(content["label"], content["summary"])
            else:
                self.display.show(content["label"], content["event"])

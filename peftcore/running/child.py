"""The process of one trial: ``python -m peftcore.running.child``, spoken to by ``process``."""

from __future__ import annotations

import json
import os
import sys
import threading
import time
import traceback
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import IO, TYPE_CHECKING, Any

from peftcore.data.examples import Examples, Sample
from peftcore.errors import CheckFailed, LossNotFinite, is_out_of_memory
from peftcore.measuring.environment import sources_sha256
from peftcore.measuring.garbage import importing
from peftcore.measuring.weights import Keep
from peftcore.methods import Trains
from peftcore.training.checkpoints import Checkpoints
from peftcore.trials import Outcome, Trial

if TYPE_CHECKING:
    from peftcore.training.ending import TrialResult
    from peftcore.training.observing import Observer

NOTHING: dict[str, Any] = {"measurement": None, "predictions": None, "labels": None}

OTHER_SOURCES: dict[str, Any] = {
    "outcome": Outcome.FAILED,
    "error": "peftcore's sources have changed since the session began, so its record would name "
    "other ones: start again",
    **NOTHING,
}

PROGRESS_SECONDS = 0.25
"""Progress is told no more often than this."""


def main() -> None:
    """Read one job from standard input, run it, and write events and the result as JSON lines."""
    # Whatever a library prints belongs on standard error; standard output is the wire.
    wire = os.fdopen(os.dup(1), "w", encoding="utf-8")
    os.dup2(2, 1)
    job = json.loads(sys.stdin.readline())
    threading.Thread(target=_end_with_parent, daemon=True).start()
    if sources_sha256() != job["sources_sha256"]:
        tell(wire, {"event": "result", **OTHER_SOURCES})
        os._exit(0)
    sample = Sample(*(Examples(**examples) for examples in job["sample"]))
    keep = Keep.from_job(job["keep"])
    checkpoints = job["checkpoints"] and Checkpoints.from_job(job["checkpoints"])
    result = _run(Trial.from_job(job["trial"]), sample, wire, keep, checkpoints)
    tell(wire, {"event": "result", **result})
    wire.close()
    # No teardown of libraries that could hang or crash after the result is out.
    os._exit(0)


def _end_with_parent() -> None:
    """Wait until standard input ends, which it does when the parent is gone, and end at once."""
    os.read(0, 1)
    os._exit(1)


def tell(wire: IO[str], event: dict[str, Any]) -> None:
    """Write one event, and see that it gets there."""
    wire.write(json.dumps(event, allow_nan=False) + "\n")
    wire.flush()


def _run(
    trial: Trial,
    sample: Sample,
    wire: IO[str],
    keep: Keep,
    checkpoints: Checkpoints | None,
) -> dict[str, Any]:
    """Return the result event of ``trial``: its outcome, and its numbers or what went wrong."""
    run = _runner(trial, keep, checkpoints)
    last_told = 0.0
    last_phase = ""

    def observe(event: dict[str, Any]) -> None:
        nonlocal last_told, last_phase
        now = time.monotonic()
        if event["phase"] != last_phase or now - last_told >= PROGRESS_SECONDS:
            last_told, last_phase = now, event["phase"]
            tell(wire, {"event": "progress", **event})

    try:
        result = run(trial, sample, observe)
    except CheckFailed as error:
        return {"outcome": Outcome.FAILED, "error": f"check failed: {error}", **NOTHING}
    except LossNotFinite as error:
        return {"outcome": Outcome.NAN, "error": str(error), **NOTHING}
    except Exception as error:
        if is_out_of_memory(error):
            return {"outcome": Outcome.OOM, "error": in_short(error), **NOTHING}
        traceback.print_exc()
        return {"outcome": Outcome.FAILED, "error": in_short(error), **NOTHING}
    return {
        "outcome": Outcome.OK,
        "error": None,
        "measurement": result.measurement,
        "predictions": result.predictions,
        "labels": result.labels,
    }


def _runner(
    trial: Trial, keep: Keep, checkpoints: Checkpoints | None
) -> Callable[[Trial, Sample, Observer], TrialResult]:
    """Return what runs a trial, with no more libraries imported than it needs."""
    with importing():
        if trial.method.trains is Trains.BAG_OF_WORDS:
            from peftcore.training.bag_of_words import run_bag_of_words

            return run_bag_of_words
        from peftcore.training.trial import quiet_libraries, run_trial
    quiet_libraries()
    return partial(run_trial, keep=keep, checkpoints=checkpoints)


def in_short(error: BaseException) -> str:
    """Return the error and where it was raised, in two lines."""
    frames = traceback.extract_tb(error.__traceback__)
    where = f"{Path(frames[-1].filename).name}:{frames[-1].lineno}" if frames else "?"
    return f"{type(error).__name__}: {error}\nraised at {where}"


if __name__ == "__main__":
    main()

"""The process of one trial: ``python -m peftcore.running.child``, spoken to by ``process``."""

from __future__ import annotations

import json
import os
import sys
import threading
import time
import traceback
from pathlib import Path
from typing import IO, Any

from peftcore.data.examples import Examples, Sample
from peftcore.errors import CheckFailed, LossNotFinite
from peftcore.measuring.environment import sources_sha256
from peftcore.measuring.garbage import importing
from peftcore.training.checkpoints import Checkpoints
from peftcore.trials import Outcome, Trial

NOTHING: dict[str, Any] = {"measurement": None, "predictions": None, "labels": None}

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
        error = (
            "peftcore's sources have changed since the session began, so its record would name "
            "other ones: start again"
        )
        tell(wire, {"event": "result", "outcome": Outcome.FAILED, "error": error, **NOTHING})
        os._exit(0)
    sample = Sample(*(Examples(**examples) for examples in job["sample"]))
    keep = None if job["keep"] is None else Path(job["keep"])
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
    keep: Path | None,
    checkpoints: Checkpoints | None,
) -> dict[str, Any]:
    """Return the result event of ``trial``: its outcome, and its numbers or what went wrong."""
    with importing():
        import torch

        from peftcore.training.trial import quiet_libraries, run_trial

    quiet_libraries()
    last_told = 0.0
    last_phase = ""

    def observe(event: dict[str, Any]) -> None:
        nonlocal last_told, last_phase
        now = time.monotonic()
        if event["phase"] != last_phase or now - last_told >= PROGRESS_SECONDS:
            last_told, last_phase = now, event["phase"]
            tell(wire, {"event": "progress", **event})

    try:
        result = run_trial(trial, sample, observe, keep=keep, checkpoints=checkpoints)
    except CheckFailed as error:
        return {"outcome": Outcome.FAILED, "error": f"check failed: {error}", **NOTHING}
    except LossNotFinite as error:
        return {"outcome": Outcome.NAN, "error": str(error), **NOTHING}
    except (MemoryError, torch.OutOfMemoryError) as error:
        return {"outcome": Outcome.OOM, "error": in_short(error), **NOTHING}
    except Exception as error:
        outcome = Outcome.OOM if "can't allocate memory" in str(error) else Outcome.FAILED
        traceback.print_exc()
        return {"outcome": outcome, "error": in_short(error), **NOTHING}
    return {
        "outcome": Outcome.OK,
        "error": None,
        "measurement": result.measurement,
        "predictions": result.predictions,
        "labels": result.labels,
    }


def in_short(error: BaseException) -> str:
    """Return the error and where it was raised, in two lines."""
    frames = traceback.extract_tb(error.__traceback__)
    where = f"{Path(frames[-1].filename).name}:{frames[-1].lineno}" if frames else "?"
    return f"{type(error).__name__}: {error}\nraised at {where}"


if __name__ == "__main__":
    main()

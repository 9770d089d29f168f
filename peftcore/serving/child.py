"""The process in which one method is served: spoken to by ``peftcore.serving.process``."""

from __future__ import annotations

import json
import os
import queue
import sys
import tempfile
import threading
from pathlib import Path
from typing import IO, Any

from peftcore.data.examples import Examples, Sample
from peftcore.errors import CheckFailed, is_out_of_memory
from peftcore.measuring.environment import sources_sha256
from peftcore.measuring.garbage import importing
from peftcore.running.child import NOTHING, OTHER_SOURCES, in_short, tell
from peftcore.serving.trials import ServingTrial, code_sha256
from peftcore.trials import Outcome

READY, ROUND, WARM_UP, END = "ready", "round", "warm up", "end"
"""What the two processes say to each other."""


def main() -> None:
    """Read one job from standard input, then commands, and answer with JSON lines."""
    # Whatever a library prints belongs on standard error; standard output is the wire.
    wire = os.fdopen(os.dup(1), "w", encoding="utf-8")
    os.dup2(2, 1)
    job = json.loads(sys.stdin.readline())
    commands: queue.Queue[str] = queue.Queue()
    threading.Thread(target=_read, args=(commands,), daemon=True).start()
    result = _serve(job, commands, wire)
    tell(wire, {"event": "result", **result})
    wire.close()
    # No teardown of libraries that could hang or crash after the result is out.
    os._exit(0)


def _read(commands: queue.Queue[str]) -> None:
    """Hand on commands until standard input ends, which it does when the parent is gone."""
    for line in sys.stdin:
        commands.put(line.strip())
    os._exit(1)


def _serve(job: dict[str, Any], commands: queue.Queue[str], wire: IO[str]) -> dict[str, Any]:
    """Return the result event: the outcome, and the numbers or what went wrong."""
    trial = ServingTrial.from_job(job["trial"])
    if sources_sha256() != job["sources_sha256"] or code_sha256() != trial.serving.code:
        return OTHER_SOURCES
    sample = Sample(*(Examples(**examples) for examples in job["sample"]))
    with importing():
        from peftcore.serving.bench import prepared
        from peftcore.training.trial import quiet_libraries

    quiet_libraries()

    def observe(event: dict[str, Any]) -> None:
        tell(wire, {"event": "progress", **event})

    try:
        with (
            tempfile.TemporaryDirectory(prefix="peftcore-") as folder,
            prepared(trial, sample, Path(folder), observe) as bench,
        ):
            tell(wire, {"event": READY})
            number = 0
            while (command := commands.get()) != END:
                bench.round(number, counts=command == ROUND)
                number += 1
                tell(wire, {"event": command})
            measurement = bench.result()
    except CheckFailed as error:
        return {"outcome": Outcome.FAILED, "error": f"check failed: {error}", **NOTHING}
    except Exception as error:
        outcome = Outcome.OOM if is_out_of_memory(error) else Outcome.FAILED
        return {"outcome": outcome, "error": in_short(error), **NOTHING}
    return {"outcome": Outcome.OK, "error": None, **NOTHING, "measurement": measurement}


if __name__ == "__main__":
    main()

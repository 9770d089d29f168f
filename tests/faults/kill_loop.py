"""Kill pytest and its children at random moments until a grid is done, and compare.

    python -m tests.faults.kill_loop --kills 50 --out summary.json

One grid of small trials runs once in peace and once under SIGKILLs of either pytest or a trial's
process. In the end every record must be there once, with the weights of the one that ran in peace.
The summary says how many kills and resumptions there were and how long it took; exit 1 if anything
differs.
"""

from __future__ import annotations

import argparse
import json
import os
import random
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import psutil

from peftcore.results.store import Store, has_store
from peftcore.trials import Outcome

ROOT = Path(__file__).resolve().parents[2]
CHILD = "peftcore.running.child"

GRID = (
    *("--peft-scenario", "embedded", "--peft-seeds", "2", "--peft-method", "full,lora,qlora,ia3"),
    *("--peft-set", "train_examples=120", "--peft-set", "test_examples=60"),
    *("--peft-set", "epochs=2", "--peft-checkpoint-seconds", "0.2"),
)


def session(folder: Path, options: Sequence[str]) -> subprocess.Popen[bytes]:
    """Start pytest over the grid, with its store in this folder."""
    environment = {
        **os.environ,
        "PYTHONPATH": os.pathsep.join([str(ROOT), os.environ.get("PYTHONPATH", "")]).strip(":"),
        "CUDA_VISIBLE_DEVICES": "",
    }
    with (folder / "output.txt").open("ab") as output:
        return subprocess.Popen(
            [
                *(sys.executable, "-m", "pytest", "-p", "no:cacheprovider"),
                *("-c", str(ROOT / "pytest.ini"), str(ROOT / "benchmarks" / "test_methods.py")),
                *("--peft-store", str(folder / "store"), "--peft-report", str(folder / "report")),
                *options,
            ],
            cwd=folder,
            stdout=output,
            stderr=subprocess.STDOUT,
            env=environment,
        )


def outcomes(folder: Path) -> dict[str, dict[str, Any]]:
    """Return what counts of each trial that ended well, by its id.

    Raises:
        AssertionError: a trial has more than one record.
    """
    if not has_store(folder / "store"):
        return {}
    with Store(folder / "store", create=False) as store:
        records = store.records()
    assert len({record.id for record in records}) == len(records)
    return {
        record.id: {
            "weights": record.measurement.weights_sha256,
            "losses": record.measurement.losses,
            "predictions": record.predictions,
            "resumed": record.measurement.resumed,
        }
        for record in records
        if record.outcome is Outcome.OK and record.measurement is not None
    }


def trial_of(pytest_process: subprocess.Popen[bytes]) -> psutil.Process | None:
    """Return the process of the trial that runs, if one does."""
    try:
        children = psutil.Process(pytest_process.pid).children(recursive=True)
        return next((c for c in children if CHILD in c.cmdline()), None)
    except psutil.NoSuchProcess:
        return None


def kill_at_random(
    folder: Path, options: Sequence[str], *, kills: int, seed: int, longest: float
) -> dict[str, int]:
    """Run sessions until all is done, with this many kills on the way, fewer if it ends before.

    Args:
        folder: of the store.
        options: the grid.
        kills: how many.
        seed: draws moments and victims.
        longest: seconds until the next kill, at most.
    """
    chance = random.Random(seed)
    done = {"pytest": 0, "trial": 0, "sessions": 0}
    while True:
        running = session(folder, options)
        done["sessions"] += 1
        while running.poll() is None and done["pytest"] + done["trial"] < kills:
            try:
                running.wait(chance.uniform(0, longest))
            except subprocess.TimeoutExpired:
                victim = trial_of(running)
                if victim is not None and chance.random() < 0.6:
                    victim.kill()
                    done["trial"] += 1
                else:
                    running.kill()
                    done["pytest"] += 1
        code = running.wait()
        if code == 0:
            return done
        if code != -signal.SIGKILL and done["sessions"] > 4 * (kills + 2):
            raise SystemExit(f"pytest ends with {code} again and again: see {folder}/output.txt")


def compare(
    folder: Path, *, kills: int, seed: int = 0, options: Sequence[str] = GRID, longest: float = 20.0
) -> dict[str, Any]:
    """Return the summary of one loop of kills against a run in peace."""
    peace, war = folder / "peace", folder / "war"
    for path in (peace, war):
        path.mkdir(parents=True)
    began = time.monotonic()
    code = session(peace, options).wait()
    in_peace = time.monotonic() - began
    if code != 0:
        raise SystemExit(f"pytest ended with {code} in peace: see {peace}/output.txt")
    done = kill_at_random(war, options, kills=kills, seed=seed, longest=longest)
    expected, found = outcomes(peace), outcomes(war)
    without = [{k: v for k, v in t.items() if k != "resumed"} for t in expected.values()]
    same = expected.keys() == found.keys() and all(
        {k: v for k, v in found[i].items() if k != "resumed"} == t
        for i, t in zip(expected, without, strict=True)
    )
    return {
        "trials": len(expected),
        "equal": same,
        "kills": done["pytest"] + done["trial"],
        "kills_of_pytest": done["pytest"],
        "kills_of_trials": done["trial"],
        "sessions": done["sessions"],
        "resumed_trials": sum(trial["resumed"] > 0 for trial in found.values()),
        "resumptions": sum(trial["resumed"] for trial in found.values()),
        "checkpoints_left": len(list((war / "store" / "checkpoints").glob("*"))),
        "seconds_in_peace": round(in_peace, 1),
        "seconds": round(time.monotonic() - began - in_peace, 1),
        "seed": seed,
    }


def main() -> int:
    """Run the loop and write its summary."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--kills", type=int, default=50)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--longest", type=float, default=20.0, help="seconds to the next kill")
    parser.add_argument("--out", type=Path)
    parser.add_argument("options", nargs="*", help="a grid, as options of pytest, after --")
    asked = parser.parse_args()
    with tempfile.TemporaryDirectory(prefix="peftcore-kills-") as folder:
        summary = compare(
            Path(folder),
            kills=asked.kills,
            seed=asked.seed,
            options=asked.options or GRID,
            longest=asked.longest,
        )
    text = json.dumps(summary, indent=2)
    sys.stdout.write(text + "\n")
    if asked.out is not None:
        asked.out.write_text(text + "\n", encoding="utf-8")
    return 0 if summary["equal"] and summary["checkpoints_left"] == 0 else 1


if __name__ == "__main__":
    sys.exit(main())

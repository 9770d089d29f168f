"""Out of memory: a real child that may have no more of it, and the trial after it."""

from __future__ import annotations

import json
import resource
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import psutil
import pytest

from peftcore.conformance.tiny import write_tiny_model
from peftcore.results.collecting import Collector
from peftcore.trials import Outcome, Weights
from tests.conftest import MakeTrial
from tests.faults import kill_loop
from tests.faults.test_killed_session import Killer

pytestmark = pytest.mark.skipif(not hasattr(resource, "prlimit"), reason="needs Linux's prlimit")


VOCABULARY = 10**6
HEADROOM_BYTES = 128 * 2**20


class Limiter(Killer):
    """Lets the trial's process have little more address space than its model takes."""

    def show(self, label: str, event: Mapping[str, Any]) -> None:
        for child in psutil.Process().children():
            if self.at and event["phase"] == "warm up" and kill_loop.CHILD in child.cmdline():
                del self.at[0]
                limit = child.memory_info().vms + HEADROOM_BYTES
                resource.prlimit(child.pid, resource.RLIMIT_AS, (limit, limit))


def test_a_child_without_memory_is_oom_and_the_next_is_unharmed(
    make_trial: MakeTrial, tmp_path: Path
) -> None:
    """The gradient of the embeddings, or AdamW's moments of them, take twice what is left."""
    model = write_tiny_model(tmp_path / "large")
    config = json.loads((model / "config.json").read_text(encoding="utf-8"))
    (model / "config.json").write_text(json.dumps({**config, "vocab_size": VOCABULARY}))
    trial = make_trial("full", model=model, weights=Weights.RANDOM, accelerations=())
    limiter = Limiter(tmp_path, [0])
    collector = Collector(tmp_path / "store", limiter)
    record = collector.run(trial)
    assert limiter.at == []
    assert record.outcome is Outcome.OOM, record.error
    assert record.measurement is None
    assert record.trial["recipe"]["batch_size"] == trial.recipe.batch_size
    assert collector.run(make_trial("bow")).outcome is Outcome.OK

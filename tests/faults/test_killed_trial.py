"""A trial whose process is killed goes on to the very same weights."""

from __future__ import annotations

from typing import Any

import pytest

from peftcore.accelerations import ALL
from peftcore.scenarios import Precision
from peftcore.training.checkpoints import Checkpoints
from peftcore.trials import Trial
from tests.conftest import MakeTrial
from tests.faults.conftest import Running, Start, outcome_of

KINDS: dict[str, dict[str, Any]] = {
    "accelerated": {"precision": Precision.BF16, "accelerations": ALL},
    "plain": {"precision": Precision.FP32, "accelerations": ()},
}


def in_mid_epoch(running: Running, checkpoints: Checkpoints) -> bool:
    return (checkpoints.newest() or 0) >= 3


def at_the_epochs_end(running: Running, checkpoints: Checkpoints) -> bool:
    return any(event["phase"] == "evaluate" for event in running.events())


def while_a_checkpoint_is_written(running: Running, checkpoints: Checkpoints) -> bool:
    written = (checkpoints.newest() or 0) >= 3
    return written and any(checkpoints.folder.glob("unfinished-*/*"))


MOMENTS = [in_mid_epoch, at_the_epochs_end, while_a_checkpoint_is_written]


def trial_of(make_trial: MakeTrial, method: str, kind: str, **changes: Any) -> Trial:
    # Texts enough for the last batch of an epoch to be a smaller one.
    return make_trial(method, epochs=2, train_examples=45, **KINDS[kind], **changes)


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("method", ["full", "lora", "qlora", "ia3", "head"])
def test_a_killed_trial_ends_as_one_that_ran_through(
    make_trial: MakeTrial, start: Start, checkpoints: Checkpoints, method: str, kind: str
) -> None:
    """The reference keeps no checkpoints: writing them changes nothing either."""
    trial = trial_of(make_trial, method, kind)
    through = start(trial)
    for moment in MOMENTS:
        start(trial, checkpoints).kill_when(moment, checkpoints)
    resumed = start(trial, checkpoints).finish()
    assert outcome_of(resumed) == outcome_of(through.finish())
    # A part that was killed before it wrote a checkpoint of its own left nothing to be counted.
    times = resumed["measurement"]["resumed"]
    assert times in {2, 3}
    (told,) = [c for c in resumed["measurement"]["checks"] if c["name"] == "checkpoints"]
    assert told["detail"] == f"went on from a verified checkpoint {times} times"

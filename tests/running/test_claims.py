import subprocess
import sys
from pathlib import Path

import pytest

from peftcore.errors import StoreError
from peftcore.running.claims import (
    Claim,
    claimed,
    end_session,
    left_behind,
    read_plan,
    write_plan,
)

KILLED = """
import os, signal, sys
from pathlib import Path
from peftcore.running.claims import Claim, claimed
claim = Claim(trial=sys.argv[2], session="this", worker="gw0")
with claimed(Path(sys.argv[1]), claim, waiting=lambda: None):
    os.kill(os.getpid(), signal.SIGKILL)
"""


def nobody() -> None:
    pytest.fail("nobody held it")


def kill_within(folder: Path, trial: str) -> None:
    subprocess.run([sys.executable, "-c", KILLED, str(folder), trial], check=False)


def test_a_claim_that_ended_leaves_nothing(tmp_path: Path) -> None:
    claim = Claim(trial="../../lora", session="this")
    with claimed(tmp_path, claim, waiting=nobody) as before:
        assert before is None
        # Whatever the trial is called, its claim is in the folder.
        assert len(list(tmp_path.iterdir())) == 1
        assert left_behind(tmp_path, "this") == []
    with pytest.raises(KeyError), claimed(tmp_path, claim, waiting=nobody):
        raise KeyError
    assert list(tmp_path.iterdir()) == []


def test_a_killed_processs_trial_counts_as_lost_for_its_session(tmp_path: Path) -> None:
    kill_within(tmp_path, "one")
    (claim,) = left_behind(tmp_path, "this")
    assert (claim.trial, claim.worker, claim.whose) == ("one", "gw0", "worker gw0")
    assert left_behind(tmp_path, "other") == []
    mine = Claim(trial="one", session="this", worker="gw1")
    for _ in range(2):
        with claimed(tmp_path, mine, waiting=nobody) as before:
            assert before == claim
    end_session(tmp_path, "other")
    assert left_behind(tmp_path, "this") == [claim]
    # For another session it is free to be run.
    with claimed(tmp_path, Claim(trial="one", session="other"), waiting=nobody) as before:
        assert before is None
    assert list(tmp_path.iterdir()) == []
    kill_within(tmp_path, "two")
    end_session(tmp_path, "this")
    assert list(tmp_path.iterdir()) == []


def test_a_claim_that_was_cut_short_is_none(tmp_path: Path) -> None:
    kill_within(tmp_path, "one")
    (path,) = tmp_path.iterdir()
    path.write_text(path.read_text()[:20])
    assert left_behind(tmp_path, "this") == []
    with claimed(tmp_path, Claim(trial="one", session="this"), waiting=nobody) as before:
        assert before is None


def test_where_no_claim_can_be_written_no_trial_is_run(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    claim = Claim(trial="one", session="this")
    with (
        pytest.raises(StoreError, match="so that no record could be either"),
        claimed(tmp_path / "file", claim, waiting=nobody),
    ):
        pytest.fail("it was claimed")


def test_a_plan_is_read_until_the_session_ends(tmp_path: Path) -> None:
    assert read_plan(tmp_path, "this") == {}
    plan = {"test_method[embedded-lora]": ["peft_cell", "embedded", "lora"]}
    write_plan(tmp_path / "new", "this", plan)
    assert read_plan(tmp_path / "new", "this") == plan
    assert read_plan(tmp_path / "new", "other") == {}
    end_session(tmp_path / "new", "this")
    assert list((tmp_path / "new").iterdir()) == []

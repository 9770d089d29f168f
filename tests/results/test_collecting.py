import copy
import shutil
from typing import Any

import pytest

from peftcore.errors import StoreError
from peftcore.measuring.environment import environment_key
from peftcore.measuring.weights import KEEP_NOTHING, Keep, KeptWeights
from peftcore.results import collecting
from peftcore.results.collecting import Collector
from peftcore.results.store import STORE_FILE, Store
from peftcore.running.process import ChildReport
from peftcore.trials import Outcome


class Listener:
    """Keeps what a display would show."""

    def __init__(self) -> None:
        self.shown: list[tuple[str, Any]] = []
        self.ended: list[tuple[str, str]] = []

    def show(self, label, event):
        self.shown.append((label, event))

    def done(self, label, summary):
        self.ended.append((label, summary))


class Child:
    """Stands for the child process: says what it is told to, and counts how often it ran."""

    def __init__(self) -> None:
        self.ran: list[str] = []
        self.report = ChildReport(
            outcome=Outcome.OK,
            measurement={"accuracy": 0.75, "train_seconds": 1.5},
            predictions=(0, 1),
            labels=(0, 0),
        )
        self.raises: BaseException | None = None
        self.timeout_seconds: float | None = None

    def __call__(
        self, trial, *, timeout_seconds, progress, keep=None, device=None, checkpoints=None
    ):
        self.checkpoints = checkpoints
        self.ran.append(trial.id)
        self.keep = keep
        self.timeout_seconds = timeout_seconds
        progress({"phase": "train"})
        if self.raises is not None:
            raise self.raises
        return self.report


@pytest.fixture
def child(monkeypatch):
    child = Child()
    monkeypatch.setattr(collecting, "run_in_child", child)
    return child


@pytest.fixture
def here(monkeypatch, environment):
    """The environment that the collector sees; a test may change it."""
    monkeypatch.setattr(collecting, "describe_environment", lambda: copy.deepcopy(environment))
    return environment


@pytest.fixture
def collector(tmp_path, child, here):
    return Collector(tmp_path, Listener())


def test_a_trial_is_run_once_and_then_reused(collector, child, make_trial, tmp_path):
    trial = make_trial()
    first = collector.collect(trial)
    assert first.outcome is Outcome.OK
    assert first.trial == trial.describe()
    assert first.measurement.accuracy == 0.75
    assert (first.predictions, first.labels) == ((0, 1), (0, 0))
    assert collector.ran == [trial.id]
    assert collector.reused == []
    later = Collector(tmp_path, Listener())
    assert later.collect(trial) == first
    assert child.ran == [trial.id]
    assert (later.ran, later.reused) == ([], [trial.id])


class Beside(KeptWeights):
    """Stands for kept weights: says what was compared."""

    def compare(self, trial_id):
        self.compared.append(trial_id)
        return {"weights_moved": 2.0, "weights_apart": {"another": 0.5}}


def test_weights_are_kept_and_compared_before_the_record_is(collector, child, make_trial, tmp_path):
    trial, beside = make_trial(), Beside(tmp_path / "weights")
    record = collector.run(trial, beside=beside)
    assert child.keep == Keep(weights=tmp_path / "weights" / trial.id)
    assert (record.measurement.weights_moved, record.measurement.accuracy) == (2.0, 0.75)
    assert record.measurement.weights_apart == {"another": 0.5}
    # What is measured on them is in the store from the first: weights themselves never are.
    assert Collector(tmp_path, Listener()).stored(trial) == record
    collector.run(make_trial(seed=2))
    assert child.keep == KEEP_NOTHING
    collector.run(make_trial(seed=3), model=tmp_path / "model")
    assert child.keep == Keep(model=tmp_path / "model")


def test_a_trial_without_a_result_has_no_weights_to_compare(collector, child, make_trial, tmp_path):
    child.report = ChildReport(outcome=Outcome.OOM, error="no memory")
    beside = Beside(tmp_path / "weights")
    assert collector.run(make_trial(), beside=beside).outcome is Outcome.OOM
    assert beside.compared == []


def test_progress_and_the_end_are_shown(collector, make_trial):
    collector.run(make_trial())
    assert collector.display.shown == [("embedded lora seed 42", {"phase": "train"})]
    assert collector.display.ended == [
        ("embedded lora seed 42", "accuracy 0.7500, trained in 1.5 s")
    ]


def test_another_seed_or_recipe_is_another_trial(collector, child, make_trial):
    for trial in (make_trial(), make_trial(seed=43), make_trial(epochs=2)):
        collector.collect(trial)
    assert len(set(child.ran)) == 3


def changed_package(environment):
    environment["packages"]["torch"] = "2.14.0"


def another_package(environment):
    environment["packages"]["peft"] = "0.21.0"


def changed_hardware(environment):
    environment["hardware"]["gpu"] = "Some GPU"


def changed_python(environment):
    environment["python"] = "3.12.0"


def changed_threads(environment):
    environment["threads"] = 1


def changed_sources(environment):
    environment["sources_sha256"] = "b" * 64


def changed_commit(environment):
    environment |= {"git_commit": "1" * 40, "git_dirty": True}


@pytest.mark.parametrize(
    ("change", "runs"),
    [
        (changed_package, 2),
        (another_package, 2),
        (changed_hardware, 2),
        (changed_python, 2),
        (changed_threads, 2),
        (changed_sources, 2),
        (changed_commit, 1),
    ],
)
def test_a_record_is_reused_only_in_its_own_environment(
    collector, child, here, make_trial, tmp_path, change, runs
):
    collector.collect(make_trial())
    change(here)
    Collector(tmp_path, Listener()).collect(make_trial())
    assert len(child.ran) == runs


@pytest.mark.parametrize("outcome", [outcome for outcome in Outcome if outcome is not Outcome.OK])
def test_a_trial_that_did_not_end_well_is_run_again(
    collector, child, make_trial, tmp_path, outcome
):
    good = child.report
    child.report = ChildReport(outcome=outcome, error="no good")
    bad = collector.collect(make_trial())
    assert (bad.outcome, bad.error, bad.measurement) == (outcome, "no good", None)
    child.report = good
    later = Collector(tmp_path, Listener())
    assert later.stored(make_trial()) is None
    assert later.collect(make_trial()).outcome is Outcome.OK
    assert later.reused == []
    assert len(child.ran) == 2


def test_fresh_runs_again_what_is_there_but_only_once(collector, child, make_trial, tmp_path):
    collector.collect(make_trial())
    fresh = Collector(tmp_path, Listener(), fresh=True)
    assert fresh.stored(make_trial()) is None
    fresh.collect(make_trial())
    fresh.collect(make_trial())
    assert len(child.ran) == 2
    assert (len(fresh.ran), fresh.reused) == (1, [])


def test_the_timeout_reaches_the_child(child, here, make_trial, tmp_path):
    Collector(tmp_path, Listener(), timeout_seconds=12.5).collect(make_trial())
    assert child.timeout_seconds == 12.5


def test_an_interrupt_is_committed_as_cancelled_and_goes_on(
    collector, child, here, make_trial, tmp_path
):
    child.raises = KeyboardInterrupt()
    with pytest.raises(KeyboardInterrupt):
        collector.collect(make_trial())
    with Store(tmp_path) as store:
        kept = store.find(make_trial().id, environment_key(here))
    assert kept.outcome is Outcome.CANCELLED
    assert "interrupted" in kept.error


def test_an_interrupt_costs_no_result_that_was_there(collector, child, make_trial, tmp_path):
    good = collector.collect(make_trial())
    child.raises = KeyboardInterrupt()
    with pytest.raises(KeyboardInterrupt):
        Collector(tmp_path, Listener(), fresh=True).collect(make_trial())
    assert collector.committed([make_trial()]) == [good]


def test_a_store_that_can_not_be_written_costs_no_training_run(
    collector, child, make_trial, tmp_path
):
    (tmp_path / STORE_FILE).write_bytes(b"no database" * 1000)
    with pytest.raises(StoreError):
        collector.run(make_trial())
    assert child.ran == []


def test_data_that_is_gone_by_now_fails_its_own_trial(here, make_trial, tiny_data, tmp_path):
    data = shutil.copytree(tiny_data, tmp_path / "data")
    trial = make_trial("bow", data=data)
    (data / "test.csv").unlink()
    record = Collector(tmp_path / "store", Listener()).collect(trial)
    assert record.outcome is Outcome.FAILED
    assert str(data) in record.error


def test_committed_are_the_records_of_these_trials_here(collector, here, make_trial):
    one, two, three = (make_trial(seed=seed) for seed in (1, 2, 3))
    collector.collect(two)
    collector.collect(one)
    assert [record.seed for record in collector.committed([one, two, three])] == [1, 2]
    changed_threads(here)
    assert collector.committed([one, two, three]) == []


def test_a_real_trial_is_stored_whole_and_not_run_twice(make_trial, tmp_path):
    trial = make_trial("bow")
    record = Collector(tmp_path, Listener()).collect(trial)
    assert record.outcome is Outcome.OK, record.error
    assert record.environment["packages"]["scikit-learn"]
    assert record.created.endswith("+00:00")
    assert len(record.predictions) == len(record.labels) == 24
    later = Collector(tmp_path, Listener())
    assert later.collect(trial) == record
    assert later.ran == []

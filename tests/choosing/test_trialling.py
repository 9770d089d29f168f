"""What trials took counts against the budget, whatever came of them and in whichever session."""

import time
from dataclasses import dataclass, field

import pytest

from peftcore.choosing.pace import seconds_like
from peftcore.choosing.trialling import Bench, Labelled, Ledger
from peftcore.results.records import Measurement, PhaseCost, Record
from peftcore.scenarios import Recipe, Task
from peftcore.trials import Engine, Outcome, Source, Trial, Weights
from tests.choosing.simulation import World, arm_of, flat

ARM = arm_of("lora")
TRIAL = Trial(
    method=ARM.method,
    scenario="choose-x",
    seed=42,
    backbone=Source(name="mine", identity="x"),
    data=Source(name="mine-race", identity="x"),
    weights=Weights.PRETRAINED,
    task=Task(),
    recipe=Recipe(learning_rate=ARM.rate),
    engine=Engine.PEFTCORE,
)


class Quiet:
    def show(self, label, event):
        pass

    def done(self, label, summary):
        pass


@dataclass
class Collecting:
    """Stands for a collector: trials end one after another as they are told to."""

    outcomes: list
    known: dict = field(default_factory=dict)
    timeout_seconds: float | None = None
    measurement: Measurement = field(default_factory=Measurement)
    error: str | None = None

    def stored(self, trial):
        return self.known.get(trial.id)

    def collect(self, trial):
        time.sleep(0.01)
        record = Record(
            trial=trial.describe(),
            outcome=self.outcomes.pop(0),
            error=self.error,
            measurement=self.measurement,
            predictions=(1,),
            labels=(1,),
        )
        if record.outcome is Outcome.OK:
            self.known[trial.id] = record
        return record


def session(folder, collector):
    """Return what a session that begins now goes on with."""
    return Bench(
        parts=None,
        race={"lora": TRIAL},
        final={},
        collector=collector,
        ledger=Ledger.at(folder / "seconds.json"),
        display=Labelled(Quiet()),
        began=time.monotonic(),
    )


def test_what_failed_in_earlier_sessions_counts_too(tmp_path):
    collector = Collecting([Outcome.NAN, Outcome.CRASHED, Outcome.OK])
    for attempt in range(1, 4):
        bench = session(tmp_path, collector)
        run = bench.train(ARM, 100, 42, 60.0)
        took = bench.ledger.seconds[next(iter(bench.ledger.seconds))]
        assert len(took) == attempt
        assert bench.earlier_seconds == pytest.approx(sum(took[:-1]))
        # What another will take follows from the last one alone.
        assert run.wall_seconds == took[-1] >= 0.01
    # What is known is not run again: all that was spent on it was before.
    bench = session(tmp_path, collector)
    bench.train(ARM, 100, 42, 60.0)
    assert bench.earlier_seconds == pytest.approx(sum(took))
    assert bench.spent() >= sum(took) >= 0.03


def test_a_trial_that_could_not_be_started_says_nothing_of_its_arm(tmp_path):
    """The next one would fare no better: the race ends, to be gone on with."""
    collector = Collecting([Outcome.CRASHED, Outcome.OK])
    collector.error = "no process could be started for it: Cannot allocate memory"
    with pytest.raises(OSError, match=r"LoRA at .*: no process could be started"):
        session(tmp_path, collector).train(ARM, 100, 42, 60.0)
    collector.error = None
    assert session(tmp_path, collector).train(ARM, 100, 42, 60.0).problem is None


def test_a_ledger_that_can_not_be_read_is_begun_anew(tmp_path):
    for content in ("{", "[]", '{"a": 1.0}', '{"a": ["b"]}'):
        (tmp_path / "seconds.json").write_text(content)
        assert Ledger.at(tmp_path / "seconds.json").seconds == {}
    ledger = Ledger.at(tmp_path / "seconds.json")
    ledger.enter("a", 1.5)
    ledger.enter("a", 2.5)
    again = Ledger.at(tmp_path / "seconds.json")
    assert again.seconds == {"a": [1.5, 2.5]}
    assert (again.last("a"), again.last("b")) == (2.5, None)


def test_two_races_on_the_same_data_keep_each_others_times(tmp_path):
    one, other = (Ledger.at(tmp_path / "seconds.json") for _ in range(2))
    one.enter("a", 1.5)
    other.enter("b", 2.5)
    one.enter("a", 3.5)
    assert Ledger.at(tmp_path / "seconds.json").seconds == {"a": [1.5, 3.5], "b": [2.5]}


def test_what_went_on_from_a_checkpoint_took_as_long_as_all_its_parts(tmp_path):
    """On the clock was the last part alone, by which starting would seem to take no time."""
    phases = {
        name: PhaseCost(seconds=seconds, cpu_seconds=seconds, peak_bytes=None)
        for name, seconds in (("load", 8.0), ("train", 90.0))
    }
    for resumed, took in ((0, 0.01), (1, 98.0)):
        measured = Measurement(phases=phases, train_seconds=90.0, resumed=resumed)
        collector = Collecting([Outcome.OK], measurement=measured)
        folder = tmp_path / str(resumed)
        folder.mkdir()
        run = session(folder, collector).train(ARM, 100, 42, 60.0)
        assert run.wall_seconds == pytest.approx(took, abs=1)


def test_a_larger_test_set_takes_longer_to_answer():
    run = World({ARM.key: flat(0.9)}).run(ARM, 100, 42, 1e6)
    # 8 seconds of starting, 2 of training, 2 of answering.
    assert seconds_like(run, 100, 1.0) == pytest.approx(12)
    assert seconds_like(run, 200, 33.0) == pytest.approx(8 + 4 + 66)

"""The trials of a choice: ordinary trials of peftcore, in a store of their own, on the clock."""

from __future__ import annotations

import math
import time
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import numpy as np
from pydantic import TypeAdapter, ValidationError

from peftcore.choosing.arms import Arm, Run
from peftcore.choosing.asking import Request
from peftcore.choosing.parts import Parts
from peftcore.methods import Method, find_method
from peftcore.results.collecting import Collector, Display
from peftcore.results.records import Measurement, Record
from peftcore.results.store import Store
from peftcore.running.locks import lock_of, wait_for
from peftcore.running.planning import FIRST_SEED, Selection, plan
from peftcore.running.process import did_not_start
from peftcore.scenarios import Recipe, Scenario, find_scenario
from peftcore.trials import Outcome, Trial
from peftcore.writing import write_whole

LIKE = "imdb-minilm"
"""Learning rates are tried around those that this scenario declares: found by a search on real
reviews, and of the usual size for other encoders too."""

RATE_RANGE = (0.5, 4.0)
"""So many times as high they are at the least and at the most, for other numbers of updates."""

REFERENCES = ("bow", "head")
"""Rows to be beaten."""

FEWEST_UPDATES = 600
MOST_EPOCHS = 10
"""Few examples are gone through more often, up to this, until there are so many updates."""

_LEDGER = "seconds.json"
_SECONDS = TypeAdapter(dict[str, list[float]])
LEAST_SECONDS = 20.0
"""No trial is given less: a prediction that was wrong must not stop what is nearly done."""


@dataclass
class Labelled:
    """A display that says what a trial is for: a race has many of one method.

    Attributes:
        inner: shows the progress.
        label: what is running.
    """

    inner: Display
    label: str = ""

    def show(self, label: str, event: Mapping[str, Any]) -> None:  # noqa: ARG002 (a Display's)
        """Show one event of what is running."""
        self.inner.show(self.label, event)

    def done(self, label: str, summary: str) -> None:  # noqa: ARG002 (a Display's)
        """Show how it ended."""
        self.inner.done(self.label, summary)


@dataclass
class Ledger:
    """Wall seconds of each trial, kept beside the data's parts: a race may take several sessions.

    Attributes:
        file: where it is kept.
        seconds: by the trial's id, of each time it was run: what fails is run again.
    """

    file: Path
    seconds: dict[str, list[float]] = field(default_factory=dict)

    @classmethod
    def at(cls, file: Path) -> Ledger:
        """Return the ledger that a file holds; an empty one where it holds none."""
        try:
            return cls(file, _SECONDS.validate_json(file.read_bytes()))
        except (OSError, ValidationError):
            # Only what trials of earlier sessions took is then estimated from their records.
            return cls(file)

    def last(self, trial: str) -> float | None:
        """Return what a trial took when it was last run; ``None`` where that was not kept."""
        return self.seconds.get(trial, [None])[-1]

    def enter(self, trial: str, seconds: float) -> None:
        """Keep what a trial took, for this session and later ones."""
        with wait_for(lock_of(self.file), waiting=lambda: None):
            # Another race on the same data may have entered its own meanwhile.
            self.seconds |= Ledger.at(self.file).seconds
            self.seconds.setdefault(trial, []).append(seconds)
            content = _SECONDS.dump_json(self.seconds, indent=1)
            write_whole(self.file, content.decode("utf-8") + "\n")


@dataclass(kw_only=True)
class Bench:
    """What trains arms on one's own data.

    Attributes:
        parts: of the data.
        race: by a method's slug, its trial on the parts of the race.
        final: the same, on all but the test set.
        collector: of the store of races.
        ledger: of what trials took.
        display: says what runs.
        began: when this session began, by the monotonic clock.
        records: all that were made or reused, in their order.
        earlier_seconds: what the trials took that earlier sessions ran.
    """

    parts: Parts
    race: dict[str, Trial]
    final: dict[str, Trial]
    collector: Collector
    ledger: Ledger
    display: Labelled
    began: float
    records: list[Record] = field(default_factory=list)
    earlier_seconds: float = 0.0

    @classmethod
    def of(
        cls, request: Request, parts: Parts, recipe: Recipe, display: Display, *, began: float
    ) -> Bench:
        """Plan all trials that there may be, and so check the model, the methods and the data.

        Args:
            request: what is asked for.
            parts: of the data.
            recipe: how arms are trained.
            display: shows the progress.
            began: when the session began, by the monotonic clock.

        Raises:
            UsageError: something can't be used.
        """
        methods = (*request.methods, *map(find_method, REFERENCES))
        labelled = Labelled(display)
        planned = [
            _plan(request, parts, methods, recipe, folder, train, tested)
            for folder, train, tested in (
                (parts.race, parts.train, parts.validation),
                (parts.final, parts.train + parts.validation, parts.test),
            )
        ]
        return cls(
            parts=parts,
            race=planned[0],
            final=planned[1],
            collector=Collector(store_of(request.store), labelled),
            ledger=Ledger.at(parts.folder / _LEDGER),
            display=labelled,
            began=began,
        )

    def usual_rate(self, method: Method) -> float:
        """Return the learning rate around which a method's others are tried."""
        return self.race[method.slug].recipe.learning_rate

    def spent(self) -> float:
        """Return the seconds since the race began, all its sessions together."""
        return self.earlier_seconds + time.monotonic() - self.began

    def known(self, arm: Arm, examples: int, seed: int) -> bool:
        """Return whether the store has this trial of the race."""
        trial = _trial(self.race[arm.method.slug], arm.rate, examples, seed)
        return self.collector.stored(trial) is not None

    def train(self, arm: Arm, examples: int, seed: int, most_seconds: float) -> Run:
        """Train an arm on so many examples of the race and return what came of it."""
        trial = _trial(self.race[arm.method.slug], arm.rate, examples, seed)
        name = f"{arm.words} on {examples:,}" + (f", seed {seed}" if seed != FIRST_SEED else "")
        self.collector.timeout_seconds = max(LEAST_SECONDS, most_seconds)
        return self._run(arm, trial, name)[0]

    def refer(self, slug: str, examples: int) -> Run:
        """Train a reference row on so many examples of the race."""
        trial = _trial(self.race[slug], self.race[slug].recipe.learning_rate, examples, FIRST_SEED)
        arm = Arm(method=trial.method, rate=trial.recipe.learning_rate)
        self.collector.timeout_seconds = None
        return self._run(arm, trial, f"{arm.method.name}, a reference")[0]

    def has_tested(self, arm: Arm, examples: int) -> bool:
        """Return whether the store has the trial of an arm on the test set."""
        trial = _trial(self.final[arm.method.slug], arm.rate, examples, FIRST_SEED)
        return self.collector.stored(trial) is not None

    def model_of(self, trial: Trial) -> Path:
        """Return the folder of what a last training keeps: all that is needed to use its model."""
        return self.parts.folder / "kept" / trial.id

    def test(self, arm: Arm, examples: int) -> tuple[Trial, Record]:
        """Train an arm on so many of all examples but the test set's, keep it, and test it."""
        trial = _trial(self.final[arm.method.slug], arm.rate, examples, FIRST_SEED)
        self.collector.timeout_seconds = None
        name = f"{arm.words}, the last training, on {examples:,}"
        return trial, self._run(arm, trial, name, keeps=True)[1]

    def test_reference(self, arm: Arm, examples: int) -> Record:
        """Train a reference row on so many of all examples but the test set's, and test it."""
        trial = _trial(self.final[arm.method.slug], arm.rate, examples, FIRST_SEED)
        return self._run(arm, trial, f"{arm.method.name}, on the test set")[1]

    def _run(self, arm: Arm, trial: Trial, name: str, *, keeps: bool = False) -> tuple[Run, Record]:
        self.display.label = name
        began = time.monotonic()
        record = self.collector.stored(trial)
        if keeps and not self.model_of(trial).is_dir():
            record = None
        reused, before = record is not None, self.ledger.seconds.get(trial.id, ())
        self.earlier_seconds += sum(before)
        if record is None:
            record = (
                self.collector.run(trial, model=self.model_of(trial))
                if keeps
                else self.collector.collect(trial)
            )
            self.ledger.enter(trial.id, time.monotonic() - began)
            if did_not_start(record.error):
                # That says nothing of the arm, and the next one would fare no better.
                raise OSError(f"{name}: {record.error}")
        else:
            self.display.done(name, f"known: {record.summary()}")
        self.records.append(record)
        run = _as_run(arm, trial, record, self.ledger.last(trial.id))
        if reused and not before:
            self.earlier_seconds += run.wall_seconds
        return run, record


def others_tested(folder: Path, last: Record) -> int:
    """Return how many other models were tested on the same test set, by earlier choices.

    Args:
        folder: of the store of races.
        last: of a last training.
    """
    with Store(folder) as store:
        records = store.records(last.scenario)
    others = {
        record.id
        for record in records
        if record.outcome is Outcome.OK
        and record.trial["data"]["identity"] == last.trial["data"]["identity"]
        and record.method not in REFERENCES
    }
    return len(others - {last.id})


def store_of(folder: Path) -> Path:
    """Return the folder, in that of a store, for the store of races.

    A race has many trials of a method, of which no report of a comparison should be made.
    """
    return folder / "choose"


def _plan(
    request: Request,
    parts: Parts,
    methods: tuple[Method, ...],
    recipe: Recipe,
    folder: Path,
    train: int,
    tested: int,
) -> dict[str, Trial]:
    like = find_scenario(LIKE)
    scenario = Scenario(
        name=f"choose-{parts.folder.name}",
        title=f"A choice for {parts.name}",
        backbone=request.model,
        data=str(folder),
        task=replace(parts.task, train_examples=train, test_examples=tested),
        recipe=recipe,
        rates={
            slug: float(f"{rate * rate_factor(parts.train, recipe):.2g}")
            for slug, rate in like.rates.items()
        },
    )
    selection = Selection(
        scenario=scenario,
        methods=methods,
        seeds=(FIRST_SEED,),
        model=request.model,
        data=str(folder),
    )
    return {
        trial.method.slug: replace(
            trial, data=replace(trial.data, name=f"{parts.name}-{folder.name}")
        )
        for trial in plan(selection)
    }


def epochs_for(train: int, recipe: Recipe) -> int:
    """Return how often so many examples are gone through: as usual, or more often if they are few.

    Three epochs of a few hundred examples are too few updates for any method to learn much.
    """
    enough = math.ceil(FEWEST_UPDATES / math.ceil(train / recipe.batch_size))
    return max(recipe.epochs, min(enough, MOST_EPOCHS))


def rate_factor(train: int, recipe: Recipe) -> float:
    """Return how many times as high learning rates are as those of :data:`LIKE`.

    Fewer updates must each go further: by the root of the ratio. The scenario "embedded", of 150
    updates, was tuned to rates 2 to 4 times as high, which by the root are 2.7.
    """
    like = find_scenario(LIKE)
    usual = like.recipe.epochs * like.task.train_examples / like.recipe.batch_size
    low, high = RATE_RANGE
    updates = recipe.epochs * train / recipe.batch_size
    return min(max(math.sqrt(usual / updates), low), high)


def _trial(base: Trial, rate: float, examples: int, seed: int) -> Trial:
    return replace(
        base,
        seed=seed,
        task=replace(base.task, train_examples=examples),
        recipe=replace(base.recipe, learning_rate=rate),
    )


def peak_of(measured: Measurement | None) -> int | None:
    """Return the memory that a machine must have for a training, in bytes."""
    if measured is None:
        return None
    # What was reserved is what a GPU must have, not only what was in use.
    return measured.peak_reserved_bytes or measured.peak_bytes


def _as_run(arm: Arm, trial: Trial, record: Record, wall_seconds: float | None) -> Run:
    measured = record.measurement
    phases = Measurement().phases if measured is None else measured.phases
    measured_seconds = sum(cost.seconds or 0.0 for cost in phases.values())
    if wall_seconds is None:
        wall_seconds = measured_seconds
    elif measured is not None and measured.resumed:
        # On the clock was its last part alone; what it measured is of all of them.
        wall_seconds = max(wall_seconds, measured_seconds)
    if record.outcome is not Outcome.OK or measured is None or record.predictions is None:
        problem = record.summary()
        return Run(
            arm=arm,
            examples=trial.task.train_examples,
            seed=trial.seed,
            right=None,
            wall_seconds=wall_seconds,
            problem=problem,
            stopped=record.outcome is Outcome.TIMEOUT,
        )
    # Compiling kernels happens once a machine, in whichever trial comes first.
    compiling = measured.phases.get("compile")
    once = 0.0 if compiling is None else compiling.seconds or 0.0
    # A bag of words is evaluated once and has no epochs.
    evaluations = max(len(measured.epoch_accuracies), 1)
    return Run(
        arm=arm,
        examples=trial.task.train_examples,
        seed=trial.seed,
        right=np.asarray(record.predictions) == np.asarray(record.labels),
        wall_seconds=wall_seconds,
        once_seconds=once,
        train_seconds=measured.train_seconds or 0.0,
        eval_seconds=(measured.eval_seconds or 0.0) * evaluations,
        peak_bytes=peak_of(measured),
        trained_parameters=measured.trainable_parameters,
    )

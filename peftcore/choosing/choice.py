"""A choice from end to end: data in, a race, a trained adapter and its papers out."""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass, replace

from peftcore.choosing.arms import Arm, Run, arms_of
from peftcore.choosing.asking import DEFAULT_METHODS, Request, parse_raced
from peftcore.choosing.beginning import Begun
from peftcore.choosing.deciding import Decision, as_tested, decide
from peftcore.choosing.delivering import Delivered, deliver, kept_in, require_usable
from peftcore.choosing.pace import seconds_like
from peftcore.choosing.parts import Parts, divide
from peftcore.choosing.racing import SPARE, Ending, Race
from peftcore.choosing.trialling import (
    REFERENCES,
    Bench,
    epochs_for,
    others_tested,
    peak_of,
    store_of,
)
from peftcore.choosing.wording import gigabytes, in_minutes
from peftcore.errors import PeftcoreError, UsageError
from peftcore.models.backbones import OR_RANDOM
from peftcore.report.summary import BAG_OF_WORDS
from peftcore.results.collecting import Display
from peftcore.results.records import Record
from peftcore.scenarios import Evaluation, Recipe, Task, override
from peftcore.trials import Outcome, Trial

_FROM_DATA = {"train_examples", "test_examples", "split", "learning_rate", "accelerations"}
"""Settings that a choice makes for itself."""

LAST_STEPS = 20

LAST_COUNTS = Recipe(evaluation=Evaluation.END)
"""Arms are raced by what they come to in the end; a curve would cost up to half of a short race."""

Tell = Callable[[str], None]


@dataclass(frozen=True, kw_only=True, eq=False)
class Choice:
    """What came of a choice.

    Attributes:
        request: what was asked for.
        parts: of the data.
        race: all that was tried.
        decision: what is recommended.
        trial: the last training.
        record: of it; its accuracy is that on the test set.
        delivered: the trained adapter.
        records: of all trials.
        spent_seconds: from beginning to end, all sessions together.
    """

    request: Request
    parts: Parts
    race: Race
    decision: Decision
    trial: Trial
    record: Record
    delivered: Delivered
    records: tuple[Record, ...]
    spent_seconds: float


def choose(request: Request, display: Display, tell: Tell) -> Choice:
    """Race methods on one's own data, train the one that is recommended, and hand it on.

    Args:
        request: what is asked for.
        display: shows the progress of trials.
        tell: is told, in sentences, what is being done.

    Raises:
        UsageError: the data, the model or an option can't be used.
        NothingToChoose: no arm ended well.
        StoreError: something can't be written.
        PeftcoreError: what was trained can't be used as it should.
    """
    try:
        with kept_in(store_of(request.store)):
            return _choose(request, display, tell)
    except PeftcoreError as error:
        error.args = (str(error).replace(OR_RANDOM, ""),)
        raise
    except KeyboardInterrupt:
        tell("interrupted: every trial that ended is kept; give the same command again to go on")
        raise


def _choose(request: Request, display: Display, tell: Tell) -> Choice:
    began = time.monotonic()
    methods = request.methods or parse_raced(DEFAULT_METHODS, where="--methods")
    request = replace(request, methods=methods)
    task, recipe, named = override(Task(), LAST_COUNTS, request.settings)
    for name in sorted(named & _FROM_DATA):
        raise UsageError(f"--set {name}=… is for peftcore run: here it is found by the race itself")
    parts = divide(request.data, task, named=named, within=store_of(request.store))
    require_usable(request.out, request.store)
    for note in parts.notes:
        tell(note)
    classes = ", ".join(parts.task.class_of(label) for label in range(parts.task.labels))
    tell(
        f"{parts.name}: {parts.train:,} examples to train on, {parts.validation:,} to compare by, "
        f"{parts.test:,} kept for one last test; classes {classes}"
    )
    if "epochs" not in named and (epochs := epochs_for(parts.train, recipe)) != recipe.epochs:
        recipe = replace(recipe, epochs=epochs)
        tell(f"few examples: {epochs} epochs of them (--set epochs=… for another number)")
    bench = Bench.of(request, parts, recipe, display, began=began)
    race = Race(
        arms=arms_of(methods, [bench.usual_rate(one) for one in methods], request.rates),
        train=parts.train,
        ending=Ending(
            examples=parts.train + parts.validation, evaluation=parts.test / parts.validation
        ),
        run=bench.train,
        spent=bench.spent,
        budget_seconds=request.budget_seconds,
        tolerance=request.within / 100,
        majority=parts.majority,
        memory_bytes=request.memory_bytes,
        beside=1,
        known=bench.known,
    )
    begun = Begun.of(request, race, parts.folder)
    begun.take_up(race)
    race.begin()
    if race.pace.seen:
        # Where no trial ended, what there is time for was not found.
        begun.keep(race)
    size = race.rungs[-1]
    references = [bench.refer(slug, size) for slug in REFERENCES]
    race.notes += [
        f"{run.arm.method.name} could not be compared: {run.problem}."
        for run in references
        if run.right is None
    ]
    race.ending = replace(race.ending, fixed_seconds=_fixed_seconds(race, references))
    race.finish()
    require_memory(race, request)
    decision = decide(
        race, tolerance=request.within / 100, cost=request.cost, references=references
    )
    tell(f"{decision.chosen.words} is recommended: it is trained once more and tested")
    return _conclude(request, parts, race, decision, bench)


def _conclude(
    request: Request,
    parts: Parts,
    race: Race,
    decision: Decision,
    bench: Bench,
) -> Choice:
    """Train what is recommended on all but the test set, test it once, and hand it on."""
    chosen, everything = decision.chosen, parts.train + parts.validation
    examples = _last_examples(race, bench, chosen, everything)
    if examples < everything:
        race.notes.append(
            f"There was no time for a last training on all {everything:,} examples: it was on "
            f"{examples:,}. A longer budget gives a better model."
        )
    trial, record = bench.test(chosen, examples)
    if record.outcome is not Outcome.OK or record.predictions is None:
        raise PeftcoreError(
            f"the last training, of {chosen.words}, did not end well: {record.summary()}; the race "
            "is kept, and the same command tries it again"
        )
    peak, limit = peak_of(record.measurement), request.memory_bytes
    if peak is not None and limit is not None and peak > limit:
        race.notes.append(
            f"The last training, on more examples than the race, took {gigabytes(peak)} of memory "
            f"at its peak: more than the {gigabytes(limit)} that were allowed."
        )
    judged = []
    for one in decision.references:
        if _has_time(race, bench, one.run, examples):
            test = bench.test_reference(one.run.arm, examples)
            if test.outcome is Outcome.OK:
                one = as_tested(one, test, record, decision, request.within / 100)
        judged.append(one)
    delivered = deliver(trial, bench.model_of(trial), request.out, record.predictions)
    if before := others_tested(store_of(request.store), record):
        models = "1 other model was" if before == 1 else f"{before} other models were"
        race.notes.append(
            f"{models} tested on these test examples by earlier choices: which of them is the best "
            "there is partly luck."
        )
    spent = bench.spent()
    if spent > (1 + SPARE) * request.budget_seconds:
        race.notes.append(_too_long(spent, bench.earlier_seconds, request.budget_seconds))
    return Choice(
        request=request,
        parts=parts,
        race=race,
        decision=replace(decision, references=tuple(judged)),
        trial=trial,
        record=record,
        delivered=delivered,
        records=tuple(bench.records),
        spent_seconds=spent,
    )


def _too_long(spent: float, earlier: float, budget: float) -> str:
    """Return that it took longer than it was to, in a sentence."""
    took, given = in_minutes(spent), in_minutes(budget)
    if earlier:
        return (
            f"All that it rests on took {took}, {in_minutes(earlier)} of them in earlier sessions, "
            f"and so more than the {given} of the budget: that was longer then, or too short, or "
            "the machine became slower."
        )
    return (
        f"It took {took}, more than the {given} of the budget: that was too short, or the machine "
        "became slower."
    )


def _last_examples(race: Race, bench: Bench, chosen: Arm, everything: int) -> int:
    """Return how many examples there is time for in the last training, in steps of a twentieth.

    In steps, so that a race that is run again finds its last training among those that are known.
    """
    left = race.budget_seconds - bench.spent() - race.ending.fixed_seconds
    slug = chosen.method.slug
    fitting = race.pace.most_examples(slug, left, evaluation=race.ending.evaluation) or 0
    for step in range(LAST_STEPS, 1, -1):
        examples = round(everything * step / LAST_STEPS)
        if examples <= max(fitting, race.ending.examples) or bench.has_tested(chosen, examples):
            return max(examples, race.ending.examples)
    return race.ending.examples


def _fixed_seconds(race: Race, references: list[Run]) -> float:
    """Return what must be kept for the bag of words' test, and for trying what is handed on."""
    last = race.ending
    words = [
        seconds_like(run, last.examples, last.evaluation)
        for run in references
        if run.arm.method.slug == BAG_OF_WORDS
    ]
    return sum(words) + race.pace.overhead()


def _has_time(race: Race, bench: Bench, run: Run, examples: int) -> bool:
    """Return whether a reference row can be tested; a bag of words always, it is quick."""
    if run.arm.method.slug == BAG_OF_WORDS or bench.has_tested(run.arm, examples):
        return True
    seconds = seconds_like(run, examples, race.ending.evaluation)
    return bench.spent() + seconds + race.pace.overhead() <= race.budget_seconds


def require_memory(race: Race, request: Request) -> None:
    """Check that a method is left under the limit of memory.

    Raises:
        UsageError: none is.
    """
    limit = request.memory_bytes
    # The most of each: with few examples a method takes less.
    taken: dict[str, int] = {}
    for run in race.runs:
        if run.right is not None and run.peak_bytes is not None:
            name = run.arm.method.name
            taken[name] = max(run.peak_bytes, taken.get(name, 0))
    if limit is None or not taken or race.has_standing():
        return
    least = min(taken, key=lambda name: taken[name])
    size = taken[least]
    if size <= limit:
        return
    raise UsageError(
        f"--memory {gigabytes(limit)} is less than every method took that was tried: {least} took "
        f"the least, {gigabytes(size)}; allow more, or make batches or texts shorter "
        "(--set batch_size=4, --set max_length=128)"
    )

"""The race: arms on growing parts of the training set, until the answer is sure or time is up.

Each rung trains a whole schedule, down to a rate of zero, so that no arm is judged in the middle of
one. What is dropped, is dropped for one of two reasons that are kept apart: it is improbable that
the arm would yet be the best, or there is no time for it.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace

from peftcore.choosing.arms import Arm, End, Fate, Run, ladder_of, rungs_of
from peftcore.choosing.believing import Belief, believe, stand
from peftcore.choosing.pace import Pace
from peftcore.choosing.wording import gigabytes, percent
from peftcore.errors import UsageError
from peftcore.running.planning import FIRST_SEED

DROPPED_TOGETHER = 0.2
"""After each rung arms are dropped that are together less probably the best than this: of eighteen
that are alike each is the best with 6%, so that a bound on each would drop them all;"""
DROPPED_FROM = 1 / 4
"""but none before it was trained on so much of what is raced on,"""
PLATEAU_UNTIL = 1 / 2
"""and one that has yet to learn anything at all not before this much."""

FEWEST_METHODS = 2
"""So many methods are in the race until its end."""

SURE = 0.95
"""A choice that is so probably within the tolerance needs no more trials."""
CONTENDING = 0.1
"""An arm that is so probably the best is worth another trial."""
MOST_SEEDS = 4

SPARE = 0.1
"""Share by which the trials that must still fit in the budget may be slower than predicted."""

Runner = Callable[[Arm, int, int, float], Run]
"""Trains an arm on so many examples with a seed, in no more than so many seconds."""


@dataclass(frozen=True, kw_only=True)
class Ending:
    """What is still to be done once the race is over.

    Attributes:
        examples: how many the winner is trained on in the end.
        evaluation: how many it is tested on, as a multiple of the validation examples.
        fixed_seconds: what else takes time.
    """

    examples: int
    evaluation: float = 1.0
    fixed_seconds: float = 0.0


@dataclass(kw_only=True)
class Race:
    """A race, and what came of it so far.

    Attributes:
        arms: in the order in which they start.
        train: how many examples there are to train on.
        ending: what must still fit after it.
        run: trains an arm.
        spent: tells the seconds that were spent so far.
        budget_seconds: all that may be spent, the ending included.
        tolerance: a share of 1: when the choice is sure enough depends on it.
        majority: the share of validation examples that always guessing the same answers right.
        memory_bytes: the most that training may take.
        beside: how many reference rows with a backbone are trained on as much as arms are.
        known: tells whether a trial was run before, and so takes no time.
        runs: the trials so far.
        fates: how it ended for the arms that are no longer in it.
        pace: what trials take.
        rungs: the sizes that are raced on, if it was begun before; else they are found.
        notes: what a reader must know of how it went, in sentences.
    """

    arms: Sequence[Arm]
    train: int
    ending: Ending
    run: Runner
    spent: Callable[[], float]
    budget_seconds: float
    tolerance: float
    majority: float
    memory_bytes: int | None = None
    beside: int = 0
    known: Callable[[Arm, int, int], bool] = lambda *_: False
    runs: list[Run] = field(default_factory=list)
    fates: dict[str, Fate] = field(default_factory=dict)
    pace: Pace = field(default_factory=Pace)
    rungs: list[int] = field(default_factory=list)
    notes: list[str] = field(default_factory=list)

    @property
    def top(self) -> int:
        """The largest part of the training set that was raced on."""
        reached = [run.examples for run in self.runs if run.right is not None]
        return max(reached, default=self.train)

    def alive(self) -> list[Arm]:
        """Return the arms that are still in it."""
        return [arm for arm in self.arms if arm.key not in self.fates]

    def end_of(self, arm: Arm) -> End | None:
        """Return why an arm is no longer in it; ``None`` while it is."""
        fate = self.fates.get(arm.key)
        return None if fate is None else fate.end

    def has_standing(self) -> bool:
        """Return whether there is an arm that ended well and may be used."""
        return any(run.right is not None and not self._is_out(run.arm) for run in self.runs)

    def belief(self, end: int | None = None) -> Belief:
        """Return what is believed of all arms that have a trial, once trained on ``end``."""
        runs = [run for run in self.runs if not self._is_out(run.arm)]
        end = end or self.top
        return believe(stand(runs, end), end)

    def begin(self) -> None:
        """Run a first short trial, and take as many examples as the budget lets two arms run on.

        The last training goes before the race: while there is time for it on all examples, it is
        the race that is on fewer.

        Raises:
            UsageError: there is not even time for the first trial.
        """
        ladder = ladder_of(self.train)
        for arm in self.arms:
            if self._one(arm, ladder[0], FIRST_SEED):
                break
            if self.runs[-1].stopped:
                raise UsageError(
                    f"--budget {self.budget_seconds:g}s is too short: a first training, of "
                    f"{arm.words} on {ladder[0]:,} examples, did not end in it; give ten times as "
                    "long, or make texts shorter (--set max_length=128)"
                )
        fixed = max(self.ending.fixed_seconds, self.pace.overhead())
        self.ending = replace(self.ending, fixed_seconds=fixed)
        everything = self.ending.examples
        endings = [round(everything / 2**halvings) for halvings in range(len(ladder))]
        # Those that were found before are kept: a race that goes on must not become another one.
        tried = [] if self.rungs else [(last, top) for last in endings for top in ladder[::-1]]
        for last, top in tried:
            self.ending, self.rungs = replace(self.ending, examples=last), rungs_of(ladder, top)
            if self._affordable():
                break

    def finish(self) -> None:
        """Run all that :meth:`begin` has left to do."""
        began = self.spent()
        for number, size in enumerate(self.rungs):
            self._rung(number, began)
            if size < self.rungs[-1]:
                self._drop(size)
        for arm in self.arms:
            # Where nothing went on from a rung it was the last one, for those that were left, too.
            if self.end_of(arm) is None or (
                self.end_of(arm) is End.BUDGET and self._showed(arm, self.top)
            ):
                self._end(arm, End.FINISHED, "raced to the end")
        self._use_what_is_left()
        if self.top < self.train:
            self.notes.append(
                f"The budget was too short to race on all {self.train:,} training examples: it "
                f"was on {self.top:,} of them ({self.top / self.train:.0%}), as the probabilities "
                "are; on all of them another one may be better."
            )

    def reserve(self) -> float:
        """Return the seconds that must be kept for what is to be done after the race."""
        slugs = {arm.method.slug for arm in self.arms if not self._is_out(arm)}
        slugs &= set(self.pace.seen) or slugs
        last = [
            self.pace.predict(
                slug, self.ending.examples, evaluation=self.ending.evaluation, spare=SPARE
            )
            or 0.0
            for slug in slugs
        ]
        return max(last, default=0.0) + self.ending.fixed_seconds

    def _affordable(self) -> bool:
        """Return whether two arms can go through the rungs, with what comes beside and after."""
        seconds = FEWEST_METHODS * sum(self._usual(size) for size in self.rungs)
        seconds += self.beside * self._usual(self.rungs[-1])
        return self.spent() + seconds + self.reserve() <= self.budget_seconds

    def _usual(self, size: int) -> float:
        """Return the seconds of a trial of the slower of the methods that lead, on this many."""
        slugs = {arm.method.slug for arm in self.arms if not self._is_out(arm)}
        slugs = slugs & set(self.pace.seen) or slugs
        return max((self.pace.predict(slug, size) or 0.0 for slug in slugs), default=0.0)

    def _rung(self, number: int, began: float) -> None:
        size, later = self.rungs[number], self.rungs[number + 1 :]
        for place, arm in enumerate(self._ordered()):
            if arm.key in self.fates or self._has_run(arm, size):
                continue
            cost = self.pace.predict(arm.method.slug, size) or 0.0
            needed = FEWEST_METHODS * sum(self._usual(rung) for rung in later) + self.reserve()
            end = self.budget_seconds - needed
            # The first two go on as long as anything does; for the others each rung has the same
            # share of the time, and what one leaves over goes to the next.
            if place >= FEWEST_METHODS:
                all_of_it = self.budget_seconds - self.reserve() - began
                end = min(end, began + all_of_it * (number + 1) / len(self.rungs))
            if self.known(arm, size, FIRST_SEED) or self.spent() + cost <= end:
                self._one(arm, size, FIRST_SEED)
            elif any(run.arm == arm for run in self.runs):
                self._end(arm, End.BUDGET, f"left: no time to train it on {size:,}")
            else:
                self._end(arm, End.UNTRIED, "not tried: no time")

    def _ordered(self) -> list[Arm]:
        """Return the arms still in it, the most promising first, the second of another method."""
        alive = self.alive()
        if not self.has_standing():
            return alive
        expected = self.belief(self.rungs[-1]).expected()
        # Untried ones keep the order in which they start, behind those that were tried.
        order = sorted(alive, key=lambda arm: -expected.get(arm.key, -1.0))
        if len(expected) == 1:
            order = alive
        for place, arm in enumerate(order):
            if arm.method != order[0].method:
                order.insert(1, order.pop(place))
                break
        return order

    def _drop(self, size: int) -> None:
        """Drop the arms among which the best improbably is, as long as enough methods are left."""
        share = size / self.rungs[-1]
        if share < 0.99 * DROPPED_FROM:
            return
        if not self.has_standing():
            return
        best = self.belief(self.rungs[-1]).best()
        together = 0.0
        for arm in sorted(self.alive(), key=lambda arm: best.get(arm.key, 1.0)):
            if together + best.get(arm.key, 1.0) >= DROPPED_TOGETHER:
                break
            others = {other.method for other in self.alive() if other != arm}
            waits = share < 0.99 * PLATEAU_UNTIL and self._learned_nothing(arm, size)
            if len(others) >= FEWEST_METHODS and not waits:
                together += best[arm.key]
                self._end(
                    arm, End.BEHIND, f"dropped after {size:,}: {percent(best[arm.key])} to be best"
                )

    def _learned_nothing(self, arm: Arm, size: int) -> bool:
        """Return whether an arm does no better than guessing, as far as can be told."""
        (run,) = [one for one in self.runs if (one.arm, one.examples) == (arm, size)]
        assert run.right is not None
        error = math.sqrt(self.majority * (1 - self.majority) / len(run.right))
        return float(run.right.mean()) <= self.majority + 2 * error

    def _use_what_is_left(self) -> None:
        """Train arms that were left for want of time, then contenders with other seeds."""
        while (work := self._worthwhile()) is not None:
            arm, seed = work
            late = arm.key in self.fates and self.fates[arm.key].end is not End.FINISHED
            if late:
                del self.fates[arm.key]
            if self._one(arm, self.top, seed) and late:
                self._end(arm, End.FINISHED, "raced to the end, late")

    def _worthwhile(self) -> tuple[Arm, int] | None:
        """Return the most useful trial that there is time for, as an arm and a seed."""
        if not self.has_standing():
            return None
        belief = self.belief()
        best, within = belief.best(), belief.within(self.tolerance)
        stopped = {run.arm.key for run in self.runs if run.stopped}
        late = [
            arm
            for arm in self.arms
            if self.end_of(arm) is End.UNTRIED
            or (self.end_of(arm) is End.BUDGET and best.get(arm.key, 0.0) >= CONTENDING)
        ]
        late = [arm for arm in late if arm.key not in stopped]
        late.sort(key=lambda arm: -best.get(arm.key, 0.0))
        trials = [(arm, FIRST_SEED) for arm in late]
        if max(within.values()) < SURE:
            again = []
            for arm in self.arms:
                seeds = sum(run.arm == arm and run.examples == self.top for run in self.runs)
                contends = best.get(arm.key, 0.0) >= CONTENDING
                if self.end_of(arm) is End.FINISHED and contends and seeds < MOST_SEEDS:
                    again.append((seeds, -within[arm.key], arm))
            again.sort(key=lambda one: one[:2])
            trials += [(arm, FIRST_SEED + seeds) for seeds, _, arm in again]
        for arm, seed in trials:
            cost = self.pace.predict(arm.method.slug, self.top, spare=SPARE) or 0.0
            fits = self.spent() + cost + self.reserve() <= self.budget_seconds
            if fits or self.known(arm, self.top, seed):
                return arm, seed
        return None

    def _one(self, arm: Arm, size: int, seed: int) -> bool:
        """Run a trial; return whether the arm may go on."""
        most = (1 + SPARE) * self.budget_seconds - self.spent() - self.reserve()
        run = self.run(arm, size, seed, most)
        self.runs.append(run)
        self.pace.learn(run)
        if run.stopped:
            # That says nothing against it: what it showed before counts.
            if self.end_of(arm) is not End.FINISHED:
                showed = any(one.arm == arm and one.right is not None for one in self.runs)
                words = f"left: stopped on {size:,} for want of time"
                self._end(arm, End.BUDGET if showed else End.UNTRIED, words)
            return False
        if run.right is None:
            problem = run.problem or "it did not end well"
            if self.end_of(arm) is End.FINISHED:
                # What it came to with other seeds is no worse for that, but a reader must know.
                self.notes.append(
                    f"{arm.words} failed with seed {seed} ({problem}): what is believed of it is "
                    "of the seeds with which it ended well."
                )
                return False
            self._end(arm, End.FAILED, f"failed on {size:,}: {problem}")
            return False
        limit, taken = self.memory_bytes, run.peak_bytes
        if limit is not None and taken is not None and taken > limit:
            words = f"dropped: it takes {gigabytes(taken)}, more than {gigabytes(limit)}"
            for other in self.arms:
                waits = self.end_of(other) in (None, End.BUDGET, End.UNTRIED)
                if other.method == arm.method and waits:
                    self._end(other, End.MEMORY, words)
            self.fates[arm.key] = Fate(end=End.MEMORY, words=words)
            return False
        return True

    def _end(self, arm: Arm, end: End, words: str) -> None:
        self.fates[arm.key] = Fate(end=end, words=words)

    def _is_out(self, arm: Arm) -> bool:
        return self.end_of(arm) in (End.MEMORY, End.FAILED)

    def _has_run(self, arm: Arm, size: int) -> bool:
        return any((run.arm, run.examples) == (arm, size) for run in self.runs)

    def _showed(self, arm: Arm, size: int) -> bool:
        """Return whether a trial of an arm on so many examples ended well."""
        mine = (run for run in self.runs if (run.arm, run.examples) == (arm, size))
        return any(run.right is not None for run in mine)

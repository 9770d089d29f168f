"""Which arm is recommended, how sure that is, and what it is measured against."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray
from scipy.stats import norm

from peftcore.choosing.arms import Arm, End, Run
from peftcore.choosing.asking import Cost
from peftcore.choosing.believing import Belief
from peftcore.choosing.racing import Race
from peftcore.errors import PeftcoreError
from peftcore.report.markdown import listed
from peftcore.results.records import Record

NEARLY = 0.9
"""An arm whose probability is at least this part of the highest one may be taken for its cost."""


class NothingToChoose(PeftcoreError):
    """No arm ended well, so that none can be recommended."""


@dataclass(frozen=True, kw_only=True, eq=False)
class Reference:
    """A row to be beaten, beside what was chosen.

    Attributes:
        run: its trial on as many examples as were raced on; it answers the validation examples.
        as_good: the probability that it is no more than the tolerance below what was chosen: on
            the test set, both trained on the same examples, if it was tested, else in the race.
        test: its trial on the test set, if there was time for it.
    """

    run: Run
    as_good: float
    test: Record | None = None


@dataclass(frozen=True, kw_only=True, eq=False)
class Decision:
    """What is recommended.

    Attributes:
        chosen: the arm.
        within: the probability that it is within the tolerance of the best of all arms.
        best: the probability that it is the best.
        runner_up: the next best of another method, if there is one, and its probability.
        highest: the arm most probably within the tolerance, and its probability; the chosen one,
            unless that was taken for its cost.
        belief: what all of this was computed from.
        references: the rows to be beaten.
    """

    chosen: Arm
    within: float
    best: float
    runner_up: tuple[Arm, float] | None
    highest: tuple[Arm, float]
    belief: Belief
    references: tuple[Reference, ...] = ()


def decide(race: Race, *, tolerance: float, cost: Cost, references: Sequence[Run] = ()) -> Decision:
    """Return the cheapest of the arms that are, nearly as probably as any, good enough.

    Good enough is within ``tolerance`` of the best of all arms. Of the arms that were trained on
    the most examples those are taken whose probability of it is at least nine tenths of the
    highest, and of them the cheapest. So the price that is paid for a lower cost is at most a tenth
    of the certainty, whatever that is; and where no arm is surely good enough, one of the most
    probable ones is taken and not whichever is cheap.

    Args:
        race: that was run.
        tolerance: a share of 1.
        cost: by what the cheapest is told; of equally cheap ones the more probable is taken.
        references: the trials of the rows to be beaten.

    Raises:
        NothingToChoose: no arm ended well.
    """
    belief = race.belief() if any(_may_be_chosen(race, arm) for arm in race.arms) else None
    if belief is None:
        raise NothingToChoose(
            f"no arm ended well, so that none can be recommended: {_reasons(race)}"
        )
    within, best = belief.within(tolerance), belief.best()
    top = race.top
    candidates = [
        one.arm for one in belief.standings if one.examples == top and _may_be_chosen(race, one.arm)
    ] or [one.arm for one in belief.standings if _may_be_chosen(race, one.arm)]
    highest = max(candidates, key=lambda arm: within[arm.key])
    enough = [arm for arm in candidates if within[arm.key] >= NEARLY * within[highest.key]]
    chosen = min(enough, key=lambda arm: (_cost(race, arm, cost), -within[arm.key]))
    others = [one.arm for one in belief.standings if one.arm.method != chosen.method]
    others = [arm for arm in others if _may_be_chosen(race, arm)]
    runner_up = max(others, key=lambda arm: (within[arm.key], best[arm.key]), default=None)
    return Decision(
        chosen=chosen,
        within=within[chosen.key],
        best=best[chosen.key],
        runner_up=None if runner_up is None else (runner_up, within[runner_up.key]),
        highest=(highest, within[highest.key]),
        belief=belief,
        references=tuple(
            Reference(run=run, as_good=_as_good(run, belief, chosen, tolerance))
            for run in references
            if run.right is not None
        ),
    )


def _reasons(race: Race) -> str:
    """Return why arms are out, those with the same reason together."""
    arms_of: dict[str, list[str]] = {}
    for key, fate in race.fates.items():
        arms_of.setdefault(fate.words, []).append(key)
    return "; ".join(f"{listed(keys)}: {words}" for words, keys in arms_of.items())


def last_run(race: Race, arm: Arm) -> Run:
    """Return the arm's first trial on the most examples that it was trained on."""
    mine = [run for run in race.runs if run.arm == arm and run.right is not None]
    return max(mine, key=lambda run: (run.examples, -run.seed))


def _may_be_chosen(race: Race, arm: Arm) -> bool:
    fate = race.fates.get(arm.key)
    out = fate is not None and fate.end in (End.MEMORY, End.FAILED, End.UNTRIED)
    return not out and any(run.arm == arm and run.right is not None for run in race.runs)


def _cost(race: Race, arm: Arm, cost: Cost) -> float:
    run = last_run(race, arm)
    if cost is Cost.PARAMETERS:
        return run.trained_parameters or math.inf
    if cost is Cost.MEMORY:
        return run.peak_bytes or math.inf
    # Two rates of one method take as long as each other on as many examples, but for chance.
    return min(
        other.train_seconds / other.examples
        for other in race.runs
        if (other.arm.method, other.examples) == (arm.method, run.examples)
        and other.right is not None
    )


def as_tested(
    reference: Reference, test: Record, chosen: Record, decision: Decision, tolerance: float
) -> Reference:
    """Return a reference row as the test set has it, which what was chosen has answered too.

    There both were trained on the same examples, more than were raced on, and neither was chosen
    for its answers.
    """
    return replace(reference, test=test, as_good=as_good_there(test, chosen, decision, tolerance))


def as_good_there(test: Record, chosen: Record, decision: Decision, tolerance: float) -> float:
    """Return the probability that what was tested is no more than the tolerance below the chosen.

    Args:
        test: its answers to the test set.
        chosen: those of what was chosen.
        decision: by which that was chosen.
        tolerance: a share of 1.
    """
    labels = np.asarray(chosen.labels)
    its, ours = (np.asarray(record.predictions) == labels for record in (test, chosen))
    return _probably(its - 1.0 * ours, decision.belief.seed_spread, tolerance)


def _as_good(run: Run, belief: Belief, chosen: Arm, tolerance: float) -> float:
    """Return the probability that a reference row is as good as what was chosen, by the race."""
    (standing,) = [one for one in belief.standings if one.arm == chosen]
    assert run.right is not None
    spread = belief.seed_spread / math.sqrt(len(standing.accuracies))
    # What looks best is partly the luckiest, and is compared as what it is believed to be.
    luck = standing.accuracy - belief.expected()[chosen.key]
    difference = run.right.astype(np.float64) - standing.answers + luck
    return _probably(difference, spread, tolerance)


def _probably(difference: NDArray[np.float64], seed_spread: float, tolerance: float) -> float:
    """Return the probability that a mean difference is above minus the tolerance.

    By the normal distribution of the paired difference: the sampling of examples, and the seeds of
    what was chosen.
    """
    examples = len(difference)
    # As in what is believed of arms: answers without a difference don't show that there is none.
    variance = (float(difference.var()) + 1 / examples) / examples + seed_spread**2
    return float(norm.sf((-tolerance - difference.mean()) / math.sqrt(variance)))

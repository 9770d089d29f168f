"""A run that is open gets more seeds, in groups, until it is decided or has all it may have."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING

from peftcore.gate.judging import judge
from peftcore.gate.verdicts import Look, Verdicts, looks
from peftcore.results.records import Record

if TYPE_CHECKING:
    # It reads baselines, which takes pydantic: a session without a gate need not wait for that.
    from peftcore.gate.options import Gate


def seeds_to_add(planned: Sequence[int], of_baseline: Sequence[int], count: int) -> list[int]:
    """Return further seeds: first those of the baseline, then the next whole numbers.

    A seed that both sides have settles counts, and what is equal to the bit.
    """
    known = [seed for seed in dict.fromkeys(sorted(of_baseline)) if seed not in planned]
    fresh = max([*planned, *of_baseline], default=0) + 1
    return [*known, *range(fresh, fresh + count)][:count]


def judge_in_groups(
    gate: Gate,
    trials: Sequence[tuple[str, int]],
    run: Callable[[Sequence[int]], Sequence[Record]],
    told: Callable[[str], None],
) -> Verdicts:
    """Return the verdicts on a run, after adding as many seeds as it takes and the gate allows.

    Nothing is added where something failed: further seeds would not take that back. The looks and
    what each spends of the error rates are fixed beforehand by the number of seeds the run begins
    with and the most it may have.

    Args:
        gate: what was asked for.
        trials: method and seed of each trial that was planned.
        run: returns the records of all methods with these seeds, those that were planned or added
            ones.
        told: takes a line on what is about to run.
    """
    methods = list(dict.fromkeys(method for method, _ in trials))
    pairs, planned = set(trials), list(dict.fromkeys(seed for _, seed in trials))
    records = list(run(planned))
    most = gate.seeds_max or 0
    plan = looks(len(planned), most) if most > len(planned) else [Look(seeds=len(planned), share=1)]
    earlier = None
    for look in plan:
        if look.seeds > len(planned):
            added = seeds_to_add(
                planned, [one.seed for one in gate.baseline], look.seeds - len(planned)
            )
            told(f"the gate is undecided with {len(planned)} seeds: adding {added}")
            records += run(added)
            planned += added
            pairs |= {(method, seed) for method in methods for seed in added}
        earlier = judge(
            gate.baseline,
            records,
            methods=methods,
            metrics=gate.metrics,
            planned=pairs,
            look=look,
            earlier=earlier,
        )
        if not earlier.open:
            break
    assert earlier is not None
    return earlier

"""A search over one method's learning rates: full-length trials on examples kept for it."""

from __future__ import annotations

import zlib
from collections.abc import Callable
from dataclasses import dataclass, replace

from peftcore.methods import Method
from peftcore.results.records import Record
from peftcore.running.planning import Selection, plan
from peftcore.scenarios import Evaluation, Protocol, Split
from peftcore.trials import Outcome, Trial
from peftcore.tuning.rates import Tried, best_of, next_rate

SEARCH_SEED = 2024
"""The seed of every trial of a search, so that its rates differ in nothing else; the trials that
the winner is run in have others."""

SEARCH_TRIALS = 8
"""Trials of each method's search, unless another number is asked for."""


@dataclass(frozen=True, kw_only=True)
class Search:
    """What a search has come to so far.

    Attributes:
        method: whose rate is searched for.
        tried: what was tried, in its order.
        trials: what was run for it.
        complete: whether all of it was run.
    """

    method: Method
    tried: tuple[Tried, ...]
    trials: tuple[Trial, ...]
    complete: bool

    @property
    def rate(self) -> float | None:
        """The rate that the method is trained with; ``None`` where no trial ended well."""
        best = best_of(self.tried)
        return None if best is None else best.rate


def search(
    method: Method,
    selection: Selection,
    *,
    trials: int,
    look: Callable[[Trial], Record | None],
) -> Search:
    """Try one rate after another, each chosen by what those before it came to.

    Args:
        method: whose rate is searched for.
        selection: what is compared; its task is kept, but for the examples.
        trials: how many, the same for every method.
        look: gives the record of a trial, by running it or from the store; ``None`` where it has
            none, and the search is left there.

    Raises:
        UsageError: the trials can't be planned.
    """
    around = selection.find_scenario().learning_rate(method)
    draw = (SEARCH_SEED, zlib.crc32(method.slug.encode()))
    # Data and backbone are looked at once: trials of a search differ in their rate alone.
    (first,) = plan(
        replace(
            selection,
            methods=(method,),
            seeds=(SEARCH_SEED,),
            settings=(*selection.settings, f"split={Split.TUNING}"),
            protocol=Protocol.TUNED,
            rates={method.slug: around},
        )
    )
    kept = tuple(text for text in first.overrides if not text.startswith("learning_rate="))
    tried: list[Tried] = []
    run: list[Trial] = []
    while (rate := next_rate(tried, around=around, trials=trials, draw=draw)) is not None:
        trial = replace(
            first,
            recipe=replace(first.recipe, learning_rate=rate, evaluation=Evaluation.END),
            overrides=(*kept, f"learning_rate={rate}"),
        )
        record = look(trial)
        if record is None:
            return Search(method=method, tried=tuple(tried), trials=tuple(run), complete=False)
        tried.append(Tried(rate=rate, accuracy=_accuracy(record)))
        run.append(trial)
    return Search(method=method, tried=tuple(tried), trials=tuple(run), complete=True)


def _accuracy(record: Record) -> float | None:
    if record.outcome is not Outcome.OK or record.measurement is None:
        return None
    return record.measurement.accuracy

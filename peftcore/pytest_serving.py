"""What the test of ``benchmarks/test_serving.py`` gets: one method, ready to be served."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from statistics import median
from typing import TYPE_CHECKING, Any

import pytest

from peftcore.methods import Method
from peftcore.pytest_cells import announce, benchmark_of, beside
from peftcore.pytest_session import SERVED
from peftcore.pytest_trial import kept_in

if TYPE_CHECKING:
    from peftcore.comparison import Comparison
    from peftcore.results.records import Record
    from peftcore.serving.trials import ServingTrial


@dataclass(frozen=True)
class RunnableServing:
    """What a test of serving gets.

    Attributes:
        trial: the method, and how it is measured.
    """

    trial: ServingTrial
    _comparison: Comparison
    _request: pytest.FixtureRequest

    @property
    def trials(self) -> list[ServingTrial]:
        """The one trial that it is."""
        return [self.trial]

    def run(self) -> Record:
        """Return the record of the method, measured unless the store has it.

        In a serial session each round is one of pytest-benchmark's; its row in that table is the
        time of a whole round, in which everything is measured once.
        """
        announce(self._request, self.trials)
        used: list[Any] = []

        def drive(measure: Callable[[], None], warm_up_rounds: int, rounds: int) -> None:
            # Asked for only now: where all was stored, or failed before, there is no round.
            benchmark = benchmark_of(self._request)
            if benchmark is None:
                for _ in range(warm_up_rounds + rounds):
                    measure()
                return
            used.append(benchmark)
            benchmark.group = "peftcore serving: one round of everything"
            benchmark.pedantic(measure, rounds=rounds, warmup_rounds=warm_up_rounds, iterations=1)

        with kept_in(self._request):
            record = self._comparison.serve(self.trial, drive)
        for benchmark in used:
            benchmark.extra_info[self.trial.id] = _medians(record)
        return record

    def faults(self, record: Record) -> list[str]:
        """Return in words what did not end well."""
        from peftcore.comparison import faults

        return faults(self.trials, [record])


def _medians(record: Record) -> dict[str, float]:
    """Return the median seconds of each figure, for pytest-benchmark's file."""
    measured = record.measurement
    figures = (measured.serving or {}).get("figures", ()) if measured else ()
    return {
        " ".join(
            str(figure[name])
            for name in ("what", "served", "residents", "examples")
            if figure[name] is not None
        ): median(figure["seconds"])
        for figure in figures
        if figure["seconds"]
    }


@pytest.fixture
def peft_serving(request: pytest.FixtureRequest) -> RunnableServing:
    """One method to be served; parametrised over all that the options select."""

    def make(comparison: Comparison, method: Method, _: str) -> RunnableServing:
        return RunnableServing(comparison.serving_plan().trial(method), comparison, request)

    return beside(request, SERVED, make)

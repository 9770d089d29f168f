"""What the test of ``benchmarks/test_data_sizes.py`` gets: a method on so many examples."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import pytest

from peftcore.methods import Method
from peftcore.pytest_cells import announce, beside
from peftcore.pytest_session import SIZED
from peftcore.pytest_trial import kept_in
from peftcore.trials import Trial

if TYPE_CHECKING:
    from peftcore.comparison import Comparison
    from peftcore.results.records import Record


@dataclass(frozen=True)
class RunnableSizes:
    """What a test of sizes gets.

    Attributes:
        trials: of one method on so many examples, one a seed.
    """

    trials: list[Trial]
    _comparison: Comparison
    _request: pytest.FixtureRequest

    def run(self) -> list[Record]:
        """Return the record of each trial, in the order of the seeds, run unless it is stored."""
        announce(self._request, self.trials)
        with kept_in(self._request):
            return [self._comparison.collect_sized(trial) for trial in self.trials]

    def faults(self, records: list[Record]) -> list[str]:
        """Return in words each trial that did not end well or misses its floor."""
        from peftcore.comparison import faults

        return faults(self.trials, records)


@pytest.fixture
def peft_sizes(request: pytest.FixtureRequest) -> RunnableSizes:
    """A method on so many examples; parametrised over all that the options select."""

    def make(comparison: Comparison, method: Method, size: str) -> RunnableSizes:
        return RunnableSizes(comparison.sizes_plan().trials(method, size), comparison, request)

    return beside(request, SIZED, make)

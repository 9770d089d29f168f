"""Which trials tell how accuracy grows with the training set.

A smaller training set is the beginning of a larger one's shuffle, so that sizes are nested and
methods are paired within each. What is held the same for all sizes is either the number of steps,
as near as whole passes come to it: learning rates were chosen for as many steps as the scenario
has, and a hundred examples seen three times are forty, which is known to be few (Mosbach et al.,
arXiv:2006.04884; Zhang et al., arXiv:2006.05987). Or it is the number of epochs.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from enum import StrEnum

from peftcore.data.examples import require_enough
from peftcore.data.sources import read_data
from peftcore.errors import UsageError
from peftcore.methods import Method, Trains
from peftcore.running.planning import Selection, plan
from peftcore.scenarios import Protocol, override
from peftcore.trials import Trial

ALL = "all"
"""Stands for as many training examples as the data has."""

SIZES = (100, 300, 1000)
"""Unless others are asked for: those of them below the scenario's own size, and that."""


class Hold(StrEnum):
    """What is the same for all sizes."""

    STEPS = "steps"
    EPOCHS = "epochs"


def parse_sizes(text: str, *, where: str) -> tuple[str, ...]:
    """Return the sizes of a comma-separated list, smallest first, as text.

    Raises:
        UsageError: one is neither a whole number from 2 on nor ``all``.
    """
    parts = dict.fromkeys(part.strip().lower() for part in text.split(",") if part.strip())
    if not parts or not all(p == ALL or (p.isdecimal() and int(p) >= 2) for p in parts):
        raise UsageError(
            f"{where} {text!r} is not usable: expected numbers of training examples (100,300), of "
            f"2 or more, or {ALL}"
        )
    return tuple(sorted(parts, key=lambda part: (part == ALL, len(part), part)))


@dataclass
class SizesPlan:
    """What is trained on how many examples.

    Attributes:
        selection: what the options ask for.
        sizes: as :func:`parse_sizes` gives them; ``None`` for the usual ones.
        hold: what is the same for all of them.
    """

    selection: Selection
    sizes: Sequence[str] | None = None
    hold: Hold = Hold.STEPS
    _own: dict[Method, list[Trial]] = field(default_factory=dict)

    def cells(self) -> list[tuple[Method, str]]:
        """Return each method with each size, method by method.

        Raises:
            UsageError: rates are to be searched for.
        """
        if self.selection.protocol is Protocol.TUNED:
            raise UsageError(
                f"{self.selection.prefix}protocol tuned is not usable for sizes: a rate that was "
                "searched for at one size is none for another; take declared or study"
            )
        return [(m, size) for m in self.selection.find_methods() for size in self._sizes()]

    def _sizes(self) -> Sequence[str]:
        if self.sizes is not None:
            return self.sizes
        scenario = self.selection.find_scenario()
        task, *_ = override(scenario.task, scenario.recipe, self.selection.settings)
        own = task.train_examples
        return [*(str(size) for size in SIZES if size < own), str(own)]

    def trials(self, method: Method, size: str) -> list[Trial]:
        """Return the trials of a method on so many examples, one a seed.

        Raises:
            UsageError: something that was asked for does not exist or can't be used.
        """
        if not self._own:
            # Data and backbone are looked at once.
            for trial in plan(self.selection):
                self._own.setdefault(trial.method, []).append(trial)
        return [self._sized(trial, size) for trial in self._own[method]]

    def _sized(self, trial: Trial, size: str) -> Trial:
        own = trial.task.train_examples
        examples = own if size == str(own) else self._count(trial, size)
        repeats = self._repeats(trial.method, own, examples) * trial.task.repeats
        changed = {"train_examples": examples, "repeats": repeats}
        changes = [f"{n}={v}" for n, v in changed.items() if getattr(trial.task, n) != v]
        if not changes:
            # The very trial of the comparison, whose record may stand for it.
            return trial
        kept = [text for text in trial.overrides if text.partition("=")[0] not in changed]
        task = replace(trial.task, train_examples=examples, repeats=repeats)
        return replace(trial, task=task, overrides=(*kept, *changes))

    def _count(self, trial: Trial, size: str) -> int:
        """Return how many examples a size stands for; as many must be there."""
        corpus = read_data(trial.data, trial.task)
        if size == ALL:
            return len(corpus.train)
        require_enough(corpus, replace(trial.task, train_examples=int(size)))
        return int(size)

    def _repeats(self, method: Method, own: int, examples: int) -> int:
        """Return how often each example comes in an epoch.

        A bag of words is fitted to its end, however often it sees what it is fitted to.
        """
        if self.hold is Hold.EPOCHS or method.trains is Trains.BAG_OF_WORDS:
            return 1
        return max(1, round(own / examples))

"""How long a trial will take, by those that were run: what keeps a race within its budget."""

from __future__ import annotations

from dataclasses import dataclass, field

from peftcore.choosing.arms import Run
from peftcore.methods import Trains


@dataclass
class Pace:
    """What trials took, by method: training grows with the examples, all else stays.

    Attributes:
        seen: by a method's slug, its trial on the most examples.
    """

    seen: dict[str, Run] = field(default_factory=dict)

    def learn(self, run: Run) -> None:
        """Take a trial into account, if it trained at all."""
        known = self.seen.get(run.arm.method.slug)
        if run.train_seconds > 0 and (known is None or run.examples >= known.examples):
            self.seen[run.arm.method.slug] = run

    def predict(
        self, slug: str, examples: int, *, evaluation: float = 1.0, spare: float = 0.0
    ) -> float | None:
        """Return the seconds that a trial will take; ``None`` where nothing is known yet.

        A method of which no trial was run is taken to be as slow as the slowest that was, Full left
        out where an adapter is known.

        Args:
            slug: of the method.
            examples: how many are trained on.
            evaluation: how many examples are evaluated, as a multiple of those of the race.
            spare: what is added for safety, as a share.
        """
        if not self.seen:
            return None
        run = self.seen.get(slug)
        if run is not None:
            return (1 + spare) * seconds_like(run, examples, evaluation)
        alike = [
            one for one in self.seen.values() if one.arm.method.trains is not Trains.EVERYTHING
        ]
        trials = alike or self.seen.values()
        slowest = max(seconds_like(one, examples, evaluation) for one in trials)
        return (1 + spare) * slowest

    def overhead(self) -> float:
        """Return the seconds that a trial takes beside training and evaluating, at the most."""
        return max((_overhead(run) for run in self.seen.values()), default=0.0)

    def most_examples(self, slug: str, seconds: float, *, evaluation: float = 1.0) -> int | None:
        """Return how many examples can be trained on in so much time; ``None`` if not known."""
        run = self.seen.get(slug)
        if run is None:
            return None
        left = seconds - _overhead(run) - run.eval_seconds * evaluation
        return max(0, int(left / (run.train_seconds / run.examples)))


def _overhead(run: Run) -> float:
    rest = run.wall_seconds - run.once_seconds - run.train_seconds - run.eval_seconds
    return max(0.0, rest)


def seconds_like(run: Run, examples: int, evaluation: float) -> float:
    """Return the seconds of a trial like this one on so many examples.

    Args:
        run: that was measured.
        examples: how many are trained on.
        evaluation: how many are evaluated, as a multiple of those that it evaluated.
    """
    per_example = run.train_seconds / run.examples
    return _overhead(run) + per_example * examples + run.eval_seconds * evaluation

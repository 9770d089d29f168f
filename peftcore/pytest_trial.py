"""The fixture ``peft_trial``: a model, data and a method of one's own, in a test of one's own.

::

    def test_my_adapter(peft_trial):
        result = peft_trial(method="lora", model="models/mine", data="data/mine", epochs=1)
        assert result.accuracy > 0.80

What a call asks for is a scenario like any other, declared by the test: its records go to the
store and are reused from there, its report is written when the session ends, and a baseline gates
it. The command line's options override it as they override a scenario of peftcore's own.
"""

from __future__ import annotations

import dataclasses
import json
import re
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from statistics import fmean
from typing import TYPE_CHECKING, Any

import pytest

from peftcore.errors import RecordNotStored, UsageError
from peftcore.methods import METHODS, Method
from peftcore.scenarios import Scenario, Split, find_scenario, is_declared, override
from peftcore.trials import Outcome, Trial

if TYPE_CHECKING:
    from peftcore.comparison import Comparison
    from peftcore.report.inference import Accuracy
    from peftcore.results.records import Record
    from peftcore.running.planning import Selection

LIKE = "imdb-minilm"
"""The scenario whose recipe and learning rates hold where a test asks for no others."""

OWN_TRIAL = "peftcore_own_trial"
"""The property by which a test tells the session of a trial that it declared."""

_NAME = re.compile(r"[a-z0-9][a-z0-9._-]{0,79}")
_NAME_EXPECTED = "expected up to 80 small letters, digits, dots, hyphens and underscores"
_TAKEN = frozenset({"engine"})
"""Folders of reports that are no scenario's."""


@dataclass(frozen=True, kw_only=True, repr=False)
class TrialResult:
    """What came of one call: every trial ended well, one a seed.

    Where the session has the backbone's weights fresh (``--peft-weights random``), accuracy means
    nothing: a test that asks for it is skipped.

    Attributes:
        scenario: what the report, and a baseline, call what was asked for.
        method: the method.
        records: one a seed, in the order of the seeds.
    """

    scenario: str
    method: Method
    records: tuple[Record, ...]

    def __repr__(self) -> str:
        shown = "no accuracy"
        if self.records[0].pretrained:
            shown = f"accuracy {self.accuracy:.4f}"
            if self.interval is not None:
                shown += " [{:.4f}, {:.4f}]".format(*self.interval)
        seeds = ", ".join(str(record.seed) for record in self.records)
        return f"<{self.method.slug} in {self.scenario}: {shown}, seeds {seeds}>"

    @property
    def accuracy(self) -> float:
        """The share of test examples that are right, the mean over seeds."""
        return fmean(self.accuracies)

    @property
    def accuracies(self) -> tuple[float, ...]:
        """The share of test examples that are right with each seed."""
        return tuple(percent / 100 for percent in self._inferred.seeds)

    @property
    def interval(self) -> tuple[float, float] | None:
        """The 95% interval of the accuracy on texts like these, as shares.

        With one seed it is that of the one model that was trained. ``None`` where it can't be told.
        """
        found = self._inferred.interval
        return None if found is None else (found[0] / 100, found[1] / 100)

    @property
    def train_seconds(self) -> float | None:
        """Wall time of training, evaluation left out; the mean over seeds."""
        seconds = [float(value) for value in self._measured("train_seconds")]
        return fmean(seconds) if seconds else None

    @property
    def peak_bytes(self) -> int | None:
        """The highest use of memory while training, of any seed."""
        return max((int(value) for value in self._measured("peak_bytes")), default=None)

    @property
    def trainable_parameters(self) -> int | None:
        """How many parameters training changes; ``None`` without a backbone."""
        counts = (int(value) for value in self._measured("trainable_parameters"))
        return max(counts, default=None)

    @cached_property
    def _inferred(self) -> Accuracy:
        from peftcore.report.inference import infer

        if not self.records[0].pretrained:
            pytest.skip("with fresh weights (--peft-weights random) accuracy means nothing")
        return infer({self.method.slug: self.records}).accuracies[self.method.slug]

    def _measured(self, name: str) -> list[Any]:
        """Return a number of each seed that has it."""
        values = (getattr(record.measurement, name, None) for record in self.records)
        return [value for value in values if value is not None]


@contextmanager
def kept_in(request: pytest.FixtureRequest) -> Iterator[None]:
    """Keep a record that could not be stored in the test's report, and fail the test for it."""
    try:
        yield
    except RecordNotStored as error:
        request.node.add_report_section("call", "record that could not be stored", error.line)
        pytest.fail(
            f"{error}; the record stands below: put it, as a line of a file, back into the store "
            f"with `peftcore import FILE --store {error.store}`",
            pytrace=False,
        )


@dataclass(frozen=True, repr=False)
class PeftTrial:
    """What a test gets as ``peft_trial``: call it, and see what came of it."""

    _request: pytest.FixtureRequest
    _comparison: Comparison

    def __call__(
        self,
        *,
        method: str | Method,
        data: str | Path,
        model: str | Path = "minilm",
        name: str | None = None,
        seeds: int | Sequence[int] | None = None,
        **settings: object,
    ) -> TrialResult:
        """Run a method on a model and data, with several seeds, and return what came of it.

        Trials whose records are in the store, made by the same versions on the same hardware, are
        not run again. Without sizes among the settings, all examples that the data has are used.

        Args:
            method: a slug that ``peftcore methods`` lists, or a declaration of one's own.
            data: a folder with train and test files, or a hub id with its revision; relative to
                pytest's root folder.
            model: a folder that ``save_pretrained`` wrote, a hub id with its revision, or a pinned
                backbone's name; relative to pytest's root folder.
            name: what the report, and a baseline, call it; by default the test's module and
                function. All calls of one name share data, model and recipe.
            seeds: how many, from 42 on, or which; by default three.
            settings: any field of the task or the recipe, such as ``epochs`` or ``max_length``.

        Raises:
            pytest.fail.Exception: a trial did not end well, or what was asked for can't be used.
            StoreError: the store can't be opened or read.
        """
        try:
            selection = self._select(method, str(model), str(data), name, seeds, settings)
            trials = self._plan(selection)
        except UsageError as error:
            pytest.fail(f"peft_trial: {error}", pytrace=False)
        records = self._collect(trials)
        bad = [record for record in records if record.outcome is not Outcome.OK]
        if bad:
            by_id = {trial.id: trial.label for trial in trials}
            lines = [f"{by_id[record.id]}: {record.outcome}: {record.error}" for record in bad]
            pytest.fail("\n".join(lines), pytrace=False)
        return TrialResult(
            scenario=trials[0].scenario, method=trials[0].method, records=tuple(records)
        )

    def _plan(self, selection: Selection) -> list[Trial]:
        from peftcore.running.planning import plan

        trials = plan(selection)
        self._comparison.adopt(trials)
        return trials

    def _collect(self, trials: Sequence[Trial]) -> list[Record]:
        collector = self._comparison.collector
        stored = [collector.stored(trial) for trial in trials]
        # Told before the first one runs, so that the session misses what then does not end.
        for trial in trials:
            told = {"trial": trial.to_job(), "reused": trial.id in collector.reused}
            self._request.node.user_properties.append((OWN_TRIAL, json.dumps(told)))
        with kept_in(self._request):
            return [
                record or collector.collect(trial)
                for trial, record in zip(trials, stored, strict=True)
            ]

    def _select(
        self,
        method: str | Method,
        model: str,
        data: str,
        name: str | None,
        seeds: int | Sequence[int] | None,
        settings: Mapping[str, object],
    ) -> Selection:
        """Return the options' selection in the scenario that a call declares.

        Raises:
            UsageError: an argument can't be meant.
        """
        from peftcore.data.sources import locate_data, read_data
        from peftcore.running.planning import longest_text

        like = find_scenario(LIKE)
        asked = [f"{key}={_as_setting(value)}" for key, value in settings.items()]
        task, recipe, changed = override(like.task, like.recipe, asked)
        root = self._request.config.rootpath
        scenario = Scenario(
            name=_default_name(self._request) if name is None else _usable(name),
            title=name or self._request.node.name,
            backbone=_place(model, root, "model"),
            data=_place(data, root, "data"),
            task=task,
            recipe=recipe,
            rates={} if "learning_rate" in changed else like.rates,
            seeds=like.seeds if seeds is None else _parse_seeds(seeds),
        )
        selection = dataclasses.replace(
            self._comparison.selection,
            scenario=scenario,
            methods=(_own(method) if isinstance(method, Method) else method,),
        )
        # The sizes that the data and the backbone have, which may be those that options name.
        within, _, _ = override(task, recipe, selection.settings)
        found = locate_data(
            selection.data or scenario.data,
            dataclasses.replace(within, train_examples=1, test_examples=1, split=Split.TEST),
            where="data" if selection.data is None else "--peft-data",
        )
        corpus = read_data(found, within)
        sizes = {
            "train_examples": len(corpus.train),
            "test_examples": len(corpus.test),
            "max_length": min(task.max_length, longest_text(selection.find_backbone())),
        }
        unasked = [f"{field}={size}" for field, size in sizes.items() if field not in changed]
        task, _, _ = override(task, recipe, unasked)
        return dataclasses.replace(selection, scenario=dataclasses.replace(scenario, task=task))


def read_told(text: str) -> tuple[Trial, bool]:
    """Return a trial that a test declared, and whether its record was in the store.

    Args:
        text: the property :data:`OWN_TRIAL`, which may come from another process.
    """
    told = json.loads(text)
    return Trial.from_job(told["trial"]), bool(told["reused"])


def _as_setting(value: object) -> str:
    """Return a keyword's value as the options would have it."""
    if isinstance(value, list | tuple | set | frozenset):
        return ",".join(str(one) for one in value)
    return str(value)


def _parse_seeds(seeds: int | Sequence[int]) -> tuple[int, ...]:
    from peftcore.running.planning import parse_seeds

    text = str(seeds) if isinstance(seeds, int) else "".join(f"{seed}," for seed in seeds)
    return parse_seeds(text, where="seeds")


def _place(name: str, root: Path, where: str) -> str:
    """Return a folder with its full path, and anything else as it is."""
    if name and (root / name).is_dir():
        return str(root / name)
    if "/" in name and "@" not in name:
        raise UsageError(
            f"{where} {name!r} is no folder in {root}, and no hub id with its revision "
            "(OWNER/NAME@REVISION): name a folder that is there, from pytest's root folder on"
        )
    return name


def _own(method: Method) -> Method:
    """Return a declared method that can be told from peftcore's own and sent to a trial.

    Raises:
        UsageError: it can't.
    """
    if not _NAME.fullmatch(method.slug):
        raise UsageError(f"method slug {method.slug!r} is not usable: {_NAME_EXPECTED}")
    if method not in METHODS and method.slug in {one.slug for one in METHODS}:
        raise UsageError(
            f"method {method.slug!r} is one of peftcore's own, and this is another: give yours "
            "a slug of its own"
        )
    # Refused here, and not when its first trial starts.
    method.declaration()
    return method


def _usable(name: str) -> str:
    if not _NAME.fullmatch(name):
        raise UsageError(f"name={name!r} is not usable: {_NAME_EXPECTED}")
    if is_declared(name) or name in _TAKEN:
        raise UsageError(f"name={name!r} is one of peftcore's own: choose another")
    return name


def _default_name(request: pytest.FixtureRequest) -> str:
    """Return the names of the test's module, class and function, without its parameters."""
    function = getattr(request.node, "originalname", None) or request.node.name
    parts = [request.path.stem, *([request.cls.__name__] if request.cls else []), function]
    text = re.sub(r"[^a-z0-9._-]", "-", ".".join(parts).lower())
    return _usable(text.lstrip("._-")[:80])

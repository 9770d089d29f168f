"""A search over one method's learning rates, with records in the place of trials."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest

from peftcore.methods import find_method
from peftcore.results.records import Measurement, Record
from peftcore.running.planning import Selection, plan
from peftcore.scenarios import Evaluation, Protocol, Split, find_scenario
from peftcore.trials import Outcome, Trial
from peftcore.tuning.searching import SEARCH_SEED, search


@pytest.fixture
def selection(tiny_data: Path, bare_model: Path) -> Selection:
    settings = ("train_examples=40", "test_examples=20", "max_length=16")
    return Selection(
        scenario="imdb-minilm", data=str(tiny_data), model=str(bare_model), settings=settings
    )


def recorded(trial: Trial, accuracy: float | None) -> Record:
    outcome = Outcome.OK if accuracy is not None else Outcome.NAN
    return Record(
        trial=trial.describe(),
        outcome=outcome,
        measurement=None if accuracy is None else Measurement(accuracy=accuracy),
        environment={},
    )


def test_every_trial_is_on_examples_kept_for_it_with_one_seed(selection: Selection) -> None:
    lora = find_method("lora")
    seen: list[Trial] = []

    def look(trial: Trial) -> Record:
        seen.append(trial)
        return recorded(trial, trial.recipe.learning_rate)

    found = search(lora, selection, trials=6, look=look)
    assert found.complete
    assert list(found.trials) == seen
    assert len({trial.id for trial in seen}) == 6
    for trial in seen:
        assert (trial.seed, trial.task.split) == (SEARCH_SEED, Split.TUNING)
        assert trial.protocol is Protocol.TUNED
        assert trial.task.train_examples == 40
        assert trial.recipe.epochs == find_scenario("imdb-minilm").recipe.epochs
        # Rates are told apart by what they come to in the end.
        assert trial.recipe.evaluation is Evaluation.END
    # It is the highest that this look finds best, and the range goes on beyond it.
    assert found.rate == max(trial.recipe.learning_rate for trial in seen)
    assert found.rate > 2 * find_scenario("imdb-minilm").learning_rate(lora)


def test_a_search_is_left_where_a_record_is_missing(selection: Selection) -> None:
    left = iter([0.7, 0.8])

    def look(trial: Trial) -> Record | None:
        accuracy = next(left, None)
        return None if accuracy is None else recorded(trial, accuracy)

    found = search(find_method("ia3"), selection, trials=5, look=look)
    assert not found.complete
    assert [one.accuracy for one in found.tried] == [0.7, 0.8]


def test_trials_that_did_not_end_well_are_tried_and_never_the_best(selection: Selection) -> None:
    found = search(
        find_method("full"), selection, trials=4, look=lambda trial: recorded(trial, None)
    )
    assert found.complete
    assert found.rate is None
    assert [one.accuracy for one in found.tried] == [None] * 4


def test_methods_are_searched_around_their_own_rates(selection: Selection) -> None:
    def rates(slug: str) -> list[float]:
        found = search(
            find_method(slug), selection, trials=3, look=lambda trial: recorded(trial, 0.5)
        )
        return [one.rate for one in found.tried]

    assert max(rates("full")) < min(rates("ia3"))
    assert replace(selection).protocol is Protocol.DECLARED


def test_a_rate_that_the_protocol_gives_is_no_change_of_it(selection: Selection) -> None:
    lora = find_method("lora")
    tuned = replace(selection, protocol=Protocol.TUNED, methods=(lora,), rates={"lora": 3e-3})
    studied = replace(selection, protocol=Protocol.STUDY, methods=(lora,))
    declared = find_scenario("imdb-minilm").recipe.learning_rate
    for one, rate in ((tuned, 3e-3), (studied, declared)):
        for trial in plan(one):
            assert trial.recipe.learning_rate == rate
            assert trial.protocol is one.protocol
            assert f"protocol={one.protocol}" in trial.overrides
            assert not any(text.startswith("learning_rate") for text in trial.overrides)


def test_without_a_rate_from_its_search_a_method_has_no_trials_yet(selection: Selection) -> None:
    methods = (find_method("lora"), find_method("bow"))
    planned = plan(replace(selection, protocol=Protocol.TUNED, methods=methods))
    assert {trial.method.slug for trial in planned} == {"bow"}

import dataclasses

import pytest

from peftcore.results.selecting import newest_settings


def test_nothing_gives_nothing():
    assert newest_settings([]) == {}


def test_records_of_one_setting_stay_together_by_scenario(record):
    records = [record("full"), record("lora"), record("lora", scenario="imdb-minilm")]
    assert newest_settings(records) == {"embedded": records[:2], "imdb-minilm": records[2:]}


def test_only_the_setting_that_ran_last_is_taken(record):
    old = [record("full", setting="old"), record("lora", setting="old")]
    new = [record("full", setting="new")]
    assert newest_settings([*old, *new]) == {"embedded": new}
    assert newest_settings([*new, *old]) == {"embedded": old}


def test_a_setting_that_ran_again_is_the_newest_and_whole(record):
    early, again = record("full", setting="a"), record("lora", setting="a")
    between = record("full", setting="b")
    assert newest_settings([early, between, again]) == {"embedded": [early, again]}


@pytest.mark.parametrize(
    "change",
    [
        {"packages": {"numpy": "2.1.0", "torch": "2.14.0"}},
        {"hardware": {"cpu": "Another CPU"}},
        {"sources_sha256": "b" * 64},
        {"threads": 1},
    ],
)
def test_records_of_different_environments_are_not_mixed(record, environment, change):
    here = record("full")
    there = record("lora", environment={**environment, **change})
    assert newest_settings([here, there]) == {"embedded": [there]}


def test_another_commit_with_the_same_sources_is_the_same_environment(record, environment):
    here = record("full")
    there = record("lora", environment={**environment, "git_commit": "1" * 40, "git_dirty": True})
    assert newest_settings([here, there]) == {"embedded": [here, there]}


def test_one_trial_stands_once_as_it_was_last(record):
    first, last = record(accuracy=0.5), record(accuracy=0.8)
    assert newest_settings([first, last]) == {"embedded": [last]}


def test_a_search_over_learning_rates_may_have_run_anywhere(record, environment):
    def searched(made):
        return dataclasses.replace(made, trial={**made.trial, "task": {"split": "tuning"}})

    here = searched(record("full"))
    there = searched(record("lora", environment={**environment, "threads": 1}))
    assert newest_settings([here, there]) == {"embedded": [here, there]}

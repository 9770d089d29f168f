import dataclasses

import pytest

from peftcore.results.selecting import newest_parts, newest_settings, other_protocols
from peftcore.trials import Part


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


# Protocols


@pytest.fixture
def by(ran):
    """Return a function that makes a record of one protocol."""

    def make(protocol, method="lora", **fields):
        made = ran(None, method, **fields)
        trial = {**made.trial, "setting_id": f"{made.trial['setting_id']} {protocol}"}
        trial |= {"protocol": protocol} if protocol else {}
        return dataclasses.replace(made, trial=trial)

    return make


def test_what_differs_in_the_protocol_alone_stands_beside(by, environment):
    chosen = [by("tuned", learning_rate=0.1), by("tuned", "full", learning_rate=0.2)]
    declared, studied = by(None, learning_rate=0.3), by("study", learning_rate=0.4)
    others = [
        by("study", epochs=2),
        by("study", data="another"),
        by("study", environment={**environment, "threads": 1}),
    ]
    assert other_protocols([declared, *others, studied, *chosen], chosen) == [declared, studied]
    assert other_protocols([declared], []) == []


def test_of_another_protocol_what_ran_last_stands_beside(by):
    first, last = by("study", learning_rate=0.1), by("study", learning_rate=0.2)
    assert other_protocols([first, last], [by("tuned")]) == [last]


# Comparisons of the engines


@pytest.fixture
def ran(record):
    """Return a function that makes a record of one part of a comparison of the engines."""

    def make(part, method="lora", *, engine="peftcore", data="imdb", environment=None, **fields):
        task = {name: fields.pop(name, 1) for name in ("max_length", "train_examples", "epochs")}
        recipe = {
            name: fields.pop(name, None)
            for name in ("batch_size", "precision", "learning_rate", "accelerations")
        }
        told = f"{part} {engine} {data} {task} {recipe}"
        made = record(method, setting=told, environment=environment, **fields)
        trial = {
            **made.trial,
            "id": f"{made.id} {recipe['learning_rate']}",
            "setting_id": told.replace(f"'learning_rate': {recipe['learning_rate']}", ""),
            "part": part,
            "engine": engine,
            "backbone": {"identity": "minilm"},
            "data": {"identity": data},
            "task": task,
            "recipe": recipe,
        }
        return dataclasses.replace(made, trial=trial)

    return make


def test_records_of_no_part_are_of_no_comparison(record, ran):
    paired = ran(Part.PAIRS)
    assert newest_parts([record("full"), paired, ran("of a later release")]) == [paired]
    assert newest_parts([]) == []


def test_both_engines_and_all_methods_of_a_part_stay_together(ran):
    records = [
        ran(Part.PAIRS, method, engine=engine, learning_rate=rate)
        for method, rate in (("full", 0.1), ("lora", 0.2))
        for engine in ("peftcore", "trainer")
    ]
    assert newest_parts(records) == records


@pytest.mark.parametrize(
    ("part", "name"),
    [
        (Part.LENGTH, "max_length"),
        (Part.LENGTH, "train_examples"),
        (Part.BATCH, "batch_size"),
        (Part.EQUALITY, "precision"),
        (Part.ABLATION, "accelerations"),
    ],
)
def test_what_a_part_varies_is_no_other_protocol(ran, part, name):
    records = [ran(part, **{name: value}) for value in (1, 2)]
    assert newest_parts(records) == records
    if part is not Part.ABLATION:
        others = [ran(Part.PAIRS, **{name: value}) for value in (1, 2)]
        assert newest_parts(others) == others[1:]


def test_parts_keep_what_ran_last_each_by_itself(ran, environment):
    moved = {**environment, "threads": 1}
    old = [ran(Part.PAIRS), ran(Part.LEARNING)]
    new = [ran(Part.PAIRS, "full", environment=moved)]
    assert newest_parts([*old, *new]) == [*new, old[1]]


def test_all_parts_are_of_the_data_that_ran_last(ran):
    old = [ran(Part.PAIRS), ran(Part.LEARNING)]
    new = [ran(Part.PAIRS, data="another")]
    assert newest_parts([*old, *new]) == new


def test_what_was_asked_for_now_counts_as_last_although_it_was_there(ran):
    first, second = ran(Part.PAIRS, epochs=1), ran(Part.PAIRS, epochs=2)
    assert newest_parts([first, second]) == [second]
    assert newest_parts([first, second], now={first.id}) == [first]


def test_a_trial_at_another_learning_rate_takes_its_place(ran):
    first, second = (ran(Part.PAIRS, learning_rate=rate) for rate in (0.1, 0.2))
    assert newest_parts([first, second]) == [second]

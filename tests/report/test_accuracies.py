import pytest

from peftcore.report import accuracies, analysis, recommend
from peftcore.report.summary import summarise
from tests.report.test_tables import cells


@pytest.fixture
def seeds(record):
    """Three methods and a reference row with three seeds each."""
    levels = {"full": 0.914, "lora": 0.9115, "ia3": 0.85, "bow": 0.87}
    return summarise(
        [
            record(method, seed=s, accuracy=level + shift)
            for method, level in levels.items()
            for s, shift in ((1, 0.004), (2, -0.002), (3, -0.001))
        ]
    )


def test_both_questions_are_answered_by_name(seeds):
    row = cells(accuracies.accuracies(seeds), "LoRA")
    assert list(row) == [
        "Method",
        "Seeds",
        "Accuracy (%)",
        "On texts like these",
        "On this test set",
        "SD over seeds (points)",
        "Letters",
    ]
    assert row["SD over seeds (points)"] == "0.32"
    found = seeds.inference.accuracies["lora"]
    for heading, interval in (
        ("On texts like these", found.interval),
        ("On this test set", found.test_set_interval),
    ):
        assert row[heading] == f"[{interval[0]:.2f}, {interval[1]:.2f}]"


def test_letters(seeds):
    text = accuracies.accuracies(seeds)
    found = [cells(text, m)["Letters"] for m in ("Full", "LoRA", "*Bag of words*", "IA3")]
    # Two points between the bag of words and IA3, and the interval of their difference holds 0
    # only after correction.
    assert found == ["a", "a", "b", "b"]


def test_differences_are_from_the_best_candidate(seeds):
    text = accuracies.differences_from_best(seeds)
    row = cells(text, "LoRA")
    assert row["Less Full (points)"] == "−0.25"
    assert row["Told apart?"].startswith("no, p ")
    assert row["Within ±0.5 points?"].startswith(("not shown, p = ", "yes, p "))
    far = cells(text, "IA3")
    assert (far["Told apart?"], far["Within ±0.5 points?"]) == ("yes, p = 0.001", "no")
    assert "| Full" not in text


def test_what_one_seed_tells_is_not_said_to_be_about_others(record):
    """Its interval is Wilson's and its tests are McNemar's, in a table that speaks of seeds."""
    full = [record("full", seed=s, accuracy=0.91 + s / 1000) for s in (1, 2, 3)]
    summary = summarise([*full, record("lora", seed=1), record("ia3", seed=1)])
    alone = "Of LoRA and IA3 one seed finished, and one seed says nothing about other seeds"
    assert alone in accuracies.notes(summary)
    assert alone in analysis.what_tests_mean(summary)
    assert alone not in accuracies.notes(summarise(full))


def test_seeds_that_failed_tell_nothing_of_other_seeds(record):
    failed = [record("full", seed=s, outcome="oom", error="x") for s in (2, 3)]
    summary = summarise([record("full", seed=1), *failed, record("lora", seed=1)])
    assert "these models alone" in accuracies.accuracies(summary)
    assert accuracies.notes(summary).startswith("There is one seed, and")
    assert "one trained model" in summary.error_note
    assert "McNemar" in analysis.what_tests_mean(summary)
    assert "more seeds" in recommend.what_would_settle(summary)


def test_one_seed_of_each_and_none_in_common_is_not_called_one_seed(record):
    summary = summarise([record("full", seed=1), record("lora", seed=2)])
    notes = accuracies.notes(summary)
    assert notes.startswith("Each method has one seed, not all of them the same, and one seed says")
    # No two of them were held against each other.
    assert "McNemar" not in notes
    assert analysis.what_tests_mean(summary) is None


def test_one_seed_has_no_column_of_what_it_can_not_tell(study):
    summary = summarise(study)
    assert list(cells(accuracies.accuracies(summary), "Full")) == [
        "Method",
        "Seeds",
        "Accuracy (%)",
        "On texts like these (these models alone)",
        "Letters",
    ]
    assert "Within ±0.5 points?" not in accuracies.differences_from_best(summary)
    notes = accuracies.notes(summary)
    assert "one seed says nothing about other seeds" in notes
    assert "McNemar's exact test" in notes


def test_several_seeds_speak_of_no_mcnemar(seeds):
    notes = accuracies.notes(seeds)
    assert "McNemar" not in notes
    assert "“on this test set” what other seeds would give" in notes


def test_nothing_to_compare(record):
    alone = summarise([record("lora")])
    assert accuracies.differences_from_best(alone) is None
    random = summarise([record(m, weights="random") for m in ("full", "lora")])
    assert accuracies.accuracies(random) is None
    assert accuracies.differences_from_best(random) is None
    assert accuracies.notes(random) is None


def test_methods_that_share_no_seed_have_no_difference(record):
    summary = summarise([record("full", seed=1), record("lora", seed=2)])
    row = cells(accuracies.differences_from_best(summary), "LoRA")
    assert row["Seeds in common"] == "none"

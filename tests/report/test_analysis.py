import pytest

from peftcore.report import analysis
from peftcore.report.summary import summarise


def test_each_method_against_full(study):
    paragraphs = analysis.against_full(summarise(study))
    assert [p.split(".")[0] for p in paragraphs] == ["**LoRA", "**QLoRA", "**IA3"]
    lora = paragraphs[0]
    assert "Accuracy ends at 91.15%, 0.25 points below Full (91.40%)." in lora
    assert "The two can't be told apart on this test set (exact McNemar p = 0." in lora
    assert "It trains 0.94% of its parameters (1,181,954), 50% of them in the head." in lora
    assert "Against Full it took 25% less time and 44% less GPU memory." in lora


def test_what_is_told_apart_says_nothing_about_other_seeds(study):
    ia3 = analysis.against_full(summarise(study))[2]
    assert "The test set tells them apart (exact McNemar p < 0.001" in ia3
    assert "it says nothing about other seeds" in ia3
    assert "8% more GPU memory" in ia3


def test_a_tie_is_level(record):
    summary = summarise([record("full", accuracy=0.9), record("lora", accuracy=0.9)])
    (text,) = analysis.against_full(summary)
    assert "Accuracy ends at 90.00%, level with Full." in text


def test_missing_numbers_leave_their_sentences_out(record):
    summary = summarise(
        [
            record("full"),
            record(
                "lora",
                accuracy=None,
                train_seconds=None,
                peak_bytes=None,
                trainable_parameters=None,
            ),
        ]
    )
    assert analysis.against_full(summary) == [
        "Nothing but Full has a result here, so there is nothing to compare."
    ]


def test_without_full_nothing_is_measured_against_it(record):
    summary = summarise([record("lora"), record("full", outcome="oom", error="x")])
    (text,) = analysis.against_full(summary)
    assert text.startswith("Full fine-tuning has no result")


def test_without_predictions_chance_is_not_excluded(record):
    summary = summarise([record("full"), record("lora", keep_predictions=False)])
    assert "can't be tested: predictions were not kept" in analysis.against_full(summary)[0]


@pytest.mark.parametrize(
    ("accuracies", "expected"),
    [
        ((0.91, 0.89), "the sign changes with the seed, so neither is ahead"),
        ((0.895, 0.894), "but not with every seed does the test set tell them apart"),
        ((0.80, 0.81), "and with every seed the test set tells them apart"),
    ],
)
def test_over_seeds(record, accuracies, expected):
    records = [record("full", seed=seed, accuracy=0.90) for seed in (1, 2)]
    records += [record("lora", seed=n, accuracy=a) for n, a in enumerate(accuracies, 1)]
    (text,) = analysis.against_full(summarise(records))
    assert "Over 2 seeds accuracy differs from Full by" in text
    assert expected in text


def test_against_references_groups_by_what_the_test_set_tells(study):
    bow, head = analysis.against_references(summarise(study))
    assert bow == (
        "**Bag of words** reaches 87.00%. In points of accuracy, beating it: "
        "Full (+4.40), LoRA (+4.15) and QLoRA (+3.45); beaten by it: IA3 (−2.05)."
    )
    assert head.startswith("**Head only** reaches 81.20%.")


def test_extremes_and_their_ties(record, study):
    assert analysis.extremes(summarise(study)) == [
        "Full is most accurate (91.40%).",
        "LoRA is fastest to train (459.0 s).",
        "QLoRA is leanest in memory (1.356 GB).",
        "IA3 is smallest to keep (2.63 MB).",
    ]
    tied = summarise([record(m, accuracy=0.9) for m in ("full", "lora", "ia3")])
    assert analysis.extremes(tied)[0] == "Full, LoRA and IA3 are equally most accurate (90.00%)."
    assert analysis.extremes(summarise([record("lora")])) == []


def test_random_weights_say_nothing_of_accuracy(record):
    summary = summarise([record(m, weights="random") for m in ("full", "lora", "bow")])
    text = " ".join(
        [
            *analysis.against_full(summary),
            *analysis.against_references(summary),
            *analysis.extremes(summary),
        ]
    )
    assert "%," not in text
    assert "ccura" not in text
    assert "McNemar" not in text
    assert "25% less time" in text


@pytest.mark.parametrize(
    ("ratio", "text"),
    [
        (0.747, "25% less time"),
        (1.09, "9% more time"),
        (1.003, "the same time to within a percent"),
        (2.44, "2.4 times the time"),
        (1.996, "100% more time"),
    ],
)
def test_more_or_less(ratio, text):
    assert analysis.more_or_less(ratio, "time") == text


def test_names_from_elsewhere_are_escaped(record):
    summary = summarise([record("full"), record("x|<b>*y*")])
    (text,) = analysis.against_full(summary)
    assert r"x\|&lt;b&gt;\*y\*" in text
    assert "<b>" not in text

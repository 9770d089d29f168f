import pytest

from peftcore.report import analysis, recommend
from peftcore.report.summary import summarise


def test_each_method_against_full(study):
    paragraphs = analysis.against_full(summarise(study))
    assert [p.split(".")[0] for p in paragraphs] == ["**LoRA", "**QLoRA", "**IA3"]
    lora = paragraphs[0]
    assert "Its accuracy is 91.15% [89.83, 92.32]." in lora
    assert "LoRA and Full can't be told apart: −0.25 points [−1.36, +0.86], 1 seed." in lora
    assert "alone: exact McNemar p = 0.72, corrected); one seed says nothing about other" in lora
    assert "It trains 0.94% of its parameters (1,181,954), 50% of them in the head." in lora
    assert "Against Full it took 25% less time and 44% less GPU memory." in lora


def test_what_is_told_apart_says_nothing_about_other_seeds(study):
    ia3 = analysis.against_full(summarise(study))[2]
    assert "IA3 is below Full: −6.45 points [" in ia3
    assert "That is about these two trained models (36 examples are right in IA3 alone" in ia3
    assert "one seed says nothing about other seeds" in ia3
    assert "8% more GPU memory" in ia3


def test_a_tie_is_level(record):
    summary = summarise([record("full", accuracy=0.9), record("lora", accuracy=0.9)])
    (text,) = analysis.against_full(summary)
    assert "LoRA and Full can't be told apart: 0.00 points [" in text


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
    assert (
        "can't be tested, as predictions were not kept: −0.25 points, 1 seed"
        in analysis.against_full(summary)[0]
    )


@pytest.mark.parametrize(
    ("accuracies", "expected"),
    [
        ((0.91, 0.89, 0.90), "LoRA and Full can't be told apart: 0.00 points ["),
        ((0.80, 0.81, 0.805), "LoRA is below Full: −9.50 points ["),
        ((0.97, 0.975, 0.97), "LoRA is above Full: +7.17 points ["),
    ],
)
def test_over_seeds(record, accuracies, expected):
    records = [record("full", seed=seed, accuracy=0.90) for seed in (1, 2, 3)]
    records += [record("lora", seed=n, accuracy=a) for n, a in enumerate(accuracies, 1)]
    (text,) = analysis.against_full(summarise(records))
    assert expected in text
    assert "], 3 seeds" in text
    assert "On this test set other seeds would give [" in text
    # A gap of many points can't be an equivalence that is only not shown.
    assert ("within ±0.5 points is not shown" in text) == ("told apart" in expected)
    assert "McNemar" not in text


def test_equivalence_is_said_where_it_is_shown(record):
    labels = (1,) * 4000
    records = [
        record(
            method,
            seed=seed,
            labels=labels,
            predictions=tuple(int(n >= 300 and n != 300 + seed + shift) for n in range(4000)),
        )
        for method, shift in (("full", 0), ("lora", 10))
        for seed in (1, 2, 3)
    ]
    (text,) = analysis.against_full(summarise(records))
    assert "3 seeds; they are equivalent within ±0.5 points." in text


def test_against_references_groups_by_what_can_be_told(study):
    bow, head = analysis.against_references(summarise(study))
    assert bow == (
        "**Bag of words** reaches 87.00%. In points of accuracy, beating it: "
        "Full (+4.40 [+3.11, +5.68]), LoRA (+4.15 [+2.86, +5.43]) and "
        "QLoRA (+3.45 [+2.19, +4.70]); beaten by it: IA3 (−2.05 [−3.44, −0.65])."
    )
    assert head.startswith("**Head only** reaches 81.20%.")


def test_extremes_and_their_ties(record, study):
    assert analysis.extremes(summarise(study)) == [
        "Full has the highest accuracy (91.40%), and can't be told apart from LoRA and QLoRA.",
        "LoRA is fastest to train (459.0 s).",
        "QLoRA is leanest in memory (1.356 GB).",
        "IA3 is smallest to keep (2.63 MB).",
    ]
    tied = summarise([record(m, accuracy=0.9) for m in ("full", "lora", "ia3")])
    assert analysis.extremes(tied)[0] == (
        "Full has the highest accuracy (90.00%), and can't be told apart from LoRA and IA3."
    )
    apart = summarise([record("full", accuracy=0.95), record("lora", accuracy=0.80)])
    assert analysis.extremes(apart)[0] == (
        "Full has the highest accuracy (95.00%), and every other method is told apart from it."
    )
    unknown = summarise([record("full"), record("lora", keep_predictions=False)])
    assert analysis.extremes(unknown)[0] == (
        "Full has the highest accuracy (91.40%); LoRA could not be tested against it."
    )
    assert analysis.extremes(summarise([record("lora")])) == []


def test_times_beside_other_trials_are_marked_wherever_they_are_told(record):
    summary = summarise([record("full", shared=True), record("lora"), record("ia3")])
    assert analysis.extremes(summary)[1:] == [
        "LoRA is fastest to train (459.0 s), as far as times with ◊ can tell.",
        "LoRA is leanest in memory (1.482 GB).",
        "IA3 is smallest to keep (2.63 MB).",
    ]
    assert analysis.step_times(summary) == [
        "The median training step takes from 404.0 ms (LoRA) to 540.0 ms ◊ (Full)."
    ]
    lora, _ = analysis.against_full(summary)
    assert lora.endswith("Against Full it took 25% less time ◊ and 44% less GPU memory.")
    told = "Times (◊) were taken while other trials ran on the machine, so which is really faster"
    assert told in recommend.answer(summary)
    assert "459.0 s is the least of those measured, as far as times with ◊ can tell" in (
        recommend.use_cases(summary)[3].why
    )
    assert "can't be told apart from the best, Full's, as far as times with ◊ can tell" in (
        recommend.use_cases(summary)[0].why
    )
    alone = summarise([record("full"), record("lora"), record("ia3")])
    assert "◊" not in recommend.answer(alone) + recommend.use_cases_table(alone)


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

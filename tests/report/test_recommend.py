import pytest

from peftcore.methods import METHODS
from peftcore.report import analysis, recommend
from peftcore.report.summary import summarise


def picks(records) -> dict[str, str]:
    return {case.need: case.methods for case in recommend.use_cases(summarise(records))}


BALANCE = "The best balance: the default"
ACCURATE = "The highest accuracy, at any cost"
FILES = "Many tasks on one backbone: small files to keep and swap"


def test_the_study(study):
    assert picks(study) == {
        BALANCE: "LoRA",
        ACCURATE: "Full",
        "The smallest GPU memory": "QLoRA",
        "The shortest training": "LoRA",
        FILES: "QLoRA",
        "The lowest latency in use": "—",
    }


def test_a_method_under_the_bag_of_words_is_never_recommended(study):
    # IA3 has the smallest file of all.
    assert "IA3" not in " ".join(picks(study).values())
    assert recommend.excluded(summarise(study)) == [
        "Left out, because the mean accuracy is under that of the bag of words: IA3."
    ]


@pytest.mark.parametrize(("accuracy", "default"), [(0.60, "—"), (0.6005, "LoRA")])
def test_a_method_that_learned_nothing_is_never_recommended(record, accuracy, default):
    records = [record("lora", accuracy=accuracy, majority_share=0.6)]
    assert picks(records)[BALANCE] == default
    told = "most frequent label is as accurate: LoRA." in " ".join(
        recommend.excluded(summarise(records))
    )
    assert told is (default == "—")


def test_a_failed_method_is_never_recommended(record, study):
    records = [record("full"), record("lora", outcome="oom", error="x"), *study[2:]]
    assert "LoRA" not in " ".join(picks(records).values()).replace("QLoRA", "")
    assert "no trial finished: LoRA." in " ".join(recommend.excluded(summarise(records)))


def test_references_are_never_recommended(record):
    records = [record("full", accuracy=0.9), record("head", accuracy=0.9), record("bow")]
    assert set(picks(records).values()) == {"Full", "—"}


def test_the_default_is_the_most_accurate_where_all_are_told_apart(record):
    records = [record("full", accuracy=0.95), record("lora", accuracy=0.80)]
    assert picks(records)[BALANCE] == "Full"
    assert "every other method is told apart from it" in recommend.answer(summarise(records))


def test_the_default_is_the_cheapest_of_those_not_told_apart(record):
    dear = record("lora", accuracy=0.912, train_seconds=900.0)
    cheap = record("qlora", accuracy=0.911, train_seconds=100.0)
    assert picks([record("full"), dear, cheap])[BALANCE] == "QLoRA"


def test_many_methods_do_not_make_a_worse_one_the_default(record):
    """Corrected for all pairs, nothing here can be told apart; the cheapest is 1.6 points worse."""
    slugs = [method.slug for method in METHODS if not method.reference][1:]
    others = [record(slug, accuracy=0.884, train_seconds=90.0) for slug in slugs]
    summary = summarise([record("full", accuracy=0.9), *others])
    found = recommend.default(summary)
    assert found.method.slug == "full"
    assert (len(found.equals), len(found.behind)) == (0, len(slugs))
    text = recommend.answer(summary)
    assert "the most accurate, and the interval of every other method is below it" in text
    assert recommend.use_cases(summary)[1].why.startswith("90.00% is the highest; not told apart")


def test_untested_methods_do_not_count_as_level(record):
    records = [record("full"), record("lora", keep_predictions=False)]
    assert picks(records)[BALANCE] == "Full"
    assert "can't be tested" in recommend.answer(summarise(records))


def test_random_weights_recommend_nothing_on_accuracy(record):
    records = [record(m, weights="random") for m in ("full", "lora", "qlora", "ia3", "bow")]
    found = picks(records)
    assert (found[BALANCE], found[ACCURATE]) == ("—", "—")
    assert found["The shortest training"] == "LoRA"
    text = recommend.conclusion(summarise(records))
    assert "the weights are random, so accuracy is unknown" in text
    assert "Use" not in text
    assert "accuracy" not in recommend.use_cases(summarise(records))[2].why


def test_ties_are_all_named(record):
    records = [record("full", accuracy=0.9), record("lora", accuracy=0.9)]
    assert picks(records)[ACCURATE] == "Full and LoRA"


def test_without_adapters_there_is_nothing_to_swap(record):
    assert picks([record("full")])[FILES] == "—"


def test_what_was_measured_of_methods_that_do_not_qualify_is_not_called_unmeasured(record):
    summary = summarise([record("lora", accuracy=0.6), record("bow", accuracy=0.8)])
    whys = [case.why for case in recommend.use_cases(summary)]
    assert whys[2:5] == ["nothing qualifies"] * 3


def test_what_was_measured_of_one_alone_is_not_said_to_be_all_that_qualifies(record):
    known, unknown = record("lora"), [record(m, train_seconds=None) for m in ("full", "ia3")]
    why = recommend.use_cases(summarise([known, *unknown]))[3].why
    assert why.startswith("459.0 s; of no other that qualifies the train time was measured, at")
    why = recommend.use_cases(summarise([known]))[3].why
    assert why.startswith("459.0 s; nothing else qualifies, at")


def test_what_is_under_the_bag_of_words_by_chance_is_told_from_what_is_beaten(record):
    accuracies = {"full": 0.868, "lora": 0.866, "ia3": 0.70, "bow": 0.870}
    summary = summarise([record(slug, accuracy=a) for slug, a in accuracies.items()])
    text = recommend.answer(summary)
    assert text.startswith(
        "There is no default to recommend: no method has a mean accuracy above the bag of words' "
        "and the most frequent label's. Not told apart from the bag of words: Full and LoRA."
    )
    assert recommend.excluded(summary) == [
        "Left out, because the mean accuracy is under that of the bag of words: Full, LoRA and "
        "IA3.",
        "Not told apart from the bag of words: Full and LoRA.",
    ]
    kept = {"keep_predictions": False}
    unkept = summarise([record(slug, accuracy=a, **kept) for slug, a in accuracies.items()])
    assert recommend.excluded(unkept)[1] == (
        "Not tested against the bag of words: Full, LoRA and IA3."
    )
    # Where there is no bag of words, it is not to blame.
    idle = summarise([record("lora", accuracy=0.5)])
    assert "no method has a mean accuracy above the most frequent label's." in (
        recommend.answer(idle)
    )


def test_one_method_is_no_choice(record):
    summary = summarise([record("lora")])
    assert "the only method with an accuracy that qualifies" in recommend.answer(summary)
    assert recommend.what_would_settle(summary) is None


@pytest.mark.parametrize(
    ("records", "why"),
    [
        ([("lora", {"outcome": "nan", "error": "x"})], "no method finished"),
        (
            [("lora", {"accuracy": 0.6}), ("bow", {"accuracy": 0.8})],
            "no method has a mean accuracy above the bag of words' and the most frequent label's",
        ),
        ([("lora", {"accuracy": None})], "no accuracy was measured"),
    ],
)
def test_without_a_default_the_answer_says_why(record, records, why):
    summary = summarise([record(method, **options) for method, options in records])
    assert recommend.answer(summary).startswith(f"There is no default to recommend: {why}.")
    assert recommend.what_would_settle(summary) is None


def test_the_answer_states_the_cost_and_how_sure_it_is(study):
    text = recommend.answer(summarise(study))
    assert text.startswith("Use **LoRA** (91.15%)")
    assert "25% less time and 44% less GPU memory" in text
    assert "This rests on one seed and 2,000 test examples" in text
    assert "LoRA and Full can't be told apart: −0.25 points [−1.36, +0.86], 1 seed." in text
    assert "The interval is of these two trained models: one seed says nothing about" in text


def test_the_most_accurate_is_held_against_full_or_else_the_next_best(record):
    records = [record(m, accuracy=a) for m, a in (("full", 0.95), ("lora", 0.80), ("ia3", 0.85))]
    assert "Full is above IA3: +10.00 points [" in recommend.answer(summarise(records))
    records = [record(m, accuracy=a) for m, a in (("full", 0.80), ("lora", 0.95), ("ia3", 0.85))]
    assert "LoRA is above Full: +15.00 points [" in recommend.answer(summarise(records))


def test_over_seeds_the_answer_rests_on_all_of_them(record):
    records = [
        record(m, seed=s, accuracy=a + s / 1000)
        for m, a in (("full", 0.905), ("lora", 0.902))
        for s in (1, 2, 3)
    ]
    text = recommend.answer(summarise(records))
    assert "This rests on 3 seeds and 2,000 test examples." in text
    assert "LoRA and Full can't be told apart: −0.30 points [" in text
    assert "one seed" not in text


def test_a_caveat_turns_the_recommendation_into_a_demonstration(record):
    summary = summarise([record(m, scenario="embedded") for m in ("full", "lora")])
    assert recommend.answer(summary).startswith("On this corpus the rules pick **LoRA**")
    assert "Use" not in recommend.conclusion(summary)


def test_what_would_settle_it_counts_examples(record):
    # 85 of 2,000 examples are discordant, 5 net: 1.96² × 85 / 5² = 13.06 times as many.
    labels = (1,) * 2000
    full = (1,) * 1745 + (1,) * 45 + (0,) * 40 + (0,) * 170
    lora = (1,) * 1745 + (0,) * 45 + (1,) * 40 + (0,) * 170
    summary = summarise(
        [
            record("full", predictions=full, labels=labels),
            record("lora", predictions=lora, labels=labels),
        ]
    )
    text = recommend.what_would_settle(summary)
    assert "more seeds (`--peft-seeds 5`)" in text
    assert "about 26,000 test examples" in text


def test_with_five_seeds_no_more_are_asked_for(record):
    records = [record(m, seed=s) for m in ("full", "lora") for s in range(5)]
    assert recommend.what_would_settle(summarise(records)) is None


def test_the_highest_accuracy_is_that_of_the_most_accurate(record):
    """IA3 finished its one seed with 95%, where LoRA had 96%: by the means it would lead."""
    lora = [record("lora", seed=s, accuracy=a) for s, a in ((42, 0.96), (43, 0.90), (44, 0.90))]
    full = [record("full", seed=s, accuracy=0.80) for s in (42, 43, 44)]
    summary = summarise([*full, *lora, record("ia3", seed=42, accuracy=0.95)])
    assert "**LoRA**" in recommend.answer(summary)
    case = next(case for case in recommend.use_cases(summary) if case.need == ACCURATE)
    assert case.methods == "LoRA"
    assert case.why.startswith("92.00%, the most accurate with the seeds in common")
    assert "LoRA is the most accurate with the seeds in common (92.00%)" in " ".join(
        analysis.extremes(summary)
    )


def test_a_method_that_does_not_qualify_is_not_said_to_be_told_apart(record):
    """By its mean it is under the bag of words; by a seed that collapsed, nothing is told of it."""
    records = [
        record(method, seed=s, accuracy=accuracy + s / 1000)
        for method, accuracy in (("full", 0.92), ("lora", 0.88), ("bow", 0.80))
        for s in (1, 2, 3)
    ]
    qlora = [record("qlora", seed=s, accuracy=a) for s, a in ((1, 0.92), (2, 0.92), (3, 0.5))]
    text = recommend.answer(summarise([*records, *qlora]))
    assert "and every other method that qualifies is told apart from it" in text
    assert "and every other method is told apart from it" in recommend.answer(summarise(records))


def test_a_method_that_finished_the_easier_seeds_alone_does_not_lead(record):
    """Full has the higher mean of its own seeds, and the lower accuracy on each that both ran."""
    records = [
        record("full", seed=42, accuracy=0.85),
        record("lora", seed=42, accuracy=0.92),
        record("lora", seed=43, accuracy=0.70),
    ]
    choice = recommend.default(summarise(records))
    assert choice is not None
    assert (choice.method.slug, choice.best.slug) == ("lora", "lora")

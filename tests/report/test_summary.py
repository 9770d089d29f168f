import pytest
from scipy.stats import binomtest

from peftcore.errors import UsageError
from peftcore.report.metrics import ACCURACY, GPU_MEMORY, HOST_MEMORY, TRAIN_TIME
from peftcore.report.summary import reason, summarise
from peftcore.scenarios import find_scenario


def test_methods_come_in_the_order_of_their_declarations_references_last(record):
    slugs = ["head", "zeta", "ia3", "bow", "alpha", "full"]
    summary = summarise([record(slug) for slug in slugs])
    assert [m.slug for m in summary.methods] == ["full", "ia3", "alpha", "zeta", "bow", "head"]
    assert [m.slug for m in summary.references] == ["bow", "head"]


def test_an_unknown_method_is_called_by_its_slug(record):
    (method,) = summarise([record("zeta")]).methods
    assert (method.name, method.reference) == ("zeta", False)


def test_an_unknown_scenario_is_called_by_its_name(record):
    summary = summarise([record("lora", scenario="elsewhere")])
    assert (summary.title, summary.caveat, summary.rates_origin) == ("elsewhere", None, None)


def test_what_a_scenario_says_of_its_data_does_not_hold_for_others(record):
    own_data = summarise([record("lora", scenario="embedded", overrides=("data=mine",))])
    assert own_data.title == "roberta-base on imdb"
    assert own_data.caveat is None
    assert own_data.rates_origin == "those of scenario embedded, not chosen for this one"
    own_model = summarise([record("lora", scenario="embedded", overrides=("model=mine",))])
    assert own_model.title == "roberta-base on imdb"
    assert own_model.caveat == find_scenario("embedded").caveat
    shorter = summarise([record("lora", scenario="embedded", overrides=("epochs=1",))])
    assert shorter.title == find_scenario("embedded").title


def test_records_come_by_method_and_then_by_seed(record):
    summary = summarise([record(m, seed=s) for s in (2, 1) for m in ("lora", "full")])
    assert [(r.method, r.seed) for r in summary.records] == [
        ("full", 1),
        ("full", 2),
        ("lora", 1),
        ("lora", 2),
    ]


def test_one_seed_states_the_interval_of_one_trained_model(study):
    summary = summarise(study)
    estimate = summary.estimate(summary.find("full"), ACCURACY)
    expected = binomtest(1828, 2000).proportion_ci(0.95, method="wilson")
    assert estimate.ends == pytest.approx((100 * expected.low, 100 * expected.high))
    below, above = estimate.error
    assert (91.4 - below, 91.4 + above) == pytest.approx(estimate.ends)
    assert "one seed says nothing about other seeds" in summary.error_note


def test_one_seed_states_no_error_of_a_time(study):
    summary = summarise(study)
    estimate = summary.estimate(summary.find("full"), TRAIN_TIME)
    assert (estimate.ends, estimate.error) == (None, (0.0, 0.0))


def test_several_seeds_state_the_interval_on_texts_like_these(record):
    accuracies = (0.91, 0.92, 0.90)
    records = [
        record("lora", seed=n, accuracy=a, train_seconds=100.0 + n)
        for n, a in enumerate(accuracies)
    ]
    summary = summarise(records)
    lora = summary.find("lora")
    estimate = summary.estimate(lora, ACCURACY)
    assert (estimate.mean, estimate.count) == (pytest.approx(91.0), 3)
    here = summary.inference.accuracies["lora"].test_set.interval()
    # Student's t of three seeds: 4.3 standard errors of their mean.
    assert here == pytest.approx((91 - 4.303 / 3**0.5, 91 + 4.303 / 3**0.5), abs=0.001)
    reviews = summary.inference.accuracies["lora"].components.on_texts_like_these()
    assert estimate.ends == pytest.approx(reviews.interval())
    assert reviews.standard_error > 1 / 3**0.5
    assert "with other seeds and other test examples" in summary.error_note
    assert summary.estimate(lora, TRAIN_TIME).error == pytest.approx((1.0, 1.0))


def test_one_finished_seed_among_several_has_no_interval(record):
    records = [record("full", seed=1), record("full", seed=2), record("lora", seed=1)]
    summary = summarise(records)
    assert summary.estimate(summary.find("lora"), ACCURACY).ends is None
    assert summary.estimate(summary.find("full"), ACCURACY).ends is not None


def test_the_most_accurate_leads_on_the_seeds_that_two_finished(record):
    records = [
        record("full", seed=42, accuracy=0.85),
        record("lora", seed=42, accuracy=0.92),
        record("lora", seed=43, accuracy=0.70),
    ]
    summary = summarise(records)
    assert summary.most_accurate(summary.candidates).slug == "lora"
    assert summary.most_accurate([]) is None


def test_a_method_with_one_seed_does_not_decide_between_others(record):
    accuracies = {"full": (0.85, 0.92, 0.92), "lora": (0.86, 0.80, 0.80), "ia3": (0.70,)}
    records = [
        record(method, seed=seed, accuracy=accuracy)
        for method, known in accuracies.items()
        for seed, accuracy in enumerate(known, start=42)
    ]
    summary = summarise(records)
    assert summary.most_accurate(summary.candidates).slug == "full"


def test_a_method_with_no_finished_trial_has_a_reason_and_nothing_else(record):
    summary = summarise([record("lora", outcome="oom", error="CUDA out of memory")])
    (method,) = summary.methods
    assert method.failure == "failed: out of memory"
    assert method.mean(ACCURACY) is None
    assert summary.find("lora") is None


def test_a_method_with_one_finished_trial_has_not_failed(record):
    records = [record("lora", seed=1), record("lora", seed=2, outcome="nan", error="x")]
    (method,) = summarise(records).methods
    assert method.failure is None
    assert (len(method.finished), len(method.unfinished)) == (1, 1)


@pytest.mark.parametrize(
    ("outcome", "error", "expected"),
    [
        ("failed", "first line\nsecond line", "failed: first line"),
        ("failed", "x" * 100, "failed: " + "x" * 79 + "…"),
        ("failed", None, "failed"),
        ("skipped", "needs a GPU", "skipped: needs a GPU"),
        ("timeout", "took 60 s", "failed: timed out"),
    ],
)
def test_reason_is_one_short_line(record, outcome, error, expected):
    assert reason(record("lora", outcome=outcome, error=error)) == expected


def test_memory_is_the_gpus_where_the_methods_ran_on_one(record):
    assert summarise([record("lora"), record("bow")]).memory is GPU_MEMORY
    assert summarise([record("lora", gpu=False), record("bow")]).memory is HOST_MEMORY


def test_under_the_bag_of_words_means_strictly_less_accurate(record):
    summary = summarise([record("lora", accuracy=0.87), record("ia3", accuracy=0.8695),
                         record("bow", accuracy=0.87)])  # fmt: skip
    assert not summary.under_bag_of_words(summary.find("lora"))
    assert summary.under_bag_of_words(summary.find("ia3"))


def test_without_a_bag_of_words_nothing_is_under_it(record):
    summary = summarise([record("ia3", accuracy=0.5)])
    assert not summary.under_bag_of_words(summary.find("ia3"))


def test_no_records_are_no_report():
    with pytest.raises(UsageError, match="no records"):
        summarise([])


def test_two_scenarios_are_two_reports(record):
    with pytest.raises(UsageError, match=r"scenario is one of embedded, imdb-roberta"):
        summarise([record("lora"), record("full", scenario="embedded")])


def test_the_same_trial_twice_is_an_error(record):
    with pytest.raises(UsageError, match="lora has two records with seed 42"):
        summarise([record("lora"), record("lora")])

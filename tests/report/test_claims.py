import pytest

from peftcore.report.claims import CLAIMS, claims_table
from peftcore.report.judging import Finding, Verdict
from peftcore.report.summary import summarise

CONFIRMED, REFUTED, OPEN = Verdict.CONFIRMED, Verdict.NOT_CONFIRMED, Verdict.OPEN
EXAMPLES = 2000


def judged(key: str, records) -> Finding:
    (claim,) = [claim for claim in CLAIMS if claim.key == key]
    return claim.judge(summarise(records))


def differing(record, only_first: int, only_second: int, first="full", second="lora", **options):
    """Two methods' records on 2,000 examples, so many of which only one of them gets right."""
    both = EXAMPLES - 100 - only_first - only_second
    labels = (1,) * EXAMPLES
    parts = ((1, 1, both), (1, 0, only_first), (0, 1, only_second), (0, 0, 100))
    return [
        record(
            method,
            labels=labels,
            predictions=tuple(part[side] for part in parts for _ in range(part[2])),
            **options,
        )
        for side, method in enumerate((first, second))
    ]


def test_the_study_itself(study):
    verdicts = {claim.key: claim.judge(summarise(study)).verdict for claim in CLAIMS}
    assert verdicts == {
        "lora-accuracy": OPEN,
        "full-beats-lora": OPEN,
        "lora-parameters": CONFIRMED,
        "lora-time": CONFIRMED,
        "lora-memory": CONFIRMED,
        "qlora-memory": CONFIRMED,
        "qlora-steps": CONFIRMED,
        "ia3-accuracy": CONFIRMED,
        "adapter-files": CONFIRMED,
        "ia3-inference": OPEN,
        "carbon": OPEN,
        "model-size": OPEN,
    }


@pytest.mark.parametrize(
    ("only_full", "only_lora", "verdict"),
    [
        (0, 40, CONFIRMED),  # LoRA is ahead by 2 points.
        (80, 20, REFUTED),  # LoRA is behind by 3 points.
        (45, 40, OPEN),  # The study's 0.25 points.
        (2, 2, CONFIRMED),  # Hardly an example differs: the interval is narrower than the limit.
    ],
)
def test_lora_reproduces_full(record, only_full, only_lora, verdict):
    finding = judged("lora-accuracy", differing(record, only_full, only_lora))
    assert finding.verdict is verdict


def test_the_measured_figure_of_the_study(study):
    assert judged("lora-accuracy", study).measured == "99.73% of Full's accuracy"
    assert judged("full-beats-lora", study).measured == "+0.25 points"
    assert judged("lora-time", study).measured == "25% less"
    assert judged("lora-memory", study).measured == "44% less"
    assert judged("lora-parameters", study).measured == "0.94%"


@pytest.mark.parametrize(
    ("only_full", "only_lora", "verdict"),
    [(12, 2, CONFIRMED), (2, 12, REFUTED), (11, 4, OPEN), (0, 5, OPEN), (0, 6, REFUTED)],
)
def test_full_beats_lora_as_mcnemar_says(record, only_full, only_lora, verdict):
    finding = judged("full-beats-lora", differing(record, only_full, only_lora))
    assert finding.verdict is verdict


def test_accuracy_is_decided_only_by_every_seed(record):
    sure = differing(record, 60, 10, seed=1)
    assert judged("full-beats-lora", [*sure, *differing(record, 60, 10, seed=2)]).verdict is (
        CONFIRMED
    )
    assert judged("full-beats-lora", [*sure, *differing(record, 9, 8, seed=2)]).verdict is OPEN
    assert judged("full-beats-lora", [*sure, *differing(record, 10, 60, seed=2)]).verdict is OPEN
    assert judged("lora-accuracy", [*sure, *differing(record, 10, 60, seed=2)]).verdict is OPEN


@pytest.mark.parametrize("key", ["lora-accuracy", "full-beats-lora"])
def test_without_predictions_accuracy_is_open(record, key):
    records = [record(m, accuracy=a, keep_predictions=False) for m, a in
               (("full", 0.95), ("lora", 0.70))]  # fmt: skip
    finding = judged(key, records)
    assert finding.verdict is OPEN
    assert "predictions were not kept" in finding.why


ON_ACCURACY = ["lora-accuracy", "full-beats-lora", "ia3-accuracy"]


@pytest.mark.parametrize("key", ON_ACCURACY)
def test_a_scenario_with_a_caveat_decides_nothing_on_accuracy(record, key):
    slugs = ("full", "lora", "qlora", "ia3")
    finding = judged(key, [record(m, scenario="embedded") for m in slugs])
    assert finding.verdict is OPEN
    assert finding.measured != "—"


@pytest.mark.parametrize("key", ON_ACCURACY)
def test_random_weights_decide_nothing_on_accuracy(record, key):
    finding = judged(key, [record(m, weights="random") for m in ("full", "lora", "qlora", "ia3")])
    assert (finding.verdict, finding.measured) == (OPEN, "—")


@pytest.mark.parametrize(
    ("trainable", "verdict"), [(999_999, CONFIRMED), (1_000_000, REFUTED), (1_000_001, REFUTED)]
)
def test_under_one_percent(record, trainable, verdict):
    lora = record("lora", trainable_parameters=trainable, total_parameters=100_000_000)
    assert judged("lora-parameters", [lora]).verdict is verdict


@pytest.mark.parametrize(
    ("seconds", "verdict"),
    [(75, CONFIRMED), (80, CONFIRMED), (80.1, OPEN), (85, OPEN), (85.1, REFUTED), (120, REFUTED)],
)
def test_lora_saves_time(record, seconds, verdict):
    records = [record("full", train_seconds=100.0), record("lora", train_seconds=float(seconds))]
    assert judged("lora-time", records).verdict is verdict


def test_time_is_decided_only_if_every_seed_agrees(record):
    records = [record("full", seed=s, train_seconds=100.0) for s in (1, 2)]
    records += [record("lora", seed=s, train_seconds=t) for s, t in ((1, 60.0), (2, 95.0))]
    finding = judged("lora-time", records)
    assert (finding.verdict, finding.measured) == (OPEN, "22% less over 2 seeds")


@pytest.mark.parametrize(("gigabytes", "verdict"), [(6.5, CONFIRMED), (6.51, REFUTED)])
def test_lora_saves_gpu_memory(record, gigabytes, verdict):
    records = [
        record("full", peak_bytes=10_000_000_000),
        record("lora", peak_bytes=int(gigabytes * 1e9)),
    ]
    assert judged("lora-memory", records).verdict is verdict


@pytest.mark.parametrize("key", ["lora-memory", "qlora-memory"])
def test_gpu_memory_is_open_on_a_cpu_and_shows_the_processs(record, key):
    finding = judged(key, [record(m, gpu=False) for m in ("full", "lora", "qlora", "ia3")])
    assert finding.verdict is OPEN
    assert "memory of the process" in finding.measured
    assert finding.why == "nothing ran on a GPU"


def test_qlora_is_leanest(record):
    others = [record(m) for m in ("full", "lora", "ia3")]
    assert judged("qlora-memory", [*others, record("qlora")]).verdict is CONFIRMED
    heavy = judged("qlora-memory", [*others, record("qlora", peak_bytes=1_500_000_000)])
    assert (heavy.verdict, heavy.why) == (REFUTED, "LoRA needs less")
    few = judged("qlora-memory", [others[0], record("qlora")])
    assert (few.verdict, few.why) == (OPEN, "not measured: LoRA and IA3")


@pytest.mark.parametrize(
    ("seconds", "verdict"),
    [(1.05, CONFIRMED), (1.04, OPEN), (1.0, OPEN), (0.99, REFUTED)],
)
def test_qlora_steps_are_slower(record, seconds, verdict):
    records = [record("lora", step_seconds=1.0), record("qlora", step_seconds=seconds)]
    assert judged("qlora-steps", records).verdict is verdict


def test_ia3_gap(record, study):
    level = [*study[:3], record("ia3", accuracy=0.903)]
    assert judged("ia3-accuracy", level).verdict is OPEN
    ahead = [*study[:3], record("ia3", accuracy=0.95)]
    finding = judged("ia3-accuracy", ahead)
    assert (finding.verdict, finding.why) == (
        REFUTED,
        "the test set tells IA3 apart above Full, LoRA and QLoRA",
    )


@pytest.mark.parametrize(
    ("size", "verdict"), [(9_999_999, CONFIRMED), (10_000_000, REFUTED), (50_000_000, REFUTED)]
)
def test_adapter_files(record, size, verdict):
    records = [record("lora"), record("qlora"), record("ia3", adapter_file_bytes=size)]
    assert judged("adapter-files", records).verdict is verdict


def test_a_missing_adapter_leaves_the_claim_open_unless_one_is_large(record):
    assert judged("adapter-files", [record("lora")]).verdict is OPEN
    large = record("lora", adapter_file_bytes=20_000_000)
    assert judged("adapter-files", [large]).verdict is REFUTED


@pytest.mark.parametrize("claim", CLAIMS, ids=lambda claim: claim.key)
def test_every_claim_is_open_when_everything_failed(record, claim):
    records = [record(m, outcome="failed", error="x") for m in ("full", "lora", "qlora", "ia3")]
    finding = claim.judge(summarise(records))
    assert (finding.verdict, finding.measured) == (OPEN, "—")


def test_the_table_has_a_row_for_each_claim(study):
    lines = claims_table(summarise(study)).splitlines()
    assert len(lines) == 2 + len(CLAIMS)
    assert "not measured: energy" in lines[-2]

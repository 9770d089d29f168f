import pytest

from peftcore.report.analysis import against_full
from peftcore.report.claims import CLAIMS, claims_table
from peftcore.report.judging import Finding, Verdict
from peftcore.report.summary import summarise
from peftcore.report.tables import differences_from_full

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
        "ia3-accuracy": OPEN,
        "adapter-files": CONFIRMED,
        "ia3-inference": OPEN,
        "carbon": OPEN,
        "model-size": OPEN,
    }


def over_seeds(record, *counts: tuple[int, int]):
    """Records of Full and LoRA with one seed for each pair of counts of discordant examples."""
    return [
        one
        for seed, (only_full, only_lora) in enumerate(counts)
        for one in differing(record, only_full, only_lora, seed=seed)
    ]


@pytest.mark.parametrize(
    ("counts", "verdict"),
    [
        (((5, 40), (4, 44), (6, 41)), CONFIRMED),  # LoRA is ahead by 1.8 points.
        (((80, 20), (78, 20), (83, 22)), REFUTED),  # LoRA is behind by 3 points.
        (((45, 40), (43, 40), (44, 38)), OPEN),  # The study's 0.25 points.
        (((2, 2), (1, 2), (2, 1)), CONFIRMED),  # Hardly an example differs.
        (((0, 40), (80, 20), (20, 20)), OPEN),  # The seeds don't agree.
    ],
)
def test_lora_reproduces_full(record, counts, verdict):
    finding = judged("lora-accuracy", over_seeds(record, *counts))
    assert finding.verdict is verdict
    assert "LoRA and Full" in finding.why or "LoRA is" in finding.why
    assert f", {len(counts)} seeds" in finding.why


def test_the_measured_figure_of_the_study(study):
    assert judged("lora-accuracy", study).measured == "99.73% of Full's accuracy"
    assert judged("full-beats-lora", study).measured == "+0.25 points"
    assert judged("lora-time", study).measured == "25% less"
    assert judged("lora-memory", study).measured == "44% less"
    assert judged("lora-parameters", study).measured == "0.94%"


@pytest.mark.parametrize(
    ("counts", "verdict"),
    [
        (((60, 20), (62, 18), (58, 21)), CONFIRMED),
        (((20, 60), (18, 62), (21, 58)), REFUTED),
        (((11, 4), (9, 8), (10, 7)), OPEN),
        (((60, 10), (10, 60), (30, 30)), OPEN),
    ],
)
def test_full_beats_lora_where_they_are_told_apart(record, counts, verdict):
    finding = judged("full-beats-lora", over_seeds(record, *counts))
    assert finding.verdict is verdict
    assert "points [" in finding.why


@pytest.mark.parametrize("key", ["lora-accuracy", "full-beats-lora"])
def test_one_seed_decides_nothing_about_methods(record, key):
    """McNemar's p is under 1e-9, of two trained models."""
    finding = judged(key, differing(record, 80, 10))
    assert finding.verdict is OPEN
    assert "one seed says nothing about other seeds" in finding.why
    assert "3.50 points [" in finding.why
    assert "1 seed" in finding.why


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


def test_how_much_less_is_told_by_the_means_as_in_the_tables(record):
    """One seed's steps were slow for both: a mean of ratios would say 125% slower."""
    steps = {"lora": (0.010, 0.030), "qlora": (0.040, 0.015)}
    records = [
        record(slug, seed=seed, step_seconds=seconds)
        for slug, both in steps.items()
        for seed, seconds in enumerate(both)
    ]
    records += [record("full", seed=seed, step_seconds=0.02) for seed in (0, 1)]
    finding = judged("qlora-steps", records)
    assert (finding.verdict, finding.measured) == (OPEN, "38% slower over 2 seeds")
    assert finding.why == "27.5 ms (QLoRA) against 20.0 ms (LoRA)"
    lora = [record("lora", seed=s, train_seconds=t) for s, t in ((1, 10.0), (2, 50.0))]
    full = [record("full", seed=s, train_seconds=t) for s, t in ((1, 100.0), (2, 100.0))]
    assert judged("lora-time", [*full, *lora]).measured == "70% less over 2 seeds"
    summary = summarise([*full, *lora])
    assert " −70% |" in differences_from_full(summary)
    assert "70% less time" in " ".join(against_full(summary))
    # Of other seeds the means are still those of the tables, and it is said.
    finding = judged("lora-time", [*full, lora[0]])
    assert finding.measured == "90% less by the means, 1 seed in common"


@pytest.mark.parametrize(("key", "slower"), [("lora-time", "full"), ("qlora-steps", "qlora")])
def test_times_beside_other_trials_decide_nothing(record, key, slower):
    def times(seconds: float, shared: bool) -> dict[str, object]:
        return {"train_seconds": seconds, "step_seconds": seconds, "shared": shared}

    def records(shared: bool):
        slugs = ("full", "lora", "qlora")
        return [
            record(slug, seed=seed, **times(100.0 if slug == slower else 50.0, shared and seed > 0))
            for slug in slugs
            for seed in (0, 1)
        ]

    assert judged(key, records(shared=False)).verdict is CONFIRMED
    finding = judged(key, records(shared=True))
    assert finding.verdict is OPEN
    assert " ◊ over 2 seeds" in finding.measured
    assert finding.why.count(" ◊ (") == 2
    assert "say little" in finding.why
    # Memory is a trial's own.
    assert judged("lora-memory", records(shared=True)).verdict is CONFIRMED


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


@pytest.mark.parametrize(
    ("accuracy", "verdict"), [(0.8495, CONFIRMED), (0.903, OPEN), (0.95, REFUTED)]
)
def test_ia3_gap(record, accuracy, verdict):
    of_ia3 = {"ia3": {"accuracy": accuracy}}
    records = [
        record(m, seed=s, **of_ia3.get(m, {}))
        for m in ("full", "lora", "qlora", "ia3")
        for s in (1, 2, 3)
    ]
    finding = judged("ia3-accuracy", records)
    assert finding.verdict is verdict
    single = judged("ia3-accuracy", [r for r in records if r.seed == 1])
    assert single.verdict is OPEN
    assert "one seed says nothing" in single.why


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

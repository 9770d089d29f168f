"""Each row of the verdict table, and each reason why something can't be compared."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from typing import Any

import pytest

from peftcore.errors import UsageError
from peftcore.gate.judging import judge
from peftcore.gate.metrics import GATED, GROUPS
from peftcore.gate.summary import to_markdown
from peftcore.gate.verdicts import ALL_METHODS, GateMode, Look, Verdict, Verdicts
from peftcore.report.metrics import ACCURACY, ANONYMOUS_MEMORY, OPERATIONS, TRAIN_TIME
from peftcore.results.records import Record
from peftcore.trials import Outcome
from tests.gate.runs import (
    METHODS,
    run,
    trial,
    with_environment,
    with_hardware,
    with_measured,
    with_trial,
    worse,
)

ALONE = (ACCURACY,)
"""For tests of one metric: fewer cells in the family, and nothing else to look at."""

BASELINE = run(range(42, 52), of="baseline")


def codes(verdicts: Verdicts) -> tuple[bool, bool, bool]:
    """Whether the gate fails under warn, fail and strict."""
    warn, fail, strict = (
        verdicts.fails(mode) for mode in (GateMode.WARN, GateMode.FAIL, GateMode.STRICT)
    )
    assert not verdicts.fails(GateMode.OFF)
    return warn, fail, strict


def changed(records: list[Record], method: str, change: Callable[[Record], Record]) -> list[Record]:
    return [change(record) if record.method == method else record for record in records]


# The rows of the table, in their order


def test_invalid() -> None:
    verdicts = judge(BASELINE, [r for r in run() if r.method != "lora"], methods=METHODS)
    assert verdicts.verdict is Verdict.INVALID
    assert verdicts.verdict_on("lora") is Verdict.INVALID
    assert verdicts.verdict_on("full") is not Verdict.INVALID
    assert codes(verdicts) == (False, True, True)


def test_floor() -> None:
    """LoRA's is 0.8865 in this scenario, as long as nothing is overridden."""
    now = run(of="now", overrides=())
    now = changed(now, "lora", lambda r: trial("lora", r.seed, accuracy=0.85, overrides=()))
    verdicts = judge(BASELINE, now, metrics=ALONE)
    cell = verdicts.cell("lora", "accuracy")
    assert cell.verdict is verdicts.verdict is Verdict.FLOOR
    assert "seed 42: accuracy 0.8500 is under the floor 0.8865" in cell.words
    # Far enough below to be called worse as well; the floor comes first.
    assert cell.tested is not None
    assert cell.tested.p_worse < cell.tested.significance
    assert codes(verdicts) == (False, True, True)


def test_a_scenario_of_ones_own_has_no_floor() -> None:
    now = [with_trial(r, scenario="my-own") for r in run(overrides=())]
    assert judge(now, now, metrics=ALONE).verdict is Verdict.IDENTICAL


def test_identical() -> None:
    verdicts = judge(BASELINE, run(of="baseline"), metrics=(ACCURACY, *GROUPS["counts"]))
    assert {cell.verdict for cell in verdicts.cells} == {Verdict.IDENTICAL}
    assert verdicts.verdict is Verdict.IDENTICAL
    assert codes(verdicts) == (False, False, False)


def test_identical_is_known_in_one_trial() -> None:
    verdicts = judge(BASELINE, run([45], of="baseline"), metrics=ALONE)
    assert verdicts.verdict is Verdict.IDENTICAL
    assert "on 1 seed" in verdicts.cell("full", "accuracy").words


@pytest.mark.parametrize("what", ["predictions", "losses", "weights", "bytes"])
def test_a_single_bit_is_no_identity(what: str) -> None:
    def flip(record: Record) -> Record:
        assert record.predictions is not None
        assert record.labels is not None
        assert record.measurement is not None
        if what == "predictions":
            # One more error, one less: the accuracy is what it was.
            right = record.predictions.index(1, 0), record.predictions.index(0, 0)
            flipped = [1 - p if n in right else p for n, p in enumerate(record.predictions)]
            return replace(record, predictions=tuple(flipped))
        losses = record.measurement.losses
        return {
            "losses": lambda: with_measured(record, losses=[*losses[:-1], [225, 0.1234]]),
            "weights": lambda: with_measured(record, weights_sha256="0" * 64),
            "bytes": lambda: with_measured(record, adapter_file_bytes=4_730_631),
        }[what]()

    now = changed(run(of="baseline"), "lora", flip)
    verdicts = judge(BASELINE, now, metrics=ALONE)
    assert verdicts.cell("lora", "accuracy").verdict is not Verdict.IDENTICAL
    assert verdicts.cell("full", "accuracy").verdict is Verdict.IDENTICAL


def test_other_seeds_are_never_identical() -> None:
    now = run([42, 99], of="baseline")
    assert judge(BASELINE, now, metrics=ALONE).verdict_on("full") is not Verdict.IDENTICAL


def test_regression() -> None:
    now = run(of="now")
    now = [
        *worse([r for r in now if r.method == "lora"], 4),
        *(r for r in now if r.method != "lora"),
    ]
    verdicts = judge(BASELINE, now)
    cell = verdicts.cell("lora", "accuracy")
    assert cell.verdict is verdicts.verdict is Verdict.REGRESSION
    assert verdicts.cell("full", "accuracy").verdict is not Verdict.REGRESSION
    assert cell.tested is not None
    assert -5 < cell.tested.change < -3
    assert cell.tested.interval[0] < cell.tested.change < cell.tested.interval[1] < 0
    assert codes(verdicts) == (False, True, True)


def test_a_regression_needs_no_size() -> None:
    """Steady methods: a loss under the margin is seen, and said with its size."""
    steady = {seed: 0.9 + 0.0025 * (seed % 2) for seed in range(42, 62)}
    before = [trial("full", s, accuracy=a, examples=4000) for s, a in steady.items()]
    now = [trial("full", s + 100, accuracy=a - 0.004, examples=4000) for s, a in steady.items()]
    (cell,) = judge(before, now, metrics=ALONE).cells
    assert cell.verdict is Verdict.REGRESSION
    assert cell.tested is not None
    assert abs(cell.tested.change) < cell.tested.margin == 0.5


def test_pass() -> None:
    steady = {seed: 0.9 + 0.0025 * (seed % 2) for seed in range(42, 52)}
    before = [trial("full", s, accuracy=a, examples=4000) for s, a in steady.items()]
    now = [trial("full", s + 100, accuracy=a, examples=4000) for s, a in steady.items()]
    verdicts = judge(before, now, metrics=ALONE)
    assert verdicts.verdict is Verdict.PASS
    assert codes(verdicts) == (False, False, False)


def test_inconclusive() -> None:
    verdicts = judge(BASELINE, worse(run([70, 71], of="now"), 0.4), metrics=ALONE)
    cell = verdicts.cell("lora", "accuracy")
    assert cell.verdict is verdicts.verdict is Verdict.INCONCLUSIVE
    assert cell.tested is not None
    assert cell.tested.bound >= cell.tested.margin
    assert "settle" in cell.words
    assert codes(verdicts) == (False, False, True)


def test_one_seed_against_one_says_nothing() -> None:
    cell = judge([trial("full", 42)], [trial("full", 43)], metrics=ALONE).cell("full", "accuracy")
    assert cell.verdict is Verdict.INCONCLUSIVE
    assert "one seed on each side" in cell.words
    assert not cell.open


def test_one_seed_against_many_can_be_tested() -> None:
    now = worse(run([42], of="now"), 20)
    assert judge(BASELINE, now, metrics=ALONE).verdict is Verdict.REGRESSION


# What INVALID is for


def hyper(record: Record, **changes: Any) -> Record:
    return with_trial(record, **{k: {**record.trial[k], **v} for k, v in changes.items()})


NOT_COMPARABLE: dict[str, tuple[Callable[[Record], Record], str]] = {
    "other data": (lambda r: hyper(r, data={"identity": "sha256:other"}), "data sha256:"),
    "other backbone": (lambda r: hyper(r, backbone={"identity": "sha256:x"}), "backbone sha256:"),
    "other sizes": (lambda r: hyper(r, task={"train_examples": 99}), "train_examples 3000 → 99"),
    "other length": (lambda r: hyper(r, task={"max_length": 64}), "max_length 256 → 64"),
    "other precision": (lambda r: hyper(r, recipe={"precision": "bf16"}), "precision fp16 → bf16"),
    "random weights": (lambda r: with_trial(r, weights="random"), "weights pretrained → random"),
    "failed": (
        lambda r: replace(r, outcome=Outcome.OOM, error="it was out of memory", measurement=None),
        "seed 42: oom: it was out of memory",
    ),
}


@pytest.mark.parametrize("reason", NOT_COMPARABLE)
def test_what_can_not_be_compared_is_invalid_with_its_reason(reason: str) -> None:
    change, words = NOT_COMPARABLE[reason]
    verdicts = judge(BASELINE, changed(run(of="baseline"), "lora", change))
    assert {cell.verdict for cell in verdicts.of("lora")} == {Verdict.INVALID}
    assert all(words in cell.words for cell in verdicts.of("lora"))
    assert Verdict.INVALID not in {cell.verdict for cell in verdicts.of("full")}


def test_one_trial_of_several_that_failed_is_enough() -> None:
    now = [
        replace(r, outcome=Outcome.NAN, error="at step 3", measurement=None)
        if (r.method, r.seed) == ("lora", 44)
        else r
        for r in run(of="baseline")
    ]
    assert judge(BASELINE, now, metrics=ALONE).verdict_on("lora") is Verdict.INVALID


def test_a_seed_that_one_method_lacks_is_missing() -> None:
    now = [r for r in run(of="baseline") if (r.method, r.seed) != ("ia3", 43)]
    verdicts = judge(BASELINE, now, metrics=ALONE)
    assert verdicts.verdict_on("ia3") is Verdict.INVALID
    assert verdicts.cell("ia3", "accuracy").words == "no trial with seed 43"


def test_a_planned_trial_that_never_ran_is_missing() -> None:
    planned = {(method, seed) for method in METHODS for seed in (42, 43, 44, 45)}
    verdicts = judge(BASELINE, run(of="baseline"), planned=planned, metrics=ALONE)
    assert {verdicts.verdict_on(method) for method in METHODS} == {Verdict.INVALID}


def test_no_trial_at_all_is_no_pass() -> None:
    verdicts = judge(BASELINE, [], metrics=ALONE)
    assert {verdicts.verdict_on(method) for method in METHODS} == {Verdict.INVALID}
    assert codes(verdicts) == (False, True, True)


def test_a_method_without_a_baseline_is_invalid() -> None:
    verdicts = judge(run(methods=("full",)), run(methods=("full", "lora")), metrics=ALONE)
    assert "the baseline does not have this method" in verdicts.cell("lora", "accuracy").words
    assert verdicts.verdict is Verdict.INVALID


def test_a_method_that_was_not_asked_for_is_said_to_be_left_out() -> None:
    verdicts = judge(BASELINE, run(methods=("full",), of="baseline"), methods=["full"])
    assert verdicts.methods == ["full"]
    assert verdicts.not_asked_for == ("lora", "ia3")


def test_other_hardware_is_invalid_but_for_what_is_counted() -> None:
    now = [with_hardware(r, cpu="Another CPU") for r in run(of="baseline")]
    verdicts = judge(BASELINE, now)
    cells = {cell.metric.key: cell for cell in verdicts.of("lora")}
    for key in ("accuracy", "train_seconds", "host_anonymous_bytes"):
        assert cells[key].verdict is Verdict.INVALID
        assert "cpu AMD EPYC 7763 → Another CPU" in cells[key].words
    for metric in GROUPS["counts"]:
        assert cells[metric.key].verdict is Verdict.IDENTICAL


def test_memory_of_a_machine_differs_from_boot_to_boot() -> None:
    now = [with_hardware(r, memory_bytes=33_612_345_678) for r in run(of="baseline")]
    assert judge(BASELINE, now, metrics=ALONE).verdict is Verdict.IDENTICAL
    now = [with_hardware(r, memory_bytes=16_800_000_000) for r in run(of="baseline")]
    assert judge(BASELINE, now, metrics=ALONE).verdict is Verdict.INVALID


@pytest.mark.parametrize(
    ("change", "words"),
    [
        (lambda r: with_measured(r, shared=True), "other trials ran at the same time in the run"),
        (lambda r: with_measured(r, resumed=1), "the run went on from a checkpoint (seed 42"),
        (lambda r: with_environment(r, threads=1), "threads 8 → 1"),
        (lambda r: with_environment(r, python="3.13.1"), "python 3.11.7 → 3.13.1"),
        (
            lambda r: with_environment(r, packages={**r.environment["packages"], "torch": "2.14"}),
            "torch 2.13.0 → 2.14",
        ),
    ],
    ids=["shared", "resumed", "threads", "python", "packages"],
)
def test_times_are_compared_only_where_they_say_something(
    change: Callable[[Record], Record], words: str
) -> None:
    verdicts = judge(BASELINE, [change(r) for r in run(of="baseline")])
    cell = verdicts.cell("lora", "train_seconds")
    assert cell.verdict is Verdict.INVALID
    assert words in cell.words
    assert verdicts.cell("lora", "accuracy").verdict is Verdict.IDENTICAL
    assert verdicts.cell("lora", "host_anonymous_bytes").verdict is not Verdict.INVALID


def test_a_baseline_whose_times_say_nothing_is_as_bad() -> None:
    before = [with_measured(r, shared=True) for r in BASELINE]
    cell = judge(before, run(of="baseline")).cell("lora", "train_seconds")
    assert "in the baseline" in cell.words
    assert cell.verdict is Verdict.INVALID


@pytest.mark.parametrize("side", ["baseline", "run"])
def test_a_number_that_one_side_lacks_is_no_pass(side: str) -> None:
    with_it, without = run(of="baseline"), run(of="baseline", operations=None)
    before, after = (without, with_it) if side == "baseline" else (with_it, without)
    cell = judge(before, after).cell("lora", OPERATIONS.key)
    assert cell.verdict is Verdict.INVALID
    assert f"the {side} has no operations a step with seed 42, 43, 44" in cell.words


def test_a_number_that_neither_side_has_is_no_cell() -> None:
    verdicts = judge(run(operations=None), run(operations=None))
    assert OPERATIONS.key not in {cell.metric.key for cell in verdicts.cells}


def test_what_can_not_be_meant_is_refused() -> None:
    with pytest.raises(UsageError, match="the baseline holds no trial"):
        judge([], run())
    with pytest.raises(UsageError, match="the run has two records of full with seed 42"):
        judge(BASELINE, [*run(), trial("full", 42)])
    with pytest.raises(UsageError, match="several scenarios"):
        judge(BASELINE, [trial("full"), trial("lora", scenario="embedded")])
    with pytest.raises(UsageError, match="neither side has a trial of qlora"):
        judge(BASELINE, run(), methods=["qlora"])


# Counts


@pytest.mark.parametrize("seeds", [(42, 43, 44), (70, 71)], ids=["common", "disjoint"])
@pytest.mark.parametrize("parameters", [1_181_954 - 294_912, 1_181_954 + 16])
def test_a_number_of_parameters_that_changed_by_itself_is_a_regression(
    seeds: tuple[int, ...], parameters: int
) -> None:
    """Half of the layers not targeted: fewer parameters, and nothing in the options says so."""
    now = changed(
        run(seeds, of="baseline"),
        "lora",
        lambda r: with_measured(r, trainable_parameters=parameters),
    )
    verdicts = judge(BASELINE, now, metrics=GROUPS["counts"])
    cell = verdicts.cell("lora", "trainable_parameters")
    assert cell.verdict is verdicts.verdict is Verdict.REGRESSION
    assert "although no hyperparameter did" in cell.words
    assert verdicts.verdict_on("full") is Verdict.IDENTICAL


def test_where_hyperparameters_changed_counts_are_told_and_not_judged() -> None:
    def smaller(record: Record) -> Record:
        return with_measured(
            hyper(record, hyperparameters={"r": 8}), trainable_parameters=887_042, operations=9_999
        )

    verdicts = judge(BASELINE, changed(run(of="now"), "lora", smaller))
    assert verdicts.changed == {"lora": ["r 16 → 8"]}
    cell = verdicts.cell("lora", "trainable_parameters")
    assert (cell.verdict, cell.before, cell.after) == (None, 1_181_954, 887_042)
    assert verdicts.cell("lora", "operations").verdict is None
    # What it learns, and takes, is judged all the same.
    assert verdicts.cell("lora", "accuracy").verdict is not None
    assert verdicts.cell("lora", "train_seconds").verdict is not None


def test_a_changed_recipe_is_listed() -> None:
    now = changed(run(of="now"), "lora", lambda r: hyper(r, recipe={"learning_rate": 1e-8}))
    verdicts = judge(BASELINE, now)
    assert verdicts.changed == {"lora": ["learning_rate 2e-05 → 1e-08"]}
    # It may change what training costs, and not how much is trained.
    assert verdicts.cell("lora", "operations").verdict is None
    assert verdicts.cell("lora", "trainable_parameters").verdict is Verdict.IDENTICAL


def with_loss(records: list[Record], by: float = 0.0) -> list[Record]:
    """Return the records with training losses about 0.15, two seeds in a hundred apart."""
    return [
        with_measured(record, train_loss=0.15 + by + 0.01 * (record.seed % 3)) for record in records
    ]


def test_a_higher_training_loss_is_a_regression_where_accuracy_shows_nothing() -> None:
    verdicts = judge(with_loss(BASELINE), with_loss(run(of="now"), by=0.1))
    for method in METHODS:
        cell = verdicts.cell(method, "train_loss")
        assert cell.verdict is Verdict.REGRESSION
        assert cell.tested is not None
        assert cell.tested.change == pytest.approx(0.1, abs=0.005)
        assert cell.tested.unit == "nats"
        assert verdicts.cell(method, "accuracy").verdict is not Verdict.REGRESSION


def test_a_lower_training_loss_is_told_as_suspiciously_better() -> None:
    verdicts = judge(with_loss(BASELINE), with_loss(run(of="now"), by=-0.1))
    assert {cell.metric.key for cell in verdicts.better} == {"train_loss"}
    assert verdicts.cell("lora", "train_loss").verdict is Verdict.PASS


def test_another_recipe_may_train_to_another_loss() -> None:
    now = [
        hyper(record, recipe={"learning_rate": 1e-8}) for record in with_loss(run(of="now"), by=0.5)
    ]
    cell = judge(with_loss(BASELINE), now).cell("lora", "train_loss")
    assert cell.verdict is None
    assert cell.before is not None
    assert cell.after == pytest.approx(cell.before + 0.5)


def test_an_identical_run_has_identical_losses() -> None:
    verdicts = judge(with_loss(BASELINE), with_loss(run([42], of="baseline")))
    assert verdicts.cell("lora", "train_loss").verdict is Verdict.IDENTICAL


@pytest.mark.parametrize("key", ["operations", "tensor_bytes", "adapter_file_bytes", "model_flops"])
def test_a_count_that_grew_by_one_is_a_regression(key: str) -> None:
    def grow(record: Record, by: int) -> Record:
        assert record.measurement is not None
        return with_measured(record, **{key: getattr(record.measurement, key) + by})

    more = judge(BASELINE, changed(run(of="baseline"), "lora", lambda r: grow(r, 1)))
    assert more.cell("lora", key).verdict is Verdict.REGRESSION
    less = judge(BASELINE, changed(run(of="baseline"), "lora", lambda r: grow(r, -1)))
    assert less.cell("lora", key).verdict is Verdict.PASS
    assert less.better == [less.cell("lora", key)]


def test_a_count_that_differs_from_seed_to_seed_needs_a_common_one() -> None:
    def own(record: Record) -> Record:
        return with_measured(record, model_flops=1_000 + record.seed)

    before = [own(r) for r in BASELINE]
    apart = judge(before, [own(r) for r in run([70, 71])], metrics=GROUPS["counts"])
    assert apart.cell("lora", "model_flops").verdict is Verdict.INCONCLUSIVE
    assert not apart.open
    common = judge(before, [own(r) for r in run([51, 70])], metrics=GROUPS["counts"])
    assert common.cell("lora", "model_flops").verdict is Verdict.IDENTICAL


def test_what_torch_counts_is_compared_with_equal_packages_alone() -> None:
    now = [
        with_environment(r, packages={**r.environment["packages"], "torch": "2.14"})
        for r in run(of="baseline", operations=5_000)
    ]
    verdicts = judge(BASELINE, now)
    assert verdicts.cell("lora", "operations").verdict is Verdict.INVALID
    assert verdicts.cell("lora", "trainable_parameters").verdict is Verdict.IDENTICAL
    assert verdicts.environment == ("torch 2.13.0 → 2.14",)


# Time, memory, and all methods together


def test_time_within_the_drift_of_a_machine_is_no_regression() -> None:
    def slower(factor: float) -> Verdicts:
        now = run(of="now")
        now = [
            with_measured(r, train_seconds=r.measurement.train_seconds * factor)
            for r in now
            if r.measurement is not None and r.measurement.train_seconds is not None
        ]
        return judge(BASELINE, now, metrics=(TRAIN_TIME,))

    assert slower(1.04).verdict is not Verdict.REGRESSION
    assert slower(1.2).verdict is Verdict.REGRESSION
    cell = slower(1.2).cell("full", "train_seconds")
    assert cell.tested is not None
    assert cell.tested.unit == "%"
    assert cell.tested.change == pytest.approx(20, abs=2)


def test_memory_is_tested_too() -> None:
    now = [
        with_measured(r, peak_bytes=round(r.measurement.peak_bytes * 1.05))
        for r in run(of="now")
        if r.measurement is not None and r.measurement.peak_bytes is not None
    ]
    verdicts = judge(BASELINE, now, metrics=(ANONYMOUS_MEMORY,))
    assert {verdicts.verdict_on(method) for method in METHODS} == {Verdict.REGRESSION}


def test_pages_of_files_are_no_memory_of_the_trial() -> None:
    """As many are mapped as the kernel's cache of the libraries holds in one piece."""
    now = [
        with_measured(
            r,
            peak_bytes=r.measurement.peak_bytes + 80_000_000,
            peak_file_bytes=r.measurement.peak_file_bytes + 80_000_000,
        )
        for r in BASELINE
        if r.measurement and r.measurement.peak_bytes and r.measurement.peak_file_bytes
    ]
    verdicts = judge(BASELINE, now, metrics=GROUPS["memory"])
    assert {verdicts.verdict_on(method) for method in METHODS} == {Verdict.PASS}


def test_a_baseline_from_before_a_metric_was_known_says_nothing_of_it() -> None:
    before = [with_measured(r, peak_file_bytes=None) for r in BASELINE]
    verdicts = judge(before, run(of="baseline"))
    assert verdicts.not_in_baseline == ("Peak anonymous memory",)
    assert "**Not gated**, as the baseline was made without it: peak anonymous memory." in (
        to_markdown(verdicts)
    )
    assert "host_anonymous_bytes" not in {cell.metric.key for cell in verdicts.cells}
    # Of a run that lacks it, and of a baseline that has it for some methods, something is missing.
    cell = judge(BASELINE, before).cell("lora", "host_anonymous_bytes")
    assert cell.verdict is Verdict.INVALID
    assert "the run has no peak anonymous memory with seed 42" in cell.words
    some = [*before[:3], *BASELINE[3:]]
    assert judge(some, run(of="baseline")).cell(some[0].method, "host_anonymous_bytes").verdict is (
        Verdict.INVALID
    )


def test_a_loss_in_all_methods_shows_in_their_mean_first() -> None:
    now = worse(run(range(60, 66), of="now"), 0.9)
    verdicts = judge(BASELINE, now, metrics=ALONE)
    assert verdicts.verdict_on(ALL_METHODS) is Verdict.REGRESSION
    together, single = verdicts.cell(ALL_METHODS, "accuracy"), verdicts.cell("lora", "accuracy")
    assert together.tested is not None
    assert single.tested is not None
    assert together.tested.p_worse < single.tested.p_worse


def test_reference_rows_are_judged_and_left_out_of_the_mean() -> None:
    before = run(range(42, 52), (*METHODS, "bow"), of="baseline")
    now = run([70, 71, 72], (*METHODS, "bow"), of="now")
    without = [r for r in now if r.method != "bow"]
    verdicts = judge(before, now, metrics=ALONE)
    mean = verdicts.cell(ALL_METHODS, "accuracy")
    assert mean.after == pytest.approx(
        judge(BASELINE, without, metrics=ALONE).cell(ALL_METHODS, "accuracy").after
    )
    assert verdicts.cell("bow", "accuracy").verdict is not None


def test_suspiciously_better_is_told_and_never_failed() -> None:
    now = worse(run(of="now"), -6)
    verdicts = judge(BASELINE, now, metrics=ALONE)
    assert verdicts.verdict is Verdict.PASS
    assert {cell.method for cell in verdicts.better} >= set(METHODS)
    assert codes(verdicts) == (False, False, False)


def test_metrics_that_are_left_out_are_said_to_be() -> None:
    verdicts = judge(BASELINE, run(of="baseline"), metrics=ALONE)
    assert "Train time" in verdicts.left_out
    assert "Accuracy" not in verdicts.left_out


# Looks


def test_a_look_spends_a_share_and_what_was_decided_stands() -> None:
    now = run([70, 71, 72], of="now")
    whole = judge(BASELINE, now, metrics=ALONE)
    part = judge(BASELINE, now, metrics=ALONE, look=Look(seeds=3, share=0.25))
    cells = [one.cell("lora", "accuracy").tested for one in (whole, part)]
    assert cells[0] is not None
    assert cells[1] is not None
    assert cells[1].significance == pytest.approx(cells[0].significance / 4)
    assert cells[1].bound > cells[0].bound
    decided = judge(BASELINE, worse(now, 4), metrics=ALONE)
    later = judge(BASELINE, now, metrics=ALONE, earlier=decided)
    assert {later.verdict_on(method) for method in METHODS} == {Verdict.REGRESSION}
    # But not against what makes a comparison invalid.
    missing = judge(BASELINE, [], metrics=ALONE, earlier=decided)
    assert missing.verdict_on("lora") is Verdict.INVALID


def test_what_was_found_equal_is_looked_at_again_with_every_seed() -> None:
    """It spent no rate of error, and a seed that was added may show what the first ones don't."""
    metrics = [metric for metric in GATED if metric.key in ("accuracy", "operations")]
    decided = judge(BASELINE, run(of="baseline"), metrics=metrics)
    assert {decided.verdict_on(method) for method in METHODS} == {Verdict.IDENTICAL}
    more = [with_measured(one, operations=10**6) for one in run([45, 46], of="baseline")]
    later = judge(BASELINE, [*run(of="baseline"), *more], metrics=metrics, earlier=decided)
    assert {later.cell(m, "operations").verdict for m in METHODS} == {Verdict.REGRESSION}
    worst = judge(BASELINE, worse(run(), 4), metrics=metrics, earlier=decided)
    assert {worst.cell(m, "accuracy").verdict for m in METHODS} == {Verdict.REGRESSION}


def test_verdicts_are_json() -> None:
    content = judge(BASELINE, worse(run(), 4)).to_json()
    assert content["verdict"] == "REGRESSION"
    assert content["methods"]["lora"] == "REGRESSION"
    cell = next(c for c in content["cells"] if (c["method"], c["metric"]) == ("lora", "accuracy"))
    assert cell["test"]["unit"] == "points"
    assert cell["seeds"] == {"baseline": 10, "current": 3}

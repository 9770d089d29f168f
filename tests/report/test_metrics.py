from dataclasses import replace

import pytest

from peftcore.report.metrics import (
    ACCURACY,
    ANONYMOUS_MEMORY,
    FILE_SIZE,
    GPU_MEMORY,
    HOST_MEMORY,
    METRICS,
    STEP_TIME,
    TRAINABLE_SHARE,
    UTILISATION,
    Metric,
)


def test_keys_and_headings_are_unique():
    assert len({metric.key for metric in METRICS}) == len(METRICS)
    assert len({metric.heading for metric in METRICS}) == len(METRICS)


def test_values_come_in_the_unit_of_the_heading(record):
    lora = record("lora")
    assert ACCURACY.value(lora) == pytest.approx(91.15)
    assert ACCURACY.heading == "Accuracy (%)"
    assert STEP_TIME.value(lora) == pytest.approx(404.0)
    assert FILE_SIZE.value(lora) == pytest.approx(4.730632)
    assert TRAINABLE_SHARE.value(lora) == pytest.approx(100 * 1_181_954 / 125_829_124)


@pytest.mark.parametrize("metric", METRICS, ids=lambda metric: metric.key)
def test_a_failed_trial_has_no_number(record, metric: Metric):
    assert metric.value(record("lora", outcome="failed", error="it failed after 3 steps")) is None


def test_zero_is_a_number_and_none_is_a_dash():
    assert FILE_SIZE.show(0.0) == "0.00"
    assert FILE_SIZE.show(None) == "—"


def test_random_weights_have_no_accuracy(record):
    assert ACCURACY.value(record("lora", weights="random")) is None
    assert STEP_TIME.value(record("lora", weights="random")) is not None


def test_memory_of_the_gpu_and_of_the_process_are_different_metrics(record):
    on_gpu, on_cpu = record("lora"), record("lora", gpu=False)
    assert (GPU_MEMORY.value(on_gpu), HOST_MEMORY.value(on_gpu)) == (pytest.approx(1.482), None)
    assert (GPU_MEMORY.value(on_cpu), HOST_MEMORY.value(on_cpu)) == (None, pytest.approx(1.482))


def test_the_bag_of_words_uses_no_gpu_on_a_machine_that_has_one(record):
    assert GPU_MEMORY.value(record("bow")) is None
    assert HOST_MEMORY.value(record("bow")) == pytest.approx(0.31)


def test_anonymous_memory_is_what_no_file_holds(record):
    assert ANONYMOUS_MEMORY.value(record("lora", gpu=False)) == pytest.approx(1.482 - 0.135)
    assert ANONYMOUS_MEMORY.value(record("lora", gpu=True)) is None
    assert ANONYMOUS_MEMORY.value(record("lora", gpu=False, peak_file_bytes=None)) is None


def test_a_share_of_an_unknown_total_is_missing(record):
    assert TRAINABLE_SHARE.value(record("lora", total_parameters=None)) is None
    assert TRAINABLE_SHARE.value(record("lora", trainable_parameters=None)) is None


def test_of_a_trial_beside_others_nothing_is_told_of_the_machine(record):
    lora = record("lora")
    shared = replace(lora, measurement=replace(lora.measurement, shared=True))
    assert UTILISATION.value(lora) is not None
    assert UTILISATION.value(shared) is None
    (rate,) = (metric for metric in METRICS if metric.key == "matmul_flops_per_second")
    assert rate.value(shared) is None
    assert ACCURACY.value(shared) == ACCURACY.value(lora)

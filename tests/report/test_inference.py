import math
from statistics import stdev

import pytest

from peftcore.report.inference import infer
from peftcore.report.pairing import Standing
from peftcore.statistics.comparing import holm

SEEDS = (1, 2, 3)


def measured(record, **accuracies: tuple[float, ...]):
    """Records by method, one a seed."""
    return {
        method: [record(method, seed=n, accuracy=a) for n, a in enumerate(values, 1)]
        for method, values in accuracies.items()
    }


def test_every_two_are_paired_either_way(record):
    found = infer(measured(record, full=(0.91, 0.92, 0.90), lora=(0.90, 0.90, 0.89)))
    assert found.paired("full", "lora").mean_points == pytest.approx(4 / 3)
    assert found.paired("lora", "full").mean_points == pytest.approx(-4 / 3)
    assert found.paired("full", "ia3") is None


def test_variances_over_seeds_are_lent_to_one_another(record):
    """LoRA's three accuracies are alike by chance; its interval does not believe that."""
    records = measured(
        record,
        full=(0.91, 0.92, 0.90),
        lora=(0.9, 0.9005, 0.9),
        qlora=(0.88, 0.89, 0.90),
        ia3=(0.85, 0.86, 0.865),
    )
    together, alone = infer(records), infer({"lora": records["lora"]})
    lent, own = together.accuracies["lora"], alone.accuracies["lora"]
    assert own.prior is None
    assert own.test_set.degrees == 2
    assert lent.test_set.standard_error > 3 * own.test_set.standard_error
    assert 2 < lent.test_set.degrees <= 3
    assert together.paired("full", "lora").prior is not None


def test_each_p_is_corrected_for_all_pairs(study):
    found = infer({one.method: [one] for one in study})
    assert len(found.pairs) == 15
    raw = [paired.p_value for paired in found.pairs.values()]
    assert [paired.adjusted_p for paired in found.pairs.values()] == pytest.approx(holm(raw))


def test_letters_are_shared_just_where_methods_are_not_told_apart(study):
    found = infer({one.method: [one] for one in study})
    for (first, second), paired in found.pairs.items():
        shared = bool(set(found.letters[first]) & set(found.letters[second]))
        assert shared == (paired.standing is Standing.OPEN)
    assert found.letters["full"].startswith("a")


def test_a_method_that_can_not_be_tested_has_no_letter(record):
    records = {m: [record(m)] for m in ("full", "qlora", "ia3")}
    records["lora"] = [record("lora", keep_predictions=False)]
    found = infer(records)
    assert set(found.letters) == {"full", "qlora", "ia3"}
    assert found.paired("lora", "full").standing is Standing.UNTESTED
    assert infer({m: records[m] for m in ("full", "lora")}).letters == {}


def test_a_seed_that_one_method_lacks_is_left_out_of_its_pairs_alone(record):
    records = measured(
        record, full=(0.91, 0.92, 0.90), lora=(0.90, 0.91), qlora=(0.9, 0.9, 0.91), ia3=(0.88,)
    )
    found = infer(records)
    assert len(found.accuracies["full"].seeds) == 3
    assert [len(found.paired("full", m).seeds) for m in ("lora", "qlora", "ia3")] == [2, 3, 1]
    assert found.accuracies["ia3"].test_set is None
    assert found.accuracies["ia3"].interval is not None


def test_all_right_is_within_what_an_accuracy_can_be(record):
    records = {m: [record(m, seed=s, accuracy=1.0) for s in SEEDS] for m in ("full", "lora")}
    found = infer(records)
    low, high = found.accuracies["full"].interval
    assert (low, high) == (pytest.approx(99.8, abs=0.01), 100.0)
    paired = found.paired("full", "lora")
    assert paired.standing is Standing.OPEN
    assert not math.isnan(paired.p_value)


def test_without_predictions_the_spread_over_seeds_is_still_known(record):
    values = (0.91, 0.93, 0.9)
    records = [
        record("full", seed=n, accuracy=a, keep_predictions=False) for n, a in enumerate(values)
    ]
    full = infer({"full": records}).accuracies["full"]
    assert full.spread == pytest.approx(100 * stdev(values))
    assert full.test_set_interval is not None
    assert full.interval is None


def test_no_accuracies_are_no_inference():
    found = infer({"full": [], "lora": []})
    assert (found.accuracies, found.pairs, found.letters) == ({}, {}, {})

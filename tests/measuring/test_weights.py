"""How far apart trained weights are."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from safetensors.numpy import save_file

from peftcore.measuring.weights import BEGUN, TRAINED, KeptWeights, distance


def write(file: Path, **tensors: list[float]) -> Path:
    file.parent.mkdir(parents=True, exist_ok=True)
    save_file({name: np.array(t, np.float32) for name, t in tensors.items()}, file)
    return file


def test_the_distance_is_over_all_numbers_of_all_tensors(tmp_path: Path) -> None:
    one = write(tmp_path / "one", a=[1.0, 2.0], b=[0.0])
    other = write(tmp_path / "other", a=[1.0, 5.0], b=[4.0])
    assert distance(one, other) == distance(other, one) == 5.0
    assert distance(one, one) == 0.0


def test_a_distance_far_below_the_numbers_themselves_is_exact(tmp_path: Path) -> None:
    """Rounding is what is measured, so measuring must not round."""
    one = write(tmp_path / "one", a=[1e4] * 10_000)
    moved = float(np.nextafter(np.float32(1e4), np.float32(2e4))) - 1e4
    other = write(tmp_path / "other", a=[1e4 + moved] * 10_000)
    assert distance(one, other) == pytest.approx(100 * moved, rel=1e-12)


@pytest.mark.parametrize("tensors", [{"b": [1.0, 2.0]}, {"a": [1.0]}, {"a": [1.0], "b": [2.0]}])
def test_other_weights_have_no_distance(tensors: dict[str, list[float]], tmp_path: Path) -> None:
    one = write(tmp_path / "one", a=[1.0, 2.0])
    with pytest.raises(ValueError, match=r"hold weights of|has shape"):
        distance(one, write(tmp_path / "other", **tensors))


def test_each_trial_is_compared_with_those_before_it(tmp_path: Path) -> None:
    kept = KeptWeights(tmp_path)
    told = {}
    for trial, trained in {"first": [3.0, 4.0], "second": [3.0, 0.0], "third": [0.0, 0.0]}.items():
        write(kept.of(trial) / BEGUN, a=[0.0, 0.0])
        write(kept.of(trial) / TRAINED, a=trained)
        told[trial] = kept.compare(trial)
    assert told == {
        "first": {"weights_moved": 5.0, "weights_apart": {}},
        "second": {"weights_moved": 3.0, "weights_apart": {"first": 4.0}},
        "third": {"weights_moved": 0.0, "weights_apart": {"first": 5.0, "second": 3.0}},
    }

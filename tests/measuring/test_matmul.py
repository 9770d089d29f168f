"""The rate of a matrix product, by a clock that the test moves."""

from __future__ import annotations

from types import SimpleNamespace

import pytest
import torch

from peftcore.measuring import matmul
from peftcore.measuring.matmul import matmul_rate

CPU = torch.device("cpu")


def rate(monkeypatch: pytest.MonkeyPatch, costs: list[float]) -> tuple[float, list[str]]:
    """The rate found where the n-th product takes the n-th cost, the last one ever after."""
    now = 0.0
    events: list[str] = []

    def product(tokens: torch.Tensor, weight: torch.Tensor) -> None:
        nonlocal now
        assert tokens.shape == (6, 8)
        assert weight.shape == (32, 8)
        assert {tokens.dtype, weight.dtype} == {torch.bfloat16}
        now += costs.pop(0) if len(costs) > 1 else costs[0]
        events.append("product")

    monkeypatch.setattr(matmul, "linear", product)
    monkeypatch.setattr(matmul, "time", SimpleNamespace(perf_counter=lambda: now))
    found = matmul_rate(
        6, 8, dtype=torch.bfloat16, device=CPU, synchronise=lambda: events.append("wait")
    )
    return found, events


FLOPS = 2 * 6 * 8 * 32


def test_the_best_repetition_counts_and_the_first_never(monkeypatch: pytest.MonkeyPatch) -> None:
    found, events = rate(monkeypatch, [0.001, 0.08, 0.05, 0.09, 0.1])
    assert found == pytest.approx(FLOPS / 0.05)
    assert events == ["wait", "product", "wait"] * 5


def test_short_products_are_timed_many_together(monkeypatch: pytest.MonkeyPatch) -> None:
    """Otherwise a launch, or the clock, would count."""
    found, events = rate(monkeypatch, [1e-5])
    assert found == pytest.approx(FLOPS / 1e-5)
    assert "product " * 256 in " ".join(events) + " "
    assert events.count("product") < 256 * 22


def test_it_is_a_rate_of_this_machine() -> None:
    found = matmul_rate(64, 64, dtype=torch.float32, device=CPU, synchronise=lambda: None)
    assert 1e7 < found < 1e15

"""What is measured of serving, in this process, on a tiny model."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import torch
from peft.tuners.tuners_utils import BaseTunerLayer
from torch import nn

from peftcore.errors import CheckFailed
from peftcore.serving import adapters as saved
from peftcore.serving import bench as benching
from peftcore.serving import residents
from peftcore.serving.bench import Bench, prepared
from peftcore.serving.trials import ServingTrial
from tests.conftest import sample_of
from tests.serving.conftest import MakeServing

Figures = Mapping[tuple[Any, ...], Mapping[str, Any]]


def served(trial: ServingTrial, folder: Path) -> dict[str, Any]:
    """Return the measurement of a trial, all its rounds run."""
    with prepared(trial, sample_of(trial), folder, lambda _: None) as bench:
        for number in range(trial.serving.warm_up_rounds + trial.serving.rounds):
            bench.round(number, counts=number >= trial.serving.warm_up_rounds)
        return bench.result()


def figures_of(measurement: Mapping[str, Any]) -> Figures:
    names = ("what", "served", "residents", "examples")
    return {tuple(f[n] for n in names): f for f in measurement["serving"]["figures"]}


def statuses(figures: Figures) -> dict[tuple[Any, ...], str]:
    return {name: figure["status"] for name, figure in figures.items()}


def test_what_serves_must_be_what_the_record_names(
    make_serving: MakeServing, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(benching, "pick_device", lambda: torch.device("cpu"))
    monkeypatch.setattr("peftcore.training.trial.gpu", lambda: {"gpu": "H100"})
    with pytest.raises(CheckFailed, match="torch can't use H100"):
        served(make_serving("lora"), tmp_path)


@pytest.mark.parametrize("method", ["lora", "prompt-tuning", "qlora"])
def test_everything_that_can_be_is_measured_in_each_round(
    make_serving: MakeServing, tmp_path: Path, method: str
) -> None:
    measurement = served(make_serving(method), tmp_path)
    figures = figures_of(measurement)
    prompts = method == "prompt-tuning"
    for (what, way, _, examples), figure in figures.items():
        if way == "merged" and prompts:
            assert figure["status"] == "unavailable"
            assert "can't be merged: its tokens are part of no weight" in figure["detail"]
            continue
        assert figure["status"] == "measured", figure
        times = {"hold": 0, "predict": 4 if examples == 1 else 2}.get(what, 2)
        assert len(figure["seconds"]) == times
        assert all(seconds > 0 for seconds in figure["seconds"])
    held = {name[1:3]: f["bytes"] for name, f in figures.items() if name[0] == "hold"}
    assert held["attached", 1] < held["attached", 3]
    if method == "lora":
        assert held["merged", 0] == held["plain", 0] < held["attached", 1]
    if method == "qlora":
        assert held["attached", 1] < held["plain", 0]
        assert "rounded to 4 bits: logits within" in figures["predict", "merged", 0, 1]["detail"]
    checks = {check["name"]: check["detail"] for check in measurement["checks"]}
    assert {"load", "exchange", "residents"} <= checks.keys()
    assert ("merge" in checks) is not prompts
    if method == "qlora":
        assert checks["merge"] == "each of 6 weights is another, rounded to 4 bits"
    assert measurement["adapter_file_bytes"] > 0


@pytest.mark.parametrize("method", ["full", "bitfit"])
def test_weights_of_the_model_itself_are_swapped_and_not_merged(
    make_serving: MakeServing, tmp_path: Path, method: str
) -> None:
    figures = figures_of(served(make_serving(method), tmp_path))
    for name, figure in figures.items():
        merged = name[1] == "merged"
        assert figure["status"] == ("unavailable" if merged else "measured")
        assert not merged or "nothing to merge" in figure["detail"]
    one, several = (figures["hold", "attached", n, None]["bytes"] for n in (1, 3))
    assert figures["hold", "plain", 0, None]["bytes"] == one < several


def test_what_would_fill_the_memory_is_estimated(
    make_serving: MakeServing, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    memory = SimpleNamespace(available=1_000)
    monkeypatch.setattr(saved.psutil, "virtual_memory", lambda: memory)
    figures = figures_of(served(make_serving("full"), tmp_path))
    held = figures["hold", "attached", 3, None]
    assert held["status"] == "estimated"
    assert "more than 25% of the memory that is free" in held["detail"]
    # The model, and three sets beside it.
    one = figures["hold", "attached", 1, None]["bytes"]
    assert held["bytes"] == pytest.approx(4 * one, rel=0.01)
    assert figures["swap", None, 3, None]["status"] == "unavailable"
    assert figures["predict", "attached", 3, 1]["seconds"] == []
    assert figures["predict", "attached", 1, 1]["status"] == "measured"
    # Those that are not held are not saved either.
    assert len(list(tmp_path.iterdir())) == 2


def test_a_swap_that_changes_nothing_has_no_time(
    make_serving: MakeServing, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(residents._Adapters, "swap", lambda *_: None)
    figures = figures_of(served(make_serving(), tmp_path))
    for name, figure in figures.items():
        if name[2] == 3:
            assert figure["status"] == "unavailable"
            assert figure["seconds"] == []
            assert "has logits that differ from its own by up to" in figure["detail"]
    assert statuses(figures)["load", None, 0, None] == "measured"


@pytest.mark.parametrize("method", ["lora", "adalora"])
def test_a_swap_of_the_head_alone_has_no_time(
    make_serving: MakeServing, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, method: str
) -> None:
    """AdaLoRA begins with three factors near zero, whose product shows late."""

    def swap(held: Any, number: int) -> None:
        held._peft.set_adapter(held._names[number])
        for module in held._peft.modules():
            if isinstance(module, BaseTunerLayer):
                module.set_adapter(held._names[0])

    monkeypatch.setattr(residents._Adapters, "swap", swap)
    figures = figures_of(served(make_serving(method), tmp_path))
    figure = figures["swap", None, 3, None]
    assert figure["status"] == "unavailable"
    assert "one of 3 resident, adapter 2 has logits that differ from its own" in figure["detail"]


@pytest.mark.parametrize(
    ("method", "told"),
    [
        ("lora", "merged, its logits differ"),
        ("qlora", "of 6 weights that the adapter is to be rounded into, 6 are as they were"),
    ],
)
def test_a_merge_that_gives_another_model_has_no_time(
    make_serving: MakeServing,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    method: str,
    told: str,
) -> None:
    def without_adapter(classifier: Any) -> nn.Module:
        return classifier.model.unload()

    monkeypatch.setattr(benching, "merge", without_adapter)
    measurement = served(make_serving(method), tmp_path)
    assert "merge" not in {check["name"] for check in measurement["checks"]}
    for size in (1, 4):
        figure = figures_of(measurement)["predict", "merged", 0, size]
        assert figure["status"] == "unavailable"
        assert told in figure["detail"]


def test_a_batch_of_one_is_measured_once(make_serving: MakeServing, tmp_path: Path) -> None:
    measurement = served(make_serving(batch_size=1, residents=(1,)), tmp_path)
    figures = figures_of(measurement)
    assert len(figures) == len(measurement["serving"]["figures"])
    assert {examples for *_, examples in figures} == {None, 1}
    assert len(figures["predict", "attached", 1, 1]["seconds"]) == 4


def test_a_head_that_is_kept_apart_is_held_once(make_serving: MakeServing, tmp_path: Path) -> None:
    """Of a single resident it is in the model; of several, all of them are beside it."""
    measurement = served(make_serving("trainable-tokens"), tmp_path)
    held = {name[1:3]: f for name, f in figures_of(measurement).items() if name[0] == "hold"}
    head = 4 * measurement["head_parameters"]
    tokens = 4 * measurement["adapter_parameters"]
    one, three = (held["attached", count]["bytes"] for count in (1, 3))
    # With the vectors of each, peft keeps what they were.
    assert three - one == 2 * 2 * tokens + 3 * head


def test_what_is_resident_lies_where_the_model_is() -> None:
    saved = {"classifier.weight": torch.zeros(3)}
    (there,) = residents._resident(saved, torch.device("meta")).values()
    assert there.device.type == "meta"
    (here,) = residents._resident(saved, torch.device("cpu")).values()
    assert here.data_ptr() != saved["classifier.weight"].data_ptr()


@pytest.mark.parametrize(
    "error",
    [
        RuntimeError(
            "[enforce fail at alloc_cpu.cpp:117] DefaultCPUAllocator: can't allocate memory"
        ),
        torch.OutOfMemoryError("CUDA out of memory"),
        MemoryError(),
    ],
    ids=lambda error: type(error).__name__,
)
def test_too_little_memory_is_no_trait_of_a_method(
    make_serving: MakeServing, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, error: Exception
) -> None:
    """It ends the trial, which is then tried again another time."""

    def too_large(*_: Any) -> None:
        raise error

    monkeypatch.setattr(benching, "hold", too_large)
    with pytest.raises(type(error)):
        served(make_serving(residents=(1,)), tmp_path)


def test_an_adapter_that_is_attached_anew_onto_changed_weights_is_told(
    make_serving: MakeServing, tmp_path: Path
) -> None:
    """PiSSA takes the largest directions out of the weights, and a second one from what is left."""
    figures = figures_of(served(make_serving("pissa"), tmp_path))
    assert statuses(figures)["predict", "attached", 1, 1] == "measured"
    for figure in figures.values():
        assert figure["status"] == "measured" or figure["detail"]


@pytest.fixture
def bench(make_serving: MakeServing, tmp_path: Path) -> Iterator[Bench]:
    trial = make_serving(residents=(1,))
    with prepared(trial, sample_of(trial), tmp_path, lambda _: None) as made:
        yield made


def test_all_models_predict_the_same_examples_of_a_round(
    bench: Bench, monkeypatch: pytest.MonkeyPatch
) -> None:
    seen: list[tuple[str, list[int]]] = []
    original = benching.Feed.batch

    def batch(feed: Any, indices: Any) -> Any:
        seen.append((str(id(feed)), list(indices)))
        return original(feed, indices)

    monkeypatch.setattr(benching.Feed, "batch", batch)
    of_rounds = []
    for number in range(2):
        seen.clear()
        bench.round(number, counts=True)
        by_feed: dict[str, list[list[int]]] = {}
        for feed, indices in seen:
            by_feed.setdefault(feed, []).append(indices)
        asked = {str(sorted(found, key=lambda i: (len(i), i))) for found in by_feed.values()}
        assert len(by_feed) == 3
        assert len(asked) == 1
        of_rounds.append(asked)
    assert of_rounds[0] != of_rounds[1]


def test_memory_that_tensors_share_counts_once() -> None:
    whole = torch.zeros(8)
    assert residents.held_bytes([whole, whole[:4], torch.zeros(2)]) == 40


def test_what_a_module_keeps_beside_its_parameters_counts() -> None:
    model = nn.Sequential(nn.Linear(2, 3))
    model[0].places = {"default": torch.zeros(5, dtype=torch.int64)}
    model[0].parts = [torch.zeros(2), (torch.zeros(1),)]
    assert residents.held_bytes(residents.model_tensors(model)) == 4 * 9 + 40 + 12


def test_rounds_that_do_not_count_leave_no_time(bench: Bench) -> None:
    bench.round(0, counts=False)
    assert not any(figure.seconds for figure in bench.figures)

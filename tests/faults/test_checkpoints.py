"""A checkpoint that can't be trusted is refused with its reason, and never half used."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file, save_file

from peftcore.accelerations import ALL
from peftcore.scenarios import Evaluation, Precision
from peftcore.training import checkpoints as files
from peftcore.training.checkpoints import MANIFEST, PROGRESS, TENSORS, Checkpoints
from peftcore.training.ending import TrialResult
from peftcore.training.trial import run_trial
from peftcore.trials import Engine, Trial
from tests.conftest import MakeTrial, sample_of

Damage = Callable[[Path], None]


class Stop(Exception):
    """Ends a trial where a signal would."""


def run(trial: Trial, checkpoints: Checkpoints | None, stop_at: int | None = None) -> TrialResult:
    def observe(event: dict[str, Any]) -> None:
        if stop_at is not None and event.get("step") == stop_at:
            raise Stop

    return run_trial(trial, sample_of(trial), observe, checkpoints=checkpoints)


def told(result: TrialResult) -> str:
    details = [c["detail"] for c in result.measurement["checks"] if c["name"] == "checkpoints"]
    return "; ".join(details)


@pytest.fixture(scope="module")
def kept(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Where each method's checkpoints and its uncut result are kept for all tests here."""
    return tmp_path_factory.mktemp("kept")


def trial_of(make_trial: MakeTrial, method: str) -> Trial:
    return make_trial(method, epochs=2, precision=Precision.BF16, accelerations=ALL)


_UNCUT: dict[str, TrialResult] = {}


def cut_off(make_trial: MakeTrial, kept: Path, method: str, folder: Path) -> tuple[Trial, str]:
    """Give ``folder`` the two checkpoints of a trial that was cut off, and its uncut weights."""
    trial = trial_of(make_trial, method)
    if method not in _UNCUT:
        _UNCUT[method] = run(trial, None)
        with pytest.raises(Stop):
            run(trial, Checkpoints(folder=kept / method, environment="here", seconds=0), 6)
    shutil.copytree(kept / method, folder)
    return trial, _UNCUT[method].measurement["weights_sha256"]


def flip(name: str, where: float) -> Damage:
    def damage(checkpoint: Path) -> None:
        content = bytearray((checkpoint / name).read_bytes())
        content[int(where * (len(content) - 1))] ^= 1
        (checkpoint / name).write_bytes(content)

    return damage


def truncate(name: str) -> Damage:
    def damage(checkpoint: Path) -> None:
        content = (checkpoint / name).read_bytes()
        (checkpoint / name).write_bytes(content[: len(content) // 2])

    return damage


def remove(name: str) -> Damage:
    return lambda checkpoint: (checkpoint / name).unlink()


def sign(checkpoint: Path, **changes: Any) -> None:
    """Make the manifest agree with what lies beside it."""
    manifest = json.loads((checkpoint / MANIFEST).read_text(encoding="utf-8"))
    del manifest["signature"]
    manifest["sha256"] = {n: files._sha256(checkpoint / n) for n in (TENSORS, PROGRESS)}
    content = files._signed({**manifest, **changes})
    (checkpoint / MANIFEST).write_text(json.dumps(content), encoding="utf-8")


def rewritten(change: Callable[[dict[str, torch.Tensor]], object]) -> Damage:
    def damage(checkpoint: Path) -> None:
        tensors = {n: t.clone() for n, t in load_file(checkpoint / TENSORS).items()}
        change(tensors)
        save_file(tensors, checkpoint / TENSORS)
        sign(checkpoint)

    return damage


def without(begin: str, *parts: str) -> Damage:
    """Leave out one tensor whose name begins so and has these parts; every checksum is right."""

    def change(tensors: dict[str, torch.Tensor]) -> None:
        found = (n for n in sorted(tensors) if n.startswith(begin))
        del tensors[next(n for n in found if all(part in n for part in parts))]

    return rewritten(change)


def without_all(part: str) -> Damage:
    def change(tensors: dict[str, torch.Tensor]) -> None:
        names = [name for name in tensors if part in name]
        assert names
        for name in names:
            del tensors[name]

    return rewritten(change)


def reshaped(part: str) -> Damage:
    def change(tensors: dict[str, torch.Tensor]) -> None:
        name = next(n for n in sorted(tensors) if part in n and tensors[n].numel() > 1)
        tensors[name] = tensors[name].flatten()[:-1].clone()

    return rewritten(change)


def progress(**changes: Any) -> Damage:
    def damage(checkpoint: Path) -> None:
        content = json.loads((checkpoint / PROGRESS).read_text(encoding="utf-8"))
        (checkpoint / PROGRESS).write_text(json.dumps({**content, **changes}), encoding="utf-8")
        sign(checkpoint)

    return damage


def of_another(name: str) -> Damage:
    def damage(checkpoint: Path) -> None:
        manifest = json.loads((checkpoint / MANIFEST).read_text(encoding="utf-8"))
        sign(checkpoint, identity={**manifest["identity"], name: "another"})

    return damage


DAMAGE: dict[str, tuple[str, Damage, str]] = {
    "a bit of the tensors": ("lora", flip(TENSORS, 0.9), "tensors.safetensors is not what was"),
    "a bit of the tensors' header": ("lora", flip(TENSORS, 0.01), "tensors.safetensors is not"),
    "a bit of the progress": ("lora", flip(PROGRESS, 0.5), "progress.json is not what was"),
    "a bit of the manifest": ("lora", flip(MANIFEST, 0.5), "manifest.json"),
    "tensors cut off": ("lora", truncate(TENSORS), "tensors.safetensors is not what was"),
    "manifest cut off": ("lora", truncate(MANIFEST), "manifest.json is not JSON"),
    "no manifest": ("lora", remove(MANIFEST), "manifest.json can't be read"),
    "no tensors": ("lora", remove(TENSORS), "tensors.safetensors can't be read"),
    "no random state": ("lora", without("random.cpu"), "random.cpu is missing"),
    "no buffer": ("lora", without("buffer."), "is missing"),
    "no weight": ("lora", without("weight.", "lora_B"), "lora_B.default.weight is missing"),
    "no state of a weight": ("lora", without("optimiser.", "lora_B", "exp_avg_sq"), "missing"),
    "no state at all": ("lora", without_all("optimiser."), "is missing"),
    "no state at all, compiled": ("full", without_all("optimiser."), "is missing"),
    "no updates, compiled": ("full", without("optimiser's updates"), "updates is missing"),
    "no copy in 16 bits": ("full", without("copy."), "is missing"),
    "a state of another shape": ("lora", reshaped("exp_avg"), "of shape"),
    "something unknown": ("lora", rewritten(lambda t: t.update(x=torch.ones(1))), "not known"),
    "a loss too few": ("lora", progress(losses=[0.5]), "losses should be a list of"),
    "a loss that is no number": ("lora", progress(losses=["x"] * 5), "something else than numbers"),
    "phases that are none": ("lora", progress(phases={"train": 1}), "phases are not"),
    "another trial": ("lora", of_another("trial"), "it is of another trial"),
    "another environment": ("lora", of_another("environment"), "of another environment"),
    "other sources": ("lora", of_another("peftcore"), "of another peftcore"),
    "another backbone": ("lora", of_another("weights at the start"), "another weights at the"),
}


@pytest.mark.parametrize("name", DAMAGE)
def test_a_damaged_checkpoint_is_refused_and_the_trial_starts_over(
    make_trial: MakeTrial, kept: Path, tmp_path: Path, name: str
) -> None:
    method, damage, reason = DAMAGE[name]
    trial, weights = cut_off(make_trial, kept, method, tmp_path / "there")
    damaged = sorted((tmp_path / "there").iterdir())
    assert len(damaged) == 2
    for checkpoint in damaged:
        damage(checkpoint)
    result = run(trial, Checkpoints(folder=tmp_path / "there", environment="here"))
    assert result.measurement["weights_sha256"] == weights
    assert result.measurement["resumed"] == 0
    assert told(result).count("refused a checkpoint") == 2
    assert reason in told(result)
    assert told(result).endswith("the trial started over")


def test_the_one_before_a_damaged_checkpoint_is_used(
    make_trial: MakeTrial, kept: Path, tmp_path: Path
) -> None:
    trial, weights = cut_off(make_trial, kept, "lora", tmp_path / "there")
    older, newest = sorted((tmp_path / "there").iterdir())
    flip(TENSORS, 0.5)(newest)
    with pytest.raises(Stop):
        # The damaged one is gone by then, and can't push out those that are written now.
        run(trial, Checkpoints(folder=tmp_path / "there", environment="here"), stop_at=12)
    assert older.exists()
    assert not newest.exists()
    result = run(trial, Checkpoints(folder=tmp_path / "there", environment="here"))
    assert result.measurement["weights_sha256"] == weights
    assert result.measurement["resumed"] >= 1


@pytest.mark.parametrize(("cut", "newest"), [(7, 6), (10, 9)], ids=["epoch ends", "mid-epoch"])
def test_one_that_is_evaluated_at_the_end_alone_goes_on_too(
    make_trial: MakeTrial, tmp_path: Path, cut: int, newest: int
) -> None:
    trial = make_trial("lora", epochs=2, evaluation=Evaluation.END)
    uncut = run(trial, None)
    with pytest.raises(Stop):
        run(trial, Checkpoints(folder=tmp_path, environment="here", seconds=0), cut)
    assert max(tmp_path.iterdir()).name == f"step-{newest:09}"
    result = run(trial, Checkpoints(folder=tmp_path, environment="here"))
    assert result.measurement["resumed"] == 1
    for name in ("weights_sha256", "losses", "epoch_accuracies"):
        assert result.measurement[name] == uncut.measurement[name]


def test_two_are_kept_and_none_is_pickled(
    make_trial: MakeTrial, kept: Path, tmp_path: Path
) -> None:
    cut_off(make_trial, kept, "lora", tmp_path / "there")
    found = sorted((tmp_path / "there").iterdir())
    assert [path.name for path in found] == ["step-000000004", "step-000000005"]
    for path in found:
        assert {file.name for file in path.iterdir()} == {MANIFEST, PROGRESS, TENSORS}


def test_times_are_sums_of_parts(make_trial: MakeTrial, kept: Path, tmp_path: Path) -> None:
    trial, _ = cut_off(make_trial, kept, "lora", tmp_path / "there")
    newest = max((tmp_path / "there").iterdir())
    earlier = json.loads((newest / PROGRESS).read_text(encoding="utf-8"))
    # An earlier part that took long, and most memory.
    phases = {**earlier["phases"]}
    phases["train"] = {**phases["train"], "seconds": 1000.0, "peak_bytes": 10**15}
    for checkpoint in (tmp_path / "there").iterdir():
        progress(phases=phases, elapsed_seconds=2000.0)(checkpoint)
    measured = run(trial, Checkpoints(folder=tmp_path / "there", environment="here")).measurement
    assert 1000 < measured["train_seconds"] < 1100
    assert measured["peak_bytes"] == 10**15
    assert measured["seconds_to_trained"] > 1900
    assert measured["phases"]["checkpoint"]["seconds"] > 0
    assert len(measured["losses"]) == 12


def test_trainer_keeps_none(make_trial: MakeTrial, checkpoints: Checkpoints) -> None:
    result = run(make_trial("lora", engine=Engine.TRAINER), checkpoints)
    assert result.measurement["resumed"] == 0
    assert checkpoints.newest() is None


def test_by_default_a_short_trial_pays_little(make_trial: MakeTrial, tmp_path: Path) -> None:
    folder = Checkpoints(folder=tmp_path / "there", environment="here")
    measured = run(make_trial("lora"), folder).measurement
    assert (folder.newest() or 6) == 6, "none but at the end of the epoch"
    assert "checkpoint" in measured["phases"]


def test_a_second_session_with_the_same_trial_leaves_checkpoints_alone(
    checkpoints: Checkpoints, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(files, "_LOCK_SECONDS", 0.1)
    with files.sole_use(checkpoints.folder) as first, files.sole_use(checkpoints.folder) as second:
        assert (first, second) == (True, False)
    with files.sole_use(checkpoints.folder) as third:
        assert third

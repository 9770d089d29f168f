"""Hand on what was trained: a folder that peft or transformers load, and that was tried."""

from __future__ import annotations

import json
import os
import shutil
from collections.abc import Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass
from pathlib import Path

from peftcore.choosing.using import predict_plainly
from peftcore.data.examples import draw
from peftcore.data.sources import read_data
from peftcore.errors import PeftcoreError, UsageError, telling_what_is_kept
from peftcore.trials import Source, Trial
from peftcore.writing import write_whole

ADAPTER_FOLDER = "adapter"
CARD_FILE = "README.md"
REPORT_FILE = "report.md"
RECORDS_FILE = "records.jsonl"

MARK_FILE = ".peftcore-choice"
"""It says that a folder is a choice's own, and may be written to again."""

_CONFIG = "adapter_config.json"

TRIED = 50
"""So many test examples are answered by what is handed on, as the trial answered them."""

MOST_APART = 2
"""So many of them may come out otherwise: those near the border, in another number format."""


@dataclass(frozen=True, kw_only=True)
class Delivered:
    """What was handed on.

    Attributes:
        folder: where it is.
        tried: how many test examples it answered after it was loaded again.
        equal: how many of them as the trial did.
    """

    folder: Path
    tried: int
    equal: int


def require_usable(out: Path, store: Path) -> None:
    """Check that a folder can be written to without losing what is somebody's own.

    Args:
        out: the folder.
        store: the folder of the store, which may lie in it.

    Raises:
        UsageError: it can't be made or written to, or holds other files than an earlier choice's.
    """
    if out.exists() and not out.is_dir():
        raise UsageError(f"--out {out} is a file: name a folder")
    try:
        out.mkdir(parents=True, exist_ok=True)
        own = {store.resolve(), *store.resolve().parents}
        found = {path.name for path in out.iterdir() if path.resolve() not in own}
    except OSError as error:
        raise UsageError(
            f"--out {out} can't be made or read: {error.strerror or error}: name another folder"
        ) from None
    if found and MARK_FILE not in found:
        raise UsageError(
            f"--out {out} holds files that are not of an earlier choice: name a new folder"
        )
    if not os.access(out, os.W_OK | os.X_OK):
        raise UsageError(f"--out {out} can't be written to: name another folder, or allow it")


def kept_in(store: Path) -> AbstractContextManager[None]:
    """Turn a failure of the system's, such as a full disk, into a sentence that says what is kept.

    Args:
        store: folder of the store of races.
    """
    return telling_what_is_kept(
        f"every trial that ended is kept in {store}: make room, or name a folder that can be "
        "written to, and give the same command again"
    )


def base_of(backbone: Source) -> tuple[str, str | None]:
    """Return by what name a backbone is loaded, and its revision if that is on the hub."""
    if backbone.revision is not None:
        repository, _, commit = backbone.revision.partition("@")
        return repository, commit
    return str(backbone.path), None


def deliver(trial: Trial, saved: Path, out: Path, predictions: Sequence[int]) -> Delivered:
    """Copy what a trial saved into the output folder, and try it there.

    What an earlier choice handed on is there until the new model was tried.

    Args:
        trial: the last training.
        saved: what it saved (:func:`peftcore.models.saving.save_for_use`).
        out: the output folder.
        predictions: the trial's, of its test examples in their order.

    Raises:
        PeftcoreError: loaded again it does otherwise than the trial did.
    """
    write_whole(out / MARK_FILE, "peftcore choose made this folder, and may write to it again.\n")
    folder, fresh = out / ADAPTER_FOLDER, out / f"{ADAPTER_FOLDER}.new"
    shutil.rmtree(fresh, ignore_errors=True)
    shutil.copytree(saved, fresh)
    config = fresh / _CONFIG
    if config.is_file():
        # As it was trained, it names a folder of this machine.
        content = json.loads(config.read_text(encoding="utf-8"))
        content["base_model_name_or_path"], content["revision"] = base_of(trial.backbone)
        write_whole(config, json.dumps(content, indent=2, sort_keys=True) + "\n")
    test = draw(read_data(trial.data, trial.task), trial.task, trial.seed).test
    few = test.select(range(min(TRIED, len(test))))
    again = predict_plainly(trial, fresh, few)
    equal = sum(mine == its for mine, its in zip(again, predictions, strict=False))
    if len(few) - equal > MOST_APART:
        raise PeftcoreError(
            f"{fresh}, loaded again, answers {len(few) - equal} of {len(few)} test examples "
            "otherwise than the trial did: don't use it, and report this"
        )
    shutil.rmtree(folder, ignore_errors=True)
    fresh.rename(folder)
    return Delivered(
        folder=folder,
        tried=len(few),
        equal=equal,
    )

"""The one door to the Hugging Face hub: pinned revisions only, and one sentence when it is shut."""

from __future__ import annotations

import re
from collections.abc import Sequence
from pathlib import Path
from typing import Literal

from peftcore.errors import UsageError

_HUB_ID = re.compile(r"[A-Za-z0-9][\w.-]*/[A-Za-z0-9][\w.-]*(@.*)?")
_REVISION = re.compile(r"[0-9a-f]{40}")


def is_hub_id(name: str) -> bool:
    """Return whether ``name`` has the form of a hub id, ``owner/name`` or ``owner/name@revision``."""
    return _HUB_ID.fullmatch(name) is not None


def split_hub_id(name: str, *, where: str) -> tuple[str, str]:
    """Return the repository and the revision of ``owner/name@revision``.

    Raises:
        UsageError: the revision is missing or no full commit hash, so that it could move.
    """
    repository, _, revision = name.partition("@")
    if not _REVISION.fullmatch(revision):
        raise UsageError(
            f"{where} {name!r} names no fixed revision: write {repository}@REVISION with the "
            "40 hexadecimal digits of the commit"
        )
    return repository, revision


def fetch(
    repository: str,
    revision: str,
    *,
    kind: Literal["model", "dataset"],
    files: Sequence[str],
    mend: str,
) -> Path:
    """Return the folder with the files of a repository at a revision, downloaded where needed.

    Args:
        repository: ``owner/name``.
        revision: the full commit hash.
        kind: what the repository holds.
        files: patterns of the files that are wanted; nothing else is downloaded.
        mend: what the user can do when the hub is out of reach, for the message.

    Raises:
        UsageError: the files are neither in the hub's cache nor can be downloaded.
    """
    from huggingface_hub import snapshot_download

    request = {
        "repo_id": repository,
        "revision": revision,
        "repo_type": kind,
        "allow_patterns": list(files),
    }
    try:
        # A cached snapshot of a commit can't be out of date: no need to ask the hub.
        return Path(snapshot_download(**request, local_files_only=True))
    except Exception:
        pass
    try:
        return Path(snapshot_download(**request))
    except Exception as error:
        # The hub's client raises its own errors, its HTTP library's and the system's alike; for
        # the user they all mean that the files can't be had.
        reason = (str(error).strip() or type(error).__name__).splitlines()[0]
        raise UsageError(
            f"the {kind} {repository}@{revision[:12]} is not on this machine and the hub can't be "
            f"reached ({reason[:160]}): {mend}"
        ) from None

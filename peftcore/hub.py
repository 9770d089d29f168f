"""The one door to the Hugging Face hub: pinned revisions only, and one sentence when it is shut."""

from __future__ import annotations

import re
from collections.abc import Sequence
from contextlib import suppress
from functools import partial
from pathlib import Path
from typing import Literal

from peftcore.errors import UsageError

_HUB_ID = re.compile(r"[A-Za-z0-9][\w.-]*/[A-Za-z0-9][\w.-]*(@.*)?")
CONNECT_SECONDS = 15.0
"""How long the hub may take to answer that a repository is there."""

_TAKEN_AS_THEY_ARE: set[Path] = set()
"""Cached snapshots of which the hub could not be asked whether they are whole: once is enough."""

HubKind = Literal["model", "dataset"]
"""What a repository on the hub holds."""

_REVISION = re.compile(r"[0-9a-f]{40}")


def is_hub_id(name: str) -> bool:
    """Return whether ``name`` has the form ``owner/name`` or ``owner/name@revision``."""
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
    kind: HubKind,
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
    from huggingface_hub import HfApi, snapshot_download

    download = partial(
        snapshot_download,
        repository,
        revision=revision,
        repo_type=kind,
        allow_patterns=list(files),
    )
    cached: Path | None = None
    with suppress(Exception):
        # A cached snapshot of a commit can't be out of date: no need to ask the hub. But it may be
        # a part of it, which something else has downloaded: only a list of all files tells.
        cached = Path(download(local_files_only=True))
        if cached in _TAKEN_AS_THEY_ARE or _is_listed(repository, revision, kind):
            return cached
    try:
        # Asked once and briefly: the download itself would try for half a minute, loudly.
        HfApi().repo_info(repository, revision=revision, repo_type=kind, timeout=CONNECT_SECONDS)
        return Path(download())
    except Exception as error:
        if cached is not None:
            # Whoever uses it finds out whether what it needs is there.
            _TAKEN_AS_THEY_ARE.add(cached)
            return cached
        # The hub's client raises its own errors, its HTTP library's and the system's alike; for
        # the user they all mean that the files can't be had.
        reason = (str(error).strip() or type(error).__name__).splitlines()[0]
        raise UsageError(
            f"the {kind} {repository}@{revision[:12]} is not on this machine and the hub can't be "
            f"reached ({reason[:160]}): {mend}"
        ) from None


def _is_listed(repository: str, revision: str, kind: HubKind) -> bool:
    """Return whether the cache knows all files of a snapshot, and so whether any is missing."""
    try:
        from huggingface_hub import get_cached_repo_tree
    except ImportError:
        return False
    return bool(get_cached_repo_tree(repository, revision=revision, repo_type=kind))


def is_cached(repository: str, revision: str, file: str, *, kind: HubKind) -> bool:
    """Return whether a file of a repository at a revision is in the hub's cache."""
    from huggingface_hub import try_to_load_from_cache

    found = try_to_load_from_cache(repository, file, revision=revision, repo_type=kind)
    return isinstance(found, str)

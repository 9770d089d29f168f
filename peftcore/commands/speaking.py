"""How commands speak: JSON, people's words, errors and exit codes."""

from __future__ import annotations

import functools
import json
import os
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import click

from peftcore.errors import PeftcoreError, RecordNotStored, StoreError, UsageError

EXIT_NOT_OK = 1
EXIT_USAGE = 2
EXIT_MISSING = 3

json_option = click.option(
    "--json", "json_file", metavar="FILE", help="Write JSON to FILE; '-' is standard output."
)


def told(command: Callable[..., None]) -> Callable[..., None]:
    """Turn peftcore's errors into a sentence on standard error and their exit code."""

    @functools.wraps(command)
    def wrapped(*arguments: Any, **options: Any) -> None:
        try:
            command(*arguments, **options)
        except PeftcoreError as error:
            if isinstance(error, RecordNotStored):
                # Kept at least where whoever started the trial sees it.
                click.echo(error.line)
            code = EXIT_NOT_OK
            if isinstance(error, UsageError):
                code = EXIT_USAGE
            elif isinstance(error, StoreError):
                code = EXIT_MISSING
            click.echo(f"peftcore: {error}", err=True)
            sys.exit(code)

    return wrapped


def require_writable(file: str | None, option: str = "--json") -> None:
    """Check that a file can be written where it was asked for, before a trial is run for it."""
    if file in (None, "-"):
        return
    path = Path(file)
    if path.is_dir() or not os.access(path if path.exists() else path.parent, os.W_OK):
        raise UsageError(f"{option} {file} can't be written: name a file in a folder that is there")


def write_json(content: Any, file: str | None) -> bool:
    """Write JSON where it was asked for; return whether that is standard output."""
    if file is None:
        return False
    text = json.dumps(content, ensure_ascii=False, allow_nan=False, sort_keys=True)
    if file == "-":
        click.echo(text)
        return True
    try:
        Path(file).write_text(text + "\n", encoding="utf-8")
    except OSError as error:
        raise UsageError(f"--json {file} can't be written: {error.strerror}") from None
    return False

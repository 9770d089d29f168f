"""How commands speak: JSON, people's words, errors and exit codes."""

from __future__ import annotations

import functools
import json
import math
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
            # What is shared with the pytest plugin names its options.
            click.echo(f"peftcore: {error}".replace("--peft-", "--"), err=True)
            sys.exit(code)

    return wrapped


class FiniteRange(click.FloatRange):
    """A number within a range; NaN and infinity, which pass through comparisons, are none."""

    def convert(
        self, value: Any, param: click.Parameter | None, ctx: click.Context | None
    ) -> float:
        """Return the number.

        Raises:
            click.BadParameter: it is none, or out of the range.
        """
        number = float(super().convert(value, param, ctx))
        if not math.isfinite(number):
            self.fail(f"{value} is no finite number.", param, ctx)
        return number


def require_writable(file: str | None, option: str = "--json", *, whole: bool = False) -> None:
    """Check that a file can be written where it was asked for, before a trial is run for it.

    Args:
        file: which; ``-`` is standard output.
        option: the option that named it.
        whole: whether it will be replaced as a whole, for which its folder must be writable.

    Raises:
        UsageError: it can't be.
    """
    if file in (None, "-"):
        return
    path = Path(file)
    in_place = path.exists() and not (whole and path.is_file())
    if path.is_dir() or not os.access(path if in_place else path.resolve().parent, os.W_OK):
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

"""What is said where the system refuses a report's files."""

from __future__ import annotations

from collections.abc import Callable
from functools import wraps
from typing import ParamSpec, TypeVar

from peftcore.errors import StoreError

Arguments = ParamSpec("Arguments")
Written = TypeVar("Written")


def told(write: Callable[Arguments, Written]) -> Callable[Arguments, Written]:
    """Have what writes a report raise ``StoreError`` where the system refuses: nothing is lost."""

    @wraps(write)
    def written(*arguments: Arguments.args, **options: Arguments.kwargs) -> Written:
        try:
            return write(*arguments, **options)
        except OSError as error:
            where = "" if error.filename is None else f"{error.filename}: "
            raise StoreError(
                f"{where}{error.strerror or error}; the records are in the store still: make room, "
                "or name a folder that can be written to, and `peftcore report` writes the report"
            ) from None

    return written

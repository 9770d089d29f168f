"""Everything that peftcore raises on purpose, under one base class."""

from __future__ import annotations

import difflib
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from enum import StrEnum
from pathlib import Path
from typing import TypeVar

Member = TypeVar("Member", bound=StrEnum)


def printable(text: object) -> str:
    """Return text that a terminal shows as it is: control characters and the like spelt out.

    Names of files, labels and errors of libraries can hold sequences that move the cursor, colour
    what follows, or turn the direction of writing round.
    """
    return "".join(
        c if c.isprintable() or c in "\n\t" else c.encode("unicode_escape").decode("ascii")
        for c in str(text)
    )


class PeftcoreError(Exception):
    """Base of every error that peftcore raises on purpose; its message is fit for a terminal."""

    def __init__(self, message: object = "") -> None:
        super().__init__(printable(message))


class UsageError(PeftcoreError):
    """An option, a value, a model or a data folder is not usable: exit code 2, nothing was run."""


class StoreError(PeftcoreError):
    """A record could not be stored or read back intact: exit code 3."""


class RecordNotStored(StoreError):
    """A record was made and could not be stored; whoever catches this can still keep it.

    Attributes:
        line: the record, as a line of ``records.jsonl``.
        store: the folder of the store that it belongs in.
    """

    def __init__(self, message: str, line: str, store: Path) -> None:
        super().__init__(message)
        self.line, self.store = line, store


class CheckFailed(PeftcoreError):
    """A check of the trial itself failed, so its numbers would mean nothing."""


class LossNotFinite(PeftcoreError):
    """The training loss became NaN or infinite."""

    def __init__(self, step: int, loss: float) -> None:
        super().__init__(f"the training loss became {loss} at step {step}")
        self.step = step


@contextmanager
def telling_what_is_kept(kept: str) -> Iterator[None]:
    """Turn a failure of the system's, such as a full disk, into a sentence that says what is kept.

    Args:
        kept: what is, and how to go on.

    Raises:
        StoreError: in place of any error of the system's.
    """
    try:
        yield
    except OSError as error:
        where = "" if error.filename is None else f"{error.filename}: "
        raise StoreError(f"{where}{error.strerror or error}; {kept}") from None


_OUT_OF_MEMORY = ("can't allocate memory", "CUDA error: out of memory")
"""What a processor's allocator and the driver of a GPU say, by an error of no kind of its own."""


def is_out_of_memory(error: BaseException) -> bool:
    """Return whether an error, whichever library raised it, says that memory was not to be had."""
    # By its name: a trial that needs no torch does not import it.
    known = isinstance(error, MemoryError) or type(error).__name__ == "OutOfMemoryError"
    return known or any(words in str(error) for words in _OUT_OF_MEMORY)


def unknown(
    kind: str, value: str, known: Iterable[str], *, where: str = "", listing: str = ""
) -> UsageError:
    """Return the error for a name that does not exist, with the nearest one that does.

    Args:
        kind: what the name should have named, such as "method".
        value: the name that was given.
        known: the names that exist.
        where: the option that carried it, such as "--peft-method".
        listing: the command that lists them, where they are too many for a sentence.
    """
    names = sorted(known)
    near = difflib.get_close_matches(value.lower(), names, n=1, cutoff=0.5)
    hint = f"did you mean {near[0]!r}? " if near else ""
    source = f" (from {where})" if where else ""
    all_of_them = f"{listing} lists them" if listing else f"known are {', '.join(names)}"
    return UsageError(f"unknown {kind} {value!r}{source}: {hint}{all_of_them}")


def member(kind: type[Member], value: str, *, where: str) -> Member:
    """Return the member of an enumeration that an option's value names, whatever its case.

    Raises:
        UsageError: none of them is named so.
    """
    known = [str(one) for one in kind]
    if value.strip().lower() not in known:
        raise unknown("value", value, known, where=where)
    return kind(value.strip().lower())

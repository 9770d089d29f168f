"""What an audit finds: each place where something published does not follow."""

from __future__ import annotations

import json
import math
from dataclasses import dataclass, field

LONGEST = 160
"""A finding quotes no more letters than this of what it is about."""


def shown(value: object, longest: int = LONGEST) -> str:
    """Return text from a report or a record so that it can neither hide nor pose as another line.

    What a terminal would obey rather than show (line ends, escapes, marks that turn the direction
    of writing) is written as its code; what is long is cut.
    """
    text = value if isinstance(value, str) else repr(value)
    cut = text[: longest + 1]
    plain = "".join(c if c.isprintable() else json.dumps(c)[1:-1] for c in cut[:longest])
    return f"{plain}…" if len(cut) > longest else plain


@dataclass(frozen=True, kw_only=True)
class Finding:
    """One thing that does not follow.

    Attributes:
        where: the file, with its line, row and column where there are such.
        what: what is wrong with it.
        published: what stands there, if that tells more.
        follows: what should, if it is known.
    """

    where: str
    what: str
    published: str | None = None
    follows: str | None = None

    def sentence(self) -> str:
        """Return the finding in one line."""
        parts = [f"{self.where}: {self.what}"]
        if self.published is not None:
            parts.append(f"published is {self.published}")
        if self.follows is not None:
            parts.append(f"what follows is {self.follows}")
        return "; ".join(parts)


@dataclass
class Ledger:
    """Counts what was checked, and keeps what does not follow.

    An audit that finds nothing because it looked at nothing must not look like one that is content.

    Attributes:
        checked: how many checks were made.
        findings: in the order of the checks.
    """

    checked: int = 0
    findings: list[Finding] = field(default_factory=list)

    def that(
        self,
        holds: bool,
        where: str,
        what: str,
        *,
        published: object = None,
        follows: object = None,
    ) -> bool:
        """Count one check, keep it as a finding unless it holds, and return whether it does."""
        self.checked += 1
        if not holds:
            self.findings.append(
                Finding(
                    where=where,
                    what=what,
                    published=None if published is None else shown(published),
                    follows=None if follows is None else shown(follows),
                )
            )
        return holds

    def equal(
        self, where: str, what: str, published: float, follows: float, *, within: float = 1e-9
    ) -> bool:
        """Check a number against what follows, to a relative error that rounding may make."""
        holds = math.isclose(published, follows, rel_tol=within, abs_tol=1e-12)
        return self.that(holds, where, what, published=published, follows=follows)

"""What is compared: one declaration a method, and nothing else to touch when one is added.

The declarations stand by their kind in the modules beside this one.
"""

from __future__ import annotations

from peftcore.errors import unknown
from peftcore.methods.declaring import (
    Adapter,
    Group,
    Method,
    Optimiser,
    Quantisation,
    Start,
    Trains,
)
from peftcore.methods.four_bit import FOUR_BIT
from peftcore.methods.lora_variants import LORA_VARIANTS
from peftcore.methods.low_rank import LOW_RANK
from peftcore.methods.prompts import PROMPTS
from peftcore.methods.rotations import ROTATIONS
from peftcore.methods.sparse import SPARSE
from peftcore.methods.study import REFERENCES, STUDIED
from peftcore.methods.vectors import VECTORS

__all__ = [
    "ALL",
    "METHODS",
    "Adapter",
    "Group",
    "Method",
    "Optimiser",
    "Quantisation",
    "Start",
    "Trains",
    "find_method",
    "find_methods",
    "place_of",
    "slugs_of",
]

METHODS: tuple[Method, ...] = (
    *STUDIED,
    *LORA_VARIANTS,
    *LOW_RANK,
    *ROTATIONS,
    *SPARSE,
    *VECTORS,
    *PROMPTS,
    *FOUR_BIT,
    *REFERENCES,
)

ALL = "all"
"""The name of all methods together."""

_LISTING = "peftcore methods"

_BY_SLUG = {method.slug: method for method in METHODS}


_PLACES = {slug: place for place, slug in enumerate(_BY_SLUG)}


def place_of(slug: str) -> tuple[int, str]:
    """Return what puts methods in the order of their declarations, others behind by their slugs."""
    return _PLACES.get(slug, len(_PLACES)), slug


def slugs_of(group: Group) -> tuple[str, ...]:
    """Return the slugs of a group's methods, in the order of their declarations."""
    return tuple(method.slug for method in METHODS if group in method.groups)


def find_method(slug: str, *, where: str = "") -> Method:
    """Return the method with this slug.

    Args:
        slug: such as ``"lora"``; case and blanks around it do not matter, and the usual ways to
            write a name (``"LoRA+"``, ``"prefix_tuning"``) are known.
        where: the option that named it, for the message.

    Raises:
        UsageError: there is no such method; the message suggests the nearest.
    """
    method = _BY_SLUG.get(_plain(slug))
    if method is None:
        raise unknown("method", slug, _BY_SLUG, where=where, listing=_LISTING)
    return method


def find_methods(name: str, *, where: str = "") -> tuple[Method, ...]:
    """Return the methods that a slug, the name of a group or ``all`` stands for.

    Raises:
        UsageError: nothing is called so; the message suggests the nearest.
    """
    plain = _plain(name)
    if plain == ALL:
        return METHODS
    if plain in list(Group):
        return tuple(method for method in METHODS if plain in method.groups)
    if plain not in _BY_SLUG:
        known = [*_BY_SLUG, *map(str, Group), ALL]
        raise unknown("method", name, known, where=where, listing=_LISTING)
    return (_BY_SLUG[plain],)


def _plain(name: str) -> str:
    return name.strip().lower().replace("+", "plus").replace("_", "-").replace(" ", "-")

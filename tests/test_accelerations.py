"""What the setting ``accelerations`` stands for."""

from __future__ import annotations

import pytest

from peftcore.accelerations import ACCELERATIONS, ALL, parse_accelerations
from peftcore.errors import UsageError
from peftcore.scenarios import Recipe, Task, override


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("all", ALL),
        ("none", ()),
        ("cheap-dropout", ("cheap-dropout",)),
        ("fused-update, Padding-Free", ("padding-free", "fused-update")),
        ("-padding-free", ALL[1:]),
        ("-fused-update,-padding-free", tuple(n for n in ALL[1:] if n != "fused-update")),
    ],
)
def test_all_none_some_or_all_but_some(text: str, expected: tuple[str, ...]) -> None:
    assert parse_accelerations(text) == expected
    _, recipe, changed = override(Task(), Recipe(), [f"accelerations={text}"])
    assert recipe.accelerations == expected
    assert changed == {"accelerations"}


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("cheap-drop", "did you mean 'cheap-dropout'?"),
        ("-warp-drive", "unknown acceleration 'warp-drive'"),
        ("padding-free,-first-token", "expected all, none"),
        ("", "expected all, none"),
        (",", "expected all, none"),
    ],
)
def test_what_can_not_be_meant_is_refused(text: str, words: str) -> None:
    with pytest.raises(UsageError) as told:
        parse_accelerations(text)
    assert words in str(told.value)


def test_each_says_what_it_does_and_what_it_changes_in_one_sentence() -> None:
    for acceleration in ACCELERATIONS:
        for text in (acceleration.summary, acceleration.numerics):
            assert text.endswith(".")
            assert text.count(". ") == 0
    assert len(set(ALL)) == len(ACCELERATIONS)

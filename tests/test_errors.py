from __future__ import annotations

from enum import StrEnum

import pytest

from peftcore import errors
from peftcore.errors import (
    LossNotFinite,
    PeftcoreError,
    UsageError,
    is_out_of_memory,
    member,
    unknown,
)


def test_every_error_has_the_one_base() -> None:
    found = [
        value
        for value in vars(errors).values()
        if isinstance(value, type) and issubclass(value, Exception)
    ]
    assert len(found) >= 5
    assert all(issubclass(error, PeftcoreError) for error in found)


@pytest.mark.parametrize(
    ("given", "suggested"),
    [("lorra", "lora"), ("LORA2", "lora"), ("q-lora", "qlora"), ("heads", "head")],
)
def test_an_unknown_name_suggests_the_nearest(given: str, suggested: str) -> None:
    error = unknown("method", given, ["qlora", "lora", "head"], where="--peft-method")
    assert isinstance(error, UsageError)
    assert str(error) == (
        f"unknown method {given!r} (from --peft-method): did you mean {suggested!r}? "
        "known are head, lora, qlora"
    )


def test_a_name_that_is_near_to_none_suggests_none() -> None:
    assert str(unknown("method", "xyz", ["lora"])) == "unknown method 'xyz': known are lora"


def test_a_loss_that_is_not_finite_tells_its_step() -> None:
    error = LossNotFinite(17, float("nan"))
    assert str(error) == "the training loss became nan at step 17"
    assert error.step == 17


class Colour(StrEnum):
    RED = "red"
    BLUE = "blue"


@pytest.mark.parametrize("text", ["red", "RED", " Red "])
def test_a_member_is_found_whatever_its_case(text: str) -> None:
    assert member(Colour, text, where="--colour") is Colour.RED


@pytest.mark.parametrize(
    ("text", "words"),
    [("blu", "did you mean 'blue'? known are blue, red"), ("", "known are blue, red")],
)
def test_a_member_that_does_not_exist(text: str, words: str) -> None:
    with pytest.raises(UsageError) as caught:
        member(Colour, text, where="--colour")
    assert str(caught.value) == f"unknown value {text!r} (from --colour): {words}"


@pytest.mark.parametrize(
    ("error", "expected"),
    [
        (MemoryError(), True),
        (RuntimeError("DefaultCPUAllocator: can't allocate memory: you tried to"), True),
        (RuntimeError("CUDA error: out of memory"), True),
        (type("OutOfMemoryError", (RuntimeError,), {})("CUDA out of memory."), True),
        (RuntimeError("mat1 and mat2 shapes cannot be multiplied"), False),
        (ValueError("can't merge"), False),
    ],
)
def test_what_says_that_memory_was_not_to_be_had(error: Exception, expected: bool) -> None:
    assert is_out_of_memory(error) is expected

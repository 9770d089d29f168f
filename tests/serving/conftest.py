"""Trials that serve a tiny model."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable
from typing import Any

import pytest

from peftcore.serving.trials import Serving, ServingTrial, code_sha256
from tests.conftest import MakeTrial

MakeServing = Callable[..., ServingTrial]


@pytest.fixture
def make_serving(make_trial: MakeTrial) -> MakeServing:
    """Return a function that makes a trial that serves a method."""

    def make(method: str = "lora", **settings: Any) -> ServingTrial:
        trial = make_trial(method, train_examples=16, test_examples=12)
        fields = {field.name: getattr(trial, field.name) for field in dataclasses.fields(trial)}
        usual = {"rounds": 2, "warm_up_rounds": 1, "singles": 2, "batch_size": 4}
        serving = Serving(**{**usual, "residents": (1, 3), "code": code_sha256(), **settings})
        return ServingTrial(**fields, serving=serving)

    return make

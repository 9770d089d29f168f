"""The four methods of the source study, and the rows that every method should beat."""

from __future__ import annotations

from peftcore.methods.declaring import Adapter, Group, Method, Quantisation, Trains

STUDIED: tuple[Method, ...] = (
    Method(
        slug="full",
        name="Full",
        summary="Full fine-tuning: every weight of the backbone and the head is trained.",
        paper=None,
        trains=Trains.EVERYTHING,
        groups=(Group.STUDY, Group.POPULAR),
    ),
    Method(
        slug="lora",
        name="LoRA",
        summary="Adds a trained product of two thin matrices to the frozen query and value "
        "projections.",
        paper="https://arxiv.org/abs/2106.09685",
        trains=Trains.ADAPTER,
        adapter=Adapter(
            config="LoraConfig",
            options={"r": 16, "lora_alpha": 32, "lora_dropout": 0.1},
            targets=("query", "value"),
        ),
        groups=(Group.STUDY, Group.POPULAR),
    ),
    Method(
        slug="qlora",
        name="QLoRA",
        summary="LoRA on query, key and value over a backbone that is stored in 4 bits.",
        paper="https://arxiv.org/abs/2305.14314",
        trains=Trains.ADAPTER,
        adapter=Adapter(
            config="LoraConfig",
            options={"r": 8, "lora_alpha": 32, "lora_dropout": 0.05},
            targets=("query", "key", "value"),
        ),
        quantisation=Quantisation(),
        groups=(Group.STUDY, Group.POPULAR),
    ),
    Method(
        slug="ia3",
        name="IA3",
        summary="Rescales keys, values and what enters each output projection by trained vectors.",
        paper="https://arxiv.org/abs/2205.05638",
        trains=Trains.ADAPTER,
        adapter=Adapter(config="IA3Config"),
        groups=(Group.STUDY, Group.POPULAR),
    ),
)

REFERENCES: tuple[Method, ...] = (
    Method(
        slug="bow",
        name="Bag of words",
        summary="TF-IDF of words and bigrams with logistic regression: no backbone at all.",
        paper=None,
        trains=Trains.BAG_OF_WORDS,
        reference=True,
        groups=(Group.STUDY, Group.POPULAR),
    ),
    Method(
        slug="head",
        name="Head only",
        summary="The backbone is frozen and only the classification head is trained.",
        paper=None,
        trains=Trains.HEAD,
        reference=True,
        groups=(Group.STUDY, Group.POPULAR),
    ),
)

"""Methods that train nothing but vectors the backbone has already: biases and normalisations."""

from __future__ import annotations

from peftcore.methods.declaring import Adapter, Group, Method, Trains

VECTORS: tuple[Method, ...] = (
    Method(
        slug="bitfit",
        name="BitFit",
        summary="Trains the backbone's biases, and nothing else but the head.",
        paper="https://arxiv.org/abs/2106.10199",
        trains=Trains.BIASES,
        groups=(Group.POPULAR,),
        rate_of="lora",
    ),
    Method(
        slug="beft",
        name="BEFT",
        summary="Trains the bias of the value projections alone.",
        paper="https://arxiv.org/abs/2509.15974",
        trains=Trains.ADAPTER,
        adapter=Adapter(config="BeftConfig", targets=("value",)),
        rate_of="ia3",
    ),
    Method(
        slug="ln-tuning",
        name="LN tuning",
        summary="Trains the scales and shifts of the layers' normalisations.",
        paper="https://arxiv.org/abs/2312.11420",
        trains=Trains.ADAPTER,
        adapter=Adapter(config="LNTuningConfig", targets=("attention norm", "output norm")),
        rate_of="lora",
        rate_times=4.0,
    ),
)

"""LoRA with one thing done otherwise: its form, its first weights or its optimiser.

Rank, dropout and targets are LoRA's, so that a difference from LoRA is that one thing's.
"""

from __future__ import annotations

from typing import Any

from peftcore.methods.declaring import (
    Adapter,
    Group,
    Method,
    Optimiser,
    Quantisation,
    Start,
    Trains,
)


def _lora(*, start: Start | None = None, **options: Any) -> Adapter:
    return Adapter(
        config="LoraConfig",
        options={"r": 16, "lora_alpha": 32, "lora_dropout": 0.1, **options},
        targets=("query", "value"),
        start=start,
    )


LORA_VARIANTS: tuple[Method, ...] = (
    Method(
        slug="dora",
        name="DoRA",
        summary="LoRA for the direction of each weight column, and a trained magnitude beside it.",
        paper="https://arxiv.org/abs/2402.09353",
        trains=Trains.ADAPTER,
        adapter=_lora(use_dora=True),
        groups=(Group.POPULAR,),
        rate_of="lora",
    ),
    Method(
        slug="rslora",
        name="rsLoRA",
        summary="LoRA scaled by the root of its rank, so that a higher rank does not learn slower.",
        paper="https://arxiv.org/abs/2312.03732",
        trains=Trains.ADAPTER,
        # Alpha is LoRA's: by the root of the rank it is as strong as 32 / 4 and not as 32 / 16.
        adapter=_lora(use_rslora=True),
        rate_of="lora",
        # Adam moves a factor by the rate, however strong the product is: at a fourth of LoRA's,
        # what the second factor adds grows at first as fast as LoRA's does.
        rate_times=0.25,
    ),
    Method(
        slug="pissa",
        name="PiSSA",
        summary="LoRA that begins as the principal singular vectors of the weight and freezes the "
        "rest of it.",
        paper="https://arxiv.org/abs/2404.02948",
        trains=Trains.ADAPTER,
        adapter=_lora(init_lora_weights="pissa"),
        groups=(Group.POPULAR,),
        rate_of="lora",
    ),
    Method(
        slug="olora",
        name="OLoRA",
        summary="LoRA that begins with the orthonormal factor of the weight's QR decomposition.",
        paper="https://arxiv.org/abs/2406.01775",
        trains=Trains.ADAPTER,
        adapter=_lora(init_lora_weights="olora"),
        rate_of="lora",
    ),
    Method(
        slug="eva",
        name="EVA",
        summary="LoRA that begins with the directions in which training texts' activations vary "
        "most, ranks given out by how much they explain.",
        paper="https://arxiv.org/abs/2410.07170",
        trains=Trains.ADAPTER,
        adapter=_lora(
            init_lora_weights="eva", eva_config={"rho": 2.0, "tau": 0.99}, start=Start.ACTIVATIONS
        ),
        rate_of="lora",
    ),
    Method(
        slug="loftq",
        name="LoftQ",
        summary="LoRA over a 4-bit backbone that begins by making up for what quantisation took.",
        paper="https://arxiv.org/abs/2310.08659",
        trains=Trains.ADAPTER,
        adapter=_lora(start=Start.QUANTISATION_ERROR),
        quantisation=Quantisation(),
        rate_of="qlora",
    ),
    Method(
        slug="loraplus",
        name="LoRA+",
        summary="LoRA whose second factor learns at sixteen times the rate of its first.",
        paper="https://arxiv.org/abs/2402.12354",
        trains=Trains.ADAPTER,
        adapter=_lora(),
        # The ratio that its authors advise (section 4.4).
        optimiser=Optimiser(rate_factors={"lora_B": 16.0}),
        groups=(Group.POPULAR,),
        rate_of="lora",
        # Its two factors then learn at LoRA's rate in the geometric mean. At LoRA's own rate, and
        # the second factor at sixteen times that, it ends at chance on IMDb.
        rate_times=0.25,
    ),
    Method(
        slug="lora-fa",
        name="LoRA-FA",
        summary="LoRA whose first factor stays as drawn; the second follows the gradient of the "
        "whole matrix as closely as it can.",
        paper="https://arxiv.org/abs/2308.03303",
        trains=Trains.ADAPTER,
        adapter=_lora(),
        optimiser=Optimiser(full_gradient=True),
        rate_of="lora",
        rate_times=2.0,
    ),
)

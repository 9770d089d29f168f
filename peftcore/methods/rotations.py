"""Methods that turn weights or their singular vectors, and keep what is orthogonal so."""

from __future__ import annotations

from peftcore.methods.declaring import Group, Method, Trains, on_query_and_value

ROAD = Method(
    slug="road",
    name="RoAd",
    summary="Turns and scales pairs of what a projection gives out, by trained angles.",
    paper="https://arxiv.org/abs/2409.00119",
    trains=Trains.ADAPTER,
    adapter=on_query_and_value("RoadConfig"),
    rate_of="ia3",
)

ROTATIONS: tuple[Method, ...] = (
    Method(
        slug="oft",
        name="OFT",
        summary="Multiplies weights by trained rotations, block by block.",
        paper="https://arxiv.org/abs/2306.07280",
        trains=Trains.ADAPTER,
        adapter=on_query_and_value("OFTConfig", oft_block_size=64),
        groups=(Group.POPULAR,),
        rate_of="lora",
    ),
    Method(
        slug="boft",
        name="BOFT",
        # Of several factors, wired as a butterfly, peft computes more than one only on a machine
        # where it can compile a kernel for CUDA; one everywhere, so that it is the same everywhere.
        summary="Rotates blocks of inputs as OFT does, with a trained scale for each output.",
        paper="https://arxiv.org/abs/2311.06243",
        trains=Trains.ADAPTER,
        adapter=on_query_and_value("BOFTConfig", boft_block_size=32, boft_n_butterfly_factor=1),
        rate_of="lora",
    ),
    Method(
        slug="hra",
        name="HRA",
        summary="Multiplies weights by a chain of trained reflections (Householder).",
        paper="https://arxiv.org/abs/2405.17484",
        trains=Trains.ADAPTER,
        adapter=on_query_and_value("HRAConfig", r=32),
        rate_of="lora",
    ),
    ROAD,
    Method(
        slug="psoft",
        name="PSOFT",
        summary="Turns a weight's principal subspace, with trained scales before and after.",
        paper="https://openreview.net/forum?id=FSHrinMArK",
        trains=Trains.ADAPTER,
        adapter=on_query_and_value("PsoftConfig", r=64, psoft_alpha=64),
        rate_of="lora",
    ),
    Method(
        slug="osf",
        name="OSF",
        summary="Freezes a weight's leading singular directions and trains the others, orthogonal "
        "to them.",
        paper="https://arxiv.org/abs/2504.07097",
        trains=Trains.ADAPTER,
        adapter=on_query_and_value("OSFConfig", effective_rank=0.96),
        rate_of="lora",
        rate_times=10.0,
    ),
    Method(
        slug="frod",
        name="FRoD",
        summary="Trains the diagonal and a few other entries of a weight in a full-rank basis that "
        "layers share.",
        paper="https://doi.org/10.1609/aaai.v40i31.39813",
        trains=Trains.ADAPTER,
        adapter=on_query_and_value("FrodConfig", sparse_rate=0.08, progressbar=False),
        rate_of="lora",
    ),
)

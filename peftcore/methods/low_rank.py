"""Other products and sums of small matrices that are added to frozen weights, or multiply them.

Sizes are chosen so that the adapter has about as many parameters as LoRA's at rank 16, where the
method lets its size be chosen; methods made to be tiny are left as tiny as peft's defaults have
them, but for two that docs/methods.md names.
"""

from __future__ import annotations

from dataclasses import replace

from peftcore.methods.declaring import Adapter, Group, Method, Trains, on_query_and_value

ADALORA = Method(
    slug="adalora",
    name="AdaLoRA",
    summary="LoRA in the form of a singular value decomposition that gives its rank, step by step, "
    "to the matrices that need it.",
    paper="https://arxiv.org/abs/2303.10512",
    trains=Trains.ADAPTER,
    adapter=Adapter(
        config="AdaLoraConfig",
        # It begins with half as much again as it ends with, as its authors advise.
        options={"init_r": 24, "target_r": 16, "lora_alpha": 32, "lora_dropout": 0.1},
        targets=("query", "value"),
        shares={"total_step": 1.0, "tinit": 0.1, "tfinal": 0.3},
        adds_loss=True,
        rounds_on_saving=True,
    ),
    groups=(Group.POPULAR,),
    rate_of="lora",
    rate_times=10.0,
)
HIRA = Method(
    slug="hira",
    name="HiRA",
    summary="Multiplies each weight, entry by entry, by a trained product of two thin matrices.",
    paper="https://openreview.net/forum?id=TwJrTz9cRS",
    trains=Trains.ADAPTER,
    adapter=on_query_and_value("HiraConfig", r=16, hira_dropout=0.1),
    rate_of="lora",
    rate_times=20.0,
)
PVERA = Method(
    slug="pvera",
    name="PVeRA",
    summary="VeRA that learns a distribution of what it adds, and draws from it in training.",
    paper="https://arxiv.org/abs/2512.07703",
    trains=Trains.ADAPTER,
    adapter=on_query_and_value("PveraConfig", r=256),
    rate_of="ia3",
)
RANDLORA = Method(
    slug="randlora",
    name="RandLoRA",
    summary="Adds a sum of frozen random products, each scaled by trained diagonals: full rank.",
    paper="https://arxiv.org/abs/2502.00987",
    trains=Trains.ADAPTER,
    adapter=on_query_and_value("RandLoraConfig", r=16, randlora_alpha=320),
    rate_of="lora",
)

LOW_RANK: tuple[Method, ...] = (
    ADALORA,
    Method(
        slug="vera",
        name="VeRA",
        summary="Shares two frozen random matrices among layers and trains two vectors in each.",
        paper="https://arxiv.org/abs/2310.11454",
        trains=Trains.ADAPTER,
        adapter=on_query_and_value("VeraConfig", r=256),
        groups=(Group.POPULAR,),
        rate_of="ia3",
    ),
    PVERA,
    Method(
        slug="loha",
        name="LoHa",
        summary="Adds the entry-by-entry product of two low-rank matrices: of a higher rank.",
        paper="https://arxiv.org/abs/2108.06098",
        trains=Trains.ADAPTER,
        adapter=on_query_and_value("LoHaConfig", r=8, alpha=16),
        rate_of="lora",
        rate_times=3.0,
    ),
    Method(
        slug="lokr",
        name="LoKr",
        summary="Adds a Kronecker product of two small trained matrices.",
        paper="https://arxiv.org/abs/2309.14859",
        trains=Trains.ADAPTER,
        # It is the factor that decides how large it is. A rank does once the second matrix is more
        # than twice as wide; until then peft trains that matrix whole.
        adapter=on_query_and_value("LoKrConfig", r=64, alpha=128, decompose_factor=4),
        rate_of="lora",
        rate_times=10.0,
    ),
    HIRA,
    Method(
        slug="delora",
        name="DeLoRA",
        summary="Learns the direction of a low-rank update and, apart from it, how far to go.",
        paper="https://arxiv.org/abs/2503.18225",
        trains=Trains.ADAPTER,
        adapter=on_query_and_value("DeloraConfig", r=16),
        rate_of="lora",
    ),
    Method(
        slug="gralora",
        name="GraLoRA",
        summary="Cuts each weight into a grid of blocks and adds a LoRA to each of them.",
        paper="https://arxiv.org/abs/2505.20355",
        trains=Trains.ADAPTER,
        adapter=on_query_and_value(
            "GraloraConfig", r=16, alpha=32, gralora_k=2, gralora_dropout=0.1
        ),
        rate_of="lora",
    ),
    Method(
        slug="glora",
        name="GLoRA",
        summary="Scales and shifts weights and biases by low-rank and scalar terms at once.",
        paper="https://arxiv.org/abs/2306.07967",
        trains=Trains.ADAPTER,
        adapter=on_query_and_value("GloraConfig", r=6),
        rate_of="lora",
    ),
    Method(
        slug="miss",
        name="MiSS",
        summary="Adds one small trained matrix to all slices of a weight: half of a LoRA, shared.",
        paper="https://arxiv.org/abs/2409.15371",
        trains=Trains.ADAPTER,
        adapter=on_query_and_value("MissConfig", r=32),
        rate_of="lora",
    ),
    RANDLORA,
    Method(
        slug="lily",
        name="Lily",
        summary="Shares the second factors of LoRA among layers, and mixes them by what they see.",
        paper="https://arxiv.org/abs/2407.09946",
        trains=Trains.ADAPTER,
        # It weighs the factors by the mean over all tokens of a batch, padding included.
        adapter=replace(
            on_query_and_value("LilyConfig", r=16, stride_A=1, num_B=2), mixes_texts=True
        ),
        rate_of="lora",
    ),
    Method(
        slug="peanut",
        name="PEANuT",
        summary="Computes the update from the frozen weight itself by a small trained network.",
        paper="https://arxiv.org/abs/2410.01870",
        trains=Trains.ADAPTER,
        adapter=on_query_and_value("PeanutConfig", r=16),
        rate_of="lora",
    ),
    Method(
        slug="deft",
        name="DEFT",
        summary="Takes a trained low-rank subspace out of a weight and puts another part in its "
        "place.",
        paper="https://proceedings.neurips.cc/paper_files/paper/2025/hash/"
        "93a34a7138bdad95e874018d5f491cc6-Abstract-Conference.html",
        trains=Trains.ADAPTER,
        adapter=on_query_and_value("DeftConfig", r=16, deft_dropout=0.1),
        rate_of="lora",
    ),
    Method(
        slug="adamss",
        name="AdaMSS",
        summary="Clusters a weight's singular vectors into subspaces and trains a low-rank update "
        "in each.",
        paper="https://openreview.net/forum?id=8ZdWmpYxT0",
        trains=Trains.ADAPTER,
        adapter=on_query_and_value("AdamssConfig", r=100, num_subspaces=5, subspace_rank=16),
        rate_of="lora",
    ),
    Method(
        slug="poly",
        name="Poly",
        summary="Mixes several LoRAs, its skills, by weights that are trained for each task.",
        paper="https://arxiv.org/abs/2202.13914",
        trains=Trains.ADAPTER,
        adapter=Adapter(
            config="PolyConfig",
            options={"r": 4, "n_skills": 4, "n_tasks": 1},
            targets=("query", "value"),
            inputs=("task_ids",),
        ),
        rate_of="lora",
        rate_times=6.0,
    ),
    Method(
        slug="vblora",
        name="VB-LoRA",
        summary="Puts LoRA's factors together from one bank of vectors that all layers share.",
        paper="https://arxiv.org/abs/2405.15179",
        trains=Trains.ADAPTER,
        adapter=on_query_and_value("VBLoRAConfig", r=4, num_vectors=64, vector_length=64),
        rate_of="lora",
        rate_times=2.5,
    ),
    Method(
        slug="unilora",
        name="Uni-LoRA",
        summary="Projects one short trained vector to all of LoRA's parameters.",
        paper="https://arxiv.org/abs/2506.00799",
        trains=Trains.ADAPTER,
        adapter=on_query_and_value("UniLoraConfig", r=16, theta_d_length=8192),
        rate_of="lora",
        rate_times=20.0,
    ),
    Method(
        slug="tinylora",
        name="TinyLoRA",
        summary="Mixes the two leading singular directions of each weight by a handful of numbers.",
        paper="https://arxiv.org/abs/2602.04118",
        trains=Trains.ADAPTER,
        adapter=on_query_and_value("TinyLoraConfig"),
        rate_of="ia3",
    ),
)

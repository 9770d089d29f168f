"""The adapter that this project ships, declared as peftcore's own methods are."""

from peftcore.methods import Adapter, Method, Trains

THIN_LORA = Method(
    slug="thin-lora",
    name="Thin LoRA",
    summary="LoRA of rank 4 on query, key and value.",
    paper="https://arxiv.org/abs/2106.09685",
    trains=Trains.ADAPTER,
    adapter=Adapter(
        config="LoraConfig",
        options={"r": 4, "lora_alpha": 16, "lora_dropout": 0.05},
        targets=("query", "key", "value"),
    ),
    rate_of="lora",
)

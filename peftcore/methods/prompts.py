"""Methods that train what enters the frozen layers: tokens that no text has, or tokens' vectors."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

from peftcore.methods.declaring import Adapter, Group, Method, Trains


def _tokens(config: str, count: int, **options: Any) -> Adapter:
    return Adapter(config=config, options={"num_virtual_tokens": count, **options}, targets=())


PROMPTS: tuple[Method, ...] = (
    Method(
        slug="prefix-tuning",
        name="Prefix tuning",
        summary="Trains keys and values that each layer's attention sees before the text's.",
        paper="https://arxiv.org/abs/2101.00190",
        trains=Trains.ADAPTER,
        adapter=_tokens("PrefixTuningConfig", 32),
        groups=(Group.POPULAR,),
        rate_of="ia3",
    ),
    Method(
        slug="prompt-tuning",
        name="Prompt tuning",
        summary="Trains the vectors of twenty tokens that are put before each text.",
        paper="https://arxiv.org/abs/2104.08691",
        trains=Trains.ADAPTER,
        adapter=_tokens("PromptTuningConfig", 20),
        rate_of="ia3",
        rate_times=10.0,
    ),
    Method(
        slug="p-tuning",
        name="P-tuning",
        summary="Prompt tuning with a small trained network that gives the vectors.",
        paper="https://arxiv.org/abs/2103.10385",
        trains=Trains.ADAPTER,
        adapter=replace(
            _tokens("PromptEncoderConfig", 20, encoder_hidden_size=128), rounds_on_saving=True
        ),
        rate_of="lora",
        rate_times=10.0,
    ),
    Method(
        slug="multitask-prompt-tuning",
        name="Multitask prompt tuning",
        summary="Prompt tuning with one prompt for all tasks times a rank-one matrix for each.",
        paper="https://arxiv.org/abs/2303.02861",
        trains=Trains.ADAPTER,
        adapter=replace(
            _tokens("MultitaskPromptTuningConfig", 20, num_tasks=1), inputs=("task_ids",)
        ),
        rate_of="ia3",
    ),
    Method(
        slug="cartridge",
        name="Cartridge",
        summary="Prefix tuning whose keys and values are trained themselves, the first kept frozen "
        "as a sink for attention.",
        paper="https://arxiv.org/abs/2506.06266",
        trains=Trains.ADAPTER,
        adapter=_tokens("CartridgeConfig", 32),
        rate_of="ia3",
    ),
    Method(
        slug="trainable-tokens",
        name="Trainable tokens",
        summary="Trains the vectors of the hundred most frequent tokens, and the head.",
        paper=None,
        trains=Trains.ADAPTER,
        adapter=Adapter(
            config="TrainableTokensConfig",
            targets=(),
            frequent_tokens={"token_indices": 100},
            in_layers=False,
        ),
        rate_of="lora",
        rate_times=5.0,
    ),
)

"""First weights of an adapter that are computed from the model or the data, and not drawn."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import bitsandbytes
import peft
import torch
from torch import nn

from peftcore.errors import UsageError
from peftcore.models.factors import PEFT_PREFIX, lora_factors


def start_from_activations(
    model: peft.PeftModel, batches: Sequence[Mapping[str, torch.Tensor]]
) -> None:
    """Begin each LoRA with the leading directions of what enters its layer (EVA, arXiv:2410.07170).

    Args:
        model: with ``init_lora_weights="eva"``; changed in place.
        batches: the model's inputs; as many are read as it takes for the directions to settle.

    Raises:
        UsageError: no batch has as many tokens as there are directions to be found.
    """
    config: Any = model.peft_config["default"]
    directions = round(config.r * config.eva_config.rho)
    # peft passes over a batch of fewer, and would go through them for ever.
    if not any(_tokens(batch) >= directions for batch in batches):
        raise UsageError(
            f"EVA looks for {directions} directions in the activations of a batch, and no batch "
            "has as many tokens: make batches larger (batch_size) or texts longer (max_length)"
        )
    # Its incremental decomposition draws none, and leaves the model's mode as it was.
    peft.initialize_lora_eva_weights(model, batches, show_progress_bar=False)


def _tokens(batch: Mapping[str, torch.Tensor]) -> int:
    """Return how many tokens of a batch are no padding; without a mask, as peft has it, all."""
    mask = batch.get("attention_mask")
    return batch["input_ids"].numel() if mask is None else int(mask.sum())


@torch.no_grad()
def start_from_quantisation_error(model: nn.Module, full_precision: nn.Module) -> None:
    """Begin each LoRA as the best product for what its layer lost to 4 bits (LoftQ).

    One step of algorithm 1 of arXiv:2310.08659: the quantised weight stays as it is, and the
    product of the factors, times LoRA's scaling, is the truncated singular value decomposition of
    the difference. peft's ``replace_lora_weights_loftq`` computes the same on a CUDA device alone,
    and leaves the scaling out.

    Args:
        model: LoRA on 4-bit layers; changed in place.
        full_precision: the same backbone, not quantised and with nothing attached.
    """
    for lora in lora_factors(model):
        weight = lora.base.weight
        kept = bitsandbytes.functional.dequantize_4bit(weight.data, weight.quant_state)
        plain: Any = full_precision.get_submodule(lora.layer.removeprefix(PEFT_PREFIX))
        lost = plain.weight.to(kept.device, torch.float32) - kept.float()
        left, sizes, right = torch.linalg.svd(lost, full_matrices=False)
        rank = lora.first.shape[0]
        root = (sizes[:rank] / lora.scaling).sqrt()
        lora.first.copy_(root[:, None] * right[:rank])
        lora.second.copy_(left[:, :rank] * root)

"""What a trial's texts become before training: token ids, and what methods must know of them."""

from __future__ import annotations

import math
from collections.abc import Callable

import torch
from torch import nn
from transformers import PretrainedConfig

from peftcore.data.batches import Feed, Tokenised, tokenise, training_order
from peftcore.data.examples import Sample
from peftcore.models.attach import Run
from peftcore.models.loading import load_tokenizer
from peftcore.trials import Trial


def tokenised(
    trial: Trial, sample: Sample, config: PretrainedConfig
) -> tuple[Tokenised, Tokenised]:
    """Return the examples to train on and those to be evaluated on as token ids.

    Args:
        trial: says how long a text may be, and whose tokens they are.
        sample: the examples.
        config: of the backbone as a classifier.
    """
    tokenizer = load_tokenizer(trial.backbone)
    train, test = (
        tokenise(
            examples,
            tokenizer,
            max_length=trial.task.max_length,
            vocabulary=config.vocab_size,
            pad_id=config.pad_token_id,
            segments=getattr(config, "type_vocab_size", 0),
        )
        for examples in sample
    )
    return train, test


def run_of(trial: Trial, train: Tokenised, *, full_precision: Callable[[], nn.Module]) -> Run:
    """Return what a method may ask about the run that it is attached for.

    Args:
        trial: says how often the weights are updated.
        train: the examples to train on.
        full_precision: loads the backbone as it is without quantisation.
    """
    recipe = trial.recipe

    def batches() -> list[dict[str, torch.Tensor]]:
        order = training_order(len(train), seed=trial.seed, epoch=0)
        found = []
        for batch in Feed(train, torch.device("cpu")).batches(order, recipe.batch_size):
            assert batch.attention_mask is not None, "these batches are padded"
            kinds = {} if batch.segments is None else {"token_type_ids": batch.segments}
            inputs = {"input_ids": batch.input_ids, "attention_mask": batch.attention_mask}
            found.append(inputs | kinds)
        return found

    return Run(
        updates=recipe.epochs * math.ceil(len(train) / recipe.batch_size),
        texts=train.ids,
        batches=batches,
        full_precision=full_precision,
    )

"""Tiny random classifiers of each supported architecture, and texts for them."""

from __future__ import annotations

import random
from collections.abc import Mapping
from pathlib import Path
from typing import Any

WORDS = (
    *("the", "a", "film", "plot", "was", "is", "not", "very", "quite", "and", "but"),
    *("good", "great", "fine", "dull", "poor", "bad"),
)

ARCHITECTURES: Mapping[str, Mapping[str, Any]] = {
    "bert": {},
    "roberta": {},
    "distilbert": {"hidden_dim": 128},
    # As DeBERTa-v3 is published: distances in buckets, and no positions otherwise.
    "deberta-v2": {
        "type_vocab_size": 0,
        "relative_attention": True,
        "position_buckets": 8,
        "max_relative_positions": -1,
        "norm_rel_ebd": "layer_norm",
        "share_att_key": True,
        "pos_att_type": ["p2c", "c2p"],
        "position_biased_input": False,
    },
    # One layer sees all, the other a window that is shorter than most texts; the head reads the
    # mean of a text's tokens, as published.
    "modernbert": {
        "local_attention": 8,
        "global_attn_every_n_layers": 2,
        "attention_dropout": 0.1,
        "classifier_pooling": "mean",
    },
    # As published: without a padding id, fewer keys than queries.
    "llama": {
        "hidden_size": 128,
        "num_key_value_heads": 2,
        "pad_token_id": None,
        "eos_token_id": 3,
    },
}
"""By model type, what its configuration has of its own beside two layers of 64 numbers a token."""


def write_tokenizer(folder: Path) -> int:
    """Write a word-level BERT tokenizer over WORDS, and return the size of its vocabulary."""
    from transformers import BertTokenizerFast  # type: ignore[attr-defined]

    vocabulary = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]", *WORDS]
    (folder / "vocab.txt").write_text("\n".join(vocabulary), encoding="utf-8")
    BertTokenizerFast(vocab=str(folder / "vocab.txt")).save_pretrained(folder)
    return len(vocabulary)


def write_tiny_model(folder: Path, architecture: str = "bert", *, scale: float = 0.02) -> Path:
    """Write a random two-layer classifier of this model type, with its tokenizer.

    Args:
        folder: where it goes; made if need be.
        architecture: the model type.
        scale: the standard deviation of its weights. At the usual one a model of this size gives
            all texts nearly the same logits, so that hardly anything shows in them.
    """
    import torch
    from transformers import AutoConfig, AutoModelForSequenceClassification

    folder.mkdir(parents=True, exist_ok=True)
    vocabulary = write_tokenizer(folder)
    shared = {
        "vocab_size": vocabulary,
        "hidden_size": 64,
        "num_hidden_layers": 2,
        "num_attention_heads": 4,
        "max_position_embeddings": 66,
        "pad_token_id": 0,
        "initializer_range": scale,
        **({} if architecture == "distilbert" else {"intermediate_size": 128}),
    }
    config = AutoConfig.for_model(architecture, **{**shared, **ARCHITECTURES[architecture]})
    torch.manual_seed(0)
    model = AutoModelForSequenceClassification.from_config(config, trust_remote_code=False)
    model.save_pretrained(folder)
    return folder


def review_rows(count: int, seed: int) -> list[tuple[str, int]]:
    """Return texts over WORDS with labels that the words decide: good ones or bad ones."""
    generator = random.Random(seed)
    rows = []
    for index in range(count):
        label = index % 2
        opinion = generator.choice(["good", "great", "fine"] if label else ["dull", "poor", "bad"])
        filler = generator.choices(WORDS[:6], k=generator.randint(3, 12))
        rows.append((" ".join([*filler, opinion]), label))
    generator.shuffle(rows)
    return rows

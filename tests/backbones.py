"""Backbones in folders, as tests of one step load them: on a processor, in 32 bits."""

from __future__ import annotations

from pathlib import Path

import torch
from transformers import PreTrainedModel

from peftcore.methods import Quantisation
from peftcore.models.backbones import locate_backbone
from peftcore.models.loading import classifier_config, load_classifier
from peftcore.scenarios import Precision
from peftcore.trials import Weights


def load_backbone(
    folder: Path,
    quantisation: Quantisation | None = None,
    *,
    dropout: float | None = None,
    seed: int = 1,
) -> PreTrainedModel:
    """Return a classifier of two classes with a folder's weights, its head drawn from ``seed``."""
    source = locate_backbone(str(folder), Weights.PRETRAINED)
    return load_classifier(
        folder,
        classifier_config(source, labels=2, dropout=dropout),
        seed=seed,
        quantisation=quantisation,
        precision=Precision.FP32,
        device=torch.device("cpu"),
    )

"""Load a backbone as a classifier with a fresh head, in full precision or in 4 bits."""

from __future__ import annotations

import tempfile
from collections.abc import Collection, Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import torch
import transformers
from bitsandbytes.nn.modules import Linear4bit
from torch import nn
from transformers import (
    AutoConfig,
    AutoModelForSequenceClassification,
    AutoTokenizer,
    BitsAndBytesConfig,
    PretrainedConfig,
    PreTrainedModel,
    PreTrainedTokenizerBase,
)

from peftcore.errors import UsageError
from peftcore.methods import Quantisation
from peftcore.models.architectures import architecture_of
from peftcore.models.backbones import read_config
from peftcore.scenarios import Precision
from peftcore.trials import Source, Trial, Weights

DTYPES = {
    Precision.FP32: torch.float32,
    Precision.BF16: torch.bfloat16,
    Precision.FP16: torch.float16,
}

_LEADS_ELSEWHERE = (
    "auto_map",
    "attn_implementation",
    "_attn_implementation",
    "experts_implementation",
    "_experts_implementation",
    "transformers_weights",
    "_name_or_path",
    "name_or_path",
)
"""What a configuration could name code by, kernels from the hub, or weights that nobody verified.

Remote code is never run: a configuration that asks for it is read as its plain model type.
"""


def classifier_config(source: Source, *, labels: int, dropout: float | None) -> PretrainedConfig:
    """Return the backbone's configuration as a classifier with this many labels.

    Args:
        source: the backbone.
        labels: how many classes the head tells apart.
        dropout: takes the place of every dropout probability of the backbone, unless ``None``.
    """
    content = read_config(source)
    for key in _LEADS_ELSEWHERE:
        content.pop(key, None)
    config = AutoConfig.for_model(content.pop("model_type"), **content)
    config.num_labels = labels
    # One of another task would choose another loss, and be handed on with what was trained.
    config.problem_type = "single_label_classification"
    config.pad_token_id = _padding_id(config)
    if hasattr(config, "use_cache"):
        # A decoder would keep each layer's keys and values for tokens that are never generated.
        config.use_cache = False
    if dropout is not None:
        for name, value in list(vars(config).items()):
            is_probability = value is None or isinstance(value, int | float)
            if "dropout" in name and is_probability and not isinstance(value, bool):
                setattr(config, name, dropout)
    return config


def _padding_id(config: PretrainedConfig) -> int:
    """Return the id that fills shorter rows; a decoder's configuration often names none.

    Then it is that of the end of a text, as is usual: it stands within no text, and a decoder's
    head reads the last token that is not padding.
    """
    end = config.eos_token_id
    ends = end if isinstance(end, list) else [end]
    known = (i for i in (config.pad_token_id, *ends) if i is not None)
    return int(next(known, 0))


def load_tokenizer(source: Source) -> PreTrainedTokenizerBase:
    """Return the tokenizer of a backbone, or the one that stands in for it."""
    folder = source.tokenizer_path or source.path
    tokenizer: PreTrainedTokenizerBase = AutoTokenizer.from_pretrained(
        folder, trust_remote_code=False, local_files_only=True
    )
    return tokenizer


@contextmanager
def weights_folder(trial: Trial, config: PretrainedConfig) -> Iterator[Path]:
    """Give a folder that holds the backbone's weights while the block runs.

    Random weights are written to a scratch folder first, so that every later step, quantisation
    and the check that a saved adapter reloads included, is the same for both.
    """
    if trial.weights is Weights.PRETRAINED:
        assert trial.backbone.path is not None, "a pretrained backbone always has a folder"
        yield Path(trial.backbone.path)
        return
    with tempfile.TemporaryDirectory(prefix="peftcore-") as folder:
        transformers.set_seed(trial.seed)
        model = AutoModelForSequenceClassification.from_config(config, trust_remote_code=False)
        model.save_pretrained(folder)
        del model
        yield Path(folder)


def load_classifier(
    folder: Path,
    config: PretrainedConfig,
    *,
    seed: int,
    quantisation: Quantisation | None,
    precision: Precision,
    device: torch.device,
) -> PreTrainedModel:
    """Return the classifier on ``device``, its head drawn from ``seed``.

    A folder may hold a head of its own, of a model that was trained for this task or another: it is
    taken where it is of this task's size.

    Args:
        folder: with ``model.safetensors``.
        config: from :func:`classifier_config`.
        seed: draws the fresh head.
        quantisation: how the backbone's linear layers are stored, ``None`` for 32 bits; the head
            is never quantised.
        precision: the number format that quantised weights are multiplied in.
        device: where the model goes.

    Raises:
        UsageError: the weights are not those of the configuration.
    """
    options: dict[str, Any] = {}
    architecture = architecture_of(config.model_type)
    if quantisation is not None:
        options["quantization_config"] = BitsAndBytesConfig(
            load_in_4bit=True,
            bnb_4bit_quant_type=quantisation.data_type,
            bnb_4bit_use_double_quant=quantisation.double,
            bnb_4bit_compute_dtype=DTYPES[precision],
            llm_int8_skip_modules=architecture.never_quantised,
        )
    transformers.set_seed(seed)
    model: PreTrainedModel
    model, loaded = AutoModelForSequenceClassification.from_pretrained(
        folder,
        config=config,
        use_safetensors=True,
        trust_remote_code=False,
        local_files_only=True,
        dtype=torch.float32,
        device_map={"": device},
        ignore_mismatched_sizes=True,
        output_loading_info=True,
        **options,
    )
    _require_backbone(folder, loaded["mismatched_keys"], loaded["missing_keys"], architecture.head)
    _keep_training_kernels(model)
    if quantisation is not None:
        own_storage(model)
    if quantisation is not None and architecture.queries_as_multiplied:
        for name, module in model.named_modules():
            if name.endswith(f".{architecture.parts['query']}"):
                module.register_forward_hook(_as_multiplied)
    return model


def _require_backbone(
    folder: Path,
    mismatched: Iterable[tuple[str, Any, Any]],
    missing: Iterable[str],
    head: Collection[str],
) -> None:
    """Check that only a head was of another size than the configuration says, or not there.

    What is missing of the backbone itself would be drawn at random, and pass for pretrained.
    """

    def of_backbone(names: Iterable[str]) -> list[str]:
        return sorted(name for name in names if not set(name.split(".")) & set(head))

    for found, what in (
        (of_backbone(name for name, *_ in mismatched), "of another size than config.json says"),
        (of_backbone(missing), "not in its weights"),
    ):
        if found:
            raise UsageError(
                f"{folder}: {found[0]} is {what}: the two are not of one model; save it again with "
                "save_pretrained, as transformers loads it"
            )


def _as_multiplied(_: nn.Module, __: tuple[Any, ...], output: torch.Tensor) -> torch.Tensor:
    """Return what a layer gives in the number format that autocast would multiply it in."""
    kind = output.device.type
    return output.to(torch.get_autocast_dtype(kind)) if torch.is_autocast_enabled(kind) else output


def own_storage(model: nn.Module) -> None:
    """Copy the parameters of ``model`` that are on a processor out of the weights file.

    They are loaded as parts of it, mapped into memory: while one of them lies there, all of it that
    was read stays resident, matrices that were converted or quantised since included.
    """
    for parameter in model.parameters():
        if parameter.device.type == "cpu":
            parameter.data = parameter.data.clone()


def _keep_training_kernels(model: PreTrainedModel) -> None:
    """Keep bitsandbytes from repacking 4-bit weights at the first evaluation.

    On a CPU with AVX512-bf16 it would do so, its scales rounded to 16 bits, for a kernel without a
    gradient; training after that evaluation would go on without the gradient through those layers,
    and without a word (bitsandbytes 0.50.2, ``Linear4bit.forward``).
    """
    for module in model.modules():
        if isinstance(module, Linear4bit):
            module.support_avx512bf16_for_cpu = False

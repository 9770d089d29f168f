"""The encoder of BERT and its kin, layer by layer, over texts end to end or padded.

It computes what transformers' own encoder does, with the model's own modules, whatever a method has
attached to them; the modules before and after the encoder stay as they are. What it does otherwise:
a batch's own layout attends, text by text, so that no padding is needed, and the last layer may
compute the first token alone.
"""

from __future__ import annotations

import ctypes
from collections.abc import Sequence
from typing import Any

import torch
from torch import nn
from transformers.activations import GELUActivation
from transformers.modeling_outputs import BaseModelOutputWithPastAndCrossAttentions
from transformers.models.bert.modeling_bert import BertEncoder, BertLayer, BertSelfAttention
from transformers.models.roberta.modeling_roberta import (
    RobertaEncoder,
    RobertaLayer,
    RobertaSelfAttention,
)

from peftcore.training.attending import Layout
from peftcore.training.kernels.passes import FORMATS, LANES, gelu, normalised_sum

_ENCODERS = (BertEncoder, RobertaEncoder)
_LAYERS = (BertLayer, RobertaLayer)
_ATTENTIONS = (BertSelfAttention, RobertaSelfAttention)


def find_encoder(model: nn.Module) -> nn.Module | None:
    """Return the encoder of a classifier, if it is one that :class:`EncoderPass` knows."""
    for module in model.modules():
        if type(module) in _ENCODERS and all(
            type(layer) in _LAYERS
            and type(layer.attention.self) in _ATTENTIONS
            and not layer.is_decoder
            and layer.chunk_size_feed_forward == 0
            for layer in module.layer  # type: ignore[union-attr]
        ):
            return module
    return None


def head_width(encoder: Any) -> int:
    """Return how many numbers a token has in one head of an encoder from :func:`find_encoder`."""
    width: int = encoder.layer[0].attention.self.attention_head_size
    return width


class EncoderPass:
    """What takes the place of an encoder's ``forward``; its caller then passes a ``layout``.

    Args:
        encoder: from :func:`find_encoder`.
        first_token: whether the last layer computes the first token of each text alone.
        cheap_dropout: whether compiled passes may drop what a module's own dropout would.
        kernels: compiled passes, used where they do what is asked for; ``None`` for none.
    """

    def __init__(
        self,
        encoder: nn.Module,
        *,
        first_token: bool,
        cheap_dropout: bool,
        kernels: ctypes.CDLL | None = None,
    ) -> None:
        self._layers: Sequence[Any] = list(encoder.layer)  # type: ignore[arg-type]
        self._first_token = first_token
        self._cheap_dropout = cheap_dropout
        self._kernels = kernels

    def __call__(
        self,
        hidden_states: torch.Tensor,
        *_: object,
        layout: Layout,
        **__: object,
    ) -> BaseModelOutputWithPastAndCrossAttentions:
        """Return what the head reads: of texts end to end only each one's first token.

        Args:
            hidden_states: the embeddings, shape (rows, tokens, hidden size).
            layout: where each text lies in them.
        """
        hidden = hidden_states
        *inner, last = self._layers
        for layer in inner:
            hidden = self._layer(layer, hidden, layout, first_only=False)
        hidden = self._layer(last, hidden, layout, first_only=self._first_token)
        if layout.end_to_end and not self._first_token:
            hidden = layout.first_tokens(hidden)
        return BaseModelOutputWithPastAndCrossAttentions(last_hidden_state=hidden)

    def _layer(
        self, layer: Any, hidden: torch.Tensor, layout: Layout, *, first_only: bool
    ) -> torch.Tensor:
        attention = layer.attention.self
        key, value = attention.key(hidden), attention.value(hidden)
        if first_only:
            hidden = layout.first_tokens(hidden)
        query = attention.query(hidden)
        heads = (attention.num_attention_heads, attention.attention_head_size)
        query, key, value = (t.unflatten(-1, heads) for t in (query, key, value))
        if torch.is_autocast_enabled(query.device.type):
            # As autocast would for torch's own attention: a 4-bit layer gives 32 bits.
            dtype = torch.get_autocast_dtype(query.device.type)
            query, key, value = (t.to(dtype) for t in (query, key, value))
        context = layout.attend(
            query,
            key,
            value,
            first_only=first_only,
            probability=attention.dropout.p if attention.training else 0.0,
            scaling=attention.scaling,
        )
        attended = self._output(layer.attention.output, context.flatten(-2), hidden)
        return self._output(layer.output, self._intermediate(layer, attended), attended)

    def _intermediate(self, layer: Any, hidden: torch.Tensor) -> torch.Tensor:
        """Return what the module of dense layer and activation does."""
        intermediate = layer.intermediate
        activation = intermediate.intermediate_act_fn
        exact = type(activation) is GELUActivation and activation.act is nn.functional.gelu
        if self._kernels is None or not exact:
            return intermediate(hidden)  # type: ignore[no-any-return]
        inner = intermediate.dense(hidden)
        if inner.dtype not in FORMATS or inner.shape[-1] % LANES:
            return activation(inner)  # type: ignore[no-any-return]
        return gelu(inner, self._kernels)

    def _output(self, output: Any, inputs: torch.Tensor, residual: torch.Tensor) -> torch.Tensor:
        """Return what a module of dense layer, dropout, sum and normalisation does."""
        if (
            self._kernels is None
            or type(output.dropout) is not nn.Dropout
            or type(output.LayerNorm) is not nn.LayerNorm
            or residual.shape[-1] % LANES
            or residual.dtype != torch.float32
        ):
            return output(inputs, residual)  # type: ignore[no-any-return]
        inputs = output.dense(inputs)
        probability = output.dropout.p if output.dropout.training else 0.0
        if inputs.dtype not in FORMATS or (probability > 0 and not self._cheap_dropout):
            return output.LayerNorm(output.dropout(inputs) + residual)  # type: ignore[no-any-return]
        return normalised_sum(
            inputs, residual, output.LayerNorm, probability=probability, library=self._kernels
        )

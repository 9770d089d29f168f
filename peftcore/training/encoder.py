"""The encoder of BERT and its kin, layer by layer, over texts end to end or padded.

It computes what transformers' own encoder does, with the model's own modules, whatever a method has
attached to them; the modules before and after the encoder stay as they are. What it does otherwise:
attention goes text by text, so that no padding is needed, and the last layer may compute the first
token alone.
"""

from __future__ import annotations

import ctypes
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Any

import torch
from torch import nn
from torch.nn.functional import scaled_dot_product_attention
from torch.nn.utils.rnn import pad_sequence
from transformers.activations import GELUActivation
from transformers.modeling_outputs import BaseModelOutputWithPastAndCrossAttentions
from transformers.models.bert.modeling_bert import BertEncoder, BertLayer, BertSelfAttention
from transformers.models.roberta.modeling_roberta import (
    RobertaEncoder,
    RobertaLayer,
    RobertaSelfAttention,
)

from peftcore.data.batches import Span
from peftcore.training.covering import covered
from peftcore.training.dropping import attention_with_dropout
from peftcore.training.kernels.passes import FORMATS, LANES, gelu, normalised_sum
from peftcore.training.kernels.passes import attention as compiled_attention

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


class EncoderPass:
    """What takes the place of an encoder's ``forward``.

    Args:
        encoder: from :func:`find_encoder`.
        first_token: whether the last layer computes the first token of each text alone.
        cheap_dropout: whether attention draws its dropout from 16 bits.
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

    @contextmanager
    def installed(self, encoder: nn.Module) -> Iterator[None]:
        """Let the encoder compute this way inside the block; its caller then passes ``spans``."""
        with covered({encoder: self}):
            yield

    def __call__(
        self,
        hidden_states: torch.Tensor,
        *_: object,
        spans: Sequence[Span],
        **__: object,
    ) -> BaseModelOutputWithPastAndCrossAttentions:
        """Return what the head reads: of texts end to end only each one's first token.

        Args:
            hidden_states: the embeddings, shape (rows, tokens, hidden size).
            spans: where each text lies in them.
        """
        hidden = hidden_states
        end_to_end = any(span.start for span in spans)
        *inner, last = self._layers
        for layer in inner:
            hidden = self._layer(layer, hidden, spans, first_only=False)
        hidden = self._layer(last, hidden, spans, first_only=self._first_token)
        if end_to_end and not self._first_token:
            hidden = _first_tokens(hidden, spans)
        return BaseModelOutputWithPastAndCrossAttentions(last_hidden_state=hidden)

    def _layer(
        self, layer: Any, hidden: torch.Tensor, spans: Sequence[Span], *, first_only: bool
    ) -> torch.Tensor:
        attention = layer.attention.self
        key, value = attention.key(hidden), attention.value(hidden)
        query_spans = spans
        if first_only:
            hidden = _first_tokens(hidden, spans)
            query_spans = [Span(row, 0, 1) for row in range(len(spans))]
        query = attention.query(hidden)
        context = self._attend(attention, query, key, value, query_spans, spans)
        attended = self._output(layer.attention.output, context, hidden)
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

    def _attend(
        self,
        attention: Any,
        query: torch.Tensor,
        key: torch.Tensor,
        value: torch.Tensor,
        query_spans: Sequence[Span],
        spans: Sequence[Span],
    ) -> torch.Tensor:
        """Return the context of each query, of the shape of ``query``."""
        heads = (attention.num_attention_heads, attention.attention_head_size)
        query, key, value = (t.unflatten(-1, heads) for t in (query, key, value))
        probability = attention.dropout.p if attention.training else 0.0
        if torch.is_autocast_enabled(query.device.type):
            # As autocast would for torch's own attention: a 4-bit layer gives 32 bits.
            dtype = torch.get_autocast_dtype(query.device.type)
            query, key, value = (t.to(dtype) for t in (query, key, value))
        cheap = probability == 0 or self._cheap_dropout
        if self._kernels is not None and cheap and query.dtype in FORMATS:
            context = compiled_attention(
                query,
                key,
                value,
                query_spans=query_spans,
                spans=spans,
                probability=probability,
                scaling=attention.scaling,
                library=self._kernels,
            )
        elif probability > 0 and self._cheap_dropout:
            context = attention_with_dropout(
                query,
                key,
                value,
                query_spans=query_spans,
                spans=spans,
                probability=probability,
                scaling=attention.scaling,
            )
        else:
            texts = [
                scaled_dot_product_attention(
                    q, k, v, dropout_p=probability, scale=attention.scaling
                ).transpose(0, 1)
                for q, k, v in zip(
                    _texts(query, query_spans),
                    _texts(key, spans),
                    _texts(value, spans),
                    strict=True,
                )
            ]
            context = _joined(texts, like=query)
        return context.flatten(-2)


def _first_tokens(hidden: torch.Tensor, spans: Sequence[Span]) -> torch.Tensor:
    """Return each text's first token, shape (texts, 1, hidden size)."""
    rows = torch.tensor([span.row for span in spans], device=hidden.device)
    starts = torch.tensor([span.start for span in spans], device=hidden.device)
    return hidden[rows, starts][:, None]


def _texts(tensor: torch.Tensor, spans: Sequence[Span]) -> list[torch.Tensor]:
    """Return each text's part, shape (heads, tokens, size of a head)."""
    if len(tensor) == 1:
        lengths = [span.end - span.start for span in spans]
        parts = tensor[0].split([*lengths, tensor.shape[1] - sum(lengths)])[: len(spans)]
    else:
        parts = [row[: span.end] for row, span in zip(tensor.unbind(), spans, strict=True)]
    return [part.transpose(0, 1) for part in parts]


def _joined(texts: Sequence[torch.Tensor], like: torch.Tensor) -> torch.Tensor:
    """Return the texts' parts in the layout of the tensor that they were cut from."""
    if len(like) == 1:
        missing = like.shape[1] - sum(map(len, texts))
        return torch.cat([*texts, like.new_zeros(missing, *texts[0].shape[1:])])[None]
    return pad_sequence(list(texts), batch_first=True)

"""What must be known of an architecture: what its parts are called, and which are the head.

Imports no torch: an architecture that is not supported is refused before a model is loaded.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from peftcore.accelerations import FIRST_TOKEN, PADDING_FREE
from peftcore.errors import UsageError
from peftcore.methods import Adapter, Method, Start, Trains


@dataclass(frozen=True)
class Architecture:
    """Module names of one family of classifiers in transformers.

    Attributes:
        parts: the names, within a layer, of the projections and normalisations that methods
            target; several share a name where the architecture computes them as one.
        head: modules that form the classification head: trained by every method.
        full_precision: modules besides the head that are never quantised.
        positions: how many positions a configuration has that doesn't tell.
        positions_after_padding: whether the first position follows the padding id's, which leaves
            fewer positions for tokens.
        queries_as_multiplied: whether attention fails unless queries come in the number format of
            the products, which a 4-bit layer gives in that of its input.
        targets: by the name of peft's configuration class, the options that choose an adapter's
            targets where the method leaves that to peft; ``None`` where peft itself knows.
        obstacles: why accelerations can't be used on it, by their names, in words.
        refused: by the name of peft's configuration class, or by what its first weights are
            computed from, why an adapter can't work on it.
        biases: the options of a configuration that give its layers biases, none of which is on
            unless it tells; ``None`` where layers always have them.
    """

    parts: Mapping[str, str]
    head: tuple[str, ...] = ("classifier",)
    full_precision: tuple[str, ...] = ()
    positions: int = 512
    positions_after_padding: bool = False
    queries_as_multiplied: bool = False
    targets: Mapping[str, Mapping[str, tuple[str, ...]]] | None = None
    obstacles: Mapping[str, str] = field(default_factory=dict)
    refused: Mapping[str, str] = field(default_factory=dict)
    biases: tuple[str, ...] | None = None

    @property
    def never_quantised(self) -> list[str]:
        """What transformers is told to leave as it is when it quantises: patterns of names.

        Its automatic list misses an encoder's head: its last parameter is a bias. A pattern matches
        from the start of a module's full name.
        """
        return [rf"(.*\.)?{name}" for name in (*self.head, *self.full_precision)]

    def longest_text(self, config: Mapping[str, Any]) -> int:
        """Return how many tokens, special ones included, a backbone can take.

        Args:
            config: its configuration; transformers leaves out what has its default.

        Raises:
            UsageError: a value that it follows from is no whole number.
        """

        def whole(name: str, usual: int) -> int:
            value = config.get(name, usual)
            if isinstance(value, bool) or not isinstance(value, int):
                raise UsageError(
                    f"the backbone's config.json says that {name} is {value!r}: expected a whole "
                    "number"
                )
            return value

        positions = whole("max_position_embeddings", self.positions)
        if self.positions_after_padding:
            positions -= whole("pad_token_id", 1) + 1
        return positions

    def require(self, method: Method, config: Mapping[str, Any]) -> None:
        """Check that there is something in a backbone for a method to train.

        Args:
            method: what is to be attached.
            config: the backbone's configuration; transformers leaves out what has its default.

        Raises:
            UsageError: it targets a part that these models lack, leaves its targets to a default
                that there is none of, can't work on them, or trains biases where there are none.
        """
        has_biases = self.biases is None or any(config.get(name) for name in self.biases)
        if method.trains is Trains.BIASES and not has_biases:
            raise UsageError(
                f"{method.name} can't be attached to this backbone: it trains biases, and of "
                f"{', '.join(self.biases or ())} its configuration switches none on, which leaves "
                "nothing but the head to train"
            )
        if method.adapter is not None:
            for what in (method.adapter.config, method.adapter.start):
                if what is not None and what in self.refused:
                    raise UsageError(
                        f"{method.name} can't be attached to this architecture: "
                        f"{self.refused[what]}"
                    )
            self.target_options(method.adapter, name=method.name)

    def target_options(self, adapter: Adapter, *, name: str) -> dict[str, list[str]]:
        """Return the options of peft's configuration that choose an adapter's targets.

        Args:
            adapter: what to attach.
            name: the method's, for the message.

        Raises:
            UsageError: see :meth:`require`.
        """
        if adapter.targets == ():
            return {}
        if adapter.targets is not None:
            missing = [part for part in adapter.targets if part not in self.parts]
            if missing:
                raise UsageError(
                    f"{name} can't be attached to this architecture: it targets "
                    f"{', '.join(missing)}, and its layers have {', '.join(self.parts)}"
                )
            modules = dict.fromkeys(self.parts[part] for part in adapter.targets)
            return {"target_modules": list(modules)}
        if self.targets is None:
            return {}
        if adapter.config not in self.targets:
            raise UsageError(
                f"{name} can't be attached to this architecture: it names no targets, and neither "
                f"peft nor peftcore declares any for a {adapter.config} here"
            )
        return {option: list(names) for option, names in self.targets[adapter.config].items()}


_BERT_PARTS = {
    "query": "query",
    "key": "key",
    "value": "value",
    "output": "attention.output.dense",
    "attention norm": "attention.output.LayerNorm",
    "output norm": "output.LayerNorm",
}

_NO_PAST = dict.fromkeys(
    ("PrefixTuningConfig", "CartridgeConfig"),
    "its attention takes no keys and values from before the text",
)

_ARCHITECTURES = {
    # BERT's pooler is pretrained and stays frozen with the backbone, as in peft's own examples.
    "bert": Architecture(parts=_BERT_PARTS, full_precision=("pooler",)),
    "roberta": Architecture(parts=_BERT_PARTS, positions_after_padding=True),
    "distilbert": Architecture(
        parts={
            "query": "q_lin",
            "key": "k_lin",
            "value": "v_lin",
            "output": "out_lin",
            "attention norm": "sa_layer_norm",
            "output norm": "output_layer_norm",
        },
        head=("pre_classifier", "classifier"),
        # As peft has it for BERT: keys, values, and what enters both output projections.
        targets={
            "IA3Config": {
                "target_modules": ("k_lin", "v_lin", "out_lin", "lin2"),
                "feedforward_modules": ("out_lin", "lin2"),
            }
        },
        refused=_NO_PAST,
    ),
    # Of DeBERTa v2 and v3; unlike BERT's, the pooler comes with no pretraining.
    "deberta-v2": Architecture(
        parts={
            "query": "query_proj",
            "key": "key_proj",
            "value": "value_proj",
            "output": "attention.output.dense",
            "attention norm": "attention.output.LayerNorm",
            "output norm": "output.LayerNorm",
        },
        head=("pooler", "classifier"),
        # It masks the products with the lowest number of the queries' format.
        queries_as_multiplied=True,
        obstacles={
            PADDING_FREE.name: "DeBERTa's attention counts distances along a whole row, so that "
            "each text needs a row of its own",
            FIRST_TOKEN.name: "DeBERTa's attention compares as many queries as keys",
        },
        refused={
            **_NO_PAST,
            # Each takes what enters a projection for the batch's texts.
            **dict.fromkeys(
                ("PolyConfig", Start.ACTIVATIONS),
                "its projections take distances too, which belong to no text",
            ),
        },
    ),
    "modernbert": Architecture(
        # One projection gives queries, keys and values: an adapter of any of them is of all three.
        parts={
            "query": "attn.Wqkv",
            "key": "attn.Wqkv",
            "value": "attn.Wqkv",
            "output": "attn.Wo",
            # In the place of the first layer's stands a module that does nothing.
            "attention norm": "attn_norm",
            "output norm": "mlp_norm",
        },
        # Its dense layer was pretrained to tell masked words, which is another task.
        head=("head", "classifier"),
        positions=8192,
        # As peft has it for a Llama, whose gated MLP it shares.
        targets={
            "IA3Config": {
                "target_modules": ("attn.Wqkv", "mlp.Wo"),
                "feedforward_modules": ("mlp.Wo",),
            }
        },
        obstacles={
            PADDING_FREE.name: "ModernBERT's attention finds its windows along a whole row, so "
            "that each text needs a row of its own",
            FIRST_TOKEN.name: "ModernBERT projects queries, keys and values as one",
        },
        refused=_NO_PAST,
        biases=("attention_bias", "mlp_bias", "norm_bias"),
    ),
    "llama": Architecture(
        parts={
            "query": "q_proj",
            "key": "k_proj",
            "value": "v_proj",
            "output": "o_proj",
            "attention norm": "input_layernorm",
            "output norm": "post_attention_layernorm",
        },
        head=("score",),
        positions=2048,
        obstacles={
            PADDING_FREE.name: "a Llama's head finds the end of a text by the padding after it",
            FIRST_TOKEN.name: "a Llama's head reads the last token of a text, not its first",
        },
        # Of embeddings, which these put in the place of token ids, it takes the last: of a text
        # that is filled up, that of the filling.
        refused=dict.fromkeys(
            ("PromptTuningConfig", "PromptEncoderConfig", "MultitaskPromptTuningConfig"),
            "its head finds the end of a text by token ids, which give way to embeddings",
        ),
        biases=("attention_bias", "mlp_bias"),
    ),
}


def architecture_of(model_type: str) -> Architecture:
    """Return what is known of a model type, as transformers names it.

    Raises:
        UsageError: nothing is.
    """
    if model_type not in _ARCHITECTURES:
        raise UsageError(
            f"the model type {model_type!r} is not supported yet: "
            f"use one of {', '.join(sorted(_ARCHITECTURES))}"
        )
    return _ARCHITECTURES[model_type]

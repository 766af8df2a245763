"""What transformers calls the things that adapters read of a model: arguments, fields of outputs and of configurations.

Each stands here once, with every spelling that it has had, the newest first; nothing else of the package spells one out.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping
from dataclasses import dataclass
from typing import Any


@dataclass(frozen=True, init=False)
class Name:
    """One thing, and how it is spelled."""

    spellings: tuple[str, ...]

    def __init__(self, *spellings: str):
        object.__setattr__(self, "spellings", spellings)

    def __str__(self) -> str:
        return " or ".join(self.spellings)

    def among(self, names: Collection[str]) -> str | None:
        """The spelling that is one of these: a forward's parameters, a call's arguments, an output's fields."""
        return next((each for each in self.spellings if each in names), None)

    def value(self, call: Mapping[str, Any]) -> Any:
        """What a call or an output holds under this name; None without one."""
        spelling = self.among(call.keys())
        return None if spelling is None else call[spelling]

    def field(self, config: Any, default: Any = None) -> Any:
        """What a configuration says under this name, or the default."""
        spelling = next((each for each in self.spellings if hasattr(config, each)), None)
        return default if spelling is None else getattr(config, spelling)


# Arguments of a forward. transformers 5.24 renamed the past, in outputs as well.
PAST = Name("cache", "past_key_values")
# Of a layer.
LAYER_PAST = Name(*PAST.spellings, "layer_past")
MASK = Name("attention_mask")
IDS = Name("input_ids")
EMBEDDED = Name("inputs_embeds")
POSITIONS = Name("position_ids")
TOKEN_TYPES = Name("token_type_ids")
LABELS = Name("labels")
# Of an encoder-decoder.
DECODER_IDS = Name("decoder_input_ids")
DECODER_EMBEDDED = Name("decoder_inputs_embeds")
DECODER_MASK = Name("decoder_attention_mask")
# Arguments of `generate`; the first is its first one.
GIVEN_IDS = Name("inputs", *IDS.spellings)
# What cross-attention reads.
ENCODED = Name("encoder_hidden_states")
ENCODED_MASK = Name("encoder_attention_mask")
# What the encoder gave to a caller who ran it alone.
ENCODER_OUTPUTS = Name("encoder_outputs")
# Fields of an output.
LOGITS = Name("logits")
STARTS = Name("start_logits")
ATTENTIONS = (Name("attentions"), Name("cross_attentions"))
# Of a stack that multiplies its embedded tokens by it.
SCALE = Name("embed_scale")
# Fields of a configuration; the first is an argument, too.
USES_CACHE = Name("use_cache")
IS_ENCODER_DECODER = Name("is_encoder_decoder")
IS_DECODER = Name("is_decoder")
# How probably a stack leaves out each of its layers in training: an attribute of its module.
LAYERDROP = Name("layerdrop")

# Sizes in a configuration, as families spell them.
WIDTH = Name("hidden_size", "d_model")
WIDTH_BEHIND_AN_ADAPTER = Name("output_hidden_size", *WIDTH.spellings)
LAYERS = Name("num_hidden_layers", "num_layers")
HEADS = Name("num_attention_heads")
KV_HEADS = Name("num_key_value_heads", "num_kv_heads")
HEAD_WIDTH = Name("head_dim", "d_kv")
LIMIT = Name("max_position_embeddings", "max_seq_len")
KINDS_OF_LAYERS = Name("layer_types", "attention_layers")
VOCABULARY = Name("vocab_size", "tgt_vocab_size")
TARGET_VOCABULARY = Name("decoder_vocab_size", *VOCABULARY.spellings)
# Of two stacks in one configuration.
ENCODER_LAYERS = Name("encoder_layers", "num_encoder_layers", *LAYERS.spellings)
DECODER_LAYERS = Name("decoder_layers", "num_decoder_layers", *LAYERS.spellings)
ENCODER_HEADS = Name("encoder_attention_heads", "num_encoder_attention_heads")
DECODER_HEADS = Name("decoder_attention_heads", "num_decoder_attention_heads")
ENCODER_LIMIT = Name("max_encoder_position_embeddings", "max_source_positions", *LIMIT.spellings)
DECODER_LIMIT = Name("max_decoder_position_embeddings", "max_target_positions", *LIMIT.spellings)

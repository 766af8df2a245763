"""Where an adapter is attached: the sizes of a Hugging Face model, as the native host describes the same model."""

from __future__ import annotations

import ctypes
from dataclasses import dataclass
from typing import Any

from seamkit import _declarations as c
from seamkit.errors import UnsupportedError

ENCODER_DECODERS = ("t5", "mt5", "bart", "mbart", "marian", "pegasus")
ENCODERS = ("bert", "roberta", "xlm-roberta")
DECODERS = ("gpt2", "llama", "mistral", "qwen2")
FAMILIES = (*ENCODER_DECODERS, *ENCODERS, *DECODERS)
NO_PREFIX = (0, 0, 0)


@dataclass(frozen=True)
class Site:
    """What an adapter is told of the model that it is made for.

    Zero: none, unknown or unlimited, as in seam_site. Prefix sizes are by attention: encoder, decoder, cross."""

    family: str
    d_model: int
    encoder_layers: int
    decoder_layers: int
    heads: int
    kv_heads: int
    head_dim: int
    max_source_positions: int
    max_target_positions: int
    vocab_size: int
    prefix_layers: tuple[int, int, int] = NO_PREFIX
    max_prefix_length: tuple[int, int, int] = NO_PREFIX

    @property
    def seams(self) -> tuple[str, ...]:
        """Where adapters can be attached or, for decoder.output, called."""
        encoder = (c.SEAM_ENCODER_OUTPUT,) if self.encoder_layers else ()
        prefixes = (c.SEAM_ATTENTION_PREFIX, c.SEAM_PREFIX_TOKENS) if any(self.prefix_layers) else ()
        return (*encoder, *prefixes, c.SEAM_DECODER_OUTPUT)

    @staticmethod
    def of(model: Any) -> Site:
        """The site of a model of transformers, or of its configuration.

        Raises UnsupportedError for a family that SeamKit does not know.
        """
        config = getattr(model, "config", model)
        family = getattr(config, "model_type", type(model).__name__)
        if family in ENCODER_DECODERS:
            return _encoder_decoder(config, family)
        if family in ENCODERS or family in DECODERS:
            return _single(config, family)
        raise UnsupportedError(f'the model\'s model_type is "{family}"; expected one of {", ".join(FAMILIES)}')

    def struct(
        self, seam: bytes, backbone_frozen: bool, classes: int, prefix_length: tuple[int, int, int]
    ) -> c.seam_site:
        """As plugins read it."""
        site = c.seam_site(
            struct_size=ctypes.sizeof(c.seam_site), backbone_frozen=int(backbone_frozen), seam=seam, classes=classes)
        for name in ("d_model", "encoder_layers", "decoder_layers", "heads", "kv_heads", "head_dim",
                     "max_source_positions", "max_target_positions", "vocab_size"):
            setattr(site, name, getattr(self, name))
        three = ctypes.c_int64 * 3
        site.prefix_layers, site.max_prefix_length = three(*self.prefix_layers), three(*self.max_prefix_length)
        site.prefix_length = three(*prefix_length)
        return site


def _encoder_decoder(config: Any, family: str) -> Site:
    if family in ("t5", "mt5"):
        layers, heads, head_dim, limit = (
            (config.num_layers, config.num_decoder_layers), config.num_heads, config.d_kv, 0)
        vocabulary = config.vocab_size
    else:
        layers, heads = (config.encoder_layers, config.decoder_layers), config.decoder_attention_heads
        head_dim, limit = config.d_model // heads, config.max_position_embeddings
        shared = getattr(config, "share_encoder_decoder_embeddings", True)
        vocabulary = config.vocab_size if shared else getattr(config, "decoder_vocab_size", None) or config.vocab_size
    return Site(
        family, config.d_model, *layers, heads, heads, head_dim, limit, limit, vocabulary,
        (*layers, layers[1]), (0, max(limit - 1, 0), 0))


def _single(config: Any, family: str) -> Site:
    width, heads, layers = config.hidden_size, config.num_attention_heads, config.num_hidden_layers
    head_dim = getattr(config, "head_dim", None) or width // heads
    limit = config.max_position_embeddings
    if family in ("roberta", "xlm-roberta"):
        # Positions begin behind the padding's row.
        limit -= config.pad_token_id + 1
    windowed = family == "mistral" or (family == "qwen2" and getattr(config, "use_sliding_window", False))
    if windowed and getattr(config, "sliding_window", None):
        # A text within the window sees all of itself.
        limit = min(limit, config.sliding_window)
    kv_heads = getattr(config, "num_key_value_heads", None) or heads
    encoder, decoder = (layers, 0) if family in ENCODERS else (0, layers)
    room = limit - 1
    return Site(
        family, width, encoder, decoder, heads, kv_heads, head_dim, limit, limit, config.vocab_size,
        (encoder, decoder, 0), (room if encoder else 0, room, 0))

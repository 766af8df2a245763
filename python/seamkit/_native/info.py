"""What an opened model is, in values of Python's own."""

from __future__ import annotations

from dataclasses import dataclass, fields
from typing import Any

from seamkit import _declarations as c
from seamkit.point import DECODER, ENCODER, Point

ENCODER_DECODER, ENCODER_ONLY, DECODER_ONLY, TEXT = "encoder-decoder", "encoder-only", "decoder-only", "text"
_ARCHITECTURES = {
    c.SEAM_ENCODER_DECODER: ENCODER_DECODER,
    c.SEAM_ENCODER_ONLY: ENCODER_ONLY,
    c.SEAM_DECODER_ONLY: DECODER_ONLY,
    c.SEAM_TEXT: TEXT,
}
_KINDS = {c.SEAM_BACKBONE_TRACED: "traced", c.SEAM_BACKBONE_OPAQUE: "opaque"}


@dataclass(frozen=True)
class BackboneInfo:
    """The description of a model, seam_backbone_info of include/seam/plugin.h. Where nothing else is said, 0 means that
    there are none or no limit."""

    # "traced" computes with the operations of the host, "opaque" by itself.
    kind: str
    # "encoder-decoder", "encoder-only", "decoder-only", or "text" for a model behind a server.
    architecture: str
    # Whether scores of the vocabulary can be had; a sentence encoder has hidden states only.
    has_head: bool
    family: str
    # What tells it apart from other models where it has no files: a server's address and the model's name there.
    identity: str | None
    # Where adapters can be attached.
    seams: tuple[str, ...]
    d_model: int
    encoder_layers: int
    decoder_layers: int
    heads: int
    kv_heads: int
    head_dim: int
    max_source_positions: int
    max_target_positions: int
    vocab_size: int
    # Where sources have a vocabulary of their own; 0: vocab_size serves both.
    source_vocab_size: int
    decoder_start_token_id: int | None
    pad_token_id: int | None
    bos_token_id: int | None
    mask_token_id: int | None
    # Each ends a text.
    eos_token_ids: tuple[int, ...]
    # Of the encoder's, the decoder's and the cross-attention: layers that take a prefix, the heads and widths of each
    # layer's prefix, () where all have kv_heads and head_dim, and the tokens that a prefix may have where it takes positions.
    prefix_layers: tuple[int, ...]
    prefix_kv_heads: tuple[tuple[int, ...], ...]
    prefix_head_dim: tuple[tuple[int, ...], ...]
    max_prefix_length: tuple[int, ...]
    # The seams inside the layers.
    points: tuple[Point, ...]
    # Where sources are features: the numbers of a frame, and how many frames are one position of the hidden states.
    feature_width: int
    feature_stride: int
    # Whether a training of upper layers can compute the encoder's and the decoder's lower ones once for each example.
    encodes_layer_ranges: bool
    decodes_layer_ranges: bool

    @classmethod
    def of(cls, struct: c.seam_backbone_info) -> BackboneInfo:
        """Copies the struct, whose pointers live as long as its model."""
        layers = tuple(struct.prefix_layers)
        return cls(
            kind=_KINDS.get(struct.kind, str(struct.kind)),
            architecture=_ARCHITECTURES.get(struct.architecture, str(struct.architecture)),
            has_head=bool(struct.has_head),
            encodes_layer_ranges=bool(struct.encodes_layer_ranges),
            decodes_layer_ranges=bool(struct.decodes_layer_ranges),
            family=_text(struct.family),
            identity=None if struct.identity is None else _text(struct.identity),
            seams=tuple(_text(each) for each in struct.seams[: struct.seam_count]),
            decoder_start_token_id=_token(struct.decoder_start_token_id),
            pad_token_id=_token(struct.pad_token_id),
            bos_token_id=_token(struct.bos_token_id),
            mask_token_id=_token(struct.mask_token_id),
            eos_token_ids=tuple(struct.eos_token_ids[: struct.eos_token_count]) if struct.eos_token_count else (),
            prefix_layers=layers,
            prefix_kv_heads=_by_layer(struct.prefix_kv_heads, layers),
            prefix_head_dim=_by_layer(struct.prefix_head_dim, layers),
            max_prefix_length=tuple(struct.max_prefix_length),
            points=tuple(_point(each.contents) for each in struct.points[: struct.point_count])
            if struct.point_count
            else (),
            # The sizes are called as in the struct.
            **{each.name: getattr(struct, each.name) for each in fields(cls) if each.type == "int"},
        )


def _text(value: bytes | None) -> str:
    return (value or b"").decode(errors="replace")


def _token(id: int) -> int | None:
    return id if id >= 0 else None


def _by_layer(lists: Any, layers: tuple[int, ...]) -> tuple[tuple[int, ...], ...]:
    return tuple(tuple(each[:count]) if each else () for each, count in zip(lists, layers, strict=True))


def _point(struct: c.seam_point) -> Point:
    return Point(
        ENCODER if struct.stack == c.SEAM_STACK_ENCODER else DECODER,
        _text(struct.seam),
        struct.layer,
        _text(struct.name),
        struct.input_width,
        struct.output_width,
        tuple((_text(struct.part_names[each]), struct.part_widths[each]) for each in range(struct.part_count)),
    )

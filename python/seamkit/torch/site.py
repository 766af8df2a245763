"""Where an adapter is attached: the sizes of a Hugging Face model, as the native host describes the same model."""

from __future__ import annotations

import ctypes
from collections.abc import Callable
from dataclasses import MISSING, dataclass, field, fields
from typing import Any

from seamkit import _declarations as c
from seamkit.errors import InvalidArgumentError
from seamkit.point import Point, pointers

NO_PREFIX = (0, 0, 0)
_THREE = ctypes.c_int64 * c.SEAM_PREFIX_ATTENTIONS


def _most(name: str) -> int:
    """What the native host takes of a backbone: a plugin computes with these numbers."""
    if "layers" in name:
        return 1 << 16
    is_of_tokens = name in ("max_source_positions", "max_target_positions", "vocab_size", "max_prefix_length")
    return 2**31 - 1 if is_of_tokens else 1 << 20


@dataclass(frozen=True)
class Vocabulary:
    """Of a model: whether it scores words, how many the sources have where theirs are others (0: the same), and ids of
    tokens as its configuration names them, -1 for none."""

    has_head: bool = True
    source_vocab_size: int = 0
    decoder_start_token_id: int = -1
    pad_token_id: int = -1
    bos_token_id: int = -1
    mask_token_id: int = -1
    eos_token_ids: tuple[int, ...] = ()


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
    # By attention and layer, where layers differ: heads of the keys and values of a prefix, and their width. Empty:
    # kv_heads, or head_dim, in all layers.
    prefix_kv_heads: tuple[tuple[int, ...], ...] = ((), (), ())
    prefix_head_dim: tuple[tuple[int, ...], ...] = ((), (), ())
    # Places inside the layers, and ids of tokens. Two sites are equal where their sizes are.
    points: tuple[Point, ...] = field(default=(), compare=False, repr=False)
    vocabulary: Vocabulary = field(default=Vocabulary(), compare=False, repr=False)

    def __post_init__(self) -> None:
        for name, value in self._sizes():
            if isinstance(value, bool) or not isinstance(value, int) or value < 0:
                raise InvalidArgumentError(f"site: {name} must be a number of 0 or more, found {value!r}")
            if value > _most(name):
                raise InvalidArgumentError(f"site: {name} must be at most {_most(name)}, found {value}")
        for name in ("prefix_layers", "max_prefix_length"):
            found = getattr(self, name)
            if len(found) != 3 or not all(isinstance(each, int) and 0 <= each <= _most(name) for each in found):
                raise InvalidArgumentError(
                    f"site: {name} must be three numbers of 0 ... {_most(name)}, found {found!r}"
                )

        for name in ("prefix_kv_heads", "prefix_head_dim"):
            lists = getattr(self, name)
            fits = len(lists) == 3 and all(
                len(each) in (0, layers) and all(isinstance(size, int) and 1 <= size <= 1 << 20 for size in each)
                for each, layers in zip(lists, self.prefix_layers, strict=True)
            )
            if not fits:
                raise InvalidArgumentError(
                    f"site: {name} must be three lists, each empty or of a number of 1 ... {1 << 20} for each of the "
                    f"{list(self.prefix_layers)} layers, found {lists!r}"
                )

    def _sizes(self) -> list[tuple[str, int]]:
        """The fields that are one number each, which has no default, and their values."""
        needed = [each.name for each in fields(self) if each.default is MISSING]
        return [(name, getattr(self, name)) for name in needed if name != "family"]

    def prefix_sizes(self, attention: int) -> list[tuple[int, int]]:
        """Heads of the keys and values of a prefix, and their width, in each layer of an attention."""
        layers = self.prefix_layers[attention]
        heads = self.prefix_kv_heads[attention] or (self.kv_heads,) * layers
        widths = self.prefix_head_dim[attention] or (self.head_dim,) * layers
        return list(zip(heads, widths, strict=True))

    @property
    def seams(self) -> tuple[str, ...]:
        """Where adapters can be attached or, for decoder.output, called."""
        encoder = (c.SEAM_ENCODER_OUTPUT,) if self.encoder_layers else ()
        prefixes = (c.SEAM_ATTENTION_PREFIX, c.SEAM_PREFIX_TOKENS) if any(self.prefix_layers) else ()
        there = {each.seam for each in self.points}
        inside = (each for each in (c.SEAM_LAYER_OUTPUT, c.SEAM_PROJECTION, c.SEAM_PROMPT_EMBEDDING) if each in there)
        return (*encoder, *inside, *prefixes, c.SEAM_DECODER_OUTPUT)

    @staticmethod
    def of(model: Any) -> Site:
        """The site of a model of transformers, or of its configuration.

        Raises UnsupportedError for a family that is not registered and whose kind transformers does not tell, in a
        sentence with the call to make; InvalidArgumentError for what is no model.
        """
        assert _find is not None  # the package imports what finds it
        return _find(model)

    def info(self) -> c.seam_backbone_info:
        """As libSeam and plugins read it."""
        both = self.encoder_layers and self.decoder_layers
        architecture = (
            c.SEAM_ENCODER_DECODER if both else (c.SEAM_ENCODER_ONLY if self.encoder_layers else c.SEAM_DECODER_ONLY)
        )
        seams = [each.encode() for each in self.seams]
        info = c.seam_backbone_info(
            struct_size=ctypes.sizeof(c.seam_backbone_info),
            kind=c.SEAM_BACKBONE_TRACED,
            architecture=architecture,
            family=self.family.encode(),
            seams=(ctypes.c_char_p * len(seams))(*seams),
            seam_count=len(seams),
        )
        for name, value in vars(self.vocabulary).items():
            if name != "eos_token_ids":
                setattr(info, name, value)
        ends = self.vocabulary.eos_token_ids
        info.eos_token_ids, info.eos_token_count = (ctypes.c_int64 * len(ends))(*ends), len(ends)
        for name, value in self._sizes():
            setattr(info, name, value)
        info.prefix_layers, info.max_prefix_length = _THREE(*self.prefix_layers), _THREE(*self.max_prefix_length)
        for name in ("prefix_kv_heads", "prefix_head_dim"):
            for attention, sizes in enumerate(getattr(self, name)):
                if sizes:
                    getattr(info, name)[attention] = (ctypes.c_int64 * len(sizes))(*sizes)
        if self.points:
            info.points, info.point_count = pointers(self.points), len(self.points)
        return info


_find: Callable[[Any], Site] | None = None


def found_by(find: Callable[[Any], Site]) -> Callable[[Any], Site]:
    """Decorates the function that `Site.of` calls. It knows the families of models, which this module does not."""
    global _find
    _find = find
    return find

"""The points of a model of transformers: its embedded tokens, its layers, and the matrices in these by the names that
transformers gives them.

What a module is called tells what it does alike in all families of a lineage, so families that nobody has described have
points, too; a layer in which a name is missing has no point of it.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from transformers.pytorch_utils import Conv1D

from seamkit import _declarations as c
from seamkit.point import Point
from seamkit.torch.quantised import Quantised, matrix, sizes

# What holds the layers of a stack.
_LAYERS = ("layers", "layer", "block", "h")
_INNER = ("encoder", "decoder", "transformer")
# Where a projection is in a layer, by the name of its point; the first that is there. A number counts from the end where
# it is negative: the feed-forward network of T5 is the last part of a layer.
_PROJECTIONS = {
    "q": (
        "self_attn.q_proj",
        "attention.self.query",
        "attention.self.query_proj",
        "attention.q_lin",
        "attention.attn.q",
        "layer.0.SelfAttention.q",
    ),
    "k": (
        "self_attn.k_proj",
        "attention.self.key",
        "attention.self.key_proj",
        "attention.k_lin",
        "attention.attn.k",
        "layer.0.SelfAttention.k",
    ),
    "v": (
        "self_attn.v_proj",
        "attention.self.value",
        "attention.self.value_proj",
        "attention.v_lin",
        "attention.attn.v",
        "layer.0.SelfAttention.v",
    ),
    "qkv": ("attn.c_attn", "attn.Wqkv", "self_attn.qkv_proj", "attention.query_key_value"),
    "o": (
        "self_attn.o_proj",
        "self_attn.out_proj",
        "attention.output.dense",
        "attention.out_lin",
        "attention.attn.o",
        "attn.Wo",
        "attention.dense",
        "layer.0.SelfAttention.o",
        "attn.c_proj",
    ),
    "cross_q": ("encoder_attn.q_proj", "crossattention.self.query", "layer.1.EncDecAttention.q"),
    "cross_k": ("encoder_attn.k_proj", "crossattention.self.key", "layer.1.EncDecAttention.k"),
    "cross_v": ("encoder_attn.v_proj", "crossattention.self.value", "layer.1.EncDecAttention.v"),
    "cross_o": ("encoder_attn.out_proj", "crossattention.output.dense", "layer.1.EncDecAttention.o"),
    "gate": ("mlp.gate_proj", "layer.-1.DenseReluDense.wi_0"),
    "gate_up": ("mlp.Wi", "mlp.gate_up_proj"),
    "up": (
        "mlp.up_proj",
        "fc1",
        "intermediate.dense",
        "layer.-1.DenseReluDense.wi",
        "layer.-1.DenseReluDense.wi_1",
        "mlp.c_fc",
        "ffn.lin1",
        "mlp.dense_h_to_4h",
    ),
    "down": (
        "mlp.down_proj",
        "fc2",
        "output.dense",
        "layer.-1.DenseReluDense.wo",
        "mlp.c_proj",
        "ffn.lin2",
        "mlp.Wo",
        "mlp.dense_4h_to_h",
    ),
}
# Matrices that do the work of several equal ones, one behind the other.
_PARTS = {
    "attn.c_attn": ("q", "k", "v"),
    "attn.Wqkv": ("q", "k", "v"),
    "mlp.Wi": ("gate", "up"),
    "mlp.gate_up_proj": ("gate", "up"),
}


@dataclass(frozen=True)
class Located:
    """A point and its module: the embedding of tokens, a layer, or a matrix, which transformers keeps as [out, in] or as
    [in, out] (Conv1D)."""

    point: Point
    module: torch.nn.Module

    @property
    def weight(self) -> torch.Tensor | Quantised:
        """[out, in]"""
        return self.module.weight.T if isinstance(self.module, Conv1D) else matrix(self.module)

    @property
    def bias(self) -> torch.Tensor | None:
        found: torch.Tensor | None = getattr(self.module, "bias", None)
        return found


def located(stack: str, module: torch.nn.Module, width: int) -> Iterator[Located]:
    """The points of one half of a model, layer by layer, the projections of each before its output. width: of the hidden
    states."""
    for index, layer in enumerate(_layers(module)):
        for name, paths in _PROJECTIONS.items():
            path, found = next(((each, there) for each in paths if (there := _matrix(layer, each))), ("", None))
            if found is not None:
                yield Located(_projection(stack, index, name, path, found), found)
        yield Located(Point(stack, c.SEAM_LAYER_OUTPUT, index, "", width, width), layer)


def _layers(module: torch.nn.Module) -> Sequence[torch.nn.Module]:
    """Those of a stack, or of the module around it."""
    for inner in (module, *(getattr(module, each, None) for each in _INNER)):
        for name in _LAYERS:
            found = getattr(inner, name, None)
            if isinstance(found, torch.nn.ModuleList):
                return list(found)
    return ()


def _projection(stack: str, layer: int, name: str, path: str, module: Any) -> Point:
    found = module.weight.shape if isinstance(module, Conv1D) else sizes(module)
    assert found is not None  # _matrix has seen to it
    wide, out = found
    # A Linear of this name mixes its parts by head.
    parts = () if path == "attn.c_attn" and not isinstance(module, Conv1D) else _PARTS.get(path, ())
    return Point(stack, c.SEAM_PROJECTION, layer, name, wide, out, tuple((each, out // len(parts)) for each in parts))


def _matrix(layer: torch.nn.Module, path: str) -> torch.nn.Module | None:
    module: Any = layer
    for part in path.split("."):
        if part.lstrip("-").isdigit():
            module = module[int(part)] if isinstance(module, torch.nn.ModuleList) else None
        else:
            module = getattr(module, part, None)
        if module is None:
            return None
    is_one = isinstance(module, Conv1D) or isinstance(module, torch.nn.Module) and sizes(module) is not None
    return module if is_one else None


def _embedded(stack: str, module: Any, width: int) -> Iterator[Located]:
    """The point before the first layer of a stack, where its tokens are embedded as wide as its hidden states are.

    module: the one that is called with the tokens; None where there is none."""
    try:
        found = None if module is None else module.get_input_embeddings()
    except (AttributeError, NotImplementedError):
        return
    weight = getattr(found, "weight", None)
    if isinstance(found, torch.nn.Module) and isinstance(weight, torch.Tensor) and weight.shape[1:] == (width,):
        yield Located(Point(stack, c.SEAM_PROMPT_EMBEDDING, 0, "", width, width), found)


def halves(
    layers: Mapping[str, torch.nn.Module | None], callers: Mapping[str, torch.nn.Module], width: int
) -> list[Located]:
    """The points of a model, the encoder's first. By stack, layers: the module that holds them; callers: the one that is
    called with the tokens."""
    return [
        each
        for stack, module in layers.items()
        if module is not None
        for each in (*_embedded(stack, callers.get(stack), width), *located(stack, module, width))
    ]

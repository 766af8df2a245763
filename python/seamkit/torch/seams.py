"""What flows into each seam, and of what kind it must be; libSeam checks the shapes."""

from __future__ import annotations

import itertools
from collections.abc import Sequence

import torch
from torch import Tensor

from seamkit import _declarations as c
from seamkit import point
from seamkit.errors import ShapeError
from seamkit.torch.site import Site

ATTENTIONS = ("encoder", "decoder", "cross")
_PREFIX_SEAMS = (c.SEAM_ATTENTION_PREFIX, c.SEAM_PREFIX_TOKENS)


def is_prefix(seam: str) -> bool:
    return seam in _PREFIX_SEAMS


def prefix_count(seam: str, site: Site) -> int:
    """The inputs and outputs of a seam of prefixes; 0 for others."""
    return sum(site.prefix_layers) if is_prefix(seam) else 0


def output_count(seam: str, site: Site) -> int:
    """What leaves a seam: a tensor for each layer of the prefixes, what is put before embedded tokens and these, or one."""
    return 2 if seam == c.SEAM_PROMPT_EMBEDDING else prefix_count(seam, site) or 1


def input_names(seam: str, site: Site) -> tuple[str, ...]:
    """As errors call what flows into a seam, in order."""
    if is_prefix(seam):
        return tuple(
            f"prefix of {name} attention in layer {layer}"
            for name, layers in zip(ATTENTIONS, site.prefix_layers, strict=True)
            for layer in range(layers)
        )
    if seam in point.SEAMS:
        return {c.SEAM_LAYER_OUTPUT: ("hidden",), c.SEAM_PROMPT_EMBEDDING: ("x", "mask")}.get(
            seam, ("x", "weight", "bias", "y")
        )
    return ("hidden", "mask") if seam == c.SEAM_ENCODER_OUTPUT else ("scores", "hidden")


def by_attention(site: Site, values: Sequence[Tensor | None]) -> tuple[tuple[Tensor | None, ...], ...]:
    """What flows through a seam of prefixes, the layers of each attention."""
    ends = list(itertools.accumulate(site.prefix_layers))
    return tuple(tuple(values[end - count : end]) for end, count in zip(ends, site.prefix_layers, strict=True))


def check_tensors(id: str, seam: str, site: Site, inputs: Sequence[Tensor | None], origin: str) -> None:
    """Raises ShapeError for an input that no plugin can read, whatever its sizes."""
    names = input_names(seam, site)
    for index, each in enumerate(inputs):
        if each is None:
            continue
        name = names[index] if index < len(names) else f"input {index}"
        if not isinstance(each, Tensor):
            raise ShapeError(f'adapter "{id}": {name} must be a tensor, found {type(each).__name__}', origin)
        if each.is_complex() or not (each.is_floating_point() or name == "mask") or each.layout != torch.strided:
            kind = f"{each.dtype}" if each.layout == torch.strided else f"{each.dtype}, {each.layout}"
            raise ShapeError(f'adapter "{id}": {name} must be a dense tensor of real numbers, found {kind}', origin)

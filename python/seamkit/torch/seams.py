"""What flows into each seam, and of what kind it must be; libSeam checks the shapes."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor

from seamkit import _declarations as c
from seamkit.errors import ShapeError
from seamkit.torch import point

ATTENTIONS = ("encoder", "decoder", "cross")
_PREFIX_SEAMS = (c.SEAM_ATTENTION_PREFIX, c.SEAM_PREFIX_TOKENS)


def is_prefix(seam: str) -> bool:
    return seam in _PREFIX_SEAMS


def input_names(seam: str) -> tuple[str, ...]:
    """As errors call what flows into a seam, in order."""
    if is_prefix(seam):
        return tuple(f"prefix of {each} attention" for each in ATTENTIONS)
    if seam in point.SEAMS:
        return ("hidden",) if seam == c.SEAM_LAYER_OUTPUT else ("x", "weight", "bias", "y")
    return ("hidden", "mask") if seam == c.SEAM_ENCODER_OUTPUT else ("scores", "hidden")


def check_tensors(id: str, seam: str, inputs: Sequence[Tensor | None], origin: str) -> None:
    """Raises ShapeError for an input that no plugin can read, whatever its sizes."""
    names = input_names(seam)
    for index, each in enumerate(inputs):
        if each is None:
            continue
        name = names[index] if index < len(names) else f"input {index}"
        if not isinstance(each, Tensor):
            raise ShapeError(f'adapter "{id}": {name} must be a tensor, found {type(each).__name__}', origin)
        if each.is_complex() or not (each.is_floating_point() or name == "mask") or each.layout != torch.strided:
            kind = f"{each.dtype}" if each.layout == torch.strided else f"{each.dtype}, {each.layout}"
            raise ShapeError(f'adapter "{id}": {name} must be a dense tensor of real numbers, found {kind}', origin)

"""Matrices that a library keeps quantised: adapters at their projections have what flows by, and not the matrix.

bitsandbytes packs the numbers into bytes of another shape, torchao into a tensor class of its own, GPTQ and AWQ into several
buffers of a module that is no Linear. None of these is a matrix that the operations of a plugin could read.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor
from torch.distributed.tensor import DTensor
from torch.utils._python_dispatch import is_traceable_wrapper_subclass

from seamkit.errors import UnsupportedError


@dataclass(frozen=True)
class Quantised:
    """In the place of a matrix [out, in]. kind: what keeps it."""

    kind: str

    def refusal(self, id: str, point: str, origin: str) -> UnsupportedError:
        """For an adapter that reads it."""
        return UnsupportedError(
            f'adapter "{id}" reads the weight at the point "{point}", which {self.kind} keeps quantised: choose other '
            "targets, or load the model without quantisation",
            origin,
        )


def sizes(module: torch.nn.Module) -> tuple[int, int] | None:
    """Input and output width of a module that multiplies by a matrix, quantised or not; None for another."""
    wide, out = getattr(module, "in_features", None), getattr(module, "out_features", None)
    # AWQ, GPTQ and others have modules of their own, which no class of torch is above.
    if isinstance(wide, int) and isinstance(out, int) and (isinstance(module, torch.nn.Linear) or _is_packed(module)):
        return wide, out
    return None


def _is_packed(module: torch.nn.Module) -> bool:
    return isinstance(getattr(module, "qweight", None), Tensor)


def matrix(module: Any) -> Tensor | Quantised:
    """The weight of a Linear, or of a module like it, [out, in], where it can be read."""
    weight = getattr(module, "weight", None)
    wrapped = isinstance(weight, Tensor) and is_traceable_wrapper_subclass(weight) and not isinstance(weight, DTensor)
    if isinstance(weight, Tensor) and not wrapped and weight.is_floating_point() and not _is_packed(module):
        # Of numbers of 8 bits none is one of the table's.
        if weight.dtype in (torch.float64, torch.float32, torch.bfloat16, torch.float16):
            if tuple(weight.shape) == (module.out_features, module.in_features):
                return weight
    return Quantised(type(module).__name__)

"""DLPack tensors at the border of the torch engine."""

from __future__ import annotations

import ctypes
import math
import weakref
from typing import Any

import numpy as np
import torch
from torch import Tensor

from seamkit import _declarations as c
from seamkit._native.dlpack import lend_memory
from seamkit.errors import IncompatibleError, InvalidArgumentError, ShapeError, UnsupportedError
from seamkit.torch import checks
from seamkit.torch.checks import HALF

# How far a tensor may reach in memory: more than there is.
_MOST_BYTES = 1 << 45
# torch's dtype, and NumPy's of the same size to carry the bits.
_KINDS: dict[tuple[int, int], tuple[torch.dtype, Any]] = {
    (c.kDLFloat, 32): (torch.float32, np.float32),
    (c.kDLFloat, 16): (torch.float16, np.float16),
    (c.kDLBfloat, 16): (torch.bfloat16, np.int16),
    (c.kDLInt, 32): (torch.int32, np.int32),
}
_CODES = {torch.float32: c.kDLFloat, torch.float16: c.kDLFloat, torch.bfloat16: c.kDLBfloat, torch.int32: c.kDLInt}


def borrowed(source: Any) -> Tensor:
    """A tensor over the memory of a DLPack tensor, whose deleter runs when the last view of it dies, or now if it is
    refused."""
    managed = ctypes.cast(source, ctypes.POINTER(c.DLManagedTensorVersioned))
    deleter, tensor = managed.contents.deleter, managed.contents.dl_tensor
    try:
        version = managed.contents.version.major
        if version != c.DLPACK_MAJOR_VERSION:
            raise IncompatibleError(
                f"from_dlpack: DLPack major version must be {c.DLPACK_MAJOR_VERSION}, found {version}"
            )
        if tensor.device.device_type != c.kDLCPU:
            raise UnsupportedError(
                f"from_dlpack: the tensor must be on the CPU, found device type {tensor.device.device_type}"
            )
        kind = _KINDS.get((tensor.dtype.code, tensor.dtype.bits))
        if kind is None or tensor.dtype.lanes != 1:
            raise ShapeError(
                f"from_dlpack: dtype must be f32, bf16, f16 or i32, found code {tensor.dtype.code}, "
                f"{tensor.dtype.bits} bits, {tensor.dtype.lanes} lanes"
            )
        checks.rank(tensor.ndim, "from_dlpack", tensor.shape)
        shape = checks.sizes(list(tensor.shape[: tensor.ndim]) if tensor.ndim else [], "from_dlpack")
        size = np.dtype(kind[1]).itemsize
        strides = _strides(shape, tensor, size)
        reach = (
            size + sum((n - 1) * s for n, s in zip(shape, strides, strict=True)) if strides else size * math.prod(shape)
        )
        if 0 in shape:
            reach, strides = 0, None
        if not tensor.data and reach:
            raise InvalidArgumentError("from_dlpack: the data pointer is NULL")
        if tensor.byte_offset > _MOST_BYTES:
            raise UnsupportedError(
                f"from_dlpack: byte_offset must be at most {_MOST_BYTES}, found {tensor.byte_offset}"
            )
        if ((tensor.data or 0) + tensor.byte_offset) % size:
            raise UnsupportedError(f"from_dlpack: the data must be aligned to the {size} bytes of an element")
        space = (ctypes.c_char * reach).from_address((tensor.data or 0) + tensor.byte_offset)
        view: Any = np.ndarray(shape, kind[1], space, strides=strides)
    except BaseException:
        if deleter:
            deleter(managed)
        raise
    if deleter:
        weakref.finalize(space, deleter, managed)
    found = torch.from_numpy(view)
    return found.view(kind[0]) if found.dtype != kind[0] else found


def _strides(shape: list[int], tensor: Any, size: int) -> list[int] | None:
    """In bytes; None where the tensor is row-major."""
    if not tensor.ndim or not tensor.strides:
        return None
    given = list(tensor.strides[: tensor.ndim])
    # Of an axis of one element, or none, the stride does not matter.
    own = [step if n > 1 else 1 for n, step in zip(shape, given, strict=True)]
    if any(step < 0 or step > _MOST_BYTES // n for n, step in zip(shape, own, strict=True) if n > 1):
        raise UnsupportedError(
            f"from_dlpack: strides {checks.shown(given)} of shape {checks.shown(shape)} are negative or reach too far"
        )
    return [each * size for each in own]


def kept(tensor: Tensor, device: torch.device, real: torch.dtype) -> Tensor:
    """A borrowed tensor where the pass computes: itself on the CPU."""
    return tensor.to(device, real if tensor.dtype == torch.float32 else tensor.dtype)


def lent(tensor: Tensor) -> Any:
    """A row-major DLPack tensor on the CPU, a view where it can be; whoever takes it calls its deleter."""
    values = tensor.detach().cpu()
    if values.dtype == torch.float64:
        values = values.float()
    values = values.contiguous()
    bits = 16 if values.dtype in HALF else 32
    strides = [int(np.prod(values.shape[axis + 1 :])) for axis in range(values.dim())]
    return lend_memory(values.data_ptr(), list(values.shape), strides, _CODES[values.dtype], bits, values)

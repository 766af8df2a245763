"""DLPack tensors at the border of the torch engine."""

from __future__ import annotations

import ctypes
import weakref
from typing import Any

import numpy as np
import torch
from torch import Tensor

from seamkit import _declarations as c
from seamkit._native.exchange import lend_memory
from seamkit.errors import ShapeError, UnsupportedError
from seamkit.torch.checks import HALF

# torch's dtype, and NumPy's of the same size to carry the bits.
_KINDS: dict[tuple[int, int], tuple[torch.dtype, Any]] = {
    (c.kDLFloat, 32): (torch.float32, np.float32), (c.kDLFloat, 16): (torch.float16, np.float16),
    (c.kDLBfloat, 16): (torch.bfloat16, np.int16), (c.kDLInt, 32): (torch.int32, np.int32),
}
_CODES = {torch.float32: c.kDLFloat, torch.float16: c.kDLFloat, torch.bfloat16: c.kDLBfloat, torch.int32: c.kDLInt}


def borrowed(source: Any) -> Tensor:
    """A tensor over the memory of a DLPack tensor, whose deleter runs when the last view of it dies, or now if it is
    refused."""
    managed = ctypes.cast(source, ctypes.POINTER(c.DLManagedTensorVersioned))
    deleter, tensor = managed.contents.deleter, managed.contents.dl_tensor
    try:
        kind = _KINDS.get((tensor.dtype.code, tensor.dtype.bits))
        if kind is None or tensor.dtype.lanes != 1:
            raise ShapeError(
                f"from_dlpack: dtype must be f32, bf16, f16 or i32, found code {tensor.dtype.code} with "
                f"{tensor.dtype.bits} bits")
        if tensor.device.device_type != c.kDLCPU:
            raise UnsupportedError(
                f"from_dlpack: the tensor must be on the CPU, found device {tensor.device.device_type}")
        shape = list(tensor.shape[: tensor.ndim]) if tensor.ndim else []
        size = np.dtype(kind[1]).itemsize
        strides = [each * size for each in tensor.strides[: tensor.ndim]] if tensor.ndim and tensor.strides else None
        reach = size + sum((n - 1) * s for n, s in zip(shape, strides, strict=True)) if strides else size * int(
            np.prod(shape))
        if 0 in shape:
            reach, strides = 0, None
        if strides is not None and min(strides, default=0) < 0:
            raise UnsupportedError("from_dlpack: strides must not be negative")
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

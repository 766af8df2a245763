"""Tensors between NumPy and the library, through DLPack and without copies where dtype and layout allow."""

from __future__ import annotations

import ctypes
import os
import threading
import weakref
from typing import Any

import numpy as np
from numpy.typing import NDArray

from seamkit import _declarations as c
from seamkit.errors import InvalidArgumentError, ShapeError

Array = NDArray[Any]
_CODES = {np.dtype(np.float32): c.kDLFloat, np.dtype(np.float16): c.kDLFloat, np.dtype(np.int32): c.kDLInt}
_DTYPES: dict[tuple[int, int], np.dtype[Any]] = {
    (c.kDLFloat, 32): np.dtype(np.float32),
    (c.kDLFloat, 16): np.dtype(np.float16),
    (c.kDLInt, 32): np.dtype(np.int32),
}

# What was lent by the address of its struct: the memory must outlive the borrower's last use.
_lent: dict[int, tuple[Any, ...]] = {}
_lock = threading.Lock()


def _renew_lock() -> None:
    """Makes the lock anew in a forked child, where the thread that held it may be missing."""
    global _lock
    _lock = threading.Lock()


os.register_at_fork(after_in_child=_renew_lock)


def _return(address: int) -> None:
    with _lock:
        _lent.pop(address, None)


_returned = ctypes.CFUNCTYPE(None, ctypes.c_void_p)(_return)


def lent_count() -> int:
    """Tensors that the library has not given back yet."""
    return len(_lent)


def array(values: Any, dtype: Any = None) -> Array:
    """An array over the memory of anything that speaks DLPack (a CPU tensor of any framework) or that NumPy takes;
    copied where `dtype`, contiguous, asks for it."""
    if not isinstance(values, np.ndarray) and hasattr(values, "__dlpack__"):
        # A framework's tensor may want a gradient, which DLPack refuses to carry.
        values = np.from_dlpack(values.detach() if hasattr(values, "detach") else values)
    return np.ascontiguousarray(values, dtype) if dtype is not None else np.asarray(values)


def floats(values: Any, name: str) -> Array:
    """A contiguous float32 array as `array` makes it, of numbers; copied where it is another.

    Raises InvalidArgumentError, with `name`, for other values, and ShapeError for rows of several lengths.
    """
    try:
        found = array(values)
    except ValueError:
        raise ShapeError(f"{name} must be a rectangle of numbers, found rows of several lengths or depths") from None
    if found.dtype.kind not in "fiub":
        raise InvalidArgumentError(f"{name} must be numbers, found {found.dtype}")
    return np.ascontiguousarray(found, np.float32)


def integers(values: Any, name: str, ndim: int | None = None) -> Array:
    """An int32 array as `array` makes it, of integers that fit it.

    Raises InvalidArgumentError, with `name`, for other values, and ShapeError for rows of several lengths or another number
    of axes than `ndim`.
    """
    try:
        found = array(values)
    except ValueError:
        raise ShapeError(
            f"{name} must be a rectangle of integers, found rows of several lengths or depths; Batch.padded and "
            "Backbone.batch fill rows up"
        ) from None
    if ndim is not None and found.ndim != ndim:
        raise ShapeError(f"{name} must have {ndim} axes, found {list(found.shape)}")
    # NumPy makes floats of no values.
    if found.dtype.kind not in "iub" and found.size:
        raise InvalidArgumentError(f"{name} must be integers, found {found.dtype}")
    limits = np.iinfo(np.int32)
    if found.dtype.kind in "iu" and found.size and (found.min() < limits.min or found.max() > limits.max):
        wrong = found[(found < limits.min) | (found > limits.max)][0]
        raise InvalidArgumentError(f"{name} must be integers of 32 bits, found {wrong}")
    return np.ascontiguousarray(found, np.int32)


def lend(values: Any) -> Any:
    """A DLPack tensor (f32, f16 or i32) over the memory of `values`. Whoever takes it calls its deleter.

    Raises ShapeError for another dtype.
    """
    lent = array(values)
    if lent.dtype not in _CODES:
        raise ShapeError(f"a tensor must be float32, float16 or int32, found {lent.dtype}")
    strides = [each // lent.itemsize for each in lent.strides]
    return lend_memory(lent.ctypes.data, list(lent.shape), strides, _CODES[lent.dtype], lent.itemsize * 8, lent)


def lend_memory(address: int, shape: list[int], strides: list[int], code: int, bits: int, owner: Any) -> Any:
    """A DLPack tensor over memory of the CPU, which `owner` keeps alive until the deleter is called."""
    managed = c.DLManagedTensorVersioned()
    sizes, steps = (ctypes.c_int64 * len(shape))(*shape), (ctypes.c_int64 * len(shape))(*strides)
    managed.version.major, managed.version.minor = c.DLPACK_MAJOR_VERSION, c.DLPACK_MINOR_VERSION
    managed.deleter = ctypes.cast(_returned, type(managed.deleter))
    tensor = managed.dl_tensor
    tensor.data, tensor.ndim, tensor.shape, tensor.strides = address, len(shape), sizes, steps
    tensor.device.device_type = c.kDLCPU
    tensor.dtype.code, tensor.dtype.bits, tensor.dtype.lanes = code, bits, 1
    with _lock:
        _lent[ctypes.addressof(managed)] = (managed, owner, sizes, steps)
    return ctypes.pointer(managed)


def received(managed: Any) -> Array:
    """An array over the memory of a tensor of the library, given back when the last view of it dies.

    Every framework takes it on without a copy: torch.from_dlpack(array).
    """
    tensor = managed.contents.dl_tensor
    kind = _DTYPES.get((tensor.dtype.code, tensor.dtype.bits))
    if kind is None:
        managed.contents.deleter(managed)
        raise ShapeError(f"NumPy has no dtype for DLPack's code {tensor.dtype.code} with {tensor.dtype.bits} bits")
    shape = tuple(tensor.shape[: tensor.ndim])
    memory: Any = (ctypes.c_char * (int(np.prod(shape)) * kind.itemsize)).from_address(
        (tensor.data or 0) + tensor.byte_offset
    )
    weakref.finalize(memory, managed.contents.deleter, managed)
    found: Array = np.frombuffer(memory, kind)
    return found.reshape(shape)


def output() -> Any:
    """A place for a tensor of the library."""
    return ctypes.POINTER(c.DLManagedTensorVersioned)()


def pointer(values: Array | None, kind: Any) -> Any:
    """The memory of a contiguous array, borrowed; NULL for none."""
    return None if values is None else values.ctypes.data_as(ctypes.POINTER(kind))

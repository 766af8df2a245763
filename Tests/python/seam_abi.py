"""libSeam.so for the tests: every function of the C ABI through ctypes, its errors, and its tensors as numpy arrays."""

from __future__ import annotations

import ctypes
import functools
import json
import os
import weakref
from pathlib import Path
from typing import Any

import numpy as np

from abi_headers import Declarations, read_headers

ROOT = Path(__file__).resolve().parents[2]
Array = np.ndarray[Any, Any]


class SeamError(Exception):
    """An error object of the library."""

    def __init__(self, code: int, message: str, origin: str):
        super().__init__(message)
        self.code, self.message, self.origin = code, message, origin


def library_path() -> Path:
    if given := os.environ.get("SEAM_LIBRARY"):
        return Path(given).resolve()
    candidates = [ROOT / ".build" / build / "libSeam.so" for build in ("release", "debug")]
    for path in candidates:
        if path.exists():
            return path
    raise FileNotFoundError(f"libSeam.so is in none of {candidates}: run swift build, or set SEAM_LIBRARY")


@functools.cache
def headers() -> Declarations:
    return read_headers(ROOT / "include")


@functools.cache
def library() -> ctypes.CDLL:
    """The loaded library with the prototypes of the headers."""
    loaded = ctypes.CDLL(str(library_path()))
    for name, function in headers().functions.items():
        if name == "seam_plugin_entry":
            continue  # declared for plugins to export, not for the library
        symbol = getattr(loaded, name)
        symbol.restype, symbol.argtypes = function.result, function.arguments
    return loaded


def struct(name: str, **members: Any) -> Any:
    """A struct of the headers with its size filled in."""
    value = headers().struct(name)(**members)
    if hasattr(value, "struct_size"):
        value.struct_size = ctypes.sizeof(value)
    return value


def constant(name: str) -> int:
    return headers().constants[name]


def handle(name: str) -> Any:
    """A NULL pointer to an object of the library, to be written by a function."""
    return ctypes.POINTER(headers().struct(name))()


def checked(name: str, *arguments: Any) -> None:
    """Calls a function whose last parameter is the error slot, and raises what it reports."""
    error = handle("seam_error")
    status = getattr(library(), name)(*arguments, ctypes.byref(error))
    if status != constant("SEAM_OK"):
        raise taken_error(error)


def taken_error(error: Any) -> SeamError:
    code = library().seam_error_code(error)
    message, origin = library().seam_error_message(error), library().seam_error_origin(error)
    library().seam_error_release(error)
    return SeamError(code, message.decode(), origin.decode())


def taken_string(address: ctypes.c_void_p) -> str:
    text = ctypes.cast(address, ctypes.c_char_p).value
    library().seam_string_release(ctypes.cast(address, ctypes.c_char_p))
    return (text or b"").decode()


def utf8(text: str | Path | None) -> bytes | None:
    return None if text is None else str(text).encode()


def options_json(options: dict[str, Any] | None) -> bytes | None:
    return None if options is None else json.dumps(options).encode()


def pointer_to(array: Array | None, kind: Any) -> Any:
    """The memory of a contiguous array, borrowed; NULL for none."""
    return None if array is None else array.ctypes.data_as(ctypes.POINTER(kind))


# ---- DLPack


class Half:
    """Values stored as bf16 or f16. numpy knows no bf16, so both are kept as their bits."""

    def __init__(self, bits: Array, code: int):
        self.bits, self.code = np.ascontiguousarray(bits, np.uint16), code

    @classmethod
    def bf16(cls, values: Array) -> Half:
        """Rounded towards zero, which is all a test needs: read the values back with `floats`."""
        return cls(np.ascontiguousarray(values, np.float32).view(np.uint32) >> 16, constant("kDLBfloat"))

    @classmethod
    def f16(cls, values: Array) -> Half:
        return cls(values.astype(np.float16).view(np.uint16), constant("kDLFloat"))

    def floats(self) -> Array:
        if self.code == constant("kDLFloat"):
            return self.bits.view(np.float16).astype(np.float32)
        return (self.bits.astype(np.uint32) << 16).view(np.float32)


# Lent tensors by the address of their struct: the memory must outlive the borrower's last use.
_lent: dict[int, tuple[Any, ...]] = {}
Deleter = ctypes.CFUNCTYPE(None, ctypes.c_void_p)


@Deleter
def _returned(address: int) -> None:
    _lent.pop(address)


def lend(values: Array | Half) -> Any:
    """A DLPack tensor over the array's own memory. Whoever takes it calls its deleter."""
    array = values.bits if isinstance(values, Half) else values
    code = values.code if isinstance(values, Half) else constant("kDLInt" if array.dtype.kind == "i" else "kDLFloat")
    managed = headers().struct("DLManagedTensorVersioned")()
    shape, strides = (ctypes.c_int64 * array.ndim)(*array.shape), (ctypes.c_int64 * array.ndim)()
    strides[:] = [each // array.itemsize for each in array.strides]
    managed.version.major, managed.version.minor = constant("DLPACK_MAJOR_VERSION"), constant("DLPACK_MINOR_VERSION")
    managed.deleter = ctypes.cast(_returned, type(managed.deleter))
    tensor = managed.dl_tensor
    tensor.data, tensor.ndim, tensor.shape, tensor.strides = array.ctypes.data, array.ndim, shape, strides
    tensor.device.device_type = constant("kDLCPU")
    tensor.dtype.code, tensor.dtype.bits, tensor.dtype.lanes = code, array.itemsize * 8, 1
    _lent[ctypes.addressof(managed)] = (managed, array, shape, strides)
    return ctypes.pointer(managed)


def lent_count() -> int:
    """Lent tensors that were not given back yet."""
    return len(_lent)


def received(managed: Any) -> Array:
    """An array over the memory of a tensor of the library, which is given back when the last view of it dies."""
    tensor = managed.contents.dl_tensor
    kind = np.dtype(np.float32 if tensor.dtype.code == constant("kDLFloat") else np.int32)
    shape = tuple(tensor.shape[: tensor.ndim])
    memory = (ctypes.c_char * (int(np.prod(shape)) * kind.itemsize)).from_address(
        (tensor.data or 0) + tensor.byte_offset)
    weakref.finalize(memory, managed.contents.deleter, managed)
    return np.frombuffer(memory, kind).reshape(shape)

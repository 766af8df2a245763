"""libSeam.so for the tests, by the package's own binding (python/seamkit): its constants, structs, calls and tensors, and
values in half precision, which NumPy has no type for."""

from __future__ import annotations

import ctypes
import os
import sys
from pathlib import Path
from typing import Any

import numpy as np

ROOT = Path(__file__).resolve().parents[2]
sys.path.insert(0, str(ROOT / "python"))
Array = np.ndarray[Any, Any]


def library_path() -> Path:
    if given := os.environ.get("SEAM_LIBRARY"):
        return Path(given).resolve()
    candidates = [ROOT / ".build" / build / "libSeam.so" for build in ("release", "debug")]
    for path in candidates:
        if path.exists():
            return path
    raise FileNotFoundError(f"libSeam.so is in none of {candidates}: run swift build, or set SEAM_LIBRARY")


# The package must load the same library: a test of a debug build, or of another one, is about that.
os.environ["SEAMKIT_LIBRARY_PATH"] = str(library_path().parent)

from seamkit import SeamError  # noqa: E402
from seamkit import _declarations as c  # noqa: E402
from seamkit._native.dlpack import lend_memory, lent_count, pointer, received  # noqa: E402
from seamkit._native.library import checked, library  # noqa: E402

__all__ = [
    "ROOT",
    "Array",
    "Half",
    "SeamError",
    "c",
    "checked",
    "constant",
    "handles",
    "lend",
    "lent_count",
    "library",
    "library_path",
    "pointer",
    "received",
]


def constant(name: str) -> int:
    """A number that the headers name."""
    found: int = getattr(c, name)
    return found


def handles(values: Any) -> Any:
    """An array of handles of tensors; None among them is NULL."""
    return (ctypes.c_void_p * len(values))(*values)


class Half:
    """Values stored as bf16 or f16. numpy knows no bf16, so both are kept as their bits."""

    def __init__(self, bits: Array, code: int):
        self.bits, self.code = np.ascontiguousarray(bits, np.uint16), code

    @classmethod
    def bf16(cls, values: Array) -> Half:
        """Rounded towards zero, which is all a test needs: read the values back with `floats`."""
        return cls(np.ascontiguousarray(values, np.float32).view(np.uint32) >> 16, c.kDLBfloat)

    @classmethod
    def f16(cls, values: Array) -> Half:
        return cls(values.astype(np.float16).view(np.uint16), c.kDLFloat)

    def floats(self) -> Array:
        if self.code == c.kDLFloat:
            return self.bits.view(np.float16).astype(np.float32)
        return (self.bits.astype(np.uint32) << 16).view(np.float32)


def lend(values: Array | Half) -> Any:
    """A DLPack tensor over the values' own memory, also of types that the library refuses. Whoever takes it calls its
    deleter."""
    array = values.bits if isinstance(values, Half) else values
    code = values.code if isinstance(values, Half) else c.kDLInt if array.dtype.kind == "i" else c.kDLFloat
    strides = [each // array.itemsize for each in array.strides]
    return lend_memory(array.ctypes.data, list(array.shape), strides, code, array.itemsize * 8, array)

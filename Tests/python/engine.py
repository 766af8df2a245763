"""The native engine for tests: a pass, numpy arrays in and out, and the compute table without its context argument."""
import ctypes

import numpy as np

import seam_abi
from seam_abi import call, create, enums, library

DTYPES = {np.dtype("float32"): "SEAM_F32", np.dtype("int32"): "SEAM_I32"}
table = seam_abi.struct("seam_ops").from_address(library.seam_native_ops())
OPERATIONS = [
    name for name, kind in seam_abi.struct("seam_ops")._fields_ if issubclass(kind, ctypes._CFuncPtr)
]
_runtime = create(library.seam_runtime_create)


def sizes(values):
    return (ctypes.c_int64 * max(len(values), 1))(*values)


def axes(values):
    return (ctypes.c_int32 * max(len(values), 1))(*values)


class Pass:
    """One forward; `p.add(a, b)` is `ops->add(ctx, a, b)`."""

    def __init__(self, records=True):
        self.ctx = create(library.seam_context_create, _runtime, int(records))
        self._borrowed = []

    def close(self):
        library.seam_context_release(self.ctx)

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.close()

    def __getattr__(self, name):
        function = getattr(table, name)
        return lambda *arguments: function(self.ctx, *arguments)

    def check(self):
        call(library.seam_context_error, self.ctx)

    def constant(self, array):
        array = np.array(array, order="C")
        make = table.constant_f32 if array.dtype == np.float32 else table.constant_i32
        assert array.dtype in DTYPES
        return make(self.ctx, array.ctypes.data, sizes(array.shape), array.ndim)

    def half(self, tensor):
        """A torch tensor of dtype bfloat16 or float16, by DLPack."""
        tensor = tensor.contiguous()
        code, bits = (4, 16) if "bfloat16" in str(tensor.dtype) else (2, 16)
        shape = sizes(tensor.shape)
        managed = seam_abi.struct("DLManagedTensorVersioned")()
        managed.version.major = 1
        inner = managed.dl_tensor
        inner.data, inner.device.device_type, inner.ndim = tensor.data_ptr(), 1, tensor.dim()
        inner.dtype.code, inner.dtype.bits, inner.dtype.lanes = code, bits, 1
        inner.shape = ctypes.addressof(shape)
        self._borrowed += [tensor, shape, managed]
        return table.from_dlpack(self.ctx, ctypes.addressof(managed))

    def leaf(self, array):
        return library.seam_context_leaf(self.ctx, self.constant(array))

    def backward(self, y, seed=None):
        call(library.seam_context_backward, self.ctx, y, None if seed is None else self.constant(seed))

    def gradient(self, leaf):
        """None when no gradient reached the leaf."""
        found = library.seam_context_gradient(self.ctx, leaf)
        return None if found is None else self.array(found)

    def array(self, handle):
        """A copy of a tensor's values."""
        exported = table.to_dlpack(self.ctx, handle)
        if not exported:
            self.check()
        return take(exported)


def take(exported):
    """A copy of an f32 or i32 DLPack tensor's values, which is then given back."""
    managed = seam_abi.struct("DLManagedTensorVersioned").from_address(exported)
    tensor = managed.dl_tensor
    shape = ctypes.cast(tensor.shape, ctypes.POINTER(ctypes.c_int64))[: tensor.ndim]
    count = int(np.prod(shape))
    kind = np.float32 if tensor.dtype.code == 2 else np.int32
    data = ctypes.string_at(tensor.data + tensor.byte_offset, count * 4) if count else b""
    managed.deleter(exported)
    return np.frombuffer(data, dtype=kind).reshape(shape).copy()


__all__ = ["OPERATIONS", "Pass", "axes", "enums", "sizes", "table", "take"]

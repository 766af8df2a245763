"""An engine of NumPy alone, values only: what another engine than torch's needs to run adapters that libSeam keeps, a
compute table and a place for the tensors of a pass."""

from __future__ import annotations

import ctypes
import itertools
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from seamkit import _declarations as c
from seamkit._native import Adapter
from seamkit._native.described import forward

Array = NDArray[Any]
_CODES = {np.dtype(np.float32): c.SEAM_F32, np.dtype(np.int32): c.SEAM_I32}
_numbers = itertools.count(1)
_passes: dict[int, Pass] = {}


class Pass:
    """One forward: the arrays behind its handles, and the first failure."""

    def __init__(self) -> None:
        self.arrays: dict[int, Array] = {}
        self.failure: str | None = None
        self.handle = next(_numbers)
        _passes[self.handle] = self

    def add(self, values: Any) -> int:
        found = np.asarray(values)
        handle = next(_numbers)
        self.arrays[handle] = found.astype(np.float32) if found.dtype == np.float64 else found
        return handle


def _normalised(x: Array, weight: Array | None, bias: Array | None, epsilon: float) -> Array:
    centred = x - x.mean(-1, keepdims=True)
    found = centred / np.sqrt(np.square(centred).mean(-1, keepdims=True) + np.float32(epsilon))
    found = found if weight is None else found * weight
    return found if bias is None else found + bias


def _product(a: Array, b: Array, transpose_a: int, transpose_b: int) -> Array:
    return (a.swapaxes(-1, -2) if transpose_a else a) @ (b.swapaxes(-1, -2) if transpose_b else b)


# On arrays, and on numbers, lists of sizes and of arrays as the table gives them.
_OPERATIONS: dict[str, tuple[Callable[..., Any], str]] = {
    "add": (np.add, "tt"),
    "sub": (np.subtract, "tt"),
    "mul": (np.multiply, "tt"),
    "div": (np.divide, "tt"),
    "affine": (lambda x, scale, shift: x * np.float32(scale) + np.float32(shift), "tnn"),
    "sqrt": (np.sqrt, "t"),
    "rsqrt": (lambda x: 1 / np.sqrt(x), "t"),
    "square": (np.square, "t"),
    "tanh": (np.tanh, "t"),
    "sigmoid": (lambda x: 1 / (1 + np.exp(-x)), "t"),
    "relu": (lambda x: np.maximum(x, 0), "t"),
    "stop_gradient": (lambda x: x, "t"),
    "cast": (lambda x, dtype: x.astype(np.int32 if dtype == c.SEAM_I32 else np.float32), "tn"),
    "matmul": (_product, "ttnn"),
    "linear": (lambda x, weight, bias: x @ weight.T + (0 if bias is None else bias), "ttt"),
    "linear_low_rank": (lambda y, x, a, b, scale: y + np.float32(scale) * ((x @ a.T) @ b.T), "ttttn"),
    "layer_norm": (_normalised, "tttn"),
    "sum": (lambda x, axis, keep: x.sum(axis, keepdims=bool(keep)), "tnn"),
    "mean": (lambda x, axis, keep: x.mean(axis, keepdims=bool(keep)), "tnn"),
    "reshape": (lambda x, shape: x.reshape(shape), "ts"),
    "permute": (lambda x, axes: x.transpose(axes), "ts"),
    "expand": (lambda x, shape: np.broadcast_to(x, shape), "ts"),
    "slice": (lambda x, axis, start, length: x.take(range(start, start + length), axis), "tnnn"),
    "concat": (lambda parts, axis: np.concatenate(parts, axis), "pn"),
    "index_select": (lambda x, axis, index: x.take(index, axis), "tnt"),
    "embedding": (lambda weight, ids: weight[ids], "tt"),
}


def _arguments(pass_: Pass, codes: str, raw: Sequence[Any]) -> list[Any]:
    found: list[Any] = []
    rest = iter(raw)
    for code in codes:
        value = next(rest)
        if code == "t":
            found.append(None if value is None else pass_.arrays[value])
        elif code == "s":
            found.append(list(value[: next(rest)]))
        elif code == "p":
            found.append([pass_.arrays[value[index]] for index in range(next(rest))])
        else:
            found.append(value)
    return found


def _operation(name: str) -> Callable[..., int | None]:
    known = _OPERATIONS.get(name)

    def run(context: int, *raw: Any) -> int | None:
        pass_ = _passes[context]
        if pass_.failure is None:
            try:
                if known is None:
                    raise NotImplementedError("this engine does not have it")
                return pass_.add(known[0](*_arguments(pass_, known[1], raw)))
            except Exception as error:
                pass_.failure = f"{name}: {error}"
        return None

    return run


def _fail(context: int, code: int, message: bytes | None) -> None:
    _passes[context].failure = _passes[context].failure or (message or b"").decode()


def _constant(context: int, data: Any, shape: Any, rank: int) -> int:
    sizes = list(shape[:rank])
    return _passes[context].add(np.ctypeslib.as_array(data, (int(np.prod(sizes)),)).reshape(sizes).copy())


def _size(context: int, handle: int, axis: int) -> int:
    shape = _passes[context].arrays[handle].shape
    return shape[axis] if -len(shape) <= axis < len(shape) else -1


_OTHERS: dict[str, Callable[..., Any]] = {
    "status": lambda context: c.SEAM_OK if _passes[context].failure is None else c.SEAM_SHAPE,
    "fail": _fail,
    "rank": lambda context, handle: _passes[context].arrays[handle].ndim,
    "size": _size,
    "dtype": lambda context, handle: _CODES[_passes[context].arrays[handle].dtype],
    "scope_begin": lambda context: None,
    "scope_end": lambda context, keep, count: None,
    "constant_f32": _constant,
    "constant_i32": _constant,
    "full": lambda context, value, dtype, shape, rank: _passes[context].add(
        np.full(shape[:rank] if rank else (), value, np.int32 if dtype == c.SEAM_I32 else np.float32)
    ),
}


def _table() -> c.seam_ops:
    table = c.seam_ops(struct_size=ctypes.sizeof(c.seam_ops), abi_major=c.SEAM_ABI_MAJOR, abi_minor=c.SEAM_ABI_MINOR)
    for name, kind in c.seam_ops._fields_[4:]:  # type: ignore[misc]
        setattr(table, name, kind(_OTHERS.get(name) or _operation(name)))
    return table


_TABLE = _table()


def _handles(handles: Sequence[int | None]) -> Any:
    return (ctypes.c_void_p * len(handles))(*handles)


def run(
    adapter: Adapter, parameters: Sequence[Array], inputs: Sequence[Array | None], *, point: int = -1, phase: int = 0
) -> Array:
    """What an adapter gives for the one output of its seam. parameters: all, or those of the point.

    Raises ValueError with what an operation failed with, and the errors of `forward`.
    """
    [found] = run_all(adapter, parameters, inputs, 1, point=point, phase=phase)
    assert found is not None  # seam_adapter_forward has seen to it
    return found


def run_all(
    adapter: Adapter,
    parameters: Sequence[Array],
    inputs: Sequence[Array | None],
    count: int,
    *,
    point: int = -1,
    phase: int = 0,
) -> list[Array | None]:
    """The same for a seam with `count` outputs, of which some may be None."""
    pass_ = Pass()
    try:
        given = _handles([pass_.add(each) for each in parameters])
        own = c.seam_pass(
            struct_size=ctypes.sizeof(c.seam_pass),
            ctx=pass_.handle,
            ops=ctypes.pointer(_TABLE),
            parameters=given,
            parameter_count=len(given),
        )
        flowing = _handles([None if each is None else pass_.add(each) for each in inputs])
        outputs = _handles([None] * count)
        io = c.seam_forward(
            struct_size=ctypes.sizeof(c.seam_forward),
            point=point,
            phase=phase,
            inputs=flowing,
            input_count=len(flowing),
            outputs=outputs,
            output_count=count,
        )
        try:
            forward(adapter, own, io)
        finally:
            if pass_.failure is not None:
                raise ValueError(pass_.failure)
        return [None if each is None else pass_.arrays[each] for each in outputs]
    finally:
        del _passes[pass_.handle]


def described(width: int, points: Sequence[c.seam_point] = (), kv_heads: Sequence[int] = ()) -> c.seam_backbone_info:
    """A model with an encoder of two layers. kv_heads: of these, where they take prefixes, which are 4 wide a head."""
    info = c.seam_backbone_info(
        struct_size=ctypes.sizeof(c.seam_backbone_info),
        kind=c.SEAM_BACKBONE_TRACED,
        architecture=c.SEAM_ENCODER_ONLY,
        family=b"numpy",
        seams=(ctypes.c_char_p * 1)(c.SEAM_ENCODER_OUTPUT.encode()),
        seam_count=1,
        d_model=width,
        encoder_layers=2,
        decoder_start_token_id=-1,
        pad_token_id=-1,
        bos_token_id=-1,
        mask_token_id=-1,
    )
    if kv_heads:
        info.head_dim, info.prefix_layers[c.SEAM_PREFIX_ENCODER] = 4, len(kv_heads)
        info.prefix_kv_heads[c.SEAM_PREFIX_ENCODER] = (ctypes.c_int64 * len(kv_heads))(*kv_heads)
    if points:
        info.points = (ctypes.POINTER(c.seam_point) * len(points))(*map(ctypes.pointer, points))
        info.point_count = len(points)
    return info

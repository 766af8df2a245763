"""The compute table `seam_ops` of the torch engine: C functions that call torch.

A Python exception must never reach the plugin: whatever happens inside a function is latched in the pass, and the
function returns NULL.
"""

from __future__ import annotations

import ctypes
import math
from collections.abc import Callable
from typing import Any

import numpy as np
import torch
from torch import Tensor

from seamkit import _declarations as c
from seamkit.errors import InvalidArgumentError, PluginError, SeamError, ShapeError, UnsupportedError
from seamkit.torch import buffers, checks, memory
from seamkit.torch.machine import require_memory
from seamkit.torch.operations import OPERATIONS, attention_with_prefix, dropout, embedding, to_dtype
from seamkit.torch.passes import Handle, Handles, Pass, find

Body = Callable[..., Any]
_DTYPES = {c.SEAM_BF16: torch.bfloat16, c.SEAM_F16: torch.float16, c.SEAM_I32: torch.int32}


class _Null(Exception):
    """An operand is the NULL of an operation that failed."""


def _guarded(name: str, body: Body, failed: Any) -> Body:
    """`body` as a C function of the table: nothing happens in a failed pass or with a NULL operand."""

    def function(context: int | None, *arguments: Any) -> Any:
        pass_ = find(context)
        try:
            if pass_ is None or pass_.failure is not None:
                return failed(pass_)
            return body(pass_, *arguments)
        except _Null:
            return failed(pass_)
        except BaseException as error:
            if pass_ is not None:
                pass_.latch(error, name)
            return failed(pass_)

    return function


def _null(_: Pass | None) -> None:
    return None


def _code(pass_: Pass | None) -> int:
    """The status of a pass; NULL is none that a plugin may use."""
    if pass_ is None:
        return c.SEAM_PLUGIN
    return c.SEAM_OK if pass_.failure is None else pass_.failure.code


def operand(pass_: Pass, handle: int | None) -> Handle:
    if handle is None:
        raise _Null
    pass_.tensor(handle)
    return Handle(handle)


# ---- Operations with arguments of a common kind


def _read(pass_: Pass, codes: str, raw: tuple[Any, ...]) -> list[Any]:
    """The C arguments as `OPERATIONS` describes them."""
    found: list[Any] = []
    rest = iter(raw)
    for code in codes:
        value = next(rest)
        if code == "t":
            found.append(operand(pass_, value))
        elif code == "n":
            found.append(None if value is None else operand(pass_, value))
        elif code == "b":
            found.append(value != 0)
        elif code in "sa":
            found.append(_numbers(value, next(rest)))
        elif code == "p":
            count = checks.count(next(rest), "concat: the number of parts")
            found.append(Handles(operand(pass_, value[index]) for index in range(count)) if value else Handles())
        else:
            found.append(value)
    return found


def _numbers(pointer: Any, count: int) -> list[int]:
    if not 0 <= count <= checks.MAX_RANK:
        raise ShapeError(f"rank must be 0 ... {checks.MAX_RANK}, found {count}")
    if count and not pointer:
        raise PluginError("the sizes are NULL")
    return list(pointer[:count]) if count else []


def _common(name: str) -> Body:
    function, codes = OPERATIONS[name]

    def body(pass_: Pass, *raw: Any) -> int:
        arguments = _read(pass_, codes, raw)
        checks.check(name, [pass_.resolved(each) for each in arguments])
        return pass_.compute(function, arguments)

    return body


# ---- The others


def _fail(pass_: Pass, code: int, message: bytes | None) -> None:
    pass_.latch(SeamError.of(code, (message or b"the plugin gave no message").decode(errors="replace")))


def _scope_end(pass_: Pass, keep: Any, count: int) -> None:
    kept: set[int] = set()
    try:
        checks.count(count, "scope_end: the number of kept tensors")
        kept = {keep[index] for index in range(count) if keep[index]} if keep else kept
    finally:
        pass_.end_scope(kept)


def _constant(name: str, kind: Any, dtype: torch.dtype | None) -> Body:
    def body(pass_: Pass, data: Any, shape: Any, rank: int) -> int:
        sizes = checks.sizes(_sizes(name, shape, rank), name)
        count = math.prod(sizes)
        if count and not data:
            raise PluginError(f"{name}: data is NULL")
        values = np.ctypeslib.as_array(data, (count,)) if count else np.empty(0, kind)
        require_memory(4 * count, name)
        copy = torch.from_numpy(values.copy()).reshape(sizes)
        return pass_.constant(copy.to(pass_.device, dtype or pass_.real))

    return body


def _sizes(name: str, shape: Any, rank: int) -> list[int]:
    checks.rank(rank, name, shape)
    return _numbers(shape, rank)


def _full(pass_: Pass, value: float, dtype: int, shape: Any, rank: int) -> int:
    if dtype not in (c.SEAM_F32, c.SEAM_I32):
        raise InvalidArgumentError(f"full: dtype must be f32 or i32, found {dtype}")
    sizes = checks.sizes(_sizes("full", shape, rank), "full")
    require_memory(4 * math.prod(sizes), "full")
    if dtype == c.SEAM_I32 and not (math.isfinite(value) and -(2**31) <= math.trunc(value) < 2**31):
        raise InvalidArgumentError(f"full: {value} does not fit i32")
    kind = pass_.real if dtype == c.SEAM_F32 else torch.int32
    filled = torch.full(sizes, value if dtype == c.SEAM_F32 else int(value), dtype=kind, device=pass_.device)
    return pass_.constant(filled)


def _from_dlpack(context: int | None, source: Any) -> int | None:
    """Not guarded like the others: the deleter must run even if the pass has failed."""
    pass_ = find(context)
    try:
        if not source:
            raise PluginError("from_dlpack: the tensor is NULL")
        borrowed = memory.borrowed(source)
        if pass_ is None or pass_.failure is not None:
            return None
        kept = memory.kept(borrowed, pass_.device, pass_.real)
        # A graph outlives the pass, and the owner counts on its memory then.
        return pass_.constant(kept.clone() if pass_.is_recording else kept)
    except BaseException as error:
        if pass_ is not None:
            pass_.latch(error, "from_dlpack")
        return None


def _to_dlpack(pass_: Pass, handle: int | None) -> int:
    """On the CPU, wherever the tensor is: a plugin reads the values."""
    tensor = pass_.tensor(operand(pass_, handle))
    pass_.stop_recording()
    return ctypes.addressof(memory.lent(tensor).contents)


def _cast(pass_: Pass, handle: int | None, dtype: int) -> int:
    x = operand(pass_, handle)
    target = checks.cast(pass_.tensor(x), dtype)
    if target is None:
        return int(x)
    return pass_.compute(to_dtype, [x, pass_.real if target == torch.float32 else target])


def _dropout(pass_: Pass, handle: int | None, p: float) -> int:
    x = operand(pass_, handle)
    if not 0 <= p <= 1:
        raise InvalidArgumentError(f"dropout: p must be 0 ... 1, found {p:g}")
    checks.check("dropout", [pass_.tensor(x)])
    return pass_.compute(dropout, [x, p]) if pass_.training and p > 0 else int(x)


def _embedding(pass_: Pass, weight: int | None, ids: int | None) -> int:
    table, index = operand(pass_, weight), operand(pass_, ids)
    checks.check("embedding", [pass_.tensor(table), pass_.tensor(index)])
    real = pass_.tensor(table).dtype
    return pass_.compute(embedding, [table, index, real if real in checks.REAL else pass_.real])


def _attention_with_prefix(
    pass_: Pass,
    query: int | None,
    key: int | None,
    value: int | None,
    prefix: Any,
    biases: Any,
    bias: int | None,
    mask: int | None,
    scale: float,
    causal: int,
) -> int:
    name = "attention_with_prefix"
    operands = [operand(pass_, each) for each in (query, key, value)]
    optional = [None if each is None else operand(pass_, each) for each in (bias, mask)]
    if not prefix:
        raise PluginError(f"{name}: the prefix is NULL")
    given, size = prefix.contents, ctypes.sizeof(c.seam_prefix)
    if given.struct_size < size:
        raise PluginError(
            f"struct_size of the seam_prefix of {name} must be at least {size}, found {given.struct_size}"
        )
    count = checks.count(given.route_count, f"{name}: the number of routes")
    if count and not given.keys_values:
        raise PluginError(f"{name}: the prefix has {count} routes and gives NULL for keys_values")
    rows = checks.count(given.row_count, f"{name}: the number of rows")
    if rows and not given.routes:
        raise PluginError(f"{name}: the prefix has {rows} rows and gives NULL for routes")
    prefixes, places = _given(pass_, given.keys_values, count)
    added, bias_places = _given(pass_, biases, count)
    routes = list(given.routes[:rows]) if given.routes else None

    def at(handles: Handles, place: int) -> Any:
        return None if place < 0 else pass_.tensor(handles[place])

    found = [at(prefixes, place) for place in places]
    checks.attention_with_prefix(
        [pass_.resolved(each) for each in (*operands, *optional)],
        found,
        [at(added, place) for place in bias_places],
        routes,
    )
    # A prefix without tokens is none.
    places = [-1 if each is None or not each.shape[2] else place for each, place in zip(found, places, strict=True)]
    arguments = [*operands, prefixes, places, added, bias_places, routes, *optional, scale, causal != 0]
    return pass_.compute(attention_with_prefix, arguments)


def _given(pass_: Pass, pointer: Any, count: int) -> tuple[Handles, list[int]]:
    """Those of `count` handles that are not NULL, and for each where it is among them, -1 for NULL."""
    found, places = Handles(), []
    for index in range(count if pointer else 0):
        places.append(len(found) if pointer[index] else -1)
        if pointer[index]:
            found.append(operand(pass_, pointer[index]))
    return found, places or [-1] * count


def _measured(pass_: Pass, handle: int | None) -> Tensor:
    if handle is None:
        raise _Null
    return pass_.measured(handle)


def _rank(pass_: Pass, handle: int | None) -> int:
    return _measured(pass_, handle).dim()


def _size(pass_: Pass, handle: int | None, axis: int) -> int:
    shape = _measured(pass_, handle).shape
    return shape[axis] if -len(shape) <= axis < len(shape) else -1


def _dtype(pass_: Pass, handle: int | None) -> int:
    code = checks.CODES.get(_measured(pass_, handle).dtype)
    if code is None:
        raise UnsupportedError("a tensor has a dtype that the ABI does not know")
    return code


def _nothing(_: Pass | None) -> int:
    return -1


# By name: what runs, and what is returned where nothing does.
_Entry = tuple[Body, Callable[[Pass | None], Any]]
_COMMON: dict[str, _Entry] = {name: (_common(name), _null) for name in OPERATIONS}
_BODIES: dict[str, _Entry] = _COMMON | {
    "status": (lambda pass_: c.SEAM_OK, _code),
    "fail": (_fail, _null),
    "rank": (_rank, _nothing),
    "size": (_size, _nothing),
    "dtype": (_dtype, _nothing),
    "scope_begin": (Pass.begin_scope, _null),
    "scope_end": (_scope_end, _null),
    "constant_f32": (_constant("constant_f32", np.float32, None), _null),
    "constant_i32": (_constant("constant_i32", np.int32, torch.int32), _null),
    "full": (_full, _null),
    "to_dlpack": (_to_dlpack, _null),
    "cast": (_cast, _null),
    "dropout": (_dropout, _null),
    "embedding": (_embedding, _null),
    "attention_with_prefix": (_attention_with_prefix, _null),
    "buffer_create": (buffers.create, _null),
    "buffer_write": (buffers.write, _code),
    "buffer_write_rows": (buffers.write_rows, _code),
    "buffer_read": (buffers.read, _null),
    "buffer_select": (buffers.select, _code),
    "buffer_append": (buffers.append, _code),
}


def _table() -> Any:
    table = c.seam_ops(struct_size=ctypes.sizeof(c.seam_ops), abi_major=c.SEAM_ABI_MAJOR, abi_minor=c.SEAM_ABI_MINOR)
    for name, kind in c.seam_ops._fields_[4:]:  # type: ignore[misc]
        if name == "from_dlpack":
            function: Body = _from_dlpack
        elif name == "buffer_release":
            function = buffers.release
        else:
            function = _guarded(name, *_BODIES[name])
        setattr(table, name, kind(function))
    return table


# The one table of the process; it keeps its functions alive.
TABLE = _table()
OPS = ctypes.pointer(TABLE)

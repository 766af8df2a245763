"""What the compute table refuses, in its own sentences, before torch is called.

Only what torch would accept, or would refuse in words that no user of a plugin could read; the rest of torch's refusals
are put into a sentence by the pass.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from typing import Any

import torch
from torch import Tensor

from seamkit import _declarations as c
from seamkit.errors import InvalidArgumentError, SeamError, ShapeError, UnsupportedError

MAX_RANK = c.SEAM_MAX_RANK
REAL = (torch.float32, torch.float64)
HALF = (torch.bfloat16, torch.float16)
# f64 computes where f32 is meant: plugins know one real dtype.
CODES = {
    torch.float32: c.SEAM_F32,
    torch.float64: c.SEAM_F32,
    torch.bfloat16: c.SEAM_BF16,
    torch.float16: c.SEAM_F16,
    torch.int32: c.SEAM_I32,
}
_NAMES = {torch.float32: "f32", torch.float64: "f64", torch.bfloat16: "bf16", torch.float16: "f16", torch.int32: "i32"}

# What dtypes the tensor operands of an operation may have: r real, w real or half, i i32, * any. One letter for each
# operand in order, the last for all that follow.
_DTYPES = {
    "stop_gradient": "*",
    "where": "irr",
    "linear": "rw",
    "linear_low_rank": "rr*",
    "attention": "rrrri",
    "layer_norm": "rw",
    "rms_norm": "rw",
    "argmax": "r",
    "reshape": "*",
    "permute": "*",
    "expand": "*",
    "slice": "*",
    "embedding": "wi",
    "index_select": "*i",
    "gather": "*i",
    "cross_entropy": "ri",
}


def shown(shape: Sequence[int]) -> str:
    return f"[{', '.join(str(each) for each in shape)}]"


def dtype_name(tensor: Tensor) -> str:
    return _NAMES.get(tensor.dtype, str(tensor.dtype))


def sizes(shape: list[int], name: str) -> list[int]:
    """A shape that a plugin asks for a new tensor."""
    rank(len(shape), name)
    # A size of 0 counts as 1, as in the native engine, where products of the sizes beside it are taken, too.
    if any(each < 0 for each in shape) or math.prod(max(each, 1) for each in shape) > 1 << 40:
        raise ShapeError(f"{name}: shape {shown(shape)} has a negative size or too many elements")
    return shape


def rank(found: int, name: str, sizes: Any = True) -> None:
    """Raises for a rank that cannot be, and for `sizes` of NULL where there is one."""
    if not 0 <= found <= MAX_RANK or (found and not sizes):
        raise ShapeError(f"{name}: rank must be 0 ... {MAX_RANK} with a shape, found rank {found}")


def count(found: int, what: str) -> int:
    """A count of things that a plugin gives: more cannot be meant, and would be read from anywhere."""
    most = 1 << 20
    if not 0 <= found <= most:
        raise InvalidArgumentError(f"{what} must be at most {most}, found {found % 2**64}")
    return found


def check(name: str, arguments: Sequence[Any]) -> None:
    """Throws the sentence for operands that an operation is not for."""
    tensors = [each for each in arguments if isinstance(each, Tensor)]
    if name != "attention":
        expected = _DTYPES.get(name, "r")
        for index, tensor in enumerate(tensors):
            _check_dtype(name, tensor, expected[min(index, len(expected) - 1)])
    if special := _CHECKS.get(name):
        special(name, *arguments)


def _check_dtype(name: str, tensor: Tensor, expected: str) -> None:
    if expected == "i" and tensor.dtype != torch.int32:
        raise ShapeError(f"{name}: {shown(tensor.shape)} must be i32, found {dtype_name(tensor)}")
    if expected == "r" and tensor.dtype not in REAL or expected == "w" and tensor.dtype not in (*REAL, *HALF):
        raise ShapeError(f"{name}: dtype must be f32, found {dtype_name(tensor)}")


def _axis(name: str, x: Tensor, axis: int) -> int:
    if not -x.dim() <= axis < x.dim():
        raise ShapeError(f"{name}: axis {axis} is out of range for shape {shown(x.shape)}")
    return axis % x.dim()


def _on_axis(name: str, x: Tensor, axis: int, *_: Any) -> None:
    _axis(name, x, axis)


def _reduction(name: str, x: Tensor, axis: int, *_: Any) -> None:
    if x.shape[_axis(name, x, axis)] == 0:
        raise ShapeError(f"{name}: axis {axis} of shape {shown(x.shape)} is empty")


def _broadcast(name: str, *operands: Tensor) -> None:
    try:
        shape = torch.broadcast_shapes(*(each.shape for each in operands))  # type: ignore[no-untyped-call]
    except RuntimeError:
        shapes = " and ".join(shown(each.shape) for each in operands)
        raise ShapeError(f"{name}: shapes {shapes} do not broadcast") from None
    if math.prod(shape) >= 1 << 60:
        raise ShapeError(f"{name}: the result of shape {shown(shape)} is too large")


def _matmul(name: str, a: Tensor, b: Tensor, transpose_a: bool, transpose_b: bool) -> None:
    shapes = f"{shown(a.shape)} and {shown(b.shape)}"
    if a.dim() < 2 or b.dim() < 2:
        raise ShapeError(f"{name}: operands need at least 2 axes, found {shapes}")
    if a.shape[-2 if transpose_a else -1] != b.shape[-1 if transpose_b else -2]:
        turned = f" with transpose_a {int(transpose_a)}, transpose_b {int(transpose_b)}"
        raise ShapeError(f"{name}: the inner sizes of {shapes} differ{turned if transpose_a or transpose_b else ''}")


def _linear(name: str, x: Tensor, weight: Tensor, bias: Tensor | None) -> None:
    if x.dim() < 1 or weight.dim() != 2 or x.shape[-1] != weight.shape[1]:
        raise ShapeError(f"{name}: weight {shown(weight.shape)} does not fit x {shown(x.shape)}")
    if bias is not None and list(bias.shape) != [weight.shape[0]]:
        raise ShapeError(f"{name}: bias must be [{weight.shape[0]}], found {shown(bias.shape)}")


def _linear_low_rank(name: str, y: Tensor, x: Tensor, a: Tensor, b: Tensor, *_: Any) -> None:
    if a.dim() != 2 or b.dim() != 2 or torch.int32 in (a.dtype, b.dtype) or a.shape[0] != b.shape[1]:
        raise ShapeError(
            f"{name}: a [rank, in] and b [out, rank] do not fit each other: found {shown(a.shape)} {dtype_name(a)} and "
            f"{shown(b.shape)} {dtype_name(b)}"
        )
    fits = x.dim() >= 1 and x.shape[-1] == a.shape[1] and list(y.shape) == [*x.shape[:-1], b.shape[0]]
    if not fits:
        raise ShapeError(
            f"{name}: y {shown(y.shape)} and x {shown(x.shape)} do not fit a {shown(a.shape)} and b {shown(b.shape)}"
        )


def _norm(name: str, x: Tensor, *rest: Any) -> None:
    if x.dim() < 1 or x.shape[-1] == 0:
        raise ShapeError(f"{name}: the last axis of shape {shown(x.shape)} is empty")
    for part, what in zip(rest[:-1], ("weight", "bias"), strict=False):
        if part is not None and list(part.shape) != [x.shape[-1]]:
            raise ShapeError(f"{name}: {what} must be [{x.shape[-1]}], found {shown(part.shape)}")


def _attention(
    name: str, query: Tensor, key: Tensor, value: Tensor, bias: Tensor | None, mask: Tensor | None, *_: Any
) -> None:
    for each in (query, key, value, *([] if bias is None else [bias])):
        _check_dtype(name, each, "r")
    if mask is not None:
        _check_dtype(name, mask, "i")
    fits = query.dim() == key.dim() == value.dim() == 4 and (
        query.shape[0] == key.shape[0] == value.shape[0]
        and key.shape[1] == value.shape[1] > 0
        and query.shape[1] % key.shape[1] == 0
        and query.shape[3] == key.shape[3]
        and key.shape[2] == value.shape[2]
    )
    if not fits:
        raise ShapeError(
            f"{name}: query {shown(query.shape)}, key {shown(key.shape)} and value {shown(value.shape)} do not fit"
        )
    scores = [*query.shape[:3], key.shape[2]]
    if bias is not None:
        _broadcastable(name, "bias", bias, scores)
    if mask is not None and list(mask.shape) != [scores[0], scores[3]]:
        raise ShapeError(f"{name}: mask must be [{scores[0]}, {scores[3]}], found {shown(mask.shape)}")


def attention_with_prefix(
    operands: Sequence[Any],
    prefixes: Sequence[Tensor | None],
    biases: Sequence[Tensor | None],
    routes: Sequence[int] | None,
) -> None:
    """Throws the sentence for operands that the operation is not for: query, key, value, bias and mask, of which the
    last two may be None."""
    name = "attention_with_prefix"
    _attention(name, *operands)
    query, key, value = operands[:3]
    if not prefixes:
        raise InvalidArgumentError(f"{name}: a prefix needs one route or more, found 0")
    rows = query.shape[0]
    if routes is not None and len(routes) != rows:
        raise InvalidArgumentError(
            f"{name}: the prefix must name the route of each of the {rows} rows, found {len(routes)}"
        )
    for row, route in enumerate(routes or ()):
        if not 0 <= route < len(prefixes):
            raise InvalidArgumentError(
                f"{name}: the route of row {row} must be 0 ... {len(prefixes) - 1}, found {route}"
            )
    groups, width = key.shape[1], key.shape[3]
    for route, each in enumerate(prefixes):
        if each is None:
            continue
        fits = each.dim() == 4 and list(each.shape) == [2, groups, each.shape[2], width] and each.dtype in REAL
        if not fits or value.shape[3] != width:
            raise ShapeError(
                f"{name}: keys_values of route {route} must be f32 [2, {groups}, prefix, {width}] for key "
                f"{shown(key.shape)} and value {shown(value.shape)}, found {dtype_name(each)} {shown(each.shape)}"
            )
        added = biases[route] if route < len(biases) else None
        if added is not None and each.shape[2]:
            _check_dtype(name, added, "r")
            _broadcastable(name, f"prefix_biases of route {route}", added, [*query.shape[:3], each.shape[2]])


def _broadcastable(name: str, what: str, x: Tensor, shape: list[int]) -> None:
    ends = list(zip(reversed(x.shape), reversed(shape), strict=False))
    if x.dim() > len(shape) or any(mine not in (1, wanted) for mine, wanted in ends):
        raise ShapeError(f"{name}: {what} {shown(x.shape)} does not broadcast to {shown(shape)}".replace("  ", " "))


def _reshape(name: str, x: Tensor, shape: list[int]) -> None:
    if len(shape) > MAX_RANK or shape.count(-1) > 1 or any(each < -1 for each in shape):
        raise ShapeError(f"{name}: {shown(shape)} is no shape; one size may be -1")
    known = math.prod(each for each in shape if each != -1)
    fits = x.numel() == known if -1 not in shape else known > 0 and x.numel() % known == 0
    if not fits and not (x.numel() == known == 0):
        raise ShapeError(f"{name}: {shown(x.shape)} has {x.numel()} elements, {shown(shape)} does not")


def _permute(name: str, x: Tensor, axes: list[int]) -> None:
    if sorted(axes) != list(range(x.dim())):
        raise ShapeError(f"{name}: axes {shown(axes)} are no permutation for shape {shown(x.shape)}")


def _expand(name: str, x: Tensor, shape: list[int]) -> None:
    sizes(shape, name)
    _broadcastable(name, "", x, shape)


def _concat(name: str, parts: list[Tensor], axis: int) -> None:
    if not parts:
        raise InvalidArgumentError(f"{name}: no parts")
    first, place = parts[0], _axis(name, parts[0], axis)
    for part in parts:
        if part.dtype != first.dtype or part.dim() != first.dim():
            raise ShapeError(
                f"{name}: {shown(part.shape)} {dtype_name(part)} and {shown(first.shape)} {dtype_name(first)} differ"
            )
        if any(i != place and n != m for i, (n, m) in enumerate(zip(part.shape, first.shape, strict=True))):
            raise ShapeError(f"{name}: {shown(part.shape)} and {shown(first.shape)} differ beside axis {axis}")


def _slice(name: str, x: Tensor, axis: int, start: int, length: int) -> None:
    size = x.shape[_axis(name, x, axis)]
    if start < 0 or length < 0 or start + length > size:
        raise ShapeError(f"{name}: {length} elements from {start} do not lie in the {size} of axis {axis}")


def ids_within(name: str, ids: Tensor, count: int) -> None:
    if ids.numel():
        low, high = ids.min().item(), ids.max().item()
        if low < 0 or high >= count:
            found = low if low < 0 else high
            raise InvalidArgumentError(f"{name}: {found} is outside of 0 ... {count - 1}")


def _embedding(name: str, weight: Tensor, ids: Tensor, *_: Any) -> None:
    if weight.dim() != 2:
        raise ShapeError(f"{name}: weight must be [n, d], found {shown(weight.shape)}")
    if ids.dim() >= MAX_RANK:
        raise ShapeError(f"{name}: ids have too many axes: {shown(ids.shape)}")
    ids_within(name, ids, weight.shape[0])


def _index_select(name: str, x: Tensor, axis: int, index: Tensor) -> None:
    if index.dim() != 1:
        raise ShapeError(f"{name}: index must have 1 axis, found {shown(index.shape)}")
    ids_within(name, index, x.shape[_axis(name, x, axis)])


def _gather(name: str, x: Tensor, axis: int, index: Tensor) -> None:
    place = _axis(name, x, axis)
    pairs = zip(x.shape, index.shape, strict=False)
    if x.dim() != index.dim() or any(i != place and n != m for i, (n, m) in enumerate(pairs)):
        raise ShapeError(f"{name}: index {shown(index.shape)} does not fit {shown(x.shape)} along axis {axis}")
    ids_within(name, index, x.shape[place])


def _cross_entropy(name: str, logits: Tensor, targets: Tensor, ignored: int, smoothing: float, reduction: int) -> None:
    if logits.dim() < 1 or logits.shape[:-1] != targets.shape or logits.shape[-1] == 0:
        raise ShapeError(f"{name}: targets {shown(targets.shape)} do not fit logits {shown(logits.shape)}")
    if not 0 <= smoothing < 1:
        raise InvalidArgumentError(f"{name}: label_smoothing must be in [0, 1), found {smoothing}")
    if reduction not in (c.SEAM_REDUCTION_NONE, c.SEAM_REDUCTION_SUM, c.SEAM_REDUCTION_MEAN):
        raise InvalidArgumentError(f"{name}: unknown reduction {reduction}")
    counted = targets[targets != ignored]
    ids_within(name, counted, logits.shape[-1])
    if reduction == c.SEAM_REDUCTION_MEAN and not counted.numel():
        raise InvalidArgumentError(f"{name}: every target is ignored, so there is no mean")


def _rotary(name: str, x: Tensor, cosine: Tensor, sine: Tensor) -> None:
    shapes = f"x {shown(x.shape)}, cosine {shown(cosine.shape)} and sine {shown(sine.shape)}"
    fits = x.dim() == 4 and x.shape[3] % 2 == 0 and cosine.shape == sine.shape and cosine.dim() == 3
    if not fits or cosine.shape[0] not in (1, x.shape[0]) or list(cosine.shape[1:]) != [x.shape[2], x.shape[3] // 2]:
        raise ShapeError(f"{name}: {shapes} do not fit: x is [batch, heads, n, d], the others [batch or 1, n, d/2]")


def cast(x: Tensor, dtype: int) -> torch.dtype | None:
    """What to make of x; None where nothing changes."""
    if dtype not in CODES.values():
        raise InvalidArgumentError(f"cast: unknown dtype {dtype}")
    if CODES[x.dtype] == dtype:
        return None
    if dtype == c.SEAM_I32 and x.dtype in REAL:
        if x.numel() and not bool((x.detach().trunc().abs() < 2**31).all()):
            raise SeamError.of(c.SEAM_NUMERIC, "cast: a value does not fit i32")
        return torch.int32
    if dtype != c.SEAM_F32:
        raise UnsupportedError(f"cast: {dtype_name(x)} to dtype {dtype} is not offered")
    return torch.float32


_CHECKS: dict[str, Callable[..., None]] = {
    "add": _broadcast,
    "sub": _broadcast,
    "mul": _broadcast,
    "div": _broadcast,
    "maximum": _broadcast,
    "minimum": _broadcast,
    "where": _broadcast,
    "matmul": _matmul,
    "linear": _linear,
    "linear_low_rank": _linear_low_rank,
    "attention": _attention,
    "softmax": _on_axis,
    "log_softmax": _on_axis,
    "layer_norm": _norm,
    "rms_norm": _norm,
    "sum": _reduction,
    "mean": _reduction,
    "max": _reduction,
    "argmax": _reduction,
    "reshape": _reshape,
    "permute": _permute,
    "expand": _expand,
    "concat": _concat,
    "slice": _slice,
    "embedding": _embedding,
    "index_select": _index_select,
    "gather": _gather,
    "cross_entropy": _cross_entropy,
    "rotary": _rotary,
}

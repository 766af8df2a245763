"""What an adapter computes for inputs of any size, from traces at a few.

A plugin sees concrete sizes. Traces for several of them that differ in integers alone become one recording, each of its
integers a sum of products of the inputs' sizes. A plugin may compute otherwise for long sequences than for short ones,
as RepCali does beyond its table of positions: then there is a recording for each range of lengths.
"""

from __future__ import annotations

import functools
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, fx

from seamkit.errors import UnsupportedError
from seamkit.onnx.sizes import NotGeneral, Point, Size, generalised, predicts
from seamkit.torch.adapter import Adapter
from seamkit.torch.operations import OPERATIONS, attention_with_prefix, embedding, to_dtype

# Functions of torch in a trace, by the operation of the compute table that they are.
_NAMES: dict[Any, str] = {function: name for name, (function, _) in OPERATIONS.items()} | {
    attention_with_prefix: "attention_with_prefix",
    embedding: "embedding",
    to_dtype: "cast",
}
# Lengths that are tried whatever the adapter's own numbers are.
_LENGTHS = (1, 2, 3, 4, 5, 7, 11, 16, 17, 32, 33, 64, 65, 128, 129)
# Numbers in an input at which a length is no longer tried.
_LARGEST_INPUT = 1 << 26
_MOST_RANGES = 6


@dataclass(frozen=True)
class Ref:
    """The result of an earlier entry."""

    index: int


@dataclass(frozen=True)
class Entry:
    """An operation of the compute table, "parameter", "input", "constant" or "output"; in its arguments and shape every
    integer is a Size. "parameter" and "input": (index). "constant": (dtype, value of all elements) or (dtype, bytes of
    all elements); "output": its results."""

    name: str
    arguments: tuple[Any, ...]
    shape: tuple[Size, ...]


@dataclass(frozen=True)
class Recording:
    """last: the greatest length that it is for; None: it is for all longer ones."""

    last: int | None
    entries: list[Entry]


# Inputs of a seam for the sizes of batch and sequence.
Inputs = Callable[[int, int], list[Tensor | None]]


def record(adapter: Adapter, inputs: Inputs, longest: int | None) -> list[Recording]:
    """What an adapter, which is not in training, computes, for ranges of lengths in order.

    inputs: those of its seam for sizes of batch and sequence. longest: the greatest length, 0 for any; None where the
    seam has no sequence.

    Raises UnsupportedError where a plugin reads values, or its sizes cannot be expressed.
    """
    traced = functools.cache(lambda point: trace(adapter, inputs(*point)))
    try:
        if longest is None:
            return [Recording(None, _entries(_batches(traced, 1, [(2, 1), (3, 1)])))]
        return _ranges(traced, _lengths(adapter, longest), longest)
    except NotGeneral as error:
        raise UnsupportedError(
            f'adapter "{adapter.id}" cannot be exported: what its plugin computes differs between sizes of {error} in '
            "more than sums and products of these sizes",
            adapter.factory.plugin.id,
        ) from None


def _ranges(traced: Callable[[Point], Any], lengths: list[int], longest: int) -> list[Recording]:
    found: list[Recording] = []
    start = 1
    while start <= lengths[-1]:
        if len(found) == _MOST_RANGES:
            raise NotGeneral("the sequence")
        general = _from(traced, start, longest)
        good, last = start, None
        for length in (each for each in lengths if each > start):
            if predicts(general, traced((2, length)), (2, length)):
                good = length
                continue
            last = _boundary(traced, general, good, length)
            break
        found.append(Recording(last, _entries(general)))
        if last is None:
            break
        start = last + 1
    return found


def _from(traced: Callable[[Point], Any], start: int, longest: int) -> Any:
    """The traces at a length and the next, generalised; at the length alone where the next is of another kind."""
    points = [(2, start), (3, start), (2, start + 1), (3, start + 1)]
    if start == longest:
        return _batches(traced, start, points[:2])
    try:
        return _batches(traced, start, points)
    except NotGeneral:
        return _batches(traced, start, points[:2])


def _batches(traced: Callable[[Point], Any], length: int, points: list[Point]) -> Any:
    try:
        general = generalised({each: traced(each) for each in points}, points)
    except NotGeneral:
        raise NotGeneral("the batch") from None
    for batch in (1, 5):
        if not predicts(general, traced((batch, length)), (batch, length)):
            raise NotGeneral("the batch")
    return general


def _boundary(traced: Callable[[Point], Any], general: Any, good: int, bad: int) -> int:
    """The last length, between two, that is as predicted."""
    while bad - good > 1:
        middle = (good + bad) // 2
        if predicts(general, traced((2, middle)), (2, middle)):
            good = middle
        else:
            bad = middle
    return good


def _lengths(adapter: Adapter, longest: int) -> list[int]:
    """Lengths to be tried: a plugin can only tell apart those that it knows a number for, of its parameters or
    options."""
    known = {size for place in adapter._places for size in place.tensor.shape}
    known |= {each for each in adapter.options.values() if type(each) is int}
    limit = min(longest or _LARGEST_INPUT, _LARGEST_INPUT // adapter.site.d_model)
    near = {each + step for each in known for step in (-1, 0, 1)} | {2 * max(known, default=0) + 3, longest}
    return sorted(each for each in near | set(_LENGTHS) if 1 <= each <= limit)


# ---- One trace


@torch.no_grad()
def trace(adapter: Adapter, inputs: list[Tensor | None]) -> tuple[Any, ...]:
    """Entries as plain tuples, whose integers are those of these inputs."""
    weights, real, device = adapter._weights()
    _, found = adapter._record(device, real, weights, inputs)
    if found is None:
        raise UnsupportedError(
            f'adapter "{adapter.id}" cannot be exported: its plugin reads values of tensors or keeps buffers, so what '
            "it computes is no graph of operations",
            adapter.factory.plugin.id,
        )
    return entries_of(found.module.graph, dict(found.module.named_buffers()))


def entries_of(graph: fx.Graph, constants: dict[str, Tensor]) -> tuple[Any, ...]:
    nodes = list(graph.nodes)
    places = {node: Ref(index) for index, node in enumerate(nodes)}
    return tuple(_entry(node, places, constants) for node in nodes)


def _entry(node: fx.Node, places: dict[fx.Node, Ref], constants: dict[str, Tensor]) -> tuple[Any, ...]:
    shape = tuple(node.meta.get("shape", ()))
    if node.op == "placeholder":
        kind, index = str(node.target).split("_")
        return kind, (int(index),), shape
    if node.op == "get_attr":
        return "constant", _constant(constants[str(node.target)]), shape
    name = "output" if node.op == "output" else _NAMES[node.target]
    return name, tuple(_argument(each, places) for each in node.args), shape


def _argument(value: Any, places: dict[fx.Node, Ref]) -> Any:
    if isinstance(value, fx.Node):
        return places[value]
    if isinstance(value, list | tuple):
        return tuple(_argument(each, places) for each in value)
    if isinstance(value, torch.dtype):
        return str(value)
    return _number(value)


def _number(value: Any) -> Any:
    """A number that is whole may be a size, whatever type it has."""
    return int(value) if isinstance(value, float) and value.is_integer() else value


def _constant(tensor: Tensor) -> tuple[Any, ...]:
    """bf16 and f16 are widened: the table reads them as f32."""
    values = tensor.detach().to("cpu", torch.float32 if tensor.is_floating_point() else torch.int32).contiguous()
    kind = "f32" if values.is_floating_point() else "i32"
    if values.numel() and bool((values == values.reshape(-1)[0]).all()):
        return kind, _number(values.reshape(-1)[0].item())
    return kind, values.numpy().tobytes()


def _entries(general: Any) -> list[Entry]:
    return [Entry(name, arguments, shape) for name, arguments, shape in general]

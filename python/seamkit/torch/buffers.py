"""Buffers of the compute table: memory of a plugin's that outlives a pass."""

from __future__ import annotations

import math
from typing import Any

import torch
from torch import Tensor

from seamkit import _declarations as c
from seamkit.errors import InvalidArgumentError, PluginError, ShapeError
from seamkit.torch import checks
from seamkit.torch.machine import require_memory
from seamkit.torch.passes import Pass, new_handles

_buffers: dict[int, Tensor] = {}


def create(pass_: Pass, dtype: int, shape: Any, rank: int) -> int:
    if dtype not in (c.SEAM_F32, c.SEAM_I32):
        raise InvalidArgumentError(f"buffer_create: dtype must be f32 or i32, found {dtype}")
    checks.rank(rank, "buffer_create", shape)
    sizes = checks.sizes(list(shape[:rank]) if rank else [], "buffer_create")
    require_memory(4 * math.prod(sizes), "buffer_create")
    pass_.stop_recording()
    handle = next(new_handles)
    kind = pass_.real if dtype == c.SEAM_F32 else torch.int32
    _buffers[handle] = torch.zeros(sizes, dtype=kind, device=pass_.device)
    return handle


def release(handle: int | None) -> None:
    """Needs no pass, and forgives a second call, which must not end the process."""
    if handle is not None:
        _buffers.pop(handle, None)


def write(pass_: Pass, handle: int | None, axis: int, start: int, x: int | None) -> int:
    buffer, values, place = _written(pass_, handle, axis, x, "buffer_write")
    if start < 0 or start + values.shape[place] > buffer.shape[place]:
        raise ShapeError(
            f"buffer_write: {values.shape[place]} elements at {start} do not lie in the {buffer.shape[place]} of the "
            "buffer"
        )
    pass_.stop_recording()
    buffer.narrow(place, start, values.shape[place]).copy_(values)
    return c.SEAM_OK


def write_rows(pass_: Pass, handle: int | None, axis: int, starts: Any, count: int, x: int | None) -> int:
    name = "buffer_write_rows"
    buffer, values, place = _written(pass_, handle, axis, x, name)
    checks.count(count, f"{name}: the number of rows")
    if count and not starts:
        raise PluginError(f"{name}: the starts are NULL")
    if place == 0 or count != buffer.shape[0]:
        raise ShapeError(
            f"{name}: {count} starts along axis {axis} do not fit the buffer {checks.shown(buffer.shape)}, which has "
            f"{buffer.shape[0]} rows"
            if place
            else f"{name}: the axis must not be 0, that of the rows"
        )
    length = values.shape[place]
    for row, start in enumerate(starts[:count]):
        if start < 0 or start + length > buffer.shape[place]:
            raise ShapeError(
                f"{name}: {length} elements at {start}, in row {row}, do not lie in the {buffer.shape[place]} of the "
                "buffer"
            )
    pass_.stop_recording()
    for row, start in enumerate(starts[:count]):
        buffer[row].narrow(place - 1, start, length).copy_(values[row])
    return c.SEAM_OK


def read(pass_: Pass, handle: int | None, axis: int, length: int) -> int:
    buffer = _buffer(handle, "buffer_read")
    place = _axis(buffer, axis, "buffer_read")
    if not 0 <= length <= buffer.shape[place]:
        raise ShapeError(f"buffer_read: {length} elements do not lie in the {buffer.shape[place]} of the buffer")
    pass_.stop_recording()
    return pass_.add(buffer.narrow(place, 0, length))


def select(pass_: Pass, handle: int | None, rows: Any, count: int) -> int:
    buffer = _buffer(handle, "buffer_select")
    checks.count(count, "buffer_select: the number of rows")
    if (count and not rows) or not buffer.dim():
        raise PluginError("buffer_select: the rows are NULL or the buffer has no axis")
    checks.sizes([count, *buffer.shape[1:]], "buffer_select")
    index = torch.tensor(list(rows[:count]) if count else [], dtype=torch.int64, device=buffer.device)
    checks.ids_within("buffer_select", index, buffer.shape[0])
    pass_.stop_recording()
    _buffers[handle or 0] = buffer.index_select(0, index)
    return c.SEAM_OK


def append(pass_: Pass, handle: int | None, axis: int, other: int | None) -> int:
    buffer, joining = _buffer(handle, "buffer_append"), _buffer(other, "buffer_append")
    place = _axis(buffer, axis, "buffer_append")
    rest = [n for i, n in enumerate(buffer.shape) if i not in (0, place)]
    fits = place > 0 and joining.dim() == buffer.dim() and joining.dtype == buffer.dtype
    if not fits or [n for i, n in enumerate(joining.shape) if i not in (0, place)] != rest:
        raise ShapeError(
            f"buffer_append: the buffer {checks.shown(joining.shape)} {checks.dtype_name(joining)} does not fit behind "
            f"{checks.shown(buffer.shape)} {checks.dtype_name(buffer)} along axis {axis}"
        )
    rows, sizes = buffer.shape[0], list(buffer.shape)
    sizes[0] += joining.shape[0]
    sizes[place] = max(buffer.shape[place], joining.shape[place])
    checks.sizes(sizes, "buffer_append")
    require_memory(4 * math.prod(sizes), "buffer_append")
    pass_.stop_recording()
    joined = buffer.new_zeros(sizes)
    joined[:rows].narrow(place, 0, buffer.shape[place]).copy_(buffer)
    joined[rows:].narrow(place, 0, joining.shape[place]).copy_(joining)
    _buffers[handle or 0] = joined
    return c.SEAM_OK


def _written(pass_: Pass, handle: int | None, axis: int, x: int | None, name: str) -> tuple[Tensor, Tensor, int]:
    """A buffer, what is written into it and along which axis, where all other sizes are equal."""
    buffer, values = _buffer(handle, name), pass_.tensor(x or 0).detach()
    place = _axis(buffer, axis, name)
    others = [n for i, n in enumerate(buffer.shape) if i != place]
    fits = values.dim() == buffer.dim() and values.dtype == buffer.dtype
    if not fits or [n for i, n in enumerate(values.shape) if i != place] != others:
        raise ShapeError(
            f"{name}: {checks.shown(values.shape)} {checks.dtype_name(values)} does not fit the buffer "
            f"{checks.shown(buffer.shape)} {checks.dtype_name(buffer)} along axis {axis}"
        )
    return buffer, values, place


def _buffer(handle: int | None, name: str) -> Tensor:
    found = None if handle is None else _buffers.get(handle)
    if found is None:
        raise PluginError(f"{name}: the buffer is NULL or was released")
    return found


def _axis(buffer: Tensor, axis: int, name: str) -> int:
    if not -buffer.dim() <= axis < buffer.dim():
        raise ShapeError(f"{name}: axis {axis} is out of range for the buffer {checks.shown(buffer.shape)}")
    return axis % buffer.dim()

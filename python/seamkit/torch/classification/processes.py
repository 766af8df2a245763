"""Sharing work among the processes of a torch.distributed group, such as those that torchrun starts."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any, TypeVar

import torch.distributed as dist
import xxhash
from torch import Tensor

from seamkit.errors import InternalError, InvalidArgumentError, SeamError

Item = TypeVar("Item")


def shared(items: Sequence[Item], compute: Callable[[Sequence[Item]], Tensor], group: Any = None) -> list[Tensor]:
    """`compute`, which gives a row for each item, of all items in their order; each is computed by one process, and all
    get all rows.

    Without an initialised process group, or in a group of one, `compute` is called here. All processes must call it
    with the same items. An error in one of them is raised in all: nobody waits for a result that never comes. Against a
    process that dies stands the timeout of the group, and torchrun, which then ends the others.

    Raises InvalidArgumentError where the items differ, and what `compute` raises; in the other processes the same, with
    the number of the failed one.
    """
    if not dist.is_available() or not dist.is_initialized() or dist.get_world_size(group) == 1:
        return list(compute(items))
    rank, count = dist.get_rank(group), dist.get_world_size(group)
    own: Tensor | None = None
    failure: Exception | None = None
    try:
        own = compute(items[rank::count])
    except Exception as error:
        failure = error
    told = None if failure is None else _told(failure)
    found: list[Any] = [None] * count
    dist.all_gather_object(found, (_digest(items), told, own), group)
    if failure is not None:
        raise failure
    for other, (_, each, _) in enumerate(found):
        if each is not None:
            code, message, origin = each
            raise SeamError.of(code, f"process {other} of {count}: {message}", origin)
    if len({digest for digest, _, _ in found}) > 1:
        raise InvalidArgumentError(
            f"the {count} processes must ask about the same texts in the same order, and they differ"
        )
    rows: list[Any] = [None] * len(items)
    for other, (_, _, part) in enumerate(found):
        rows[other::count] = part
    return rows


def _told(error: Exception) -> tuple[int, str, str]:
    """An error in words that every process understands."""
    if isinstance(error, SeamError):
        return error.code, error.message, error.origin
    return InternalError.code, f"{type(error).__name__}: {error}", ""


def _digest(items: Sequence[Any]) -> str:
    found = xxhash.xxh64()
    for each in items:
        found.update(repr(each).encode())
    return str(found.hexdigest())

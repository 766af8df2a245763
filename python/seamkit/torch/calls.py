"""Reading a call of a module of transformers: its arguments by name, and its mask."""

from __future__ import annotations

import inspect
from collections.abc import Callable, Sequence
from typing import Any

import torch
from torch import Tensor

from seamkit.errors import UnsupportedError


def bound(module: torch.nn.Module, args: Sequence[Any], kwargs: dict[str, Any]) -> dict[str, Any]:
    """A call's arguments by name."""
    positional = dict(_signature(type(module)).bind_partial(None, *args).arguments)
    positional.pop("self")
    return positional | kwargs


def takes(kind: type[torch.nn.Module], argument: str) -> bool:
    """Whether the forward of a module's class names this argument: what it takes as one of any might go unread."""
    return argument in _signature(kind).parameters


_signatures: dict[type, inspect.Signature] = {}


def _signature(kind: type[torch.nn.Module]) -> inspect.Signature:
    if kind not in _signatures:
        function: Callable[..., Any] = kind.forward
        _signatures[kind] = inspect.signature(function)
    return _signatures[kind]


def tokens_mask(given: Any, hidden: Tensor) -> Tensor:
    """[batch, source] i32, from a mask of two axes or none."""
    if given is None:
        return torch.ones(hidden.shape[:2], dtype=torch.int32, device=hidden.device)
    if given.dim() != 2:
        raise UnsupportedError(
            f"an adapter reads an attention_mask [batch, source], found one with {given.dim()} axes, "
            f"{list(given.shape)}")
    return torch.as_tensor(given, dtype=torch.int32, device=hidden.device)

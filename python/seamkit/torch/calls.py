"""Reading a call of a module of transformers: its arguments by name, and its mask."""

from __future__ import annotations

import inspect
from collections.abc import Callable, Sequence
from typing import Any

import torch
from torch import Tensor

from seamkit.errors import UnsupportedError
from seamkit.torch.names import Name


def bound(module: torch.nn.Module, args: Sequence[Any], kwargs: dict[str, Any]) -> dict[str, Any]:
    """A call's arguments by name."""
    positional = dict(_signature(type(module)).bind_partial(None, *args).arguments)
    positional.pop("self")
    return positional | kwargs


def spelled(module: torch.nn.Module, argument: Name) -> str | None:
    """How a module's forward spells an argument; None for one that it does not name: what it takes as one of any might
    go unread."""
    return argument.among(_signature(type(module)).parameters.keys())


def replace(module: torch.nn.Module, call: dict[str, Any], argument: Name, value: Any) -> None:
    """Puts an argument into a call, in the module's own spelling; another that the caller used gives way to it."""
    for each in argument.spellings:
        call.pop(each, None)
    call[spelled(module, argument) or argument.spellings[0]] = value


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
    if given.shape != hidden.shape[:2]:
        raise UnsupportedError(
            f"an adapter reads an attention_mask [batch, source] of the encoder's output, whose first axes are "
            f"{list(hidden.shape[:2])}; found {list(given.shape)}: an encoder that shortens its input, of speech for "
            "example, is to be called without a mask")
    return torch.as_tensor(given, dtype=torch.int32, device=hidden.device)

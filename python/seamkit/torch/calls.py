"""Reading a call of a module of transformers: its arguments by name, and its mask."""

from __future__ import annotations

import inspect
from collections.abc import Callable, Sequence
from typing import Any

import torch
from torch import Tensor

from seamkit.errors import UnsupportedError
from seamkit.torch.names import MASK, Name


def bound(module: torch.nn.Module, args: Sequence[Any], kwargs: dict[str, Any]) -> dict[str, Any]:
    """A call's arguments by name."""
    positional = dict(_signature(type(module)).bind_partial(None, *args).arguments)
    positional.pop("self")
    return positional | kwargs


def spelled(kind: type[torch.nn.Module], argument: Name) -> str | None:
    """How the forward of a module's class spells an argument; None for one that it does not name, since what it takes
    as one of any might go unread."""
    return argument.among(_signature(kind).parameters.keys())


def replace(module: torch.nn.Module, call: dict[str, Any], argument: Name, value: Any) -> None:
    """Puts an argument into a call, in the module's own spelling; another that the caller used gives way to it."""
    for each in argument.spellings:
        call.pop(each, None)
    call[spelled(type(module), argument) or argument.spellings[0]] = value


_signatures: dict[type, inspect.Signature] = {}


def _signature(kind: type[torch.nn.Module]) -> inspect.Signature:
    if kind not in _signatures:
        function: Callable[..., Any] = kind.forward
        _signatures[kind] = inspect.signature(function)
    return _signatures[kind]


def tokens_mask(given: Any, hidden: Tensor, module: torch.nn.Module) -> Tensor:
    """[batch, source] i32, from the mask of two axes that a module was given, or none."""
    if given is None:
        return torch.ones(hidden.shape[:2], dtype=torch.int32, device=hidden.device)
    if given.dim() != 2:
        raise UnsupportedError(
            f"an adapter reads an {MASK} [batch, source], found one with {given.dim()} axes, {list(given.shape)}"
        )
    if given.shape != hidden.shape[:2]:
        given = _of_states(module, given, hidden)
    return torch.as_tensor(given, dtype=torch.int32, device=hidden.device)


def _of_states(module: torch.nn.Module, mask: Tensor, hidden: Tensor) -> Tensor:
    """A speech encoder is given the mask of its frames; its convolutions leave fewer states, by a rule that the model
    has."""
    count = hidden.shape[1]
    if len(mask) == len(hidden):
        shorten = getattr(module, "_get_feature_vector_attention_mask", None)
        if shorten is not None:
            return torch.as_tensor(shorten(count, mask))
        lengths = getattr(module, "_get_feat_extract_output_lengths", None)
        if lengths is not None and int(lengths(mask.shape[1])) == count:
            kept: Tensor = torch.arange(count, device=mask.device) < lengths(mask.sum(1))[:, None]
            return kept
    raise UnsupportedError(
        f"an adapter reads an {MASK} [batch, source] of the encoder's output, whose first axes are "
        f"{list(hidden.shape[:2])}; found {list(mask.shape)}: an encoder that shortens its input, of speech for "
        "example, is to be called without a mask"
    )

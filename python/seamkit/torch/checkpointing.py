"""Prefixes under gradient checkpointing, which runs layers again in the backward pass, without their past.

A layer in transformers hands itself to its checkpointing function with the past taken out, since a second run would
append to it once more. A function of ours in front of that one gives each run a copy of the cache as it was before the
layer, so that both runs read the same prefix, and makes the prefixes of the other attentions known again.
"""

from __future__ import annotations

import threading
from collections.abc import Callable
from dataclasses import dataclass, field
from functools import partial
from typing import Any

import torch
from torch import Tensor
from torch.utils.hooks import RemovableHandle
from transformers.modeling_layers import GradientCheckpointingLayer

from seamkit.errors import UnsupportedError
from seamkit.torch.calls import bound, replace, spelled
from seamkit.torch.names import LAYER_PAST, USES_CACHE
from seamkit.torch.past import copied, layer_lengths

_FUNCTION = "_gradient_checkpointing_func"


@dataclass(eq=False)
class Call:
    """One call of a stack, `module`. layers: by attention, the prefix of each layer that is joined. past: the cache with the prefix
    of self-attention; None for none. seen: attentions and layers that have joined theirs. grown: layers that have
    appended to a copy of the cache. before: what each layer of the cache held."""

    module: torch.nn.Module
    layers: dict[int, tuple[Tensor | None, ...]] = field(default_factory=dict)
    past: Any = None
    seen: set[tuple[int, int]] = field(default_factory=set)
    grown: set[int] = field(default_factory=set)
    before: list[int] = field(default_factory=list)
    # The call of a stack around this one.
    outer: Call | None = None


class Current(threading.local):
    """The call that is under way; threads that share a model have a call each."""

    call: Call | None = None

    def prefix(self, attention: int, layer: int) -> Tensor | None:
        """As `joined.Source`."""
        if self.call is None or (layers := self.call.layers.get(attention)) is None:
            return None
        self.call.seen.add((attention, layer))
        return layers[layer]

    def saw(self, attention: int, layer: int, keys: Tensor, values: Tensor) -> None:
        """As `joined.Source`."""


def is_checkpointed(module: torch.nn.Module) -> bool:
    """Whether layers of a stack are run again in the backward pass of a forward that begins now."""
    return (
        module.training
        and torch.is_grad_enabled()
        and any(getattr(each, "gradient_checkpointing", False) for each in module.modules())
    )


class Checkpointing:
    """What hands the past to a stack's layers, until it is removed: functions in front of their checkpointing functions,
    and hooks for layers that do not run again, from which some stacks take the past all the same."""

    def __init__(self, current: Current):
        self._current = current
        self._placed: list[tuple[torch.nn.Module, _Function]] = []
        self._hooks: dict[torch.nn.Module, RemovableHandle] = {}

    def place(self, stack: torch.nn.Module) -> None:
        """Puts one in front of each that has none yet: transformers sets them anew whenever checkpointing is turned on."""
        layers = [each for each in stack.modules() if hasattr(each, _FUNCTION)]
        if not any(each.gradient_checkpointing for each in layers):
            return
        for each in layers:
            if not isinstance(function := getattr(each, _FUNCTION), _Function):
                self._placed.append((each, _Function(function, self._current)))
                setattr(each, _FUNCTION, self._placed[-1][1])
            if isinstance(each, GradientCheckpointingLayer) and each not in self._hooks:
                self._hooks[each] = each.register_forward_pre_hook(self._before, with_kwargs=True)

    def _before(self, layer: torch.nn.Module, args: Any, kwargs: Any) -> tuple[tuple[()], dict[str, Any]] | None:
        call = self._current.call
        is_again = layer.training and layer.gradient_checkpointing and torch.is_grad_enabled()
        if is_again or call is None or call.past is None or spelled(type(layer), LAYER_PAST) is None:
            return None
        given = bound(layer, args, kwargs)
        replace(layer, given, LAYER_PAST, call.past)
        return (), given

    def remove(self) -> None:
        """The functions that were there before, unless somebody else has put another in their place."""
        for handle in self._hooks.values():
            handle.remove()
        for module, placed in self._placed:
            if getattr(module, _FUNCTION, None) is placed:
                setattr(module, _FUNCTION, placed.function)
        self._hooks, self._placed = {}, []


class _Function:
    """Runs a layer by the checkpointing function of its own."""

    def __init__(self, function: Callable[..., Any], current: Current):
        self.function, self._current = function, current

    def __call__(self, layer: Callable[..., Any], *args: Any) -> Any:
        call = self._current.call
        if call is None:
            return self.function(layer, *args)
        if torch.is_grad_enabled() and getattr(self.function, "keywords", {}).get("use_reentrant", True):
            raise UnsupportedError(
                "a prefix gets no gradient under gradient checkpointing with use_reentrant=True: turn it on with "
                '{"use_reentrant": False} among its arguments'
            )

        def run(*args: Any) -> Any:
            outer, self._current.call = self._current.call, call
            try:
                return _with_past(layer, args, call)
            finally:
                self._current.call = outer

        return self.function(run, *args)


def _with_past(function: Callable[..., Any], args: tuple[Any, ...], call: Call) -> Any:
    """Runs a layer that was handed over as transformers does, its forward with the module and keywords bound."""
    layer = function.args[0] if isinstance(function, partial) and function.args else None
    if call.past is None or not isinstance(layer, torch.nn.Module) or spelled(type(layer), LAYER_PAST) is None:
        return function(*args)
    assert isinstance(function, partial)
    # Without gradients nothing is run again, and the cache is the one that goes on.
    past = copied(call.past) if torch.is_grad_enabled() else call.past
    given = bound(layer, args, function.keywords)
    replace(layer, given, LAYER_PAST, past)
    if spelled(type(layer), USES_CACHE) is not None:
        replace(layer, given, USES_CACHE, True)
    result = function.func(layer, **given)
    call.grown.update(
        index for index, (before, now) in enumerate(zip(call.before, layer_lengths(past), strict=False)) if now > before
    )
    return result

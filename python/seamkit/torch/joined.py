"""Keys and values of a prefix before those of an attention that knows no past, through transformers' attention interface.

In the encoder of an encoder-decoder and in cross-attention a prefix has no position, no bias and no mask
(docs/prefixes.md): the attention function of a layer is given longer keys and values, and a wider mask. An attention
that a prefix is for has a copy of its configuration that names our function, which calls the one that the configuration
itself names, so that `set_attn_implementation` goes on to choose.
"""

from __future__ import annotations

import copy
import inspect
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any, Protocol

import torch
from torch import Tensor
from torch.nn.functional import pad
from transformers import AttentionInterface

from seamkit.errors import UnsupportedError

# Our function among transformers' attention functions, and what attention modules call these.
_NAME = "seamkit"
_INTERFACE, _EAGER = "ALL_ATTENTION_FUNCTIONS", "eager_attention_forward"
# The field of a configuration behind `_attn_implementation`, whose setter would change the configurations inside of it.
_CHOSEN = "_attn_implementation_internal"
# Those whose masks are tensors over queries and keys.
_SUPPORTED = ("eager", "sdpa")
# On the copy of a configuration: the place of its attention.
_PLACE = "_seamkit_place"


class Source(Protocol):
    """Whoever knows the prefixes of the call that is under way in a thread."""

    def prefix(self, attention: int, layer: int) -> Tensor | None:
        """[2, kv_heads, prefix, head_dim] for a layer that runs; None for none."""

    def saw(self, attention: int, layer: int, keys: Tensor, values: Tensor) -> None:
        """Is told of the text's own keys and values [batch, kv_heads, n, head_dim]."""


@dataclass(frozen=True, eq=False)
class _Place:
    """Of an attention: its source, what it is called there, and its own configuration."""

    source: Source
    attention: int
    layer: int
    config: Any


def attentions(stack: torch.nn.Module, *, is_cross: bool | None = None) -> list[torch.nn.Module]:
    """The attention modules of a stack that compute through transformers' interface, layer by layer. is_cross: those over
    an encoder's tokens, or those over the stack's own; None for all, in a stack that has one kind."""
    return [
        module
        for name, module in stack.named_modules()
        if _uses_interface(type(module)) and (is_cross is None or _is_cross(name) == is_cross)
    ]


def _uses_interface(kind: type[torch.nn.Module]) -> bool:
    code = getattr(inspect.unwrap(kind.forward), "__code__", None)
    return code is not None and _INTERFACE in code.co_names


def _is_cross(name: str) -> bool:
    """By what stands behind the number of the layer: encoder_attn, EncDecAttention, crossattention.self, cross_attn."""
    parts = name.split(".")
    numbers = [index for index, each in enumerate(parts) if each.isdigit()]
    own = ".".join(parts[numbers[-1] + 1 :] if numbers else parts).lower()
    return "cross" in own or "enc" in own


class Joined:
    """Attentions that read their prefixes from a source, until they are removed."""

    def __init__(self, source: Source, modules: Mapping[int, Sequence[torch.nn.Module]]):
        self._configs: list[tuple[torch.nn.Module, Any, Any]] = []
        for attention, layers in modules.items():
            for layer, module in enumerate(layers):
                config = module.config
                changed: Any = copy.copy(config)
                setattr(changed, _CHOSEN, _NAME)
                setattr(changed, _PLACE, _Place(source, attention, layer, config))
                self._configs.append((module, config, changed))
        for module, _, changed in self._configs:
            module.config = changed

    def remove(self) -> None:
        """The configurations that were there before, unless somebody else has put another in their place."""
        for module, config, changed in self._configs:
            if module.config is changed:
                module.config = config


def check_implementation(config: Any) -> None:
    """Raises UnsupportedError for an attention whose mask cannot be made wider."""
    chosen = config._attn_implementation
    if chosen not in _SUPPORTED:
        raise UnsupportedError(
            f'a prefix in the encoder or in cross-attention needs the attn_implementation "eager" or "sdpa", found '
            f'"{chosen}": call model.set_attn_implementation("sdpa")'
        )


def _attention(module: torch.nn.Module, *tensors: Any, **kwargs: Any) -> tuple[Tensor, Tensor | None]:
    """The attention function of modules whose configuration names ours."""
    return _at(getattr(module.config, _PLACE), module, *tensors, **kwargs)


def _at(
    place: _Place,
    module: torch.nn.Module,
    query: Tensor,
    key: Tensor,
    value: Tensor,
    attention_mask: Any,
    **kwargs: Any,
) -> tuple[Tensor, Tensor | None]:
    """softmax(q [P_K; K]^T scale + [0; bias + mask]) [P_V; V], by the function that the model has chosen."""
    place.source.saw(place.attention, place.layer, key, value)
    if (prefix := place.source.prefix(place.attention, place.layer)) is not None:
        length = prefix.shape[2]
        keys, values = prefix.to(key.dtype)
        key = torch.cat([keys.expand(len(key), -1, -1, -1), key], 2)
        value = torch.cat([values.expand(len(value), -1, -1, -1), value], 2)
        if isinstance(attention_mask, Tensor):
            # A mask of truths says what is seen, one of numbers is added.
            is_seen = attention_mask.dtype == torch.bool
            attention_mask = pad(attention_mask, (length, 0), value=True if is_seen else 0.0)
        if isinstance(bias := kwargs.get("position_bias"), Tensor):
            kwargs["position_bias"] = pad(bias, (length, 0))
        # Without a mask all is seen, whatever the module says of itself.
        kwargs["is_causal"] = False
    outer: _Place | None = getattr(place.config, _PLACE, None)
    compute: Callable[..., Any]
    if outer is not None:
        compute = partial(_at, outer)
    else:
        compute = _function(type(module), place.config._attn_implementation)
    result: tuple[Tensor, Tensor | None] = compute(module, query, key, value, attention_mask, **kwargs)
    return result


def _function(kind: type[torch.nn.Module], name: str) -> Callable[..., Any]:
    known = inspect.unwrap(kind.forward).__globals__
    found: Callable[..., Any] = known[_INTERFACE].get_interface(name, known.get(_EAGER))
    return found


AttentionInterface.register(_NAME, _attention)

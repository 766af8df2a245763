"""The seam encoder.output: a hook on the module whose output the decoder, the head and the pooler read."""

from __future__ import annotations

import threading
from typing import Any, Protocol

import torch
from torch import Tensor
from torch.utils.hooks import RemovableHandle

from seamkit import _declarations as c
from seamkit.torch.adapter import Adapter
from seamkit.torch.calls import bound, tokens_mask
from seamkit.torch.connection import ENCODER, Connection
from seamkit.torch.families import encoder_modules
from seamkit.torch.names import MASK


class _Adapters(Protocol):
    def on(self, seam: str) -> list[Adapter]: ...


def hooks(model: Any, adapters: _Adapters, connection: Connection) -> list[RemovableHandle]:
    """One on the encoder, and one that keeps the mask where it is about tokens: in a model with an encoder alone that
    is one module higher."""
    masked, encoder = encoder_modules(model)
    connection.expect(ENCODER, encoder)
    # Threads that share a model have a call each.
    call = threading.local()

    def before(module: torch.nn.Module, args: Any, kwargs: Any) -> None:
        call.mask = MASK.value(bound(module, args, kwargs))

    def after(_: torch.nn.Module, args: Any, output: Any) -> Any:
        hidden = states_of(output)
        tokens = tokens_mask(getattr(call, "mask", None), hidden, masked)
        for adapter in adapters.on(c.SEAM_ENCODER_OUTPUT):
            hidden = adapter(hidden, tokens)
        connection.ran(ENCODER)
        return with_states(output, hidden)

    def watch(_: torch.nn.Module, args: Any, output: Any) -> Any:
        return with_states(output, connection.watched(states_of(output)))

    connection.watch(encoder, watch)
    return [masked.register_forward_pre_hook(before, with_kwargs=True), encoder.register_forward_hook(after)]


def states_of(output: Any) -> Tensor:
    """The hidden states in the output of a stack or of a layer."""
    return output if isinstance(output, Tensor) else output[0]


def with_states(output: Any, hidden: Tensor) -> Any:
    """The output of a stack or of a layer, an object, a tuple or a tensor, with its hidden states replaced, also where they come
    once more as the last of all layers' states."""
    if isinstance(output, Tensor):
        return hidden
    before = output[0]

    def replaced(part: Any) -> Any:
        is_list = isinstance(part, tuple) and part and part[-1] is before
        return (*part[:-1], hidden) if is_list else hidden if part is before else part

    if isinstance(output, tuple):
        return tuple(replaced(each) for each in output)
    for name, part in list(output.items()):
        output[name] = replaced(part)
    return output

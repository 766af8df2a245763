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
from seamkit.torch.families import encoder_modules
from seamkit.torch.names import MASK, STATES


class _Adapters(Protocol):
    def on(self, seam: str) -> list[Adapter]: ...


def hooks(model: Any, adapters: _Adapters) -> list[RemovableHandle]:
    """One on the encoder, and one that keeps the mask where it is about tokens: in a model with an encoder alone that
    is one module higher."""
    masked, encoder = encoder_modules(model)
    # Threads that share a model have a call each.
    call = threading.local()

    def before(module: torch.nn.Module, args: Any, kwargs: Any) -> None:
        call.mask = MASK.value(bound(module, args, kwargs))

    def after(_: torch.nn.Module, args: Any, output: Any) -> Any:
        return _adapted(adapters, output, getattr(call, "mask", None), masked)

    return [masked.register_forward_pre_hook(before, with_kwargs=True), encoder.register_forward_hook(after)]


def _adapted(adapters: _Adapters, output: Any, mask: Tensor | None, masked: torch.nn.Module) -> Any:
    """The output of the encoder, an object, a tuple or a tensor, with its hidden states replaced."""
    hidden = output if isinstance(output, Tensor) else output[0]
    tokens = tokens_mask(mask, hidden, masked)
    for adapter in adapters.on(c.SEAM_ENCODER_OUTPUT):
        hidden = adapter(hidden, tokens)
    if isinstance(output, Tensor):
        return hidden
    if isinstance(output, tuple):
        return (hidden, *output[1:])
    output.last_hidden_state = hidden
    return output

"""The seam encoder.output: a hook on the module whose output the decoder, the head and the pooler read."""

from __future__ import annotations

import threading
from typing import Any, Protocol

import torch
from torch import Tensor
from torch.utils.hooks import RemovableHandle

from seamkit import _declarations as c
from seamkit.errors import UnsupportedError
from seamkit.torch.adapter import Adapter
from seamkit.torch.calls import bound, tokens_mask
from seamkit.torch.site import ENCODERS


class _Adapters(Protocol):
    def on(self, seam: str) -> list[Adapter]: ...


def hooks(model: Any, adapters: _Adapters) -> list[RemovableHandle]:
    """In an encoder-decoder, on the encoder, which `generate` calls once for all beams. In a model with an encoder
    alone, on the layers below the pooler; the mask of tokens is known one module higher."""
    if model.config.model_type not in ENCODERS:
        encoder = model.get_encoder()
        if encoder is model:
            raise UnsupportedError(f"{type(model).__name__} has no encoder that can be found by get_encoder()")

        def after_encoder(module: torch.nn.Module, args: Any, kwargs: Any, output: Any) -> Any:
            return _adapted(adapters, output, bound(module, args, kwargs).get("attention_mask"))

        return [encoder.register_forward_hook(after_encoder, with_kwargs=True)]

    base = model.base_model
    # Threads that share a model have a call each.
    call = threading.local()

    def before_model(module: torch.nn.Module, args: Any, kwargs: Any) -> None:
        call.mask = bound(module, args, kwargs).get("attention_mask")

    def after_layers(_: torch.nn.Module, args: Any, output: Any) -> Any:
        return _adapted(adapters, output, getattr(call, "mask", None))

    return [
        base.register_forward_pre_hook(before_model, with_kwargs=True),
        base.encoder.register_forward_hook(after_layers),
    ]


def _adapted(adapters: _Adapters, output: Any, mask: Tensor | None) -> Any:
    """The output of the encoder, an object or a tuple, with its hidden states replaced."""
    hidden = output[0]
    tokens = tokens_mask(mask, hidden)
    for adapter in adapters.on(c.SEAM_ENCODER_OUTPUT):
        hidden = adapter(hidden, tokens)
    if isinstance(output, tuple):
        return (hidden, *output[1:])
    output.last_hidden_state = hidden
    return output

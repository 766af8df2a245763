"""What callers do with a model that has a prefix: layers that are dropped, caches of their own, several texts in a row."""

from __future__ import annotations

from typing import Any

import pytest
import torch
import transformers as hf
from prefix_reference import PAST
from single_stack import llama
from test_attach import disturb

import seamkit

IDS = torch.tensor([[5, 6, 7, 8, 9, 10, 11, 12, 13]])


def prefixed(model: Any) -> Any:
    disturb(seamkit.attach(model, "prefix-tuning", prefix_length=3, reparameterization="none"))
    return model


def small() -> Any:
    return prefixed(llama(max_position_embeddings=80).eval())


def opt() -> Any:
    return llama(
        hf.OPTConfig, hf.OPTForCausalLM, ffn_dim=40, word_embed_proj_dim=24, layerdrop=0.5, max_position_embeddings=80)


# ---- LayerDrop

def test_dropped_layers_are_no_error() -> None:
    """Each is left out of about half of all forwards, with a mask or without."""
    model = prefixed(opt()).train()
    torch.manual_seed(0)
    for _ in range(12):
        assert torch.isfinite(model(input_ids=IDS).logits).all()


def test_a_dropped_layer_is_looked_at_later() -> None:
    model = opt().train()
    attention = model.model.decoder.layers[1].self_attn
    forward = attention.forward
    attention.forward = lambda *args, **kwargs: forward(*args, **(kwargs | {PAST: None, "attention_mask": None}))
    prefixed(model)
    decoder = model.model.decoder
    decoder.layerdrop = 1.0
    model(input_ids=IDS)
    decoder.layerdrop = 0.0
    with pytest.raises(seamkit.UnsupportedError, match="attention 1 of OPTDecoder does not read the past"):
        model(input_ids=IDS)

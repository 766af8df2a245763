"""What callers do with a model that has a prefix: layers that drop out, caches, several texts in a row."""

from __future__ import annotations

from typing import Any

import pytest
import torch
import transformers as hf
from transformers.generation.continuous_batching import PagedAttentionCache

import seamkit
from prefix_reference import PAST
from single_stack import llama
from test_attach import disturb

IDS = torch.tensor([[5, 6, 7, 8, 9, 10, 11, 12, 13]])


def prefixed(model: Any) -> Any:
    disturb(seamkit.attach(model, "prefix-tuning", prefix_length=3, reparameterization="none"))
    return model


def small() -> Any:
    return prefixed(llama(max_position_embeddings=80).eval())


def opt() -> Any:
    return llama(
        hf.OPTConfig, hf.OPTForCausalLM, ffn_dim=40, word_embed_proj_dim=24, layerdrop=0.5, max_position_embeddings=80
    )


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


# ---- Caches


def filled(model: Any, tokens: int) -> hf.DynamicCache:
    cache = hf.DynamicCache()
    with torch.no_grad():
        model(input_ids=IDS[:, :tokens], use_cache=True, **{PAST: cache})
    return cache


def test_generate_goes_on_with_new_tokens_alone() -> None:
    """Given the whole prompt it would drop as many tokens as the prefix has."""
    model, mask = small(), torch.ones_like(IDS)
    settings: dict[str, Any] = {"max_new_tokens": 6, "do_sample": False}
    expected = model.generate(IDS, **settings)[:, -6:]
    for ids, given, found in [
        (IDS, {}, "position_ids without attention_mask must begin behind the 5 tokens of the text in"),
        (IDS[:, 5:], {}, "position_ids without attention_mask must begin behind the 5 tokens of the text in"),
        # transformers drops a mask that masks nothing.
        (IDS, {"attention_mask": mask}, "must begin behind the 5 tokens of the text in"),
        (
            IDS,
            {"attention_mask": mask - torch.eye(1, 9, dtype=torch.long)},
            "attention_mask must be about the 5 tokens .* and the 1 that are given, found one of 9 tokens",
        ),
    ]:
        with pytest.raises(seamkit.InvalidArgumentError, match=f"{found}.*give it the new tokens alone and the"):
            model.generate(ids, **{PAST: filled(model, 5)}, **given, **settings)
    found = model.generate(IDS[:, 5:], attention_mask=mask, **{PAST: filled(model, 5)}, **settings)
    assert torch.equal(found[:, -6:], expected)


@pytest.mark.parametrize("way", ["prefill_chunk_size", "prompt_lookup_num_tokens"])
def test_other_ways_to_generate(way: str) -> None:
    """In parts of a prompt, and with guesses that are cropped from the cache."""
    model, settings = small(), {"max_new_tokens": 6, "do_sample": False}
    assert torch.equal(model.generate(IDS, **{way: 4}, **settings), model.generate(IDS, **settings))


@pytest.mark.parametrize("way", ["crop", "reset"])
def test_an_emptied_cache_begins_anew(way: str) -> None:
    model, cache = small(), hf.DynamicCache()
    with torch.no_grad():
        expected = model(input_ids=IDS, **{PAST: cache}).logits
        if way == "crop":
            cache.crop(-cache.get_seq_length())
        else:
            cache.reset()
        assert torch.equal(model(input_ids=IDS, **{PAST: cache}).logits, expected)
    assert cache.get_seq_length() == 9 + 3


def test_a_cache_that_is_cropped() -> None:
    """Into the text it goes on; into the prefix nothing could."""
    model = small()
    with torch.no_grad():
        expected = model(input_ids=IDS).logits[:, 4:]
        cache = filled(model, 7)
        cache.crop(-3)
        assert torch.allclose(model(input_ids=IDS[:, 4:], **{PAST: cache}).logits, expected, atol=1e-5)
        cache.crop(-10)
        with pytest.raises(seamkit.InvalidArgumentError, match="holds 2 tokens, fewer than the 3 of the prefix"):
            model(input_ids=IDS, **{PAST: cache})


# ---- Other calls


@pytest.mark.parametrize("use_cache", [False, None])
def test_packed_texts_are_refused(use_cache: bool | None) -> None:
    """Without a prefix and a cache transformers keeps them apart by their positions."""
    model = small()
    packed = torch.tensor([[0, 1, 2, 3, 0, 1, 2, 3, 4]])
    with pytest.raises(seamkit.UnsupportedError, match="packed into a row .*give each text a row of its own"):
        model(input_ids=IDS, position_ids=packed, use_cache=use_cache)
    with pytest.raises(seamkit.UnsupportedError, match="packed into a row"):
        model(input_ids=IDS, cu_seq_lens_q=torch.tensor([0, 4, 9]), use_cache=use_cache)
    with torch.no_grad():
        expected = model(input_ids=IDS).logits
        assert torch.equal(model(input_ids=IDS, position_ids=torch.arange(9)[None]).logits, expected)


def test_a_call_without_tokens() -> None:
    with pytest.raises(
        seamkit.InvalidArgumentError, match="LlamaModel was called with neither input_ids nor inputs_embeds"
    ):
        small()()


def test_continuous_batching_is_refused() -> None:
    """By the cache that it keeps, which is no Cache and takes long to make room for all requests."""
    cache = PagedAttentionCache.__new__(PagedAttentionCache)
    with pytest.raises(seamkit.UnsupportedError, match="no place in a PagedAttentionCache, as continuous batching"):
        small()(input_ids=IDS, **{PAST: cache})

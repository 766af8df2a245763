"""Tiny random encoder-only and decoder-only models of every family, and batches for them."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import torch
import transformers as hf
from transformers import PreTrainedModel

from seam_abi import Array
from tiny_models import END, FIRST_WORD, PAD, VOCABULARY, randomise

# Positions run from behind the padding's row in RoBERTa: 40 rows leave 38 positions.
SPECIAL: dict[str, Any] = {"vocab_size": VOCABULARY, "pad_token_id": PAD, "eos_token_id": END, "bos_token_id": 0}


def bert(config: type[Any] = hf.BertConfig, model: type[Any] = hf.BertForMaskedLM, **changes: Any) -> PreTrainedModel:
    sizes = {
        "hidden_size": 24,
        "num_hidden_layers": 3,
        "num_attention_heads": 4,
        "intermediate_size": 40,
        "max_position_embeddings": 40,
        "layer_norm_eps": 1e-5,
    }
    return model(config(**(sizes | SPECIAL | changes)))


def distilbert(**changes: Any) -> PreTrainedModel:
    return bert(hf.DistilBertConfig, hf.DistilBertForMaskedLM, **({"hidden_dim": 40} | changes))


def electra(model: type[Any] = hf.ElectraForMaskedLM, **changes: Any) -> PreTrainedModel:
    return bert(hf.ElectraConfig, model, **({"embedding_size": 12} | changes))


def modernbert(model: type[Any] = hf.ModernBertForMaskedLM, **changes: Any) -> PreTrainedModel:
    # A token of the layers with a window sees three on each side.
    sizes = {"local_attention": 7, "norm_eps": 1e-3, "cls_token_id": 0, "sep_token_id": END}
    return bert(hf.ModernBertConfig, model, **(sizes | changes))


DEBERTA_V3: dict[str, Any] = {
    "position_biased_input": False,
    "position_buckets": 8,
    "max_relative_positions": 20,
    "share_att_key": True,
    "norm_rel_ebd": "layer_norm",
}


def deberta(model: type[Any] = hf.DebertaV2ForMaskedLM, **changes: Any) -> PreTrainedModel:
    sizes = {"relative_attention": True, "pos_att_type": ["p2c", "c2p"], "type_vocab_size": 0}
    return bert(hf.DebertaV2Config, model, **(sizes | changes))


def gpt2(**changes: Any) -> PreTrainedModel:
    sizes = {"n_embd": 24, "n_layer": 3, "n_head": 4, "n_positions": 60}
    return hf.GPT2LMHeadModel(hf.GPT2Config(**(sizes | SPECIAL | changes)))


def llama(
    config: type[Any] = hf.LlamaConfig, model: type[Any] = hf.LlamaForCausalLM, **changes: Any
) -> PreTrainedModel:
    sizes = {
        "hidden_size": 24,
        "num_hidden_layers": 3,
        "num_attention_heads": 4,
        "num_key_value_heads": 2,
        "intermediate_size": 40,
        "max_position_embeddings": 60,
        "rms_norm_eps": 1e-5,
    }
    return model(config(**(sizes | SPECIAL | changes)))


def gemma(config: type[Any], model: type[Any], **changes: Any) -> PreTrainedModel:
    sizes = {"head_dim": 6, "query_pre_attn_scalar": 9, "sliding_window": 6, "hidden_activation": "gelu_pytorch_tanh"}
    return llama(config, model, **(sizes | changes))


def neox(**changes: Any) -> PreTrainedModel:
    sizes = {"layer_norm_eps": 1e-5, "rotary_pct": 0.34}
    return bert(hf.GPTNeoXConfig, hf.GPTNeoXForCausalLM, **({"max_position_embeddings": 60} | sizes | changes))


def opt(**changes: Any) -> PreTrainedModel:
    sizes = {"hidden_size": 24, "num_hidden_layers": 3, "num_attention_heads": 4, "ffn_dim": 40}
    sizes |= {"max_position_embeddings": 60, "word_embed_proj_dim": 24}
    return hf.OPTForCausalLM(hf.OPTConfig(**(sizes | SPECIAL | changes)))


def rope(kind: str, **more: Any) -> dict[str, Any]:
    return {"rope_type": kind, "rope_theta": 500.0, **more}


LLAMA3 = rope("llama3", factor=8.0, low_freq_factor=1.0, high_freq_factor=4.0, original_max_position_embeddings=30)

# Texts of more than 8 tokens are long ones; heads of 8 rotate 6 numbers.
LONGROPE = {
    "rope_type": "longrope",
    "short_factor": [1.0, 1.2, 1.5],
    "long_factor": [1.5, 3.0, 5.0],
    "partial_rotary_factor": 0.75,
}
YARN = rope("yarn", factor=3.0, original_max_position_embeddings=20, beta_fast=4.0)

ENCODERS: dict[str, Callable[[], PreTrainedModel]] = {
    "bert": lambda: bert(),
    "bert-relu-untied": lambda: bert(hidden_act="relu", tie_word_embeddings=False, layer_norm_eps=1e-3),
    "bert-no-head": lambda: bert(model=hf.BertModel, type_vocab_size=3),
    "roberta": lambda: bert(hf.RobertaConfig, hf.RobertaForMaskedLM, type_vocab_size=1),
    "roberta-relu": lambda: bert(hf.RobertaConfig, hf.RobertaForMaskedLM, hidden_act="relu"),
    "roberta-no-head": lambda: bert(hf.RobertaConfig, hf.RobertaModel, pad_token_id=3),
    "xlm-roberta": lambda: bert(hf.XLMRobertaConfig, hf.XLMRobertaForMaskedLM, tie_word_embeddings=False),
    "camembert": lambda: bert(hf.CamembertConfig, hf.CamembertForMaskedLM, type_vocab_size=1),
    "distilbert": lambda: distilbert(),
    "electra": lambda: electra(),
    "electra-no-head": lambda: electra(hf.ElectraModel, embedding_size=24),
    # Distances beyond the last bucket.
    "mpnet": lambda: bert(hf.MPNetConfig, hf.MPNetForMaskedLM, max_position_embeddings=150),
    "modernbert": lambda: modernbert(),
    "modernbert-biases": lambda: modernbert(
        attention_bias=True,
        mlp_bias=True,
        norm_bias=True,
        classifier_bias=True,
        decoder_bias=False,
        tie_word_embeddings=False,
        hidden_activation="gelu_new",
        layer_types=["sliding_attention", "full_attention", "sliding_attention"],
    ),
    "deberta-v3": lambda: deberta(**DEBERTA_V3),
    "deberta-own-projections": lambda: deberta(
        max_relative_positions=10, embedding_size=12, type_vocab_size=2, norm_rel_ebd="none"
    ),
    "deberta-to-positions": lambda: deberta(pos_att_type="c2p", position_buckets=6, legacy=False),
    "deberta-from-positions": lambda: deberta(pos_att_type="p2c", share_att_key=True, tie_word_embeddings=False),
    "deberta-absolute": lambda: deberta(relative_attention=False, pos_att_type=None),
    "nomic_bert": lambda: bert(hf.NomicBertConfig, hf.NomicBertForMaskedLM, rope_parameters=rope("default")),
    "nomic_bert-no-head": lambda: bert(hf.NomicBertConfig, hf.NomicBertModel, hidden_act="gelu"),
}
DECODERS: dict[str, Callable[[], PreTrainedModel]] = {
    "gpt2": lambda: gpt2(),
    "gpt2-relu-untied": lambda: gpt2(
        activation_function="relu", n_inner=28, tie_word_embeddings=False, scale_attn_weights=False
    ),
    "llama": lambda: llama(),
    "llama-tied": lambda: llama(tie_word_embeddings=True, num_key_value_heads=4, rope_parameters=rope("default")),
    "llama-biases": lambda: llama(attention_bias=True, mlp_bias=True, num_key_value_heads=1, head_dim=10),
    "llama-3": lambda: llama(rope_parameters=LLAMA3),
    "llama-linear": lambda: llama(rope_parameters=rope("linear", factor=4.0)),
    "mistral": lambda: llama(hf.MistralConfig, hf.MistralForCausalLM, sliding_window=None),
    "mistral-window": lambda: llama(hf.MistralConfig, hf.MistralForCausalLM, sliding_window=7),
    "qwen2": lambda: llama(hf.Qwen2Config, hf.Qwen2ForCausalLM, tie_word_embeddings=True),
    "qwen2-window": lambda: llama(
        hf.Qwen2Config, hf.Qwen2ForCausalLM, use_sliding_window=True, sliding_window=5, max_window_layers=1
    ),
    # The base grows with texts of more than 20 tokens.
    "llama-dynamic": lambda: llama(max_position_embeddings=20, rope_parameters=rope("dynamic", factor=3.0)),
    "qwen3": lambda: llama(hf.Qwen3Config, hf.Qwen3ForCausalLM, head_dim=8),
    "qwen3-yarn": lambda: llama(
        hf.Qwen3Config,
        hf.Qwen3ForCausalLM,
        head_dim=8,
        attention_bias=True,
        rope_parameters=YARN,
        max_position_embeddings=20,
    ),
    "gemma2": lambda: gemma(
        hf.Gemma2Config, hf.Gemma2ForCausalLM, attn_logit_softcapping=2.0, final_logit_softcapping=3.0
    ),
    "gemma3": lambda: gemma(
        hf.Gemma3TextConfig,
        hf.Gemma3ForCausalLM,
        layer_types=["sliding_attention", "full_attention", "sliding_attention"],
        rope_parameters={
            "full_attention": rope("linear", factor=4.0),
            "sliding_attention": {"rope_type": "default", "rope_theta": 50.0},
        },
    ),
    "phi3": lambda: llama(hf.Phi3Config, hf.Phi3ForCausalLM, sliding_window=9),
    "phi3-longrope": lambda: llama(
        hf.Phi3Config, hf.Phi3ForCausalLM, hidden_size=32, original_max_position_embeddings=8, rope_parameters=LONGROPE
    ),
    "smollm3": lambda: llama(
        hf.SmolLM3Config,
        hf.SmolLM3ForCausalLM,
        no_rope_layer_interval=2,
        use_sliding_window=True,
        sliding_window=7,
        tie_word_embeddings=True,
    ),
    "olmo2": lambda: llama(hf.Olmo2Config, hf.Olmo2ForCausalLM),
    "gpt-neox": lambda: neox(),
    "gpt-neox-serial": lambda: neox(use_parallel_residual=False, attention_bias=False, rotary_pct=1.0),
    "opt": lambda: opt(),
    "opt-350m": lambda: opt(do_layer_norm_before=False, word_embed_proj_dim=16),
}


def save(variant: str, path: Path, seed: int = 0, dtype: torch.dtype = torch.float32) -> Path:
    model = (ENCODERS | DECODERS)[variant]()
    randomise(model, seed)
    model.to(dtype).save_pretrained(path)
    return path


def reference(variant: str, path: Path) -> PreTrainedModel:
    """The folder as transformers reads it, computing in f32."""
    kind = type((ENCODERS | DECODERS)[variant]())
    return kind.from_pretrained(path, dtype=torch.float32, attn_implementation="eager").eval()


def padded(seed: int, front: bool, count: int = 4, length: int = 17) -> tuple[Array, Array]:
    """Ids and mask of texts of several lengths, padded on one side."""
    random = np.random.default_rng(seed)
    ids = random.integers(FIRST_WORD, VOCABULARY, (count, length)).astype(np.int32)
    mask = np.ones_like(ids)
    for row in range(1, count):
        padding = length - int(random.integers(2, length + 1))
        side = slice(0, padding) if front else slice(length - padding, length)
        ids[row, side], mask[row, side] = PAD, 0
    return ids, mask


def places(mask: Array) -> Array:
    """Positions that count the tokens of a row; transformers leaves them to the caller of a decoder's forward."""
    return np.maximum(np.cumsum(mask, 1) - 1, 0)

"""GGUF files of tiny models as the converter of llama.cpp writes them, and the same weights as transformers has them."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from itertools import cycle
from pathlib import Path
from typing import Any

import gguf
import numpy as np
import transformers as hf
from safetensors.numpy import load_file, save_file
from transformers import PreTrainedModel

from seam_abi import Array
from single_stack import SPECIAL, bert, gpt2, llama, rope
from tiny_models import add_head, randomise, t5

Settings = dict[str, Any]
LAYERS = 3
WIDE: Settings = {"hidden_size": 32, "intermediate_size": 64}
# Kinds for matrices whose rows are whole blocks, in turn; the others, and vectors, stay F32.
KINDS = ("Q8_0", "F32", "Q4_1", "F16", "Q5_0", "BF16")


def sizes(config: Any) -> Settings:
    return {
        "block_count": config.num_hidden_layers,
        "embedding_length": config.hidden_size,
        "feed_forward_length": config.intermediate_size,
        "context_length": config.max_position_embeddings,
        "attention.head_count": config.num_attention_heads,
    }


def decoder(config: Any) -> Settings:
    theta = config.rope_parameters.get("full_attention", config.rope_parameters)["rope_theta"]
    return sizes(config) | {
        "attention.head_count_kv": config.num_key_value_heads,
        "attention.layer_norm_rms_epsilon": config.rms_norm_eps,
        "rope.freq_base": float(theta),
    }


def gemma(config: Any) -> Settings:
    return decoder(config) | {
        "attention.key_length": config.head_dim,
        "attention.value_length": config.head_dim,
        "attention.sliding_window": config.sliding_window,
    }


def encoder(config: Any) -> Settings:
    return sizes(config) | {
        "attention.layer_norm_epsilon": config.layer_norm_eps,
        "attention.causal": False,
        "pooling_type": int(gguf.PoolingType.CLS),
    }


def nomic(**changes: Any) -> PreTrainedModel:
    config = hf.NomicBertConfig(
        **WIDE, **SPECIAL, num_hidden_layers=LAYERS, num_attention_heads=4, max_position_embeddings=40, **changes
    )
    return hf.NomicBertModel(config)


@dataclass(frozen=True)
class Architecture:
    """One of ggml's, with a tiny model and what its converter writes."""

    name: str
    build: Callable[[], PreTrainedModel]
    settings: Callable[[Any], Settings]
    # Tensors, by the end of their stem in transformers, whose values the converter changes.
    transposed: tuple[str, ...] = ()
    one_added: bool = False
    # Adds a matrix of scores that transformers would not save.
    separate_head: bool = False
    extra: Callable[[Any], dict[str, Array]] = field(default=lambda config: {})


def gemma2() -> PreTrainedModel:
    # Windows shorter than the texts, and a head that is not width / heads.
    return llama(hf.Gemma2Config, hf.Gemma2ForCausalLM, **WIDE, head_dim=16, sliding_window=6, query_pre_attn_scalar=16)


def gemma3() -> PreTrainedModel:
    return llama(
        hf.Gemma3TextConfig,
        hf.Gemma3ForCausalLM,
        **WIDE,
        num_hidden_layers=7,
        head_dim=16,
        sliding_window=6,
        query_pre_attn_scalar=16,
        rope_parameters={
            "full_attention": rope("linear", factor=8.0) | {"rope_theta": 1e6},
            "sliding_attention": {"rope_type": "default", "rope_theta": 10000.0},
        },
    )


def phi3(**changes: Any) -> PreTrainedModel:
    long = rope("longrope", short_factor=[1.0, 1.25, 1.5, 2.0], long_factor=[2.0, 3.0, 4.0, 6.0])
    return llama(
        hf.Phi3Config,
        hf.Phi3ForCausalLM,
        **WIDE,
        num_key_value_heads=2,
        original_max_position_embeddings=20,
        rope_parameters=long | {"original_max_position_embeddings": 20},
        **changes,
    )


def phi3_settings(config: Any) -> Settings:
    original = config.rope_parameters["original_max_position_embeddings"]
    return decoder(config) | {
        "rope.dimension_count": 8,
        "rope.scaling.original_context_length": original,
        "rope.scaling.attn_factor": float(
            np.sqrt(1 + np.log(config.max_position_embeddings / original) / np.log(original))
        ),
        "attention.sliding_window": config.sliding_window or 0,
    }


def gpt2_settings(config: Any) -> Settings:
    return {
        "block_count": config.n_layer,
        "embedding_length": config.n_embd,
        "feed_forward_length": config.n_inner,
        "context_length": config.n_positions,
        "attention.head_count": config.n_head,
        "attention.layer_norm_epsilon": config.layer_norm_epsilon,
    }


def t5_settings(config: Any) -> Settings:
    return {
        "block_count": config.num_layers,
        "decoder_block_count": config.num_decoder_layers,
        "embedding_length": config.d_model,
        "feed_forward_length": config.d_ff,
        "context_length": 512,
        "attention.head_count": config.num_heads,
        "attention.key_length": config.d_kv,
        "attention.value_length": config.d_kv,
        "attention.layer_norm_epsilon": config.layer_norm_epsilon,
        "attention.layer_norm_rms_epsilon": config.layer_norm_epsilon,
        "attention.relative_buckets_count": config.relative_attention_num_buckets,
        "decoder_start_token_id": config.decoder_start_token_id,
    }


def wide_t5(**changes: Any) -> PreTrainedModel:
    # A file does not tell the greatest distance: it is 128.
    return t5(d_model=32, d_kv=8, d_ff=64, relative_attention_max_distance=128, **changes)


YARN = rope("yarn", factor=4.0, original_max_position_embeddings=15, beta_fast=16.0)
ARCHITECTURES = {
    "llama": Architecture("llama", lambda: llama(**WIDE), decoder),
    "qwen2": Architecture(
        "qwen2", lambda: llama(hf.Qwen2Config, hf.Qwen2ForCausalLM, **WIDE, tie_word_embeddings=True), decoder
    ),
    "qwen3": Architecture(
        "qwen3",
        lambda: llama(hf.Qwen3Config, hf.Qwen3ForCausalLM, **WIDE, head_dim=16, rope_parameters=YARN),
        lambda config: (
            decoder(config)
            | {
                "attention.key_length": 16,
                "attention.value_length": 16,
                "rope.scaling.type": "yarn",
                "rope.scaling.factor": 4.0,
                "rope.scaling.original_context_length": 15,
                "rope.scaling.yarn_beta_fast": 16.0,
            }
        ),
    ),
    "gemma2": Architecture(
        "gemma2",
        gemma2,
        lambda config: (
            gemma(config)
            | {
                "attn_logit_softcapping": config.attn_logit_softcapping,
                "final_logit_softcapping": config.final_logit_softcapping,
            }
        ),
        one_added=True,
    ),
    "gemma3": Architecture(
        "gemma3",
        gemma3,
        lambda config: gemma(config) | {"rope.scaling.type": "linear", "rope.scaling.factor": 8.0},
        one_added=True,
    ),
    "phi3": Architecture(
        "phi3",
        phi3,
        phi3_settings,
        extra=lambda config: {
            f"rope_factors_{kind}.weight": np.array(config.rope_parameters[f"{kind}_factor"], np.float32)
            for kind in ("long", "short")
        },
    ),
    "gpt2": Architecture(
        "gpt2", lambda: gpt2(n_embd=32, n_inner=64), gpt2_settings, transposed=("c_attn", "c_proj", "c_fc")
    ),
    "bert": Architecture("bert", lambda: bert(model=hf.BertModel, **WIDE), encoder),
    "nomic-bert": Architecture(
        "nomic-bert", nomic, lambda config: encoder(config) | {"rope.freq_base": config.rope_parameters["rope_theta"]}
    ),
    "t5": Architecture("t5", wide_t5, t5_settings),
    "t5-1.1": Architecture(
        "t5",
        lambda: wide_t5(feed_forward_proj="gated-gelu", tie_word_embeddings=False),
        t5_settings,
        separate_head=True,
    ),
}


def changed(case: Architecture, config: Any, name: str, values: Array, *, back: bool = False) -> Array:
    """What the converter does to a tensor's values, and the reverse."""
    stem, _, ending = name.rpartition(".")
    if case.name == "llama" and stem.endswith(("q_proj", "k_proj")):
        heads = config.num_attention_heads if stem.endswith("q_proj") else config.num_key_value_heads
        pairs = (values.shape[0] // heads // 2, 2) if back else (2, values.shape[0] // heads // 2)
        return values.reshape(heads, *pairs, -1).swapaxes(1, 2).reshape(values.shape)
    if ending == "weight" and stem.endswith(case.transposed):
        return values.T if case.transposed else values
    if case.one_added and name.endswith("norm.weight"):
        return values + np.float32(-1 if back else 1)
    return values


def named(case: Architecture, layers: int, weights: dict[str, Array]) -> Iterator[tuple[str, str, Array]]:
    """The tensors that the converter writes: the name in transformers, that of ggml, and the values."""
    names = gguf.get_tensor_name_map({name: arch for arch, name in gguf.MODEL_ARCH_NAMES.items()}[case.name], layers)
    for name, values in weights.items():
        # As the converter does: poolers are not for vectors of sentences.
        if name.startswith("pooler."):
            continue
        stem, _, ending = name.rpartition(".")
        found = names.get_name(stem)
        assert found, name
        yield name, f"{found}.{ending}", values


def written(name: str, folder: Path, **settings: Any) -> Path:
    """Writes FOLDER/model.gguf, and the same values as a folder of transformers in FOLDER/hf."""
    case = ARCHITECTURES[name]
    model = case.build()
    randomise(model, 0)
    model.save_pretrained(folder / "hf")
    if case.separate_head:
        import torch

        add_head(folder / "hf", torch.float32, 0)
    file = folder / "hf" / "model.safetensors"
    weights, config = load_file(file), model.config
    path = folder / "model.gguf"
    writer = gguf.GGUFWriter(path, case.name)
    for key, value in (case.settings(config) | settings).items():
        if value is None:
            continue
        add = {bool: writer.add_bool, int: writer.add_uint32, float: writer.add_float32, str: writer.add_string}
        add[type(value)](f"{case.name}.{key}", value)
    for purpose, token in (("bos", 0), ("eos", 2), ("padding", 1)):
        writer.add_uint32(f"tokenizer.ggml.{purpose}_token_id", token)
    kinds = cycle(KINDS)
    layers = max(getattr(config, "num_hidden_layers", 0), getattr(config, "num_decoder_layers", 0) or 0)
    for theirs, ours, values in named(case, layers, weights):
        stored = np.ascontiguousarray(changed(case, config, theirs, values.astype(np.float32)))
        if stored.ndim == 2 and stored.shape[1] % 32 == 0 and "token_types" not in ours and "position" not in ours:
            kind = gguf.GGMLQuantizationType[next(kinds)]
            data = gguf.quantize(stored, kind)
            writer.add_tensor(ours, data, raw_dtype=kind)
            stored = gguf.dequantize(data, kind).reshape(stored.shape)
        else:
            writer.add_tensor(ours, stored)
        weights[theirs] = np.ascontiguousarray(changed(case, config, theirs, stored, back=True))
    for ours, values in case.extra(config).items():
        writer.add_tensor(ours, values)
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()
    save_file(weights, file, {"format": "pt"})
    return path

"""Writes llama.gguf, a small random Llama in every encoding that SeamKit reads, and llama.txt: the configuration, the
XXH64 of each tensor's f32 values and that of these lines, as transformers reads them from that file (or from FILE).

    python make_gguf.py [FILE]

The package gguf quantises to the formats of 32 values; blocks of 256 are random bytes with small scales.
"""

import pathlib
import sys

import gguf
import numpy as np
import torch
import transformers
import xxhash
from gguf.constants import GGML_QUANT_SIZES
from transformers import AutoModelForCausalLM, LlamaConfig, LlamaForCausalLM

HERE = pathlib.Path(__file__).resolve().parent
HEADS, KV_HEADS, SIZE, HIDDEN, INNER, VOCABULARY = 4, 2, 8, 256, 32, 40
# q, k, v, o, gate, up, down of each layer.
LAYERS = [
    ["Q4_K", "Q6_K", "Q5_K", "Q8_0", "Q2_K", "Q3_K", "Q5_1"],
    ["F16", "Q8_0", "Q4_0", "Q4_1", "Q5_0", "BF16", "F32"],
    ["Q5_0", "BF16", "F16", "Q4_0", "Q4_1", "Q5_1", "Q8_0"],
    ["F32", "Q4_1", "Q6_K", "F16", "Q4_K", "Q5_K", "Q5_0"],
]
PARTS = ["attn_q", "attn_k", "attn_v", "attn_output", "ffn_gate", "ffn_up", "ffn_down"]
HALVES = {"Q2_K": [80, 82], "Q3_K": [108], "Q4_K": [0, 2], "Q5_K": [0, 2], "Q6_K": [208]}
random = np.random.default_rng(11)


def encode(values, name):
    kind = gguf.GGMLQuantizationType[name]
    if name not in HALVES:
        return gguf.quantize(values, kind), kind
    rows = values.shape[0]
    blocks = random.integers(0, 256, (rows * values.shape[1] // 256, GGML_QUANT_SIZES[kind][1]), dtype=np.uint8)
    for place in HALVES[name]:
        scales = (random.normal(size=(len(blocks), 1)) * 1e-3).astype(np.float16)
        blocks[:, place : place + 2] = scales.view(np.uint8)
    return blocks.reshape(rows, -1), kind


def permute(values, heads):
    """As convert_hf_to_gguf.py of llama.cpp does it."""
    return values.reshape(heads, 2, values.shape[0] // heads // 2, -1).swapaxes(1, 2).reshape(values.shape)


def llama3_factors(base, factor, low, high, context):
    """As convert_hf_to_gguf.py of llama.cpp does it."""
    wavelengths = 2 * np.pi * base ** (np.arange(0, SIZE, 2) / SIZE)
    smooth = np.clip((context / wavelengths - low) / (high - low), 0, 1)
    return (1 / ((1 - smooth) / factor + smooth)).astype(np.float32)


def write(path):
    torch.manual_seed(3)
    config = LlamaConfig(
        vocab_size=VOCABULARY,
        hidden_size=HIDDEN,
        intermediate_size=INNER,
        num_hidden_layers=len(LAYERS),
        num_attention_heads=HEADS,
        num_key_value_heads=KV_HEADS,
        head_dim=SIZE,
    )
    weights = {name: tensor.numpy() for name, tensor in LlamaForCausalLM(config).state_dict().items()}
    names = gguf.get_tensor_name_map(gguf.MODEL_ARCH.LLAMA, len(LAYERS))
    writer = gguf.GGUFWriter(path, "llama")
    writer.add_name("tiny")
    writer.add_block_count(len(LAYERS))
    writer.add_context_length(131072)
    writer.add_embedding_length(HIDDEN)
    writer.add_feed_forward_length(INNER)
    writer.add_head_count(HEADS)
    writer.add_head_count_kv(KV_HEADS)
    writer.add_key_length(SIZE)
    writer.add_value_length(SIZE)
    writer.add_rope_dimension_count(SIZE)
    writer.add_rope_freq_base(500000.0)
    writer.add_layer_norm_rms_eps(1e-5)
    writer.add_vocab_size(VOCABULARY)
    writer.add_tokenizer_model("gpt2")
    writer.add_tokenizer_pre("smollm")
    writer.add_token_list([f"t{i}" for i in range(VOCABULARY - 1)] + ["Ġé"])
    writer.add_token_types([3, 3, 3] + [1] * (VOCABULARY - 3))
    writer.add_token_merges(["t 1", "t 2"])
    writer.add_bos_token_id(1)
    writer.add_eos_token_id(2)
    writer.add_unk_token_id(0)
    writer.add_add_bos_token(True)
    writer.add_tensor("rope_freqs.weight", llama3_factors(500000.0, 32.0, 1.0, 4.0, 8192))
    for name, values in weights.items():
        stem, _, suffix = name.rpartition(".")
        target = f"{names.get_name(stem)}.{suffix}"
        kind = {"token_embd.weight": "Q6_K", "output.weight": "Q3_K"}.get(target, "F32")
        if target.startswith("blk.") and (part := target.split(".")[2]) in PARTS:
            kind = LAYERS[int(target.split(".")[1])][PARTS.index(part)]
            if part in ("attn_q", "attn_k"):
                values = permute(values, HEADS if part == "attn_q" else KV_HEADS)
        if target.endswith("norm.weight"):
            values = values + random.normal(size=values.shape).astype(np.float32)
        data, raw = encode(np.ascontiguousarray(values), kind)
        writer.add_tensor(target, data, raw_dtype=raw)
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()


def describe(path):
    """What transformers reads from a file, as lines of text."""
    model = AutoModelForCausalLM.from_pretrained(path.parent, gguf_file=path.name, dtype=torch.float32)
    config = model.config
    for key in [
        "hidden_size",
        "intermediate_size",
        "num_hidden_layers",
        "num_attention_heads",
        "num_key_value_heads",
        "head_dim",
        "max_position_embeddings",
        "vocab_size",
        "bos_token_id",
        "eos_token_id",
    ]:
        yield f"integer {key} {getattr(config, key)}"
    yield f"number rms_norm_eps {config.rms_norm_eps!r}"
    yield f"number rope_theta {config.rope_parameters['rope_theta']!r}"
    yield f"text model_type {config.model_type}"
    yield f"text hidden_act {config.hidden_act}"
    yield f"flag tie_word_embeddings {str(config.tie_word_embeddings).lower()}"
    tensors = []
    for name, tensor in sorted(model.state_dict().items()):
        if name == "lm_head.weight" and config.tie_word_embeddings:
            continue
        values = tensor.contiguous().numpy()
        shape = ",".join(str(extent) for extent in values.shape)
        tensors.append(f"tensor {name} {shape} {xxhash.xxh64(values.tobytes()).hexdigest()}")
    yield from tensors
    yield f"all {xxhash.xxh64(chr(10).join(tensors).encode()).hexdigest()}"


transformers.logging.set_verbosity_error()
if len(sys.argv) > 1:
    print("\n".join(describe(pathlib.Path(sys.argv[1]))))
else:
    write(HERE / "llama.gguf")
    (HERE / "llama.txt").write_text("\n".join(describe(HERE / "llama.gguf")) + "\n")

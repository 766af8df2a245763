"""Folders of CTranslate2's binary form, version 6, of Whisper models of transformers: written here from the form that
CTranslate2's python/ctranslate2/specs says, and read back by a second reader."""

from __future__ import annotations

import json
import struct
from pathlib import Path
from typing import Any

import numpy as np
import torch
import transformers

Variables = dict[str, Any]
TYPES = {"float32": 0, "int8": 1, "int16": 2, "int32": 3, "float16": 4, "bfloat16": 5}
TOKENS = [
    "<|endoftext|>",
    "<|startoftranscript|>",
    "<|en|>",
    "<|de|>",
    "<|translate|>",
    "<|transcribe|>",
    "<|startofprev|>",
    "<|notimestamps|>",
]


def tiny_whisper(vocabulary: int = 40, **changes: Any) -> transformers.WhisperForConditionalGeneration:
    """With stacks of different depths, heads and inner widths, and no weight at 0 or 1."""
    torch.manual_seed(3)
    sizes = {
        "vocab_size": vocabulary,
        "num_mel_bins": 6,
        "d_model": 12,
        "encoder_layers": 2,
        "decoder_layers": 1,
        "encoder_attention_heads": 2,
        "decoder_attention_heads": 3,
        "encoder_ffn_dim": 10,
        "decoder_ffn_dim": 14,
        "max_source_positions": 50,
        "max_target_positions": 9,
        **dict.fromkeys(("pad_token_id", "bos_token_id", "eos_token_id", "decoder_start_token_id"), 1),
    }
    model = transformers.WhisperForConditionalGeneration(transformers.WhisperConfig(**sizes | changes)).eval()
    with torch.no_grad():
        for each in model.parameters():
            each.normal_(0, 0.3)
    return model


def quantised(matrix: Any) -> tuple[Any, Any]:
    """Integers and a factor for each row (or output channel)."""
    rows = matrix.reshape(len(matrix), -1)
    scale = (127 / np.abs(rows).max(1)).astype(np.float32)
    return np.rint(rows * scale[:, None]).astype(np.int8).reshape(matrix.shape), scale


class Joined:
    """Variables in CTranslate2's names and joined matrices, made of a model of the BART line: NumPy arrays, bfloat16 as torch
    tensors."""

    def __init__(self, model: Any, weights: str):
        self.config, self.weights = model.config, weights
        self.state = {name: value.detach().numpy() for name, value in model.state_dict().items()}
        self.found: Variables = {}

    def put(self, name: str, value: Any, is_matrix: bool = False) -> None:
        if self.weights == "int8":
            if is_matrix:
                self.found[name], self.found[f"{name}_scale"] = quantised(value)
            else:
                self.found[name] = value
        elif self.weights == "bfloat16":
            self.found[name] = torch.from_numpy(value.copy()).bfloat16()
        else:
            self.found[name] = value.astype(self.weights)

    def norm(self, name: str, source: str) -> None:
        self.put(f"{name}/gamma", self.state[f"{source}.weight"])
        self.put(f"{name}/beta", self.state[f"{source}.bias"])

    def linear(self, name: str, *sources: str) -> None:
        state = self.state
        self.put(f"{name}/weight", np.concatenate([state[f"{each}.weight"] for each in sources]), True)
        biases = [state.get(f"{each}.bias", np.zeros(len(state[f"{each}.weight"]), np.float32)) for each in sources]
        self.put(f"{name}/bias", np.concatenate(biases))

    def stack(self, stack: str) -> None:
        """Heads, positions and layers."""
        own = f"model.{stack}"
        self.found[f"{stack}/num_heads"] = np.int16(getattr(self.config, f"{stack}_attention_heads"))
        self.put(f"{stack}/position_encodings/encodings", self.state[f"{own}.embed_positions.weight"])
        for number in range(getattr(self.config, f"{stack}_layers")):
            name, source = f"{stack}/layer_{number}", f"{own}.layers.{number}"
            heads = [("self_attention", "self_attn")] + [("attention", "encoder_attn")] * (stack == "decoder")
            for attention, theirs in heads:
                q, k, v = (f"{source}.{theirs}.{each}_proj" for each in "qkv")
                joined = [(q, k, v)] if attention == "self_attention" else [(q,), (k, v)]
                for index, sources in enumerate([*joined, (f"{source}.{theirs}.out_proj",)]):
                    self.linear(f"{name}/{attention}/linear_{index}", *sources)
                self.norm(f"{name}/{attention}/layer_norm", f"{source}.{theirs}_layer_norm")
            self.norm(f"{name}/ffn/layer_norm", f"{source}.final_layer_norm")
            self.linear(f"{name}/ffn/linear_0", f"{source}.fc1")
            self.linear(f"{name}/ffn/linear_1", f"{source}.fc2")


def variables(model: transformers.WhisperForConditionalGeneration, weights: str) -> Variables:
    joined = Joined(model, weights)
    found, state = joined.found, joined.state
    for stack in ("encoder", "decoder"):
        joined.stack(stack)
        joined.norm(f"{stack}/layer_norm", f"model.{stack}.layer_norm")
    for each in ("conv1", "conv2"):
        joined.put(f"encoder/{each}/weight", state[f"model.encoder.{each}.weight"], True)
        joined.put(f"encoder/{each}/bias", state[f"model.encoder.{each}.bias"])
    joined.put("decoder/embeddings/weight", state["model.decoder.embed_tokens.weight"], True)
    for name, value in {"activation": 3, "pre_norm": 1, "scale_embeddings": 0, "alibi": 0, "scale_alibi": 0}.items():
        found[f"decoder/{name}"] = np.int8(value)
    found["decoder/alignment_layer"], found["decoder/alignment_heads"] = np.int16(-1), np.int16(1)
    return found


def marian_variables(model: transformers.MarianMTModel, weights: str) -> Variables:
    """Without the last row of all that is about tokens, that of the padding."""
    joined = Joined(model, weights)
    found, state = joined.found, joined.state
    for stack in ("encoder", "decoder"):
        joined.stack(stack)
        settings = {"activation": 2, "pre_norm": 0}
        found.update({f"{stack}/{name}": np.int8(value) for name, value in settings.items()})
        found[f"{stack}/scale_embeddings"] = np.float32(model.config.d_model**0.5)
    joined.put("encoder/embeddings_0/weight", state["model.shared.weight"][:-1], True)
    joined.put("decoder/projection/bias", state["final_logits_bias"][0, :-1])
    for name in ("alibi", "alibi_use_positive_positions", "scale_alibi"):
        found[f"decoder/{name}"] = np.int8(0)
    found["decoder/start_from_zero_embedding"] = np.int8(1)
    found["encoder/embeddings_merge"] = found["encoder/multi_query_attention"] = np.int8(0)
    found["decoder/alignment_layer"], found["decoder/alignment_heads"] = np.int16(-1), np.int16(1)
    return found


def text(value: str) -> bytes:
    return struct.pack("<H", len(value.encode()) + 1) + value.encode() + b"\0"


def binary(
    content: Variables,
    aliases: dict[str, str],
    *,
    version: int = 6,
    specification: str = "WhisperSpec",
    revision: int = 3,
) -> bytes:
    parts = [struct.pack("<I", version), text(specification), struct.pack("<II", revision, len(content))]
    for name, value in sorted(content.items()):
        kind = str(value.dtype).removeprefix("torch.")
        values = value.view(torch.int16).numpy() if kind == "bfloat16" else np.asarray(value)
        parts += [text(name), struct.pack("<B", values.ndim), struct.pack(f"<{values.ndim}I", *values.shape)]
        parts += [struct.pack("<BI", TYPES[kind], values.nbytes), values.tobytes()]
    parts.append(struct.pack("<I", len(aliases)))
    parts += [text(alias) + text(name) for alias, name in sorted(aliases.items())]
    return b"".join(parts)


def vocabulary(count: int) -> list[str]:
    return [f"t{number}" for number in range(count - len(TOKENS))] + TOKENS


def tokenizer(tokens: list[str]) -> Any:
    """tokenizer.json of whole words, with the tokens that mean something as added ones."""
    words = {token: number for number, token in enumerate(tokens) if not token.startswith("<|")}
    special = {"single_word": False, "lstrip": False, "rstrip": False, "normalized": False, "special": True}
    added = [{"id": i, "content": token, **special} for i, token in enumerate(tokens) if token.startswith("<|")]
    model = {"type": "WordLevel", "vocab": words, "unk_token": "t0"}
    parts = dict.fromkeys(("truncation", "padding", "normalizer", "post_processor", "decoder"))
    return {"version": "1.0", **parts, "added_tokens": added, "pre_tokenizer": {"type": "Whitespace"}, "model": model}


def write_folder(folder: Path, content: Variables, aliases: dict[str, str] | None = None, **header: Any) -> Path:
    """A whole folder; the output projection is the embeddings."""
    folder.mkdir(parents=True, exist_ok=True)
    aliases = {"decoder/projection/weight": "decoder/embeddings/weight"} if aliases is None else aliases
    (folder / "model.bin").write_bytes(binary(content, aliases, **header))
    tokens = vocabulary(len(content["decoder/embeddings/weight"]))
    (folder / "vocabulary.json").write_text(json.dumps(tokens))
    (folder / "tokenizer.json").write_text(json.dumps(tokenizer(tokens)))
    rules = {"suppress_ids": [3, 5], "suppress_ids_begin": [4], "alignment_heads": [[0, 2]], "lang_ids": None}
    (folder / "config.json").write_text(json.dumps(rules))
    return folder


def read(path: Path) -> Variables:
    """The variables and aliases of a file, int8 as f32 by its factors, by NumPy alone."""
    content, place = path.read_bytes(), 0

    def take(form: str) -> Any:
        nonlocal place
        values = struct.unpack_from(f"<{form}", content, place)
        place += struct.calcsize(f"<{form}")
        return values[0] if len(values) == 1 else values

    def name() -> str:
        return str(take(f"{take('H')}s")[:-1].decode())

    take("I"), name(), take("I")
    raw: Variables = {}
    kinds = {0: np.float32, 1: np.int8, 2: np.int16, 3: np.int32, 4: np.float16}
    for _ in range(take("I")):
        key, shape = name(), [take("I") for _ in range(take("B"))]
        kind, size = kinds[take("B")], take("I")
        raw[key] = np.frombuffer(content, kind, size // np.dtype(kind).itemsize, place).reshape(shape)
        place += size
    for _ in range(take("I")):
        alias, target = name(), name()
        raw[alias] = raw[target]
    return {
        key: value.astype(np.float32) / raw[f"{key}_scale"].reshape(-1, *[1] * (value.ndim - 1))
        if value.dtype == np.int8 and value.ndim > 1
        else value
        for key, value in raw.items()
    }

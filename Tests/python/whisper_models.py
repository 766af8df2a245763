"""Tiny random Whisper models, saved by transformers, and features for them.

The vocabulary is laid out as a real one's: 40 words, the end, the start, languages, tasks, two further tokens, the token of
no times, and the times.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import torch
from transformers import GenerationConfig, WhisperConfig, WhisperForConditionalGeneration

from seam_abi import Array
from tiny_models import randomise

MELS, POSITIONS, TARGETS = 5, 12, 40
FRAMES = 2 * POSITIONS
END, START = 40, 41
LANGUAGES = {"<|en|>": 42, "<|de|>": 43, "<|hu|>": 44}
TASKS = {"translate": 45, "transcribe": 46}
NO_TIMES = 49
TIMES = range(50, 50 + POSITIONS + 1)
VOCABULARY = TIMES.stop

MULTILINGUAL: dict[str, Any] = {
    "is_multilingual": True,
    "lang_to_id": LANGUAGES,
    "task_to_id": TASKS,
    "no_timestamps_token_id": NO_TIMES,
    "max_initial_timestamp_index": 3,
    "max_length": TARGETS,
    "begin_suppress_tokens": [4, END],
    "suppress_tokens": [5, 6, START, 47, 48],
    "alignment_heads": [[0, 1]],
    "prev_sot_token_id": 47,
    "return_timestamps": False,
}
ENGLISH: dict[str, Any] = {
    "is_multilingual": False,
    "forced_decoder_ids": [[1, NO_TIMES]],
    "no_timestamps_token_id": NO_TIMES,
    "max_length": 12,
    "begin_suppress_tokens": [4, END],
    "suppress_tokens": [5, 6],
}


def whisper(**changes: Any) -> WhisperForConditionalGeneration:
    sizes = {
        "vocab_size": VOCABULARY,
        "num_mel_bins": MELS,
        "d_model": 24,
        "encoder_layers": 2,
        "decoder_layers": 3,
        "encoder_attention_heads": 4,
        "decoder_attention_heads": 4,
        "encoder_ffn_dim": 40,
        "decoder_ffn_dim": 28,
        "max_source_positions": POSITIONS,
        "max_target_positions": TARGETS,
        "pad_token_id": END,
        "bos_token_id": END,
        "eos_token_id": END,
        "decoder_start_token_id": START,
        "begin_suppress_tokens": None,
    }
    return WhisperForConditionalGeneration(WhisperConfig(**(sizes | changes)))


def save(path: Path, seed: int = 0, settings: dict[str, Any] | None = None, **changes: Any) -> Path:
    """A model folder; `settings`: of generation_config.json beside the token ids, `changes`: of config.json."""
    model = whisper(**changes)
    randomise(model, seed)
    with torch.no_grad():
        # What is heard decides what is written, ends come often, and so texts of several lengths.
        for layer in model.model.decoder.layers:
            layer.encoder_attn.v_proj.weight *= 3
            layer.encoder_attn.out_proj.weight *= 3
        model.model.decoder.embed_tokens.weight[END] *= 3
    model.save_pretrained(path)
    ids = {name: getattr(model.config, name) for name in ("pad_token_id", "bos_token_id", "eos_token_id")}
    every = ids | {"decoder_start_token_id": START} | (settings or {})
    (path / "generation_config.json").write_text(json.dumps(every))
    return path


def reference(path: Path, attention: str = "eager") -> WhisperForConditionalGeneration:
    """The folder as transformers reads it, computing in f32."""
    model = WhisperForConditionalGeneration.from_pretrained(path, dtype=torch.float32, attn_implementation=attention)
    model.generation_config = GenerationConfig.from_pretrained(path)
    # Whisper's own constructor freezes them; transformers 5.24 gives those of an opened folder gradients.
    model.model.encoder.embed_positions.requires_grad_(False)
    return model.eval()


def features(seed: int, count: int = 3, frames: int = FRAMES) -> Array:
    """[count, frames, MELS]."""
    return np.random.default_rng(seed).normal(size=(count, frames, MELS)).astype(np.float32)


def labels(seed: int, count: int = 3, length: int = 7) -> Array:
    """Words behind the tokens that Whisper starts with, some rows shorter."""
    random = np.random.default_rng(seed + 100)
    found = random.integers(0, END, (count, length)).astype(np.int32)
    for row in range(1, count):
        found[row, length - row :] = -100
    return found


def shifted(given: Array) -> Array:
    """The labels behind the start token, as both sides shift them."""
    start = np.full((len(given), 1), START, np.int32)
    return np.hstack([start, np.where(given < 0, END, given)[:, :-1]]).astype(np.int32)


def inputs(frames: Array, target: Array) -> dict[str, torch.Tensor]:
    """Of a forward of transformers, whose features are [batch, width, frames]."""
    return {
        "input_features": torch.from_numpy(frames).transpose(1, 2),
        "decoder_input_ids": torch.from_numpy(shifted(target)).long(),
    }

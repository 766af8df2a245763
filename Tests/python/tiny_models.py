"""Tiny random models of every family that SeamKit opens, saved by transformers, and batches for them."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from safetensors.torch import load_file, save_file
from tokenizers import Tokenizer
from tokenizers.models import WordLevel
from tokenizers.pre_tokenizers import WhitespaceSplit
from tokenizers.processors import TemplateProcessing
from transformers import (
    AutoModelForSeq2SeqLM,
    BartConfig,
    BartForConditionalGeneration,
    BlenderbotConfig,
    BlenderbotForConditionalGeneration,
    BlenderbotSmallConfig,
    BlenderbotSmallForConditionalGeneration,
    LongT5Config,
    LongT5ForConditionalGeneration,
    M2M100Config,
    M2M100ForConditionalGeneration,
    MarianConfig,
    MarianMTModel,
    MBartConfig,
    MBartForConditionalGeneration,
    MT5Config,
    MT5ForConditionalGeneration,
    MvpConfig,
    MvpForConditionalGeneration,
    PegasusConfig,
    PegasusForConditionalGeneration,
    PLBartConfig,
    PLBartForConditionalGeneration,
    PreTrainedModel,
    T5Config,
    T5ForConditionalGeneration,
    UMT5Config,
    UMT5ForConditionalGeneration,
)
from transformers.utils import logging

from seam_abi import Array
from seam_objects import Batch

logging.disable_progress_bar()

# The second is of targets where they have a vocabulary of their own; labels stay below it everywhere.
VOCABULARY, TARGET_VOCABULARY = 61, 53
PAD, END, START, FIRST_WORD = 1, 2, 3, 4
SPECIAL: dict[str, Any] = {
    "pad_token_id": PAD,
    "eos_token_id": END,
    "bos_token_id": 0,
    "decoder_start_token_id": START,
    "forced_eos_token_id": None,
}


def t5(config: type[Any] = T5Config, model: type[Any] = T5ForConditionalGeneration, **changes: Any) -> PreTrainedModel:
    sizes = {
        # d_kv is not d_model / num_heads, and distances reach beyond the last bucket. The decoder has fewer layers:
        # transformers 5 cannot generate with more than the encoder has, its cache counts those.
        "vocab_size": VOCABULARY,
        "d_model": 24,
        "d_kv": 5,
        "d_ff": 40,
        "num_layers": 3,
        "num_decoder_layers": 2,
        "num_heads": 4,
        "relative_attention_num_buckets": 8,
        "relative_attention_max_distance": 10,
    }
    return model(config(**(sizes | SPECIAL | changes)))


def bart(
    config: type[Any] = BartConfig, model: type[Any] = BartForConditionalGeneration, **changes: Any
) -> PreTrainedModel:
    sizes = {
        "vocab_size": VOCABULARY,
        "d_model": 24,
        "encoder_layers": 2,
        "decoder_layers": 3,
        "encoder_attention_heads": 4,
        "decoder_attention_heads": 4,
        "encoder_ffn_dim": 40,
        "decoder_ffn_dim": 28,
        "max_position_embeddings": 40,
    }
    return model(config(**(sizes | SPECIAL | changes)))


def marian(**changes: Any) -> PreTrainedModel:
    return bart(MarianConfig, MarianMTModel, **({"activation_function": "swish"} | changes))


@dataclass(frozen=True)
class Variant:
    build: Callable[[], PreTrainedModel]
    # Adds a head of its own to a file that transformers 5 would save without one, as transformers 4 did.
    separate_head: bool = False


VARIANTS = {
    "t5-1.0": Variant(lambda: t5()),
    "t5-1.1": Variant(lambda: t5(feed_forward_proj="gated-gelu", tie_word_embeddings=False), separate_head=True),
    "t5-gated-silu": Variant(lambda: t5(feed_forward_proj="gated-silu", num_layers=2)),
    "mt5": Variant(lambda: t5(MT5Config, MT5ForConditionalGeneration), separate_head=True),
    "bart": Variant(lambda: bart()),
    "bart-scaled": Variant(lambda: bart(scale_embedding=True, encoder_layers=3, decoder_layers=1)),
    "mbart": Variant(lambda: bart(MBartConfig, MBartForConditionalGeneration, scale_embedding=True)),
    "marian": Variant(lambda: marian(scale_embedding=True)),
    "marian-relu": Variant(lambda: marian(activation_function="relu")),
    "marian-separate": Variant(
        lambda: marian(share_encoder_decoder_embeddings=False, tie_word_embeddings=False, decoder_vocab_size=VOCABULARY)
    ),
    "marian-two-vocabularies": Variant(
        lambda: marian(
            share_encoder_decoder_embeddings=False, tie_word_embeddings=False, decoder_vocab_size=TARGET_VOCABULARY
        )
    ),
    "pegasus": Variant(lambda: bart(PegasusConfig, PegasusForConditionalGeneration, activation_function="relu")),
    "umt5": Variant(lambda: t5(UMT5Config, UMT5ForConditionalGeneration)),
    # Blocks of three tokens, and sums of four: texts have several of both, and some rows no sum.
    "longt5": Variant(lambda: t5(LongT5Config, LongT5ForConditionalGeneration, local_radius=2)),
    "longt5-global": Variant(
        lambda: t5(
            LongT5Config,
            LongT5ForConditionalGeneration,
            local_radius=2,
            encoder_attention_type="transient-global",
            global_block_size=4,
            feed_forward_proj="gated-gelu",
            tie_word_embeddings=False,
        )
    ),
    "m2m100": Variant(lambda: bart(M2M100Config, M2M100ForConditionalGeneration)),
    "mvp": Variant(lambda: bart(MvpConfig, MvpForConditionalGeneration)),
    "plbart": Variant(lambda: bart(PLBartConfig, PLBartForConditionalGeneration)),
    "blenderbot": Variant(
        lambda: bart(BlenderbotConfig, BlenderbotForConditionalGeneration, encoder_no_repeat_ngram_size=0)
    ),
    "blenderbot-small": Variant(
        lambda: bart(BlenderbotSmallConfig, BlenderbotSmallForConditionalGeneration, scale_embedding=True)
    ),
}


def randomise(model: PreTrainedModel, seed: int) -> None:
    """Values that leave nothing at its default: every bias, gain and constant counts."""
    generator = torch.Generator().manual_seed(seed)
    sinusoidal = model.config.model_type in ("marian", "pegasus")
    with torch.no_grad():
        for name, value in [*model.named_parameters(), *model.named_buffers()]:
            noise = torch.randn(value.shape, generator=generator)
            if "embed_positions" in name and sinusoidal:
                continue
            if "embed" in name or "shared" in name or "attention_bias" in name:
                value.copy_(noise * 0.5)
            elif value.dim() > 1 and name != "final_logits_bias":
                value.copy_(noise * 0.2)
            else:
                # A weight of one axis is the gain of a norm.
                value.copy_(noise * 0.2 + name.endswith("weight"))
            likely_end(value)


def likely_end(value: torch.Tensor) -> None:
    """Makes the end token come often, and so sequences of several lengths."""
    if value.dim() == 2 and value.shape[0] in (VOCABULARY, TARGET_VOCABULARY):
        value[END] *= 1.7
    elif value.shape in ((1, VOCABULARY), (1, TARGET_VOCABULARY)):
        value[0, END] += 0.5


def save(variant: str, path: Path, seed: int = 0, dtype: torch.dtype = torch.float32, **options: Any) -> Path:
    """A model folder; `options` go to save_pretrained."""
    chosen = VARIANTS[variant]
    model = chosen.build()
    randomise(model, seed)
    model.to(dtype).save_pretrained(path, **options)
    if chosen.separate_head:
        add_head(path, dtype, seed)
    return path


def add_head(path: Path, dtype: torch.dtype, seed: int) -> None:
    file, config = path / "model.safetensors", json.loads((path / "config.json").read_text())
    head = torch.randn(config["vocab_size"], config["d_model"], generator=torch.Generator().manual_seed(seed + 1)) * 0.2
    likely_end(head)
    save_file(load_file(file) | {"lm_head.weight": head.to(dtype)}, file, {"format": "pt"})
    (path / "config.json").write_text(json.dumps(config | {"tie_word_embeddings": False}))


def add_tokenizer(path: Path) -> None:
    """Words w4, w5 ... by their ids; an end token closes every text."""
    names = ["<unk>", "<pad>", "</s>", "<s>"] + [f"w{index}" for index in range(FIRST_WORD, VOCABULARY)]
    tokenizer = Tokenizer(WordLevel({name: index for index, name in enumerate(names)}, unk_token="<unk>"))
    tokenizer.pre_tokenizer = WhitespaceSplit()
    tokenizer.post_processor = TemplateProcessing(single="$A </s>", special_tokens=[("</s>", END)])
    tokenizer.add_special_tokens(names[:FIRST_WORD])
    tokenizer.save(str(path / "tokenizer.json"))


def reference(path: Path, dtype: torch.dtype | str = torch.float32) -> PreTrainedModel:
    """The folder as transformers reads it, computing in f32 unless another type is asked for."""
    model = AutoModelForSeq2SeqLM.from_pretrained(path, dtype=dtype, attn_implementation="eager")
    if model.config.model_type in ("marian", "pegasus"):
        # Sinusoids are no weights to train; transformers 5.24 gives those of an opened folder gradients.
        for name, parameter in model.named_parameters():
            parameter.requires_grad_("embed_positions" not in name)
    return model.eval()


@dataclass(frozen=True)
class Tokens:
    """Sources padded at the end, one with a hidden token inside, and labels with ignored positions."""

    input_ids: Array
    attention_mask: Array
    labels: Array
    start: int = START
    pad: int = PAD

    @property
    def batch(self) -> Batch:
        return Batch(self.input_ids, self.attention_mask, self.labels)

    @property
    def source(self) -> Batch:
        return Batch(self.input_ids, self.attention_mask)

    @property
    def decoder_input_ids(self) -> Array:
        """The labels shifted right, which is what SeamKit makes of them too."""
        start = np.full((len(self.labels), 1), self.start, np.int32)
        return np.hstack([start, np.where(self.labels < 0, self.pad, self.labels)[:, :-1]]).astype(np.int32)

    @property
    def inputs(self) -> dict[str, torch.Tensor]:
        names = ("input_ids", "attention_mask", "decoder_input_ids")
        return {name: torch.from_numpy(getattr(self, name)).long() for name in names}


def tokens(seed: int, count: int = 4, source: int = 17, target: int = 9, vocabulary: int = VOCABULARY) -> Tokens:
    random = np.random.default_rng(seed)
    ids = random.integers(FIRST_WORD, vocabulary, (count, source)).astype(np.int32)
    labels = random.integers(FIRST_WORD, TARGET_VOCABULARY, (count, target)).astype(np.int32)
    mask = np.ones_like(ids)
    for row in range(1, count):
        length = int(random.integers(2, source + 1))
        ids[row, length - 1 :], mask[row, length:] = PAD, 0
        ids[row, length - 1] = END
        labels[row, int(random.integers(2, target + 1)) :] = -100
    mask[0, 3] = 0
    return Tokens(ids, mask, labels)


def until(end: int, row: list[int]) -> list[int]:
    """Tokens up to the first `end`, with it."""
    return row[: row.index(end) + 1] if end in row else row

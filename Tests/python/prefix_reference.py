"""Prefixes in transformers, and the tiny models of every family that they are compared on.

Where a model knows a past, in a decoder and in a model with an encoder alone, the prefix is its past. The
encoder of an encoder-decoder and cross-attention know none: an attention function of our own puts the prefix before
their keys and values there, without bias, position and mask.
"""

from __future__ import annotations

import inspect
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
import torch
import transformers as hf
from transformers import DynamicCache, EncoderDecoderCache, PreTrainedModel
from transformers.masking_utils import eager_mask

from seam_abi import Array
from seam_objects import Adapter, Backbone, Batch, Session
from single_stack import LLAMA3, bert, gemma, gpt2, llama, neox, padded, places
from tiny_models import Tokens, add_head, bart, marian, randomise, t5, tokens

# What a model calls its past: transformers 5.24 renamed it, and takes the older name until 5.40.
PAST = "cache" if "cache" in inspect.signature(hf.LlamaForCausalLM.forward).parameters else "past_key_values"
# Room for the longest prefix and a text behind it.
POSITIONS = 80
ROOM = {"max_position_embeddings": POSITIONS}

ENCODER_DECODERS: dict[str, Callable[[], PreTrainedModel]] = {
    "t5": lambda: t5(),
    "mt5": lambda: t5(hf.MT5Config, hf.MT5ForConditionalGeneration),
    "bart": lambda: bart(**ROOM),
    "mbart": lambda: bart(hf.MBartConfig, hf.MBartForConditionalGeneration, scale_embedding=True, **ROOM),
    # As deep as each other: the cache that transformers makes for a generation counts the encoder's layers.
    "marian": lambda: marian(scale_embedding=True, **ROOM),
    "pegasus": lambda: bart(hf.PegasusConfig, hf.PegasusForConditionalGeneration, activation_function="relu", **ROOM),
    "umt5": lambda: t5(hf.UMT5Config, hf.UMT5ForConditionalGeneration),
    "m2m_100": lambda: bart(hf.M2M100Config, hf.M2M100ForConditionalGeneration, **ROOM),
    "blenderbot-small": lambda: bart(hf.BlenderbotSmallConfig, hf.BlenderbotSmallForConditionalGeneration, **ROOM),
}
ENCODERS: dict[str, Callable[[], PreTrainedModel]] = {
    "bert": lambda: bert(**ROOM),
    # Two rows before that of the first position.
    "roberta": lambda: bert(
        hf.RobertaConfig, hf.RobertaForMaskedLM, type_vocab_size=1, max_position_embeddings=POSITIONS + 2
    ),
    "xlm-roberta": lambda: bert(
        hf.XLMRobertaConfig, hf.XLMRobertaForMaskedLM, type_vocab_size=1, max_position_embeddings=POSITIONS + 2
    ),
}
DECODERS: dict[str, Callable[[], PreTrainedModel]] = {
    "gpt2": lambda: gpt2(n_positions=POSITIONS),
    "llama": lambda: llama(**ROOM),
    "llama-3": lambda: llama(rope_parameters=LLAMA3, num_key_value_heads=1, head_dim=10, **ROOM),
    "mistral": lambda: llama(hf.MistralConfig, hf.MistralForCausalLM, sliding_window=None, **ROOM),
    "mistral-window": lambda: llama(hf.MistralConfig, hf.MistralForCausalLM, sliding_window=9, **ROOM),
    "qwen2": lambda: llama(hf.Qwen2Config, hf.Qwen2ForCausalLM, tie_word_embeddings=True, **ROOM),
    "gemma2": lambda: gemma(
        hf.Gemma2Config, hf.Gemma2ForCausalLM, attn_logit_softcapping=2.0, final_logit_softcapping=3.0, **ROOM
    ),
    "gpt-neox": lambda: neox(**ROOM),
}
FAMILIES = ENCODER_DECODERS | ENCODERS | DECODERS
# Of layers with a window, to which transformers counts padding between what stands before a text and the text. SeamKit's
# native engine does not.
WINDOWED = ("mistral-window", "gemma2")

# By attention, the numbers of a prefix: [layers, 2, kv heads, tokens, head_dim].
Prefix = dict[str, torch.Tensor]


def save(name: str, path: Path, seed: int = 0) -> Path:
    model = FAMILIES[name]()
    randomise(model, seed)
    model.save_pretrained(path)
    if name == "mt5":
        add_head(path, torch.float32, seed)
    return path


# ---- Attention with a prefix before its keys and values

_joined: dict[torch.nn.Module, torch.Tensor] = {}


def joined_attention(
    module: torch.nn.Module,
    query: torch.Tensor,
    key: torch.Tensor,
    value: torch.Tensor,
    attention_mask: torch.Tensor | None,
    scaling: float = 1.0,
    position_bias: torch.Tensor | None = None,
    softcap: float | None = None,
    **_: Any,
) -> tuple[torch.Tensor, torch.Tensor]:
    """softmax(q [P_K; K]^T scale + [0; bias + mask]) [P_V; V], the products capped before anything is added."""
    added = torch.zeros(1, 1, 1, key.shape[2])
    for each in (position_bias, attention_mask):
        added = added if each is None else added + each
    if (prefix := _joined.get(module)) is not None:
        key, value = (
            torch.cat([own.expand(len(key), -1, -1, -1), of_text], 2)
            for own, of_text in zip(prefix, (key, value), strict=True)
        )
        added = torch.nn.functional.pad(added, (prefix.shape[2], 0))
    key, value = (each.repeat_interleave(query.shape[1] // each.shape[1], 1) for each in (key, value))
    scores = query @ key.transpose(2, 3) * scaling
    scores = scores if softcap is None else softcap * torch.tanh(scores / softcap)
    weights = torch.softmax(scores + added, -1)
    return (weights @ value).transpose(1, 2).contiguous(), weights


hf.AttentionInterface.register("joined", joined_attention)
hf.AttentionMaskInterface.register("joined", eager_mask)


def attentions(stack: torch.nn.Module, *names: str) -> list[torch.nn.Module]:
    """The attention modules of a stack, layer by layer."""
    return [module for name, module in stack.named_modules() if name.split(".")[-1] in names]


@contextmanager
def joined_prefixes(entries: Mapping[torch.nn.Module, torch.Tensor]) -> Iterator[None]:
    """While it lasts, prefixes [2, kv heads, tokens, head_dim] stand in these modules of a model with "joined" as its
    attn_implementation."""
    _joined.update(entries)
    try:
        yield
    finally:
        _joined.clear()


def prefixes_beside_a_cache(model: Any, prefix: Prefix) -> Any:
    """While it lasts, prefixes of the encoder and of cross-attention stand in the attention modules."""
    entries: dict[torch.nn.Module, torch.Tensor] = {}
    modules = {"encoder": ("SelfAttention", "self_attn"), "cross": ("EncDecAttention", "encoder_attn")}
    for attention, names in modules.items():
        if attention in prefix and model.config.is_encoder_decoder:
            stack = model.get_encoder() if attention == "encoder" else model.get_decoder()
            entries |= zip(attentions(stack, *names), prefix[attention], strict=True)
    return joined_prefixes(entries)


# ---- The models


class Reference:
    """A saved model as transformers reads it, computing in f32, with a prefix."""

    def __init__(self, name: str, path: Path):
        self.model: Any = (
            type(FAMILIES[name]())
            .from_pretrained(
                path, dtype=torch.float32, attn_implementation="joined" if name in ENCODER_DECODERS else "eager"
            )
            .eval()
        )
        self.name = name
        self.config = self.model.config

    @property
    def counts_padding(self) -> bool:
        """With a window, transformers counts padding between a prefix and a text to what a token sees: there the rows are
        computed one by one, without padding, which SeamKit's are equal to."""
        return getattr(self.config, "sliding_window", None) is not None

    def shape(self, attention: str, length: int) -> tuple[int, ...]:
        config = self.config
        heads = getattr(config, "num_key_value_heads", None) or config.num_attention_heads
        width = getattr(config, "d_kv", None) or getattr(config, "head_dim", None)
        layers = config.num_hidden_layers
        if self.name in ENCODER_DECODERS:
            stack = self.model.get_encoder() if attention == "encoder" else self.model.get_decoder()
            layers = len(attentions(stack, "SelfAttention", "self_attn"))
        return layers, 2, heads, length, width or config.hidden_size // config.num_attention_heads

    def prefix(self, length: int, seed: int, *chosen: str) -> Prefix:
        generator = torch.Generator().manual_seed(seed)
        return {each: torch.randn(self.shape(each, length), generator=generator) for each in chosen}

    def logits(self, given: Batch, prefix: Prefix) -> torch.Tensor:
        """At every position of the target, or of the text."""
        ids, mask = of(given.input_ids), of(given.attention_mask)
        count = len(ids)
        if self.counts_padding and mask is not None and (mask[:, 0] == 0).any():
            rows = []
            for row in range(count):
                start = int(mask[row].argmax())
                alone = Batch(given.input_ids[row : row + 1, start:], given.attention_mask[row : row + 1, start:])
                rows.append(torch.nn.functional.pad(self.logits(alone, prefix), (0, 0, start, 0)))
            return torch.cat(rows)
        if self.name in ENCODER_DECODERS:
            past = EncoderDecoderCache(
                cache(prefix["decoder"], count) if "decoder" in prefix else DynamicCache(), DynamicCache()
            )
            with self.joined(prefix):
                return self.model(
                    input_ids=ids, attention_mask=mask, decoder_input_ids=of(given.decoder_input_ids), **{PAST: past}
                ).logits
        if self.name in DECODERS:
            numbers = prefix["decoder"]
            length = numbers.shape[3]
            where = places(np.ones_like(given.input_ids) if given.attention_mask is None else given.attention_mask)
            return self.model(
                input_ids=ids,
                attention_mask=behind(mask, length),
                position_ids=of(where) + length,
                **{PAST: cache(numbers, count)},
            ).logits
        states = self.states(given, prefix)
        return self.model.cls(states) if self.name == "bert" else self.model.lm_head(states)

    def states(self, given: Batch, prefix: Prefix) -> torch.Tensor:
        """What an encoder-only model's head reads."""
        ids, numbers = of(given.input_ids), prefix["encoder"]
        return self.model.base_model(
            input_ids=ids,
            attention_mask=behind(of(given.attention_mask), numbers.shape[3]),
            **{PAST: cache(numbers, len(ids))},
        ).last_hidden_state

    def generate(self, given: Batch, prefix: Prefix, **options: Any) -> tuple[list[list[int]], Any]:
        """The new tokens of each sequence, and the beams' scores. A mask longer than the tokens tells transformers that
        the cache holds others before them."""
        ids, mask, numbers = of(given.input_ids), of(given.attention_mask), prefix["decoder"]
        if self.counts_padding and mask is not None and (mask[:, 0] == 0).any():
            rows, scores = [], []
            for row in range(len(ids)):
                start = int(mask[row].argmax())
                alone = Batch(given.input_ids[row : row + 1, start:], given.attention_mask[row : row + 1, start:])
                tokens, score = self.generate(alone, prefix, **options)
                rows += tokens
                scores += [] if score is None else [score]
            return rows, torch.cat(scores) if scores else None
        count, length = len(ids), numbers.shape[3]
        past: Any = cache(numbers, count * options.get("num_beams", 1))
        if self.name in ENCODER_DECODERS:
            past, start = EncoderDecoderCache(past, DynamicCache()), self.config.decoder_start_token_id
            inputs = {
                "input_ids": ids,
                "attention_mask": mask,
                "decoder_input_ids": torch.full((count, 1), start),
                "decoder_attention_mask": torch.ones(count, length + 1, dtype=torch.long),
            }
        else:
            inputs = {"input_ids": ids, "attention_mask": behind(mask, length)}
        with self.joined(prefix):
            found = self.model.generate(
                **inputs, **{PAST: past}, do_sample=False, return_dict_in_generate=True, output_scores=True, **options
            )
        begun = 1 if self.name in ENCODER_DECODERS else ids.shape[1]
        return found.sequences[:, begun:].tolist(), found.get("sequences_scores")

    def loss(self, given: Batch, prefix: Prefix) -> torch.Tensor:
        """The mean over the labels that count; in a decoder-only model a label is the token at its own position."""
        logits, labels = self.logits(given, prefix), of(given.labels)
        if self.name in DECODERS:
            logits, labels = logits[:, :-1], labels[:, 1:]
        return torch.nn.functional.cross_entropy(logits.flatten(0, 1), labels.flatten())

    def joined(self, prefix: Prefix) -> Any:
        return prefixes_beside_a_cache(self.model, prefix)


def for_peft(model: Any) -> Any:
    """A model of PEFT whose generation works. PEFT 0.21.2 puts its prefix under the older name beside the empty cache that
    `generate` of transformers 5.24 made under the newer one, which wins: the prefix would be left out. Where PEFT knows
    the newer name, this changes nothing."""
    prepare = model.base_model_prepare_inputs_for_generation

    def renamed(*args: Any, **kwargs: Any) -> dict[str, Any]:
        given: dict[str, Any] = prepare(*args, **kwargs)
        return {"past_key_values" if name == PAST else name: each for name, each in given.items()}

    model.base_model_prepare_inputs_for_generation = renamed
    return model


def of(array: Array | None) -> Any:
    return None if array is None else torch.from_numpy(array).long()


def behind(mask: torch.Tensor | None, length: int) -> torch.Tensor | None:
    """The mask of a text with the prefix before it, which is seen."""
    return None if mask is None else torch.cat([mask.new_ones(len(mask), length), mask], 1)


def cache(numbers: torch.Tensor, count: int) -> DynamicCache:
    past = DynamicCache()
    for layer, (keys, values) in enumerate(numbers):
        past.update(keys.expand(count, -1, -1, -1), values.expand(count, -1, -1, -1), layer)
    return past


# ---- SeamKit's side


def adapter(backbone: Backbone, prefix: Prefix) -> list[Adapter]:
    """Plain prefixes with these numbers, one adapter for each attention."""
    made = []
    for attention, numbers in prefix.items():
        options = {"attention": attention, "prefix_length": numbers.shape[3], "reparameterization": "none"}
        each = backbone.adapter("prefix-tuning", options)
        [(name, values)] = each.parameters.items()
        assert name == f"{attention}.prefix" and values.shape == numbers.shape
        values[...] = numbers.detach().numpy()
        made.append(each)
    return made


def session(backbone: Backbone, prefix: Prefix) -> Session:
    return backbone.session(*adapter(backbone, prefix))


def texts(name: str, seed: int, count: int, padding: str, labels: bool = True) -> Batch:
    """Texts of several lengths padded on a side ("none", "behind", "front"), and targets for an encoder-decoder."""
    if name in ENCODER_DECODERS:
        given: Tokens = tokens(seed, count=count)
        mask = None if padding == "none" else given.attention_mask
        targets = (given.labels, given.decoder_input_ids) if labels else ()
        return Batch(given.input_ids, mask, *targets)
    ids, mask = padded(seed, padding == "front", count=count, length=13)
    if padding == "none":
        return Batch(ids, labels=ids if labels else None)
    # The first row has no padding: a hidden token inside, then.
    mask[0, 4] = 0
    # What a hidden token says of its successor is nobody's.
    told = (mask == 1) & (np.roll(mask, 1, 1) == 1)
    return Batch(ids, mask, np.where(told, ids, -100) if labels else None)

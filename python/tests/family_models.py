"""Tiny random models of families that nobody has described to SeamKit, what they are given, and the same by hand."""

from __future__ import annotations

import inspect
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import torch
import transformers as hf
from transformers import EncoderDecoderCache
from transformers.modeling_outputs import BaseModelOutput

import seamkit
from prefix_reference import PAST, behind, cache, joined_prefixes
from seamkit.torch.prefixes import computed
from single_stack import bert, llama, padded, places
from tiny_models import START, bart, randomise, t5, tokens

ROOM = {"max_position_embeddings": 80}
LED = {"max_encoder_position_embeddings": 64, "max_decoder_position_embeddings": 80, "attention_window": 8}
EXPERTS = {"num_experts_per_tok": 2, "moe_intermediate_size": 16, "decoder_sparse_step": 1}
STACK = {"num_key_value_heads": 2, "head_dim": 10, "sliding_window": 60, "query_pre_attn_scalar": 10}
# Each half of the frames that the convolutions read.
FRAMES, MELS = 40, 8


def xlnet() -> Any:
    return hf.XLNetLMHeadModel(hf.XLNetConfig(vocab_size=61, d_model=24, n_layer=3, n_head=4, d_inner=40))


def mpt(**changes: Any) -> Any:
    return hf.MptForCausalLM(
        hf.MptConfig(vocab_size=61, d_model=24, n_heads=4, n_layers=3, max_seq_len=80, expansion_ratio=2, **changes)
    )


def deepseek() -> Any:
    return llama(
        hf.DeepseekV2Config,
        hf.DeepseekV2ForCausalLM,
        num_key_value_heads=4,
        kv_lora_rank=8,
        q_lora_rank=8,
        qk_nope_head_dim=6,
        qk_rope_head_dim=4,
        v_head_dim=6,
        n_routed_experts=4,
        num_experts_per_tok=2,
        moe_intermediate_size=16,
        n_shared_experts=1,
        n_group=1,
        topk_group=1,
        head_dim=4,
        **ROOM,
    )


def prophetnet() -> Any:
    return hf.ProphetNetForConditionalGeneration(
        hf.ProphetNetConfig(
            vocab_size=61,
            hidden_size=24,
            encoder_ffn_dim=40,
            num_encoder_layers=3,
            num_encoder_attention_heads=4,
            decoder_ffn_dim=40,
            num_decoder_layers=3,
            num_decoder_attention_heads=4,
            max_position_embeddings=80,
            decoder_start_token_id=START,
        )
    )


def t5gemma() -> Any:
    """The encoder is narrower than the decoder, and has other heads."""
    target = hf.T5GemmaModuleConfig(
        vocab_size=61,
        hidden_size=24,
        num_hidden_layers=3,
        num_attention_heads=4,
        intermediate_size=40,
        pad_token_id=1,
        bos_token_id=0,
        eos_token_id=2,
        **STACK,
        **ROOM,
    )
    source = hf.T5GemmaModuleConfig(
        **(
            target.to_dict()
            | {
                "hidden_size": 16,
                "num_attention_heads": 2,
                "num_key_value_heads": 1,
                "head_dim": 8,
                "num_hidden_layers": 2,
                "layer_types": None,
            }
        )
    )
    return hf.T5GemmaForConditionalGeneration(
        hf.T5GemmaConfig(
            encoder=source,
            decoder=target,
            vocab_size=61,
            pad_token_id=1,
            bos_token_id=0,
            eos_token_id=2,
            decoder_start_token_id=START,
            tie_word_embeddings=False,
        )
    )


def two_berts() -> Any:
    source = hf.BertConfig(
        vocab_size=61, hidden_size=16, num_hidden_layers=2, num_attention_heads=2, intermediate_size=40, **ROOM
    )
    target = hf.BertConfig(
        vocab_size=61, hidden_size=24, num_hidden_layers=3, num_attention_heads=4, intermediate_size=40, **ROOM
    )
    config = hf.EncoderDecoderConfig.from_encoder_decoder_configs(source, target)
    config.decoder_start_token_id, config.pad_token_id, config.eos_token_id = START, 1, 2
    return hf.EncoderDecoderModel(config)


def pictures() -> Any:
    source = hf.ViTConfig(
        hidden_size=16, num_hidden_layers=2, num_attention_heads=2, intermediate_size=40, image_size=16, patch_size=8
    )
    target = hf.GPT2Config(
        vocab_size=61, n_embd=24, n_layer=3, n_head=4, n_positions=80, bos_token_id=0, eos_token_id=2
    )
    config = hf.VisionEncoderDecoderConfig.from_encoder_decoder_configs(source, target)
    config.decoder_start_token_id, config.pad_token_id, config.eos_token_id = START, 1, 2
    return hf.VisionEncoderDecoderModel(config)


def whisper() -> Any:
    return bart(
        hf.WhisperConfig,
        hf.WhisperForConditionalGeneration,
        num_mel_bins=MELS,
        max_source_positions=FRAMES // 2,
        max_target_positions=80,
        begin_suppress_tokens=None,
    )


def speech_to_text() -> Any:
    """Its encoder is given the mask of its frames."""
    return bart(
        hf.Speech2TextConfig,
        hf.Speech2TextForConditionalGeneration,
        input_feat_per_channel=MELS,
        conv_channels=16,
        num_conv_layers=2,
        max_source_positions=60,
        max_target_positions=80,
    )


def falcon(**changes: Any) -> Any:
    return llama(hf.FalconConfig, hf.FalconForCausalLM, **ROOM, **changes)


ENCODERS: dict[str, Callable[[], Any]] = {
    "albert": lambda: bert(hf.AlbertConfig, hf.AlbertForMaskedLM, embedding_size=12, **ROOM),
    "camembert": lambda: bert(
        hf.CamembertConfig, hf.CamembertForMaskedLM, type_vocab_size=1, max_position_embeddings=82
    ),
    "deberta": lambda: bert(
        hf.DebertaConfig, hf.DebertaForMaskedLM, relative_attention=True, pos_att_type=["c2p", "p2c"], **ROOM
    ),
    "deberta-v2": lambda: bert(
        hf.DebertaV2Config, hf.DebertaV2ForMaskedLM, relative_attention=True, pos_att_type=["c2p", "p2c"], **ROOM
    ),
    "distilbert": lambda: bert(hf.DistilBertConfig, hf.DistilBertForMaskedLM, **ROOM),
    "electra": lambda: bert(hf.ElectraConfig, hf.ElectraForMaskedLM, embedding_size=12, **ROOM),
    "modernbert": lambda: bert(hf.ModernBertConfig, hf.ModernBertForMaskedLM, cls_token_id=0, sep_token_id=2, **ROOM),
    "mpnet": lambda: bert(hf.MPNetConfig, hf.MPNetForMaskedLM, max_position_embeddings=82),
    "reformer": lambda: bert(
        hf.ReformerConfig,
        hf.ReformerForMaskedLM,
        is_decoder=False,
        axial_pos_embds=False,
        attention_head_size=6,
        feed_forward_size=40,
        **ROOM,
    ),
    "xlnet": xlnet,
}
# Those whose modules take a past.
MOVED_ENCODERS = ("camembert", "electra")
DECODERS: dict[str, Callable[[], Any]] = {
    # One half of a pair, which has layers and heads of its own.
    "bart": lambda: bart(
        model=hf.BartForCausalLM,
        is_encoder_decoder=False,
        is_decoder=True,
        encoder_attention_heads=2,
        encoder_layers=3,
        decoder_layers=2,
        **ROOM,
    ),
    "bloom": lambda: llama(hf.BloomConfig, hf.BloomForCausalLM),
    "falcon": lambda: falcon(),
    "falcon-alibi": lambda: falcon(alibi=True, multi_query=False),
    "falcon-new": lambda: falcon(new_decoder_architecture=True, num_kv_heads=2),
    "gemma": lambda: llama(hf.GemmaConfig, hf.GemmaForCausalLM, head_dim=10, **ROOM),
    "gemma2": lambda: llama(hf.Gemma2Config, hf.Gemma2ForCausalLM, **STACK, **ROOM),
    "gemma3_text": lambda: llama(hf.Gemma3TextConfig, hf.Gemma3ForCausalLM, **STACK, **ROOM),
    "gpt_bigcode": lambda: llama(hf.GPTBigCodeConfig, hf.GPTBigCodeForCausalLM, **ROOM),
    "gpt_neo": lambda: llama(
        hf.GPTNeoConfig,
        hf.GPTNeoForCausalLM,
        attention_types=[[["global", "local", "global"], 1]],
        window_size=60,
        **ROOM,
    ),
    "gpt_neox": lambda: llama(hf.GPTNeoXConfig, hf.GPTNeoXForCausalLM, num_key_value_heads=4, **ROOM),
    "mixtral": lambda: llama(
        hf.MixtralConfig, hf.MixtralForCausalLM, num_local_experts=4, num_experts_per_tok=2, **ROOM
    ),
    "mpt": lambda: mpt(),
    "olmo": lambda: llama(hf.OlmoConfig, hf.OlmoForCausalLM, **ROOM),
    "opt": lambda: llama(hf.OPTConfig, hf.OPTForCausalLM, ffn_dim=40, word_embed_proj_dim=24, **ROOM),
    "phi": lambda: llama(hf.PhiConfig, hf.PhiForCausalLM, num_attention_heads=2, **ROOM),
    "phi3": lambda: llama(hf.Phi3Config, hf.Phi3ForCausalLM, **ROOM),
    "qwen3": lambda: llama(hf.Qwen3Config, hf.Qwen3ForCausalLM, head_dim=10, **ROOM),
    "qwen3_moe": lambda: llama(
        hf.Qwen3MoeConfig, hf.Qwen3MoeForCausalLM, head_dim=10, num_experts=4, **EXPERTS, **ROOM
    ),
    "smollm3": lambda: llama(hf.SmolLM3Config, hf.SmolLM3ForCausalLM, **ROOM),
    "starcoder2": lambda: llama(hf.Starcoder2Config, hf.Starcoder2ForCausalLM, **ROOM),
}
PAIRS: dict[str, Callable[[], Any]] = {
    "bigbird_pegasus": lambda: bart(
        hf.BigBirdPegasusConfig, hf.BigBirdPegasusForConditionalGeneration, attention_type="original_full", **ROOM
    ),
    "blenderbot": lambda: bart(hf.BlenderbotConfig, hf.BlenderbotForConditionalGeneration, **ROOM),
    "blenderbot-small": lambda: bart(hf.BlenderbotSmallConfig, hf.BlenderbotSmallForConditionalGeneration, **ROOM),
    "encoder-decoder": two_berts,
    "led": lambda: bart(hf.LEDConfig, hf.LEDForConditionalGeneration, **LED),
    "longt5": lambda: t5(hf.LongT5Config, hf.LongT5ForConditionalGeneration, local_radius=7),
    "m2m_100": lambda: bart(hf.M2M100Config, hf.M2M100ForConditionalGeneration, scale_embedding=False, **ROOM),
    "speech_to_text": speech_to_text,
    "t5gemma": t5gemma,
    "umt5": lambda: t5(hf.UMT5Config, hf.UMT5ForConditionalGeneration),
    "vision-encoder-decoder": pictures,
    "whisper": whisper,
}
# Those with attention of their own, in the encoder or in both: a prefix stands in the decoder alone.
OWN_ATTENTION = ("bigbird_pegasus", "led", "longt5")
OTHERS: dict[str, Callable[[], Any]] = {
    "deepseek_v2": deepseek,
    "prophetnet": prophetnet,
    "xlm": lambda: hf.XLMWithLMHeadModel(hf.XLMConfig(vocab_size=61, emb_dim=24, n_layers=2, n_heads=4)),
}
MODELS = ENCODERS | DECODERS | PAIRS | OTHERS


def made(name: str) -> Any:
    model = MODELS[name]()
    # Positions and rotations stand in buffers.
    buffers = {key: each.clone() for key, each in model.named_buffers()}
    randomise(model, 0)
    for key, each in model.named_buffers():
        each.copy_(buffers[key])
    return model.eval()


def inputs(name: str, labels: bool = True) -> dict[str, torch.Tensor]:
    if name in ENCODERS or name in DECODERS:
        ids, mask = padded(1, name in DECODERS, count=3, length=12)
        found = {"input_ids": torch.from_numpy(ids).long(), "attention_mask": torch.from_numpy(mask).long()}
        # Positions by distance are nobody's to give.
        if name in DECODERS and labels and name not in ("bart", "bloom", "mpt"):
            found["position_ids"] = torch.from_numpy(places(mask)).long()
        return found
    given, generator = tokens(1, count=3), torch.Generator().manual_seed(1)
    names = ["input_ids", "attention_mask", *(["decoder_input_ids"] if labels else [])]
    if "whisper" in name:
        found = {"input_features": torch.randn(3, MELS, FRAMES, generator=generator)}
    elif name == "speech_to_text":
        mask = torch.ones(3, FRAMES, dtype=torch.long)
        mask[1, 30:], mask[2, 9:] = 0, 0
        found = {"input_features": torch.randn(3, FRAMES, MELS, generator=generator), "attention_mask": mask}
    elif "vision" in name:
        found = {"pixel_values": torch.randn(3, 3, 16, 16, generator=generator)}
    else:
        return {each: torch.from_numpy(getattr(given, each)).long() for each in names}
    return found | ({"decoder_input_ids": torch.from_numpy(given.decoder_input_ids).long()} if labels else {})


# ---- By hand


@contextmanager
def encoded(model: Any, hidden: torch.Tensor) -> Iterator[None]:
    """A model with an encoder alone, whose head reads these states."""
    base = model.base_model
    compute = base.forward

    def forward(*args: Any, **kwargs: Any) -> Any:
        output = compute(*args, **kwargs)
        output.last_hidden_state = hidden
        return output

    base.forward = forward
    try:
        yield
    finally:
        del base.forward


def calibrated(name: str, model: Any, adapter: seamkit.torch.Adapter, given: dict[str, Any]) -> torch.Tensor:
    """The encoder's output with the block on it."""
    stack = model.base_model if name in ENCODERS else model.get_encoder()
    taken = inspect.signature(type(stack).forward).parameters
    read = {key: value for key, value in given.items() if key in taken}
    hidden = stack(**read)[0]
    mask = read.get("attention_mask", torch.ones(hidden.shape[:2], dtype=torch.long))
    if mask.shape != hidden.shape[:2]:
        # Two convolutions with a stride of two: what is left of 40, 30 and 9 frames.
        mask = torch.tensor([[each < length for each in range(10)] for length in (10, 8, 3)]).long()
    result: torch.Tensor = adapter(hidden, mask)
    return result


def prefixed(name: str, adapter: seamkit.torch.Adapter, given: dict[str, Any], beams: int = 1) -> dict[str, Any]:
    """The past, and what it does to mask and positions."""
    chosen = computed([adapter])[0 if name in ENCODERS else 1]
    numbers = torch.stack([each for each in chosen if each is not None])
    length = numbers.shape[3]
    past: Any = cache(numbers, len(next(iter(given.values()))) * beams)
    if name in PAIRS:
        return {PAST: EncoderDecoderCache(past, hf.DynamicCache())}
    moved = {PAST: past, "attention_mask": behind(given["attention_mask"], length)}
    return moved | ({"position_ids": given["position_ids"] + length} if "position_ids" in given else {})


# The attentions that know no past, by what their modules are called.
_JOINED = {
    "encoder": (".self_attn", ".SelfAttention", ".attention.self", "layers.0.attention", "layers.1.attention"),
    "cross": (".encoder_attn", ".EncDecAttention", ".cross_attn", ".crossattention.self", ".crossattention"),
}


@contextmanager
def joined(name: str, model: Any, adapter: seamkit.torch.Adapter) -> Iterator[None]:
    """The prefixes of a pair's other attentions stand in their modules."""
    entries: dict[torch.nn.Module, torch.Tensor] = {}
    if adapter.id != "repcali" and name in PAIRS and name not in OWN_ATTENTION:
        model.set_attn_implementation("joined")
        numbers = computed([adapter])
        for place, stack in (("encoder", model.get_encoder()), ("cross", model.get_decoder())):
            found = [each for key, each in stack.named_modules() if key.endswith(_JOINED[place])]
            if place == "cross":
                # The attention around BERT's own is named as GPT-2's is.
                found = [each for each in found if not hasattr(each, "self")]
            entries |= zip(found, numbers[0 if place == "encoder" else 2], strict=True)
    with joined_prefixes(entries):
        yield


def logits_by_hand(name: str, model: Any, adapter: seamkit.torch.Adapter, given: dict[str, Any]) -> torch.Tensor:
    if adapter.id == "repcali":
        hidden = calibrated(name, model, adapter, given)
        if name not in ENCODERS:
            return model(**given, encoder_outputs=BaseModelOutput(hidden)).logits  # type: ignore[no-any-return]
    else:
        moved = given | prefixed(name, adapter, given)
        if name not in ENCODERS:
            with joined(name, model, adapter):
                return model(**moved).logits  # type: ignore[no-any-return]
        hidden = model.base_model(**moved)[0]
    with encoded(model, hidden):
        return model(**given).logits  # type: ignore[no-any-return]

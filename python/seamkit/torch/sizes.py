"""The sizes of a model, read from any configuration of transformers by the names that its classes use.

Families call the same size by several names; the first that a configuration has counts. Of two stacks each has its own
names ("decoder_layers"), or its own configuration inside of the model's.
"""

from __future__ import annotations

from typing import Any

from seamkit.errors import InvalidArgumentError
from seamkit.torch.site import NO_PREFIX, Site

_HEADS = ("num_attention_heads",)
# Kinds of layers whose past is the keys and values of tokens.
_ATTENDING = ("full_attention", "sliding_attention", "chunked_attention")
# Families whose positions begin behind the row of the padding.
_BEHIND_PADDING = (
    "camembert", "data2vec-text", "ibert", "longformer", "luke", "mpnet", "roberta", "roberta-prelayernorm",
    "xlm-roberta", "xlm-roberta-xl", "xmod")


def encoder(config: Any) -> Site:
    """A model with an encoder alone."""
    limit = _limit(config)
    if config.model_type in _BEHIND_PADDING:
        limit -= config.pad_token_id + 1
    return _one_stack(config, limit, is_encoder=True)


def decoder(config: Any) -> Site:
    """A model with a decoder alone."""
    return _one_stack(config, _within_window(config, _limit(config)), is_encoder=False)


def _one_stack(config: Any, limit: int, *, is_encoder: bool) -> Site:
    layers = _needed(config, "num_hidden_layers", "num_layers")
    stack = (layers, 0) if is_encoder else (0, layers)
    room, (heads, kv_heads, head_dim), why = max(limit - 1, 0), _attention(config, _HEADS), _why_no_prefix(config)
    return Site(
        config.model_type, _width(config), *stack, heads, kv_heads, head_dim, limit, limit,
        _number(config, "vocab_size") or 0, *_prefixes((*stack, 0), (room if is_encoder else 0, room, 0), why),
        no_prefix=why)


def pair(config: Any) -> Site:
    """An encoder and a decoder. The width is the encoder's; heads and past are the decoder's."""
    source, target = _part(config, "encoder"), _part(config, "decoder")
    layers = (
        _needed(source, "encoder_layers", "num_encoder_layers", "num_hidden_layers", "num_layers"),
        _needed(target, "decoder_layers", "num_decoder_layers", "num_hidden_layers", "num_layers"))
    limits = (
        _limit(source, "max_encoder_position_embeddings", "max_source_positions"),
        _within_window(target, _limit(target, "max_decoder_position_embeddings", "max_target_positions")))
    names = ("decoder_attention_heads", "num_decoder_attention_heads", "decoder_num_attention_heads")
    (heads, kv_heads, head_dim), why = _attention(target, (*names, *_HEADS)), _why_no_prefix(target)
    is_shared = getattr(config, "share_encoder_decoder_embeddings", True)
    words = ("vocab_size", "tgt_vocab_size") if is_shared else ("decoder_vocab_size", "vocab_size")
    return Site(
        config.model_type, _width(source), *layers, heads, kv_heads, head_dim, *limits, _number(target, *words) or 0,
        *_prefixes((*layers, layers[1]), (0, max(limits[1] - 1, 0), 0), why), no_prefix=why)


def _prefixes(
    layers: tuple[int, int, int], room: tuple[int, int, int], why: str
) -> tuple[tuple[int, int, int], tuple[int, int, int]]:
    return (NO_PREFIX, NO_PREFIX) if why else (layers, room)


def _limit(config: Any, *own: str) -> int:
    """Some say -1 where there is none."""
    return max(_number(config, *own, "max_position_embeddings", "max_seq_len") or 0, 0)


def _part(config: Any, name: str) -> Any:
    found = getattr(config, name, None)
    return found if hasattr(found, "model_type") else config


def _width(config: Any) -> int:
    # A speech encoder may end in an adapter of another width.
    names = ("output_hidden_size",) if getattr(config, "add_adapter", False) else ()
    return _needed(config, *names, "hidden_size", "d_model")


def _attention(config: Any, names: tuple[str, ...]) -> tuple[int, int, int]:
    """The heads of queries, those of keys and values, and their width; zeros where there is no attention."""
    heads = _number(config, *names)
    if not heads:
        return 0, 0, 0
    # Of two stacks in one configuration, what is named for both are the encoder's.
    is_own = any(getattr(config, each, None) == heads for each in names if each not in _HEADS)
    kv_heads = heads if is_own else _kv_heads(config, heads)
    return heads, kv_heads, _number(config, "head_dim", "d_kv") or _needed(config, "hidden_size", "d_model") // heads


def _kv_heads(config: Any, heads: int) -> int:
    if config.model_type == "falcon":
        # The new architecture repeats keys and values for every head before they are kept.
        return 1 if config.multi_query and not config.new_decoder_architecture else heads
    if getattr(config, "multi_query", False):
        return 1
    # A class of transformers keeps any field that it is given, and its modules read those that it declares.
    kind = type(config)
    is_own = kind.__module__.startswith("transformers.")
    names = [each for each in ("num_key_value_heads", "num_kv_heads")
             if not is_own or hasattr(kind, each) or each in kind.attribute_map]
    return _number(config, *names) or heads


def _within_window(config: Any, limit: int) -> int:
    """A text within the window of a decoder's attention sees all of itself."""
    window = _window(config)
    return min(limit, window) if limit and window else limit or window


def _window(config: Any) -> int:
    """How far back a token sees; 0 for no such limit."""
    kinds = getattr(config, "layer_types", None) or getattr(config, "attention_layers", None)
    if isinstance(kinds, list | tuple) and not any(kind.startswith(("sliding", "chunked", "local")) for kind in kinds):
        return 0
    return _number(config, "sliding_window", "attention_chunk_size", "window_size") or 0


def _why_no_prefix(config: Any) -> str:
    """What a configuration says against keys and values before those of the text; empty for nothing."""
    if getattr(config, "kv_lora_rank", None):
        keys = (getattr(config, "qk_nope_head_dim", None) or 0) + (getattr(config, "qk_rope_head_dim", None) or 0)
        return (
            f"its latent attention has keys that are {keys} and values that are "
            f"{getattr(config, 'v_head_dim', None) or 0} numbers wide, and a prefix has one width for both")
    kinds = getattr(config, "layer_types", None)
    if isinstance(kinds, list | tuple) and (others := [each for each in kinds if each not in _ATTENDING]):
        return f'its layers of the kind "{others[0]}" keep no keys and values of tokens'
    if getattr(config, "num_kv_shared_layers", None):
        return "some of its layers use the keys and values of others"
    return ""


def _needed(config: Any, *names: str) -> int:
    found = _number(config, *names)
    if not found:
        raise InvalidArgumentError(
            f'the configuration of model_type "{config.model_type}" must give {names[-1]} as a number above 0, found '
            f"{found!r}")
    return found


def _number(config: Any, *names: str) -> int | None:
    """The first of these fields that is there and says something."""
    for name in names:
        found = getattr(config, name, None)
        if found is None:
            continue
        if isinstance(found, bool) or not isinstance(found, int):
            raise InvalidArgumentError(
                f'the configuration of model_type "{config.model_type}" must give {name} as a number, found {found!r}')
        return found
    return None

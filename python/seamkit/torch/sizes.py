"""The sizes of a model, read from any configuration of transformers by the names that its families use (`names`)."""

from __future__ import annotations

from typing import Any

from seamkit.errors import InvalidArgumentError
from seamkit.torch import names
from seamkit.torch.names import Name
from seamkit.torch.site import NO_PREFIX, Site, Vocabulary

# Kinds of layers whose past is the keys and values of tokens.
_ATTENDING = ("full_attention", "sliding_attention", "chunked_attention", "global", "local")
# Families whose positions begin behind the row of the padding.
_BEHIND_PADDING = (
    "camembert",
    "data2vec-text",
    "ibert",
    "longformer",
    "luke",
    "mpnet",
    "roberta",
    "roberta-prelayernorm",
    "xlm-roberta",
    "xlm-roberta-xl",
    "xmod",
)


def encoder(config: Any) -> Site:
    """A model with an encoder alone."""
    limit = _limit(config, names.LIMIT)
    if config.model_type in _BEHIND_PADDING:
        limit -= config.pad_token_id + 1
    return _one_stack(config, limit, is_encoder=True)


def decoder(config: Any) -> Site:
    """A model with a decoder alone; its configuration may be that of the pair that it is one half of."""
    return _one_stack(config, _limit(config, names.DECODER_LIMIT), is_encoder=False)


def _one_stack(config: Any, limit: int, *, is_encoder: bool) -> Site:
    layers = _needed(config, names.LAYERS if is_encoder else names.DECODER_LAYERS)
    stack, room = (layers, 0) if is_encoder else (0, layers), max(limit - 1, 0)
    heads, kv_heads, head_dim = _attention(config, names.DECODER_HEADS)
    return Site(
        config.model_type,
        _width(config),
        *stack,
        heads,
        kv_heads,
        head_dim,
        limit,
        limit,
        _number(config, names.VOCABULARY) or 0,
        *_prefixes(config, (*stack, 0), (room if is_encoder else 0, room, 0)),
    )


def pair(config: Any) -> Site:
    """An encoder and a decoder, in one configuration or with one each. The width is the encoder's; heads, words and
    past are the decoder's."""
    source, target = _part(config, "encoder"), _part(config, "decoder")
    layers = _needed(source, names.ENCODER_LAYERS), _needed(target, names.DECODER_LAYERS)
    limits = (_limit(source, names.ENCODER_LIMIT), _limit(target, names.DECODER_LIMIT))
    heads, kv_heads, head_dim = _attention(target, names.DECODER_HEADS)
    _, source_heads, source_dim = _attention(source, names.ENCODER_HEADS)
    is_shared = getattr(config, "share_encoder_decoder_embeddings", True)
    vocabulary = _number(target, names.VOCABULARY if is_shared else names.TARGET_VOCABULARY) or 0
    return Site(
        config.model_type,
        _width(source),
        *layers,
        heads,
        kv_heads,
        head_dim,
        *limits,
        vocabulary,
        *_prefixes(target, (*layers, layers[1]), (0, max(limits[1] - 1, 0), 0)),
        prefix_kv_heads=(_where_other(source_heads, kv_heads, layers[0]), (), ()),
        prefix_head_dim=(_where_other(source_dim, head_dim, layers[0]), (), ()),
    )


def _where_other(own: int, usual: int, layers: int) -> tuple[int, ...]:
    """Of each layer of the encoder, where it differs from the decoder's."""
    return (own,) * layers if own and own != usual else ()


def _prefixes(
    config: Any, layers: tuple[int, int, int], room: tuple[int, int, int]
) -> tuple[tuple[int, int, int], tuple[int, int, int]]:
    return (NO_PREFIX, NO_PREFIX) if why_no_prefix(config) else (layers, room)


def _part(config: Any, name: str) -> Any:
    found = getattr(config, name, None)
    return found if hasattr(found, "model_type") else config


def _width(config: Any) -> int:
    """Of what comes out: a speech encoder may end in an adapter of another width, and Reformer gives both streams of its
    reversible layers."""
    if config.model_type == "reformer":
        return 2 * _needed(config, names.WIDTH)
    is_adapted = getattr(config, "add_adapter", False)
    return _needed(config, names.WIDTH_BEHIND_AN_ADAPTER if is_adapted else names.WIDTH)


def _attention(config: Any, of_stack: Name) -> tuple[int, int, int]:
    """The heads of queries, those of keys and values, and their width; zeros where there is no attention. of_stack: how
    a configuration of two stacks calls the heads of the one."""
    # What such a configuration says of both is about the encoder, and may differ.
    own = _number(config, of_stack)
    heads = own or _number(config, names.HEADS)
    if not heads:
        return 0, 0, 0
    head_dim = _number(config, names.HEAD_WIDTH) or _needed(config, names.WIDTH) // heads
    return heads, own or _kv_heads(config, heads), head_dim


def _kv_heads(config: Any, heads: int) -> int:
    """Those that the past holds."""
    if config.model_type == "falcon":
        # The new architecture repeats keys and values for every head before they are kept.
        return 1 if config.multi_query and not config.new_decoder_architecture else heads
    if getattr(config, "multi_query", False):
        return 1
    # A class of transformers keeps any field that it is given, and its modules read those that it declares.
    kind = type(config)
    is_read = not kind.__module__.startswith("transformers.") or any(
        hasattr(kind, each) or each in kind.attribute_map for each in names.KV_HEADS.spellings
    )
    return (_number(config, names.KV_HEADS) if is_read else None) or heads


def _limit(config: Any, name: Name) -> int:
    """Some say -1 where there is none."""
    return max(_number(config, name) or 0, 0)


def _kinds_of_layers(config: Any) -> list[str]:
    found = names.KINDS_OF_LAYERS.field(config)
    return [each for each in found if isinstance(each, str)] if isinstance(found, list | tuple) else []


def why_no_prefix(config: Any) -> str:
    """What a configuration says against keys and values before those of the text, as the end of a sentence; empty for
    nothing."""
    if getattr(config, "attention_type", None) == "block_sparse" and not names.IS_ENCODER_DECODER.field(config):
        # Of a pair it is about the encoder alone. Short texts would pass, since they change to the other type.
        return 'its attention_type is "block_sparse", which knows no past: set "original_full" in the configuration'
    config = _part(config, "decoder")
    if getattr(config, "kv_lora_rank", None):
        widths = [getattr(config, each, None) or 0 for each in ("qk_nope_head_dim", "qk_rope_head_dim", "v_head_dim")]
        return (
            "its latent attention makes keys and values out of fewer numbers (kv_lora_rank), in heads of a width of "
            f"their own: {widths[0] + widths[1]} for keys, {widths[2]} for values"
        )
    if others := [each for each in _kinds_of_layers(config) if each not in _ATTENDING]:
        return f'its layers of the kind "{others[0]}" keep no keys and values of tokens'
    if getattr(config, "num_kv_shared_layers", None):
        return "some of its layers use the keys and values of others"
    return ""


def vocabulary(config: Any, has_head: bool) -> Vocabulary:
    """Ids of tokens, which may be null, and those that end a text, of which there may be several."""

    def ids(name: str) -> tuple[int, ...]:
        found = getattr(config, name, None)
        given = found if isinstance(found, list | tuple) else [found]
        return tuple(each for each in given if isinstance(each, int) and 0 <= each < 2**31)

    names_of_one = ("decoder_start_token_id", "pad_token_id", "bos_token_id", "mask_token_id")
    single = {name: next(iter(ids(name)), -1) for name in names_of_one}
    of_source = (
        0 if getattr(config, "share_encoder_decoder_embeddings", True) else _number(config, names.VOCABULARY) or 0
    )
    return Vocabulary(has_head, of_source, **single, eos_token_ids=ids("eos_token_id"))


def _needed(config: Any, name: Name) -> int:
    found = _number(config, name)
    if not found or found < 0:
        raise InvalidArgumentError(
            f'the configuration of model_type "{config.model_type}" must give {name} as a number above 0, found '
            f"{found!r}"
        )
    return found


def _number(config: Any, name: Name) -> int | None:
    """The first of the spellings that is there and says something."""
    for spelling in name.spellings:
        found = getattr(config, spelling, None)
        if found is None:
            continue
        if isinstance(found, bool) or not isinstance(found, int):
            raise InvalidArgumentError(
                f'the configuration of model_type "{config.model_type}" must give {spelling} as a number, found '
                f"{found!r}"
            )
        return found
    return None

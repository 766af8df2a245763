"""A prefix as the past of a text: the keys and values of transformers' caches.

Positions and masks are then those that transformers gives a text behind a past of as many tokens (docs/prefixes.md).
"""

from __future__ import annotations

import copy
from collections.abc import Sequence, Set
from typing import Any

import torch
from torch import Tensor
from transformers import DynamicCache, EncoderDecoderCache

from seamkit.errors import InvalidArgumentError, UnsupportedError
from seamkit.torch.calls import replace, spelled
from seamkit.torch.connection import drops_layers
from seamkit.torch.names import EMBEDDED, ENCODED, IDS, IS_ENCODER_DECODER, MASK, PAST, POSITIONS, USES_CACHE

# Set on a cache that holds the prefix: how many tokens of it are not the text's.
_MARK = "_seamkit_prefix_length"
# Set on a cache that was made to hold a prefix alone, in a call that asked for none.
_TEMPORARY = "_seamkit_temporary"


def held_length(past: Any) -> int:
    """The tokens of a text that a cache holds, without those of a prefix."""
    if past is None or not hasattr(past, "get_seq_length"):
        return 0
    return int(past.get_seq_length()) - int(getattr(past, _MARK, 0))


def of_text(past: Any) -> list[Tensor]:
    """The keys and values of a text of one row that a cache holds, of each layer [2, kv_heads, n, head_dim], without those
    of a prefix before it."""
    length = int(getattr(past, _MARK, 0))
    return [torch.stack([each.keys[0], each.values[0]])[:, :, length:] for each in own(past).layers]


def own(past: Any) -> Any:
    """The cache of self-attention."""
    return past.self_attention_cache if isinstance(past, EncoderDecoderCache) else past


def layer_lengths(past: Any) -> list[int]:
    """What each layer of the cache of self-attention holds."""
    cache = own(past)
    return [cache.get_seq_length(each) for each in range(len(cache))]


def left_out(module: torch.nn.Module, before: Sequence[int], after: Sequence[int], grown: Set[int]) -> set[int]:
    """The layers that LayerDrop left out of a forward in training, of what each held before and after it. grown: those
    that have appended to a copy. Raises UnsupportedError where one that ran did not read the past: an attention that
    reads it has appended to it."""
    left = {
        layer
        for layer, (length, now) in enumerate(zip(before, after, strict=True))
        if length and now <= length and layer not in grown
    }
    if left and not drops_layers(module):
        raise UnsupportedError(
            f"attention {min(left)} of {type(module).__name__} does not read the past, so that a prefix there would "
            f"change nothing: register a family with a site of fewer prefix_layers, or another module"
        )
    return left


def held(module: torch.nn.Module, call: dict[str, Any]) -> int:
    """The prefix's tokens in the cache of a call that goes on with a text; 0 where a text begins, also in a
    cache that was emptied since."""
    past = PAST.value(call)
    length: int = getattr(past, _MARK, 0)
    kept = past.get_seq_length() if length else 0
    if not kept:
        return 0
    if kept < length:
        raise InvalidArgumentError(
            f"{spelled(type(module), PAST)} holds {kept} tokens, fewer than the {length} of the prefix that it was begun "
            "with: crop it to the prefix and text, or empty it, to begin anew"
        )
    begun, new, mask, positions = kept - length, tokens_of(call).shape[1], MASK.value(call), POSITIONS.value(call)
    where = f"the {begun} tokens of the text in {spelled(type(module), PAST)}"
    wrong = ""
    if mask is None and positions is not None and bool((positions[..., 0] != begun).any()):
        wrong = f"{POSITIONS} without {MASK} must begin behind {where}, found {positions.flatten()[0]}"
    elif isinstance(mask, Tensor) and mask.dim() == 2 and mask.shape[1] != begun + new:
        wrong = f"{MASK} must be about {where} and the {new} that are given, found one of {mask.shape[1]} tokens"
    if wrong:
        raise InvalidArgumentError(
            f"{wrong}: generate takes a prefix in a cache for text and would drop as many tokens of a prompt, so give "
            f"it the new tokens alone and the {MASK} of the whole text"
        )
    return length


def tokens_of(call: dict[str, Any]) -> Any:
    """The tokens of a call, by number or embedded."""
    return IDS.value(call) if IDS.value(call) is not None else EMBEDDED.value(call)


def check_begin(module: torch.nn.Module, call: dict[str, Any], is_checkpointed: bool) -> None:
    """Raises one sentence unless a text may begin behind a prefix in this call. is_checkpointed: its layers are run
    again in the backward pass."""
    past, name = PAST.value(call), spelled(type(module), PAST)
    if past is not None and not hasattr(past, "get_seq_length"):
        raise UnsupportedError(
            f"a prefix has no place in a {type(past).__name__}, as continuous batching (generate_batch) keeps one: use "
            "generate, or detach the adapters first"
        )
    if past is not None and (getattr(past, "is_compileable", False) or past.get_seq_length() > 0):
        raise UnsupportedError(
            f"with a prefix {name} must be None or an empty DynamicCache, or one that this model has filled"
        )
    if past is not None and is_checkpointed:
        raise UnsupportedError(
            f"under gradient checkpointing nothing of a text is kept in {name}: call the model without it, or turn "
            "gradient checkpointing off"
        )
    positions = POSITIONS.value(call)
    is_packed = any(each.startswith("cu_seq_lens") for each in call)
    if MASK.value(call) is None and isinstance(positions, Tensor) and positions.dim() == 2:
        is_packed = is_packed or bool((positions.diff(dim=1) <= 0).any())
    if is_packed:
        raise UnsupportedError(
            f"several texts are packed into a row ({POSITIONS} begin again, or cu_seq_lens are given): behind a prefix "
            "transformers would let them see each other, so give each text a row of its own, padded"
        )


def begin(
    model: Any, module: torch.nn.Module, call: dict[str, Any], layers: Sequence[Tensor | None], is_checkpointed: bool
) -> int:
    """Puts the prefix, of each layer [2, kv_heads, prefix, head_dim], into the cache of a call that begins a text, and
    returns its tokens."""
    past = PAST.value(call)
    first = layers[0]
    assert first is not None  # all layers have one, or none
    if past is None:
        past = DynamicCache()
        if IS_ENCODER_DECODER.field(model.config) or ENCODED.value(call) is not None:
            past = EncoderDecoderCache(past, DynamicCache())
        wanted = USES_CACHE.value(call)
        # As transformers itself: what the call says, or else the configuration of the module that is called.
        usual = USES_CACHE.field(getattr(module, "config", model.config), False)
        setattr(past, _TEMPORARY, is_checkpointed or not (usual if wanted is None else wanted))
        replace(module, call, PAST, past)
    cache, rows = own(past), len(tokens_of(call))
    dtype = next((each.dtype for each in module.parameters() if each.is_floating_point()), first.dtype)
    for layer, both in enumerate(layers):
        assert both is not None
        keys, values = both.to(dtype)
        cache.update(keys.expand(rows, -1, -1, -1), values.expand(rows, -1, -1, -1), layer)
    setattr(past, _MARK, int(first.shape[2]))
    return int(first.shape[2])


def copied(past: Any) -> Any:
    """A cache with the same keys and values of self-attention, which may grow and leave the first as it is."""
    if isinstance(past, EncoderDecoderCache):
        return EncoderDecoderCache(copied(past.self_attention_cache), DynamicCache())
    result = copy.copy(past)
    result.layers = [copy.copy(each) for each in past.layers]
    return result


def is_temporary(past: Any) -> bool:
    """Whether a cache was made for a prefix alone, in a call that asked for none."""
    return bool(getattr(past, _TEMPORARY, False))

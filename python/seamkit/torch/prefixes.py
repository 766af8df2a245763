"""The seams attention.prefix and prefix.tokens: keys and values as the past of transformers' caches.

Positions are those that transformers gives a text behind a past of as many tokens (docs/prefixes.md). Where a model
knows no past, in the encoder of an encoder-decoder and in cross-attention, a prefix is refused.
"""

from __future__ import annotations

import threading
from collections.abc import Mapping, Sequence
from typing import Any, Protocol

import torch
from torch import Tensor
from torch.utils.hooks import RemovableHandle
from transformers import DynamicCache, EncoderDecoderCache

from seamkit import _declarations as c
from seamkit.errors import IncompatibleError, InvalidArgumentError, UnsupportedError
from seamkit.torch.adapter import Adapter
from seamkit.torch.calls import bound, replace, spelled
from seamkit.torch.connection import PREFIX, Connection, drops_layers
from seamkit.torch.families import attention_of, past_module
from seamkit.torch.names import EMBEDDED, ENCODED, IDS, IS_ENCODER_DECODER, MASK, PAST, POSITIONS, USES_CACHE
from seamkit.torch.seams import ATTENTIONS, by_attention, is_prefix
from seamkit.torch.site import Site

# By attention, the layers of each.
Prefix = tuple[tuple[Tensor | None, ...], ...]
# Set on a cache that holds the prefix: how many tokens of it are not the text's.
_MARK = "_seamkit_prefix_length"
# Set on a cache that was made to hold a prefix alone, in a call that asked for none.
_TEMPORARY = "_seamkit_temporary"


class _Adapters(Protocol):
    def on(self, seam: str) -> list[Adapter]: ...


def computed(adapters: Sequence[Adapter]) -> Prefix:
    """What adapters put before the tokens: first all on attention.prefix, then those on prefix.tokens. Each layer has
    [2, kv_heads, prefix, head_dim]."""
    if not (chain := [each for each in adapters if is_prefix(each.seam)]):
        return (), (), ()
    site = chain[0].site
    layers: Sequence[Tensor | None] = [None] * sum(site.prefix_layers)
    for seam in (c.SEAM_ATTENTION_PREFIX, c.SEAM_PREFIX_TOKENS):
        for adapter in chain:
            if adapter.seam == seam:
                layers = adapter(*layers)
    return by_attention(site, layers)


@torch.no_grad()
def lengths(adapters: Sequence[Adapter]) -> tuple[int, int, int]:
    """Tokens by attention of what the adapters give."""
    found = [layers[0].shape[2] if layers and layers[0] is not None else 0 for layers in computed(adapters)]
    return found[0], found[1], found[2]


def check(site: Site, adapters: Sequence[Adapter]) -> None:
    """Raises one sentence unless the adapters' prefixes fit each other and the model."""
    chain = [each for each in adapters if is_prefix(each.seam)]
    if not chain:
        return
    if chain[0].seam == c.SEAM_PREFIX_TOKENS:
        raise InvalidArgumentError(
            f'adapter "{chain[0].id}" weights the tokens of a prefix and none is attached before it: attach a prefix '
            "first, for example prefix-tuning or residual-prefix"
        )
    found = lengths([each for each in chain if each.seam == c.SEAM_ATTENTION_PREFIX])
    possible = ATTENTIONS.index(attention_of(site))
    for attention, (length, limit) in enumerate(zip(found, site.max_prefix_length, strict=True)):
        name = ATTENTIONS[attention]
        if length and attention != possible:
            raise UnsupportedError(
                f"the {name} attention of {site.family} takes no past in transformers, so no prefix: set attention to "
                f'"{ATTENTIONS[possible]}"'
            )
        if limit and length > limit:
            raise InvalidArgumentError(
                f"the prefix of {name} attention has {length} tokens and takes their positions: this model leaves room "
                f"for at most {limit}"
            )
    for each in chain:
        if each.seam == c.SEAM_PREFIX_TOKENS and each.prefix_length != found:
            raise IncompatibleError(
                f'adapter "{each.id}" was made for a prefix of {max(each.prefix_length)} tokens, the one attached has '
                f"{max(found)}"
            )


def hooks(model: Any, adapters: _Adapters, connection: Connection) -> list[RemovableHandle]:
    """One before the module that makes positions and masks of its past."""
    module, attention = past_module(model), ATTENTIONS.index(attention_of(Site.of(model)))
    connection.expect(PREFIX, module)
    # Threads that share a model have a call each.
    current = threading.local()
    # Layers that LayerDrop has left out of every forward so far, so that nobody knows whether they read the past.
    unseen: set[int] = set()

    def before(module: torch.nn.Module, args: Any, kwargs: Any) -> tuple[tuple[()], dict[str, Any]]:
        call = bound(module, args, kwargs)
        if _tokens(call) is None:
            raise InvalidArgumentError(
                f"{type(module).__name__} was called with neither {IDS} nor {EMBEDDED}, and has a prefix to go before "
                f"them: give one of them, or register the module of the family that is called with them as past"
            )
        length = _held(module, call) or _begin(model, module, call, adapters, attention)
        if spelled(type(module), USES_CACHE) is not None:
            # Some modules read a past only where they may add to it.
            replace(module, call, USES_CACHE, True)
        if unseen or not connection.knows(PREFIX):
            connection.ran(PREFIX)
            current.lengths = _lengths(PAST.value(call))
        mask = MASK.value(call)
        if mask is not None:
            if not isinstance(mask, Tensor) or mask.dim() != 2:
                raise UnsupportedError(f"with a prefix {MASK} must be [batch, tokens], of the text alone")
            replace(module, call, MASK, torch.cat([mask.new_ones(len(mask), length), mask], 1))
        if (positions := POSITIONS.value(call)) is not None:
            replace(module, call, POSITIONS, positions + length)
        return (), call

    def after(_: torch.nn.Module, args: Any, output: Any) -> Any:
        """A caller that wanted no cache must not find one: `generate` would go on from it."""
        if unseen or not connection.knows(PREFIX):
            left = _left_out(module, *current.lengths)
            if connection.knows(PREFIX):
                unseen.intersection_update(left)
            else:
                unseen.update(left)
                connection.was_read(PREFIX)
        if isinstance(output, tuple):
            return tuple(each for each in output if not getattr(each, _TEMPORARY, False))
        if isinstance(output, Mapping) and getattr(PAST.value(output), _TEMPORARY, False):
            # Made anew: a field that is only set to None still stands among the output's items.
            return type(output)(**{name: each for name, each in output.items() if name not in PAST.spellings})
        return output

    return [module.register_forward_pre_hook(before, with_kwargs=True), module.register_forward_hook(after)]


def held_length(past: Any) -> int:
    """The tokens of a text that a cache holds, without those of a prefix."""
    if past is None or not hasattr(past, "get_seq_length"):
        return 0
    return int(past.get_seq_length()) - int(getattr(past, _MARK, 0))


def of_text(past: Any) -> list[Tensor]:
    """The keys and values of a text of one row that a cache holds, of each layer [2, kv_heads, n, head_dim], without those
    of a prefix before it."""
    length = int(getattr(past, _MARK, 0))
    return [torch.stack([each.keys[0], each.values[0]])[:, :, length:] for each in _own(past).layers]


def _own(past: Any) -> Any:
    return past.self_attention_cache if isinstance(past, EncoderDecoderCache) else past


def _lengths(past: Any) -> tuple[Any, list[int]]:
    """The cache of self-attention, and what each of its layers holds."""
    own = _own(past)
    return own, [own.get_seq_length(each) for each in range(len(own))]


def _left_out(module: torch.nn.Module, own: Any, before: Sequence[int]) -> set[int]:
    """The layers that LayerDrop left out of a forward in training. Raises UnsupportedError where one that ran did not
    read the past: an attention that reads it has appended to it."""
    left = {layer for layer, length in enumerate(before) if length and own.get_seq_length(layer) <= length}
    if left and not drops_layers(module):
        raise UnsupportedError(
            f"attention {min(left)} of {type(module).__name__} does not read the past, so that a prefix there would "
            f"change nothing: register a family with a site of fewer prefix_layers, or another module"
        )
    return left


def _held(module: torch.nn.Module, call: dict[str, Any]) -> int:
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
    begun, new, mask, positions = kept - length, _tokens(call).shape[1], MASK.value(call), POSITIONS.value(call)
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


def _tokens(call: dict[str, Any]) -> Any:
    """The tokens of a call, by number or embedded."""
    return IDS.value(call) if IDS.value(call) is not None else EMBEDDED.value(call)


def _begin(model: Any, module: torch.nn.Module, call: dict[str, Any], adapters: _Adapters, attention: int) -> int:
    """Puts the prefix into the cache of a call that begins a text, and returns its tokens."""
    past = PAST.value(call)
    if module.training and any(getattr(each, "gradient_checkpointing", False) for each in module.modules()):
        raise UnsupportedError(
            "gradient checkpointing drops the past, and with it a prefix: turn it off to train a prefix"
        )
    if past is not None and not hasattr(past, "get_seq_length"):
        raise UnsupportedError(
            f"a prefix has no place in a {type(past).__name__}, as continuous batching (generate_batch) keeps one: use "
            "generate, or detach the adapters first"
        )
    if past is not None and (getattr(past, "is_compileable", False) or past.get_seq_length() > 0):
        raise UnsupportedError(
            f"with a prefix {spelled(type(module), PAST)} must be None or an empty DynamicCache, or one that this model "
            "has filled"
        )
    given, positions = _tokens(call), POSITIONS.value(call)
    is_packed = any(each.startswith("cu_seq_lens") for each in call)
    if MASK.value(call) is None and isinstance(positions, Tensor) and positions.dim() == 2:
        is_packed = is_packed or bool((positions.diff(dim=1) <= 0).any())
    if is_packed:
        raise UnsupportedError(
            f"several texts are packed into a row ({POSITIONS} begin again, or cu_seq_lens are given): behind a prefix "
            "transformers would let them see each other, so give each text a row of its own, padded"
        )
    numbers = computed([*adapters.on(c.SEAM_ATTENTION_PREFIX), *adapters.on(c.SEAM_PREFIX_TOKENS)])[attention]
    first_layer = numbers[0]
    assert first_layer is not None  # `check` has seen to it
    if first_layer.device != given.device:
        first = adapters.on(c.SEAM_ATTENTION_PREFIX)[0]
        raise InvalidArgumentError(
            f'adapter "{first.id}" gives a prefix on {first_layer.device}, but the tokens are on {given.device}',
            first.factory.plugin.id,
        )
    if past is None:
        past = DynamicCache()
        if IS_ENCODER_DECODER.field(model.config) or ENCODED.value(call) is not None:
            past = EncoderDecoderCache(past, DynamicCache())
        wanted = USES_CACHE.value(call)
        # As transformers itself: what the call says, or else the configuration of the module that is called.
        usual = USES_CACHE.field(getattr(module, "config", model.config), False)
        setattr(past, _TEMPORARY, not (usual if wanted is None else wanted))
        replace(module, call, PAST, past)
    own = _own(past)
    dtype = next((each.dtype for each in module.parameters() if each.is_floating_point()), first_layer.dtype)
    for layer, both in enumerate(numbers):
        assert both is not None  # all layers have one, or none
        keys, values = both.to(dtype)
        own.update(keys.expand(len(given), -1, -1, -1), values.expand(len(given), -1, -1, -1), layer)
    length = int(first_layer.shape[2])
    setattr(past, _MARK, length)
    return length

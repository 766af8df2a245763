"""The seams attention.prefix and prefix.tokens: keys and values before those of a text, in every layer of an attention.

In a decoder, and in a model with an encoder alone, they are the past of transformers' caches (`past`); in the encoder of an
encoder-decoder and in cross-attention, which know no past, they are joined to the keys and values (`joined`).
"""

from __future__ import annotations

import logging
from collections.abc import Mapping, Sequence
from typing import Any, Protocol

import torch
from torch import Tensor
from torch.utils.hooks import RemovableHandle

from seamkit import _declarations as c
from seamkit.errors import IncompatibleError, InvalidArgumentError, UnsupportedError
from seamkit.torch.adapter import Adapter
from seamkit.torch.calls import bound, replace, spelled
from seamkit.torch.checkpointing import Call, Checkpointing, Current, is_checkpointed
from seamkit.torch.connection import PREFIX, Connection, drops_layers
from seamkit.torch.families import attention_of, encoder_modules, past_module
from seamkit.torch.joined import Joined, attentions, check_implementation
from seamkit.torch.kinds import check_heads
from seamkit.torch.marks import Removable
from seamkit.torch.names import EMBEDDED, ENCODER_OUTPUTS, IDS, MASK, PAST, POSITIONS, USES_CACHE
from seamkit.torch.past import begin, check_begin, held, is_temporary, layer_lengths, left_out, tokens_of
from seamkit.torch.seams import ATTENTIONS, by_attention, is_prefix
from seamkit.torch.site import Site

_LOG = logging.getLogger("seamkit")
# By attention, the layers of each.
Prefix = tuple[tuple[Tensor | None, ...], ...]
_ENCODER, _CROSS = ATTENTIONS.index("encoder"), ATTENTIONS.index("cross")
# Set on a cache in which a text goes on: the prefix of cross-attention, of each layer.
_KEPT = "_seamkit_cross_prefix"


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


def check(model: Any, site: Site, adapters: Sequence[Adapter]) -> None:
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
    for attention, (length, limit) in enumerate(zip(found, site.max_prefix_length, strict=True)):
        if length and ATTENTIONS[attention] != attention_of(site):
            joined_attentions(model, site, attention)
        if limit and length > limit:
            raise InvalidArgumentError(
                f"the prefix of {ATTENTIONS[attention]} attention has {length} tokens and takes their positions: this "
                f"model leaves room for at most {limit}"
            )
    for each in chain:
        if each.seam == c.SEAM_PREFIX_TOKENS and each.prefix_length != found:
            raise IncompatibleError(
                f'adapter "{each.id}" was made for a prefix of {max(each.prefix_length)} tokens, the one attached has '
                f"{max(found)}"
            )


def joined_attentions(model: Any, site: Site, attention: int) -> list[torch.nn.Module]:
    """The modules of an attention that knows no past, layer by layer. Raises UnsupportedError where they do not compute
    through transformers' attention interface."""
    sizes = site.prefix_sizes(attention)
    if attention == _ENCODER:
        stack = encoder_modules(model)[0]
        found = attentions(stack)
        if sizes:
            check_heads(stack, site.family, sizes[0][0] * sizes[0][1])
    else:
        stack = past_module(model)
        found = attentions(stack, is_cross=attention == _CROSS)
    if len(found) != len(sizes):
        raise UnsupportedError(
            f"the {ATTENTIONS[attention]} attention of {site.family} knows no past in transformers and does not compute "
            f"through its attention interface in all of its {len(sizes)} layers, so a prefix has no place there: set "
            f'attention to "{attention_of(site)}"'
        )
    return found


def hooks(model: Any, adapters: _Adapters, connection: Connection) -> list[Removable]:
    """Those on the stacks whose attentions have a prefix."""
    chain = [*adapters.on(c.SEAM_ATTENTION_PREFIX), *adapters.on(c.SEAM_PREFIX_TOKENS)]
    return _Hooks(model, chain, connection).put()


class _Hooks:
    """The hooks of one model's prefixes."""

    def __init__(self, model: Any, chain: list[Adapter], connection: Connection):
        self._model, self._chain, self._connection = model, chain, connection
        self._site, self._lengths = Site.of(model), lengths(chain)
        self._own = ATTENTIONS.index(attention_of(self._site))
        self._current = _Current()
        self._checkpointing = Checkpointing(self._current)
        # Whether the encoder, which has a prefix, has not run yet.
        self._is_unread = self._own != _ENCODER and bool(self._lengths[_ENCODER])
        # Layers that LayerDrop has left out of every forward so far, so that nobody knows whether they read the past.
        self._unseen: set[int] = set()

    def put(self) -> list[Removable]:
        model, found = self._model, list[Removable]()
        joined = {
            each: joined_attentions(model, self._site, each)
            for each in (_ENCODER, _CROSS)
            if self._lengths[each] and each != self._own
        }
        if joined:
            found.append(Joined(self._current, joined))
            found += [
                model.register_forward_pre_hook(self._open, with_kwargs=True),
                model.register_forward_hook(self._close, always_call=True),
            ]
        if _ENCODER in joined:
            encoder = encoder_modules(model)[0]
            found += self._on(encoder, self._before_encoder, self._after_joined)
        if self._lengths[self._own] or _CROSS in joined:
            module = past_module(model)
            self._connection.expect(PREFIX, module)
            found += self._on(module, self._before, self._after)
        return [*found, self._checkpointing]

    def _on(self, stack: torch.nn.Module, before: Any, after: Any) -> list[RemovableHandle]:
        return [
            stack.register_forward_pre_hook(before, with_kwargs=True),
            stack.register_forward_hook(after),
            stack.register_forward_hook(self._over, always_call=True),
        ]

    # ---- The model's own forward, in which both stacks need the same prefixes

    def _open(self, model: torch.nn.Module, args: Any, kwargs: Any) -> None:
        self._current.is_shared, self._current.computed = True, None
        if self._is_unread and not torch.compiler.is_compiling():
            if ENCODER_OUTPUTS.value(bound(model, args, kwargs)) is not None:
                self._is_unread = False
                _LOG.warning(
                    "%s was given and the encoder has not run since a prefix was attached to it: the prefix changes "
                    "nothing there, unless the encoder had it when it gave them",
                    ENCODER_OUTPUTS,
                )

    def _close(self, *_: Any) -> None:
        self._current.is_shared, self._current.computed = False, None

    def _computed(self, attention: int, device: torch.device) -> tuple[Tensor | None, ...]:
        """The prefix of an attention, for tokens on a device."""
        current = self._current
        found = current.computed if current.computed is not None else computed(self._chain)
        if current.is_shared:
            current.computed = found
        first = found[attention][0]
        assert first is not None  # `check` has seen to it
        if first.device != device:
            adapter = self._chain[0]
            raise InvalidArgumentError(
                f'adapter "{adapter.id}" gives a prefix on {first.device}, but the tokens are on {device}',
                adapter.factory.plugin.id,
            )
        return found[attention]

    # ---- The encoder

    def _before_encoder(self, module: torch.nn.Module, args: Any, kwargs: Any) -> None:
        check_implementation(getattr(module, "config", self._model.config))
        given = [*args, *kwargs.values()]
        device = next((each.device for each in given if isinstance(each, Tensor)), next(module.parameters()).device)
        self._is_unread = False
        self._begin(Call(module, {_ENCODER: self._computed(_ENCODER, device)}))

    def _after_joined(self, module: torch.nn.Module, *_: Any) -> None:
        """Raises UnsupportedError for an attention that ran another way."""
        call = self._current.call
        if call is None or torch.compiler.is_compiling() or drops_layers(module):
            return
        for attention, layers in call.layers.items():
            if missed := [each for each in range(len(layers)) if (attention, each) not in call.seen]:
                raise UnsupportedError(
                    f"{ATTENTIONS[attention]} attention {missed[0]} of {type(module).__name__} does not compute through "
                    "transformers' attention interface in this call, so that a prefix there would change nothing: set "
                    f'attention to "{ATTENTIONS[self._own]}"'
                )

    def _begin(self, call: Call) -> None:
        call.outer, self._current.call = self._current.call, call
        if call.module.training:
            self._checkpointing.place(call.module)

    def _over(self, module: torch.nn.Module, *_: Any) -> None:
        call = self._current.call
        # A forward may fail before its call has begun.
        if call is not None and call.module is module:
            self._current.call = call.outer

    # ---- The module that makes positions and masks of its past

    def _before(self, module: torch.nn.Module, args: Any, kwargs: Any) -> tuple[tuple[()], dict[str, Any]]:
        call = bound(module, args, kwargs)
        if tokens_of(call) is None:
            raise InvalidArgumentError(
                f"{type(module).__name__} was called with neither {IDS} nor {EMBEDDED}, and has a prefix to go before "
                f"them: give one of them, or register the module of the family that is called with them as past"
            )
        state = Call(module)
        if self._lengths[_CROSS] and self._own != _CROSS:
            check_implementation(getattr(module, "config", self._model.config))
            state.layers[_CROSS] = self._of_cross(call)
        if self._lengths[self._own]:
            self._put_past(module, call)
            state.past = PAST.value(call)
        if self._unseen or not self._connection.knows(PREFIX):
            self._connection.ran(PREFIX)
        if state.past is not None:
            state.before = layer_lengths(state.past)
        self._begin(state)
        return (), call

    def _of_cross(self, call: dict[str, Any]) -> tuple[Tensor | None, ...]:
        """The prefix of cross-attention: that which a text has begun with, while it goes on."""
        past = PAST.value(call)
        goes_on = past is not None and hasattr(past, "get_seq_length") and past.get_seq_length() > 0
        found: tuple[Tensor | None, ...] | None = getattr(past, _KEPT, None) if goes_on else None
        if found is None:
            found = self._computed(_CROSS, tokens_of(call).device)
            if past is not None:
                setattr(past, _KEPT, found)
        return found

    def _put_past(self, module: torch.nn.Module, call: dict[str, Any]) -> None:
        length = held(module, call)
        if not length:
            is_replayed = is_checkpointed(module)
            check_begin(module, call, is_replayed)
            layers = self._computed(self._own, tokens_of(call).device)
            length = begin(self._model, module, call, layers, is_replayed)
        if spelled(type(module), USES_CACHE) is not None:
            # Some modules read a past only where they may add to it.
            replace(module, call, USES_CACHE, True)
        mask = MASK.value(call)
        if mask is not None:
            if not isinstance(mask, Tensor) or mask.dim() != 2:
                raise UnsupportedError(f"with a prefix {MASK} must be [batch, tokens], of the text alone")
            replace(module, call, MASK, torch.cat([mask.new_ones(len(mask), length), mask], 1))
        if (positions := POSITIONS.value(call)) is not None:
            replace(module, call, POSITIONS, positions + length)

    def _after(self, module: torch.nn.Module, args: Any, output: Any) -> Any:
        """A caller that wanted no cache must not find one: `generate` would go on from it."""
        call = self._current.call
        self._after_joined(module)
        if call is not None and (self._unseen or not self._connection.knows(PREFIX)):
            after = [] if call.past is None else layer_lengths(call.past)
            left = left_out(module, call.before, after[: len(call.before)], call.grown)
            if self._connection.knows(PREFIX):
                self._unseen.intersection_update(left)
            else:
                self._unseen.update(left)
                self._connection.was_read(PREFIX)
        if isinstance(output, tuple):
            return tuple(each for each in output if not is_temporary(each))
        if isinstance(output, Mapping) and is_temporary(PAST.value(output)):
            # Made anew: a field that is only set to None still stands among the output's items.
            return type(output)(**{name: each for name, each in output.items() if name not in PAST.spellings})
        return output


class _Current(Current):
    """With the prefixes of a forward of the model that is under way, in which both stacks share them."""

    is_shared: bool = False
    computed: Prefix | None = None

"""The seam prompt.embedding: learned vectors before the embedded tokens of a text.

The module of a stack is called with as many tokens more, whose vectors are then replaced where the tokens are embedded:
so everything that a family does with its tokens, such as scaling, positions, types and masks, is done with the vectors, too.
A decoder's output is cut to the text again, and its cache is marked, since a text that goes on has them before it already.
"""

from __future__ import annotations

import threading
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Protocol

import torch
from torch import Tensor
from torch.utils.hooks import RemovableHandle

from seamkit import _declarations as c
from seamkit.errors import InvalidArgumentError, PluginError, UnsupportedError
from seamkit.point import DECODER, ENCODER
from seamkit.torch.adapter import Adapter
from seamkit.torch.calls import bound, replace, spelled
from seamkit.torch.families import located_points, stack_modules
from seamkit.torch.names import (
    ATTENTIONS,
    EMBEDDED,
    ENCODED,
    ENCODED_MASK,
    IDS,
    LABELS,
    LOGITS,
    MASK,
    PAST,
    POSITIONS,
    SCALE,
    STARTS,
    TOKEN_TYPES,
)
from seamkit.torch.past import held_length
from seamkit.torch.prefixes import lengths as prefix_lengths
from seamkit.torch.site import Site
from seamkit.torch.visit import Visit

# Set on a cache that holds vectors before the text: how many.
_MARK = "_seamkit_prompt_length"
_IGNORED = -100  # of labels


class _Adapters(Protocol):
    def on(self, seam: str) -> list[Adapter]: ...


@dataclass(frozen=True)
class _Route:
    adapter: Adapter
    point: int  # in the adapter's own
    length: int  # how many vectors it puts before a text


def check(site: Site, adapters: Sequence[Adapter]) -> None:
    """Raises InvalidArgumentError where vectors before a text leave no position to it."""
    prompts = [each for each in adapters if each.seam == c.SEAM_PROMPT_EMBEDDING]
    if not prompts:
        return
    prefix = prefix_lengths(adapters)
    for index, (stack, positions) in enumerate(
        ((ENCODER, site.max_source_positions), (DECODER, site.max_target_positions))
    ):
        length = sum(each.length for each in _routes(prompts, stack))
        taken = prefix[index] if site.max_prefix_length[index] else 0
        room = max(positions - taken - 1, 0)
        if positions and length > room:
            raise InvalidArgumentError(
                f"the adapters put {length} vectors before the text of the {stack}, which take its positions: this model "
                f"leaves room for at most {room}"
            )


@torch.no_grad()
def _routes(adapters: Sequence[Adapter], stack: str) -> list[_Route]:
    """Those of the adapters that sit on a stack, in the order in which they run."""
    found = []
    for adapter in adapters:
        device = next((each.device for each in adapter.parameters()), torch.device("cpu"))
        for index, point in enumerate(adapter.points):
            if point.stack == stack:
                one = torch.ones(1, 1, dtype=torch.int32, device=device)
                vectors, _ = adapter.prompt(Visit(index), torch.zeros(1, 1, point.output_width, device=device), one)
                found.append(_Route(adapter, index, 0 if vectors is None else vectors.shape[1]))
    return found


@dataclass(eq=False)
class _Call:
    """One call of a stack. mask: of its tokens as they were given. puts: whether vectors are put before them."""

    tokens: int
    mask: Tensor | None
    puts: bool
    is_embedded: bool = False


@dataclass(eq=False)
class _Prompt:
    """What is put before the texts of one stack."""

    stack: str
    module: torch.nn.Module
    embedding: torch.nn.Module
    routes: list[_Route]
    is_cut: bool
    # Threads that share a model have a call each.
    calls: Any = field(default_factory=threading.local)

    @property
    def length(self) -> int:
        """Vectors before each text."""
        return sum(each.length for each in self.routes)

    def hooks(self) -> list[RemovableHandle]:
        return [
            self.module.register_forward_pre_hook(self.before, with_kwargs=True),
            self.embedding.register_forward_hook(self.embedded),
            self.module.register_forward_hook(self.after, with_kwargs=True),
        ]

    def before(self, module: torch.nn.Module, args: Any, kwargs: Any) -> tuple[tuple[()], dict[str, Any]]:
        call = bound(module, args, kwargs)
        ids, given, mask = IDS.value(call), EMBEDDED.value(call), MASK.value(call)
        tokens = given if ids is None else ids
        if not isinstance(tokens, Tensor):
            raise InvalidArgumentError(
                f"{type(module).__name__} was called with neither {IDS} nor {EMBEDDED}, and vectors are to go before them"
            )
        count = tokens.shape[1]
        if mask is not None and (not isinstance(mask, Tensor) or mask.dim() != 2):
            raise UnsupportedError(f"with vectors before a text {MASK} must be [batch, tokens], of the text alone")
        held = self._held(PAST.value(call))
        now = _Call(count, None if mask is None else mask[:, mask.shape[1] - count :], not held)
        self.calls.now = now
        length = self.length
        if mask is not None:
            replace(module, call, MASK, torch.cat([mask.new_ones(len(mask), length), mask], 1))
        if (positions := POSITIONS.value(call)) is not None:
            if positions.dim() != 2:
                raise UnsupportedError(f"with vectors before a text {POSITIONS} must be [batch, tokens]")
            first = torch.arange(length, dtype=positions.dtype, device=positions.device).expand(len(positions), -1)
            moved = positions + length
            replace(module, call, POSITIONS, moved if held else torch.cat([first, moved], 1))
        if held:
            return (), call
        if (types := TOKEN_TYPES.value(call)) is not None:
            replace(module, call, TOKEN_TYPES, torch.cat([types.new_zeros(len(types), length), types], 1))
        if ids is not None:
            # Any token but padding: a family may count those.
            padding = getattr(self.embedding, "padding_idx", None)
            others = ids.new_full((len(ids), length), 1 if padding == 0 else 0)
            replace(module, call, IDS, torch.cat([others, ids], 1))
        else:
            if self._scale != 1:
                raise UnsupportedError(
                    f"{type(module).__name__} scales what it embeds itself: with vectors before a text give it {IDS} in "
                    f"place of {EMBEDDED}"
                )
            replace(module, call, EMBEDDED, self._put(given, now))
        return (), call

    @property
    def _scale(self) -> float:
        """By which the stack multiplies what its embedding gives."""
        inner, own = SCALE.field(self.embedding), SCALE.field(self.module, 1.0)
        return 1.0 if inner is not None or own is None else float(own)

    def _held(self, past: Any) -> bool:
        """Whether a cache holds a text that goes on, with the vectors before it."""
        if past is None:
            return False
        if not hasattr(past, "get_seq_length") or getattr(past, "is_compileable", False):
            raise UnsupportedError(
                f"vectors before a text have no place in a {type(past).__name__}: give a DynamicCache, or detach the "
                "adapters first"
            )
        kept = held_length(past)
        if kept and (getattr(past, _MARK, 0) != self.length or kept < self.length):
            raise InvalidArgumentError(
                f"{spelled(type(self.module), PAST)} holds {kept} tokens that the {self.length} vectors of the attached "
                "adapters were not put before: begin with an empty one"
            )
        return bool(kept)

    def embedded(self, _: torch.nn.Module, args: Any, output: Tensor) -> Tensor:
        """The vectors in the place of the tokens that were added for them."""
        now: _Call | None = getattr(self.calls, "now", None)
        if now is None or now.is_embedded:
            return output
        scale, length = self._scale, self.length if now.puts else 0
        put = self._put(output[:, length:] * scale if scale != 1 else output[:, length:], now)
        return put / scale if scale != 1 else put

    def _put(self, x: Tensor, now: _Call) -> Tensor:
        now.is_embedded = True
        mask = now.mask
        known = torch.ones(x.shape[:2], dtype=torch.int32, device=x.device) if mask is None else mask.to(torch.int32)
        parts = []
        for route in self.routes:
            vectors, x = route.adapter.prompt(Visit(route.point, mask=known), x, known)
            found = 0 if vectors is None else vectors.shape[1]
            if found != route.length:
                raise PluginError(
                    f'adapter "{route.adapter.id}" must put as many vectors before every text at the point '
                    f'"{route.adapter.points[route.point]}", {route.length} as when it was attached, found {found}',
                    route.adapter.factory.plugin.id,
                )
            if vectors is not None:
                parts.append(vectors.expand(len(x), -1, -1))
        return torch.cat([*parts, x], 1) if now.puts and parts else x

    def after(self, module: torch.nn.Module, args: Any, kwargs: Any, output: Any) -> Any:
        now: _Call = self.calls.now
        self.calls.now = None
        if not now.is_embedded:
            raise UnsupportedError(
                f"the forward of {type(module).__name__} does not embed its tokens with the {type(self.embedding).__name__} "
                "that it names, so that vectors cannot be put before them"
            )
        if not now.puts or not self.length:
            return output
        if isinstance(output, Mapping) and (past := PAST.value(output)) is not None:
            setattr(past, _MARK, self.length)
        elif (past := PAST.value(bound(module, args, kwargs))) is not None:
            setattr(past, _MARK, self.length)
        return _cut(output, self.length, now.tokens) if self.is_cut else output


def _cut(output: Any, length: int, tokens: int) -> Any:
    """The output of a stack without the states of what stands before its text."""

    def states(part: Any) -> Any:
        if isinstance(part, Tensor) and part.dim() == 3 and part.shape[1] == length + tokens:
            return part[:, length:]
        return tuple(states(each) for each in part) if isinstance(part, tuple) else part

    if not isinstance(output, Mapping):
        return states(output)
    fields: Any = output  # a mapping that can be written
    for name, part in list(fields.items()):
        if any(name in each.spellings for each in ATTENTIONS) and isinstance(part, tuple):
            fields[name] = tuple(each if each is None else each[:, :, length:] for each in part)
        else:
            fields[name] = states(part)
    return output


def _of_source(prompt: _Prompt) -> Any:
    """A hook for the decoder: the mask of the encoder's states, where these are longer by what was put before them."""

    def before(module: torch.nn.Module, args: Any, kwargs: Any) -> tuple[tuple[()], dict[str, Any]]:
        call = bound(module, args, kwargs)
        mask, states = ENCODED_MASK.value(call), ENCODED.value(call)
        if isinstance(mask, Tensor) and mask.dim() == 2 and isinstance(states, Tensor):
            missing = states.shape[1] - mask.shape[1]
            if missing and missing == prompt.length:
                replace(module, call, ENCODED_MASK, torch.cat([mask.new_ones(len(mask), missing), mask], 1))
        return (), call

    return before


def _of_head(prompt: _Prompt) -> tuple[Any, Any]:
    """Hooks for a model with an encoder alone and a head: labels and scores of tokens are those of the text."""

    def before(model: torch.nn.Module, args: Any, kwargs: Any) -> tuple[tuple[()], dict[str, Any]]:
        call = bound(model, args, kwargs)
        labels, tokens = LABELS.value(call), IDS.value(call)
        tokens = EMBEDDED.value(call) if tokens is None else tokens
        if isinstance(labels, Tensor) and labels.dim() == 2 and labels.shape == tokens.shape[:2]:
            others = labels.new_full((len(labels), prompt.length), _IGNORED)
            replace(model, call, LABELS, torch.cat([others, labels], 1))
        prompt.calls.tokens = tokens.shape[1] if isinstance(tokens, Tensor) else 0
        return (), call

    def after(model: torch.nn.Module, _: Any, output: Any) -> Any:
        if isinstance(output, Mapping) and STARTS.value(output) is not None:
            raise UnsupportedError(
                f"{type(model).__name__} marks where answers start in a text: vectors before it would move them"
            )
        scores = LOGITS.value(output) if isinstance(output, Mapping) else None
        length, tokens = prompt.length, prompt.calls.tokens
        if isinstance(scores, Tensor) and scores.dim() == 3 and scores.shape[1] == length + tokens:
            output[LOGITS.among(output.keys())] = scores[:, length:]
        return output

    return before, after


def hooks(model: Any, adapters: _Adapters) -> list[RemovableHandle]:
    """Those of all adapters on embedded tokens."""
    attached, modules = adapters.on(c.SEAM_PROMPT_EMBEDDING), stack_modules(model)
    places = {each.point.stack: each for each in located_points(model) if each.point.seam == c.SEAM_PROMPT_EMBEDDING}
    handles: list[RemovableHandle] = []
    for stack, module in modules.items():
        if stack not in places or not (routes := _routes(attached, stack)):
            continue
        prompt = _Prompt(stack, module, places[stack].module, routes, stack == DECODER)
        handles += prompt.hooks()
        if stack == ENCODER and DECODER in modules:
            handles.append(modules[DECODER].register_forward_pre_hook(_of_source(prompt), with_kwargs=True))
        elif stack == ENCODER and module is not model:
            before, after = _of_head(prompt)
            handles += [model.register_forward_pre_hook(before, with_kwargs=True), model.register_forward_hook(after)]
    return handles

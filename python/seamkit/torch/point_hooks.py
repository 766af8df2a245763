"""The seams inside the layers: hooks on the layers and their matrices, and what is known of the tokens there."""

from __future__ import annotations

import threading
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any, Protocol

import torch
from torch import Tensor
from torch.utils.hooks import RemovableHandle

from seamkit import _declarations as c
from seamkit.errors import UnsupportedError
from seamkit.point import DECODER
from seamkit.torch.adapter import Adapter
from seamkit.torch.calls import bound
from seamkit.torch.connection import drops_layers
from seamkit.torch.encoder_output import states_of, with_states
from seamkit.torch.families import located_points, stack_modules
from seamkit.torch.marks import Marking, Marks, Removable
from seamkit.torch.names import EMBEDDED, ENCODED_MASK, IDS, MASK, PAST, POSITIONS
from seamkit.torch.past import held_length
from seamkit.torch.points import Located
from seamkit.torch.quantised import Quantised
from seamkit.torch.visit import Visit

# Of a decoder's attention over the encoder's tokens: their keys and values may be those of an earlier call.
_OF_SOURCE = ("cross_k", "cross_v")


class _Adapters(Protocol):
    @property
    def adapters(self) -> list[Adapter]: ...


@dataclass(frozen=True)
class _Route:
    adapter: Adapter
    point: int  # in the adapter's own
    phases: int


@dataclass(eq=False)
class _Tokens:
    """What a call of a stack says of its tokens. first: how many of the text came before. mask, positions: as they were
    given; None for none. marks: what else is known of a decoder's."""

    batch: int = 0
    first: int = 0
    mask: Any = None
    positions: Any = None
    marks: Marks | None = None
    _found: dict[Any, tuple[Tensor | None, Tensor, Tensor | None]] = field(default_factory=dict)

    def at(self, states: Tensor) -> tuple[Tensor | None, Tensor, Tensor | None]:
        """Of the tokens whose states [batch, n, width] these are: the mask, None for one of another form, the positions,
        and which are generated, None where it is not known."""
        batch, count = states.shape[:2]
        key = (batch, count, states.device)
        if key not in self._found:
            place = batch, count, states.device
            marks = self.marks or Marks()
            self._found[key] = self._mask(*place), self._positions(*place), marks.at(marks.generated, *place)
        return self._found[key]

    def _mask(self, batch: int, count: int, device: torch.device) -> Tensor | None:
        if self.mask is None:
            marks = self.marks or Marks()
            known = marks.at(marks.tokens, batch, count, device)
            return known if known is not None else torch.ones(batch, count, dtype=torch.int32, device=device)
        fits = isinstance(self.mask, Tensor) and self.mask.dim() == 2 and len(self.mask) == batch
        if not fits or self.mask.shape[1] < count:
            return None
        newest: Tensor = self.mask[:, self.mask.shape[1] - count :]
        return newest.to(device, torch.int32)

    def _positions(self, batch: int, count: int, device: torch.device) -> Tensor:
        if isinstance(self.positions, Tensor) and self.positions.dim() == 2 and self.positions.shape[1] == count:
            return self.positions.to(device, torch.int32).expand(batch, count)
        counted = torch.arange(self.first, self.first + count, dtype=torch.int32, device=device)
        return counted.expand(batch, count)


@dataclass(eq=False)
class _Stack:
    """One half of a model: the module that is called with its tokens, and the calls of the threads that share it."""

    name: str
    module: torch.nn.Module
    wanted: list[str]
    marking: Marking | None = None
    is_known: bool = False
    calls: Any = field(default_factory=threading.local)
    # The newest of any thread: autograd runs a checkpointed layer again in one of its own.
    newest: tuple[_Tokens, _Tokens] = field(default_factory=lambda: (_Tokens(), _Tokens()))

    def begin(self, module: torch.nn.Module, args: Any, kwargs: Any) -> None:
        call = bound(module, args, kwargs)
        given = IDS.value(call) if IDS.value(call) is not None else EMBEDDED.value(call)
        batch = len(given) if isinstance(given, Tensor) else 0
        own = _Tokens(batch, held_length(PAST.value(call)), MASK.value(call), POSITIONS.value(call))
        own.marks = None if self.marking is None else self.marking.now
        self.newest = self.calls.now = own, _Tokens(batch, 0, ENCODED_MASK.value(call))
        self.calls.seen = None if self.is_known else set()

    def end(self, module: torch.nn.Module, args: Any, output: Any) -> None:
        """Raises UnsupportedError where the first forward has gone around a matrix that an adapter sits on."""
        seen, self.calls.seen = getattr(self.calls, "seen", None), None
        if seen is None:
            return
        missing = [each for each in self.wanted if each not in seen]
        if not missing:
            self.is_known = True
        elif not drops_layers(module):
            raise UnsupportedError(
                f'the forward of {type(module).__name__} does not call the module at the point "{missing[0]}", so that '
                "an adapter there would change nothing: choose other layers or targets"
            )

    def tokens(self, point: str, is_of_source: bool) -> _Tokens:
        if (seen := getattr(self.calls, "seen", None)) is not None:
            seen.add(point)
        return getattr(self.calls, "now", self.newest)[is_of_source]


def hooks(model: Any, attached: _Adapters) -> list[Removable]:
    """Those of all adapters on points, which run in the order in which they are attached."""
    routes: dict[str, list[_Route]] = {}
    for adapter in attached.adapters:
        if adapter.seam == c.SEAM_PROMPT_EMBEDDING:
            continue  # `prompts`
        for index, point in enumerate(adapter.points):
            routes.setdefault(str(point), []).append(_Route(adapter, index, adapter.phases[index]))
    if not routes:
        return []
    places = [each for each in located_points(model) if str(each.point) in routes]
    handles: list[Removable] = []
    for name, module in stack_modules(model).items():
        there = [each for each in places if each.point.stack == name]
        if not there:
            continue
        stack = _Stack(name, module, [str(each.point) for each in there if each.point.name not in _OF_SOURCE])
        if name == DECODER:
            stack.marking = Marking(model)
            handles += stack.marking.hooks()
        handles += [
            module.register_forward_pre_hook(stack.begin, with_kwargs=True),
            module.register_forward_hook(stack.end),
        ]
        for each in there:
            handles += _at(each, stack, routes[str(each.point)])
    return handles


def _at(place: Located, stack: _Stack, routes: Sequence[_Route]) -> list[RemovableHandle]:
    name, is_of_source = str(place.point), place.point.name in _OF_SOURCE

    def visited(phase: int, states: Tensor, x: Tensor | None) -> Tensor:
        """What goes on in the place of the states."""
        tokens = stack.tokens(name, is_of_source)
        flat = states.shape
        if states.dim() == 2 and tokens.batch:
            # Some families run their feed-forward network on all tokens of a batch in one row.
            states, x = _in_rows(states, tokens.batch), None if x is None else _in_rows(x, tokens.batch)
        if states.dim() != 3:
            raise UnsupportedError(f'at the point "{name}" states [batch, n, width] are expected, found {list(flat)}')
        mask, positions, generated = tokens.at(states)
        weight = place.weight if place.point.seam == c.SEAM_PROJECTION else None
        quantised = weight if isinstance(weight, Quantised) else None
        weight = None if isinstance(weight, Quantised) else weight
        for each in routes:
            if not each.phases & phase:
                continue
            visit = Visit(each.point, phase, mask, positions, generated, quantised)
            if place.point.seam == c.SEAM_LAYER_OUTPUT:
                states = each.adapter.visit(visit, states)
            elif x is None:
                states = each.adapter.visit(visit, states, weight, place.bias)
            else:
                states = each.adapter.visit(visit, x, weight, place.bias, states)
        return states.reshape(flat)

    def before(_: torch.nn.Module, args: Any) -> Any:
        return (visited(c.SEAM_PHASE_BEFORE, args[0], None), *args[1:])

    def after(_: torch.nn.Module, args: Any, output: Any) -> Any:
        if place.point.seam == c.SEAM_PROJECTION:
            return visited(c.SEAM_PHASE_AFTER, output, args[0])
        return with_states(output, visited(c.SEAM_PHASE_AFTER, states_of(output), None))

    phases = 0
    for each in routes:
        phases |= each.phases
    handles: list[RemovableHandle] = []
    if phases & c.SEAM_PHASE_BEFORE:
        handles.append(place.module.register_forward_pre_hook(before))
    if phases & c.SEAM_PHASE_AFTER:
        handles.append(place.module.register_forward_hook(after))
    return handles


def _in_rows(states: Tensor, batch: int) -> Tensor:
    return states.reshape(batch, -1, states.shape[-1])

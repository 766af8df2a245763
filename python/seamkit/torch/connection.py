"""Whether what adapters give reaches the model's output: looked at in the first forward, and never again.

A hook on a module that the model's forward goes around, or whose output nobody reads, would leave the model as it was
without a word. A second forward with another value at the seam would show it, but it runs the hooks of others twice,
moves random numbers, fills caches and needs the memory of two. A path in the autograd graph is there only with
gradients, and the first forward is often one of `generate`. So the value itself is watched in one forward: what the
encoder's adapters give is a tensor that notes who computes with it, whatever its numbers are (an adapter that starts as
the identity changes none), and a prefix is read where the layers append to the cache that holds it. The watch begins
behind the encoder's own hooks, so that those of users read nothing; hooks on the modules behind it cannot be told from
readers. Functions of autograd take the watch off a tensor, as those of fully_shard do, but they leave the path in the
graph, which is looked for as well. Where a model leaves layers out in training, a forward without a reader shows
nothing, and the next one is looked at.
"""

from __future__ import annotations

import copy
import logging
import threading
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, fields, is_dataclass
from typing import Any

import torch
from torch import Tensor
from torch.utils.hooks import RemovableHandle

from seamkit.errors import UnsupportedError
from seamkit.torch.calls import bound, spelled
from seamkit.torch.families import BUILT_IN
from seamkit.torch.names import ENCODER_OUTPUTS, IDS, IS_ENCODER_DECODER, LAYERDROP, PAST

_LOG = logging.getLogger("seamkit")
ENCODER, PREFIX = "encoder", "past"
NOT_COPIED = "a model with adapters cannot be pickled or copied: detach them first, copy, and attach again"


@dataclass(eq=False)
class _Call:
    """What was seen since a forward of the model began."""

    # The forward that was under way in this thread, where a hook of a user calls the model again.
    outer: _Call | None
    run: set[str] = field(default_factory=set)
    read: set[str] = field(default_factory=set)
    # What the encoder's adapters gave, and what was detached from it.
    states: list[Tensor] = field(default_factory=list)
    handles: list[RemovableHandle] = field(default_factory=list)


class Connection:
    """The check of one model's seams: `ENCODER` and `PREFIX`, after the fields of `Family` that find their modules.

    What one forward has shown holds as long as any adapter is attached and the family finds the same module, since where
    a seam lies does not depend on the adapters on it. Threads that share a model have a call each.
    """

    def __init__(self, model: Any):
        self._model = model
        self._modules: dict[str, torch.nn.Module] = {}
        self._known: dict[str, torch.nn.Module] = {}
        self._watches: list[tuple[torch.nn.Module, Callable[..., Any]]] = []
        # Seams that were run at all: `generate` runs the encoder outside the model's forward.
        self._run: set[str] = set()
        self._has_warned = False
        self._calls = threading.local()
        self._open: list[_Call] = []

    def expect(self, seam: str, module: torch.nn.Module) -> None:
        """A module on which hooks for this seam are about to be put."""
        self._modules[seam] = module

    def watch(self, module: torch.nn.Module, hook: Callable[..., Any]) -> None:
        """A hook that has to come behind all others of a module, in the forwards that are looked at."""
        self._watches.append((module, hook))

    def forget(self) -> None:
        """No hooks are on any module."""
        self._modules, self._watches = {}, []

    def knows(self, seam: str) -> bool:
        return self._known.get(seam) is self._modules[seam]

    def begin(self) -> list[RemovableHandle]:
        """The hook that comes before those of the seams."""
        return [self._model.register_forward_pre_hook(self._before)]

    def end(self) -> list[RemovableHandle]:
        """The hooks that come behind them."""
        return [
            # What is watched in the model's own output is ordinary again before the hooks of users see it.
            *[module.register_forward_hook(hook) for module, hook in self._watches if module is self._model],
            self._model.register_forward_hook(self._after, with_kwargs=True),
            # Also behind a forward that failed.
            self._model.register_forward_hook(self._over, always_call=True),
        ]

    def ran(self, seam: str) -> None:
        """Notes that a seam's adapters have run."""
        if not self.knows(seam):
            self._ran(seam)

    def was_read(self, seam: str) -> None:
        """Notes that what a seam's adapters gave was read."""
        if not self.knows(seam):
            self._was_read(seam)

    def watched(self, states: Tensor) -> Tensor:
        """What the encoder gives: watched, where it is not known yet whether it is read."""
        return states if self.knows(ENCODER) else self._watched(states, torch.compiler.is_compiling())

    @property
    def _is_over(self) -> bool:
        known = all(self._known.get(seam) is module for seam, module in self._modules.items())
        return known and not self._open

    def _before(self, _: Any, __: Any) -> None:
        if not self._is_over:
            self._start()

    def _after(self, model: Any, args: Any, kwargs: Any, output: Any) -> None:
        if not self._is_over:
            self._check(model, args, kwargs, output)

    def _over(self, *_: Any) -> None:
        if not self._is_over:
            self._stop()

    def __reduce__(self) -> Any:
        raise TypeError(NOT_COPIED)

    # Compilers leave these alone: in the first forward the plugin's own code runs outside the graph as well.

    @torch.compiler.disable  # type: ignore[untyped-decorator]
    def _start(self) -> None:
        self._calls.now = call = _Call(self._now)
        self._open.append(call)
        # For each forward anew, behind what users have put there since the last.
        call.handles += [
            module.register_forward_hook(hook) for module, hook in self._watches if module is not self._model
        ]

    @torch.compiler.disable  # type: ignore[untyped-decorator]
    def _stop(self) -> None:
        if (call := self._now) is None:
            return
        self._open.remove(call)
        self._calls.now = call.outer
        for handle in call.handles:
            handle.remove()
        # Whoever kept one has an ordinary tensor from here on.
        for each in call.states:
            if isinstance(each, _Watched):
                del each.call
                each.__class__ = Tensor  # type: ignore[assignment]

    @property
    def _now(self) -> _Call | None:
        """None outside a forward of the model, where nothing can be said of what becomes of a value."""
        return getattr(self._calls, "now", None)

    @torch.compiler.disable  # type: ignore[untyped-decorator]
    def _ran(self, seam: str) -> None:
        self._run.add(seam)
        if (call := self._now) is not None:
            call.run.add(seam)

    @torch.compiler.disable  # type: ignore[untyped-decorator]
    def _was_read(self, seam: str) -> None:
        if (call := self._now) is not None:
            call.read.add(seam)

    @torch.compiler.disable  # type: ignore[untyped-decorator]
    def _watched(self, states: Tensor, is_compiled: bool) -> Tensor:
        call = self._now
        # Watched already by the hook that a forward in another thread, or an outer one, has put there.
        if call is None or any(states is each for each in call.states):
            return states
        if not is_compiled and type(states) is Tensor:
            return _Watched.of(states, call)
        call.states.append(states)
        # A compiler touches what it only carries along, and a DTensor has to stay what it is: the graph has to tell, and
        # without gradients nothing can.
        if states.grad_fn is None:
            call.read.add(ENCODER)
        return states

    @torch.compiler.disable  # type: ignore[untyped-decorator]
    def _check(self, model: Any, args: Any, kwargs: Any, output: Any) -> None:
        call = self._now
        if call is None:
            return
        for seam, module in self._modules.items():
            if self.knows(seam):
                continue
            where = f"the {type(module).__name__} that {self._named(seam)} finds"
            if seam not in call.run:
                if seam == ENCODER and ENCODER_OUTPUTS.value(bound(model, args, kwargs)) is not None:
                    self._check_given()
                    continue
                raise UnsupportedError(
                    f"the forward of {type(model).__name__} does not call {where}, so that adapters there would change "
                    f"nothing: {self._advice(seam)}"
                )
            if seam not in call.read and not (seam == ENCODER and self._holds(output, call.states)):
                if drops_layers(model, but=module if seam == ENCODER else None):
                    continue
                raise UnsupportedError(
                    f"nothing in {type(model).__name__} reads what adapters give behind {where}, so that they would "
                    f"change nothing: {self._advice(seam)}"
                )
            self._known[seam] = module

    def _holds(self, output: Any, states: Sequence[Tensor]) -> bool:
        """Whether a model's output holds the states, or autograd would go from it to them.

        An encoder-decoder gives them out beside its scores, which does not mean that the decoder reads them.
        """
        is_beside = IS_ENCODER_DECODER.field(self._model.config)
        held = [_first(output)] if is_beside else _tensors(output)
        return any(each is other for each in held for other in states) or _reaches(_tensors(output), states)

    def _check_given(self) -> None:
        """An encoder's output that the caller gives: `generate` had it from the encoder, adapted. Of one that was made
        otherwise nothing can be known."""
        if ENCODER not in self._run and not self._has_warned:
            self._has_warned = True
            _LOG.warning(
                "%s was given and the encoder that %s finds has not run since an adapter was attached to it: the adapter "
                "changes nothing in this forward, unless it was applied to what was given",
                ENCODER_OUTPUTS,
                self._named(ENCODER),
            )

    def _named(self, seam: str) -> str:
        return f'"{seam}" of family "{self._model.config.model_type}"'

    def _advice(self, seam: str) -> str:
        family = self._model.config.model_type
        wanted = "whose output the rest of the model reads"
        if seam == PREFIX:
            others = ", ".join(
                [
                    name
                    for name, each in self._model.named_modules()
                    if name
                    and each is not self._modules[seam]
                    and spelled(type(each), PAST)
                    and spelled(type(each), IDS)
                ]
            )
            wanted = "that is called with the past" + (f", one of {others}" if others else "")
        # A built-in family is not registered again.
        first = "set model.config.model_type to a name of its own and " if family in BUILT_IN else ""
        return (
            f'{first}register the module {wanted}, seamkit.torch.register_family("{family}", ..., {seam}=lambda model: '
            "model. ...)"
        )


def drops_layers(module: torch.nn.Module, but: torch.nn.Module | None = None) -> bool:
    """Whether layers of a module may be left out of a forward in training, so that one in which nothing is read shows
    nothing. but: a part whose layers do not matter."""
    apart = set() if but is None else set(but.modules())
    return any(each.training and (LAYERDROP.field(each) or 0) > 0 for each in module.modules() if each not in apart)


class _Watched(Tensor):
    """A tensor that notes when something is computed with it; what is computed is an ordinary tensor.

    It is saved, pickled and copied as an ordinary tensor, and it becomes one when the forward is over."""

    call: _Call

    @classmethod
    def of(cls, states: Tensor, call: _Call) -> _Watched:
        watched = states.as_subclass(cls)
        watched.call = call
        call.states.append(watched)
        return watched

    def __reduce_ex__(self, protocol: Any) -> Any:
        return self._plain().__reduce_ex__(protocol)  # type: ignore[no-untyped-call]

    def __deepcopy__(self, memo: Any) -> Any:
        return copy.deepcopy(self._plain(), memo)

    def _plain(self) -> Tensor:
        with torch._C.DisableTorchFunctionSubclass():
            return self.as_subclass(Tensor)

    @classmethod
    def __torch_function__(
        cls, function: Any, types: Sequence[type], args: Sequence[Any] = (), kwargs: Mapping[str, Any] | None = None
    ) -> Any:
        with torch._C.DisableTorchFunctionSubclass():
            result = function(*args, **(kwargs or {}))
        name = getattr(function, "__name__", "")
        if name == "detach" and isinstance(args[0], _Watched):
            # The same values, of which a Parameter can only be made where the type is the same.
            return cls.of(result, args[0].call)
        # Sizes, devices and the like are no tensors; what is only shaped like this one does not hold its values; and what
        # comes back as it is, from `to` for example, is still watched.
        if not name.startswith("new_") and not name.endswith("_like") and _is_new(result, args):
            for each in [*args, *(kwargs or {}).values()]:
                for part in each if isinstance(each, tuple | list) else [each]:
                    if isinstance(part, _Watched):
                        part.call.read.add(ENCODER)
        return result


def _is_new(result: Any, args: Sequence[Any]) -> bool:
    if isinstance(result, tuple | list):
        return any(_is_new(each, args) for each in result)
    return isinstance(result, Tensor) and not any(result is each for each in args)


def _first(output: Any) -> Any:
    """What a caller takes for a model's output: of an encoder alone, its states."""
    if isinstance(output, Mapping):
        return next(iter(output.values()), None)
    return output[0] if isinstance(output, tuple | list) and output else output


def _reaches(output: Sequence[Tensor], states: Sequence[Tensor]) -> bool:
    """Whether autograd would go from an output to these states; those in the output that are the states do not count."""
    ends = {each.grad_fn for each in states} - {None}
    reached: list[Any] = [each.grad_fn for each in output if not any(each is other for other in states)] if ends else []
    seen: set[Any] = set()
    while reached:
        node = reached.pop()
        if node in ends:
            return True
        if node is not None and node not in seen:
            seen.add(node)
            reached += [each for each, _ in node.next_functions]
    return False


def _tensors(output: Any) -> list[Tensor]:
    """Those of a model's output, a tensor or some in mappings, sequences and dataclasses."""
    if isinstance(output, Tensor):
        return [output]
    parts: Any = ()
    if isinstance(output, Mapping):
        parts = list(output.values())
    elif isinstance(output, tuple | list):
        parts = output
    elif is_dataclass(output):
        parts = [getattr(output, each.name) for each in fields(output)]
    return [found for each in parts for found in _tensors(each)]

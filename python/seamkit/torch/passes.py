"""A pass of the torch engine: the tensors behind the handles of one forward, the first failure, and what was computed
as a graph."""

from __future__ import annotations

import itertools
import linecache
import weakref
from collections.abc import Callable, Sequence
from typing import Any

import torch
from torch import Tensor, fx

from seamkit.errors import InternalError, OutOfMemoryError, PluginError, SeamError, ShapeError
from seamkit.torch import checks

# Handles are numbers, never addresses, and never used twice: one of an earlier pass is found out.
new_handles = itertools.count(1)
_passes: dict[int, Pass] = {}


class Pass:
    """One forward. It ends with `close`, and with it every handle made in it.

    device: where constants are made. real: the dtype that a plugin knows as f32. origin: the plugin's id, for errors.
    record: whether the operations are kept as a graph (`trace`). training: whether dropout drops anything.
    """

    def __init__(
        self,
        device: torch.device,
        real: torch.dtype = torch.float32,
        origin: str = "",
        record: bool = False,
        training: bool = False,
    ):
        self.device, self.real, self.origin, self.training = device, real, origin, training
        self.failure: SeamError | None = None
        self.interruption: BaseException | None = None
        self._tensors: dict[int, Tensor] = {}
        self._refused: dict[int, tuple[SeamError, Tensor]] = {}
        self._scopes: list[list[int]] = []
        self._graph: fx.Graph | None = fx.Graph() if record else None
        self._nodes: dict[int, fx.Node] = {}
        self._constants: dict[str, Tensor] = {}
        self.handle = next(new_handles)
        _passes[self.handle] = self

    def close(self) -> None:
        _passes.pop(self.handle, None)
        self._tensors.clear()
        self._nodes.clear()

    # ---- Handles

    def add(self, tensor: Tensor, node: fx.Node | None = None) -> int:
        handle = next(new_handles)
        self._tensors[handle] = tensor
        if node is not None:
            node.meta["shape"] = tuple(tensor.shape)
            self._nodes[handle] = node
        if self._scopes:
            self._scopes[-1].append(handle)
        return handle

    def tensor(self, handle: int) -> Tensor:
        found = self._tensors.get(handle)
        if found is None:
            if handle in self._refused:
                raise self._refused[handle][0]
            raise PluginError(
                "a tensor handle is not of this pass: handles end with the pass or the scope that they were made in",
                self.origin,
            )
        return found

    def placeholder(self, name: str, tensor: Tensor) -> int:
        """An input of the graph; all of them come before anything is computed."""
        return self.add(tensor, None if self._graph is None else self._graph.placeholder(name))

    def refused(self, error: SeamError, shape: Sequence[int]) -> int:
        """A handle of something of a shape that no operation can read: whoever does fails with the error."""
        handle = next(new_handles)
        self._refused[handle] = error, torch.empty(*shape, dtype=self.real, device="meta")
        return handle

    def measured(self, handle: int) -> Tensor:
        """A tensor whose sizes and dtype alone are asked for."""
        refused = self._refused.get(handle)
        return self.tensor(handle) if refused is None else refused[1]

    def constant(self, tensor: Tensor) -> int:
        """A tensor that the graph keeps as it is."""
        if self._graph is None:
            return self.add(tensor)
        if tensor.is_inference():
            # The graph may be trained later, and inference mode's tensors may not be.
            with torch.inference_mode(False):
                tensor = tensor.clone()
        name = f"constant_{len(self._constants)}"
        self._constants[name] = tensor
        return self.add(tensor, self._graph.get_attr(name))

    def compute(self, function: Callable[..., Tensor], arguments: Sequence[Any]) -> int:
        """Runs a function of torch on handles and plain values, and keeps it in the graph."""
        result = function(*[self.resolved(each) for each in arguments])
        if result.dim() > checks.MAX_RANK:
            raise ShapeError(f"the result would have {result.dim()} axes, more than {checks.MAX_RANK}")
        if self._graph is None:
            return self.add(result)
        return self.add(result, self._graph.call_function(function, tuple(self._node(each) for each in arguments)))

    def resolved(self, argument: Any) -> Any:
        if isinstance(argument, Handle):
            return self.tensor(argument)
        return [self.tensor(each) for each in argument] if isinstance(argument, Handles) else argument

    def _node(self, argument: Any) -> Any:
        if isinstance(argument, Handle):
            return self._nodes[argument]
        return [self._nodes[each] for each in argument] if isinstance(argument, Handles) else argument

    def begin_scope(self) -> None:
        self._scopes.append([])

    def end_scope(self, keep: set[int]) -> None:
        if not self._scopes:
            raise PluginError("scope_end: there is no open scope")
        ended = self._scopes.pop()
        for handle in ended:
            if handle not in keep:
                self._tensors.pop(handle, None)
                self._nodes.pop(handle, None)
        if self._scopes:
            self._scopes[-1] += [each for each in ended if each in keep]

    # ---- The graph

    @property
    def is_recording(self) -> bool:
        return self._graph is not None

    def stop_recording(self) -> None:
        """Values have left the pass: what the plugin does next may depend on them, so there is no graph of it."""
        self._graph = None

    def trace(self, outputs: Sequence[int | None]) -> Trace | None:
        """The graph from the placeholders to these handles; None where there is none."""
        if self._graph is None:
            return None
        self._graph.output(tuple(None if each is None else self._nodes[each] for each in outputs))
        return Trace(self._graph, self._constants)

    # ---- Failures

    def latch(self, error: BaseException, name: str = "") -> None:
        """Keeps the first failure; what is no error, such as Ctrl-C, is raised again when the plugin has returned."""
        if not isinstance(error, Exception):
            self.interruption = self.interruption or error
        if self.failure is None:
            failure = sentence(error, name)
            failure.origin = self.origin
            self.failure = failure
            self.failure.__cause__ = None if isinstance(error, SeamError) else error

    def check(self) -> None:
        """Raises what was latched."""
        if self.interruption is not None:
            raise self.interruption
        if self.failure is not None:
            raise self.failure


class Handle(int):
    """A handle among the arguments of an operation."""


class Handles(list[int]):
    """Several of them."""


def find(handle: int | None) -> Pass | None:
    return None if handle is None else _passes.get(handle)


def sentence(error: BaseException, name: str) -> SeamError:
    """What went wrong in an operation, as an error of the table."""
    if isinstance(error, SeamError):
        return error
    first = (str(error).splitlines() or [""])[0].strip().rstrip(".")
    text = f"{name}: {first or type(error).__name__}"
    if isinstance(error, MemoryError | torch.cuda.OutOfMemoryError) or "allocate memory" in text:
        return OutOfMemoryError(f"{name}: not enough memory: {first}")
    if isinstance(error, RuntimeError | IndexError | ValueError | TypeError | OverflowError):
        return ShapeError(text)
    return InternalError(f"{name}: {type(error).__name__}: {first}")


class Trace:
    """What an adapter computes for inputs of certain shapes, as a graph of torch operations.

    The module is made when it is first asked for, so that shapes seen once cost nothing beyond the record.
    """

    def __init__(self, graph: fx.Graph, constants: dict[str, Tensor]):
        self._graph, self._constants = graph, constants
        self._module: fx.GraphModule | None = None

    @property
    def module(self) -> fx.GraphModule:
        return self._module or self._made()

    @torch.compiler.disable  # type: ignore[untyped-decorator]
    def _made(self) -> fx.GraphModule:
        root = torch.nn.Module()
        for name, tensor in self._constants.items():
            root.register_buffer(name, tensor)
        self._graph.eliminate_dead_code()
        module = fx.GraphModule(root, self._graph)
        weakref.finalize(module, _forget, module.forward.__code__.co_filename).atexit = False
        self._module = module
        return module

    def __call__(self, *values: Tensor) -> Any:
        """From the placeholders' values to the outputs. Not by the module's own call, whose hooks nobody can set."""
        return (self._module or self.module).forward(*values)


def _forget(name: str) -> None:
    """The source of a graph that is gone, 3 KB, which torch.fx would keep for good."""
    linecache.cache.pop(name, None)
    getattr(getattr(fx.graph_module, "_loader", None), "eval_cache", {}).pop(name, None)

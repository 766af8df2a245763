"""An ONNX graph that is being written: nodes, named initializers, sizes computed from the inputs' sizes."""

from __future__ import annotations

import contextlib
import functools
import itertools
from collections.abc import Iterator, Sequence
from typing import Any

import numpy as np
import onnx
from onnx import helper, numpy_helper

from seamkit.onnx.sizes import Size

KINDS: dict[str, Any] = {"f32": np.float32, "i32": np.int32, "i64": np.int64}
TYPES = {
    "f32": onnx.TensorProto.FLOAT,
    "i32": onnx.TensorProto.INT32,
    "i64": onnx.TensorProto.INT64,
    "bool": onnx.TensorProto.BOOL,
}


class Graph:
    """Results have names of their own; inside `branch` nodes go into a subgraph, which sees the names outside it.

    measured: the input whose first axes are batch and sequence.
    """

    def __init__(self, measured: str) -> None:
        self._measured = measured
        self._nodes: list[onnx.NodeProto] = []
        self._initializers: dict[str, onnx.TensorProto] = {}
        self._constants: dict[Any, str] = {}
        # Results that are the same wherever they are asked for, in this graph or branch.
        self._known: dict[Any, str] = {}
        self._numbers = itertools.count()
        # What stands before the names of results: "repcali".
        self.scope = ""

    # ---- Nodes

    def add(self, operation: str, *inputs: str, **attributes: Any) -> str:
        """A node with one result, whose name is returned."""
        return self.several(operation, 1, *inputs, **attributes)[0]

    def several(self, operation: str, count: int, *inputs: str, **attributes: Any) -> list[str]:
        results = [f"{self.scope}/{operation}_{next(self._numbers)}" for _ in range(count)]
        self._nodes.append(helper.make_node(operation, inputs, results, name=results[0], **attributes))
        return results

    def once(self, operation: str, *inputs: str, **attributes: Any) -> str:
        """What `add` gives, but the earlier result where the same was asked for before."""
        key = (operation, inputs, tuple(attributes.items()))
        if key not in self._known:
            self._known[key] = self.add(operation, *inputs, **attributes)
        return self._known[key]

    # ---- Constants

    def initializer(self, name: str, values: np.ndarray[Any, Any]) -> str:
        if name not in self._initializers:
            self._initializers[name] = numpy_helper.from_array(np.asarray(values, order="C"), name)
        return name

    def constant(self, values: Any, kind: str) -> str:
        """An initializer with a name of its own; equal ones are one."""
        array = np.asarray(values, KINDS[kind])
        key = (kind, array.shape, array.tobytes())
        if key not in self._constants:
            self._constants[key] = self.initializer(f"{self.scope}/constant_{len(self._constants)}", array)
        return self._constants[key]

    def axes(self, *axes: int) -> str:
        return self.constant(axes, "i64")

    # ---- Sizes

    def sizes(self, sizes: Sequence[Size]) -> str:
        """An i64 vector."""
        if all(each.is_constant for each in sizes):
            return self.constant([each.constant for each in sizes], "i64")
        parts = [self._size(each) for each in sizes]
        return parts[0] if len(parts) == 1 else self.once("Concat", *parts, axis=0)

    def number(self, value: Size | float, kind: str) -> str:
        """A tensor without axes."""
        if isinstance(value, Size):
            if value.is_constant:
                return self.constant(value.constant, kind)
            return self.once("Cast", self.once("Squeeze", self._size(value)), to=TYPES[kind])
        return self.constant(value, kind)

    def filled(self, value: Size | float, kind: str, shape: Sequence[Size]) -> str:
        """A tensor of equal elements."""
        if all(each.is_constant for each in shape) and not (isinstance(value, Size) and not value.is_constant):
            number = value.constant if isinstance(value, Size) else value
            return self.constant(np.full([each.constant for each in shape], number), kind)
        return self.once("Expand", self.number(value, kind), self.sizes(shape))

    def _size(self, size: Size) -> str:
        """One element of i64."""
        terms = [(size.product, [0, 1]), (size.batch, [0]), (size.sequence, [1])]
        found = [self._term(factor, axes) for factor, axes in terms if factor]
        if size.constant or not found:
            found.append(self.axes(size.constant))
        return functools.reduce(lambda one, other: self.once("Add", one, other), found)

    def _term(self, factor: int, axes: list[int]) -> str:
        sizes = [self.once("Shape", self._measured, start=axis, end=axis + 1) for axis in axes]
        return functools.reduce(
            lambda one, other: self.once("Mul", one, other), [*sizes, *([] if factor == 1 else [self.axes(factor)])]
        )

    # ---- Branches

    @contextlib.contextmanager
    def branch(self) -> Iterator[list[onnx.NodeProto]]:
        """The nodes that are added inside."""
        nodes, known = self._nodes, self._known
        self._nodes, self._known = [], dict(known)
        try:
            yield self._nodes
        finally:
            self._nodes, self._known = nodes, known

    def choose(self, condition: str, branches: Sequence[tuple[list[onnx.NodeProto], str]]) -> str:
        """The result of the first branch where the condition holds, else of the second."""
        bodies = []
        for nodes, result in branches:
            if not any(result in each.output for each in nodes):
                own = f"{self.scope}/Identity_{next(self._numbers)}"
                nodes.append(helper.make_node("Identity", [result], [own], name=own))
                result = own
            bodies.append(helper.make_graph(nodes, result, [], [onnx.ValueInfoProto(name=result)]))
        return self.add("If", condition, then_branch=bodies[0], else_branch=bodies[1])

    # ---- The whole

    def finished(
        self, name: str, inputs: list[onnx.ValueInfoProto], outputs: list[tuple[str, onnx.ValueInfoProto]]
    ) -> onnx.GraphProto:
        """The graph with results under the names of its outputs."""
        for result, output in outputs:
            self._name(result, output.name)
        return helper.make_graph(
            self._nodes, name, inputs, [each for _, each in outputs], list(self._initializers.values())
        )

    def _name(self, result: str, name: str) -> None:
        """Names a result that nothing reads; one that something does gets a second name."""
        maker = next((each for each in self._nodes if result in each.output), None)
        if maker is None or any(result in each.input for each in self._nodes):
            self._nodes.append(helper.make_node("Identity", [result], [name], name=name))
        else:
            maker.output[list(maker.output).index(result)] = name

"""Recordings of an adapter as nodes of an ONNX graph."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any

import numpy as np

from seamkit.onnx.graph import KINDS, TYPES, Graph
from seamkit.onnx.operations import LOWERED, Value
from seamkit.onnx.recording import Entry, Recording, Ref
from seamkit.onnx.sizes import Size
from seamkit.torch.adapter import Adapter

_TAKEN = ("hidden_states", "attention_mask", "last_hidden_state", "scores", "logits")


class Writer:
    """inputs: what flows into the seam. names: what stands before the names of the adapter's parameters."""

    def __init__(self, graph: Graph, adapter: Adapter, inputs: Sequence[Value], names: str = ""):
        self._graph, self._adapter, self._inputs, self._names = graph, adapter, inputs, names

    def write(self, ranges: Sequence[Recording]) -> str:
        """The name of what leaves the seam: of the range that the length lies in."""
        graph, [first, *rest] = self._graph, ranges
        if first.last is None:
            return self._entries(first.entries)
        condition = graph.once("LessOrEqual", graph.sizes([Size(0, sequence=1)]), graph.axes(first.last))
        with graph.branch() as short:
            in_short = self._entries(first.entries)
        with graph.branch() as long:
            in_long = self.write(rest)
        return graph.choose(condition, [(short, in_short), (long, in_long)])

    def _entries(self, entries: Sequence[Entry]) -> str:
        *steps, output = entries
        used = {ref.index for each in entries for ref in _refs(each.arguments)}
        values: list[Value] = []
        for index, entry in enumerate(steps):
            values.append(Value(self._entry(entry, values) if index in used else "", entry.shape))
        result: Ref = output.arguments[0][0]
        return values[result.index].name

    def _entry(self, entry: Entry, values: list[Value]) -> str:
        if entry.name == "constant":
            kind, value = entry.arguments
            return self._constant(kind, value, entry.shape)
        if entry.name == "parameter":
            place = self._adapter._places[entry.arguments[0].constant]
            name = self._names + place.name
            # A plugin may call a parameter as the file calls an input.
            own = f"{self._adapter.id}.{name}" if name in _TAKEN else name
            return self._graph.initializer(own, place.tensor.detach().numpy())
        if entry.name == "input":
            given = self._inputs[entry.arguments[0].constant]
            return self._graph.once("Cast", given.name, to=TYPES["i32"]) if given.kind == "i64" else given.name
        return LOWERED[entry.name](self._graph, *(self._argument(each, values) for each in entry.arguments))

    def _argument(self, argument: Any, values: list[Value]) -> Any:
        if isinstance(argument, Ref):
            return values[argument.index]
        if isinstance(argument, tuple):
            return tuple(self._argument(each, values) for each in argument)
        return argument

    def _constant(self, kind: str, value: Size | float | bytes, shape: tuple[Size, ...]) -> str:
        if isinstance(value, bytes):
            sizes = [each.constant for each in shape]
            return self._graph.constant(np.frombuffer(value, KINDS[kind]).reshape(sizes), kind)
        return self._graph.filled(value, kind, shape)


def _refs(argument: Any) -> Iterator[Ref]:
    if isinstance(argument, Ref):
        yield argument
    elif isinstance(argument, tuple):
        for each in argument:
            yield from _refs(each)

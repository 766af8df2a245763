"""Sizes of tensors as sums of products of the sizes of the inputs."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

# The sizes of batch and sequence in a trace.
Point = tuple[int, int]


class NotGeneral(Exception):
    """Traces differ in something other than sizes."""


@dataclass(frozen=True)
class Size:
    """constant + batch * the batch's size + sequence * the sequence's + product * both."""

    constant: int
    batch: int = 0
    sequence: int = 0
    product: int = 0

    @property
    def is_constant(self) -> bool:
        return not (self.batch or self.sequence or self.product)

    def at(self, batch: int, sequence: int) -> int:
        return self.constant + self.batch * batch + self.sequence * sequence + self.product * batch * sequence

    def __add__(self, other: Size) -> Size:
        return Size(
            self.constant + other.constant,
            self.batch + other.batch,
            self.sequence + other.sequence,
            self.product + other.product,
        )


def generalised(traces: Mapping[Point, Any], points: Sequence[Point]) -> Any:
    """One structure of tuples for those of several traces, with a Size for every integer in them.

    points: (b, s) and (b + 1, s), and to see how sizes depend on the sequence also (b, s + 1) and (b + 1, s + 1).
    Raises NotGeneral where the traces differ in anything but integers.
    """
    values = {point: traces[point] for point in points}
    kinds = {type(each) for each in values.values()}
    first = values[points[0]]
    if kinds == {int}:
        return _fitted(values, points)
    if kinds == {tuple} and len({len(each) for each in values.values()}) == 1:
        return tuple(
            generalised({point: each[index] for point, each in values.items()}, points) for index in range(len(first))
        )
    if not all(_equal(first, each) for each in values.values()):
        raise NotGeneral
    return first


def _fitted(values: Mapping[Point, int], points: Sequence[Point]) -> Size:
    batch, sequence = points[0]
    low, high = values[points[0]], values[points[1]]
    if len(points) == 2:
        return Size(low - (high - low) * batch, high - low)
    longer = values[points[2]]
    product = values[points[3]] - longer - high + low
    by_batch, by_sequence = high - low - product * sequence, longer - low - product * batch
    return Size(
        low - by_batch * batch - by_sequence * sequence - product * batch * sequence, by_batch, by_sequence, product
    )


def predicts(general: Any, trace: Any, at: Point) -> bool:
    """Whether a trace is what was generalised, at these sizes."""
    if isinstance(general, Size):
        return type(trace) is int and general.at(*at) == trace
    if isinstance(general, tuple):
        return (
            isinstance(trace, tuple)
            and len(trace) == len(general)
            and all(predicts(mine, theirs, at) for mine, theirs in zip(general, trace, strict=True))
        )
    return _equal(general, trace)


def _equal(one: Any, other: Any) -> bool:
    """NaN, which a constant may hold, is itself."""
    if type(one) is float and math.isnan(one):
        return type(other) is float and math.isnan(other)
    return type(one) is type(other) and bool(one == other)

"""A place inside a model where an adapter can be attached: embedded tokens, a layer's output, or one of its projections."""

from __future__ import annotations

import ctypes
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from seamkit import _declarations as c
from seamkit.errors import IncompatibleError

ENCODER, DECODER = "encoder", "decoder"
# Those that have points.
SEAMS = (c.SEAM_LAYER_OUTPUT, c.SEAM_PROJECTION, c.SEAM_PROMPT_EMBEDDING)
_MOST_LISTED = 10
_STACKS = {ENCODER: c.SEAM_STACK_ENCODER, DECODER: c.SEAM_STACK_DECODER}


@dataclass(frozen=True)
class Point:
    """stack: "encoder" or "decoder". seam: "layer.output", "projection" or "prompt.embedding". layer: from 0. name: "q",
    "k" ...; "" for a whole layer and for embedded tokens. parts: of one matrix that does the work of several, their names and widths in order."""

    stack: str
    seam: str
    layer: int
    name: str
    input_width: int
    output_width: int
    parts: tuple[tuple[str, int], ...] = ()

    def __str__(self) -> str:
        """As in the names of parameters: "decoder.0.q", "encoder.embedding"."""
        if self.seam == c.SEAM_PROMPT_EMBEDDING:
            return f"{self.stack}.embedding"
        return ".".join([self.stack, str(self.layer), *([self.name] if self.name else [])])

    def struct(self) -> c.seam_point:
        """As plugins read it."""
        point = c.seam_point(
            struct_size=ctypes.sizeof(c.seam_point),
            stack=_STACKS[self.stack],
            seam=self.seam.encode(),
            name=self.name.encode(),
            layer=self.layer,
            input_width=self.input_width,
            output_width=self.output_width,
        )
        if self.parts:
            names, widths = [each.encode() for each, _ in self.parts], [each for _, each in self.parts]
            point.part_names = (ctypes.c_char_p * len(names))(*names)
            point.part_widths, point.part_count = (ctypes.c_int64 * len(widths))(*widths), len(names)
        return point


def pointers(points: Sequence[Point]) -> Any:
    """An array of pointers to their structs, which keeps them alive."""
    return (ctypes.POINTER(c.seam_point) * len(points))(*[ctypes.pointer(each.struct()) for each in points])


def check_same_points(own: Sequence[Point], points: Sequence[Point], id: str) -> None:
    """Raises IncompatibleError, with all that are missing, unless a model has the points that an adapter was made for."""
    known = {(str(each), each.seam, each.input_width, each.output_width) for each in points}
    missing = [
        f'"{each}" of {each.input_width} to {each.output_width}'
        for each in own
        if (str(each), each.seam, each.input_width, each.output_width) not in known
    ]
    if missing:
        raise IncompatibleError(
            f'adapter "{id}" is made for the point{"s" if len(missing) > 1 else ""} {_listed(missing)}, which this '
            "backbone does not have"
        )


def _listed(items: Sequence[str]) -> str:
    """The first ones, and how many more there are."""
    more = [f"and {len(items) - _MOST_LISTED} more"] if len(items) > _MOST_LISTED else []
    return ", ".join([*items[:_MOST_LISTED], *more])

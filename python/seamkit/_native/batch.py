"""Token ids and features as the library reads them."""

from __future__ import annotations

import ctypes
from collections.abc import Sequence
from typing import Any

import numpy as np

from seamkit import _declarations as c
from seamkit._native.dlpack import Array, floats, integers, pointer
from seamkit._native.library import sized, utf8
from seamkit.errors import InvalidArgumentError, ShapeError

# What labels hold where there is nothing to learn.
IGNORED = -100


class Batch:
    """Rectangles of token ids. An int32 array of NumPy, or a CPU tensor that speaks DLPack, is borrowed; anything else
    is copied.

    input_ids, attention_mask, token_type_ids [batch, source]; input_features [batch, frames, width] of float32, in the
    place of input_ids for a model whose sources are features (feature_width of its info), attention_mask then [batch, frames];
    labels, decoder_input_ids [batch, target], -100 counts
    nothing in labels; classes [batch], for a classification; routes: for each row the name of the session's route that it
    takes, None for the default one (`Session.attach`).

    Raises ShapeError for arrays that do not fit each other and rows of several lengths, InvalidArgumentError for what is no
    integer of 32 bits, or no number in input_features, and unless one of input_ids and input_features is given. What is borrowed must not change while a call runs.
    """

    def __init__(
        self,
        input_ids: Any = None,
        attention_mask: Any = None,
        labels: Any = None,
        decoder_input_ids: Any = None,
        token_type_ids: Any = None,
        classes: Any = None,
        *,
        input_features: Any = None,
        routes: Sequence[str | None] | None = None,
    ):
        if (input_ids is None) == (input_features is None):
            found = "neither" if input_ids is None else "both"
            raise InvalidArgumentError(f"a batch has input_ids or input_features, found {found}")
        self.input_ids = None if input_ids is None else integers(input_ids, "input_ids")
        self.input_features = None if input_features is None else floats(input_features, "input_features")
        if self.input_ids is not None and self.input_ids.ndim != 2:
            raise ShapeError(f"input_ids must be [batch, source], found {list(self.input_ids.shape)}")
        if self.input_features is not None and self.input_features.ndim != 3:
            raise ShapeError(f"input_features must be [batch, frames, width], found {list(self.input_features.shape)}")
        given = self.input_features if self.input_ids is None else self.input_ids
        assert given is not None
        self.count, source = given.shape[:2]
        self.attention_mask = self._like(attention_mask, "attention_mask", (self.count, source))
        self.token_type_ids = self._like(token_type_ids, "token_type_ids", (self.count, source))
        self.labels = self._like(labels, "labels", (self.count, None))
        target = None if self.labels is None else self.labels.shape[1]
        self.decoder_input_ids = self._like(decoder_input_ids, "decoder_input_ids", (self.count, target))
        if target is None and self.decoder_input_ids is not None:
            target = self.decoder_input_ids.shape[1]
        self.classes = self._like(classes, "classes", (self.count,))
        arrays = {
            name: getattr(self, name)
            for name in ("input_ids", "attention_mask", "labels", "decoder_input_ids", "token_type_ids", "classes")
        }
        self.routes = None if routes is None else list(routes)
        if self.routes is not None and len(self.routes) != self.count:
            raise ShapeError(f"routes must be {self.count} names, one for each row, found {len(self.routes)}")
        names = None if self.routes is None else (ctypes.c_char_p * self.count)(*map(utf8, self.routes))
        self._struct = sized(
            c.seam_batch(
                batch=self.count,
                source_length=source,
                target_length=target or 0,
                routes=names,
                input_features=pointer(self.input_features, ctypes.c_float),
                **{name: pointer(each, ctypes.c_int32) for name, each in arrays.items()},
            )
        )
        self.pointer = ctypes.pointer(self._struct)

    @staticmethod
    def padded(
        sources: Sequence[Sequence[int]],
        targets: Sequence[Sequence[int]] | None = None,
        *,
        pad_token_id: int,
        routes: Sequence[str | None] | None = None,
    ) -> Batch:
        """Rows of several lengths, filled up on the right: the sources with pad_token_id, which attention_mask leaves
        out, the targets as labels with -100. Raises ShapeError for another number of targets than of sources,
        InvalidArgumentError for what is no integer of 32 bits."""
        if targets is not None and len(targets) != len(sources):
            raise ShapeError(f"targets must be {len(sources)} rows, one for each source, found {len(targets)}")
        return Batch(
            _rectangle(sources, pad_token_id, "sources"),
            _rectangle([[1] * len(each) for each in sources], 0, "mask"),
            None if targets is None else _rectangle(targets, IGNORED, "targets"),
            routes=routes,
        )

    @staticmethod
    def _like(values: Any, name: str, shape: tuple[int | None, ...]) -> Array | None:
        """The array, or None; the library takes sizes from input_ids and labels and reads as far."""
        if values is None:
            return None
        found = integers(values, name)
        sizes = list(found.shape)
        if len(sizes) != len(shape) or any(n not in (None, m) for n, m in zip(shape, sizes, strict=True)):
            wanted = ", ".join("target" if each is None else str(each) for each in shape)
            raise ShapeError(f"{name} must be [{wanted}], found {sizes}")
        return found


def _rectangle(rows: Sequence[Sequence[int]], filler: int, name: str) -> Array:
    read = [integers(row, f"row {number} of {name}", 1) for number, row in enumerate(rows)]
    filled = np.full((len(read), max(map(len, read), default=0)), filler, np.int32)
    for place, row in zip(filled, read, strict=True):
        place[: len(row)] = row
    return filled

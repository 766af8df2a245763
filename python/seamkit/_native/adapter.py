"""An adapter on the native engine."""

from __future__ import annotations

import ctypes
import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from seamkit import _declarations as c
from seamkit._native.dlpack import Array, array, integers, lend, output, pointer, received
from seamkit._native.handles import Handle, made
from seamkit._native.library import changed, checked, library, losses_of, sized, taken_json, taken_string, utf8
from seamkit._native.progress import CALLBACK, Watch, watched
from seamkit.errors import NotFoundError, ShapeError
from seamkit.texts import c_string, check_integer

_STRING_OFFSET = getattr(c.seam_value, "string").offset  # noqa: B009, a member for ctypes alone
Value = None | bool | int | float | str | Array


class HeadSizes(NamedTuple):
    """What an adapter on decoder.output was made for: its classes, the backbone's d_model, and prompts about each text."""

    classes: int
    width: int
    prompts: int = 1


class Adapter(Handle):
    """An adapter on the native engine, made by `Backbone.adapter`, `Backbone.classifier`, `Backbone.load` or
    `Session.add`. Calls on it must not overlap with those on sessions that it is attached to."""

    _kind = "seam_adapter"

    def __init__(self, pointer: int, sizes: HeadSizes | None = None):
        super().__init__(pointer)
        # Of a head. The library reads arrays of these sizes.
        self._sizes = sizes

    def describe(self) -> dict[str, Any]:
        """What the adapter is: "id", "seam", "options" as they are in force, "classes", "points" ("decoder.0.q"), and
        "parameters" with "name", "shape" and "frozen"."""
        described: dict[str, Any] = taken_json("seam_adapter_describe", self.handle)
        return described

    @property
    def options(self) -> dict[str, Any]:
        """The options in force, defaults and "auto" resolved."""
        options: dict[str, Any] = self.describe()["options"]
        return options

    @property
    def parameters(self) -> dict[str, Array]:
        """Views of the values by name: what is written there is the new value. A view taken before training starts or
        ends goes stale then."""
        found = {}
        for index in range(library().seam_adapter_parameter_count(self.handle)):
            name, tensor = ctypes.c_char_p(), output()
            checked("seam_adapter_parameter", self.handle, index, ctypes.byref(name), ctypes.byref(tensor))
            found[(name.value or b"").decode()] = received(tensor)
        return found

    def save(self, path: str | Path, backbone_path: str | Path | None = None, notes: str | None = None) -> None:
        """Writes the adapter's folder; the old one or the new one. An adapter's folder that is there is
        replaced, one that holds other files is refused.

        backbone_path: the folder of the weights that it belongs to; None for the one the backbone was opened from.
        notes: Markdown lines for the model card.

        Raises NumericError for values that are not finite, AlreadyExistsError for a folder that holds something else,
        NotFoundError or FileError where it cannot be written.
        """
        checked("seam_adapter_save", self.handle, utf8(path), utf8(backbone_path), utf8(notes))

    def folded(self) -> Adapter:
        """An adapter with the same outputs, without what only training needs."""
        return Adapter(made("seam_adapter_fold", self.handle), self._sizes)

    def call(self, method: str, *arguments: Any) -> Value:
        """A method of the plugin's own. Arguments are int, float, str, or tensors that speak DLPack (float32, float16
        or int32); so are results, arrays for tensors.

        Raises NotFoundError for an unknown method, with those there are, InvalidArgumentError for other arguments.
        """
        values = (c.seam_value * len(arguments))()
        for value, argument in zip(values, arguments, strict=True):
            _fill(value, argument)
        result = c.seam_value()
        checked("seam_adapter_call", self.handle, utf8(method), values, len(arguments), ctypes.byref(result))
        return _taken(result)

    @property
    def task(self) -> dict[str, Any] | None:
        """The task of a classification that it was saved with, to make its `Classifier`; None where there is none."""
        try:
            task: dict[str, Any] = taken_json("seam_adapter_task", self.handle)
        except NotFoundError:
            return None
        return task

    @task.setter
    def task(self, task: Mapping[str, Any] | None) -> None:
        text = None if task is None else c_string(json.dumps(task, ensure_ascii=False), "the task")
        checked("seam_adapter_set_task", self.handle, text)

    def prepare(self, *inputs: Any, labels: Any = None, empty_scores: Any = None) -> None:
        """Lets the adapter start from all training examples, once, before the first step; nothing happens to one that
        starts from nothing.

        inputs: as the seam defines them, float32 and int32. labels [examples]: integers; empty_scores [1, classes], of an
        adapter that reads several prompts [1, prompts, classes].
        Raises ShapeError for others, NumericError for values that are not finite, and what the plugin fails with.
        """
        self.prepare_at(-1, inputs, labels=labels, empty_scores=empty_scores)

    def prepare_at(
        self,
        point: int,
        inputs: Sequence[Any],
        *,
        labels: Any = None,
        empty_scores: Any = None,
        attention_mask: Any = None,
        generated_mask: Any = None,
    ) -> None:
        """`prepare` for what flows at one of the adapter's points, -1 at a seam that has none: of an adapter whose model
        another engine runs (seam_adapter_prepare). At several points the values are taken after the call for the last one.

        inputs: None for a bias or a prefix that is not there. attention_mask, generated_mask: of the tokens at a point,
        [examples, n] int32.
        """
        # Before anything is lent, which the call gives back.
        arrays = [None if each is None else array(each) for each in inputs]
        arrays = [
            None if each is None else np.ascontiguousarray(each, np.float32 if each.dtype.kind == "f" else np.int32)
            for each in arrays
        ]
        classes = None if labels is None else integers(labels, "labels")
        empty = None if empty_scores is None else array(empty_scores, np.float32)
        given = sized(c.seam_examples())
        given.point = point
        lent = [None if each is None else lend(each) for each in arrays]
        given.inputs, given.input_count = (type(output()) * len(lent))(*lent), len(lent)
        for name, each in (("labels", classes), ("empty_scores", empty)):
            if each is not None:
                setattr(given, name, lend(each))
        for name, each in (("attention_mask", attention_mask), ("generated_mask", generated_mask)):
            if each is not None:
                setattr(given, name, lend(np.ascontiguousarray(each, np.int32)))
        checked("seam_adapter_prepare", self.handle, ctypes.byref(given))

    def fit(
        self,
        scores: Any,
        hidden: Any,
        labels: Any,
        empty_scores: Any = None,
        *,
        progress: Watch | None = None,
        **changes: Any,
    ) -> list[float]:
        """Trains on features of decoder.output by cross-entropy; returns the loss of each epoch.

        scores [examples, classes], hidden [examples, d_model], labels [examples], empty_scores [classes]; of an adapter
        made for several prompts [examples, prompts, classes], [examples, prompts, d_model] and [prompts, classes].
        `changes` are members of seam_fit_options: epochs, learning_rate, prepare ... progress: called before each
        epoch; False stops it.

        Raises ShapeError, NumericError for features that are not finite, InvalidArgumentError for an adapter on another
        seam or a label out of range, CancelledError where `progress` stops it. After an error the adapter is as before.
        """
        options = sized(c.seam_fit_options())
        checked("seam_fit_options_init", ctypes.byref(options))
        changed(options, changes)
        x, h = self._features("fit", scores, hidden)
        y = integers(labels, "labels")
        if y.shape != (len(x),):
            raise ShapeError(f"fit needs a label for each of {len(x)} examples, found labels {list(y.shape)}")
        empty = None if empty_scores is None else array(empty_scores, np.float32)
        if empty is not None and empty.size != x[0].size:
            raise ShapeError(f"empty_scores must have one number for each of {x.shape[-1]} classes, found {empty.size}")
        losses = losses_of(options)
        watched(
            progress,
            "seam_adapter_fit",
            self.handle,
            pointer(x, ctypes.c_float),
            pointer(h, ctypes.c_float),
            pointer(y, ctypes.c_int32),
            pointer(empty, ctypes.c_float),
            len(y),
            ctypes.byref(options),
            CALLBACK,
            losses,
            len(losses),
        )
        return list(losses)

    def classify(self, scores: Any, hidden: Any) -> Array:
        """The scores that an adapter on decoder.output gives to each class, float32 [examples, classes].

        scores [examples, classes], hidden [examples, d_model], as for `fit`. Raises ShapeError, and InvalidArgumentError for an
        adapter on another seam.
        """
        x, h = self._features("classify", scores, hidden)
        found = np.empty((len(x), x.shape[-1]), np.float32)
        checked(
            "seam_adapter_classify",
            self.handle,
            pointer(x, ctypes.c_float),
            pointer(h, ctypes.c_float),
            len(x),
            pointer(found, ctypes.c_float),
            found.size,
        )
        return found

    def _features(self, what: str, scores: Any, hidden: Any) -> tuple[Array, Array]:
        x, h = array(scores, np.float32), array(hidden, np.float32)
        classes, width, prompts = self._sizes or ("classes", "d_model", 1)
        several = [] if prompts == 1 else [prompts]
        fits = x.ndim == h.ndim == 2 + len(several) and len(x) == len(h)
        if fits and self._sizes:
            fits = list(x.shape[1:]) == [*several, classes] and list(h.shape[1:]) == [*several, width]
        if not fits:
            row = "".join(f"{each}, " for each in several)
            raise ShapeError(
                f"{what} needs scores [examples, {row}{classes}] and hidden [examples, {row}{width}], found "
                f"{list(x.shape)} and {list(h.shape)}"
            )
        return x, h


def of_backbone(pointer: int, width: int) -> Adapter:
    """The adapter of a handle. width: the backbone's d_model."""
    adapter = Adapter(pointer)
    described = adapter.describe()
    if classes := described["classes"]:
        adapter._sizes = HeadSizes(classes, width, described["prompts"])
    return adapter


def _fill(value: Any, argument: Any) -> None:
    if isinstance(argument, (bool, int, np.integer)):
        check_integer(argument, ctypes.c_int64, "an argument of the method")
        value.kind, value.integer = c.SEAM_VALUE_INT, int(argument)
    elif isinstance(argument, (float, np.floating)):
        value.kind, value.number = c.SEAM_VALUE_DOUBLE, float(argument)
    elif isinstance(argument, str):
        value.kind, value.string = c.SEAM_VALUE_STRING, c_string(argument, "an argument of the method")
    else:
        value.kind, value.tensor = c.SEAM_VALUE_TENSOR, lend(argument)


def _taken(result: Any) -> Value:
    if result.kind == c.SEAM_VALUE_INT:
        return int(result.integer)
    if result.kind == c.SEAM_VALUE_DOUBLE:
        return float(result.number)
    if result.kind == c.SEAM_VALUE_TENSOR:
        return received(result.tensor)
    if result.kind == c.SEAM_VALUE_STRING:
        place = ctypes.addressof(result) + _STRING_OFFSET
        return taken_string(ctypes.c_void_p.from_address(place))
    return None

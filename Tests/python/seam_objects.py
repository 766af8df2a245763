"""The objects of the C ABI for the tests: those of the package (python/seamkit) with what only tests ask of them, and a
pass of the native engine."""

from __future__ import annotations

import ctypes
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

import seamkit
from seam_abi import Array, Half, SeamError, c, checked, lend, library, pointer, received
from seamkit import Adapter, Batch, Generated, Session, Tokenizer
from seamkit._native.handles import Handle, made
from seamkit._native.progress import CALLBACK, watched

__all__ = [
    "Adapter",
    "Answered",
    "Backbone",
    "Batch",
    "Generated",
    "Pass",
    "Runtime",
    "SeamError",
    "Session",
    "Tokenizer",
    "integers",
    "sizes",
]


class Runtime(seamkit.Runtime):
    """With these plugins alone; what it reports is in `messages`: level and text."""

    def __init__(self, plugins: Iterable[Path] = ()):
        self.messages: list[tuple[int, str]] = []
        super().__init__(())
        self._log = c.seam_log_callback(lambda _, level, text: self.messages.append((level, (text or b"").decode())))
        library().seam_runtime_set_log(self.handle, self._log, None)
        for path in plugins:
            self.load_plugin(path)

    def open(self, path: str | Path | None = None, id: str | None = None, options: Any = None) -> Backbone:
        return Backbone(self, path, id, options)


class Backbone(seamkit.Backbone):
    def query(
        self, prompts: Sequence[str | bytes], answers: Sequence[str], should_continue: Callable[[], bool] | None = None
    ) -> Answered:
        """What a text backbone answers; a failure is kept beside what was answered before it."""
        scores = np.full((len(prompts), len(answers)), np.nan, np.float32)
        hidden = np.full((len(prompts), self.info.d_model), np.nan, np.float32)
        answered, requests, failure = ctypes.c_uint64(), ctypes.c_int64(), None
        try:
            watched(
                None if should_continue is None else lambda _: should_continue(),
                "seam_backbone_query",
                self.handle,
                strings(prompts),
                len(prompts),
                strings(answers),
                len(answers),
                CALLBACK,
                pointer(scores, ctypes.c_float),
                scores.size,
                pointer(hidden, ctypes.c_float),
                hidden.size,
                ctypes.byref(answered),
                ctypes.byref(requests),
            )
        except SeamError as error:
            failure = error
        return Answered(scores, hidden, answered.value, requests.value, failure)


@dataclass(frozen=True)
class Answered:
    scores: Array
    hidden: Array
    answered: int
    requests: int
    failure: SeamError | None


# ---- The compute table


class Pass(Handle):
    """A forward pass of the native engine. Handles of tensors are numbers, None for NULL."""

    _kind = "seam_context"

    def __init__(self, runtime: seamkit.Runtime, record_gradients: bool = True):
        super().__init__(made("seam_context_create", runtime.handle, int(record_gradients)))
        self.table = library().seam_native_ops().contents

    def op(self, name: str, *arguments: Any) -> Any:
        """Calls a function of the table."""
        return getattr(self.table, name)(self.handle, *arguments)

    def constant(self, values: Array | Half) -> Any:
        return self.op("from_dlpack", lend(values))

    def leaf(self, values: Array | Half) -> Any:
        return library().seam_context_leaf(self.handle, self.constant(values))

    def numpy(self, tensor: Any) -> Array:
        self.check()
        return received_at(self.op("to_dlpack", tensor))

    def backward(self, result: Any, seed: Any = None) -> None:
        checked("seam_context_backward", self.handle, result, seed)

    def gradient(self, leaf: Any) -> Array | None:
        gradient = library().seam_context_gradient(self.handle, leaf)
        return self.numpy(gradient) if gradient else None

    def check(self) -> None:
        checked("seam_context_error", self.handle)


def received_at(address: int) -> Array:
    """`received` for the address of a tensor, as a function of the table gives it."""
    return received(ctypes.cast(address, ctypes.POINTER(c.DLManagedTensorVersioned)))


def sizes(values: Sequence[int]) -> Any:
    return (ctypes.c_int64 * len(values))(*values)


def strings(values: Sequence[str | bytes]) -> Any:
    return (ctypes.c_char_p * len(values))(*[each.encode() if isinstance(each, str) else each for each in values])


def integers(values: Sequence[int]) -> Any:
    return (ctypes.c_int32 * len(values))(*values)

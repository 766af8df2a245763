"""The objects of the C ABI for the tests: runtime, backbone, adapter, session, and a pass of the native engine."""

from __future__ import annotations

import ctypes
import json
import weakref
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from seam_abi import (
    Array,
    Half,
    SeamError,
    checked,
    constant,
    handle,
    headers,
    lend,
    library,
    options_json,
    pointer_to,
    received,
    struct,
    taken_string,
    utf8,
)


class Object:
    """Owns a handle of the library until it is closed or forgotten."""

    def __init__(self, kind: str, pointer: Any):
        self.pointer = pointer
        self.close = weakref.finalize(self, getattr(library(), kind + "_release"), pointer)

    @staticmethod
    def made(kind: str, function: str, *arguments: Any) -> Any:
        pointer = handle(kind)
        checked(function, *arguments, ctypes.byref(pointer))
        return pointer


class Runtime(Object):
    def __init__(self, plugins: Iterable[Path] = ()):
        super().__init__("seam_runtime", self.made("seam_runtime", "seam_runtime_create"))
        self.messages: list[tuple[int, str]] = []
        kind = headers().types["seam_log_callback"]
        self._log = kind(lambda _, level, text: self.messages.append((level, text.decode())))
        library().seam_runtime_set_log(self.pointer, self._log, None)
        for path in plugins:
            checked("seam_runtime_load_plugin", self.pointer, utf8(path))

    def open(self, path: Path | None = None, id: str | None = None, options: dict[str, Any] | None = None) -> Backbone:
        return Backbone(self, path, id, options)

    def describe(self, id: str) -> Any:
        text = ctypes.c_void_p()
        checked("seam_runtime_describe", self.pointer, utf8(id), ctypes.byref(text))
        return json.loads(taken_string(text))


class Backbone(Object):
    def __init__(self, runtime: Runtime, path: Path | None, id: str | None, options: dict[str, Any] | None):
        arguments = (runtime.pointer, utf8(id), utf8(path), options_json(options))
        super().__init__("seam_backbone", self.made("seam_backbone", "seam_backbone_open", *arguments))
        self.runtime = runtime

    @property
    def info(self) -> Any:
        info = struct("seam_backbone_info")
        library().seam_backbone_get_info(self.pointer, ctypes.byref(info))
        return info

    def save(self, path: Path) -> None:
        checked("seam_backbone_save", self.pointer, utf8(path))

    def query(
        self, prompts: Sequence[str | bytes], answers: Sequence[str], should_continue: Callable[[], bool] | None = None
    ) -> Answered:
        """What a text backbone answers; a failure is kept beside what was answered before it."""
        kind = headers().types["seam_progress_callback"]
        ask = kind(lambda *_: int(should_continue())) if should_continue else kind()
        scores = np.full((len(prompts), len(answers)), np.nan, np.float32)
        hidden = np.full((len(prompts), self.info.d_model), np.nan, np.float32)
        answered, requests, failure = ctypes.c_size_t(), ctypes.c_int64(), None
        try:
            checked(
                "seam_backbone_query", self.pointer, strings(prompts), len(prompts), strings(answers), len(answers), ask,
                None, pointer_to(scores, ctypes.c_float), scores.size, pointer_to(hidden, ctypes.c_float), hidden.size,
                ctypes.byref(answered), ctypes.byref(requests))
        except SeamError as error:
            failure = error
        return Answered(scores, hidden, answered.value, requests.value, failure)

    def adapter(
        self, id: str, options: dict[str, Any] | None = None, frozen: bool = True, seed: int = 0,
        seam: str | None = None,
    ) -> Adapter:
        return self._made(
            id, train_backbone=int(not frozen), seam=utf8(seam), options_json=options_json(options), seed=seed)

    def classifier(self, id: str, classes: int, options: dict[str, Any] | None = None, seed: int = 0) -> Adapter:
        return self._made(
            id, seam=b"decoder.output", options_json=options_json(options), classes=classes, seed=seed)

    def _made(self, id: str, **options: Any) -> Adapter:
        wanted = struct("seam_adapter_options", **options)
        arguments = (self.pointer, utf8(id), ctypes.byref(wanted))
        return Adapter(self, self.made("seam_adapter", "seam_adapter_create", *arguments))

    def load_adapter(self, path: Path) -> Adapter:
        return Adapter(self, self.made("seam_adapter", "seam_adapter_load", self.pointer, utf8(path)))

    def session(self, *adapters: Adapter) -> Session:
        session = Session(self)
        for adapter in adapters:
            session.attach(adapter)
        return session

    def generate_options(self, **changes: Any) -> Any:
        options = struct("seam_generate_options")
        options.ignore_generation_config = changes.pop("ignore_generation_config", 0)
        checked("seam_generate_options_init", self.pointer, ctypes.byref(options))
        for name, value in changes.items():
            setattr(options, name, value)
        return options


@dataclass(frozen=True)
class Answered:
    scores: Array
    hidden: Array
    answered: int
    requests: int
    failure: SeamError | None


class Adapter(Object):
    def __init__(self, backbone: Backbone, pointer: Any):
        super().__init__("seam_adapter", pointer)
        self.backbone = backbone

    @property
    def options(self) -> dict[str, Any]:
        text = ctypes.c_void_p()
        checked("seam_adapter_describe", self.pointer, ctypes.byref(text))
        return json.loads(taken_string(text))["options"]

    @property
    def parameters(self) -> dict[str, Array]:
        """Views of the values: what is written there is the new value, until training starts or ends."""
        found = {}
        for index in range(library().seam_adapter_parameter_count(self.pointer)):
            name, tensor = ctypes.c_char_p(), handle("DLManagedTensorVersioned")
            checked("seam_adapter_parameter", self.pointer, index, ctypes.byref(name), ctypes.byref(tensor))
            found[(name.value or b"").decode()] = received(tensor)
        return found

    def save(self, path: Path, notes: str | None = None) -> None:
        checked("seam_adapter_save", self.pointer, utf8(path), None, utf8(notes))

    def fit(
        self, scores: Array, hidden: Array, labels: Array, empty_scores: Array | None = None, **changes: Any
    ) -> list[float]:
        """Trains on features of decoder.output; the loss of each epoch."""
        options = struct("seam_fit_options")
        library().seam_fit_options_init(ctypes.byref(options))
        for name, value in changes.items():
            setattr(options, name, value)
        losses = (ctypes.c_double * max(options.epochs, 0))()
        checked(
            "seam_adapter_fit", self.pointer, pointer_to(scores, ctypes.c_float), pointer_to(hidden, ctypes.c_float),
            pointer_to(labels, ctypes.c_int32), pointer_to(empty_scores, ctypes.c_float), len(labels),
            ctypes.byref(options), headers().types["seam_progress_callback"](), None, losses, len(losses))
        return list(losses)

    def classify(self, scores: Array, hidden: Array) -> Array:
        found = np.empty_like(scores)
        checked(
            "seam_adapter_classify", self.pointer, pointer_to(scores, ctypes.c_float),
            pointer_to(hidden, ctypes.c_float), len(scores), pointer_to(found, ctypes.c_float), found.size)
        return found

    def call(self, method: str, *arguments: Array) -> float | int | Array | None:
        """A method whose arguments are tensors."""
        result, values = struct("seam_value"), (headers().struct("seam_value") * len(arguments))()
        for value, argument in zip(values, arguments, strict=True):
            value.kind, value.tensor = constant("SEAM_VALUE_TENSOR"), lend(argument)
        checked("seam_adapter_call", self.pointer, utf8(method), values, len(arguments), ctypes.byref(result))
        return {
            constant("SEAM_VALUE_INT"): lambda: result.integer,
            constant("SEAM_VALUE_DOUBLE"): lambda: result.number,
            constant("SEAM_VALUE_TENSOR"): lambda: received(result.tensor),
            constant("SEAM_VALUE_NONE"): lambda: None,
        }[result.kind]()


@dataclass(frozen=True)
class Generated:
    tokens: list[int]
    score: float


class Session(Object):
    def __init__(self, backbone: Backbone):
        super().__init__("seam_session", self.made("seam_session", "seam_session_create", backbone.pointer))
        self.backbone = backbone

    def attach(self, adapter: Adapter, position: int = -1) -> None:
        checked("seam_session_attach", self.pointer, adapter.pointer, position)

    def detach(self, adapter: Adapter) -> None:
        checked("seam_session_detach", self.pointer, adapter.pointer)

    def encode(self, batch: Batch) -> Array:
        hidden = handle("DLManagedTensorVersioned")
        checked("seam_session_encode", self.pointer, batch.pointer, ctypes.byref(hidden))
        return received(hidden)

    def forward(self, batch: Batch) -> Array:
        logits = handle("DLManagedTensorVersioned")
        checked("seam_session_forward", self.pointer, batch.pointer, ctypes.byref(logits), None)
        return received(logits)

    def forward_with_hidden(self, batch: Batch) -> tuple[Array, Array]:
        logits, hidden = handle("DLManagedTensorVersioned"), handle("DLManagedTensorVersioned")
        checked("seam_session_forward", self.pointer, batch.pointer, ctypes.byref(logits), ctypes.byref(hidden))
        return received(logits), received(hidden)

    def pool(self, batch: Batch) -> Array:
        pooled = handle("DLManagedTensorVersioned")
        checked("seam_session_pool", self.pointer, batch.pointer, ctypes.byref(pooled))
        return received(pooled)

    def score(self, batch: Batch) -> list[Any]:
        scores = (headers().struct("seam_score") * batch.count)()
        checked("seam_session_score", self.pointer, batch.pointer, scores, batch.count)
        return list(scores)

    def generate(self, batch: Batch, options: Any = None) -> list[list[Generated]]:
        out, never = handle("seam_sequences"), headers().types["seam_progress_callback"]()
        chosen = None if options is None else ctypes.byref(options)
        checked("seam_session_generate", self.pointer, batch.pointer, chosen, never, None, ctypes.byref(out))
        try:
            return [
                [sequence(out, item, index) for index in range(library().seam_sequences_count(out, item))]
                for item in range(batch.count)
            ]
        finally:
            library().seam_sequences_release(out)

    def begin_training(self, **changes: Any) -> None:
        options = struct("seam_train_options")
        library().seam_train_options_init(ctypes.byref(options))
        for name, value in changes.items():
            setattr(options, name, value)
        checked("seam_session_begin_training", self.pointer, ctypes.byref(options))

    def train_step(self, batch: Batch) -> Any:
        step = struct("seam_step")
        checked("seam_session_train_step", self.pointer, batch.pointer, ctypes.byref(step))
        return step

    def end_training(self) -> None:
        library().seam_session_end_training(self.pointer)


def sequence(out: Any, item: int, index: int) -> Generated:
    length, score = ctypes.c_size_t(), ctypes.c_double()
    tokens = library().seam_sequences_tokens(out, item, index, ctypes.byref(length), ctypes.byref(score))
    return Generated(list(tokens[: length.value]), score.value)


class Batch:
    """Token ids as rectangles; keeps the arrays that the library borrows."""

    def __init__(
        self, input_ids: Any, attention_mask: Any = None, labels: Any = None, decoder_input_ids: Any = None,
        token_type_ids: Any = None,
    ):
        arrays = [
            None if each is None else np.ascontiguousarray(each, np.int32)
            for each in (input_ids, attention_mask, labels, decoder_input_ids, token_type_ids)
        ]
        self.input_ids, self.attention_mask, self.labels, self.decoder_input_ids, self.token_type_ids = arrays
        target = next((each for each in arrays[2:4] if each is not None), None)
        self.count, source_length = self.input_ids.shape
        self._struct = struct(
            "seam_batch",
            batch=self.count,
            source_length=source_length,
            target_length=0 if target is None else target.shape[1],
            input_ids=pointer_to(self.input_ids, ctypes.c_int32),
            attention_mask=pointer_to(self.attention_mask, ctypes.c_int32),
            labels=pointer_to(self.labels, ctypes.c_int32),
            decoder_input_ids=pointer_to(self.decoder_input_ids, ctypes.c_int32),
            token_type_ids=pointer_to(self.token_type_ids, ctypes.c_int32),
        )
        self.pointer = ctypes.pointer(self._struct)


class Tokenizer(Object):
    """The tokenizer of a model's folder, or of a GGUF file."""

    def __init__(self, path: Path):
        super().__init__("seam_tokenizer", self.made("seam_tokenizer", "seam_tokenizer_open", utf8(path)))
        self._room = (ctypes.c_int32 * 4096)()

    def encode(self, text: str) -> list[int]:
        count = ctypes.c_size_t()
        for _ in range(2):
            room = self._room
            checked("seam_tokenizer_encode", self.pointer, text.encode(), room, len(room), ctypes.byref(count))
            if count.value <= len(room):
                break
            self._room = (ctypes.c_int32 * count.value)()
        return self._room[: count.value]

    def decode(self, ids: Sequence[int]) -> str:
        text = ctypes.c_void_p()
        checked("seam_tokenizer_decode", self.pointer, integers(ids), len(ids), ctypes.byref(text))
        return taken_string(text)


# ---- The compute table


class Pass(Object):
    """A forward pass of the native engine."""

    def __init__(self, runtime: Runtime, record_gradients: bool = True):
        arguments = (runtime.pointer, int(record_gradients))
        super().__init__("seam_context", self.made("seam_context", "seam_context_create", *arguments))
        self.table = library().seam_native_ops().contents

    def op(self, name: str, *arguments: Any) -> Any:
        """Calls a function of the table."""
        return getattr(self.table, name)(self.pointer, *arguments)

    def constant(self, values: Array | Half) -> Any:
        return self.op("from_dlpack", lend(values))

    def leaf(self, values: Array | Half) -> Any:
        return library().seam_context_leaf(self.pointer, self.constant(values))

    def numpy(self, tensor: Any) -> Array:
        self.check()
        return received(self.op("to_dlpack", tensor))

    def backward(self, result: Any, seed: Any = None) -> None:
        checked("seam_context_backward", self.pointer, result, seed)

    def gradient(self, leaf: Any) -> Array | None:
        gradient = library().seam_context_gradient(self.pointer, leaf)
        return self.numpy(gradient) if gradient else None

    def check(self) -> None:
        checked("seam_context_error", self.pointer)


def sizes(values: Sequence[int]) -> Any:
    return (ctypes.c_int64 * len(values))(*values)


def strings(values: Sequence[str | bytes]) -> Any:
    return (ctypes.c_char_p * len(values))(*[each.encode() if isinstance(each, str) else each for each in values])


def integers(values: Sequence[int]) -> Any:
    return (ctypes.c_int32 * len(values))(*values)



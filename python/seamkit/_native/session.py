"""A backbone with adapters on its seams: forward, score, generate, train."""

from __future__ import annotations

import ctypes
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from seamkit import _declarations as c
from seamkit._native.adapter import Adapter, HeadSizes, of_backbone
from seamkit._native.batch import Batch
from seamkit._native.continuous import ContinuousGeneration
from seamkit._native.dlpack import Array, floats, output, pointer, received
from seamkit._native.handles import Handle, made
from seamkit._native.library import Options, adapter_options, changed, checked, library, sized, utf8
from seamkit._native.progress import CALLBACK, Progress, Watch, watched
from seamkit._native.results import Generated, Score, Segment, Step, segment, sequences
from seamkit.errors import ShapeError


class Session(Handle):
    """A model with adapters on its seams, made by `Backbone.session`: it runs, scores, generates and trains.

    Calls on one session must not overlap; sessions, also those of one backbone, may run on different threads, as long
    as none of them trains what another uses. Calls release the interpreter's lock.

    Adapters are attached to routes: chains of adapters under a name, of which each row of a `Batch` takes one. Methods that
    have a route as an argument take its name; None is the default route, which rows that name none take.
    """

    _kind = "seam_session"

    def __init__(self, backbone: int, width: int, feature_width: int = 0):
        super().__init__(made("seam_session_create", backbone))
        self._width = width
        self._feature_width = feature_width
        # Classes of the heads that are attached, by route; the library fills as many scores for each row.
        self._classes: dict[str | None, int] = {}

    # ---- Adapters, which run in the order attached

    def attach(self, adapter: Adapter, position: int = -1, *, route: str | None = None) -> None:
        """Attaches an adapter. position: among those of the route; -1: last. route: a name of 1 to 100 characters; one
        that is not there yet is new, and one adapter may be on several.

        Raises AlreadyExistsError for one that is attached, IncompatibleError for one that does not fit those before it,
        InvalidArgumentError during a training, and for a named route while an adapter is merged.
        """
        checked("seam_session_attach", self.handle, utf8(route), adapter.handle, position)
        self._head(adapter._sizes, route)

    def add(
        self,
        id: str,
        options: Options | None = None,
        *,
        classes: int = 0,
        frozen: bool = True,
        seed: int = 0,
        seam: str | None = None,
        score_kind: str = "unknown",
        route: str | None = None,
    ) -> Adapter:
        """Makes an adapter for the place behind those of the route and attaches it: the way for one that depends on those
        before it, such as a gate on the tokens of a prefix. classes: for a head of a classification; the rest, and what
        is raised, as for `Backbone.adapter` and `Backbone.classifier`."""
        wanted = adapter_options(
            options, seam or (c.SEAM_DECODER_OUTPUT if classes else None), frozen, classes, seed, score_kind
        )
        made_here = made("seam_session_add", self.handle, utf8(route), utf8(id), ctypes.byref(wanted))
        adapter = Adapter(made_here, HeadSizes(classes, self._width) if classes else None)
        self._head(adapter._sizes, route)
        return adapter

    def load(self, path: str | Path, *, route: str | None = None) -> None:
        """Attaches the saved adapters of a folder, one or several, behind those of the route in their order: all or none.
        `adapters` and `adapters_of` give them.

        Raises NotFoundError, FormatError, IncompatibleError for adapters of another model.
        """
        checked("seam_session_load", self.handle, utf8(route), utf8(path))
        for each in self.adapters_of(route):
            self._head(each._sizes, route)

    def save(
        self,
        path: str | Path,
        backbone_path: str | Path | None = None,
        notes: str | None = None,
        *,
        route: str | None = None,
    ) -> None:
        """Writes the adapters of the route as one folder, which `load` reads; the rest is as for `Adapter.save`.

        Raises InvalidArgumentError where none is attached, NotFoundError for a route that is not there, and what
        `Adapter.save` raises.
        """
        checked("seam_session_save", self.handle, utf8(route), utf8(path), utf8(backbone_path), utf8(notes))

    @property
    def adapters(self) -> list[Adapter]:
        """The adapters of the default route, in the order in which they run: objects of their own for the same adapters."""
        return self.adapters_of(None)

    def adapters_of(self, route: str | None) -> list[Adapter]:
        """The adapters of a route, in the order in which they run; none for one that is not there."""
        name = utf8(route)
        return [
            of_backbone(made("seam_session_adapter", self.handle, name, index), self._width)
            for index in range(library().seam_session_adapter_count(self.handle, name))
        ]

    @property
    def routes(self) -> list[str]:
        """The routes with a name, in the order in which they came."""
        found = library()
        return [
            found.seam_session_route(self.handle, index).decode()
            for index in range(found.seam_session_route_count(self.handle))
        ]

    def remove_route(self, route: str | None) -> None:
        """Takes all adapters of a route off at once.

        Raises NotFoundError where there is none of that name, InvalidArgumentError during a training.
        """
        checked("seam_session_remove_route", self.handle, utf8(route))
        self._classes.pop(route or None, None)

    def _head(self, sizes: HeadSizes | None, route: str | None) -> None:
        if sizes:
            self._classes[route or None] = sizes.classes

    def detach(self, adapter: Adapter, *, route: str | None = None) -> None:
        """Takes an adapter off its route; the outputs are what they were without it, to the last bit.

        Raises NotFoundError for one that is not attached, InvalidArgumentError during a training.
        """
        checked("seam_session_detach", self.handle, utf8(route), adapter.handle)

    def move(self, adapter: Adapter, position: int, *, route: str | None = None) -> None:
        """Gives an attached adapter another place in the order in which they run; -1: the last.

        Raises as `detach` does.
        """
        checked("seam_session_move", self.handle, utf8(route), adapter.handle, position)

    def merge(self, adapter: Adapter) -> None:
        """Computes an attached adapter on projections into the backbone's weights, for this session alone: its passes
        then cost what the backbone's cost. Training, saving and detaching need it unmerged.

        Raises UnsupportedError for an adapter that is not linear in the weights, InvalidArgumentError where another one
        on the same points runs before it, or the session has routes with a name.
        """
        checked("seam_session_merge", self.handle, adapter.handle)

    def unmerge(self, adapter: Adapter) -> None:
        """Gives the backbone's own weights back, bit for bit.

        Raises InvalidArgumentError for an adapter that is not merged.
        """
        checked("seam_session_unmerge", self.handle, adapter.handle)

    def save_merged(self, path: str | Path, *, dequantize: bool = False) -> None:
        """Writes the model with the merged adapters in its weights, an ordinary folder in the Hugging Face layout: the
        matrices that they change in f32, all else as it was. A model that is at `path` is replaced, other files are not.

        `dequantize` writes weights that are stored as quantised blocks in f32, all of them. Raises UnsupportedError for
        such a model without it, InvalidArgumentError while an adapter of the session is not merged, or none is.
        """
        checked("seam_session_save_merged", self.handle, utf8(path), int(dequantize))

    # ---- Running

    def _given(self, batch: Batch) -> Any:
        """The batch as the library reads it, features by the width of the model's."""
        features = batch.input_features
        if features is not None and self._feature_width not in (0, features.shape[2]):
            raise ShapeError(
                f"input_features must be [batch, frames, {self._feature_width}] for this model, "
                f"found {list(features.shape)}"
            )
        return batch.pointer

    def encode(self, batch: Batch) -> Array:
        """What leaves encoder.output: float32 [batch, source, d_model].

        Raises UnsupportedError for a model without an encoder, InvalidArgumentError for ids outside the vocabulary.
        """
        hidden = output()
        checked("seam_session_encode", self.handle, self._given(batch), ctypes.byref(hidden))
        return received(hidden)

    def forward(self, batch: Batch) -> Array:
        """Teacher-forced scores, float32 [batch, target, vocab_size]; of the source where there is no target.

        Raises UnsupportedError for a model without a head, InvalidArgumentError for ids outside the vocabulary or more
        tokens than the model has positions.
        """
        logits = output()
        checked("seam_session_forward", self.handle, self._given(batch), ctypes.byref(logits), None)
        return received(logits)

    def forward_with_hidden(self, batch: Batch) -> tuple[Array, Array]:
        """What `forward` gives, and the hidden states, float32 [batch, target, d_model], that the head reads."""
        logits, hidden = output(), output()
        checked("seam_session_forward", self.handle, self._given(batch), ctypes.byref(logits), ctypes.byref(hidden))
        return received(logits), received(hidden)

    def pool(self, batch: Batch) -> Array:
        """One vector for each source, float32 [batch, d_model].

        Raises UnsupportedError for a model that has a decoder.
        """
        pooled = output()
        checked("seam_session_pool", self.handle, self._given(batch), ctypes.byref(pooled))
        return received(pooled)

    def classify(self, batch: Batch, classes: int) -> Array:
        """Scores, float32 [batch, classes], of the adapters on decoder.output, which were made for that many
        classes.

        Raises ShapeError for another number, InvalidArgumentError without such an adapter, and for rows of routes with
        different numbers.
        """
        known = {self._classes.get(route or None) for route in batch.routes or [None]} - {None}
        if len(known) == 1 and known != {classes}:
            raise ShapeError(f"classes must be {known.pop()}, as the attached head has, found {classes}")
        scores = np.empty((batch.count, classes), np.float32)
        checked("seam_session_classify", self.handle, self._given(batch), pointer(scores, ctypes.c_float), scores.size)
        return scores

    def score(self, batch: Batch) -> list[Score]:
        """How probable the labels of each row are: the batch needs labels."""
        scores = (c.seam_score * batch.count)()
        checked("seam_session_score", self.handle, self._given(batch), scores, batch.count)
        return [Score(each.log_probability, each.token_count, each.correct_count) for each in scores]

    def generate(
        self,
        batch: Batch,
        options: c.seam_generate_options | None = None,
        should_continue: Callable[[int], bool] | None = None,
        *,
        progress: Watch | None = None,
    ) -> list[list[Generated]]:
        """Targets, or continuations, for each row: best first for beams.

        options: of `Backbone.generate_options`; None: the model's own. should_continue: asked before every step with
        the number of tokens so far; False raises CancelledError, and what it raises is raised here. progress: likewise
        with all that is known of the call, the newest tokens among it.
        """

        def ask(state: Progress) -> bool:
            # Told once more when the last step is made, where nothing is left to go on with.
            goes_on = should_continue is None or state.done >= state.total or bool(should_continue(state.done))
            return goes_on and (progress is None or progress(state) is not False)

        out, chosen = ctypes.c_void_p(), None if options is None else ctypes.byref(options)
        watched(ask, "seam_session_generate", self.handle, self._given(batch), chosen, CALLBACK, ctypes.byref(out))
        try:
            return [sequences(out, item) for item in range(batch.count)]
        finally:
            library().seam_sequences_release(out)

    def transcribe(
        self,
        features: Any,
        options: c.seam_generate_options | None = None,
        *,
        route: str | None = None,
        seconds_per_frame: float = 0.01,
        progress: Watch | None = None,
    ) -> list[Segment]:
        """What a sound of any length says, window by window, for a model whose sources are features, as `generate` of
        transformers writes it.

        features: float32 [frames, feature_width]. options: of `Backbone.generate_options`, for each window; None: the
        model's own. A sound that is longer than a window, which is what the model has positions for, needs
        return_timestamps. progress: told how many frames are done; False raises CancelledError.

        Raises ShapeError for features of another width, InvalidArgumentError for a longer sound without times,
        UnsupportedError for a model that reads no features.
        """
        given = floats(features, "features")
        if given.ndim != 2 or self._feature_width not in (0, given.shape[1]):
            raise ShapeError(
                f"features must be [frames, {self._feature_width or 'width'}] for this model, found {list(given.shape)}"
            )
        out, chosen = ctypes.c_void_p(), None if options is None else ctypes.byref(options)
        first = pointer(given, ctypes.c_float)
        arguments = (
            self.handle,
            utf8(route),
            first,
            len(given),
            seconds_per_frame,
            chosen,
            CALLBACK,
            ctypes.byref(out),
        )
        watched(progress, "seam_session_transcribe", *arguments)
        try:
            return [segment(out, index, each) for index, each in enumerate(sequences(out, 0))]
        finally:
            library().seam_sequences_release(out)

    def continuous_generation(self, capacity: int) -> ContinuousGeneration:
        """A generation whose rows come and go, each with options and a route of its own (continuous batching).

        capacity: the most tokens of a row, prompt and new ones, for each of which it takes memory. Raises UnsupportedError
        for a model without a decoder, or whose decoding states take no rows in, InvalidArgumentError for a capacity that is
        not positive, or more than the model's positions.
        """
        return ContinuousGeneration(self.handle, capacity, self._given)

    # ---- Training

    def prepare(
        self,
        adapter: Adapter,
        batches: Batch | Sequence[Batch] = (),
        *,
        route: str | None = None,
        progress: Watch | None = None,
    ) -> None:
        """Lets an attached adapter start from examples, once, before a training or in the place of one: the model reads
        them through the adapters that are attached before it. Nothing happens to one that starts from nothing.

        batches: the examples, one `Batch` or several, with their labels as its classes. For an adapter on
        attention.prefix one batch of one row, the text; none for one on prefix.tokens. progress: told how many batches
        are read; False raises CancelledError.

        Raises NotFoundError for an adapter that is not on the route, InvalidArgumentError for examples that are not those
        of its seam and during a training, OutOfMemoryError where what flows at one place in all examples does not fit,
        and what the plugin fails with; the adapter is as before then.
        """
        given = [batches] if isinstance(batches, Batch) else list(batches)
        pointers = (ctypes.POINTER(c.seam_batch) * len(given))(*map(self._given, given))
        watched(
            progress, "seam_session_prepare", self.handle, utf8(route), adapter.handle, pointers, len(given), CALLBACK
        )

    def begin_training(
        self,
        *,
        routes: Sequence[str | None] | None = None,
        seam_cache_bytes: int = 0,
        seam_cache_folder: str | Path | None = None,
        **changes: Any,
    ) -> None:
        """Starts training of the attached adapters. `changes` are members of seam_train_options: learning_rate,
        train_backbone ...

        routes: those whose adapters are trained, None for the default one, which is the one where no list is given. Several
        are trained side by side, by batches whose rows take any of them: each as it is by its own rows alone, by the mean
        over its labels, its gradient clipped by its own norm, an update in the steps that have rows of it.

        seam_cache_bytes: memory for what flows into the lowest layer that is trained, which is then computed once for each
        example, known by its row of a batch, and not in every step; -1: a quarter of the machine's, 0: nothing is kept.
        What is beyond goes into a file without a name in seam_cache_folder (None: the folder for temporary files).

        Raises TypeError for a name that is none of them, InvalidArgumentError for a value out of range, or while
        a training runs, NotFoundError for a route or a folder that is not there, UnsupportedError for an adapter that is on two of
        them, and for train_backbone with a route that has a name.
        """
        options = sized(c.seam_train_options())
        checked("seam_train_options_init", ctypes.byref(options))
        if routes is not None:
            options.routes = (ctypes.c_char_p * len(routes))(*map(utf8, routes))
            options.route_count = len(routes)
        options.seam_cache_folder = utf8(seam_cache_folder)
        changes["seam_cache_bytes"] = seam_cache_bytes
        checked("seam_session_begin_training", self.handle, ctypes.byref(changed(options, changes)))

    def train_step(self, batch: Batch) -> Step:
        """One forward, backward and update. The step's loss is the mean over the labels of all rows.

        Raises NumericError, without an update, where the loss is not finite, InvalidArgumentError for a row on a route that
        is not trained.
        """
        step = sized(c.seam_step())
        checked("seam_session_train_step", self.handle, self._given(batch), ctypes.byref(step))
        return Step(step.step, step.loss, step.gradient_norm, step.learning_rate)

    def end_training(self) -> None:
        """Ends training; the trained values stay."""
        library().seam_session_end_training(self.handle)

"""A backbone with adapters on its seams: forward, score, generate, train."""

from __future__ import annotations

import ctypes
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from seamkit import _declarations as c
from seamkit._native.adapter import Adapter
from seamkit._native.batch import Batch
from seamkit._native.chains import Chains
from seamkit._native.continuous import ContinuousGeneration
from seamkit._native.dlpack import Array, floats, output, pointer, received
from seamkit._native.library import changed, checked, library, sized, utf8
from seamkit._native.progress import CALLBACK, Progress, Watch, watched
from seamkit._native.results import Generated, Score, Segment, Step, segment, sequences
from seamkit.errors import ShapeError


class Session(Chains):
    """A model with adapters on its seams, made by `Backbone.session`: it runs, scores, generates and trains.

    Calls on one session must not overlap; sessions, also those of one backbone, may run on different threads, as long
    as none of them trains what another uses. Calls release the interpreter's lock.

    Adapters are attached to routes: chains of adapters under a name, of which each row of a `Batch` takes one. Methods that
    have a route as an argument take its name; None is the default route, which rows that name none take.
    """

    def __init__(self, backbone: int, width: int, feature_width: int = 0):
        super().__init__(backbone, width)
        self._feature_width = feature_width

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

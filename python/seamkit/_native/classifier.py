"""Classification of texts: a prompt, label words, and adapters on decoder.output."""

from __future__ import annotations

import ctypes
import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from seamkit import _declarations as c
from seamkit._native.adapter import Adapter
from seamkit._native.dlpack import Array, pointer
from seamkit._native.handles import Handle, made
from seamkit._native.library import changed, checked, library, losses_of, sized, utf8
from seamkit._native.progress import CALLBACK, Watch, watched
from seamkit._native.runtime import Backbone
from seamkit._native.tokenizer import Tokenizer
from seamkit.errors import ShapeError
from seamkit.labels import places
from seamkit.texts import c_string


class Classifier(Handle):
    """A question to a model, which is asked once about each distinct text.

    task: {"template": "{text} It was [MASK]", "labels": {"negative": ["bad"], "positive": ["great", "good"]}}, and what
    docs/fewshot.md says; "templates", a list, in the place of "template" for several prompts about each text. tokenizer: the model's; None for a backbone that reads text by itself. cache: a folder that
    keeps the model's answers, so that a later process need not ask again. Ctrl-C ends `fit` and `scores` after
    the texts that are asked about together; what was answered until then is not asked again.

    Raises FormatError for a task that cannot be used, with what is wrong in it, UnsupportedError for a model without
    scores of words.
    """

    _kind = "seam_classifier"

    def __init__(
        self,
        backbone: Backbone,
        task: Mapping[str, Any],
        tokenizer: Tokenizer | None = None,
        cache: str | Path | None = None,
    ):
        given = None if tokenizer is None else tokenizer.handle
        text = c_string(json.dumps(dict(task)))
        super().__init__(made("seam_classifier_create", backbone.handle, given, text, utf8(cache)))
        self.labels: list[str] = list(task["labels"])

    def attach(self, adapter: Adapter) -> None:
        """Adds an adapter on decoder.output (`Backbone.classifier`) behind those attached. Without one the scores are
        the model's own, of several prompts their mean. The first one is made for the task's prompts (`prompts=`)."""
        checked("seam_classifier_attach", self.handle, adapter.handle)

    def fit(
        self,
        texts: Sequence[str],
        labels: Sequence[str | int],
        pairs: Sequence[str] | None = None,
        *,
        progress: Watch | None = None,
        **changes: Any,
    ) -> list[float]:
        """Trains the attached adapters; returns the loss of each epoch.

        labels: of each text, by name or by number; integers that are the text of a label mean that one. pairs: second
        texts, for a template with {text_b}. `changes` are members of seam_fit_options: epochs, learning_rate ...
        progress: called while texts are asked about and before each epoch; False stops it with CancelledError.

        Raises ShapeError for another number of labels or pairs than texts, InvalidArgumentError for an unknown label or
        a text that the model has no room for, NumericError for answers that are not finite.
        """
        if len(labels) != len(texts):
            raise ShapeError(f"fit needs a label for each of {len(texts)} texts, found {len(labels)}")
        numbers = np.array(places(labels, self.labels), np.int32)
        options = sized(c.seam_fit_options())
        checked("seam_fit_options_init", ctypes.byref(options))
        losses = losses_of(changed(options, changes))
        watched(
            progress,
            "seam_classifier_fit",
            self.handle,
            _strings(texts),
            None if pairs is None else _strings(pairs),
            pointer(numbers, ctypes.c_int32),
            len(texts),
            ctypes.byref(options),
            CALLBACK,
            losses,
            len(losses),
        )
        return list(losses)

    def scores(
        self, texts: Sequence[str], pairs: Sequence[str] | None = None, *, progress: Watch | None = None
    ) -> Array:
        """The score of each class, float32 [texts, classes]; the largest of a row is the text's class.

        progress, and what is raised: as for `fit`.
        """
        if pairs is not None and len(pairs) != len(texts):
            raise ShapeError(f"pairs must be {len(texts)} texts, found {len(pairs)}")
        found = np.empty((len(texts), len(self.labels)), np.float32)
        watched(
            progress,
            "seam_classifier_predict",
            self.handle,
            _strings(texts),
            None if pairs is None else _strings(pairs),
            len(texts),
            CALLBACK,
            pointer(found, ctypes.c_float),
            found.size,
        )
        return found

    def predict(self, texts: Sequence[str], pairs: Sequence[str] | None = None) -> list[str]:
        """The label of each text; raises as `fit` does."""
        return [self.labels[each] for each in self.scores(texts, pairs).argmax(1)]

    @property
    def query_count(self) -> int:
        """How many prompts the model was asked."""
        return int(library().seam_classifier_query_count(self.handle))


def _strings(texts: Sequence[str]) -> Any:
    return (ctypes.c_char_p * len(texts))(*[c_string(each, f"text {index}") for index, each in enumerate(texts)])

"""Which of a decoder's tokens the model generated itself, and which are padding, for adapters inside its layers.

The rules are the native engine's (TargetMarks.swift, include/seam/plugin.h): within `generate` what comes behind the prompt
or the start token is generated; in teacher forcing the tokens that are a label that counts stand for generated ones; in
any other call it is not known.
"""

from __future__ import annotations

import functools
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any, Protocol

import torch
from torch import Tensor
from torch.nn.functional import pad

from seamkit.torch.calls import bound
from seamkit.torch.names import (
    DECODER_EMBEDDED,
    DECODER_IDS,
    DECODER_MASK,
    EMBEDDED,
    GIVEN_IDS,
    IDS,
    IS_ENCODER_DECODER,
    LABELS,
    PAST,
)
from seamkit.torch.past import held_length

# The label that counts nothing.
_IGNORED = -100


class Removable(Protocol):
    """What takes a hook off again."""

    def remove(self) -> None: ...


@dataclass(frozen=True)
class Marks:
    """Of a text's tokens in one call, [batch, n] i32 each: which were generated, and which are tokens and no padding; None
    where it is not known."""

    generated: Tensor | None = None
    tokens: Tensor | None = None

    def at(self, which: Tensor | None, batch: int, count: int, device: torch.device) -> Tensor | None:
        """Marks for `count` positions, of which the last are the text's and those before it were put there; None for
        those of another call."""
        if which is None or which.shape[0] != batch or which.shape[1] > count:
            return None
        value = 1 if which is self.tokens else 0
        return pad(which, (count - which.shape[1], 0), value=value).to(device, torch.int32)


@dataclass
class _Generation:
    """A `generate` that is under way. given: tokens of the prompt, None until the first call shows them; seen: tokens that
    the decoder has read."""

    given: int | None
    seen: int | None = None


class Marking:
    """What is known of the tokens in the calls of one model; threads that share it have calls of their own."""

    def __init__(self, model: Any):
        self._model = model
        self._is_pair = bool(IS_ENCODER_DECODER.field(model.config))
        self._is_generative = bool(getattr(model, "can_generate", lambda: False)())
        self._local = threading.local()

    def hooks(self) -> list[Removable]:
        """Those on the model itself. `generate`, which has no hooks, is wrapped."""
        found: list[Removable] = [
            self._model.register_forward_pre_hook(self._begin, with_kwargs=True),
            self._model.register_forward_hook(self._end, always_call=True),
        ]
        return [*found, _Wrapped(self._model, self)] if self._is_generative else found

    @property
    def now(self) -> Marks | None:
        """Of the call that is under way in this thread."""
        return getattr(self._local, "marks", None)

    @contextmanager
    def generating(self, args: Any, kwargs: Any) -> Iterator[None]:
        """Around a call of `generate`."""
        given = None
        if not self._is_pair:
            texts = [args[0] if args else GIVEN_IDS.value(kwargs), EMBEDDED.value(kwargs)]
            given = max((each.shape[1] for each in texts if isinstance(each, Tensor) and each.dim() > 1), default=None)
        outer, self._local.generation = getattr(self._local, "generation", None), _Generation(given)
        try:
            yield
        finally:
            self._local.generation = outer

    def _begin(self, model: torch.nn.Module, args: Any, kwargs: Any) -> None:
        call = bound(model, args, kwargs)
        ids = (DECODER_IDS if self._is_pair else IDS).value(call)
        embedded = (DECODER_EMBEDDED if self._is_pair else EMBEDDED).value(call)
        labels = LABELS.value(call) if self._is_generative else None
        if not isinstance(labels, Tensor) or labels.dim() != 2:
            labels = None
        given = next((each for each in (ids, embedded, labels) if isinstance(each, Tensor)), None)
        generation = getattr(self._local, "generation", None)
        generated = None
        if generation is not None and given is not None:
            generated = self._generated(generation, given, held_length(PAST.value(call)))
        elif labels is not None:
            generated = self._are_labels(labels)
        tokens = None
        if self._is_pair and DECODER_MASK.value(call) is None and generation is None and embedded is None:
            tokens = self._tokens(ids, labels)
        if generated is not None and tokens is not None:
            generated = generated * tokens
        self._local.marks = Marks(generated, tokens)

    def _end(self, *_: Any) -> None:
        self._local.marks = None

    def _generated(self, generation: _Generation, given: Tensor, held: int) -> Tensor:
        batch, count = given.shape[:2]
        first = 0
        if held and generation.seen is None:
            # The caller's own cache has the beginning of the prompt.
            first = max((generation.given or count) - count, 0)
        elif held:
            first = generation.seen or 0
        generation.seen = first + count
        if generation.given is None:
            generation.given = generation.seen
        marks = torch.arange(first, first + count, device=given.device) >= generation.given
        return marks.to(torch.int32).expand(batch, count)

    def _are_labels(self, labels: Tensor) -> Tensor:
        """A token is the label of the position before it; labels of a decoder alone stand at their own tokens."""
        counts = (labels != _IGNORED).to(torch.int32)
        return pad(counts[:, :-1] if self._is_pair else counts[:, 1:], (1, 0))

    def _tokens(self, ids: Any, labels: Tensor | None) -> Tensor | None:
        """0 for padding behind the tokens of a decoder, where nothing is to be predicted; None where it cannot be told.

        A row ends at its last label, or at its last token that is no padding; of ids without labels an end token may be the
        padding, too, and then the first of these stays.
        """
        filler = self._model.config.pad_token_id
        counts = None if labels is None else labels != _IGNORED
        if isinstance(ids, Tensor) and filler is not None:
            told = ids != filler
            if counts is not None:
                if counts.shape != told.shape:
                    return None
                told = told | counts
        elif counts is not None and ids is None:
            # transformers makes the tokens of the labels, one place to the right.
            told = counts
        else:
            return None
        tokens = (told.to(torch.int32).flip(1).cumsum(1) > 0).flip(1).to(torch.int32)
        # The first token stays: a start token may be the padding, too.
        tokens = pad(tokens[:, 1:], (1, 0), value=1)
        ends = self._model.config.eos_token_id
        if labels is None and filler in (ends if isinstance(ends, list | tuple) else [ends]):
            tokens = pad(tokens[:, :-1], (1, 0), value=1)
        return tokens


class _Wrapped:
    """`generate` of a model, which tells the marking that it runs."""

    def __init__(self, model: Any, marking: Marking):
        self._model, self._before = model, model.__dict__.get("generate")
        generate = model.generate

        @functools.wraps(generate)
        def marked(*args: Any, **kwargs: Any) -> Any:
            with marking.generating(args, kwargs):
                return generate(*args, **kwargs)

        self._marked = marked
        model.generate = marked

    def remove(self) -> None:
        """The method that was there before, unless somebody else has put another in its place."""
        if self._model.__dict__.get("generate") is self._marked:
            if self._before is None:
                del self._model.__dict__["generate"]
            else:
                self._model.generate = self._before

"""Generation for requests that come and go: continuous batching."""

from __future__ import annotations

import ctypes
import math
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any

from seamkit import _declarations as c
from seamkit._native.batch import Batch
from seamkit._native.handles import Handle, made
from seamkit._native.library import checked
from seamkit.errors import SeamError
from seamkit.texts import check_integer

_REASONS = {
    c.SEAM_FINISH_NONE: None,
    c.SEAM_FINISH_STOP: "stop",
    c.SEAM_FINISH_LENGTH: "length",
    c.SEAM_FINISH_ERROR: "error",
}


@dataclass(frozen=True)
class RowStep:
    """What a row got in a step of a `ContinuousGeneration`.

    row: its number. token: the newest, an end token among them; None where none could be chosen. count: tokens of the row so
    far. finish_reason: None while it goes on, "stop" behind an end token, "length" where it has as many tokens as it may
    have, "error" where none could be chosen. score: of a row that has ended, the sum of its tokens' log-probabilities.
    error: with "error", why. log_probability: of the token, by the scores that it was chosen from; None where none was
    chosen, or it is not known.
    """

    row: int
    token: int | None
    count: int
    finish_reason: str | None = None
    score: float | None = None
    error: SeamError | None = None
    log_probability: float | None = None


class ContinuousGeneration(Handle):
    """Rows of a session that are generated together while others join them and leave, made by
    `Session.continuous_generation`: each has options of its own, gets one token in every step, and has the tokens that it
    has alone. What a server decodes its requests with.

        generation = session.continuous_generation(capacity=256)
        first = generation.add(prompt, route="fr")
        for step in generation:
            print(step.row, step.token, step.finish_reason)
            if step.row == first and step.count == 3:
                generation.add(other, options=backbone.generate_options(do_sample=True, seed=1))

    It goes on when the session is closed; calls on the two must not overlap. While rows take a route, its adapters stay as
    they are: a step, or new rows, after one was attached, detached, moved or merged raises InvalidArgumentError, and the
    rows are gone then. Other routes may change, and new ones may come.
    """

    _kind = "seam_generation"

    def __init__(self, session: int, capacity: int, given: Callable[[Batch], Any]):
        check_integer(capacity, ctypes.c_int64, "capacity")
        super().__init__(made("seam_generation_create", session, capacity))
        # A batch as the library reads it, checked against the session's model.
        self._given = given
        # Rows that were let go since the newest step.
        self._removed: set[int] = set()

    def add(
        self, source: Sequence[int], *, route: str | None = None, options: c.seam_generate_options | None = None
    ) -> int:
        """Adds a row, which is generated from the next step on, and gives its number: no other row of this generation has
        the same.

        source: token ids, the prompt of a decoder-only model. route: the name of the session's route that it takes.
        options: of `Backbone.generate_options`, for greedy search or sampling; None: the model's own.

        Raises NotFoundError for a route that is not there, InvalidArgumentError for an empty source and for a prompt and new
        tokens that do not fit into the capacity of a row or the model's positions, UnsupportedError for num_beams or
        num_return_sequences other than 1; the others go on as they are.
        """
        return self.add_batch(Batch.padded([source], pad_token_id=0, routes=[route]), options)[0]

    def add_batch(self, batch: Batch, options: c.seam_generate_options | None = None) -> list[int]:
        """Adds the rows of a batch, which are read together, and gives the number of each; the rest as for `add`."""
        rows = (ctypes.c_int64 * batch.count)()
        chosen = None if options is None else ctypes.byref(options)
        checked("seam_generation_add", self.handle, self._given(batch), chosen, rows, batch.count)
        return list(rows)

    def step(self) -> list[RowStep]:
        """Gives every row its next token: what each of them got, in the order in which they were added; nothing without
        rows. A row with a finish_reason has left.

        Raises InvalidArgumentError where adapters of a row's route have changed, or while the session trains; after an
        error of the computation no row is there any more.
        """
        self._removed.clear()
        size, count = self._count(), ctypes.c_uint64()
        steps = (c.seam_row_step * size)()
        checked("seam_generation_step", self.handle, steps, size, ctypes.byref(count))
        return [_read(each) for each in steps[: count.value]]

    def remove(self, row: int) -> None:
        """Lets a row go before its end.

        Raises InvalidArgumentError for one that is not there, or has left.
        """
        check_integer(row, ctypes.c_int64, "row")
        checked("seam_generation_remove", self.handle, row)
        self._removed.add(row)

    @property
    def rows(self) -> list[int]:
        """The rows that are there, in the order in which they were added."""
        size, count = self._count(), ctypes.c_uint64()
        found = (ctypes.c_int64 * size)()
        checked("seam_generation_rows", self.handle, found, size, ctypes.byref(count))
        return list(found)

    def __len__(self) -> int:
        return self._count()

    def __bool__(self) -> bool:
        return True

    def __iter__(self) -> Iterator[RowStep]:
        """Steps until no row is left, and gives what each row got, one after another. Rows may join and leave meanwhile:
        of one that is removed nothing more is given."""
        while self._count():
            for step in self.step():
                if step.row not in self._removed:
                    yield step

    def _count(self) -> int:
        count = ctypes.c_uint64()
        checked("seam_generation_rows", self.handle, None, 0, ctypes.byref(count))
        return count.value


def _read(step: c.seam_row_step) -> RowStep:
    reason = _REASONS.get(step.finish_reason, str(step.finish_reason))
    return RowStep(
        step.row,
        None if step.token < 0 else step.token,
        step.token_count,
        reason,
        step.score if reason in ("stop", "length") else None,
        SeamError.of(step.status, (step.message or b"").decode(), "") if reason == "error" else None,
        None if math.isnan(step.log_probability) else step.log_probability,
    )

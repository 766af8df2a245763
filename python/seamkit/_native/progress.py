"""Calls that take long: how far they have come, and how to stop them."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from seamkit import _declarations as c
from seamkit._native.library import checked

_ACTIVITIES = {
    c.SEAM_ACTIVITY_QUERY: "query",
    c.SEAM_ACTIVITY_GENERATE: "generate",
    c.SEAM_ACTIVITY_FIT: "fit",
    c.SEAM_ACTIVITY_CLASSIFY: "classify",
    c.SEAM_ACTIVITY_PREPARE: "prepare",
    c.SEAM_ACTIVITY_TRANSCRIBE: "transcribe",
}


@dataclass(frozen=True)
class Progress:
    """activity: "query", "generate", "fit", "classify", "prepare" or "transcribe". done, total: prompts, steps, epochs,
    texts, batches or frames. loss: "fit", that of the last epoch, NaN before there is one. tokens: "generate", the newest of each row, -1 in one that has ended;
    empty before the first step and in beam search, where rows still change."""

    activity: str
    done: int
    total: int
    loss: float
    tokens: list[int]


# Called before each step, on the thread of the call; False stops it with CancelledError.
Watch = Callable[[Progress], bool | None]


def watched(progress: Watch | None, name: str, *arguments: Any) -> None:
    """`checked` for a function that takes a callback: `CALLBACK` among the arguments stands for it and for its
    user. What `progress` raises, and a Ctrl-C, ends the call and is raised here."""
    raised: list[BaseException] = []

    def ask(_: int | None, state: Any) -> int:
        try:
            return 1 if progress is None or progress(_read(state.contents)) is not False else 0
        except BaseException as error:
            raised.append(error)
            return 0

    callback = c.seam_progress_callback(ask)
    given: list[Any] = []
    for each in arguments:
        given += [callback, None] if each is CALLBACK else [each]
    try:
        checked(name, *given)
    except Exception:
        if raised:
            raise raised[0] from None
        raise


# Stands among the arguments of `watched` for the callback and its user.
CALLBACK = object()


def _read(state: Any) -> Progress:
    return Progress(
        _ACTIVITIES.get(state.activity, str(state.activity)),
        state.done,
        state.total,
        state.loss,
        list(state.tokens[: state.token_count]) if state.tokens else [],
    )

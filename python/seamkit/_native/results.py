"""What a session answers, and how it is read from the library."""

from __future__ import annotations

import ctypes
from dataclasses import dataclass

from seamkit._native.library import library


@dataclass(frozen=True)
class Score:
    """log_probability: sum over the labels, natural logarithm; token_count: labels that count; correct_count: of them,
    the model's first choice given the labels before."""

    log_probability: float
    token_count: int
    correct_count: int


@dataclass(frozen=True)
class Step:
    """A training step: loss before the update, gradient_norm before clipping."""

    step: int
    loss: float
    gradient_norm: float
    learning_rate: float


@dataclass(frozen=True)
class Generated:
    """Tokens without the start token; score: log-probability, over length^length_penalty for beams."""

    tokens: list[int]
    score: float


@dataclass(frozen=True)
class Segment:
    """A part of what was written of a sound: start and end in seconds; tokens without the end token, those of times among
    them; score: the log-probability of all that was written of its window."""

    start: float
    end: float
    tokens: list[int]
    score: float


def segment(out: ctypes.c_void_p, index: int, written: Generated) -> Segment:
    """One that was written of a sound, with its times."""
    start, end = ctypes.c_double(), ctypes.c_double()
    library().seam_sequences_times(out, 0, index, ctypes.byref(start), ctypes.byref(end))
    return Segment(start.value, end.value, written.tokens, written.score)


def sequences(out: ctypes.c_void_p, item: int) -> list[Generated]:
    """What was written for one row of a batch, best first."""
    found = []
    for index in range(library().seam_sequences_count(out, item)):
        length, score = ctypes.c_uint64(), ctypes.c_double()
        tokens = library().seam_sequences_tokens(out, item, index, ctypes.byref(length), ctypes.byref(score))
        found.append(Generated(list(tokens[: length.value]), score.value))
    return found

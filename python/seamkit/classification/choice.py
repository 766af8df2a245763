"""Which of several heads answers best about examples that it has not seen."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy.special import logsumexp

from seamkit.classification.engines import Engine, Head, Texts
from seamkit.errors import InvalidArgumentError

# As the command "seam fewshot --adapter auto": the heads among which is chosen, those that learn more from the examples
# first.
CANDIDATES: tuple[tuple[str, dict[str, Any]], ...] = (
    ("ridge-head", {}),
    ("dect", {}),
    ("ridge-head", {"hidden": False}),
)
# A candidate with much to learn, which a few examples may favour by chance.
_DOUBTED = 1
AUTO = "auto"
_MOST_ALONE, _GROUPS_OF_MORE = 64, 16
# Half powers of 2, from 1/256 to 256.
_SCALES = 2.0 ** (np.arange(-16, 17) / 2)
_MARGIN = 1e-6


def is_wanted(head: str | None, adapter: str, options: Mapping[str, Any]) -> bool:
    """Whether the arguments of `DecTClassifier` ask for a choice.

    Raises InvalidArgumentError for another head than "auto" and for options, which are for one adapter.
    """
    if head not in (None, AUTO):
        raise InvalidArgumentError(f'head must be "{AUTO}" or None, for the head that adapter names, found {head!r}')
    if AUTO not in (head, adapter):
        return False
    if options:
        raise InvalidArgumentError(
            f'options are for one adapter, and "{AUTO}" chooses among several, found {", ".join(map(str, options))}'
        )
    return True


def choose(
    engine: Engine, head: Head, seed: int, texts: Texts, labels: NDArray[Any], **training: Any
) -> tuple[Head, list[float]]:
    """The best candidate for a task, and the loss of each; none where nothing can be left out.

    Each candidate is fitted anew without some of the examples and asked about these: up to 64 examples are left out one
    at a time, more in 16 groups. The best candidate has more right answers, or as many and a lower loss, which is the mean
    of -log p of the right class, the scores being scaled as suits the candidate best; of those that are level there, too,
    it is the last, which learns least. DecT, which has most to learn, has to be better than the best of the others by more
    than a standard error of the difference of the losses as well. Where no class has two examples the first candidate is
    taken. The model is not asked again: engines keep its answers.

    head: with the task; its id and options are those of no candidate.
    """
    candidates = [replace(head, id=id, options=options) for id, options in CANDIDATES]
    left_out = groups(labels)
    if not left_out:
        return candidates[0], []
    said = [[_said(engine, each, seed, texts, labels, group, training) for group in left_out] for each in candidates]
    measured = [measure(each, labels, left_out) for each in said]
    return candidates[best(measured, _DOUBTED)], [float(losses.mean()) for _, losses in measured]


def best(measured: Sequence[tuple[int, NDArray[Any]]], doubted: int) -> int:
    """The place of the best candidate, from what `measure` gives for each."""

    def is_better(one: int, other: int) -> bool:
        (right, losses), (right_before, losses_before) = measured[one], measured[other]
        if right != right_before:
            return right > right_before
        return bool(losses.mean() <= losses_before.mean() + _MARGIN)

    found = 0
    for index in range(1, len(measured)):
        if index != doubted and is_better(index, found):
            found = index
    differences = measured[found][1] - measured[doubted][1]
    error = differences.std(ddof=1) / np.sqrt(len(differences))
    return doubted if is_better(doubted, found) and differences.mean() > error else found


def groups(labels: NDArray[Any]) -> list[NDArray[Any]]:
    """The places of the examples that are left out together, those of each class dealt out in turn; of a class with one
    example none, since nothing could be learned of it then."""
    places = [np.flatnonzero(labels == each) for each in np.unique(labels)]
    counted = np.concatenate([np.empty(0, np.int64), *(each for each in places if len(each) > 1)])
    count = len(counted) if len(counted) <= _MOST_ALONE else _GROUPS_OF_MORE
    return [counted[group::count] for group in range(count)]


def measure(
    said: Sequence[NDArray[Any]], labels: NDArray[Any], left_out: Sequence[NDArray[Any]]
) -> tuple[int, NDArray[Any]]:
    """How many right answers the scores of the groups give, and -log p of the right class of each example."""
    scores, right = np.concatenate(said).astype(np.float64), labels[np.concatenate(left_out)]
    own = scores[np.arange(len(right)), right]
    losses: list[NDArray[Any]] = [logsumexp(scale * scores, 1) - scale * own for scale in _SCALES]
    return int((scores.argmax(1) == right).sum()), min(losses, key=lambda each: float(each.mean()))


def _said(
    engine: Engine,
    head: Head,
    seed: int,
    texts: Texts,
    labels: NDArray[Any],
    group: NDArray[Any],
    training: Mapping[str, Any],
) -> NDArray[Any]:
    """The scores of a group by the candidate that is fitted to the others."""
    known = np.setdiff1d(np.arange(len(labels)), group)
    adapter, _ = engine.fitted(head, seed, _rows(texts, known), labels[known], **training)
    return engine.scores(adapter, head.task, _rows(texts, group))


def _rows(texts: Texts, places: NDArray[Any]) -> Texts:
    first, second = texts
    return [first[each] for each in places], None if second is None else [second[each] for each in places]

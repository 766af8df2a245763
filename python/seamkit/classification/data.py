"""What users of scikit-learn hand over as X and y: texts, pairs of texts, and labels of any kind."""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray
from sklearn.utils import column_or_1d
from sklearn.utils.multiclass import check_classification_targets

from seamkit.errors import InvalidArgumentError, ShapeError
from seamkit.labels import are_names

Words = Mapping[Any, str | Sequence[str]]


def texts(given: Any) -> tuple[list[str], list[str] | None]:
    """Texts, and second texts where each of them is a pair: a list of strings or of (text, text_b), a NumPy array or a
    pandas column or table of these.

    Raises ShapeError for another shape, InvalidArgumentError for no text, and for what is no string, naming its row.
    """
    if isinstance(given, str) or not isinstance(given, Iterable):
        raise InvalidArgumentError(f"X must be a list of texts, found {_shown(given)}")
    if getattr(given, "ndim", 1) not in (1, 2):
        raise ShapeError(f"X must be texts [n] or pairs of texts [n, 2], found {getattr(given, 'ndim', 0)} axes")
    rows = np.asarray(given, dtype=object).tolist() if hasattr(given, "ndim") else list(given)
    if not rows:
        raise InvalidArgumentError("X must hold one text or more, found 0 sample(s)")
    if getattr(given, "ndim", 1) == 1 and not isinstance(rows[0], (list, tuple)):
        return [_text(each, f"text {index}") for index, each in enumerate(rows)], None
    for index, row in enumerate(rows):
        if not isinstance(row, (list, tuple)) or len(row) != 2:
            found = f"{len(row)} columns" if isinstance(row, (list, tuple)) else _shown(row)
            raise ShapeError(f"X must be texts [n] or pairs of texts [n, 2], found {found} in row {index}")
    first = [_text(row[0], f"text {index}") for index, row in enumerate(rows)]
    return first, [_text(row[1], f"second text {index}") for index, row in enumerate(rows)]


def _text(value: Any, name: str) -> str:
    if not isinstance(value, str):
        raise InvalidArgumentError(f"{name} must be a string, found {_shown(value)}")
    return str(value)


@dataclass(frozen=True)
class Labels:
    """The classes of a training set.

    classes: sorted, as the user writes them. names: of the task, in the order of the verbalizer, with their words.
    order: for each class its place among the names. numbers: of each example, places among the names.
    """

    classes: NDArray[Any]
    verbalizer: dict[str, list[str]]
    order: NDArray[Any]
    numbers: NDArray[Any]


def labels(given: Any, verbalizer: Words | None, count: int) -> Labels:
    """Reads y [n] for `count` texts.

    verbalizer: its keys are the labels; where they are strings and y holds integers, those mean the keys of their text, or
    count the keys from 0 where none has such a key. None:
    each label is its own word, with spaces for underscores and dashes.
    Raises InvalidArgumentError for a label that is not in the verbalizer, one of it without an example, and a single
    class; ShapeError for another number of labels.
    """
    if given is None:
        raise InvalidArgumentError("DecTClassifier requires y to be passed, but the target y is None")
    y = column_or_1d(_array(given), warn=True)
    if len(y) != count:
        raise ShapeError(f"y must hold a label for each of {count} texts, found {len(y)}")
    for index, each in enumerate(y.tolist()):
        if each is None or (isinstance(each, float) and not math.isfinite(each)):
            raise InvalidArgumentError(f"label {index} must be a string or a number, found {_shown(each)}")
    check_classification_targets(y)
    classes = np.unique(y)
    if len(classes) < 2:
        raise InvalidArgumentError(f"y must have 2 classes or more, found one class, {_shown(classes[0])}")
    known = classes.tolist()
    if verbalizer is None:
        keys: list[Any] = known
        names = {str(each): [str(each).replace("_", " ").replace("-", " ")] for each in keys}
    else:
        keys = list(verbalizer)
        names = {str(key): [words] if isinstance(words, str) else list(words) for key, words in verbalizer.items()}
        if all(isinstance(each, str) for each in keys) and all(type(each) is int for each in known):
            texts = {str(each): each for each in known}
            named = are_names(known, keys)
            keys = [texts.get(key, key) for key in keys] if named else list(range(len(names)))
    if len(names) != len(keys):
        raise InvalidArgumentError(f"two labels are written alike, found {', '.join(_shown(each) for each in keys)}")
    places = {each: place for place, each in enumerate(keys)}
    if stranger := [each for each in known if each not in places]:
        raise InvalidArgumentError(
            f"there is no label {_shown(stranger[0])} in the verbalizer; there are {', '.join(map(_shown, keys))}"
        )
    if missing := [each for each in keys if each not in set(known)]:
        raise InvalidArgumentError(f"every label of the verbalizer needs an example, and {_shown(missing[0])} has none")
    order = np.array([places[each] for each in known])
    return Labels(classes, names, order, np.array([places[each] for each in y.tolist()], np.int32))


def _array(given: Any) -> NDArray[Any]:
    found = np.asarray(given)
    # Numbers and strings in one list: NumPy would write the numbers as strings.
    if found.dtype.kind in "US" and not hasattr(given, "dtype") and not all(isinstance(each, str) for each in given):
        found = np.asarray(given, dtype=object)
    return found


def _shown(value: Any) -> str:
    text = repr(value.item() if isinstance(value, np.generic) else value)
    return text if len(text) <= 80 else f"{text[:77]}..."

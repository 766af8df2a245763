"""Labels of a classification that are given by name or by number."""

from __future__ import annotations

from collections.abc import Sequence
from numbers import Integral
from typing import Any

from seamkit.errors import InvalidArgumentError


def are_names(numbers: Sequence[int], names: Sequence[str]) -> bool:
    """Whether integers mean the labels of their text, as `seam classify` reads them from a file: true where all have one,
    false where none has, so that they count the labels from 0.

    Raises InvalidArgumentError where some have one and others have not.
    """
    texts = set(names)
    named = [each for each in numbers if str(each) in texts]
    if named and len(named) < len(numbers):
        other = next(each for each in numbers if str(each) not in texts)
        raise InvalidArgumentError(
            f"{named[0]} is the name of a label and {other} is not, so it is not clear whether numbers are names or "
            f"count the labels; give names as strings, of {', '.join(names)}"
        )
    return bool(named)


def places(given: Sequence[Any], names: Sequence[str]) -> list[int]:
    """The place of each label among `names`. A string is a name; of integers `are_names` says what they mean.

    Raises InvalidArgumentError for what is no label, with those there are.
    """
    numbers = [int(each) for each in given if isinstance(each, Integral) and not isinstance(each, bool)]
    named = are_names(numbers, names)
    known = {name: place for place, name in enumerate(names)}
    found = []
    for index, each in enumerate(given):
        if isinstance(each, bool) or not isinstance(each, str | Integral):
            raise InvalidArgumentError(f"label {index} must be a name or an integer, found {each!r}")
        if isinstance(each, str) or named:
            if str(each) not in known:
                raise InvalidArgumentError(f'there is no label "{each}"; there are {", ".join(names)}')
            found.append(known[str(each)])
        else:
            if not 0 <= int(each) < len(names):
                raise InvalidArgumentError(f"the label of example {index} must be 0 ... {len(names) - 1}, found {each}")
            found.append(int(each))
    return found

"""Arguments of an adapter on their way to libSeam."""

from __future__ import annotations

import ctypes
import json
import math
from collections.abc import Mapping, Sequence
from typing import Any

import torch
from torch import Tensor

from seamkit.errors import InvalidArgumentError
from seamkit.texts import check_integer
from seamkit.torch.plugins import Factory
from seamkit.torch.site import Site


def check_kinds(site: Any, options: Any, classes: Any, seed: Any, seam: Any = None, points: Any = None) -> None:
    """Raises one sentence for a value of another kind, which libSeam would be given as garbage."""
    if not isinstance(seam, str | None):
        raise InvalidArgumentError(f"seam must be the name of a seam or None, found {seam!r}")
    if points is not None and (
        isinstance(points, str) or not isinstance(points, Sequence) or not all(isinstance(each, str) for each in points)
    ):
        raise InvalidArgumentError(f'points must be a list of names such as "decoder.0.q", found {points!r}')
    for name, value, kind, wanted in (
        ("site", site, Site, "a Site, such as Site.of(model)"),
        ("classes", classes, int, "an integer"),
        ("seed", seed, int, "an integer"),
        ("options", options or {}, Mapping, "a mapping from names to values"),
    ):
        if not isinstance(value, kind):
            raise InvalidArgumentError(f"{name} must be {wanted}, found {type(value).__name__}")


def json_options(made: Factory, given: Mapping[Any, Any]) -> dict[str, Any]:
    """Options as JSON has them. Raises InvalidArgumentError for a value that it does not have."""
    found = {str(name): list(value) if isinstance(value, range | tuple) else value for name, value in given.items()}
    for name, value in found.items():
        kind = made.options.get(name, "value of JSON")
        if kind == "integer" and isinstance(value, int):
            check_integer(value, ctypes.c_int64, f'adapter "{made.id}": option "{name}"')
        try:
            json.dumps(value)
        except (TypeError, ValueError):
            wanted, shown = f"{'an' if kind[0] in 'aeiou' else 'a'} {kind}", type(value).__name__
        else:
            if not isinstance(value, float) or math.isfinite(value):
                continue
            wanted, shown = "a finite number", json.dumps(value)
        raise InvalidArgumentError(f'adapter "{made.id}": option "{name}" must be {wanted}, found {shown}')
    return found


def on_host(tensor: Tensor) -> Any:
    """As libSeam reads it, f32 or i32."""
    return tensor.detach().to("cpu", torch.float32 if tensor.is_floating_point() else torch.int32).contiguous().numpy()

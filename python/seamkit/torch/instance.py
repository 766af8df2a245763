"""Making an instance of a plugin's adapter: what may be asked for, in the sentences of the native host."""

from __future__ import annotations

import ctypes
from collections.abc import Mapping, Sequence
from typing import Any

from seamkit import _declarations as c
from seamkit.errors import InvalidArgumentError, PluginError, UnsupportedError
from seamkit.texts import check_integer
from seamkit.torch import point_choice
from seamkit.torch.host import HOST, Configuration, taken_error
from seamkit.torch.plugins import Factory
from seamkit.torch.point import Point
from seamkit.torch.point_choice import PointChoice
from seamkit.torch.site import Site

# Classes, and tokens of a prefix: a plugin computes with them.
_MOST = 1 << 20


def create(factory: Factory, configuration: Configuration, site: c.seam_site) -> int | None:
    """The plugin's own pointer, which may be NULL. Raises what the plugin fails with."""
    instance, error = ctypes.c_void_p(), ctypes.c_void_p()
    status = factory.table.create(
        HOST, configuration.handle, ctypes.byref(site), ctypes.byref(instance), ctypes.byref(error)
    )
    if status != c.SEAM_OK or error.value:
        if status == c.SEAM_OK:
            factory.table.destroy(instance.value)
        raise taken_error(error.value, status, factory.plugin.id, f'creating adapter "{factory.id}"')
    return instance.value


def chosen_points(
    factory: Factory, site: Site, seam: str, options: Mapping[str, Any], names: Sequence[str] | None
) -> tuple[tuple[Point, ...], dict[str, Any]]:
    """The points to sit on, none of a seam that has none, and the options without those that choose them.

    names: of the points, in place of the options. Raises as `PointChoice` and `point_choice.named` do.
    """
    if seam not in point_choice.SEAMS:
        return (), dict(options)
    choice, own = PointChoice.take(options, f'adapter "{factory.id}"')
    if names is not None:
        return point_choice.named(names, site.points, seam, factory.id), own
    return choice.among(site.points, seam, factory.id, factory.default_targets), own


def wanted_phases(factory: Factory, instance: int | None, seam: str, points: Sequence[Point]) -> list[int]:
    """When the plugin wants each point. Raises PluginError for what is no phase."""
    if seam != c.SEAM_PROJECTION or not factory.has("phases"):
        return [c.SEAM_PHASE_AFTER] * len(points)
    found = [int(factory.table.phases(instance, index)) for index in range(len(points))]
    for point, each in zip(points, found, strict=True):
        if not 0 < each <= c.SEAM_PHASE_BEFORE | c.SEAM_PHASE_AFTER:
            raise PluginError(
                f'adapter "{factory.id}" must want the point "{point}" before (1), after (2) or both (3), found {each}',
                factory.plugin.id,
            )
    return found


def check_prefix_length(tokens: Sequence[int]) -> None:
    """Raises InvalidArgumentError for numbers of tokens that cannot be."""
    if not all(0 <= each <= _MOST for each in tokens):
        raise InvalidArgumentError(f"the tokens of a prefix must be 0 ... {_MOST}, found {list(tokens)}")


def chosen_seam(found: Factory, site: Site, seam: str | None, classes: int) -> str:
    """The seam to attach to, or the sentence of the native host."""
    chosen = seam or found.seams[0]
    if chosen not in found.seams:
        raise InvalidArgumentError(f'adapter "{found.id}" attaches to {", ".join(found.seams)}, not to "{chosen}"')
    if chosen not in site.seams:
        raise UnsupportedError(
            f'the model ({site.family}) has no seam "{chosen}", which adapter "{found.id}" needs; it has '
            f"{', '.join(site.seams)}"
        )
    if chosen == c.SEAM_DECODER_OUTPUT and found.table.reads_prompts:
        raise UnsupportedError(
            f'adapter "{found.id}" reads several prompts about each text, which it does on the native engine alone'
        )
    if not 0 <= classes <= _MOST:
        raise InvalidArgumentError(f"the number of classes must be 0 ... {_MOST}, found {classes}")
    if chosen == c.SEAM_DECODER_OUTPUT and classes < 2:
        raise InvalidArgumentError(
            f'adapter "{found.id}" on decoder.output is part of a classification and needs at least 2 classes, found '
            f"{classes}"
        )
    return chosen


def check_kinds(site: Any, options: Any, classes: Any, seed: Any) -> None:
    """Raises one sentence for a value of another kind, which a plugin would be given as garbage."""
    for name, value, kind, wanted in (
        ("site", site, Site, "a Site, such as Site.of(model)"),
        ("classes", classes, int, "an integer"),
        ("seed", seed, int, "an integer"),
        ("options", options or {}, Mapping, "a mapping from names to values"),
    ):
        if not isinstance(value, kind):
            raise InvalidArgumentError(f"{name} must be {wanted}, found {type(value).__name__}")
    check_integer(classes, ctypes.c_int64, "classes")
    check_integer(seed, ctypes.c_uint64, "seed")

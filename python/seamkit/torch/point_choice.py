"""Which of a model's points an adapter sits on: the options "layers", "targets" and "stack", which every adapter on a
seam inside the layers has from the host. In the sentences of the native host, which says "backbone" for the model."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from seamkit import _declarations as c
from seamkit.errors import IncompatibleError, InvalidArgumentError, NotFoundError
from seamkit.torch.point import DECODER, ENCODER, Point

OPTIONS = ("layers", "targets", "stack")
SEAMS = (c.SEAM_LAYER_OUTPUT, c.SEAM_PROJECTION, c.SEAM_PROMPT_EMBEDDING)
_MOST_LAYERS = 1 << 16
_MOST_LISTED = 10


@dataclass(frozen=True)
class PointChoice:
    """layers, stack: None for all; stack "both" for all where None is the first. targets: None for the adapter's own."""

    layers: list[int] | None = None
    targets: list[str] | None = None
    stack: str | None = None

    @staticmethod
    def take(options: Mapping[str, Any], owner: str) -> tuple[PointChoice, dict[str, Any]]:
        """The choice among the options that are given, and the plugin's own.

        owner: 'adapter "x"', for a sentence. Raises InvalidArgumentError for a value of another form.
        """
        found: dict[str, Any] = {}
        for name in OPTIONS:
            if name not in options:
                continue
            value = options[name]
            if name == "layers":
                found[name], wanted = _numbers(value), 'a list of layers from 0, one or more, or a text such as "0-3,7"'
            elif name == "targets":
                found[name] = _names(value)
                wanted = 'a list of names of projections, one or more, or a text such as "q,v"'
            else:
                found[name], wanted = (
                    value if value in (ENCODER, DECODER, "both") else None,
                    ('"encoder", "decoder" or "both"'),
                )
            if found[name] is None:
                raise InvalidArgumentError(f'{owner}: option "{name}" must be {wanted}, found {_shown(value)}')
        return PointChoice(**found), {name: value for name, value in options.items() if name not in OPTIONS}

    def among(self, points: Sequence[Point], seam: str, id: str, default_targets: Sequence[str]) -> tuple[Point, ...]:
        """Those of a seam that are chosen, in the model's order.

        One matrix that does the work of several, such as GPT-2's "qkv", is taken or left as a whole; only among an
        adapter's default targets does a part stand for it.

        Raises NotFoundError, in one sentence with all that does not exist, and what there is.
        """
        stack = self.stack
        if seam == c.SEAM_PROMPT_EMBEDDING:
            for option in ("layers", "targets"):
                if getattr(self, option) is not None:
                    raise InvalidArgumentError(
                        f'adapter "{id}": option "{option}" chooses among layers, and {seam} is before the first: choose '
                        'with "stack"'
                    )
            # Before a text of an encoder-decoder vectors are put in its encoder where nothing is asked for.
            stack = stack or next((each.stack for each in points if each.seam == seam), None)
        there = [each for each in points if each.seam == seam and stack in (None, "both", each.stack)]
        self._check(there, points, seam, id)
        targets = default_targets if self.targets is None else self.targets

        def is_chosen(point: Point) -> bool:
            if self.layers is not None and point.layer not in self.layers:
                return False
            if seam != c.SEAM_PROJECTION or (self.targets is None and not targets) or point.name in targets:
                return True
            return self.targets is None and any(name in targets for name, _ in point.parts)

        chosen = tuple(each for each in there if is_chosen(each))
        if not chosen:
            raise NotFoundError(
                f'adapter "{id}": none of its targets ({", ".join(targets)}) is in the layers that were chosen; the '
                f"backbone has {summary(points, seam)}"
            )
        return chosen

    def _check(self, there: Sequence[Point], points: Sequence[Point], seam: str, id: str) -> None:
        missing, proposals = [], []
        if not there:
            missing = [f"no points of {seam} in the {self.stack}"] if self.stack in (ENCODER, DECODER) else []
        else:
            missing = [
                f"no layer {layer}"
                for layer in sorted(set(self.layers or ()))
                if all(each.layer != layer for each in there)
            ]
            for target in self.targets or ():
                if any(each.name == target for each in there):
                    continue
                missing.append(f'no projection "{target}"')
                whole = next((each.name for each in there if any(name == target for name, _ in each.parts)), None)
                if whole is not None:
                    proposals.append(f'"{target}" is part of "{whole}", which is adapted as a whole: name that')
        if missing:
            proposal = f"; {listed(proposals, '; ')}" if proposals else ""
            raise NotFoundError(
                f'adapter "{id}": the backbone has {listed(missing)}; it has {summary(points, seam)}{proposal}'
            )


def named(names: Sequence[str], points: Sequence[Point], seam: str, id: str) -> tuple[Point, ...]:
    """Points by the names that a saved adapter has for them. Raises IncompatibleError with all that are not there."""
    found = tuple(each for each in points if each.seam == seam and str(each) in names)
    known = {str(each) for each in found}
    missing = [f'"{each}"' for each in names if each not in known]
    if missing or not found or len(names) != len(found):
        what = listed(missing) if missing else "no point, or one twice"
        raise IncompatibleError(
            f'adapter "{id}" was made for the points {what} of {seam}, which this backbone does not have; it has '
            f"{summary(points, seam)}"
        )
    return found


def check_same_points(own: Sequence[Point], points: Sequence[Point], id: str) -> None:
    """Raises IncompatibleError, with all that are missing, unless a model has the points that an adapter was made for."""
    known = {(str(each), each.seam, each.input_width, each.output_width) for each in points}
    missing = [
        f'"{each}" of {each.input_width} to {each.output_width}'
        for each in own
        if (str(each), each.seam, each.input_width, each.output_width) not in known
    ]
    if missing:
        raise IncompatibleError(
            f'adapter "{id}" is made for the point{"s" if len(missing) > 1 else ""} {listed(missing)}, which this '
            "backbone does not have"
        )


def summary(points: Sequence[Point], seam: str) -> str:
    """What there is, for a sentence: "decoder layers 0 ... 11 with q, k, v, o"."""
    parts = []
    for stack in (ENCODER, DECODER):
        there = [each for each in points if each.seam == seam and each.stack == stack]
        if not there:
            continue
        if seam == c.SEAM_PROMPT_EMBEDDING:
            parts.append(f"the {stack}'s embedded tokens")
            continue
        layers, names = [each.layer for each in there], list(dict.fromkeys(each.name for each in there if each.name))
        named_so = f" with {listed(names)}" if names else ""
        parts.append(f"{stack} layers {min(layers)} ... {max(layers)}{named_so}")
    return " and ".join(parts) or "none"


def listed(items: Sequence[str], separator: str = ", ") -> str:
    """The first ones, and how many more there are."""
    more = [f"and {len(items) - _MOST_LISTED} more"] if len(items) > _MOST_LISTED else []
    return separator.join([*items[:_MOST_LISTED], *more])


def _numbers(value: Any) -> list[int] | None:
    """A list of layers, one, or "0-3,7"; None for anything else."""

    def is_layer(each: Any) -> bool:
        return isinstance(each, int) and not isinstance(each, bool) and 0 <= each < _MOST_LAYERS

    if isinstance(value, list | tuple | range):
        return list(value) if len(value) and all(map(is_layer, value)) else None
    if is_layer(value):
        return [value]
    found: list[int] = []
    for part in value.split(",") if isinstance(value, str) else [""]:
        ends = part.split("-")
        if len(ends) > 2 or not all(each.isascii() and each.isdigit() for each in ends):
            return None
        first, last = int(ends[0]), int(ends[-1])
        if not first <= last < _MOST_LAYERS:
            return None
        found += range(first, last + 1)
    return found


def _names(value: Any) -> list[str] | None:
    given = value.split(",") if isinstance(value, str) else value
    if isinstance(value, str):
        given = [each for each in given if each]
    if not isinstance(given, list | tuple) or not given:
        return None
    return list(given) if all(isinstance(each, str) and each for each in given) else None


def _shown(value: Any) -> str:
    try:
        return json.dumps(list(value) if isinstance(value, range) else value, ensure_ascii=False, separators=(",", ":"))
    except (TypeError, ValueError):
        return type(value).__name__

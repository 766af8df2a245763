"""What each seam takes and gives, checked when an adapter is traced."""

from __future__ import annotations

import itertools
from collections.abc import Sequence
from typing import TYPE_CHECKING

import torch
from torch import Tensor

from seamkit import _declarations as c
from seamkit.errors import NumericError, PluginError, ShapeError
from seamkit.torch import point_choice
from seamkit.torch.checks import dtype_name, shown
from seamkit.torch.site import Site
from seamkit.torch.visit import Visit

if TYPE_CHECKING:
    from seamkit.torch.adapter import Adapter

ATTENTIONS = ("encoder", "decoder", "cross")
_PREFIX_SEAMS = (c.SEAM_ATTENTION_PREFIX, c.SEAM_PREFIX_TOKENS)


def is_prefix(seam: str) -> bool:
    return seam in _PREFIX_SEAMS


def prefix_count(seam: str, site: Site) -> int:
    """The inputs and outputs of a seam of prefixes; 0 for others."""
    return sum(site.prefix_layers) if is_prefix(seam) else 0


def input_names(seam: str, site: Site) -> tuple[str, ...]:
    """As errors call what flows into a seam, in order."""
    if is_prefix(seam):
        return tuple(
            f"prefix of {name} attention in layer {layer}"
            for name, layers in zip(ATTENTIONS, site.prefix_layers, strict=True)
            for layer in range(layers)
        )
    if seam in point_choice.SEAMS:
        return {c.SEAM_LAYER_OUTPUT: ("hidden",), c.SEAM_PROMPT_EMBEDDING: ("x", "mask")}.get(
            seam, ("x", "weight", "bias", "y")
        )
    return ("hidden", "mask") if seam == c.SEAM_ENCODER_OUTPUT else ("scores", "hidden")


def check_tensors(id: str, seam: str, site: Site, inputs: Sequence[Tensor | None], origin: str) -> None:
    """Raises ShapeError for an input that no plugin can read, whatever its sizes."""
    names = input_names(seam, site)
    for index, each in enumerate(inputs):
        if each is None:
            continue
        name = names[index] if index < len(names) else f"input {index}"
        if not isinstance(each, Tensor):
            raise ShapeError(f'adapter "{id}": {name} must be a tensor, found {type(each).__name__}', origin)
        if each.is_complex() or not (each.is_floating_point() or name == "mask") or each.layout != torch.strided:
            kind = f"{each.dtype}" if each.layout == torch.strided else f"{each.dtype}, {each.layout}"
            raise ShapeError(f'adapter "{id}": {name} must be a dense tensor of real numbers, found {kind}', origin)


def check_visit(adapter: Adapter, visit: Visit, inputs: Sequence[Tensor | None]) -> int:
    """Which of the inputs the output takes the place of; raises ShapeError for inputs that are not those of the point."""
    point = adapter.points[visit.point]
    wide, out = point.input_width, point.output_width
    shapes = [None if each is None else list(each.shape) for each in inputs]
    x = shapes[0] if shapes else None
    if adapter.seam == c.SEAM_LAYER_OUTPUT:
        wanted, place = f"hidden [batch, n, {out}]", 0
        fits = len(shapes) == 1 and x is not None and len(x) == 3 and x[2] == out
    elif adapter.seam == c.SEAM_PROMPT_EMBEDDING:
        wanted, place = f"x [batch, n, {out}] and mask [batch, n]", 0
        fits = len(shapes) == 2 and x is not None and len(x) == 3 and x[2] == out and shapes[1] == x[:2]
    else:
        wanted = f"x [batch, n, {wide}], weight [{out}, {wide}] and bias [{out}] or None"
        fits = (
            len(shapes) == (3 if visit.is_before else 4)
            and x is not None
            and len(x) == 3
            and x[2] == wide
            and shapes[1] == (None if visit.quantised else [out, wide])
            and shapes[2] in (None, [out])
        )
        place = 0
        if not visit.is_before:
            wanted, place = f"{wanted}, and y [batch, n, {out}]", 3
            fits = fits and x is not None and shapes[3] == [*x[:2], out]
    if not fits:
        found = ", ".join("None" if each is None else shown(each) for each in shapes) or "nothing"
        raise ShapeError(f'adapter "{adapter.id}" at the point "{point}" takes {wanted}, found {found}')
    return place


def check_visited(adapter: Adapter, visit: Visit, before: Tensor | None, after: Tensor | None) -> None:
    """Raises PluginError for an output that is not that of the point."""
    origin, point = adapter.factory.plugin.id, adapter.points[visit.point]
    assert before is not None  # `check_visit` has seen to it
    if after is None:
        raise PluginError(f'adapter "{adapter.id}" returned NULL at the point "{point}"', origin)
    if after.shape != before.shape or after.dtype != before.dtype:
        raise PluginError(
            f'adapter "{adapter.id}" must return f32 {shown(before.shape)} at the point "{point}", found '
            f"{dtype_name(after)} {shown(after.shape)}",
            origin,
        )


def check_prompted(adapter: Adapter, visit: Visit, x: Tensor | None, outputs: Sequence[Tensor | None]) -> None:
    """Raises PluginError for outputs that are not those of embedded tokens x."""
    assert x is not None  # `check_visit` has seen to it
    vectors, changed = outputs
    batch, _, width = x.shape

    def check(what: str, fits: bool, expected: str, found: Tensor) -> None:
        if not fits or found.dtype != x.dtype:
            raise PluginError(
                f'adapter "{adapter.id}" must return {what} at the point "{adapter.points[visit.point]}" as f32 '
                f"{expected}, found {dtype_name(found)} {shown(found.shape)}",
                adapter.factory.plugin.id,
            )

    if vectors is not None:
        fits = vectors.dim() == 3 and vectors.shape[0] in (1, batch) and vectors.shape[1] > 0
        check("the vectors", fits and vectors.shape[2] == width, f"[1 or {batch}, prompt, {width}]", vectors)
    if changed is not None:
        check("x", changed.shape == x.shape, shown(x.shape), changed)


def check_inputs(id: str, seam: str, inputs: Sequence[Tensor | None], site: Site, classes: int) -> int:
    """The number of outputs; raises ShapeError for inputs that are not those of the seam."""
    wanted = {
        c.SEAM_ENCODER_OUTPUT: f"hidden [batch, source, {site.d_model}] and mask [batch, source]",
        c.SEAM_DECODER_OUTPUT: f"scores [batch, {classes}] and hidden [batch, {site.d_model}]",
    }.get(
        seam,
        f"{prefix_count(seam, site)} prefixes, for each layer of each attention [2, kv_heads, prefix, head_dim] or None",
    )
    shapes = [None if each is None else list(each.shape) for each in inputs]
    if seam == c.SEAM_ENCODER_OUTPUT:
        fits = (
            len(shapes) == 2
            and shapes[0] is not None
            and len(shapes[0]) == 3
            and (shapes[0][2] == site.d_model and shapes[1] == shapes[0][:2])
        )
    elif seam == c.SEAM_DECODER_OUTPUT:
        fits = (
            len(shapes) == 2
            and shapes[0] is not None
            and len(shapes[0]) == 2
            and (shapes[0][1] == classes and shapes[1] == [shapes[0][0], site.d_model])
        )
    else:
        fits = len(shapes) == prefix_count(seam, site) and all(each is None or len(each) == 4 for each in shapes)
    if not fits:
        found = ", ".join("None" if each is None else shown(each) for each in shapes) or "nothing"
        raise ShapeError(f'adapter "{id}" on {seam} takes {wanted}, found {found}')
    return prefix_count(seam, site) or 1


def by_attention(site: Site, values: Sequence[Tensor | None]) -> tuple[tuple[Tensor | None, ...], ...]:
    """What flows through a seam of prefixes, the layers of each attention."""
    ends = list(itertools.accumulate(site.prefix_layers))
    return tuple(tuple(values[end - count : end]) for end, count in zip(ends, site.prefix_layers, strict=True))


def check_outputs(adapter: Adapter, inputs: Sequence[Tensor | None], outputs: Sequence[Tensor | None]) -> None:
    """Raises PluginError for outputs that are not those of the seam."""
    origin = adapter.factory.plugin.id
    if is_prefix(adapter.seam):
        given, made = by_attention(adapter.site, inputs), by_attention(adapter.site, outputs)
        for index, layers in enumerate(made):
            for layer in range(len(layers)):
                _check_prefix(adapter, index, layer, given[index][layer], layers)
        return
    before, after = inputs[0], outputs[0]
    if after is None:
        raise PluginError(f'adapter "{adapter.id}" returned NULL for output 0', origin)
    if before is not None and (after.shape != before.shape or after.dtype != before.dtype):
        raise PluginError(
            f'adapter "{adapter.id}" must return output 0 as f32 {shown(before.shape)}, found {dtype_name(after)} '
            f"{shown(after.shape)}",
            origin,
        )


def _check_prefix(
    adapter: Adapter, attention: int, layer: int, before: Tensor | None, layers: Sequence[Tensor | None]
) -> None:
    """Of one layer; all layers of an attention have as many tokens as the first."""
    first, after = layers[0], layers[layer]
    if adapter.seam == c.SEAM_PREFIX_TOKENS:
        fits = (
            after is None
            if before is None
            else after is not None and (after.shape == before.shape and after.dtype == before.dtype)
        )
        expected = "NULL, as its input" if before is None else f"f32 {shown(before.shape)}, as its input"
    elif first is None:
        fits = after is None and before is None
        expected = "NULL, as in layer 0" if layer else "what the adapter before gave, with its own tokens"
    else:
        tokens = first.shape[2] if first.dim() == 4 else 0
        heads, width = adapter.site.prefix_sizes(attention)[layer]
        fits = (
            after is not None
            and after.is_floating_point()
            and tokens > 0
            and list(after.shape) == [2, heads, tokens, width]
        )
        expected = f"f32 [2, {heads}, {tokens if layer and tokens else 'prefix'}, {width}]"
    if not fits:
        found = "NULL" if after is None else f"{dtype_name(after)} {shown(after.shape)}"
        raise PluginError(
            f'adapter "{adapter.id}" must return the prefix of {ATTENTIONS[attention]} attention in layer {layer} as '
            f"{expected}, found {found}",
            adapter.factory.plugin.id,
        )


def parameter_value(adapter: Adapter, name: str, parameter: Tensor, value: Tensor) -> Tensor:
    """A copy of a value that a plugin gives for a parameter, checked."""
    origin = adapter.factory.plugin.id
    if value.shape != parameter.shape or not value.is_floating_point():
        raise PluginError(
            f'adapter "{adapter.id}" must give parameter "{name}" as f32 {shown(parameter.shape)}, found '
            f"{dtype_name(value)} {shown(value.shape)}",
            origin,
        )
    bad = (~torch.isfinite(value)).reshape(-1).nonzero()
    if len(bad):
        raise NumericError(
            f'adapter "{adapter.id}" gives parameter "{name}" NaN or infinity at element {int(bad[0])}', origin
        )
    return value.clone()

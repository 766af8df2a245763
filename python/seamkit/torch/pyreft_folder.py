"""The layout of pyreft's folders (Wu et al. 2024, https://github.com/stanfordnlp/pyreft), as pyvene saves them: reading and
checking.

Such a folder holds config.json, with a line for each intervention of where it is and of which class, and a pickle for each
with its tensors. What is said here of both was found by running pyreft 0.1.0 with pyvene 0.1.8. Pickles are read by
`torch.load(weights_only=True)`, which executes nothing.
"""

from __future__ import annotations

import json
import pickle
import re
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from seamkit import _declarations as c
from seamkit.errors import FormatError, IncompatibleError, NotFoundError, NumericError, ShapeError, UnsupportedError
from seamkit.point import Point
from seamkit.torch.families import located_points

CONFIG = "config.json"
# What trained parts of the model itself would be in.
_MODEL = "pytorch_model.bin"
# pyvene's RepresentationConfig, which is written as a list; earlier releases of it end before the last.
FIELDS = (
    "layer",
    "component",
    "unit",
    "max_number_of_units",
    "low_rank_dimension",
    "intervention_type",
    "intervention",
    "subspace_partition",
    "group_key",
    "intervention_link_key",
    "moe_key",
    "source_representation",
    "hidden_source_representation",
    "latent_dim",
)
_REFUSED = FIELDS[7:]
BLOCK = "block_output"
SOURCE = ("learned_source.weight", "learned_source.bias")
# Classes of pyreft.interventions, and the adapters with their formulas.
ADAPTERS = {
    "LoreftIntervention": "loreft",
    "NoreftIntervention": "noreft",
    "DireftIntervention": "direft",
    "NodireftIntervention": "direft",
}
_ORTHOGONAL = "rotate_layer.parametrizations.weight."
SIZES = ("embed_dim", "interchange_dim")


@dataclass(frozen=True)
class Layer:
    """path: of what leaves it, as pyvene writes one ("model.layers[0].output")."""

    point: Point
    path: str


@dataclass(frozen=True)
class Values:
    """W [rank, width], b [rank] and the directions [rank, width]."""

    weight: Tensor
    bias: Tensor
    directions: Tensor


def layers_of(model: Any) -> list[Layer]:
    """The layers of a model."""
    paths = {module: name for name, module in model.named_modules()}
    return [
        Layer(each.point, re.sub(r"\.(\d+)(?=\.|$)", r"[\1]", paths[each.module]) + ".output")
        for each in located_points(model)
        if each.point.seam == c.SEAM_LAYER_OUTPUT
    ]


def described(folder: Path, layers: Sequence[Layer]) -> list[tuple[str, str, int, str]]:
    """Of each intervention that a config describes: its key, its class, which it is at its point, and that."""
    if not folder.is_dir():
        raise NotFoundError(f'pyreft folder "{folder}": there is no such folder')
    name = folder / CONFIG
    try:
        config = json.loads(name.read_text())
    except FileNotFoundError:
        raise NotFoundError(f'pyreft folder "{folder}" has no {CONFIG}') from None
    except (OSError, ValueError, RecursionError) as error:
        raise FormatError(f"{name}: {error}") from None
    config = config if isinstance(config, dict) else {}
    listed, types = config.get("representations"), config.get("intervention_types")
    if not isinstance(listed, list) or not isinstance(types, list) or not listed or len(listed) != len(types):
        raise FormatError(f"{name} must have representations and as many intervention_types, as pyvene writes them")
    if config.get("mode", "parallel") != "parallel":
        raise UnsupportedError(f'{name}: mode must be "parallel", found {config["mode"]!r}')
    if (folder / _MODEL).exists():
        raise UnsupportedError(
            f'pyreft folder "{folder}" holds {_MODEL}, parts of the model that were trained along: only interventions '
            "alone can be read"
        )
    keys: Counter[str] = Counter()
    indices: Counter[str] = Counter()
    found = []
    for place, (given, kind) in enumerate(zip(listed, types, strict=True)):
        where = f"{name}: representation {place}"
        representation, known = _representation(where, given), _class(where, kind)
        point = _point(where, representation, layers)
        key = key_of(representation["layer"], representation["component"])
        found.append((f"{key}#{keys[key]}", known, indices[point], point))
        keys[key] += 1
        indices[point] += 1
    return found


def _representation(where: str, given: Any) -> dict[str, Any]:
    is_list = isinstance(given, list) and 2 <= len(given) <= len(FIELDS)
    if not is_list and not (isinstance(given, dict) and set(given) <= set(FIELDS)):
        raise FormatError(f"{where} must be a list or an object of {', '.join(FIELDS)}, found {given!r}")
    found = {"layer": 0, "component": BLOCK, "unit": "pos", "max_number_of_units": 1}
    found |= dict(zip(FIELDS, given, strict=False)) if is_list else given
    if type(found["layer"]) is not int or not isinstance(found["component"], str):
        raise FormatError(
            f"{where} must have a number as layer and a text as component, found {found['layer']!r} and "
            f"{found['component']!r}"
        )
    for name, wanted in (("unit", "pos"), ("max_number_of_units", 1)):
        if found[name] != wanted or isinstance(found[name], bool):
            raise UnsupportedError(f"{where}: {name} must be {wanted!r}, found {found[name]!r}")
    for name in _REFUSED:
        if found.get(name) is not None:
            raise UnsupportedError(f"{where}: {name} is not followed, found {found[name]!r}")
    return found


def _class(where: str, kind: Any) -> str:
    matched = re.fullmatch(r"<class '(?:pyreft\.\w+\.)?(\w+)'>", kind) if isinstance(kind, str) else None
    if matched is None or matched[1] not in ADAPTERS:
        raise UnsupportedError(
            f"{where} is of the class {kind!r}: those that can be read are {', '.join(ADAPTERS)} of pyreft.interventions"
        )
    return matched[1]


def key_of(layer: int, component: str) -> str:
    """By which pyvene names the file of an intervention; behind it is the number of those of the same key."""
    place = f"comp_{component.replace('.', '_')}" if "." in component else f"layer_{layer}_comp_{component}"
    return f"{place}_unit_pos_nunit_1"


def _point(where: str, representation: Mapping[str, Any], layers: Sequence[Layer]) -> str:
    """The point of a layer, by its number or by its path."""
    layer, component = representation["layer"], representation["component"]
    if component == BLOCK and len({each.point.stack for each in layers}) > 1:
        raise UnsupportedError(
            f'{where}: component "{BLOCK}" does not say of which half of the model, which has an encoder and a decoder'
        )
    for each in layers:
        if each.path == component or component == BLOCK and each.point.layer == layer:
            return str(each.point)
    if component == BLOCK:
        raise IncompatibleError(f"{where}: layer must be 0 ... {len(layers) - 1} for this model, found {layer}")
    known = f', such as "{layers[0].path}"' if layers else ""
    raise UnsupportedError(
        f'{where}: component must be "{BLOCK}" or the output of a layer of this model{known}, found "{component}"'
    )


def read(path: Path, kind: str, width: int) -> Values:
    """The tensors of one intervention. A rank of 0 and one above the width are refused by the adapter."""
    try:
        state = torch.load(path, map_location="cpu", weights_only=True)
    except FileNotFoundError:
        raise NotFoundError(f"{path}: there is no such file, and {CONFIG} names the intervention") from None
    except (OSError, RuntimeError, ValueError, EOFError, pickle.UnpicklingError) as error:
        reason = str(error).splitlines()[0] if str(error) else type(error).__name__
        raise FormatError(f"{path} cannot be read as tensors alone, without executing it: {reason}") from None
    if not isinstance(state, Mapping) or not all(isinstance(each, Tensor) for each in state.values()):
        raise FormatError(f"{path} must hold tensors by name")
    tensors = {name: each for name, each in state.items() if name not in SIZES}
    _check(path, kind, tensors, width)
    numbers = {name: each.double() for name, each in tensors.items()}
    if kind == "LoreftIntervention":
        return Values(numbers["weight"], numbers["bias"], numbers["rotate_layer"].T)
    weight, bias = (numbers[name] for name in SOURCE)
    if kind == "DireftIntervention":
        return Values(weight, bias, _orthonormal(numbers).T)
    if kind == "NoreftIntervention" and "proj_layer.bias" in numbers:
        # V h + c is taken off: W h + b - (V h + c) = W h + (b - c) - V h.
        bias = bias - numbers["proj_layer.bias"]
    return Values(weight, bias, numbers["proj_layer.weight"])


def _check(path: Path, kind: str, tensors: Mapping[str, Tensor], width: int) -> None:
    """Raises one sentence unless the tensors are those of a class, finite and of one rank."""
    rank = next((each.numel() for name, each in tensors.items() if name in ("bias", SOURCE[1])), 0)
    source = {SOURCE[0]: [rank, width], SOURCE[1]: [rank]}
    shapes = {
        "LoreftIntervention": {"weight": [rank, width], "bias": [rank], "rotate_layer": [width, rank]},
        "DireftIntervention": source
        | {f"{_ORTHOGONAL}original": [width, rank], f"{_ORTHOGONAL}0.base": [width, width]},
    }.get(kind, source | {"proj_layer.weight": [rank, width]})
    wanted = list(shapes)
    if "proj_layer.weight" in shapes:
        # With add_bias; NodiReFT never uses it.
        shapes["proj_layer.bias"] = [rank]
    if not set(wanted) <= set(tensors) <= set(shapes):
        raise FormatError(f"{path} must hold {', '.join(wanted)} of a {kind}, found {', '.join(tensors) or 'none'}")
    for name, each in tensors.items():
        if not each.is_floating_point():
            raise FormatError(f'{path}: tensor "{name}" must be of real numbers, found {each.dtype}')
        if list(each.shape) != shapes[name]:
            raise ShapeError(f'{path}: tensor "{name}" must be {shapes[name]}, found {list(each.shape)}')
        if not torch.isfinite(each).all():
            raise NumericError(f'{path}: tensor "{name}" holds NaN or infinity')


def _orthonormal(numbers: Mapping[str, Tensor]) -> Tensor:
    """The matrix [width, rank] whose parametrization a DiReFT saves in its place."""
    width, rank = numbers[f"{_ORTHOGONAL}original"].shape
    layer = torch.nn.utils.skip_init(  # type: ignore[no-untyped-call]
        torch.nn.Linear, rank, width, bias=False, dtype=torch.float64
    )
    with torch.no_grad():
        layer.weight.copy_(torch.eye(width, rank))
    torch.nn.utils.parametrizations.orthogonal(layer)
    layer.load_state_dict(
        {name.removeprefix("rotate_layer."): each for name, each in numbers.items() if name.startswith(_ORTHOGONAL)}
    )
    weight: Tensor = layer.weight.detach()
    return weight

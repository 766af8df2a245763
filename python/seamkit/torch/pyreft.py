"""Interventions that pyreft trained, as adapters, and the reverse: reading and writing its folders (`pyreft_folder`).

At which tokens an intervention acts is no part of a folder: a program that runs pyreft gives the places with each call.
"""

from __future__ import annotations

import json
import os
import shutil
import tempfile
from collections import Counter, OrderedDict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from seamkit.errors import AlreadyExistsError, InvalidArgumentError, UnsupportedError
from seamkit.point import ENCODER
from seamkit.torch.adapter import Adapter
from seamkit.torch.attachment import attach_all, attached
from seamkit.torch.pyreft_folder import (
    ADAPTERS,
    BLOCK,
    CONFIG,
    FIELDS,
    SIZES,
    SOURCE,
    Values,
    described,
    key_of,
    layers_of,
    read,
)
from seamkit.torch.site import Site
from seamkit.torch.writing import checked_values

# The classes that adapters are written as.
_CLASSES = {"loreft": "LoreftIntervention", "noreft": "NoreftIntervention", "direft": "NodireftIntervention"}


@dataclass(frozen=True)
class _Intervention:
    """index: of those at one point, in the order in which they run. point: of the model."""

    adapter: str
    index: int
    point: str
    values: Values


def load_pyreft(path: str | Path, model: torch.nn.Module, *, positions: str) -> Adapter | list[Adapter]:
    """Attaches the interventions that pyreft saved in a folder to a model of transformers: LoReFT as adapters "loreft",
    NoReFT as "noreft", DiReFT and NodiReFT as "direft"; all or, after an error, none. They can be trained on; the directions
    of a DiReFT do not stay orthonormal then.

    positions: the tokens at which they act, which a folder does not say, as pyreft writes it and as the option of these
    adapters: "all", "f2", "l1", "f2+l1". Where a folder has two interventions at each layer, which is how pyreft trains the
    first and the last tokens apart, it must be of the last form: the first of the two is for the first tokens.

    Returns the adapter, or a list of them where the interventions differ in class or rank, or are two at each layer.

    Raises NotFoundError for a missing folder or file; FormatError, ShapeError and NumericError for a damaged one;
    UnsupportedError, with its name, for another class, component or unit and for what else is not followed;
    InvalidArgumentError for positions that do not fit.
    """
    folder = Path(path)
    site, layers = Site.of(model), layers_of(model)
    if not isinstance(positions, str):
        raise InvalidArgumentError(f'positions must be a text such as "all" or "f2+l1", found {positions!r}')
    found = [
        _Intervention(ADAPTERS[kind], index, point, read(folder / f"intkey_{key}.bin", kind, site.d_model))
        for key, kind, index, point in described(folder, layers)
    ]
    texts = _positions(folder, positions, Counter(each.point for each in found))
    groups: dict[tuple[int, str, int], list[_Intervention]] = {}
    for each in found:
        groups.setdefault((each.index, each.adapter, len(each.values.bias)), []).append(each)
    adapters = [
        _adapter(kind, rank, texts[index], site, group)
        for (index, kind, rank), group in sorted(groups.items(), key=lambda each: each[0][0])
    ]
    attach_all(model, adapters, frozen=True)
    return adapters[0] if len(adapters) == 1 else adapters


def save_pyreft(model: torch.nn.Module, path: str | Path) -> None:
    """Writes the adapters "loreft", "noreft" and "direft" that are attached to a model as a folder in the layout of pyreft,
    in f32, whole or not at all: LoreftIntervention, NoreftIntervention with add_bias=False, and NodireftIntervention.

    At which tokens they act is not written, since the layout has no place for it. In a decoder a layer is pyvene's
    "block_output"; elsewhere it is the path of the module.

    path: a folder that is not there, or an empty one.

    Raises InvalidArgumentError where nothing is attached; UnsupportedError for another adapter; AlreadyExistsError;
    NumericError for values that are not finite.
    """
    adapters = attached(model)
    if not adapters:
        raise InvalidArgumentError("there is no adapter to save: none is attached")
    for each in adapters:
        if each.id not in _CLASSES:
            raise UnsupportedError(
                f'adapter "{each.id}" has no counterpart in pyreft, whose folders hold {", ".join(_CLASSES)}: detach it'
            )
        checked_values(each, "saved")
    target = Path(path)
    if target.exists() and not (target.is_dir() and not any(target.iterdir())):
        raise AlreadyExistsError(f'cannot write the folder "{path}": something is there')
    target.parent.mkdir(parents=True, exist_ok=True)
    temporary = Path(tempfile.mkdtemp(prefix=f".{target.name}.", dir=target.parent))
    try:
        _write(temporary / "folder", adapters, model)
        os.replace(temporary / "folder", target)
    finally:
        shutil.rmtree(temporary, ignore_errors=True)


def _positions(folder: Path, text: str, counts: Counter[str]) -> list[str]:
    """The option of the adapters of the first interventions at each point, and of the second."""
    most = max(counts.values())
    if most == 1:
        return [text]
    parts = text.split("+")
    if most > 2 or min(counts.values()) != most:
        point, count = counts.most_common(1)[0]
        raise UnsupportedError(
            f'pyreft folder "{folder}" has {count} interventions at "{point}": one at each layer can be read, or two at '
            "each, for the first and the last tokens"
        )
    if len(parts) != 2 or parts[0][:1] != "f" or parts[1][:1] != "l":
        raise InvalidArgumentError(
            f'positions must be such as "f2+l1": pyreft folder "{folder}" has two interventions at each layer, for the '
            f"first and for the last tokens, found {text!r}"
        )
    return parts


def _adapter(kind: str, rank: int, positions: str, site: Site, group: Sequence[_Intervention]) -> Adapter:
    order = [str(each) for each in site.points]
    chosen = sorted(group, key=lambda each: order.index(each.point))
    adapter = Adapter(kind, site, {"rank": rank, "positions": positions}, points=[each.point for each in chosen])
    state = adapter.state_dict()
    for each in chosen:
        values = {"learned_source.weight": each.values.weight, "learned_source.bias": each.values.bias}
        if kind == "loreft":
            reflections = state[f"{each.point}.rotate_layer.reflections"]
            values["rotate_layer.base"] = _reflected(each.values.directions, reflections.double())
        else:
            values["proj_layer.weight"] = each.values.directions
        state |= {f"{each.point}.{name}": value.float() for name, value in values.items()}
    adapter.load_state_dict(state)
    return adapter


def _reflected(directions: Tensor, reflections: Tensor) -> Tensor:
    """The base B of which reflections make these directions: R = B H_1 ... H_rank, and each H is its own inverse."""
    for normal in reflections.flip(0):
        normal = normal / normal.norm()
        directions = directions - 2 * (directions @ normal).unsqueeze(1) * normal
    return directions


# ---- Writing


def _write(folder: Path, adapters: Sequence[Adapter], model: Any) -> None:
    folder.mkdir()
    layers = layers_of(model)
    has_encoder = any(each.point.stack == ENCODER for each in layers)
    paths = {str(each.point): each.path if has_encoder else BLOCK for each in layers}
    keys: Counter[str] = Counter()
    representations, types, names = [], [], []
    for adapter in adapters:
        values = adapter.folded().state_dict()
        for point in adapter.points:
            component = paths[str(point)]
            key = key_of(point.layer, component)
            names.append(f"{key}#{keys[key]}")
            keys[key] += 1
            own = {
                name.removeprefix(f"{point}."): each.cpu()
                for name, each in values.items()
                if name.startswith(f"{point}.")
            }
            torch.save(_state(adapter.id, own), folder / f"intkey_{names[-1]}.bin")
            given = {"layer": point.layer, "component": component, "unit": "pos", "max_number_of_units": 1}
            given["low_rank_dimension"] = len(own["learned_source.bias"])
            representations.append([given.get(name) for name in FIELDS])
            types.append(f"<class 'pyreft.interventions.{_CLASSES[adapter.id]}'>")
    config = {
        "intervention_constant_sources": [True] * len(names),
        "intervention_dimensions": [adapters[0].site.d_model] * len(names),
        "intervention_types": types,
        "mode": "parallel",
        "model_type": str(type(model)),
        "representations": representations,
        "sorted_keys": names,
    }
    (folder / CONFIG).write_text(json.dumps(config, indent=2, sort_keys=True) + "\n")


def _state(kind: str, values: Mapping[str, Tensor]) -> OrderedDict[str, Tensor]:
    """The tensors of one intervention as pyreft keeps them."""
    source = {name: values[name].contiguous().clone() for name in SOURCE}
    if kind == "loreft":
        rotation = values["rotate_layer.weight"].T.contiguous().clone()
        return OrderedDict(weight=source[SOURCE[0]], bias=source[SOURCE[1]], rotate_layer=rotation)
    directions = values["proj_layer.weight"].contiguous().clone()
    sizes = {name: torch.tensor(directions.shape[1]) for name in SIZES}
    return OrderedDict(sizes | {"proj_layer.weight": directions} | source)

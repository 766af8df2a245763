"""Writing the folder of saved adapters, one or several: what C, Swift and Python read alike."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch
from safetensors.torch import save_file

from seamkit.errors import InvalidArgumentError, NumericError, SeamError, UnsupportedError
from seamkit.torch.atomic import atomic_folder
from seamkit.torch.checks import shown
from seamkit.torch.configuration import CONFIG, LIST_SCHEMA, SCHEMA, read_list
from seamkit.torch.fingerprint import fingerprint, source_folder
from seamkit.torch.point_choice import listed

if TYPE_CHECKING:
    from seamkit.torch.adapter import Adapter

WEIGHTS = "adapter_model.safetensors"
_CARD = "README.md"


def save(
    adapters: Sequence[Adapter], path: str | Path, model: Any, *, notes: str, backbone_path: str | Path | None
) -> None:
    """Writes adapters as one folder, the old one or the new one; see `Adapter.save`."""
    if not adapters:
        raise InvalidArgumentError("there is no adapter to save: none is attached")
    weights = Path(backbone_path) if backbone_path is not None else None if model is None else source_folder(model)
    if len(adapters) == 1:
        with atomic_folder(Path(path), CONFIG, _is_own) as folder:
            _write(adapters[0], folder, weights, notes)
        return
    names = [f"{index}-{each.id}" for index, each in enumerate(adapters, 1)]
    with atomic_folder(Path(path), CONFIG, _is_own) as folder:
        for name, each in zip(names, adapters, strict=True):
            (folder / name).mkdir()
            _write(each, folder / name, weights, notes)
        _write_json(folder / CONFIG, {"schema": LIST_SCHEMA, "adapters": names})
        (folder / _CARD).write_text(_list_card(list(zip(names, adapters, strict=True)), notes))


def _is_own(path: Path) -> bool:
    """Whether something in the folder of an adapter, or of several, is part of it: as the core's AdapterFolder has it."""
    if not path.is_dir():
        return path.name in (WEIGHTS, _CARD)
    try:
        listed = read_list(path.parent) or []
    except SeamError:
        return False
    return (
        path.name in listed
        and not path.is_symlink()
        and all(
            each.name in (CONFIG, WEIGHTS, _CARD) and each.is_file() and not each.is_symlink()
            for each in path.iterdir()
        )
    )


def _write(adapter: Adapter, folder: Path, weights: Path | None, notes: str) -> None:
    weights = weights or adapter.backbone_path
    values = checked_values(adapter, "saved")
    plugin, site = adapter.factory.plugin, adapter.site
    is_of_first = not adapter.points and adapter.score_kind == "unknown" and adapter.task is None
    config: dict[str, Any] = {
        "schema": 1 if is_of_first else SCHEMA,
        "abi": f"{plugin.abi[0]}.{plugin.abi[1]}",
        "plugin": {"id": plugin.id, "version": plugin.version},
        "adapter": adapter.id,
        "seam": adapter.seam,
        "options": adapter.options,
        "backbone": {
            "family": site.family,
            "d_model": site.d_model,
            "encoder_layers": site.encoder_layers,
            "decoder_layers": site.decoder_layers,
            "kv_heads": site.kv_heads,
            "head_dim": site.head_dim,
            "vocab_size": site.vocab_size,
            "fingerprint": None if weights is None else fingerprint(weights),
            "trained": not adapter.backbone_frozen,
        },
    }
    if adapter.classes:
        config["classes"] = adapter.classes
    if any(adapter.prefix_length):
        config["prefix_length"] = list(adapter.prefix_length)
    if adapter.score_kind != "unknown":
        config["score_kind"] = adapter.score_kind
    if adapter.points:
        config["points"] = [str(each) for each in adapter.points]
    if adapter.task is not None:
        config["task"] = adapter.task
    _write_json(folder / CONFIG, config)
    save_file(values, folder / WEIGHTS, {"format": "seamkit"})
    (folder / _CARD).write_text(_card(adapter, notes))


def checked_values(adapter: Adapter, done: str) -> dict[str, torch.Tensor]:
    """Copies of the parameters as f32 on the CPU, by name. done: what is to be done with them, in a refusal."""
    values = {}
    for place in adapter._places:
        if hasattr(place.tensor, "full_tensor"):
            raise UnsupportedError(
                f'adapter "{adapter.id}" is not {done}: parameter "{place.name}" is spread over processes; call '
                "model.unshard() before, in all of them, and go on in one"
            )
        if place.tensor.is_meta:
            raise UnsupportedError(
                f'adapter "{adapter.id}" is not {done}: parameter "{place.name}" is on "meta" and has no values'
            )
        value = place.tensor.detach().to("cpu", torch.float32).contiguous()
        bad = (~torch.isfinite(value)).reshape(-1).nonzero()
        if len(bad):
            raise NumericError(
                f'adapter "{adapter.id}" is not {done}: parameter "{place.name}" holds NaN or infinity at element '
                f"{int(bad[0])}"
            )
        values[place.name] = value.clone()
    return values


def _write_json(path: Path, value: Any) -> None:
    path.write_text(json.dumps(value, indent=2, ensure_ascii=False) + "\n")


# ---- Model cards


def _card(adapter: Adapter, notes: str) -> str:
    plugin = adapter.factory.plugin
    shapes = listed([f"{each.name} {shown(each.tensor.shape)}" for each in adapter._places])
    places = f", at {listed([str(each) for each in adapter.points])}" if adapter.points else ""
    options = "\n".join(f"- {name}: {json.dumps(value, ensure_ascii=False)}" for name, value in adapter.options.items())
    return f"""# {adapter.id} adapter

{adapter.factory.summary}

- plugin: {plugin.id} {plugin.version}
- seam: {adapter.seam}{places}{f", {adapter.classes} classes" if adapter.classes else ""}
- backbone: {adapter.site.family}, d_model {adapter.site.d_model}, \
{"frozen" if adapter.backbone_frozen else "trained with the adapter"}
- parameters: {shapes}
- trained numbers: {sum(each.tensor.numel() for each in adapter._places if not each.is_frozen)}

## Options

{options}

## Training

{notes or "No notes were given."}
"""


def _list_card(parts: list[tuple[str, Adapter]], notes: str) -> str:
    listed = "\n".join(f"- [{name}]({name}/README.md): {each.factory.summary}" for name, each in parts)
    return f"""# {" + ".join(each.id for _, each in parts)}

Adapters that were trained together and run in this order:

{listed}

## Training

{notes or "No notes were given."}
"""

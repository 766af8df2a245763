"""Reading the folder of saved adapters, and saving those of a model: what C, Swift and Python read and write alike."""

from __future__ import annotations

import logging
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import torch
from safetensors import safe_open
from transformers import AutoConfig

from seamkit import _declarations as c
from seamkit.errors import (
    FormatError,
    IncompatibleError,
    InvalidArgumentError,
    NotFoundError,
    NumericError,
    SeamError,
    ShapeError,
    one_line,
)
from seamkit.torch.adapter import Adapter
from seamkit.torch.attachment import attach_all, attached, check_same_shape
from seamkit.torch.checks import shown
from seamkit.torch.configuration import CONFIG, Config, read_config, read_list
from seamkit.torch.fingerprint import fingerprint, source_folder
from seamkit.torch.point_choice import SEAMS
from seamkit.torch.site import Site
from seamkit.torch.writing import WEIGHTS, save

_LOG = logging.getLogger("seamkit")


def save_attached(
    model: torch.nn.Module,
    path: str | Path,
    *,
    heads: Sequence[Adapter] = (),
    labels: Sequence[str] | None = None,
    notes: str = "",
    backbone_path: str | Path | None = None,
) -> None:
    """Writes all adapters that are attached to a model: one as `Adapter.save` does, several into one folder.

    heads: adapters on decoder.output that were trained with them, which come behind. labels: the names of their
    classes, in order, with which the command "seam classify" answers; None for those that the heads have already.

    Raises InvalidArgumentError where there is nothing to save, for a head that is none and for labels that are not one
    name for each class, and what `Adapter.save` raises.
    """
    for each in heads:
        if each.seam != c.SEAM_DECODER_OUTPUT:
            raise InvalidArgumentError(
                f'heads must be adapters on decoder.output, found adapter "{each.id}" on {each.seam}'
            )
        check_same_shape(each, Site.of(model))
        if labels is not None and (len(labels) != each.classes or len(set(labels)) != each.classes):
            raise InvalidArgumentError(
                f'labels must name the {each.classes} classes of adapter "{each.id}", each another, found '
                f"{', '.join(map(str, labels)) or 'none'}"
            )
    if labels is not None:
        if not heads:
            raise InvalidArgumentError("labels are for heads, and none is given")
        for each in heads:
            # Labels are the keys of an object in every task; here no words answer a prompt.
            each.task = {"schema": 1, "labels": {label: [] for label in labels}}
    save([*attached(model), *heads], path, model, notes=notes, backbone_path=backbone_path)


def load(path: str | Path, model: torch.nn.Module) -> Adapter | list[Adapter]:
    """Attaches the saved adapters of a folder to a model, in their order: all or, after an error, none.

    Returns the adapter, or the list where the folder holds several. Heads among several, on decoder.output, are returned
    and not attached: they are called on features. A model that was trained with the adapters keeps its parameters as
    they are; another is frozen.

    Raises NotFoundError, FormatError for files that are none of an adapter, IncompatibleError for one of another model,
    UnsupportedError for a head alone, which `seamkit.torch.read_adapter` reads.
    """
    adapters = read_adapters(path, model)
    inner = [each for each in adapters if each.seam != c.SEAM_DECODER_OUTPUT]
    attach_all(model, inner or adapters, frozen=adapters[0].backbone_frozen)
    return adapters[0] if read_list(Path(path)) is None else adapters


def read_adapters(path: str | Path, model: Any = None) -> list[Adapter]:
    """All adapters of a folder, of one or of several, in their order, as `read_adapter` reads one."""
    folder = Path(path)
    names = read_list(folder)
    folders = [folder] if names is None else [folder / each for each in names]
    configs = [read_config(each) for each in folders]
    if len({each.is_backbone_trained for each in configs}) > 1:
        raise FormatError(f'adapter folder "{path}": its adapters differ in whether the model was trained with them')
    model = _config_of(model) if isinstance(model, str | Path) else model
    return [_read(each, config, model) for each, config in zip(folders, configs, strict=True)]


def read_adapter(path: str | Path, model: Any = None) -> Adapter:
    """A saved adapter as a module that is not attached, such as one on decoder.output.

    model: the model of transformers that it is for, its configuration, or None: what the folder says of the model then
    has to do. Raises as `load` does.
    """
    return _read(Path(path), read_config(Path(path)), model)


def _config_of(folder: str | Path) -> Any:
    if not (Path(folder) / "config.json").is_file():
        raise NotFoundError(f'model "{folder}": there is no config.json')
    try:
        return AutoConfig.from_pretrained(folder)
    except (OSError, ValueError) as error:
        raise FormatError(f'model "{folder}": {str(error).splitlines()[0]}') from None


def _read(folder: Path, config: Config, model: Any) -> Adapter:
    site, source = (config.site, None) if model is None else (Site.of(model), source_folder(model))
    for name in ("d_model", "encoder_layers", "decoder_layers", "kv_heads", "head_dim"):
        saved, found = getattr(config, name), getattr(site, name)
        if saved != found:
            raise IncompatibleError(
                f'adapter folder "{folder}" was trained for a backbone with {name} {saved}, this one has {found}'
            )
    if config.fingerprint and source and (own := fingerprint(source)) and own != config.fingerprint:
        _LOG.warning(
            "%s",
            one_line(
                f'adapter folder "{folder}" was trained on other weights ({config.fingerprint}) than "{source}" holds ({own})'
            ),
        )
    if (config.seam in SEAMS) != (config.points is not None):
        wanted = "" if config.points is None else "no "
        raise FormatError(f'{folder / CONFIG}: an adapter on {config.seam} must have {wanted}"points"')
    try:
        adapter = Adapter(
            config.adapter,
            site,
            config.options,
            seam=config.seam,
            backbone_frozen=not config.is_backbone_trained,
            classes=config.classes,
            prefix_length=config.prefix_length,
            score_kind=config.score_kind,
            points=config.points,
        )
    except SeamError as error:
        hint = " (the folder tells little of the model: give it, too)" if model is None else ""
        raise SeamError.of(error.code, f"{folder / CONFIG}: {error.message}{hint}", error.origin) from None
    adapter.task, adapter.backbone_path = config.task, source
    _read_values(folder / WEIGHTS, adapter)
    return adapter


def _read_values(path: Path, adapter: Adapter) -> None:
    if not path.is_file():
        raise NotFoundError(f'cannot open "{path}", there is no such file')
    try:
        with safe_open(path, "pt") as file:
            values = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118
    except Exception as error:
        raise FormatError(f"{path} is no safetensors file: {error}") from None
    places = {each.name: each for each in adapter._places}
    if missing := [name for name in places if name not in values]:
        raise FormatError(f'{path} has no tensor "{missing[0]}", which adapter "{adapter.id}" needs')
    if stranger := [name for name in values if name not in places]:
        raise FormatError(f'{path} holds tensor "{stranger[0]}", which adapter "{adapter.id}" does not have')
    for name, place in places.items():
        value = values[name]
        if value.dtype != torch.float32 or value.shape != place.tensor.shape:
            raise ShapeError(
                f'{path}: tensor "{name}" must be F32 {shown(place.tensor.shape)}, found {value.dtype} '
                f"{shown(value.shape)}"
            )
        bad = (~torch.isfinite(value)).reshape(-1).nonzero()
        if len(bad):
            raise NumericError(f'{path}: tensor "{name}" holds NaN or infinity at element {int(bad[0])}')
        with torch.no_grad():
            place.tensor.copy_(value)

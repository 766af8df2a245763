"""Reading the folder of saved adapters, which libSeam reads, and saving those of a model."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import torch
from transformers import AutoConfig

from seamkit import _declarations as c
from seamkit._native.described import DescribedModel
from seamkit.errors import FormatError, InvalidArgumentError, NotFoundError, SeamError
from seamkit.torch import plugins
from seamkit.torch.adapter import Adapter
from seamkit.torch.attachment import attach_all, attached, check_same_shape
from seamkit.torch.model_folder import has_weights, source_folder
from seamkit.torch.site import Site
from seamkit.torch.writing import save

_CONFIG = "adapter_config.json"
_SIZES = ("d_model", "encoder_layers", "decoder_layers", "kv_heads", "head_dim", "vocab_size")
# What an adapter that does not fit the little that its folder tells of its model is refused with.
_OF_LITTLE = (c.SEAM_UNSUPPORTED, c.SEAM_INVALID_ARGUMENT, c.SEAM_INCOMPATIBLE, c.SEAM_PLUGIN)


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
    return adapters[0] if len(adapters) == 1 else adapters


def read_adapters(path: str | Path, model: Any = None) -> list[Adapter]:
    """All adapters of a folder, of one or of several, in their order, as `read_adapter` reads one."""
    folder = Path(path)
    model = _config_of(model) if isinstance(model, str | Path) else model
    site, source = (_told(folder), None) if model is None else (Site.of(model), source_folder(model))
    plugins.scan()
    try:
        weights = source if source is not None and has_weights(source) else None
        with plugins.lock, DescribedModel(plugins.runtime(), site.info(), weights) as described:
            found = [Adapter._of(each, site) for each in described.load(folder)]
    except SeamError as error:
        hint = " (the folder tells little of the model: give it, too)"
        if model is None and error.code in _OF_LITTLE:
            raise SeamError.of(error.code, f"{error.message}{hint}", error.origin) from None
        raise
    if len({each.backbone_frozen for each in found}) > 1:
        raise FormatError(f'adapter folder "{path}": its adapters differ in whether the model was trained with them')
    for each in found:
        each.backbone_path = source
    return found


def read_adapter(path: str | Path, model: Any = None) -> Adapter:
    """A saved adapter as a module that is not attached, such as one on decoder.output.

    model: the model of transformers that it is for, its configuration, or None: what the folder says of the model then
    has to do. Raises as `load` does, and InvalidArgumentError for a folder of several.
    """
    found = read_adapters(path, model)
    if len(found) > 1:
        raise InvalidArgumentError(
            f'adapter folder "{path}" holds {len(found)} adapters: load all of them at once, or one from its own folder '
            "in it"
        )
    return found[0]


def _config_of(folder: str | Path) -> Any:
    if not (Path(folder) / "config.json").is_file():
        raise NotFoundError(f'model "{folder}": there is no config.json')
    try:
        return AutoConfig.from_pretrained(folder)
    except (OSError, ValueError) as error:
        raise FormatError(f'model "{folder}": {str(error).splitlines()[0]}') from None


def _told(folder: Path) -> Site:
    """What a folder says of the model; positions and their limits it does not. Of one that cannot be read a site that
    fits nothing: libSeam, which reads the folder then, says what is wrong with it."""
    try:
        found = json.loads((folder / _CONFIG).read_text())
        if "adapters" in found:
            found = json.loads((folder / found["adapters"][0] / _CONFIG).read_text())
        backbone = found["backbone"]
        sizes = {name: backbone[name] for name in _SIZES}
        encoder, decoder = sizes["encoder_layers"], sizes["decoder_layers"]
        return Site(
            family=str(backbone["family"]),
            **sizes,
            heads=0,
            max_source_positions=0,
            max_target_positions=0,
            prefix_layers=(encoder, decoder, decoder if encoder else 0),
        )
    except (OSError, ValueError, LookupError, TypeError, RecursionError):
        return Site("unknown", 1, 1, 1, 1, 1, 1, 1, 1, 1)

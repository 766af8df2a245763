"""Saving adapters as a folder, one or several: libSeam writes what C, Swift and Python read alike."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch

from seamkit._native.described import save_all
from seamkit.errors import InvalidArgumentError, NumericError
from seamkit.torch.model_folder import has_weights, source_folder

if TYPE_CHECKING:
    from seamkit.torch.adapter import Adapter


def save(
    adapters: Sequence[Adapter], path: str | Path, model: Any, *, notes: str, backbone_path: str | Path | None
) -> None:
    """Writes adapters as one folder, the old one or the new one; see `Adapter.save`."""
    if not adapters:
        raise InvalidArgumentError("there is no adapter to save: none is attached")
    for each in adapters:
        checked_values(each, "saved")
        each._write_back("saved")
        each._native.task = each.task
    known = [None if model is None else source_folder(model), *(each.backbone_path for each in adapters)]
    weights = backbone_path or next((each for each in known if each is not None and has_weights(each)), None)
    save_all([each._native for each in adapters], path, weights, notes)


def checked_values(adapter: Adapter, done: str) -> None:
    """Raises NumericError for a parameter that is not finite, UnsupportedError for one that this process does not have.
    done: what is to be done with them, in a refusal."""
    owner = f'adapter "{adapter.id}"'
    for place in adapter._places:
        bad = (~torch.isfinite(place.value(owner, done))).reshape(-1).nonzero()
        if len(bad):
            raise NumericError(
                f'{owner} is not {done}: parameter "{place.name}" holds NaN or infinity at element {int(bad[0])}'
            )

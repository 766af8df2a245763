"""The folder that a model of transformers was loaded from, by whose weights a saved adapter knows the model again."""

from __future__ import annotations

from pathlib import Path
from typing import Any


def source_folder(model: Any) -> Path | None:
    """The folder that a model was loaded from, if it was one."""
    name = getattr(getattr(model, "config", None), "_name_or_path", "")
    return Path(name).resolve() if name and (Path(name) / "config.json").is_file() else None


def has_weights(folder: Path) -> bool:
    """Whether a model's folder has weights that tell it from others."""
    return any((folder / f"model.safetensors{end}").is_file() for end in ("", ".index.json"))

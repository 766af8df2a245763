"""A number that tells a model's weights from others, as the native host computes it for the same folder."""

from __future__ import annotations

import functools
import json
from pathlib import Path
from typing import Any

import xxhash

_WINDOW = 4096


def fingerprint(folder: Path) -> str | None:
    """XXH64, in hex, over every tensor's name, type and shape, and 4 KiB each at its start, middle and end; None for a
    folder without safetensors."""
    files = _weight_files(folder)
    if not files:
        return None
    return _computed(tuple((path, path.stat().st_mtime_ns, path.stat().st_size) for path in files))


@functools.lru_cache(maxsize=8)
def _computed(files: tuple[tuple[Path, int, int], ...]) -> str:
    tensors: dict[str, tuple[Path, int, dict[str, Any]]] = {}
    for path, _, _ in files:
        with path.open("rb") as file:
            length = int.from_bytes(file.read(8), "little")
            header = json.loads(file.read(length))
        tensors |= {name: (path, 8 + length, entry) for name, entry in header.items() if name != "__metadata__"}
    found = xxhash.xxh64()
    for name, (path, start, entry) in sorted(tensors.items()):
        for text in (name, entry["dtype"]):
            found.update(_number(len(text.encode())) + text.encode())
        found.update(b"".join(_number(each) for each in [len(entry["shape"]), *entry["shape"]]))
        low, high = (start + each for each in entry["data_offsets"])
        size = high - low
        parts = (
            [(0, size)] if size <= 3 * _WINDOW else [(at, _WINDOW) for at in (0, (size - _WINDOW) // 2, size - _WINDOW)]
        )
        with path.open("rb") as file:
            for at, count in parts:
                file.seek(low + at)
                found.update(file.read(count))
    return str(found.hexdigest())


def _number(value: int) -> bytes:
    return value.to_bytes(8, "little", signed=True)


def _weight_files(folder: Path) -> list[Path]:
    single, index = folder / "model.safetensors", folder / "model.safetensors.index.json"
    if single.is_file():
        return [single]
    if not index.is_file():
        return []
    return [folder / each for each in sorted(set(json.loads(index.read_text())["weight_map"].values()))]


def source_folder(model: Any) -> Path | None:
    """The folder that a model was loaded from, if it was one."""
    name = getattr(getattr(model, "config", None), "_name_or_path", "")
    return Path(name).resolve() if name and (Path(name) / "config.json").is_file() else None

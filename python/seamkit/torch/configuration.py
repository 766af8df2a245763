"""adapter_config.json, read and checked."""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from seamkit import scores
from seamkit.errors import FormatError, IncompatibleError, InvalidArgumentError, NotFoundError
from seamkit.torch.site import Site

CONFIG = "adapter_config.json"
# The newest revision of adapter_config.json that is read, see AdapterFolder.swift, and that of a list.
SCHEMA = 2
LIST_SCHEMA = 1
_MOST_POINTS = 1 << 16
_KINDS = {str: "a string", int: "an integer", dict: "an object", bool: "true or false", list: "an array"}
_SIZES = ("d_model", "encoder_layers", "decoder_layers", "kv_heads", "head_dim", "vocab_size")
_KNOWN = {
    "": (
        "schema",
        "abi",
        "plugin",
        "adapter",
        "seam",
        "options",
        "backbone",
        "classes",
        "prefix_length",
        "score_kind",
        "points",
        "task",
    ),
    "plugin": ("id", "version"),
    "backbone": ("family", *_SIZES, "fingerprint", "trained"),
}


@dataclass(frozen=True)
class Config:
    adapter: str
    seam: str
    options: dict[str, Any]
    family: str
    d_model: int
    encoder_layers: int
    decoder_layers: int
    kv_heads: int
    head_dim: int
    vocab_size: int
    fingerprint: str | None
    is_backbone_trained: bool
    classes: int
    prefix_length: tuple[int, int, int]
    score_kind: str
    # Of a seam inside the layers, the names of those that it sits on.
    points: list[str] | None
    task: dict[str, Any] | None

    @property
    def site(self) -> Site:
        """What the folder says of the model; positions and their limits it does not."""
        encoder, decoder = self.encoder_layers, self.decoder_layers
        return Site(
            family=self.family,
            d_model=self.d_model,
            encoder_layers=encoder,
            decoder_layers=decoder,
            heads=0,
            kv_heads=self.kv_heads,
            head_dim=self.head_dim,
            max_source_positions=0,
            max_target_positions=0,
            vocab_size=self.vocab_size,
            prefix_layers=(encoder, decoder, decoder if encoder else 0),
        )


def read_list(folder: Path) -> list[str] | None:
    """The names in a list of several adapters; None for the folder of one."""
    found = _read(folder)
    if "adapters" not in found:
        return None
    path = folder / CONFIG
    _refuse_strangers(path, "", found, ("schema", "adapters"))
    revision = _required(path, found, "", "schema", int)
    if revision != LIST_SCHEMA:
        raise IncompatibleError(f"{path}: schema must be {LIST_SCHEMA}, which this version reads, found {revision}")
    names = _required(path, found, "", "adapters", list)
    # A name that leads out of the folder would load something that was not saved with it.
    for name in names:
        if not isinstance(name, str) or not name or "/" in name or name in (".", ".."):
            raise FormatError(f'{path}: "adapters" must hold names of folders beside it, found {json.dumps(name)}')
    if not names or len(set(names)) != len(names):
        raise FormatError(f'{path}: "adapters" must hold one or more names, each once, found {names}')
    return list(names)


def read_config(folder: Path) -> Config:
    """Raises NotFoundError, FormatError for another content, IncompatibleError for another schema."""
    path, found = folder / CONFIG, _read(folder)
    if "adapters" in found:
        raise InvalidArgumentError(
            f'adapter folder "{folder}" holds {len(found["adapters"])} adapters: load all of them at once, or one from '
            "its own folder in it"
        )
    if "peft_type" in found:
        raise FormatError(f"{path} is of an adapter of PEFT: `seam import` makes one for SeamKit of it")
    _check_schema(path, found)
    for section, keys in _KNOWN.items():
        part = found if not section else _required(path, found, "", section, dict)
        _refuse_strangers(path, section, part, keys)
    _required(path, found["plugin"], "plugin", "id", str)
    backbone = found["backbone"]
    sizes = {name: _required(path, backbone, "backbone", name, int) for name in _SIZES}
    return Config(
        adapter=_required(path, found, "", "adapter", str),
        seam=_required(path, found, "", "seam", str),
        options=_required(path, found, "", "options", dict),
        family=_required(path, backbone, "backbone", "family", str),
        **sizes,
        fingerprint=_optional(path, backbone, "backbone", "fingerprint", str),
        is_backbone_trained=_required(path, backbone, "backbone", "trained", bool),
        classes=_optional(path, found, "", "classes", int) or 0,
        prefix_length=_prefix_length(path, found),
        score_kind=_score_kind(path, found),
        points=_points(path, found),
        task=_optional(path, found, "", "task", dict),
    )


def _read(folder: Path) -> dict[str, Any]:
    path = folder / CONFIG
    if not folder.is_dir():
        raise NotFoundError(f'adapter folder "{folder}": there is no such folder')
    if not path.is_file():
        raise NotFoundError(f'adapter folder "{folder}" has no {CONFIG}')
    try:
        found = json.loads(path.read_text())
    except (ValueError, RecursionError) as error:
        raise FormatError(f"{path} is no JSON: {error}") from None
    if not isinstance(found, dict):
        raise FormatError(f"{path} must hold an object, found {type(found).__name__}")
    return found


def _check_schema(path: Path, found: dict[str, Any]) -> None:
    revision = _required(path, found, "", "schema", int)
    if not 1 <= revision <= SCHEMA:
        raise IncompatibleError(f"{path}: schema must be 1 ... {SCHEMA}, which this version reads, found {revision}")


def _refuse_strangers(path: Path, section: str, part: dict[str, Any], known: tuple[str, ...]) -> None:
    for key in part:
        if key not in known:
            name = f"{section}.{key}" if section else key
            raise FormatError(f'{path}: unknown key "{name}"; known are {", ".join(known)}')


def _optional(path: Path, part: dict[str, Any], section: str, key: str, kind: type) -> Any:
    value = part.get(key)
    if value is not None and (not isinstance(value, kind) or (kind is int and isinstance(value, bool))):
        name = f"{section}.{key}" if section else key
        raise FormatError(f'{path}: "{name}" must be {_KINDS[kind]}, found {json.dumps(value)}')
    return value


def _required(path: Path, part: dict[str, Any], section: str, key: str, kind: type) -> Any:
    value = _optional(path, part, section, key, kind)
    if value is None:
        raise FormatError(f'{path}: "{f"{section}.{key}" if section else key}" is missing')
    return value


def _score_kind(path: Path, found: dict[str, Any]) -> str:
    kind = _optional(path, found, "", "score_kind", str)
    if kind is not None and kind not in scores.KINDS:
        raise FormatError(f'{path}: "score_kind" must be one of {", ".join(scores.KINDS)}, found "{kind}"')
    return kind or "unknown"


def _points(path: Path, found: dict[str, Any]) -> list[str] | None:
    names = _optional(path, found, "", "points", list)
    if names is None:
        return None
    if not 0 < len(names) <= _MOST_POINTS or not all(isinstance(each, str) for each in names):
        raise FormatError(f'{path}: "points" must be names of points such as "decoder.0.q", one or more')
    return list(names)


def _prefix_length(path: Path, found: dict[str, Any]) -> tuple[int, int, int]:
    given = found.get("prefix_length", [0, 0, 0])
    fits = (
        isinstance(given, list)
        and len(given) == 3
        and all(isinstance(each, int) and not isinstance(each, bool) and each >= 0 for each in given)
    )
    if not fits:
        raise FormatError(f'{path}: "prefix_length" must be 3 numbers of tokens, found {json.dumps(given)}')
    return given[0], given[1], given[2]

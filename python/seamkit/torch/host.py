"""The services that a plugin is given outside a forward (`seam_host`), and the error and option objects behind them."""

from __future__ import annotations

import ctypes
import itertools
import json
import logging
from collections.abc import Mapping
from typing import Any

from seamkit import _declarations as c
from seamkit.errors import InternalError, SeamError, one_line
from seamkit.texts import c_string

_LOG = logging.getLogger("seamkit")
_LEVELS = {
    c.SEAM_LOG_DEBUG: logging.DEBUG,
    c.SEAM_LOG_INFO: logging.INFO,
    c.SEAM_LOG_WARNING: logging.WARNING,
    c.SEAM_LOG_ERROR: logging.ERROR,
}
# Errors and configurations by the number that a plugin knows them by.
_numbers = itertools.count(1)
_errors: dict[int, SeamError] = {}
_configurations: dict[int, Configuration] = {}


class Configuration:
    """Options as a plugin reads them; in a `with`, the plugin may set those it resolves."""

    def __init__(self, values: dict[str, Any]):
        self.values = dict(values)
        # Strings lent to the plugin live as long as this object.
        self._strings: list[ctypes.c_char_p] = []
        self.handle = next(_numbers)

    def __enter__(self) -> Configuration:
        _configurations[self.handle] = self
        return self

    def __exit__(self, *_: object) -> None:
        _configurations.pop(self.handle, None)

    def lend(self, text: str) -> ctypes.c_char_p:
        self._strings.append(ctypes.c_char_p(c_string(text, "an option")))
        return self._strings[-1]


def taken_error(handle: int | None, status: int, origin: str, during: str) -> SeamError:
    """The error that a plugin set, which is forgotten here; or one that says that it set none."""
    found = _errors.pop(handle or 0, None)
    if found is None:
        return SeamError.of(_code(status), f"{during} failed with status {status} and no message", origin)
    found.origin = origin
    return found


def _set_error(slot: Any, code: int, message: bytes | None) -> int:
    if slot:
        text = (message or b"the plugin gave no message").decode(errors="replace")
        handle = next(_numbers)
        _errors[handle] = SeamError.of(_code(code), text)
        slot[0] = handle
    return _code(code)


def _code(code: int) -> int:
    """A code that is none, SEAM_OK included, must not pass for success."""
    return code if c.SEAM_INVALID_ARGUMENT <= code <= c.SEAM_INTERNAL else c.SEAM_PLUGIN


def _log(_: Any, level: int, message: bytes | None) -> None:
    _LOG.log(_LEVELS.get(level, logging.INFO), "%s", one_line((message or b"").decode(errors="replace")))


def _value(config: int | None, key: bytes | None) -> Any:
    """The value of a key, in objects and lists by the parts between its dots; None for an absent one or a null."""
    configuration = _configurations.get(config or 0)
    if configuration is None or key is None:
        return None
    name, found = key.decode(errors="replace"), configuration.values
    return found if not name else _inside(found, name)


def _inside(value: Any, key: str) -> Any:
    """Names may have dots themselves, so the longest that is there goes first."""
    if isinstance(value, list):
        part, _, rest = key.partition(".")
        found = value[int(part)] if part.isascii() and part.isdigit() and int(part) < len(value) else None
        return _inside(found, rest) if rest else found
    if not isinstance(value, Mapping):
        return None
    parts = key.split(".")
    for end in range(len(parts), 0, -1):
        name = ".".join(parts[:end])
        if name in value:
            return value[name] if end == len(parts) else _inside(value[name], ".".join(parts[end:]))
    return None


def _read(config: int | None, key: bytes | None, out: Any, kinds: tuple[type, ...]) -> int:
    value = _value(config, key)
    if value is None:
        return c.SEAM_NOT_FOUND
    # A bool is an int in Python, and none to a plugin.
    if not out or type(value) not in kinds:
        return c.SEAM_INVALID_ARGUMENT
    out[0] = value
    return c.SEAM_OK


def _config_string(config: int | None, key: bytes | None, out: Any) -> int:
    value = _value(config, key)
    if value is None:
        return c.SEAM_NOT_FOUND
    if not out or not isinstance(value, str):
        return c.SEAM_INVALID_ARGUMENT
    out[0] = _configurations[config or 0].lend(value)
    return c.SEAM_OK


def _config_count(config: int | None, key: bytes | None, out: Any) -> int:
    value = _value(config, key)
    if value is None:
        return c.SEAM_NOT_FOUND
    if not out or not isinstance(value, list | dict):
        return c.SEAM_INVALID_ARGUMENT
    out[0] = len(value)
    return c.SEAM_OK


def _config_json(config: int | None, key: bytes | None, out: Any) -> int:
    value = _value(config, key)
    if value is None:
        return c.SEAM_NOT_FOUND
    if not out:
        return c.SEAM_INVALID_ARGUMENT
    out[0] = _configurations[config or 0].lend(json.dumps(value, ensure_ascii=False, separators=(",", ":")))
    return c.SEAM_OK


def _config_set_string(config: int | None, key: bytes | None, value: bytes | None) -> int:
    configuration = _configurations.get(config or 0)
    if configuration is None or key is None or value is None:
        return c.SEAM_INVALID_ARGUMENT
    if key.decode(errors="replace") not in configuration.values:
        return c.SEAM_NOT_FOUND
    configuration.values[key.decode()] = value.decode(errors="replace")
    return c.SEAM_OK


def _guarded(function: Any, failed: Any) -> Any:
    """What goes wrong here must not reach the plugin as garbage."""

    def call(*arguments: Any) -> Any:
        try:
            return function(*arguments)
        except BaseException as error:
            _LOG.error("%s", InternalError(f"{function.__name__}: {type(error).__name__}: {error}"))
            return failed

    return call


_SERVICES: dict[str, tuple[Any, Any]] = {
    "set_error": (_set_error, c.SEAM_INTERNAL),
    "log": (_log, None),
    "config_bool": (lambda config, key, out: _read(config, key, out, (bool,)), c.SEAM_INTERNAL),
    "config_int": (lambda config, key, out: _read(config, key, out, (int,)), c.SEAM_INTERNAL),
    "config_double": (lambda config, key, out: _read(config, key, out, (float, int)), c.SEAM_INTERNAL),
    "config_string": (_config_string, c.SEAM_INTERNAL),
    "config_count": (_config_count, c.SEAM_INTERNAL),
    "config_json": (_config_json, c.SEAM_INTERNAL),
    "config_set_string": (_config_set_string, c.SEAM_INTERNAL),
    # No model in files belongs to an adapter.
    "model_config": (lambda model: None, None),
    "model_tensor": (lambda *_: c.SEAM_NOT_FOUND, c.SEAM_NOT_FOUND),
    # There is none yet.
    "extension": (lambda host, id: None, None),
}


def _host() -> Any:
    host = c.seam_host(struct_size=ctypes.sizeof(c.seam_host), abi_major=c.SEAM_ABI_MAJOR, abi_minor=c.SEAM_ABI_MINOR)
    for name, kind in c.seam_host._fields_[4:]:  # type: ignore[misc]
        setattr(host, name, kind(_guarded(*_SERVICES[name])))
    return host


# As old as the process, so it outlives every instance made with it.
_HOST_STRUCT = _host()
HOST = ctypes.pointer(_HOST_STRUCT)

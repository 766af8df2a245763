"""libSeam.so with the prototypes of its headers, and calls that raise what it reports."""

from __future__ import annotations

import ctypes
import functools
import json
import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from seamkit import _declarations as c
from seamkit import locations, scores
from seamkit.errors import IncompatibleError, InvalidArgumentError, SeamError
from seamkit.texts import c_string, check_integer

Options = Mapping[str, Any]


@functools.cache
def library() -> ctypes.CDLL:
    """The loaded library. Calls through it release the interpreter's lock.

    Raises NotFoundError when it is nowhere, IncompatibleError for another ABI major version.
    """
    path = locations.library("libSeam.so")
    try:
        loaded = ctypes.CDLL(str(path), mode=os.RTLD_NOW | os.RTLD_LOCAL)
    except OSError as error:
        raise IncompatibleError(f"{path} cannot be loaded: {error}") from error
    for name, (result, arguments) in c.FUNCTIONS.items():
        symbol = getattr(loaded, name, None)
        if symbol is None:
            raise IncompatibleError(f"{path} has no function {name}, which this package needs: it is too old")
        symbol.restype, symbol.argtypes = result, arguments
    major, minor = ctypes.c_uint32(), ctypes.c_uint32()
    loaded.seam_abi_version(ctypes.byref(major), ctypes.byref(minor))
    if major.value != c.SEAM_ABI_MAJOR:
        raise IncompatibleError(
            f"{path} has ABI {major.value}.{minor.value}, this package {c.SEAM_ABI_MAJOR}.{c.SEAM_ABI_MINOR}: the "
            "major versions must be equal"
        )
    return loaded


def checked(name: str, *arguments: Any) -> None:
    """Calls a function whose last parameter is the error slot, and raises what it reports.

    Raises InvalidArgumentError for an integer that does not fit its parameter.
    """
    for number, (kind, argument) in enumerate(zip(c.FUNCTIONS[name][1], arguments, strict=False), 1):
        check_integer(argument, kind, f"argument {number} of {name}")
    error = ctypes.c_void_p()
    if getattr(library(), name)(*arguments, ctypes.byref(error)) != c.SEAM_OK:
        raise taken_error(error)


def taken_error(error: ctypes.c_void_p) -> SeamError:
    """The exception of an error object, which is released."""
    seam = library()
    code, message, origin = seam.seam_error_code(error), seam.seam_error_message(error), seam.seam_error_origin(error)
    seam.seam_error_release(error)
    return SeamError.of(code, (message or b"").decode(), (origin or b"").decode())


def taken_string(address: ctypes.c_void_p) -> str:
    """A string that the library handed over, which is released."""
    text = ctypes.cast(address, ctypes.c_char_p)
    copy = (text.value or b"").decode()
    library().seam_string_release(text)
    return copy


def taken_json(name: str, *arguments: Any) -> Any:
    """What a function writes as JSON into its last output."""
    text = ctypes.c_void_p()
    checked(name, *arguments, ctypes.byref(text))
    return json.loads(taken_string(text))


def utf8(text: str | Path | None, name: str = "a text") -> bytes | None:
    """A text or a path for C, None for NULL. Raises InvalidArgumentError, with `name`, for anything else."""
    return None if text is None else os.fsencode(text) if isinstance(text, os.PathLike) else c_string(text, name)


def options_json(options: Options | None) -> bytes | None:
    """Options as JSON. Raises InvalidArgumentError for what is no mapping, and for a value that JSON does not have."""
    if options is None:
        return None
    if not isinstance(options, Mapping):
        raise InvalidArgumentError(f"options must be a mapping from names to values, found {type(options).__name__}")
    given = {name: list(value) if isinstance(value, range) else value for name, value in options.items()}
    for name, value in given.items():
        try:
            json.dumps({name: value})
        except (TypeError, ValueError):
            raise InvalidArgumentError(
                f"option {name!r} must be a value of JSON, found {type(value).__name__}"
            ) from None
    return c_string(json.dumps(given))


def sized(struct: Any) -> Any:
    """A struct that starts with its own size, which is filled in."""
    struct.struct_size = ctypes.sizeof(struct)
    return struct


def changed(struct: Any, changes: Mapping[str, Any]) -> Any:
    """A struct of options with some of them set.

    Raises TypeError for a name that is none of its members, InvalidArgumentError for an integer that it cannot hold.
    """
    known = {name: kind for name, kind, *_ in struct._fields_ if name != "struct_size"}
    for name, value in changes.items():
        if name not in known:
            raise TypeError(f"unknown option {name!r}; known are {', '.join(known)}")
        check_integer(value, known[name], f"option {name}")
        setattr(struct, name, utf8(value) if known[name] is ctypes.c_char_p else value)
    return struct


def adapter_options(
    options: Options | None, seam: str | None, frozen: bool, classes: int, seed: int, score_kind: str, prompts: int = 1
) -> c.seam_adapter_options:
    """Which adapter is wanted, for the functions that make one. Raises InvalidArgumentError for values of other kinds."""
    if not isinstance(frozen, bool | int):
        raise InvalidArgumentError(f"frozen must be True or False, found {frozen!r}")
    check_integer(classes, ctypes.c_int64, "classes")
    check_integer(prompts, ctypes.c_int64, "prompts")
    check_integer(seed, ctypes.c_uint64, "seed")
    wanted: c.seam_adapter_options = sized(
        c.seam_adapter_options(
            train_backbone=int(not frozen),
            score_kind=scores.score_kind(score_kind),
            seam=utf8(seam, "seam"),
            options_json=options_json(options),
            classes=classes,
            prompts=prompts,
            seed=seed,
        )
    )
    return wanted


def losses_of(options: c.seam_fit_options) -> Any:
    """Room for the loss of each epoch; none for a number of epochs that the library refuses."""
    return (ctypes.c_double * (options.epochs if 0 <= options.epochs <= 1 << 24 else 0))()

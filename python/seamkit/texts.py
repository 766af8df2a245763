"""Texts and numbers on their way to C."""

from __future__ import annotations

import ctypes
from numbers import Integral
from typing import Any

from seamkit.errors import InvalidArgumentError

_INTEGERS = (
    ctypes.c_int8,
    ctypes.c_uint8,
    ctypes.c_int16,
    ctypes.c_uint16,
    ctypes.c_int32,
    ctypes.c_uint32,
    ctypes.c_int64,
    ctypes.c_uint64,
)


def c_string(text: str, name: str = "a text") -> bytes:
    """UTF-8 for a parameter that ends at its first zero byte.

    Raises InvalidArgumentError, with `name`, for what is no text, for a text that would be cut there, and for half of a
    surrogate pair.
    """
    if not isinstance(text, str):
        raise InvalidArgumentError(f"{name} must be a text, found {type(text).__name__}")
    if "\0" in text:
        raise InvalidArgumentError(
            f"{name} holds the character U+0000 at position {text.index(chr(0))}, which ends a text in C: take it out"
        )
    try:
        return text.encode()
    except UnicodeEncodeError as error:
        raise InvalidArgumentError(
            f"{name} holds half of a surrogate pair, U+{ord(text[error.start]):04X} at position {error.start}, which is "
            "no character: take it out"
        ) from None


def check_integer(value: Any, kind: Any, name: str) -> None:
    """Raises InvalidArgumentError for what is no integer where a type of ctypes is one of these, and for an integer that does
    not fit it, which it would take modulo."""
    if kind in _INTEGERS and not hasattr(value, "__index__"):
        raise InvalidArgumentError(f"{name} must be an integer, found {type(value).__name__}")
    if kind in _INTEGERS and isinstance(value, Integral) and kind(int(value)).value != int(value):
        bits = 8 * ctypes.sizeof(kind)
        signed = kind(-1).value < 0
        low, high = (-(1 << bits - 1), (1 << bits - 1) - 1) if signed else (0, (1 << bits) - 1)
        raise InvalidArgumentError(f"{name} must be an integer from {low} to {high}, found {value}")

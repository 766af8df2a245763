"""Names and counts in a plugin's tables, refused in the sentences of the native host.

Names become keys of files, names of folders and modules of torch, so nothing that a plugin says may name a path.
"""

from __future__ import annotations

import ctypes
import re
from collections.abc import Iterable
from typing import Any

from seamkit import _declarations as c
from seamkit.errors import PluginError

_LONGEST = 100
_NAME = re.compile(rf"[a-z0-9][a-z0-9._-]{{0,{_LONGEST - 1}}}", re.ASCII)
_WITH_CAPITALS = re.compile(rf"[A-Za-z0-9][A-Za-z0-9._-]{{0,{_LONGEST - 1}}}", re.ASCII)
MOST_ENTRIES = 1000


def text(raw: bytes | None) -> str:
    """A string of a plugin's; bytes that are no UTF-8 are replaced, as in the native host."""
    return (raw or b"").decode(errors="replace")


def checked(raw: bytes | None, what: str, origin: str = "", allows_capitals: bool = False) -> str:
    """A name; `what` begins the sentence of the PluginError for one that may not be."""
    name = text(raw)
    if not name:
        raise PluginError(f"{what} must not be empty", origin)
    if not (_WITH_CAPITALS if allows_capitals else _NAME).fullmatch(name):
        raise PluginError(
            f"{what} must have 1 to {_LONGEST} characters of a-z, {'A-Z, ' if allows_capitals else ''}0-9, '.', '_' "
            f"and '-' and begin with a letter or a digit, found \"{name}\"",
            origin,
        )
    return name


def refuse_twice(names: Iterable[str], what: str, origin: str) -> None:
    """Raises PluginError for a name that comes twice."""
    seen: set[str] = set()
    for name in names:
        if name in seen:
            raise PluginError(f'{what} "{name}" is declared twice', origin)
        seen.add(name)


def entries(array: Any, count: int, what: str, owner: str, origin: str) -> list[Any]:
    """The entries of an array of pointers in a table. Raises PluginError for a count that cannot be, or a NULL."""
    if count > MOST_ENTRIES:
        raise PluginError(f"the number of {what}s of {owner} must be at most {MOST_ENTRIES}, found {count}", origin)
    found = [array[index] if array else None for index in range(count)]
    for index, each in enumerate(found):
        # A string may be empty, and is then refused as a name.
        if each is None or not isinstance(each, bytes) and not each:
            raise PluginError(f"{what} {index} of {owner} is NULL", origin)
    return found


def copied(source: Any, name: str, origin: str = "", what: str = "") -> Any:
    """A struct of this package's own with what a plugin's pointer leads to: read as far as the plugin's struct_size
    says, the rest zeros.

    Raises PluginError, whose sentence begins with `what` and calls the struct `name`, for one that is smaller than
    version 1.0 gives it.
    """
    kind = source._type_
    address = ctypes.cast(source, ctypes.c_void_p).value or 0
    found, needed = ctypes.c_uint32.from_address(address).value, size_1_0(kind)
    if found < needed:
        raise PluginError(f"{what}struct_size of {name} must be at least {needed}, found {found}", origin)
    copy = kind()
    ctypes.memmove(ctypes.byref(copy), address, min(found, ctypes.sizeof(kind)))
    return copy


def size_1_0(kind: Any) -> int:
    """The bytes that version 1.0 gives a struct (include/seam/sizes.h)."""
    return int(getattr(c, f"{kind.__name__.upper()}_SIZE_1_0"))

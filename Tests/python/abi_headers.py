"""The C declarations of include/seam as ctypes types, made of what scripts/headers.py reads in the headers themselves, so
that they cannot drift."""

from __future__ import annotations

import ctypes
import sys
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).resolve().parents[2] / "scripts"))

import headers

BASIC_TYPES: dict[str, Any] = {
    "void": None,
    "char": ctypes.c_char,
    "int": ctypes.c_int,
    "float": ctypes.c_float,
    "double": ctypes.c_double,
    "size_t": ctypes.c_size_t,
    "int32_t": ctypes.c_int32,
    "int64_t": ctypes.c_int64,
    "uint8_t": ctypes.c_uint8,
    "uint16_t": ctypes.c_uint16,
    "uint32_t": ctypes.c_uint32,
    "uint64_t": ctypes.c_uint64,
}


@dataclass(frozen=True)
class Function:
    result: Any
    arguments: tuple[Any, ...]


@dataclass
class Declarations:
    """What the headers declare, by name. strings: macros that are texts, such as the names of the seams."""

    types: dict[str, Any] = field(default_factory=lambda: dict(BASIC_TYPES))
    structs: dict[str, type[ctypes.Structure]] = field(default_factory=dict)
    constants: dict[str, int] = field(default_factory=dict)
    strings: dict[str, str] = field(default_factory=dict)
    functions: dict[str, Function] = field(default_factory=dict)

    def struct(self, name: str) -> type[ctypes.Structure]:
        """The struct of that name; one that is never defined is opaque and only ever seen as a pointer."""
        return self.structs[name]


def read_headers(include: Path) -> Declarations:
    """Everything that include/seam/seam.h declares, DLPack's own header among it."""
    read = headers.read(include, ("seam", "dlpack"))
    found = Declarations(constants=dict(read.enums))
    for name, value in read.constants.items():
        if isinstance(value, int):
            found.constants[name] = value
        else:
            found.strings[name] = value
    for name in [*read.structs, *read.opaque]:
        found.structs[name] = type(name, (ctypes.Structure,), {})
    # In the order of the headers, where what a type is made of comes before it.
    for name, kind in read.types.items():
        found.types[name] = resolve(found, kind)
    for name, struct in read.structs.items():
        # Set after the classes exist: a member may point to its own struct.
        found.structs[name]._fields_ = [(each.name, resolve(found, each.type)) for each in struct.members]
    for name, function in read.functions.items():
        found.functions[name] = signature(found, function)
    return found


def resolve(found: Declarations, kind: headers.Type) -> Any:
    """The ctypes type of a C type."""
    match kind:
        case headers.Named():
            return found.structs[kind.name] if kind.name in found.structs else found.types[kind.name]
        case headers.Array():
            count = found.constants[kind.count] if kind.count in found.constants else int(kind.count)
            return resolve(found, kind.element) * count
        case headers.Pointer():
            return pointer(found, kind.target)
    raise TypeError(f"the headers use a kind of type that is not handled here: {kind}")


def pointer(found: Declarations, target: headers.Type) -> Any:
    if isinstance(target, headers.Function):
        function = signature(found, target)
        return ctypes.CFUNCTYPE(function.result, *function.arguments)
    resolved = resolve(found, target)
    if resolved is None:
        return ctypes.c_void_p
    if resolved is ctypes.c_char:
        # A string that is not const is the caller's to release, so its address must stay known.
        return ctypes.c_char_p if isinstance(target, headers.Named) and target.const else ctypes.c_void_p
    return ctypes.POINTER(resolved)


def signature(found: Declarations, function: headers.Function) -> Function:
    """An array as a parameter is a pointer."""
    return Function(
        resolve(found, function.result),
        tuple(
            pointer(found, each.element) if isinstance(each, headers.Array) else resolve(found, each)
            for each in function.parameters
        ),
    )

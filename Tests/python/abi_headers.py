"""The C declarations of include/seam as ctypes types, read from the headers themselves so that they cannot drift."""

from __future__ import annotations

import ctypes
import re
import subprocess
import tempfile
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from pycparser import c_ast, c_parser

# The only system headers that the ABI includes. pycparser reads neither compiler built-ins nor attributes.
STANDARD_HEADERS = {
    "stddef.h": "typedef unsigned long size_t;\n#define NULL ((void *)0)\n",
    "stdint.h": "".join(
        f"typedef {kind} {name};\n"
        for name, kind in {
            "int32_t": "int",
            "int64_t": "long",
            "uint8_t": "unsigned char",
            "uint16_t": "unsigned short",
            "uint32_t": "unsigned int",
            "uint64_t": "unsigned long",
        }.items()
    ),
}

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
    """What the headers declare, by name."""

    types: dict[str, Any] = field(default_factory=lambda: dict(BASIC_TYPES))
    structs: dict[str, type[ctypes.Structure]] = field(default_factory=dict)
    constants: dict[str, int] = field(default_factory=dict)
    functions: dict[str, Function] = field(default_factory=dict)

    def struct(self, name: str) -> type[ctypes.Structure]:
        """The struct of that tag; one that is never defined is opaque and only ever seen as a pointer."""
        if name not in self.structs:
            self.structs[name] = type(name, (ctypes.Structure,), {})
        return self.structs[name]


def read_headers(include: Path) -> Declarations:
    """Parses include/seam/seam.h and everything it includes, DLPack's own header among it."""
    header = include / "seam" / "seam.h"
    tree = c_parser.CParser().parse(preprocess(header, include))
    found = Declarations(constants=object_macros(sorted(include.glob("*/*.h"))))
    for node in tree.ext:
        declare(found, node)
    return found


def preprocess(header: Path, include: Path) -> str:
    with tempfile.TemporaryDirectory() as folder:
        for name, text in STANDARD_HEADERS.items():
            (Path(folder) / name).write_text(text)
        command = ["cc", "-E", "-P", "-nostdinc", "-D__attribute__(x)=", f"-I{folder}", f"-I{include}", str(header)]
        return subprocess.run(command, check=True, capture_output=True, text=True).stdout


def object_macros(headers: list[Path]) -> dict[str, int]:
    """Macros that are plain numbers, which the preprocessor's output no longer shows."""
    pattern = re.compile(r"^#define (\w+) (\d+)u?\s*$", re.MULTILINE)
    return {name: int(value) for path in headers for name, value in pattern.findall(path.read_text())}


def declare(found: Declarations, node: c_ast.Node) -> None:
    if isinstance(node, c_ast.Typedef):
        if node.name not in found.types:
            found.types[node.name] = resolve(found, node.type, tag=node.name)
    elif isinstance(node.type, c_ast.FuncDecl):
        found.functions[node.name] = signature(found, node.type)
    else:
        resolve(found, node.type)


def resolve(found: Declarations, node: c_ast.Node, tag: str = "") -> Any:
    """The ctypes type of a C type. `tag` names a struct that has no name of its own."""
    match node:
        case c_ast.TypeDecl():
            return resolve(found, node.type, tag)
        case c_ast.IdentifierType():
            return found.types[" ".join(node.names)] if node.names[0] in found.types else builtin(node.names)
        case c_ast.PtrDecl():
            return pointer(found, node.type)
        case c_ast.ArrayDecl():
            return resolve(found, node.type) * int(node.dim.value)
        case c_ast.Struct():
            return struct(found, node, tag)
        case c_ast.Enum():
            enumerate_constants(found, node)
            return ctypes.c_int
    raise TypeError(f"the headers use a kind of type that is not handled here: {node}")


def builtin(names: list[str]) -> Any:
    return {
        "unsigned char": ctypes.c_ubyte,
        "unsigned short": ctypes.c_ushort,
        "unsigned int": ctypes.c_uint,
        "long": ctypes.c_long,
        "unsigned long": ctypes.c_ulong,
    }[" ".join(names)]


def pointer(found: Declarations, target: c_ast.Node) -> Any:
    if isinstance(target, c_ast.FuncDecl):
        function = signature(found, target)
        return ctypes.CFUNCTYPE(function.result, *function.arguments)
    resolved = resolve(found, target)
    if resolved is None:
        return ctypes.c_void_p
    if resolved is ctypes.c_char:
        # A string that is not const is the caller's to release, so its address must stay known.
        return ctypes.c_char_p if "const" in target.quals else ctypes.c_void_p
    return ctypes.POINTER(resolved)


def signature(found: Declarations, node: c_ast.FuncDecl) -> Function:
    parameters = [argument(found, each.type) for each in (node.args.params if node.args else [])]
    return Function(resolve(found, node.type), tuple(each for each in parameters if each is not None))


def argument(found: Declarations, node: c_ast.Node) -> Any:
    """A parameter's type: an array is a pointer there, `void` alone is none."""
    return ctypes.POINTER(resolve(found, node.type)) if isinstance(node, c_ast.ArrayDecl) else resolve(found, node)


def struct(found: Declarations, node: c_ast.Struct, tag: str) -> type[ctypes.Structure]:
    result = found.struct(node.name or tag)
    if node.decls is not None:
        # Set after the class exists: a member may point to its own struct.
        result._fields_ = [(member.name, resolve(found, member.type)) for member in node.decls]
    return result


def enumerate_constants(found: Declarations, node: c_ast.Enum) -> None:
    following = 0
    for item in node.values.enumerators if node.values else []:
        following = int(item.value.value.rstrip("uU")) if item.value else following
        found.constants[item.name] = following
        following += 1

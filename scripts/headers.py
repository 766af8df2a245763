"""The C headers in include/ as Python objects: the one reader of the headers, for whatever is generated or checked.

    declared = headers.read(ROOT / "include")
    declared.structs["seam_site"].members[0]         # Member("struct_size", Named("uint32_t"))
    headers.spell(declared.functions["seam_session_score"])

Needs a C preprocessor ($CC, else cc), which drops comments and conditions. Reads what the headers use of C and refuses
the rest with a sentence.
"""

from __future__ import annotations

import os
import re
import subprocess
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path

CC = os.environ.get("CC", "cc")
QUALIFIERS = ("const", "volatile", "restrict")
# What may stand together as the name of one built-in type.
BUILTIN = ("void", "char", "short", "int", "long", "float", "double", "signed", "unsigned")


class Malformed(Exception):
    """A declaration that this reader does not understand."""


# ---- Types


@dataclass(frozen=True)
class Named:
    """A type by its name: "double", "seam_status", "seam_tensor". Structs have no keyword before their name."""

    name: str
    const: bool = False


@dataclass(frozen=True)
class Pointer:
    target: Type
    const: bool = False


@dataclass(frozen=True)
class Array:
    element: Type
    count: str  # as written: a number or a constant


@dataclass(frozen=True)
class Function:
    result: Type
    parameters: tuple[Type, ...]  # none for (void); an array stays one, though C passes its address


Type = Named | Pointer | Array | Function


@dataclass(frozen=True)
class Member:
    name: str
    type: Type


@dataclass(frozen=True)
class Struct:
    name: str
    members: tuple[Member, ...]

    @property
    def can_grow(self) -> bool:
        return self.members[0] == Member("struct_size", Named("uint32_t"))


@dataclass
class Headers:
    """What is declared, by name, in the order of the headers."""

    structs: dict[str, Struct] = field(default_factory=dict)
    opaque: list[str] = field(default_factory=list)  # declared, never defined
    types: dict[str, Type] = field(default_factory=dict)  # typedefs of anything but a struct; an enum's is int
    enums: dict[str, int] = field(default_factory=dict)  # the values by name
    functions: dict[str, Function] = field(default_factory=dict)
    constants: dict[str, int | str] = field(default_factory=dict)  # macros that are one number or one string


def spell(kind: Type, inner: str = "") -> str:
    """A type as C writes it, around the declarator `inner`."""
    if isinstance(kind, Named):
        return f"{'const ' if kind.const else ''}{kind.name}{' ' if inner else ''}{inner}"
    if isinstance(kind, Pointer):
        inner = f"*{'const ' if kind.const and inner else 'const' if kind.const else ''}{inner}"
        return spell(kind.target, f"({inner})" if isinstance(kind.target, (Array, Function)) else inner)
    if isinstance(kind, Array):
        return spell(kind.element, f"{inner}[{kind.count}]")
    parameters = ", ".join(map(spell, kind.parameters)) or "void"
    return spell(kind.result, f"{inner}({parameters})")


# ---- Reading


def read(include: Path, folders: tuple[str, ...] = ("seam",)) -> Headers:
    """Everything that seam/seam.h declares in these folders of `include`; ("seam", "dlpack") is all there is."""
    reader = _Reader(_tokens(_preprocessed(include, folders)))
    while reader.left:
        reader.declaration()
    found = reader.found
    found.opaque = [name for name in found.opaque if name not in found.structs]
    for folder in folders:
        for header in sorted((include / folder).glob("*.h")):
            found.constants.update(_constants(header.read_text()))
    return found


def _preprocessed(include: Path, folders: tuple[str, ...]) -> str:
    command = [CC, "-std=c11", "-E", "-D__attribute__(x)=", "-I", str(include), str(include / "seam/seam.h")]
    text = subprocess.run(command, check=True, capture_output=True, text=True).stdout
    wanted = {(include / folder).resolve() for folder in folders}
    ours, kept = False, []
    for line in text.splitlines():
        marker = re.match(r'# \d+ "([^"]*)"', line)
        if marker:
            ours = Path(marker[1]).resolve().parent in wanted
        elif ours:
            kept.append(line)
    return "\n".join(kept)


def _constants(text: str) -> dict[str, int | str]:
    found: dict[str, int | str] = {}
    pattern = r'^#define (\w+)[ \t]+(?:(\d+)[uUlL]*|"([^"]*)")[ \t]*(?:/\*.*)?$'
    for name, number, string in re.findall(pattern, text, re.M):
        found[name] = int(number) if number else string
    return found


def _tokens(text: str) -> list[str]:
    return re.findall(r"\w+|[^\w\s]", text)


class _Reader:
    """Reads one declaration after the other."""

    def __init__(self, tokens: list[str]):
        self.tokens, self.position, self.found = tokens, 0, Headers()

    @property
    def left(self) -> bool:
        return self.position < len(self.tokens)

    def peek(self, ahead: int = 0) -> str:
        place = self.position + ahead
        return self.tokens[place] if place < len(self.tokens) else ""

    def next(self) -> str:
        self.position += 1
        return self.tokens[self.position - 1]

    def take(self, token: str) -> bool:
        found = self.peek() == token
        self.position += found
        return found

    def expect(self, token: str) -> None:
        if not self.take(token):
            near = " ".join(self.tokens[max(0, self.position - 12) : self.position + 6])
            raise Malformed(f"expected '{token}', found '{self.peek()}' in '{near}'")

    def declaration(self) -> None:
        is_typedef = self.take("typedef")
        self.take("extern")
        base = self.specifiers()
        while not self.take(";"):
            name, wrap = self.declarator()
            kind = wrap(base)
            if is_typedef:
                # "typedef struct seam_site {...} seam_site": the struct is there already.
                if kind != Named(name):
                    self.found.types[name] = kind
            elif isinstance(kind, Function):
                self.found.functions[name] = kind
            else:
                raise Malformed(f"'{name}' is neither a type nor a function")
            self.take(",")

    def specifiers(self) -> Type:
        const, words = False, []
        while True:
            if self.peek() in QUALIFIERS:
                const |= self.next() == "const"
            elif self.peek() in ("struct", "enum") and not words:
                words.append(self.struct() if self.next() == "struct" else self.enum())
            elif self.peek() in BUILTIN and all(word in BUILTIN for word in words):
                words.append(self.next())
            elif not words and re.fullmatch(r"[A-Za-z_]\w*", self.peek()):
                words.append(self.next())
            else:
                break
        if not words:
            self.expect("the name of a type")
        return Named(" ".join(words), const)

    def struct(self) -> str:
        """The name of a struct, whose members are kept where they follow."""
        tag = self.next() if self.peek() != "{" else ""
        if not self.take("{"):
            if tag not in self.found.opaque:
                self.found.opaque.append(tag)
            return tag
        members: list[Member] = []
        while not self.take("}"):
            base = self.specifiers()
            while not self.take(";"):
                name, wrap = self.declarator()
                members.append(Member(name, wrap(base)))
                self.take(",")
        # A struct without a tag has the name that the typedef gives it.
        name = tag or self.peek()
        self.found.structs[name] = Struct(name, tuple(members))
        return name

    def enum(self) -> str:
        if self.peek() != "{":
            self.next()
        following = 0
        self.expect("{")
        while not self.take("}"):
            name = self.next()
            if self.take("="):
                sign = -1 if self.take("-") else 1
                following = sign * int(self.next().rstrip("uU"), 0)
            self.found.enums[name] = following
            following += 1
            self.take(",")
        return "int"

    def declarator(self) -> tuple[str, Callable[[Type], Type]]:
        """A name ("" for none), and what makes its type of the type that stands before it."""
        if self.take("*"):
            const = False
            while self.peek() in QUALIFIERS:
                const |= self.next() == "const"
            name, inner = self.declarator()
            return name, lambda base: inner(Pointer(base, const))

        def nested(base: Type) -> Type:
            return base

        name = ""
        if self.peek() == "(" and self.peek(1) in ("*", "("):
            self.expect("(")
            name, nested = self.declarator()
            self.expect(")")
        elif re.fullmatch(r"[A-Za-z_]\w*", self.peek()):
            name = self.next()
        suffixes: list[Callable[[Type], Type]] = []
        while self.peek() in ("(", "["):
            if self.take("["):
                count = self.next() if self.peek() != "]" else ""
                self.expect("]")
                suffixes.append(lambda base, count=count: Array(base, count))
            else:
                self.expect("(")
                parameters = self.parameters()
                suffixes.append(lambda base, parameters=parameters: Function(base, parameters))

        def wrap(base: Type) -> Type:
            for suffix in reversed(suffixes):
                base = suffix(base)
            return nested(base)

        return name, wrap

    def parameters(self) -> tuple[Type, ...]:
        found: list[Type] = []
        while not self.take(")"):
            base = self.specifiers()
            found.append(self.declarator()[1](base))
            self.take(",")
        return () if found == [Named("void")] else tuple(found)

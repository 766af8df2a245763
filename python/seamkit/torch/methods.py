"""Functions of a plugin's own, called by name with checked arguments."""

from __future__ import annotations

import ctypes
import re
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from torch import Tensor

from seamkit import _declarations as c
from seamkit.errors import InvalidArgumentError, PluginError
from seamkit.texts import c_string, check_integer
from seamkit.torch.passes import Pass
from seamkit.torch.plugin_names import checked, copied, text

# C types by the names that signatures use.
_TYPES: dict[str, Any] = {
    "void": None,
    "int64_t": ctypes.c_int64,
    "double": ctypes.c_double,
    "const char *": ctypes.c_char_p,
    "seam_tensor *": ctypes.c_void_p,
}
# What every method takes: the adapter's instance and the pass.
_FIRST = ("void *", "const seam_pass *")


@dataclass(frozen=True)
class Method:
    name: str
    signature: str
    doc: str
    result: str
    arguments: tuple[str, ...]
    address: int

    @staticmethod
    def read(pointer: Any, owner: str, origin: str) -> Method:
        """Of a pointer to a seam_method of a plugin's."""
        source = copied(pointer, f"a method of {owner}", origin)
        name = checked(source.name, f"a method name of {owner}", origin)
        address = ctypes.cast(source.function, ctypes.c_void_p).value
        if source.signature is None or not address:
            raise PluginError(f'method "{name}" lacks its signature or function', origin)
        signature = text(source.signature)
        parsed = parse(signature)
        if parsed is None:
            raise PluginError(
                f'method "{name}": the signature must be like "seam_tensor *(void *, const seam_pass *, double)", with '
                f'the instance and the pass first, found "{signature}"',
                origin,
            )
        if source.flags & c.SEAM_METHOD_RECORDED and parsed != ("seam_tensor *", ()):
            raise PluginError(
                f'method "{name}" is recorded: it must give a tensor and take nothing, found "{signature}"', origin
            )
        return Method(name, signature, text(source.doc), *parsed, address)

    def call(self, instance: int | None, frame: c.seam_pass, pass_: Pass, given: Sequence[Any], origin: str) -> Any:
        """The result: None, int, float, str or the handle of a tensor in the pass."""
        if len(given) != len(self.arguments):
            raise InvalidArgumentError(
                f'method "{self.name}" takes {len(self.arguments)} argument{"" if len(self.arguments) == 1 else "s"} '
                f"({self.signature}), found {len(given)}",
                origin,
            )
        pairs = zip(self.arguments, given, strict=True)
        converted = [self._converted(pass_, kind, each, origin) for kind, each in pairs]
        kinds = [_TYPES[each] for each in self.arguments]
        prototype = ctypes.CFUNCTYPE(_TYPES[self.result], ctypes.c_void_p, ctypes.POINTER(c.seam_pass), *kinds)
        found = prototype(self.address)(instance, ctypes.byref(frame), *converted)
        pass_.check()
        if self.result == "seam_tensor *" and found is None:
            raise PluginError(f'method "{self.name}" returned NULL', origin)
        return text(found) if self.result == "const char *" else found

    def _converted(self, pass_: Pass, kind: str, value: Any, origin: str) -> Any:
        number = isinstance(value, int | float) and not isinstance(value, bool)
        if kind == "int64_t" and number and isinstance(value, int):
            check_integer(value, ctypes.c_int64, f'an argument of method "{self.name}"')
            return value
        if kind == "double" and number:
            return float(value)
        if kind == "const char *" and isinstance(value, str):
            return c_string(value, f'an argument of method "{self.name}"')
        if kind == "seam_tensor *" and isinstance(value, Tensor):
            return pass_.add(value)
        raise InvalidArgumentError(
            f'method "{self.name}" takes {kind} ({self.signature}), found {type(value).__name__}', origin
        )


def parse(signature: str) -> tuple[str, tuple[str, ...]] | None:
    """Result and arguments of a prototype without names, behind the instance and the pass that it begins with."""
    found = re.fullmatch(r"([^(]*)\(([^()]*)\)", signature)
    if not found:
        return None
    result, *arguments = (" ".join(each.replace("*", " * ").split()) for each in [found[1], *found[2].split(",")])
    if result not in _TYPES or tuple(arguments[:2]) != _FIRST:
        return None
    if any(each not in _TYPES or each == "void" for each in arguments[2:]):
        return None
    return result, tuple(arguments[2:])

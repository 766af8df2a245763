"""Options that a factory declares, and values checked against them in the sentences of the native host."""

from __future__ import annotations

import ctypes
import json
import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

from seamkit import _declarations as c
from seamkit.errors import InvalidArgumentError, PluginError
from seamkit.texts import check_integer
from seamkit.torch.plugin_names import checked, copied, text

_KINDS = {
    c.SEAM_OPTION_BOOL: "boolean",
    c.SEAM_OPTION_INT: "integer",
    c.SEAM_OPTION_DOUBLE: "number",
    c.SEAM_OPTION_STRING: "string",
}
# The name by which a run of the native tool gives an adapter a learning rate of its own.
_RESERVED = "learning_rate"


@dataclass(frozen=True)
class Option:
    """kind: boolean, integer, number or string. range: allowed numbers, None for any. choices: empty for any."""

    name: str
    kind: str
    default: Any
    choices: tuple[str, ...]
    range: tuple[float, float] | None
    doc: str

    @staticmethod
    def read(pointer: Any, owner: str, origin: str) -> Option:
        """Of a pointer to a seam_option of a plugin's."""
        source = copied(pointer, f"an option of {owner}", origin)
        name, kind = checked(source.name, f"an option name of {owner}", origin), _KINDS.get(source.kind)
        if name == _RESERVED:
            raise PluginError(
                f'{owner} must not declare an option "{name}": every adapter has it from the host', origin
            )
        if kind is None:
            raise PluginError(f'option "{name}" has the unknown kind {source.kind}', origin)
        if source.default_value is None:
            raise PluginError(f'option "{name}" has no default value', origin)
        value = text(source.default_value)
        try:
            default = json.loads(value)
        except ValueError:
            raise PluginError(f'the default of option "{name}" must be one JSON value, found {value}', origin) from None
        if not source.minimum <= source.maximum:
            raise PluginError(f'option "{name}" allows {source.minimum} to {source.maximum}, which is no range', origin)
        option = Option(
            name,
            kind,
            default,
            tuple(text(source.choices).split("|")) if source.choices else (),
            None if source.minimum == source.maximum == 0 else (source.minimum, source.maximum),
            text(source.doc),
        )
        try:
            option.check(default, origin)
        except InvalidArgumentError as error:
            raise PluginError(f'the default of option "{name}" is not valid: {error}', origin) from None
        return option

    def check(self, value: Any, owner: str) -> Any:
        """The value if it has the option's type and range, integers widened for a number."""
        if self.kind == "boolean" and isinstance(value, bool):
            return value
        if self.kind == "string" and isinstance(value, str):
            if self.choices and value not in self.choices:
                raise self._wrong(value, f"one of {', '.join(self.choices)}", owner)
            if "\0" in value:
                raise self._wrong(value, "a string without the character U+0000", owner)
            return value
        is_number = isinstance(value, int | float) and not isinstance(value, bool)
        if self.kind == "integer" and is_number and isinstance(value, int):
            if self.range and not self.range[0] <= value <= self.range[1]:
                raise self._wrong(value, f"an integer {self._words(_whole)}", owner)
            check_integer(value, ctypes.c_int64, f'{owner}: option "{self.name}"')
            return value
        if self.kind == "number" and is_number:
            number = float(value)
            if not math.isfinite(number) or (self.range and not self.range[0] <= number <= self.range[1]):
                expected = f"a number {self._words(str)}" if self.range else "a finite number"
                raise self._wrong(value, expected, owner)
            return number
        raise self._wrong(value, f"{'an' if self.kind == 'integer' else 'a'} {self.kind}", owner)

    def _wrong(self, value: Any, expected: str, owner: str) -> InvalidArgumentError:
        try:
            found = json.dumps(value, ensure_ascii=False, separators=(",", ":"))
        except (TypeError, ValueError):
            found = type(value).__name__
        return InvalidArgumentError(f'{owner}: option "{self.name}" must be {expected}, found {found}')

    def _words(self, number: Callable[[float], str]) -> str:
        low, high = self.range or (-math.inf, math.inf)
        if high == math.inf:
            return f"of {number(low)} or more"
        return f"of {number(high)} or less" if low == -math.inf else f"from {number(low)} to {number(high)}"


def _whole(number: float) -> str:
    return str(int(number)) if number.is_integer() else str(number)


def resolve(given: Mapping[str, Any] | None, declared: list[Option], owner: str) -> dict[str, Any]:
    """All declared options with the given values or their defaults, in declared order."""
    values = dict(given or {})
    names = [each.name for each in declared]
    if unknown := [name for name in values if name not in names]:
        listed = ", ".join(f'"{each}"' for each in unknown)
        raise InvalidArgumentError(f"{owner}: unknown option {listed}; known are {', '.join(names) or 'none'}")
    return {each.name: each.check(values.get(each.name, each.default), owner) for each in declared}


def check_resolved(values: Mapping[str, Any], declared: list[Option], owner: str, origin: str) -> None:
    """Raises PluginError for a value that a plugin has put in the place of an option's and that the option does not
    allow: with it a saved adapter could not be made again."""
    for option in declared:
        try:
            option.check(values[option.name], f"{owner} resolves an option wrongly")
        except InvalidArgumentError as error:
            raise PluginError(error.message, origin) from None

"""Parameters that an adapter declares, with the native host's initial values, as parameters of a torch module."""

from __future__ import annotations

import ctypes
import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from torch import Tensor

from seamkit import _declarations as c
from seamkit.errors import NotFoundError, OutOfMemoryError, PluginError, SeamError, ShapeError
from seamkit.torch import checks
from seamkit.torch.generator import Generator
from seamkit.torch.machine import require_memory
from seamkit.torch.plugin_names import checked, refuse_twice

# More parameters of an instance cannot be meant, and would be asked for one by one.
_MOST = 1 << 20
_STARTS = (
    c.SEAM_INIT_ZEROS,
    c.SEAM_INIT_ONES,
    c.SEAM_INIT_CONSTANT,
    c.SEAM_INIT_NORMAL,
    c.SEAM_INIT_UNIFORM,
    c.SEAM_INIT_XAVIER_UNIFORM,
    c.SEAM_INIT_XAVIER_NORMAL,
    c.SEAM_INIT_DATA,
    c.SEAM_INIT_MODEL,
    c.SEAM_INIT_ORTHOGONAL,
)


@dataclass(frozen=True)
class Declaration:
    """name: as in a saved file, with that of the point before it. point: the index of the point that it belongs to, -1
    where all points share it or there are none."""

    name: str
    shape: list[int]
    is_frozen: bool
    point: int
    raw: c.seam_parameter

    def values(self, seed: int, origin: str) -> np.ndarray[Any, np.dtype[np.float32]]:
        """Before training: the same numbers as in the native host."""
        try:
            with np.errstate(over="ignore", invalid="ignore"):
                values = _initial(self.raw, self.name, self.shape, seed, origin).astype(np.float32)
        except MemoryError as error:
            raise OutOfMemoryError(f'parameter "{self.name}": not enough memory: {error}', origin) from None
        bad = np.flatnonzero(~np.isfinite(values))
        if len(bad):
            raise PluginError(f'parameter "{self.name}" starts with NaN or infinity at element {bad[0]}', origin)
        return values.reshape(self.shape)


def declared(
    table: Any, instance: int | None, owner: str, origin: str, points: Sequence[str] = ()
) -> list[Declaration]:
    """All parameters of an instance, checked together before memory is taken for any.

    owner: 'adapter "x"', for a sentence. points: the names of those that it is attached to. Raises PluginError and
    ShapeError for what cannot be declared, OutOfMemoryError for more than the machine holds.
    """
    count = table.parameter_count(instance)
    if count > _MOST:
        raise PluginError(f"the number of parameters of {owner} must be at most {_MOST}, found {count}", origin)
    found = [_declaration(_described(table, instance, index), origin, points) for index in range(count)]
    names = [each.name for each in found]
    refuse_twice(names, f"{owner}: the parameter", origin)
    known = set(names)
    for name in names:
        parts = name.split(".")
        for before in (".".join(parts[:end]) for end in range(1, len(parts))):
            if before in known:  # a parameter and a module of the same name
                raise PluginError(f'{owner}: the parameter "{before}" must not be the beginning of "{name}"', origin)
    elements = sum(math.prod(each.shape) for each in found if each.raw.init != c.SEAM_INIT_MODEL)
    require_memory(4 * elements, f"{owner} with its parameters", origin)
    return found


def _described(table: Any, instance: int | None, index: int) -> c.seam_parameter:
    raw = c.seam_parameter(struct_size=ctypes.sizeof(c.seam_parameter), point=-1)
    table.parameter(instance, index, ctypes.byref(raw))
    return raw


def _declaration(raw: c.seam_parameter, origin: str, points: Sequence[str]) -> Declaration:
    own = checked(raw.name, "a parameter name", origin, allows_capitals=True)
    if not -1 <= raw.point < len(points):
        there = f" or 0 ... {len(points) - 1}" if points else ""
        raise PluginError(f'parameter "{own}" belongs to point {raw.point}, which must be -1{there}', origin)
    if "" in own.split("."):
        raise PluginError(f"a parameter name must have something on both sides of a '.', found \"{own}\"", origin)
    name = own if raw.point < 0 else f"{points[raw.point]}.{own}"
    try:
        checks.rank(raw.rank, f'parameter "{name}"')
        shape = checks.sizes(list(raw.shape[: raw.rank]), f'parameter "{name}"')
    except SeamError as error:
        error.origin = origin
        raise
    if raw.init == c.SEAM_INIT_NORMAL and not raw.b >= 0:
        raise PluginError(
            f'parameter "{name}" starts with a standard deviation of {raw.b}, which must be 0 or more', origin
        )
    if raw.init == c.SEAM_INIT_UNIFORM and not raw.a <= raw.b:
        raise PluginError(f'parameter "{name}" starts with numbers from {raw.a} to {raw.b}, which is no range', origin)
    if raw.init == c.SEAM_INIT_DATA and not raw.data:
        raise PluginError(f'parameter "{name}" is initialised from data that is NULL', origin)
    if raw.init not in _STARTS:
        raise PluginError(f'parameter "{name}" has the unknown initialisation {raw.init}', origin)
    if raw.init == c.SEAM_INIT_ORTHOGONAL and len(shape) < 2:
        raise PluginError(
            f'parameter "{name}" starts with orthonormal rows and has the shape {checks.shown(shape)}, which must have '
            "rank 2 or more",
            origin,
        )
    return Declaration(name, shape, bool(raw.flags & c.SEAM_PARAMETER_FROZEN), raw.point, raw)


def _initial(raw: c.seam_parameter, name: str, shape: list[int], seed: int, origin: str) -> np.ndarray[Any, Any]:
    count = math.prod(shape)
    rows = shape[-2] if len(shape) > 1 else 1
    fans = float(rows + (shape[-1] if shape else 1))
    random = Generator(seed, name)
    if raw.init == c.SEAM_INIT_ZEROS:
        return np.zeros(count)
    if raw.init == c.SEAM_INIT_ONES:
        return np.ones(count)
    if raw.init == c.SEAM_INIT_CONSTANT:
        return np.full(count, raw.a)
    if raw.init == c.SEAM_INIT_NORMAL:
        return raw.a + raw.b * random.normal(count)
    if raw.init == c.SEAM_INIT_UNIFORM:
        return raw.a + (raw.b - raw.a) * random.uniform(count)
    if raw.init == c.SEAM_INIT_XAVIER_UNIFORM:
        return raw.a * math.sqrt(6 / fans) * (2 * random.uniform(count) - 1)
    if raw.init == c.SEAM_INIT_XAVIER_NORMAL:
        return raw.a * math.sqrt(2 / fans) * random.normal(count)
    if raw.init == c.SEAM_INIT_DATA:
        return np.array(np.ctypeslib.as_array(raw.data, (count,)) if count else [], np.float32)
    if raw.init == c.SEAM_INIT_ORTHOGONAL:
        return raw.a * _orthonormal(random, shape[0], math.prod(shape[1:])).reshape(-1)
    raise PluginError(f'parameter "{name}" comes from a model, but there is no model', origin)


def _orthonormal(random: Generator, rows: int, columns: int) -> np.ndarray[Any, Any]:
    """Normal numbers [rows, columns], of which the modified Gram-Schmidt process, twice, makes orthonormal rows or,
    where there are more rows than columns, columns."""
    drawn = random.normal(rows * columns).reshape(rows, columns)
    found = drawn.T.copy() if rows > columns else drawn
    for index, row in enumerate(found):
        # What lies along the rows before was taken off as they were made; once more, for what rounding has left.
        row -= (found[:index] @ row) @ found[:index]
        row /= math.sqrt(row @ row)
        found[index + 1 :] -= np.outer(found[index + 1 :] @ row, row)
    return found.T if rows > columns else found


class Place:
    """Where a parameter lives: in a module below the adapter's for every dot of its name, so that the keys of
    `state_dict` are the names in the saved file."""

    def __init__(self, root: torch.nn.Module, declaration: Declaration, seed: int, origin: str):
        self.name, self.is_frozen, self.point = declaration.name, declaration.is_frozen, declaration.point
        self.shape = torch.Size(declaration.shape)
        self._origin = origin
        *parents, self._key = declaration.name.split(".")
        owner = root
        for part in parents:
            child = owner._modules.get(part)
            if child is None:
                child = torch.nn.Module()
                _put(declaration.name, origin, owner.add_module, part, child)
            owner = child
        self._owner = owner
        values = torch.from_numpy(declaration.values(seed, origin))
        if self.is_frozen:
            _put(declaration.name, origin, owner.register_buffer, self._key, values)
        else:
            _put(declaration.name, origin, owner.register_parameter, self._key, torch.nn.Parameter(values))

    @property
    def tensor(self) -> Tensor:
        """As it is now: `torch.func.functional_call` and others exchange it."""
        found = self._owner._buffers.get(self._key) if self.is_frozen else self._owner._parameters.get(self._key)
        if found is None:
            raise NotFoundError(f'parameter "{self.name}" has been taken out of its module', self._origin)
        if found.shape != self.shape:
            raise ShapeError(
                f'parameter "{self.name}" must be {checks.shown(self.shape)}, found {checks.shown(found.shape)}',
                self._origin,
            )
        return found


def _put(name: str, origin: str, put: Any, *arguments: Any) -> None:
    try:
        put(*arguments)
    except KeyError as error:
        raise PluginError(f'parameter "{name}" cannot be a parameter of a torch module: {error}', origin) from None

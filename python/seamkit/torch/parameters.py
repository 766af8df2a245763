"""Parameters that an adapter declares, with the native host's initial values, as parameters of a torch module."""

from __future__ import annotations

import ctypes
import math
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from torch import Tensor

from seamkit import _declarations as c
from seamkit.errors import NotFoundError, PluginError, SeamError, ShapeError
from seamkit.torch import checks
from seamkit.torch.generator import Generator


@dataclass(frozen=True)
class Declaration:
    name: str
    shape: list[int]
    is_frozen: bool
    values: np.ndarray[Any, np.dtype[np.float32]]


def declared(raw: c.seam_parameter, seed: int, origin: str) -> Declaration:
    """A declaration with its values before training: the same numbers as in the native host."""
    if not raw.name:
        raise PluginError("a parameter has no name", origin)
    name = raw.name.decode()
    try:
        if not 0 <= raw.rank <= checks.MAX_RANK:
            raise ShapeError(f'parameter "{name}": rank must be 0 ... {checks.MAX_RANK}, found {raw.rank}')
        shape = checks.sizes(list(raw.shape[: raw.rank]), f'parameter "{name}"')
    except SeamError as error:
        error.origin = origin
        raise
    values = _initial(raw, name, shape, seed, origin).astype(np.float32).reshape(shape)
    return Declaration(name, shape, bool(raw.flags & c.SEAM_PARAMETER_FROZEN), values)


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
        if not raw.data:
            raise PluginError(f'parameter "{name}" is initialised from data that is NULL', origin)
        return np.array(np.ctypeslib.as_array(raw.data, (count,)) if count else [], np.float32)
    if raw.init == c.SEAM_INIT_MODEL:
        raise PluginError(f'parameter "{name}" comes from a model, but there is no model', origin)
    raise PluginError(f'parameter "{name}" has the unknown initialisation {raw.init}', origin)


def read_declaration(table: Any, instance: int | None, index: int) -> c.seam_parameter:
    raw = c.seam_parameter(struct_size=ctypes.sizeof(c.seam_parameter))
    table.parameter(instance, index, ctypes.byref(raw))
    return raw


class Place:
    """Where a parameter lives: in a module below the adapter's for every dot of its name, so that the keys of
    `state_dict` are the names in the saved file."""

    def __init__(self, root: torch.nn.Module, declaration: Declaration, origin: str):
        self.name, self.is_frozen = declaration.name, declaration.is_frozen
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
        values = torch.from_numpy(declaration.values.copy())
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
                self._origin)
        return found


def _put(name: str, origin: str, put: Any, *arguments: Any) -> None:
    try:
        put(*arguments)
    except KeyError as error:
        raise PluginError(f'parameter "{name}" cannot be a parameter of a torch module: {error}', origin) from None

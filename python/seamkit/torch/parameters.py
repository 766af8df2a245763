"""An adapter's parameters as those of a torch module: they start from the values that libSeam gives, and are written back
where it computes with them."""

from __future__ import annotations

from typing import Any

import numpy as np
import torch
from torch import Tensor

from seamkit._native.dlpack import Array
from seamkit.errors import NotFoundError, PluginError, ShapeError, UnsupportedError
from seamkit.torch import checks


class Place:
    """Where a parameter lives: in a module below the adapter's for every dot of its name, so that the keys of
    `state_dict` are the names in the saved file.

    described: as `Adapter.describe` of the native engine has it, with "point", the index of the point that it belongs to,
    -1 where all share it. values: a view of libSeam's. origin: the plugin's id, for errors.
    """

    def __init__(self, root: torch.nn.Module, described: dict[str, Any], values: Array, origin: str):
        self.name, self.is_frozen, self.point = described["name"], described["frozen"], described["point"]
        self.shape = torch.Size(described["shape"])
        self._values, self._origin = values, origin
        *parents, self._key = self.name.split(".")
        owner = root
        for part in parents:
            child = owner._modules.get(part)
            if child is None:
                child = torch.nn.Module()
                _put(self.name, origin, owner.add_module, part, child)
            owner = child
        self._owner = owner
        start = torch.from_numpy(values.copy())
        if self.is_frozen:
            _put(self.name, origin, owner.register_buffer, self._key, start)
        else:
            _put(self.name, origin, owner.register_parameter, self._key, torch.nn.Parameter(start))

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

    def value(self, owner: str, done: str) -> Tensor:
        """The value as f32 on the CPU. owner: 'adapter "x"', and what is to be done with it, for a refusal.

        Raises UnsupportedError for one that this process does not have as a whole.
        """
        tensor = self.tensor
        if hasattr(tensor, "full_tensor"):
            raise UnsupportedError(
                f'{owner} is not {done}: parameter "{self.name}" is spread over processes; call model.unshard() before, '
                "in all of them, and go on in one"
            )
        if tensor.is_meta:
            raise UnsupportedError(f'{owner} is not {done}: parameter "{self.name}" is on "meta" and has no values')
        return tensor.detach().to("cpu", torch.float32).contiguous()

    def write_back(self, owner: str, done: str) -> None:
        """Gives libSeam the value as it is now; raises as `value` does."""
        np.copyto(self._values, self.value(owner, done).numpy())

    def fetch(self) -> None:
        """Takes on libSeam's value."""
        with torch.no_grad():
            self.tensor.copy_(torch.from_numpy(self._values))


def _put(name: str, origin: str, put: Any, *arguments: Any) -> None:
    try:
        put(*arguments)
    except KeyError as error:
        raise PluginError(f'parameter "{name}" cannot be a parameter of a torch module: {error}', origin) from None

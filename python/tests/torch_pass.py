"""A pass of the torch engine with the face of the native one in Tests/python, called through the C table."""

from __future__ import annotations

from typing import Any

import numpy as np
import torch

from seam_abi import Array, Half, lend, received
from seam_objects import received_at
from seamkit.torch import memory
from seamkit.torch.passes import Pass
from seamkit.torch.table import TABLE


class TorchPass:
    def __init__(self, _: object = None, record_gradients: bool = True, *, record_graph: bool = False):
        self.pass_ = Pass(torch.device("cpu"), record=record_graph)
        self.table = TABLE
        self.record = record_gradients
        self._leaves: dict[int, torch.Tensor] = {}

    def op(self, name: str, *arguments: Any) -> Any:
        with torch.set_grad_enabled(self.record):
            return getattr(self.table, name)(self.pass_.handle, *arguments)

    def constant(self, values: Array | Half) -> Any:
        return self.op("from_dlpack", lend(values))

    def leaf(self, values: Array | Half) -> Any:
        assert isinstance(values, np.ndarray)
        tensor = torch.from_numpy(values.copy()).requires_grad_()
        handle = self.pass_.add(tensor)
        self._leaves[handle] = tensor
        return handle

    def tensor(self, handle: Any) -> torch.Tensor:
        return self.pass_.tensor(handle or 0)

    def numpy(self, handle: Any) -> Array:
        self.check()
        return received_at(self.op("to_dlpack", handle))

    def backward(self, result: Any, seed: Any = None) -> None:
        self.tensor(result).backward(None if seed is None else self.tensor(seed))

    def gradient(self, leaf: Any) -> Array | None:
        gradient = self._leaves[leaf].grad
        return None if gradient is None else received(memory.lent(gradient))

    def check(self) -> None:
        if failure := self.pass_.failure:
            raise failure

    def close(self) -> None:
        self.pass_.close()
        self._leaves.clear()

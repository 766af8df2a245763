#!/usr/bin/env python3
"""What the C border and the tracing of an adapter cost, beside a module of torch with the same formulas.

  python python/benchmark.py

Prints microseconds on one thread, as a table of Markdown: of rounds that alternate between both sides the least.
"""

from __future__ import annotations

import ctypes
import functools
import time
from collections.abc import Callable
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor

from seamkit.torch import Adapter, Site
from seamkit.torch.passes import Pass
from seamkit.torch.table import TABLE

SHAPES = [(1, 1, 8), (8, 64, 512), (16, 128, 768)]
EPSILON = 1e-5


class HandWritten(torch.nn.Module):
    """RepCali that starts as the identity, as Plugins/RepCali computes it."""

    def __init__(self, width: int):
        super().__init__()
        self.shift = torch.nn.Parameter(torch.zeros(1, width))
        self.gain, self.bias = torch.nn.Parameter(torch.ones(width)), torch.nn.Parameter(torch.zeros(width))

    def forward(self, hidden: Tensor, _: Tensor) -> Tensor:
        shape = hidden.shape[-1:]
        calibrated = F.layer_norm(hidden + self.shift, shape, eps=EPSILON) * self.gain
        centred = hidden - hidden.mean(-1, True)
        deviation = (centred.square().mean(-1, True) + EPSILON).sqrt()
        return hidden + deviation * (calibrated - F.layer_norm(hidden, shape, eps=EPSILON)) + self.bias


def least(mine: Callable[[], Any], plain: Callable[[], Any], rounds: int = 15) -> tuple[float, float]:
    """Microseconds of a call of each."""

    def counted(run: Callable[[], Any]) -> int:
        run()
        start = time.perf_counter()
        run()
        return max(1, int(0.05 / (time.perf_counter() - start)))

    def timed(run: Callable[[], Any], count: int) -> float:
        start = time.perf_counter()
        for _ in range(count):
            run()
        return (time.perf_counter() - start) / count * 1e6

    counts = counted(mine), counted(plain)
    found = [(timed(mine, counts[0]), timed(plain, counts[1])) for _ in range(rounds)]
    return min(each[0] for each in found), min(each[1] for each in found)


def keep_memory() -> None:
    """Freed memory stays the process's. Large results otherwise go back to the system, and the page faults of the next
    ones, which depend on what lies above them, cost more than the operations."""
    threshold, trim = -3, -1  # M_MMAP_THRESHOLD and M_TRIM_THRESHOLD of malloc.h
    for each in (threshold, trim):
        ctypes.CDLL(None).mallopt(each, 1 << 30)


def rows() -> list[tuple[str, float, float]]:
    """What, the adapter's time, the hand-written module's."""
    found = []
    for batch, length, width in SHAPES:
        adapter = Adapter("repcali", Site("bart", width, 2, 2, 4, 4, width // 4, 1024, 1024, 100))
        module = HandWritten(width)
        hidden, mask = torch.randn(batch, length, width), torch.ones(batch, length, dtype=torch.int32)

        def untraced(adapter: Adapter = adapter, hidden: Tensor = hidden, mask: Tensor = mask) -> None:
            adapter._traces.clear()
            adapter(hidden, mask)

        def stepped(one: torch.nn.Module, hidden: Tensor = hidden, mask: Tensor = mask) -> Callable[[], None]:
            return lambda: one(hidden, mask).sum().backward()

        shape = f"[{batch}, {length}, {width}]"
        with torch.no_grad():
            by_hand = functools.partial(module, hidden, mask)
            traced = functools.partial(adapter, hidden, mask)
            found.append((f"forward {shape}, traced", *least(traced, by_hand)))
            found.append((f"forward {shape}, through the plugin", *least(untraced, by_hand)))
        found.append((f"forward and backward {shape}, traced", *least(stepped(adapter), stepped(module))))
    return found


def border() -> tuple[float, float]:
    """An operation on one number through the C table, and the same call of torch."""
    pass_, x = Pass(torch.device("cpu")), torch.zeros(1)
    handle = pass_.add(x)
    with torch.no_grad():
        return least(lambda: TABLE.neg(pass_.handle, handle), lambda: torch.neg(x))


def main() -> None:
    torch.set_num_threads(1)
    keep_memory()
    print("| RepCali, microseconds | adapter | written by hand |\n|---|---:|---:|")
    for what, mine, plain in rows():
        print(f"| {what} | {mine:.1f} | {plain:.1f} |")
    through, direct = border()
    print(f"| one operation through the C table | {through:.1f} | {direct:.1f} |")


if __name__ == "__main__":
    main()

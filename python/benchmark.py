#!/usr/bin/env python3
"""What the C border and the tracing of an adapter cost, beside a module of torch with the same formulas.

  python python/benchmark.py

Prints microseconds, the least of several rounds on one thread, as a table of Markdown.
"""

from __future__ import annotations

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


def least(run: Callable[[], Any], rounds: int = 7) -> float:
    run()
    start = time.perf_counter()
    run()
    count = max(1, int(0.1 / (time.perf_counter() - start)))
    found = []
    for _ in range(rounds):
        start = time.perf_counter()
        for _ in range(count):
            run()
        found.append((time.perf_counter() - start) / count)
    return min(found) * 1e6


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
            plain = least(lambda: module(hidden, mask))
            found.append((f"forward {shape}, traced", least(lambda: adapter(hidden, mask)), plain))
            found.append((f"forward {shape}, through the plugin", least(untraced), plain))
        found.append((f"forward and backward {shape}, traced", least(stepped(adapter)), least(stepped(module))))
    return found


def border() -> tuple[float, float]:
    """An operation on one number through the C table, and the same call of torch."""
    pass_, x = Pass(torch.device("cpu")), torch.zeros(1)
    handle = pass_.add(x)
    with torch.no_grad():
        return least(lambda: TABLE.neg(pass_.handle, handle)), least(lambda: torch.neg(x))


def main() -> None:
    torch.set_num_threads(1)
    print("| RepCali, microseconds | adapter | written by hand |\n|---|---:|---:|")
    for what, mine, plain in rows():
        print(f"| {what} | {mine:.1f} | {plain:.1f} |")
    through, direct = border()
    print(f"| one operation through the C table | {through:.1f} | {direct:.1f} |")


if __name__ == "__main__":
    main()

"""How much memory repeated work leaves behind."""

from __future__ import annotations

import gc
import resource
from collections.abc import Callable
from pathlib import Path


def _resident() -> int:
    """Kilobytes of this process that are in memory now."""
    return int(Path("/proc/self/statm").read_text().split()[1]) * resource.getpagesize() // 1024


def growth(once: Callable[[], None], count: int) -> int:
    """Kilobytes by which `count` calls make the process grow. The least of three rounds: a leak is in each of them, what
    an allocator or another thread takes is not."""
    for _ in range(count // 4):
        once()
    rounds = []
    for _ in range(3):
        gc.collect()
        before = _resident()
        for _ in range(count):
            once()
        gc.collect()
        rounds.append(_resident() - before)
    return min(rounds)

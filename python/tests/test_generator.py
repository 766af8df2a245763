"""The random numbers of the torch engine against the native host's, to the last bit."""

from __future__ import annotations

import numpy as np
import pytest

from seamkit.torch import generator
from seamkit.torch.generator import Generator, initial_state


def sequential(seed: int, stream: str, count: int) -> list[float]:
    """The generator as its authors write it, one number after another."""
    mask = (1 << 64) - 1
    s = list(initial_state(seed, stream))
    found = []
    for _ in range(count):
        x = s[1] * 5 & mask
        found.append(((((x << 7 | x >> 57) & mask) * 9 & mask) >> 11) * 2.0**-53)
        t = s[1] << 17 & mask
        s[2] ^= s[0]
        s[3] ^= s[1]
        s[1] ^= s[2]
        s[0] ^= s[3]
        s[2] ^= t
        s[3] = (s[3] << 45 | s[3] >> 19) & mask
    return found


@pytest.mark.parametrize("counts", [[1], [5, 7], [4096, 3], [4097], [3, 9000, 100, 4096, 1]])
def test_lanes_give_the_sequence(counts: list[int]) -> None:
    random = Generator(11, "a name")
    found = np.concatenate([random.uniform(count) for count in counts])
    assert found.tolist() == sequential(11, "a name", sum(counts))
    assert len(generator._powers()) == 13

"""The native host's random numbers: xoshiro256** (Blackman and Vigna 2018), its state drawn from SplitMix64 by seed and
the parameter's name. The same seed gives the same initial values in both engines.

The generator is sequential, and a parameter may take millions of numbers. Its state moves by a linear map over GF(2),
so a stretch of the sequence is computed side by side: the map's power jumps to where each part begins.
"""

from __future__ import annotations

import functools
import math

import numpy as np
from numpy.typing import NDArray

_MASK = (1 << 64) - 1
# Numbers in a row of one lane; shorter sequences are not worth a jump.
_STRETCH = 1 << 12
Words = NDArray[np.uint64]
Reals = NDArray[np.float64]


def initial_state(seed: int, stream: str) -> tuple[int, int, int, int]:
    mixed = seed & _MASK
    for byte in stream.encode():
        mixed = (mixed ^ byte) * 0x100000001B3 & _MASK
    words = []
    for _ in range(4):
        mixed = (mixed + 0x9E3779B97F4A7C15) & _MASK
        z = (mixed ^ mixed >> 30) * 0xBF58476D1CE4E5B9 & _MASK
        z = (z ^ z >> 27) * 0x94D049BB133111EB & _MASK
        words.append(z ^ z >> 31)
    return words[0], words[1], words[2], words[3]


class Generator:
    """One stream of numbers."""

    def __init__(self, seed: int, stream: str):
        self._state = initial_state(seed, stream)

    def uniform(self, count: int) -> Reals:
        """The next `count` numbers in [0, 1), 53 bits each."""
        lanes = -(-count // _STRETCH)
        starts = [self._state]
        while len(starts) < lanes:
            starts.append(_jump(starts[-1]))
        length = min(count, _STRETCH)
        states = np.array(starts, np.uint64).T.copy()
        words = np.empty((length, max(lanes, 1)), np.uint64)
        for step in range(length):
            words[step] = _next(states)
        last = count - (lanes - 1) * _STRETCH
        # Where the last lane stopped short, the state goes on from there.
        self._state = _advanced(starts[-1], last) if count else self._state
        return (words.T.reshape(-1)[:count] >> np.uint64(11)).astype(np.float64) * 2.0**-53

    def normal(self, count: int) -> Reals:
        """The next `count` standard normal numbers, by Marsaglia's polar method."""
        found = np.empty(0)
        while len(found) < count:
            # About 1.27 pairs are drawn for one that lies in the circle.
            pairs = 2 * self.uniform(2 * (int((count - len(found)) * 0.66) + 16)).reshape(-1, 2) - 1
            s = (pairs * pairs).sum(1)
            inside = (s < 1) & (s > 0)
            # The C library's logarithm, whose last bit NumPy's may not share.
            logarithms = np.array([math.log(each) for each in s[inside]])
            factors = np.sqrt(-2 * logarithms / s[inside])
            found = np.concatenate([found, (pairs[inside] * factors[:, None]).reshape(-1)])
        return found[:count]


def _next(state: Words) -> Words:
    """One step of every lane [4, lanes], in place."""
    s0, s1, s2, s3 = state
    result = _rotated(s1 * np.uint64(5), 7) * np.uint64(9)
    t = s1 << np.uint64(17)
    s2 ^= s0
    s3 ^= s1
    s1 ^= s2
    s0 ^= s3
    s2 ^= t
    s3[:] = _rotated(s3, 45)
    return result


def _rotated(x: Words, count: int) -> Words:
    return (x << np.uint64(count)) | (x >> np.uint64(64 - count))


def _step(state: int) -> int:
    """The map of a state, four words as one number, without the output."""
    s0, s1, s2, s3 = (state >> 64 * index & _MASK for index in range(4))
    t = s1 << 17 & _MASK
    s2 ^= s0
    s3 ^= s1
    s1 ^= s2
    s0 ^= s3
    s2 ^= t
    s3 = (s3 << 45 | s3 >> 19) & _MASK
    return s0 | s1 << 64 | s2 << 128 | s3 << 192


@functools.cache
def _powers() -> list[list[int]]:
    """Columns of the map's powers 1, 2, 4 ... _STRETCH: images of the 256 bits."""
    powers = [[_step(1 << bit) for bit in range(256)]]
    while 1 << (len(powers) - 1) < _STRETCH:
        powers.append([_image(powers[-1], column) for column in powers[-1]])
    return powers


def _image(columns: list[int], vector: int) -> int:
    result = 0
    while vector:
        low = vector & -vector
        result ^= columns[low.bit_length() - 1]
        vector ^= low
    return result


def _advanced(state: tuple[int, int, int, int], steps: int) -> tuple[int, int, int, int]:
    vector = sum(word << 64 * index for index, word in enumerate(state))
    for exponent, columns in enumerate(_powers()):
        if steps >> exponent & 1:
            vector = _image(columns, vector)
    return vector & _MASK, vector >> 64 & _MASK, vector >> 128 & _MASK, vector >> 192


def _jump(state: tuple[int, int, int, int]) -> tuple[int, int, int, int]:
    return _advanced(state, _STRETCH)

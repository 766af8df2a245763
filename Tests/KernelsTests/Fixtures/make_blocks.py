"""Writes blocks.txt: random blocks of every quantised format, and what the Python package gguf reads from them.

    python make_blocks.py > blocks.txt

A line holds the number of the format, the bytes of one block and the bits of its f32 values, all hexadecimal.
"""

import gguf
import numpy as np
from gguf.constants import GGML_QUANT_SIZES

# Where the half-precision scales and minima of a block are.
HALVES = {
    "Q4_0": [0],
    "Q4_1": [0, 2],
    "Q5_0": [0],
    "Q5_1": [0, 2],
    "Q8_0": [0],
    "Q2_K": [80, 82],
    "Q3_K": [108],
    "Q4_K": [0, 2],
    "Q5_K": [0, 2],
    "Q6_K": [208],
}
# Ordinary, negative, smallest subnormal, subnormal, largest, zeros, infinity, NaN.
SPECIAL = [0x2E66, 0xB123, 0x0001, 0x83FF, 0x7BFF, 0xFBFF, 0x8000, 0x7C00, 0x7E00]

random = np.random.default_rng(20)
for name, places in HALVES.items():
    kind = gguf.GGMLQuantizationType[name]
    _, size = GGML_QUANT_SIZES[kind]
    specials = SPECIAL if size < 40 else SPECIAL[:6]
    for number, special in enumerate(specials):
        block = random.integers(0, 256, size, dtype=np.uint8)
        for index, place in enumerate(places):
            half = special if index == number % len(places) else int(np.float16(random.normal()).view(np.uint16))
            block[place : place + 2] = np.frombuffer(half.to_bytes(2, "little"), np.uint8)
        with np.errstate(all="ignore"):
            values = gguf.dequantize(block.reshape(1, -1), kind)
        bits = "".join(f"{v:08x}" for v in values.ravel().view(np.uint32))
        print(f"{int(kind):x} {block.tobytes().hex()} {bits}")

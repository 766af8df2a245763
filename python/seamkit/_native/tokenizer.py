"""The tokenizer of a model."""

from __future__ import annotations

import ctypes
from collections.abc import Sequence
from pathlib import Path

from seamkit._native.dlpack import integers, pointer
from seamkit._native.handles import Handle, made
from seamkit._native.library import checked, taken_string, utf8
from seamkit.texts import c_string


class Tokenizer(Handle):
    """A tokenizer from a folder with tokenizer.json or a SentencePiece model, or of a GGUF file. Calls on one must not overlap.

    Raises NotFoundError where there is none, FormatError, UnsupportedError for a kind that is not known.
    """

    _kind = "seam_tokenizer"

    def __init__(self, path: str | Path):
        super().__init__(made("seam_tokenizer_open", utf8(path)))

    def encode(self, text: str) -> list[int]:
        """The ids, special tokens included.

        Raises InvalidArgumentError for a text with U+0000, which the library would take for its end, and NotFoundError for
        a word that is no token where the vocabulary has none for unknown ones.
        """
        count, given = ctypes.c_uint64(), c_string(text)
        capacity = len(given) + 16  # more tokens than bytes come from special tokens alone
        while True:
            ids = (ctypes.c_int32 * capacity)()
            checked("seam_tokenizer_encode", self.handle, given, ids, capacity, ctypes.byref(count))
            if count.value <= capacity:
                return list(ids[: count.value])
            capacity = count.value

    def decode(self, ids: Sequence[int]) -> str:
        """The text, special tokens left out.

        ids: [n], integers. Raises InvalidArgumentError for negative ones and those beyond 32 bits, UnsupportedError for a
        text with U+0000.
        """
        text = ctypes.c_void_p()
        numbers = integers(ids, "ids", 1)
        checked(
            "seam_tokenizer_decode", self.handle, pointer(numbers, ctypes.c_int32), len(numbers), ctypes.byref(text)
        )
        return taken_string(text)

"""Sentences of the Python side: one line, as those of the core."""

from __future__ import annotations

import sys

import pytest

import seamkit
from seamkit.errors import one_line


def test_the_same_characters_as_in_the_core(runtime: seamkit.Runtime) -> None:
    """Every character up to those of writing direction, and a few beyond, as a folder that is not there."""
    for start in [*range(1, 0x2100, 64), 0x1F468, sys.maxunicode - 64]:
        text = "".join(map(chr, range(start, start + 64))).replace("/", "")
        with pytest.raises(seamkit.NotFoundError) as caught:
            runtime.open(f"/nowhere {text}")
        assert one_line(text) in caught.value.message


def test_names_of_files_that_are_no_text() -> None:
    error = seamkit.SeamError.of(1, "no \udcff\x00\n", "\x1b")
    assert str(error) == "\\u001B: no \\uDCFF\\u0000\\u000A" and "\x1b" not in repr(error)

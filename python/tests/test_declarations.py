"""The generated declarations against the headers and the committed description of the ABI."""

from __future__ import annotations

import ctypes
import re
import subprocess
import sys
from pathlib import Path

from seamkit import _declarations as c

ROOT = Path(__file__).resolve().parents[2]


def test_the_committed_file_is_what_the_headers_give() -> None:
    subprocess.run([sys.executable, ROOT / "python" / "generate_declarations.py", "--check"], check=True)


def test_layout_is_that_of_the_description() -> None:
    """Offsets and sizes come from a C compiler there."""
    struct, seen = "", 0
    for line in (ROOT / "Tests/ABI/1.0/abi.txt").read_text().splitlines():
        if found := re.fullmatch(r"struct (\w+) size (\d+)", line):
            struct = found[1]
            assert ctypes.sizeof(getattr(c, struct)) == int(found[2]), struct
        elif found := re.fullmatch(r"  (\w+) at (\d+) size (\d+): .*", line):
            member = getattr(getattr(c, struct), found[1])
            assert (member.offset, member.size) == (int(found[2]), int(found[3])), f"{struct}.{found[1]}"
            seen += 1
        elif found := re.fullmatch(r"(?:enum|constant) (?!DLPACK_FLAG)(\w+) (.*)", line):
            # The flags are expressions, and nothing here reads them.
            assert str(getattr(c, found[1])) == found[2].strip('"'), found[1]
        elif found := re.match(r"function (\w+): ", line):
            assert found[1] in c.FUNCTIONS or found[1] == "seam_plugin_entry"
    assert seen > 200

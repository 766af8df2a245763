"""Plugins in C that tests compile."""

from __future__ import annotations

import subprocess
from pathlib import Path

from documents import ROOT


def built(source: str, library: Path) -> Path:
    """The library of a plugin in Tests/Fixtures."""
    subprocess.run(
        [
            "cc",
            "-std=c11",
            "-shared",
            "-fPIC",
            "-fvisibility=hidden",
            "-I",
            ROOT / "include",
            ROOT / "Tests/Fixtures" / source,
            "-o",
            library,
            "-lm",
        ],
        check=True,
    )
    return library

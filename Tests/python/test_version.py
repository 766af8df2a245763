"""The version of the library and that of the Python package are one, and the changelog has a heading for it."""

from __future__ import annotations

import re
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]


def found(path: str, pattern: str) -> list[str]:
    return re.findall(pattern, (ROOT / path).read_text(), re.MULTILINE)


def test_the_version_is_the_same_everywhere() -> None:
    (library,) = found("Sources/Support/Version.swift", r'seamVersion.* = "(.+)"')
    assert found("python/seamkit/__init__.py", r'^__version__ = "(.+)"') == [library]
    headings = found("CHANGELOG.md", r"^## (.+)")
    # The newest is the first with a number; what stands above it is yet to be released.
    numbered = [re.findall(r"\d+\.\d+\.\d+", each) for each in headings]
    assert next(each for each in numbered if each)[0] == library, headings

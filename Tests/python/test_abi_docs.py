"""The C code that docs/plugins.md shows of the fixtures is what the fixtures have."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
SHOWN = {"low_rank_forward": "low-rank-plugin/low_rank.c", "static seam_tensor *visited": "points-backbone/points.c"}


@pytest.mark.parametrize("what", SHOWN)
def test_shown_code_is_the_code(what: str) -> None:
    blocks = re.findall(r"^```c\n(.*?)^```$", (ROOT / "docs/plugins.md").read_text(), re.DOTALL | re.MULTILINE)
    shown = [block for block in blocks if what in block]
    assert len(shown) == 1
    assert shown[0] in (ROOT / "Tests/Fixtures" / SHOWN[what]).read_text()

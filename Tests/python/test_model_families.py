"""docs/model-families.md names the families that the native engine opens, and no others."""

from __future__ import annotations

import json
import re
from pathlib import Path

import pytest

import single_stack
from seam_abi import SeamError
from seam_objects import Runtime

PAGE = Path(__file__).resolve().parents[2] / "docs" / "model-families.md"


def opened(folder: Path, plugin_folder: Path) -> list[str]:
    """The list that the plugin refuses another family with, which it makes of its table."""
    single_stack.save("bert-no-head", folder)
    config = folder / "config.json"
    config.write_text(json.dumps(json.loads(config.read_text()) | {"model_type": "unheard-of"}))
    with pytest.raises(SeamError, match="'model_type' is 'unheard-of'; expected ") as caught:
        Runtime([plugin_folder / "libTransformer.so"]).open(folder, id="transformer")
    return caught.value.message.rpartition("expected ")[2].replace(" or ", ", ").split(", ")


def test_the_page_lists_what_is_opened(tmp_path: Path, plugin_folder: Path) -> None:
    listed = re.findall(r"^\| `([^`]+)` \|", PAGE.read_text(), re.MULTILINE)
    assert listed == opened(tmp_path / "model", plugin_folder)

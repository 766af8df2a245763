"""docs/model-families.md names the families that the native engine opens, and no others, and says where adapters attach."""

from __future__ import annotations

import json
import re
from pathlib import Path

import pytest

import families_table
import single_stack
from seam_abi import SeamError
from seam_objects import Runtime

PAGE = families_table.PAGE


@pytest.fixture(scope="module")
def transformer(plugin_folder: Path) -> Runtime:
    return Runtime([plugin_folder / "libTransformer.so"])


def test_the_page_lists_what_is_opened(tmp_path: Path, transformer: Runtime) -> None:
    listed = re.findall(r"^\| `([^`]+)` \|", PAGE.read_text().partition(families_table.BEGIN)[0], re.MULTILINE)
    assert listed == families_table.opened(tmp_path / "model", transformer)


def test_the_table_is_what_opens_and_attaches() -> None:
    """Where it is not: python Tests/python/families_table.py"""
    assert families_table.parts(PAGE.read_text())[1] == families_table.table()


@pytest.mark.parametrize(
    "config, nearest",
    [
        ({"model_type": "gpt-j"}, "gpt2"),
        ({"model_type": "qwen2_moe"}, "qwen2"),
        ({"model_type": "m2m-100"}, "m2m_100"),
        ({"model_type": "zamba", "architectures": ["ZambaForCausalLM"]}, "llama"),
        ({"model_type": "zamba", "is_encoder_decoder": True}, "bart"),
        ({"model_type": "zamba"}, None),
    ],
)
def test_another_family_is_refused_with_the_nearest(
    tmp_path: Path, transformer: Runtime, config: dict[str, object], nearest: str | None
) -> None:
    single_stack.save("bert-no-head", tmp_path)
    (tmp_path / "config.json").write_text(json.dumps(config))
    with pytest.raises(SeamError, match="no loaded backbone opens this model") as caught:
        transformer.open(tmp_path)
    message = caught.value.message
    assert "; in Python seamkit.attach puts adapters on most models of transformers" in message
    assert ("the nearest is" in message) == (nearest is not None)
    assert nearest is None or f"; the nearest is {nearest})" in message

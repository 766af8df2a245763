"""Fixtures that every test shares."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch

from seam_abi import library_path
from seam_objects import Runtime

PLUGINS = (
    "DecT",
    "PrefixTuning",
    "PromptTuning",
    "ResidualPrefix",
    "Gate",
    "LinearHead",
    "LoRA",
    "Remote",
    "RepCali",
    "Transformer",
)

# The models are tiny: more threads would only wait for each other, and for those of the engine.
torch.set_num_threads(1)


@pytest.fixture(scope="session")
def plugin_folder() -> Path:
    return library_path().parent


@pytest.fixture(scope="session")
def runtime(plugin_folder: Path) -> Runtime:
    return Runtime([plugin_folder / f"lib{name}.so" for name in PLUGINS])

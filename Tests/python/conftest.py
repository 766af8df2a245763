"""Fixtures that every test shares."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch

from seam_abi import ROOT, library_path
from seam_objects import Runtime

# One in each folder.
PLUGINS = sorted(folder.name for folder in (ROOT / "Plugins").iterdir() if folder.is_dir())

# The models are tiny: more threads would only wait for each other, and for those of the engine.
torch.set_num_threads(1)


@pytest.fixture(scope="session")
def plugin_folder() -> Path:
    return library_path().parent


@pytest.fixture(scope="session")
def runtime(plugin_folder: Path) -> Runtime:
    return Runtime([plugin_folder / f"lib{name}.so" for name in PLUGINS])

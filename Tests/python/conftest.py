"""Fixtures that every test shares."""

from __future__ import annotations

from pathlib import Path

import pytest

from seam_abi import library_path
from seam_objects import Runtime


@pytest.fixture(scope="session")
def plugin_folder() -> Path:
    return library_path().parent


@pytest.fixture(scope="session")
def runtime(plugin_folder: Path) -> Runtime:
    return Runtime([plugin_folder / "libRepCali.so", plugin_folder / "libTransformer.so"])

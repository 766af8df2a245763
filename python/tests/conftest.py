"""Fixtures of the package's tests. The models and the cases of the compute table are those of Tests/python."""

from __future__ import annotations

import os
import sys
from pathlib import Path

import pytest
import torch

ROOT = Path(__file__).resolve().parents[2]
sys.path[:0] = [str(ROOT / "python"), str(ROOT / "Tests" / "python")]
# Absolute: tests change the working folder.
os.environ["SEAMKIT_LIBRARY_PATH"] = str(
    Path(os.environ.get("SEAMKIT_LIBRARY_PATH", ROOT / ".build/release")).resolve()
)
os.environ.setdefault("SEAM_LIBRARY", str(Path(os.environ["SEAMKIT_LIBRARY_PATH"]) / "libSeam.so"))

import seamkit  # noqa: E402
import seamkit.torch as engine  # noqa: E402
from plugins_in_c import built  # noqa: E402

# The models are tiny: more threads would only wait for each other, and for those of the engine.
torch.set_num_threads(1)


@pytest.fixture(scope="session")
def runtime() -> seamkit.Runtime:
    return seamkit.Runtime()


@pytest.fixture(scope="session")
def low_rank(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Tests/Fixtures/low-rank-plugin: "low-rank", "scale-input" and "steer".

    Loaded once for PyTorch, whose plugins are those of the process: a second library of the same id would be refused,
    and which files of tests share a process is chance.
    """
    library = built("low-rank-plugin/low_rank.c", tmp_path_factory.mktemp("plugin") / "libLowRank.so")
    engine.load_plugin(library)
    return library


@pytest.fixture(scope="session")
def starting(tmp_path_factory: pytest.TempPathFactory) -> seamkit.Runtime:
    """Tests/Fixtures/prepare-plugin: "mean-difference", "text-prefix" and "prefix-mean", for PyTorch and natively, on a
    runtime of its own: other tests count the methods that come with SeamKit."""
    library = built("prepare-plugin/prepare.c", tmp_path_factory.mktemp("plugin") / "libPrepare.so")
    engine.load_plugin(library)
    host = seamkit.Runtime()
    host.load_plugin(library)
    return host


@pytest.fixture(scope="session")
def real_model() -> Path:
    """The published encoder-decoder of molecules that scripts/test fetches, which fails a run that skips a test."""
    if not (folder := os.environ.get("SEAM_REAL_MODEL")):
        pytest.skip("SEAM_REAL_MODEL names no model folder")
    return Path(folder).resolve()

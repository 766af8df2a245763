"""The programs of benchmarks/ start by the commands that their pages name, without any variable set."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

BENCHMARKS = Path(__file__).resolve().parents[2] / "benchmarks"


@pytest.mark.parametrize("program", sorted(each.name for each in BENCHMARKS.glob("*.py")))
def test_it_starts(program: str, tmp_path: Path) -> None:
    """From any folder, with what it imports; what it measures is not run here."""
    variables = {name: value for name, value in os.environ.items() if name != "PYTHONPATH" and "SEAM" not in name}
    done = subprocess.run(
        [sys.executable, BENCHMARKS / program, "--help"], cwd=tmp_path, env=variables, capture_output=True, text=True
    )
    assert done.returncode == 0 and done.stdout.startswith(f"usage: {program}"), done.stderr

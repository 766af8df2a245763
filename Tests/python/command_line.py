"""The program `seam` beside the library under test."""

from __future__ import annotations

import os
import subprocess
from pathlib import Path

from seam_abi import library_path


def run(*arguments: str | Path) -> subprocess.CompletedProcess[str]:
    program = library_path().parent / "seam"
    # The plugins beside the program, whatever the caller's environment names.
    environment = {key: value for key, value in os.environ.items() if key != "SEAM_PLUGIN_PATH"}
    command = [str(program), *map(str, arguments)]
    return subprocess.run(command, capture_output=True, text=True, env=environment, timeout=60)


def seam(*arguments: str | Path) -> str:
    """What it prints; fails the test when it fails."""
    done = run(*arguments)
    assert done.returncode == 0, done.stderr
    return done.stdout

"""The program `seam` beside the library under test."""

from __future__ import annotations

import os
import signal
import subprocess
from pathlib import Path
from typing import Any

from seam_abi import library_path


def command(*arguments: str | Path) -> dict[str, Any]:
    """What it takes to start it; the plugins are those beside the program, whatever the caller's environment names."""
    return {
        "args": [str(library_path().parent / "seam"), *map(str, arguments)],
        "text": True,
        "stdin": subprocess.DEVNULL,
        "env": {key: value for key, value in os.environ.items() if key != "SEAM_PLUGIN_PATH"},
        "stdout": subprocess.PIPE,
        "stderr": subprocess.PIPE,
    }


def run(*arguments: str | Path) -> subprocess.CompletedProcess[str]:
    return subprocess.run(**command(*arguments), timeout=60)


def start(*arguments: str | Path) -> subprocess.Popen[str]:
    """Listens to SIGINT and SIGHUP, which a shell has ignored by what runs in the background or under nohup."""

    def listen() -> None:
        for each in (signal.SIGINT, signal.SIGHUP):
            signal.signal(each, signal.SIG_DFL)

    return subprocess.Popen(**command(*arguments), preexec_fn=listen)


def seam(*arguments: str | Path) -> str:
    """What it prints; fails the test when it fails."""
    done = run(*arguments)
    assert done.returncode == 0, done.stderr
    return done.stdout

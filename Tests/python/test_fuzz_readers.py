"""A small part of the mutants of fuzz_readers.py, the same on every run."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path


def test_mutated_files_give_sentences() -> None:
    """In a process of its own, which forks."""
    script = Path(__file__).with_name("fuzz_readers.py")
    done = subprocess.run(
        [sys.executable, script, "--mutants", "1500", "--seed", "1"], capture_output=True, text=True, timeout=1200
    )
    assert done.returncode == 0, done.stdout + done.stderr
    assert done.stdout.rstrip().endswith(" mutants, 0 findings")

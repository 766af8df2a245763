"""The programs of benchmarks/ start by the commands that their pages name, without any variable set."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

BENCHMARKS = Path(__file__).resolve().parents[2] / "benchmarks"
PROGRAMS = sorted(each.name for each in BENCHMARKS.glob("*.py"))
# Each program runs in a copy of a process that has the libraries, which take seconds to import, as a script would.
STARTER = """
import json, os, runpy, sys
import peft, torch, transformers

folder, *programs = sys.argv[1:]
codes = {}
for program in programs:
    if os.fork() == 0:
        for number, stream in enumerate(("out", "err"), start=1):
            os.dup2(os.open(f"{program}.{stream}", os.O_WRONLY | os.O_CREAT, 0o600), number)
        sys.argv = [os.path.join(folder, program), "--help"]
        sys.path[0] = folder
        runpy.run_path(sys.argv[0], run_name="__main__")
        sys.exit()
    codes[program] = os.waitstatus_to_exitcode(os.wait()[1])
print(json.dumps(codes))
"""


@pytest.fixture(scope="module")
def started(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, dict[str, int]]:
    """Where the programs' outputs are, and their exit codes."""
    folder = tmp_path_factory.mktemp("started")
    variables = {name: value for name, value in os.environ.items() if name != "PYTHONPATH" and "SEAM" not in name}
    done = subprocess.run(
        [sys.executable, "-c", STARTER, BENCHMARKS, *PROGRAMS],
        cwd=folder,
        env=variables,
        capture_output=True,
        text=True,
    )
    assert done.returncode == 0, done.stderr
    return folder, json.loads(done.stdout)


@pytest.mark.parametrize("program", PROGRAMS)
def test_it_starts(program: str, started: tuple[Path, dict[str, int]]) -> None:
    """From any folder, with what it imports; what it measures is not run here."""
    folder, codes = started
    errors = (folder / f"{program}.err").read_text()
    assert codes[program] == 0 and (folder / f"{program}.out").read_text().startswith(f"usage: {program}"), errors

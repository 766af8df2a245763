"""What becomes of a run that a signal stops while it scores, and of what killed ones left."""

from __future__ import annotations

import fcntl
import os
import signal
from pathlib import Path

import pytest

from command_line import seam, start
from test_output import LIMIT, contents, good, training, until  # noqa: F401


def test_old_leftovers_of_a_number_that_lives_are_cleaned(good: Path, tmp_path: Path) -> None:
    """As in containers, where every process has the number 1; not what its writer has locked."""
    for name in ("left", "held"):
        (tmp_path / f".checkpoint.tmp-1-{name}").mkdir()
        os.utime(tmp_path / f".checkpoint.tmp-1-{name}", (0, 0))
    held = os.open(tmp_path / ".checkpoint.tmp-1-held", os.O_RDONLY)
    fcntl.flock(held, fcntl.LOCK_EX)
    try:
        seam(*training(good, tmp_path))
    finally:
        os.close(held)
    assert [each.name for each in tmp_path.iterdir() if each.name.startswith(".")] == [".checkpoint.tmp-1-held"]


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM], ids=lambda each: each.name)
def test_a_signal_within_a_scoring_leaves_a_checkpoint(good: Path, tmp_path: Path, number: signal.Signals) -> None:
    """The run that goes on scores what was left, and ends as one that was not stopped."""
    data, output = tmp_path / "many.jsonl", tmp_path / "run"
    data.write_text((good / "pairs.jsonl").read_text() * 4000)
    few = ["--dev", str(good / "pairs.jsonl"), "--eval-every", "2"]
    program = start(*training(good, output, "--dev", str(data), "--eval-every", "2"))
    log = output / "log.jsonl"
    until(lambda: log.exists() and len(log.read_text().splitlines()) == 2, program)
    program.send_signal(number)
    _, stderr = program.communicate(timeout=LIMIT)
    assert program.returncode == 128 + number, stderr
    assert "stopped after 2 of 4 steps" in stderr and len(log.read_text().splitlines()) == 2
    seam(*training(good, output, "--resume", *few))
    seam(*training(good, tmp_path / "whole", *few))
    assert contents(output) == contents(tmp_path / "whole")

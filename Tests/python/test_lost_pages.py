"""A model's file that another program shortens while it is mapped."""

from __future__ import annotations

import fcntl
import os
import signal
import subprocess
import termios
import time
from pathlib import Path

from command_line import command
from tiny_models import add_tokenizer, save


def unread(pipe: int) -> int:
    return int.from_bytes(fcntl.ioctl(pipe, termios.FIONREAD, bytes(4)), "little")


def test_the_program_says_which_file_became_shorter(tmp_path: Path) -> None:
    """It ends by the signal all the same. The name of the folder steers no terminal."""
    folder = save("marian", tmp_path / "mo\x1bdel")
    add_tokenizer(folder)
    process = subprocess.Popen(
        **{**command("generate", "--model", folder, "--max-new-tokens", "2"), "stdin": subprocess.PIPE}
    )
    assert process.stdin is not None
    process.stdin.write("w5 w6\n")
    process.stdin.flush()
    # Texts are read when the model is open.
    while unread(process.stdin.fileno()) and process.poll() is None:
        time.sleep(0.01)
    os.truncate(folder / "model.safetensors", 0)
    _, errors = process.communicate("w7\n", timeout=60)
    assert process.returncode == -signal.SIGBUS
    name = str(folder / "model.safetensors").replace("\x1b", "\\u001B")
    assert errors == f'Error: "{name}" became shorter while it was in use, so that a part of it is gone\n'

"""Where files and folders go: --predictions never over what is read, and into what cannot be replaced."""

from __future__ import annotations

import os
import shutil
import signal
import subprocess
import time
from pathlib import Path

import pytest

from command_line import command, seam, start
from test_output import LIMIT, contents, evaluation, good, refusal, training, until  # noqa: F401


def test_over_an_input(good: Path, tmp_path: Path) -> None:
    for name in ("model", "pairs.jsonl"):
        (shutil.copytree if (good / name).is_dir() else shutil.copy)(good / name, tmp_path / name)
    seam(*training(tmp_path, tmp_path / "run"))
    os.link(tmp_path / "pairs.jsonl", tmp_path / "same.jsonl")
    (tmp_path / "link.jsonl").symlink_to("pairs.jsonl")
    before = contents(tmp_path)
    for name in (
        "pairs.jsonl",
        "same.jsonl",
        "link.jsonl",
        "model/config.json",
        "run/adapter/adapter_model.safetensors",
    ):
        assert "is read by this command" in refusal(
            *evaluation(tmp_path, tmp_path / name, "--adapter", tmp_path / "run" / "adapter")
        )
    assert contents(tmp_path) == before


def test_into_a_file_with_two_names(good: Path, tmp_path: Path) -> None:
    (tmp_path / "one").write_text("old\n" * 1000)
    os.link(tmp_path / "one", tmp_path / "two")
    seam(*evaluation(good, tmp_path / "one"))
    assert os.path.samefile(tmp_path / "one", tmp_path / "two")
    assert len((tmp_path / "two").read_text().splitlines()) == 12


@pytest.mark.parametrize("folder", ["/dev/fd", "/proc/self/fd"])
def test_into_an_open_descriptor(good: Path, tmp_path: Path, folder: str) -> None:
    with open(tmp_path / "out", "w") as file:
        file.write("before\n")
        file.flush()
        subprocess.run(**command(*evaluation(good, f"{folder}/{file.fileno()}")), pass_fds=[file.fileno()], check=True)
    lines = (tmp_path / "out").read_text().splitlines()
    assert lines[0] == "before" and len(lines) == 13
    assert "cannot write" in refusal(*evaluation(good, f"{folder}/99"))


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM], ids=lambda each: each.name)
def test_a_signal_ends_the_wait_for_a_reader(good: Path, tmp_path: Path, number: signal.Signals) -> None:
    os.mkfifo(tmp_path / "pipe")
    program = start(*evaluation(good, tmp_path / "pipe"))
    until(lambda: b"12/12" in os.read(program.stderr.fileno(), 1000), program)  # type: ignore[union-attr]
    time.sleep(0.2)
    program.send_signal(number)
    program.communicate(timeout=LIMIT)
    assert program.returncode == 128 + number


def test_a_dot_at_the_end_of_a_new_folder(good: Path, tmp_path: Path) -> None:
    model = ["--model", good / "llama"]
    seam(
        "train",
        *model,
        "--train",
        good / "pairs.jsonl",
        "--adapter",
        "prefix-tuning",
        "--option",
        "prefix_length=2",
        "--steps",
        "1",
        "--output",
        tmp_path / "run",
    )
    seam(
        "export", *model, "--adapter", tmp_path / "run" / "adapter", "--format", "peft", "--output", f"{tmp_path}/new/."
    )
    assert "adapter_config.json" in {each.name for each in (tmp_path / "new").iterdir()}


def test_an_argument_that_is_not_utf8(good: Path, tmp_path: Path) -> None:
    arguments = command(*evaluation(good, tmp_path / "out"))
    arguments["args"][-1] = os.fsencode(tmp_path) + b"/bad\xff"
    done = subprocess.run(**arguments)
    assert done.returncode == 1 and "must be UTF-8" in done.stderr and done.stderr.count("\n") == 1
    assert list(tmp_path.iterdir()) == []

"""What saving does with what is there: links are followed, what is somebody else's stays, what killed writers left goes."""

from __future__ import annotations

import fcntl
import os
import subprocess
from pathlib import Path

import pytest

import seamkit
from seamkit import torch as engine
from test_onnx import SITE


@pytest.fixture
def adapter() -> engine.Adapter:
    return engine.Adapter("repcali", SITE)


NAMES = ["README.md", "adapter_config.json", "adapter_model.safetensors"]


def names(folder: Path) -> list[str]:
    return sorted(each.name for each in folder.iterdir())


def test_an_adapter_is_replaced_and_what_is_beside_it_is_not(adapter: engine.Adapter, tmp_path: Path) -> None:
    """As save_pretrained, which leaves what it did not write: a repository's history, an optimiser's state."""
    adapter.save(tmp_path / "adapter")
    adapter.save(tmp_path / "adapter")
    assert names(tmp_path / "adapter") == NAMES
    for name in (".git", "optimizer.pt", "1-notes"):
        (tmp_path / "adapter" / name).mkdir()
        (tmp_path / "adapter" / name / "file").write_text("mine")
        with pytest.raises(seamkit.AlreadyExistsError, match=rf"it holds other files \({name}\)"):
            adapter.save(tmp_path / "adapter")
        assert (tmp_path / "adapter" / name / "file").read_text() == "mine"
        (tmp_path / "adapter" / name / "file").unlink()
        (tmp_path / "adapter" / name).rmdir()
    adapter.save(tmp_path / "adapter")


def test_a_folder_that_looks_like_one_of_several_adapters_stays(adapter: engine.Adapter, tmp_path: Path) -> None:
    """Only what the list names is replaced, and only where nothing else lies in it."""
    notes = tmp_path / "adapter/2024-notes"
    adapter.save(tmp_path / "adapter")
    notes.mkdir()
    (notes / "adapter_config.json").write_text("{}")
    with pytest.raises(seamkit.AlreadyExistsError, match=r"it holds other files \(2024-notes\)"):
        adapter.save(tmp_path / "adapter")
    assert (notes / "adapter_config.json").read_text() == "{}"


@pytest.mark.parametrize("exists", [True, False])
def test_links_stay(adapter: engine.Adapter, tmp_path: Path, exists: bool) -> None:
    (tmp_path / "link").symlink_to("real")
    (tmp_path / "link.onnx").symlink_to("real.onnx")
    if exists:
        adapter.save(tmp_path / "real")
        adapter.export_onnx(tmp_path / "real.onnx")
    adapter.save(tmp_path / "link")
    adapter.export_onnx(tmp_path / "link.onnx")
    assert names(tmp_path) == ["link", "link.onnx", "real", "real.onnx"]
    assert (tmp_path / "link").is_symlink() and (tmp_path / "link.onnx").is_symlink()
    assert names(tmp_path / "real") == NAMES and not (tmp_path / "real.onnx").is_symlink()


def test_pipes_and_devices_stay(adapter: engine.Adapter, tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "pipe")
    for path in (tmp_path / "pipe", Path("/dev/null")):
        with pytest.raises(seamkit.AlreadyExistsError, match="a pipe or a device is there"):
            adapter.export_onnx(path)
        with pytest.raises(seamkit.AlreadyExistsError, match="a file is there"):
            adapter.save(path)
    assert (tmp_path / "pipe").is_fifo() and Path("/dev/null").is_char_device()


def test_what_killed_writers_left_goes(adapter: engine.Adapter, tmp_path: Path) -> None:
    """But nothing of a process that lives, by its number or by its lock, and nothing of another name."""
    dead = subprocess.Popen(["true"])
    dead.wait()
    kept = [f".a.tmp-{os.getpid()}-x1", f".b.tmp-{dead.pid}-x2", f".a.tmp-{dead.pid}-held"]
    for name in [*kept, f".a.tmp-{dead.pid}-x_3"]:
        (tmp_path / name).mkdir()
        (tmp_path / name / "file").write_text("x")
    (tmp_path / f".a.onnx.tmp-{dead.pid}-x4").write_text("x")
    held = os.open(tmp_path / kept[2], os.O_RDONLY)
    fcntl.flock(held, fcntl.LOCK_EX)
    try:
        adapter.save(tmp_path / "a")
        adapter.export_onnx(tmp_path / "a.onnx")
    finally:
        os.close(held)
    assert names(tmp_path) == sorted([*kept, "a", "a.onnx"])

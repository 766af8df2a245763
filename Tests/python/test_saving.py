"""A trained backbone saved as a Hugging Face folder: transformers reads it and computes what the session computed."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
import torch
from safetensors.torch import load_file, save_file

from seam_abi import SeamError, constant
from seam_objects import Backbone, Runtime
from tiny_models import VARIANTS, reference, save, tokens

TOLERANCE = 1e-5


def trained(runtime: Runtime, path: Path) -> Backbone:
    backbone = runtime.open(path)
    session = backbone.session()
    session.begin_training(train_backbone=1, backbone_learning_rate=0.01)
    first, last = [session.train_step(tokens(1).batch).loss for _ in range(4)][::3]
    session.end_training()
    assert last < first
    return backbone


def assert_same_logits(backbone: Backbone, path: Path) -> None:
    given = tokens(2)
    with torch.no_grad():
        expected = reference(path)(**given.inputs).logits.numpy()
    found = backbone.session().forward(given.batch)
    assert np.abs(found - expected).max() <= TOLERANCE * np.abs(expected).max()


@pytest.mark.parametrize("name", VARIANTS)
def test_trained_weights(runtime: Runtime, tmp_path: Path, name: str) -> None:
    source = save(name, tmp_path / "source")
    backbone = trained(runtime, source)
    backbone.save(tmp_path / "saved")
    before, after = load_file(source / "model.safetensors"), load_file(tmp_path / "saved/model.safetensors")
    assert before.keys() == after.keys()
    assert any(not torch.equal(before[each], after[each]) for each in before)
    assert json.loads((source / "config.json").read_text()) == json.loads((tmp_path / "saved/config.json").read_text())
    assert_same_logits(backbone, tmp_path / "saved")
    again = runtime.open(tmp_path / "saved")
    given = tokens(2).batch
    assert np.array_equal(again.session().forward(given), backbone.session().forward(given))


def test_half_precision_is_saved_as_it_is_unless_trained(runtime: Runtime, tmp_path: Path) -> None:
    source = save("marian", tmp_path / "source", dtype=torch.bfloat16)
    runtime.open(source).save(tmp_path / "untouched")
    before, untouched = load_file(source / "model.safetensors"), load_file(tmp_path / "untouched/model.safetensors")
    assert all(
        before[each].dtype == untouched[each].dtype and torch.equal(before[each], untouched[each]) for each in before
    )
    backbone = trained(runtime, source)
    backbone.save(tmp_path / "trained")
    after = load_file(tmp_path / "trained/model.safetensors")
    assert {torch.float32} <= {each.dtype for each in after.values()}
    assert_same_logits(backbone, tmp_path / "trained")


def test_a_tied_weight_stored_twice_is_not_left_behind(runtime: Runtime, tmp_path: Path) -> None:
    source = save("t5-1.0", tmp_path / "source")
    file = source / "model.safetensors"
    weights = load_file(file)
    save_file(weights | {"encoder.embed_tokens.weight": weights["shared.weight"].clone()}, file, {"format": "pt"})
    trained(runtime, source).save(tmp_path / "saved")
    after = load_file(tmp_path / "saved/model.safetensors")
    assert torch.equal(after["encoder.embed_tokens.weight"], after["shared.weight"])
    assert not torch.equal(after["shared.weight"], weights["shared.weight"])


def test_saving_replaces_a_folder_and_nothing_else(runtime: Runtime, tmp_path: Path) -> None:
    source = save("marian", tmp_path / "source")
    (source / "tokenizer.json").write_text("{}")
    (source / "notes.bin").write_bytes(b"x")
    backbone = trained(runtime, source)
    for _ in range(2):
        backbone.save(tmp_path / "saved")
    names = {each.name for each in (tmp_path / "saved").iterdir()}
    assert "tokenizer.json" in names and "notes.bin" not in names and not any("tmp" in each for each in names)
    with pytest.raises(SeamError, match="it holds other files \\(notes.bin\\)"):
        backbone.save(source)
    assert (source / "notes.bin").read_bytes() == b"x"
    # Another program wrote it.
    (source / "notes.bin").unlink()
    with pytest.raises(SeamError, match="a model that SeamKit did not write"):
        backbone.save(source)
    # Over its own source: the mapped weights stay readable.
    again = trained(runtime, tmp_path / "saved")
    again.save(tmp_path / "saved")
    assert_same_logits(again, tmp_path / "saved")
    foreign = tmp_path / "foreign"
    foreign.mkdir()
    (foreign / "letter.txt").write_text("keep me")
    with pytest.raises(SeamError, match="letter.txt") as caught:
        backbone.save(foreign)
    assert caught.value.code == constant("SEAM_ALREADY_EXISTS")
    assert (foreign / "letter.txt").read_text() == "keep me"


def test_an_adapter_trained_with_its_backbone(runtime: Runtime, tmp_path: Path) -> None:
    """Both are saved, and together give the trained outputs."""
    source = save("bart", tmp_path / "source")
    backbone = runtime.open(source)
    adapter = backbone.adapter("repcali", frozen=False, seed=4)
    assert adapter.options["initialization"] == "paper"
    session = backbone.session(adapter)
    session.begin_training(train_backbone=1, learning_rate=0.01)
    first, last = [session.train_step(tokens(1).batch).loss for _ in range(6)][::5]
    session.end_training()
    assert last < first
    backbone.save(tmp_path / "backbone")
    adapter.save(tmp_path / "adapter", notes="- data: random tokens")
    assert json.loads((tmp_path / "adapter/adapter_config.json").read_text())["backbone"]["trained"] is True
    expected = session.forward(tokens(2).batch)
    again = runtime.open(tmp_path / "backbone")
    loaded = again.load(tmp_path / "adapter")
    assert loaded.options == adapter.options
    assert np.array_equal(again.session(loaded).forward(tokens(2).batch), expected)

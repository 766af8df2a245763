"""Decoders of today: adapters inside their layers that were made in PyTorch give the same natively."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch

import seamkit
from layer_models import all_targets, assert_close, disturb
from single_stack import DECODERS, padded, save


@pytest.mark.parametrize("name", ["qwen3", "gemma2", "gemma3", "phi3", "olmo2", "gpt-neox", "opt"])
def test_an_adapter_is_the_same_natively(runtime: seamkit.Runtime, tmp_path: Path, name: str) -> None:
    folder = save(name, tmp_path / "model")
    model = type(DECODERS[name]()).from_pretrained(folder, dtype=torch.float32, attn_implementation="eager").eval()
    ids, mask = padded(1, False)
    given = {"input_ids": torch.from_numpy(ids).long(), "attention_mask": torch.from_numpy(mask).long()}
    plain = model(**given).logits
    backbone, targets = runtime.open(folder), all_targets(model)
    assert set(targets) == {each.name for each in backbone.info.points if each.name}
    # Without targets, too: queries and values, or the matrix that they are part of.
    made = [seamkit.attach(model, "lora", r=3, targets=targets), seamkit.attach(model, "lora", r=2)]
    disturb(made)
    logits = model(**given).logits
    assert (logits - plain).abs().max() > 0.01 * plain.abs().max()
    for index, each in enumerate(made):
        each.save(tmp_path / str(index))
    session = backbone.session(*[backbone.load(tmp_path / str(index)) for index in range(len(made))])
    assert_close(logits, session.forward(seamkit.Batch(ids, mask)), mask)

"""(IA)^3 on both engines, against PEFT."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import peft
import pytest
import torch

import seamkit
from layer_models import Training, assert_close, opened, places
from prefix_reference import save

# PEFT's choice of targets for each type of model, by our names, and those of them whose input is scaled.
TARGETS = {
    "t5": ("k v cross_k cross_v down", "down"),
    "mt5": ("k v cross_k cross_v up", ""),
    "bart": ("q v cross_q cross_v down", "down"),
    "bert": ("k v o down", "o,down"),
    "roberta": ("k v o down", "o,down"),
    "gpt2": ("qkv down", "down"),
    "llama": ("k v down", "down"),
    "mistral": ("k v down", "down"),
    "qwen2": ("q v down", "down"),
}


def theirs(name: str, folder: Path) -> Any:
    config = peft.IA3Config(fan_in_fan_out=name == "gpt2")
    return peft.get_peft_model(opened(name, folder), config).eval()


@pytest.mark.parametrize("name", TARGETS)
def test_it_is_that_of_peft(runtime: seamkit.Runtime, tmp_path: Path, name: str) -> None:
    """The same start, losses of 20 steps and logits; then merged."""
    folder, training = save(name, tmp_path / "model"), Training(name)
    expected = theirs(name, folder)
    targets, before = TARGETS[name]
    options = {"targets": targets.split(), "feedforward_targets": before}
    factors = [each for each in expected.parameters() if each.requires_grad]
    assert all((each == 1).all() for each in factors)
    losses = training.torch(expected)
    logits = expected(**training.given).logits.detach()
    adapter, session = training.compare(runtime, folder, tmp_path, (losses, logits), "ia3", options)
    mine = list(adapter.state_dict().values())
    assert sorted(tuple(each.shape) for each in mine) == sorted(tuple(each.shape) for each in factors)
    [native] = session.adapters
    session.merge(native)
    assert_close(logits, session.forward(training.batch), places(name, training.batch))


def test_the_start(runtime: seamkit.Runtime, tmp_path: Path) -> None:
    """Keys, values and the feed-forward's activation, which nothing changes at first."""
    folder, training = save("t5", tmp_path / "model"), Training("t5")
    model = opened("t5", folder)
    with torch.no_grad():
        plain = model(**training.given).logits
        adapter = seamkit.attach(model, "ia3")
        assert torch.equal(model(**training.given).logits, plain)
    assert {each.split(".")[2] for each in adapter.state_dict()} == {"k", "v", "cross_k", "cross_v", "down"}
    assert all((each == 1).all() for each in adapter.state_dict().values())
    native = runtime.open(folder).adapter("ia3")
    assert list(native.parameters) == list(adapter.state_dict())


@pytest.mark.parametrize("targets", ["up", "down,k", " k"])
def test_names_that_are_no_targets(runtime: seamkit.Runtime, tmp_path: Path, targets: str) -> None:
    folder = save("t5", tmp_path / "model")
    options = {"targets": ["k", "v"], "feedforward_targets": targets}
    with pytest.raises(seamkit.SeamError, match="must name targets of this adapter") as native:
        runtime.open(folder).adapter("ia3", options)
    with pytest.raises(seamkit.SeamError) as torches:
        seamkit.attach(opened("t5", folder), "ia3", **options)
    assert str(torches.value) == str(native.value)

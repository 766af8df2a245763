"""Bias terms on both engines, against PyTorch."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch

import seamkit
from layer_models import Training, assert_close, opened, places, reference
from prefix_reference import save


@pytest.mark.parametrize("name", ["bart", "bert", "gpt2", "llama", "t5"])
def test_it_is_a_bias(runtime: seamkit.Runtime, tmp_path: Path, name: str) -> None:
    folder, training = save(name, tmp_path / "model"), Training(name)
    expected, start = reference(training, folder, "bias", {}, lambda y, own: y + own["bias"])
    assert all((each == 0).all() for each in start.values())
    adapter, session = training.compare(runtime, folder, tmp_path, expected, "bias", {})
    assert len(adapter.state_dict()) == len(adapter.points)
    [native] = session.adapters
    if name in ("llama", "t5"):
        with pytest.raises(seamkit.UnsupportedError, match="of layer 0 has no bias that this one could be added to"):
            session.merge(native)
        return
    session.merge(native)
    assert_close(expected[1], session.forward(training.batch), places(name, training.batch))


def test_merged_it_is_the_models_own(runtime: seamkit.Runtime, tmp_path: Path) -> None:
    """The model with the sums of both as its biases gives the same."""
    folder, training = save("bart", tmp_path / "model"), Training("bart")
    model = opened("bart", folder)
    adapter = seamkit.attach(model, "bias", targets=["q", "up"])
    with torch.no_grad():
        for each in adapter.parameters():
            each.normal_(generator=torch.Generator().manual_seed(1))
    found, learned = model(**training.given).logits, dict(adapter.state_dict())
    seamkit.detach(model)
    parts = {"q": "self_attn.q_proj", "up": "fc1"}
    with torch.no_grad():
        for name, value in learned.items():
            stack, layer, target, _ = name.split(".")
            model.get_submodule(f"model.{stack}.layers.{layer}.{parts[target]}").bias += value
    assert_close(found, model(**training.given).logits.detach().numpy())

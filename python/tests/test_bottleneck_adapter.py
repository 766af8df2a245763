"""Adapters with a bottleneck on both engines, against PyTorch."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch.nn import functional

import seamkit
from layer_models import Training, assert_close, disturb, inputs, opened, reference
from prefix_reference import save

ACTIVATIONS = {
    "relu": torch.relu,
    "gelu": functional.gelu,
    "gelu_new": lambda x: functional.gelu(x, approximate="tanh"),
    "silu": functional.silu,
    "tanh": torch.tanh,
    "sigmoid": torch.sigmoid,
}


def bottleneck(activation: str = "relu", scaling: float = 1) -> Any:
    def method(h: torch.Tensor, own: dict[str, torch.Tensor]) -> torch.Tensor:
        narrow = functional.linear(h, own["adapter_down/0/weight"], own["adapter_down/0/bias"])
        wide = functional.linear(ACTIVATIONS[activation](narrow), own["adapter_up/weight"], own["adapter_up/bias"])
        return h + scaling * wide

    return method


@pytest.mark.parametrize(
    "name, options",
    [
        ("t5", {"bottleneck_size": 3}),
        ("bert", {"reduction_factor": 4, "init_weights": "bert", "non_linearity": "gelu"}),
        ("gpt2", {"seam": "projection", "reduction_factor": 2.5, "non_linearity": "silu", "scaling": 4.0}),
        ("bart", {"seam": "projection", "bottleneck_size": 2, "non_linearity": "tanh"}),
        ("llama", {"bottleneck_size": 40, "layers": [1], "non_linearity": "gelu_new"}),
    ],
)
def test_it_trains_like_torch(runtime: seamkit.Runtime, tmp_path: Path, name: str, options: dict[str, Any]) -> None:
    folder, training = save(name, tmp_path / "model"), Training(name)
    method = bottleneck(options.get("non_linearity", "relu"), options.get("scaling", 1))
    expected, start = reference(training, folder, "bottleneck-adapter", options, method)
    starts_as_zeros = options.get("init_weights") != "bert"
    for key, value in start.items():
        if key.endswith("bias") or key.endswith("up.weight") and starts_as_zeros:
            assert (value == 0).all()
        else:
            assert (value != 0).any()
    adapter, session = training.compare(runtime, folder, tmp_path, expected, "bottleneck-adapter", options, start)
    if options.get("seam") == "projection":
        assert {each.name for each in adapter.points} == {"o", "down"} | ({"cross_o"} if name == "bart" else set())
    [native] = session.adapters
    with pytest.raises(seamkit.UnsupportedError, match="bottleneck-adapter"):
        session.merge(native)


@pytest.mark.parametrize("activation", ACTIVATIONS)
def test_on_the_encoders_output(runtime: seamkit.Runtime, tmp_path: Path, activation: str) -> None:
    folder, (batch, given) = save("t5", tmp_path / "model"), inputs("t5")
    options = {"seam": "encoder.output", "bottleneck_size": 5, "non_linearity": activation, "scaling": 0.5}
    model = opened("t5", folder)
    plain = model.get_encoder()(given["input_ids"], given["attention_mask"]).last_hidden_state
    adapter = seamkit.attach(model, "bottleneck-adapter", **options)
    disturb([adapter])
    own = {key.replace(".", "/"): value for key, value in adapter.state_dict().items()}
    expected = bottleneck(activation, 0.5)(plain, own).detach()
    logits = model(**given).logits
    adapter.save(tmp_path / "adapter")
    session = runtime.open(folder).session()
    session.load(tmp_path / "adapter")
    real = batch.attention_mask == 1
    assert np.abs(session.encode(batch) - expected.numpy())[real].max() <= 1e-5 * expected.abs().max()
    assert_close(logits, session.forward(batch))


@pytest.mark.parametrize("factor, size", [(16, 1), (7, 3), (0.5, 48), (100, 1)])
def test_sizes(runtime: seamkit.Runtime, tmp_path: Path, factor: float, size: int) -> None:
    """Of a width of 24, as the library adapters rounds it."""
    backbone = runtime.open(save("bart", tmp_path / "model"))
    width = backbone.info.d_model
    assert width == 24
    adapter = backbone.adapter("bottleneck-adapter", {"reduction_factor": factor, "layers": [0]})
    assert adapter.parameters["encoder.0.adapter_down.0.weight"].shape == (size, width)
    assert adapter.parameters["decoder.0.adapter_up.weight"].shape == (width, size)

"""Adapters on Whisper, natively and in PyTorch: the same scores, and the same losses over a training from features."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

import seamkit
from layer_models import disturb
from whisper_models import FRAMES, features, inputs, labels, reference, save

# The encoder's output, matrices, layers, and prefixes of all attentions.
METHODS: dict[str, tuple[str, dict[str, Any]]] = {
    "repcali": ("repcali", {}),
    "lora": ("lora", {"r": 2, "targets": ["q", "v", "cross_q", "cross_v"]}),
    "lora on all": ("lora", {"r": 2, "targets": ["k", "o", "cross_k", "cross_o", "up", "down"]}),
    "ia3": ("ia3", {}),
    "layers": ("bottleneck-adapter", {"bottleneck_size": 4}),
    "vectors before the decoder's text": ("prompt-tuning", {"prompt_length": 2, "stack": "decoder", "deviation": 0.5}),
    "prefixes": ("prefix-tuning", {"prefix_length": 3}),
}
STEPS = 10
# Epsilon is large enough for the rounding noise of vanishing gradients not to be blown up to whole steps.
SETTINGS = {"learning_rate": 1e-2, "epsilon": 1e-4, "weight_decay": 0.01}


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return save(tmp_path_factory.mktemp("whisper"), seed=1)


def loss_in_torch(model: Any, given: dict[str, torch.Tensor], target: Any) -> torch.Tensor:
    logits = model(**given).logits
    return torch.nn.functional.cross_entropy(logits.flatten(0, 1), torch.from_numpy(target).long().flatten())


@pytest.mark.parametrize("name", METHODS)
def test_both_engines_train_the_same(runtime: seamkit.Runtime, folder: Path, tmp_path: Path, name: str) -> None:
    id, options = METHODS[name]
    frames, target = features(3), labels(3)
    batch, given = seamkit.Batch(input_features=frames, labels=target), inputs(frames, target)
    model, backbone = reference(folder), runtime.open(folder)
    plain = model(**given).logits
    adapter = seamkit.attach(model, id, random_seed=3, **options)
    disturb([adapter])
    adapter.save(tmp_path / "start")
    session = backbone.session(backbone.load(tmp_path / "start"))
    wanted = model(**given).logits
    found = session.forward(batch)
    assert (wanted - plain).abs().max() > 1e-2 * plain.abs().max()
    assert np.abs(found - wanted.detach().numpy()).max() <= 1e-5 * wanted.abs().max()

    optimizer = torch.optim.AdamW(
        adapter.parameters(), lr=SETTINGS["learning_rate"], eps=SETTINGS["epsilon"], weight_decay=0.01
    )
    session.begin_training(max_grad_norm=0, **SETTINGS)
    losses, expected = [], []
    for _ in range(STEPS):
        losses.append(session.train_step(batch).loss)
        optimizer.zero_grad()
        loss = loss_in_torch(model, given, target)
        loss.backward()
        optimizer.step()
        expected.append(loss.item())
    session.end_training()
    assert losses == pytest.approx(expected, rel=1e-5)
    assert losses[-1] < losses[0]


def test_adapters_are_generated_with(runtime: seamkit.Runtime, folder: Path, tmp_path: Path) -> None:
    """What the model writes with an adapter in each half of it is what transformers writes with them."""
    frames, model, backbone = features(5), reference(folder), runtime.open(folder)
    own = [seamkit.attach(model, id, random_seed=3, **options) for id, options in (METHODS["repcali"], METHODS["lora"])]
    disturb(own)
    seamkit.save(model, tmp_path / "adapters")
    session = backbone.session()
    before = session.generate(seamkit.Batch(input_features=frames))
    session.load(tmp_path / "adapters")
    found = session.generate(seamkit.Batch(input_features=frames))
    assert [row[0].tokens for row in found] != [row[0].tokens for row in before]
    with torch.no_grad():
        expected = model.generate(torch.from_numpy(frames).transpose(1, 2), force_unique_generate_call=True)
    for [row], tokens in zip(found, expected[:, 1:].tolist(), strict=True):
        assert row.tokens == tokens[: len(row.tokens)]


def test_a_masked_source_trains_as_alone(runtime: seamkit.Runtime, folder: Path) -> None:
    """A loss of a source that is shorter than its batch is that of the source without its padding."""
    frames, target, backbone = features(6), labels(6), runtime.open(folder)
    mask = (np.arange(FRAMES) < 9).astype(np.int32)[None]
    found = []
    for batch in (
        seamkit.Batch(input_features=frames[:1], attention_mask=mask, labels=target[:1]),
        seamkit.Batch(input_features=frames[:1, :9], labels=target[:1]),
    ):
        session = backbone.session()
        session.add("repcali", seed=2)
        session.begin_training(learning_rate=1e-2)
        found.append([session.train_step(batch).loss for _ in range(3)])
        session.end_training()
    assert found[0] == pytest.approx(found[1], rel=1e-5)
    assert found[0][-1] < found[0][0]

"""Adapters on every kind of device that this machine has, against the native engine, which computes on the CPU.

There is a test for CUDA only where there is CUDA: the names of the tests say what was run.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

import seamkit
import test_attach
import test_prefixes
from dect_models import Folder
from prefix_reference import save
from seamkit.torch import Adapter, Site
from test_attach import disturb, opened

DEVICES = ["cpu", *(["cuda"] if torch.cuda.is_available() else [])]
# Of the largest logit: other kernels, in f32 without TF32, which is torch's default.
TOLERANCE = {"cpu": 1e-5, "cuda": 1e-4}
MODELS = {"bart": ["repcali"], "bert": ["repcali"], "llama": ["residual-prefix", "gate"]}


def given(name: str, device: str, labels: bool = True) -> tuple[seamkit.Batch, dict[str, torch.Tensor]]:
    batch, found = (test_prefixes if name == "llama" else test_attach).inputs(name, labels=labels)
    return batch, {key: value.to(device) for key, value in found.items()}


def adapted(name: str, path: Path, device: str) -> tuple[Any, list[Adapter]]:
    """Attached before the model moves: the adapters move along."""
    model = opened(name, path)
    adapters = [seamkit.attach(model, each) for each in MODELS[name]]
    for each in adapters:
        disturb(each)
    model.to(device)
    assert all(parameter.device.type == device for each in adapters for parameter in each.parameters())
    return model, adapters


@pytest.mark.parametrize("device", DEVICES)
@pytest.mark.parametrize("name", MODELS)
def test_training_there_and_the_native_engine_after_it(
    runtime: seamkit.Runtime, tmp_path: Path, name: str, device: str
) -> None:
    path = save(name, tmp_path / "model")
    model, adapters = adapted(name, path, device)
    batch, inputs = given(name, device)
    optimizer = torch.optim.AdamW([each for adapter in adapters for each in adapter.parameters()], lr=1e-2)
    losses = []
    for _ in range(8):
        loss = model(**inputs).logits.square().mean()
        loss.backward()
        optimizer.step()
        optimizer.zero_grad()
        losses.append(loss.item())
    assert losses[-1] < losses[0]
    seamkit.save(model, tmp_path / "adapters")
    session = runtime.open(path).session()
    session.load(tmp_path / "adapters")
    with torch.no_grad():
        found = model(**inputs).logits.cpu().numpy()
    expected = session.forward(batch)
    shown = np.ones(found.shape[:2], bool) if name == "bart" else np.asarray(batch.attention_mask) == 1
    assert np.abs(found - expected)[shown].max() <= TOLERANCE[device] * np.abs(expected).max()
    other, _ = opened(name, path).to(device), seamkit.detach(model)
    seamkit.load(tmp_path / "adapters", other)
    with torch.no_grad():
        assert np.array_equal(other(**inputs).logits.cpu().numpy(), found)


@pytest.mark.parametrize("device", DEVICES)
@pytest.mark.parametrize("name", ["bart", "llama"])
def test_generation(runtime: seamkit.Runtime, tmp_path: Path, name: str, device: str) -> None:
    path = save(name, tmp_path / "model")
    model, _ = adapted(name, path, device)
    seamkit.save(model, tmp_path / "adapters")
    backbone = runtime.open(path)
    session = backbone.session()
    session.load(tmp_path / "adapters")
    batch, inputs = given(name, device, labels=False)
    inputs.pop("position_ids", None)
    found = model.generate(**inputs, max_new_tokens=6, num_beams=3, do_sample=False).tolist()
    start = inputs["input_ids"].shape[1] if name == "llama" else 1
    options = backbone.generate_options(max_new_tokens=6, num_beams=3)
    for row, best in zip(found, session.generate(batch, options), strict=True):
        assert row[start : start + len(best[0].tokens)] == best[0].tokens


@pytest.mark.parametrize("device", DEVICES)
@pytest.mark.parametrize("name", MODELS)
def test_autocast(tmp_path: Path, name: str, device: str) -> None:
    """Products in bf16, gradients in f32 and near those without it."""
    model, adapters = adapted(name, save(name, tmp_path / "model"), device)
    parameters = [each for adapter in adapters for each in adapter.parameters()]

    def gradients(is_enabled: bool) -> list[torch.Tensor]:
        with torch.autocast(device, torch.bfloat16, enabled=is_enabled):
            logits = model(**given(name, device)[1]).logits
        return list(torch.autograd.grad(logits.float().square().mean(), parameters))

    for mine, exact in zip(gradients(True), gradients(False), strict=True):
        assert mine.dtype == torch.float32
        assert torch.linalg.norm(mine - exact) <= 0.1 * torch.linalg.norm(exact)


@pytest.mark.parametrize("device", DEVICES)
def test_a_classification(runtime: seamkit.Runtime, tmp_path: Path, device: str) -> None:
    """Features and the training of a head there; the same head natively."""
    folder = Folder("bert", tmp_path / "model")
    folder.model.to(device)
    texts = ["the film was bad", "a great film", "the food was great", "a bad day", "it was good", "so boring"]
    labels = [0, 1, 1, 0, 2, 0]
    found = folder.torch()
    head = Adapter("dect", Site.of(folder.model), classes=3, seed=1).to(device)
    found.attach(head)
    losses = found.fit(texts, labels, epochs=10)
    backbone = runtime.open(folder.path)
    native = seamkit.Classifier(backbone, folder.task(), seamkit.Tokenizer(folder.path))
    made = backbone.classifier("dect", 3, seed=1)
    native.attach(made)
    assert losses == pytest.approx(native.fit(texts, labels, epochs=10), rel=1e-3)
    expected = native.scores(texts)
    assert np.abs(found.scores(texts).cpu().numpy() - expected).max() <= 1e-3 * np.abs(expected).max()

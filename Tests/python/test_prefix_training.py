"""The gradient that reaches a prefix through a frozen model, and steps of AdamW on it, against PyTorch."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file

from prefix_reference import ENCODER_DECODERS, ENCODERS, FAMILIES, Prefix, Reference, adapter, save, texts
from seam_objects import Adapter, Backbone, Runtime
from test_training import EPSILON, RATE


@pytest.fixture(scope="module", params=FAMILIES)
def model(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory, runtime: Runtime) -> Any:
    path = save(request.param, tmp_path_factory.mktemp(request.param))
    return Reference(request.param, path), runtime.open(path), path


def chosen(name: str) -> tuple[str, ...]:
    if name in ENCODER_DECODERS:
        return "encoder", "decoder", "cross"
    return ("encoder",) if name in ENCODERS else ("decoder",)


def sides(hugging_face: Reference, backbone: Backbone, length: int) -> tuple[Prefix, list[Adapter]]:
    prefix = hugging_face.prefix(length, 3, *chosen(hugging_face.name))
    adapters = adapter(backbone, prefix)
    return {name: numbers.requires_grad_() for name, numbers in prefix.items()}, adapters


@pytest.mark.parametrize("length", [1, 5])
@pytest.mark.parametrize("padding", ["none", "behind"])
def test_gradients(model: Any, length: int, padding: str) -> None:
    """With an epsilon far above every gradient the first step of Adam is the gradient, times rate / epsilon."""
    hugging_face, backbone, _ = model
    given = texts(hugging_face.name, 1, 3, padding)
    prefix, adapters = sides(hugging_face, backbone, length)
    session = backbone.session(*adapters)
    session.begin_training(learning_rate=RATE, epsilon=EPSILON, weight_decay=0, max_grad_norm=0)
    report = session.train_step(given)
    session.end_training()
    loss = hugging_face.loss(given, prefix)
    expected = torch.autograd.grad(loss, list(prefix.values()))
    norm = torch.stack([each.norm() for each in expected]).norm().item()
    assert norm > 1e-3
    assert report.loss == pytest.approx(loss.item(), rel=1e-5)
    # Of the prefix alone: the frozen weights have none.
    assert report.gradient_norm == pytest.approx(norm, rel=1e-4)
    for each, before, gradient in zip(adapters, prefix.values(), expected, strict=True):
        [after] = each.parameters.values()
        found = (before.detach() - torch.from_numpy(after.copy())) * (EPSILON / RATE)
        # Of the largest: f32 sums in another order through all layers and back. The difference of the values before and
        # after, of order 1 and 100 gradients, adds 1e-7 / 100.
        assert (found - gradient).abs().max().item() <= 1e-4 * gradient.abs().max().item() + 1e-6 * norm


def test_steps_of_adamw(model: Any, tmp_path: Path) -> None:
    """Three steps with clipping and decay; epsilon keeps the rounding noise of vanishing gradients from whole steps.
    The frozen model keeps its bits."""
    hugging_face, backbone, path = model
    prefix, adapters = sides(hugging_face, backbone, 4)
    session = backbone.session(*adapters)
    session.begin_training(learning_rate=1e-2, epsilon=1e-3, weight_decay=0.1, max_grad_norm=0.5)
    optimizer = torch.optim.AdamW(prefix.values(), lr=1e-2, eps=1e-3, weight_decay=0.1)
    for step in range(3):
        given = texts(hugging_face.name, step, 3, "behind")
        loss = hugging_face.loss(given, prefix)
        optimizer.zero_grad()
        loss.backward()
        norm = torch.nn.utils.clip_grad_norm_(prefix.values(), 0.5).item()
        optimizer.step()
        report = session.train_step(given)
        assert (report.loss, report.gradient_norm) == pytest.approx((loss.item(), norm), rel=1e-4)
    session.end_training()
    for each, value in zip(adapters, prefix.values(), strict=True):
        [found] = each.parameters.values()
        assert (torch.from_numpy(found.copy()) - value.detach()).abs().max().item() <= 1e-4 * value.abs().max().item()
    backbone.save(tmp_path / "saved")
    before, after = load_file(path / "model.safetensors"), load_file(tmp_path / "saved" / "model.safetensors")
    assert all(torch.equal(before[name], after[name]) for name in before)

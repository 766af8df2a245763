"""Training the whole backbone: gradients of all weights, AdamW steps, and the saved folder, against PyTorch."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from safetensors.torch import load_file
from transformers import PreTrainedModel

from seam_objects import Backbone, Runtime
from test_backbones import logits_error
from tiny_models import VARIANTS, Tokens, reference, save, tokens

# With an epsilon far above every gradient g, the first step of Adam is (rate / epsilon) g: the weights before and after
# show the gradient itself.
EPSILON, RATE = 1e6, 1e8


def torch_loss(model: PreTrainedModel, given: Tokens) -> torch.Tensor:
    """The mean over the labels that count, written out: models differ in what they do with labels."""
    logits = model(**given.inputs).logits
    return torch.nn.functional.cross_entropy(logits.flatten(0, 1), torch.from_numpy(given.labels).long().flatten())


def trained(
    backbone: Backbone, steps: list[Tokens], path: Path, **options: Any
) -> tuple[list[Any], dict[str, torch.Tensor]]:
    """The reports of the steps, and the weights that are saved after them."""
    session = backbone.session()
    session.begin_training(train_backbone=1, **options)
    reports = [session.train_step(each.batch) for each in steps]
    session.end_training()
    backbone.save(path)
    return reports, load_file(path / "model.safetensors")


@pytest.mark.parametrize("name", VARIANTS)
def test_gradients_of_all_weights(runtime: Runtime, tmp_path: Path, name: str) -> None:
    path = save(name, tmp_path / "model")
    before, given = load_file(path / "model.safetensors"), tokens(1)
    options = {"backbone_learning_rate": RATE, "epsilon": EPSILON, "weight_decay": 0, "max_grad_norm": 0}
    [report], after = trained(runtime.open(path), [given], tmp_path / "trained", **options)
    model = reference(path)
    loss = torch_loss(model, given)
    loss.backward()
    expected = {key: value.grad for key, value in model.named_parameters() if value.grad is not None}
    norm = torch.stack([each.norm() for each in expected.values()]).norm().item()
    assert report.loss == pytest.approx(loss.item(), rel=1e-5)
    assert report.gradient_norm == pytest.approx(norm, rel=1e-4)
    assert expected.keys() <= before.keys()
    for key, gradient in expected.items():
        found = (before[key] - after[key]) * (EPSILON / RATE)
        # Of the tensor's largest, and of all: a key's bias has no gradient but rounding noise.
        limit = 1e-4 * gradient.abs().max().item() + 1e-6 * norm
        assert (found - gradient).abs().max().item() <= limit, key
    untouched = before.keys() - expected.keys()
    assert all(torch.equal(before[key], after[key]) for key in untouched)


@pytest.mark.parametrize("name", ["t5-1.0", "t5-1.1", "bart", "marian"])
@pytest.mark.parametrize("decoupled", [True, False], ids=["adamw", "adam"])
def test_steps_of_adam(runtime: Runtime, tmp_path: Path, name: str, decoupled: bool) -> None:
    """Epsilon is large enough for the rounding noise of vanishing gradients not to be blown up to whole steps."""
    path = save(name, tmp_path / "model")
    steps, settings = [tokens(seed) for seed in range(3)], {"eps": 1e-3, "weight_decay": 0.1, "lr": 1e-2}
    options = {"backbone_learning_rate": 1e-2, "epsilon": 1e-3, "weight_decay": 0.1, "max_grad_norm": 0.5}
    reports, after = trained(
        runtime.open(path), steps, tmp_path / "trained", optimizer=0 if decoupled else 1, **options
    )
    model = reference(path)
    kind = torch.optim.AdamW if decoupled else torch.optim.Adam
    optimizer = kind([each for each in model.parameters() if each.requires_grad], **settings)
    for report, given in zip(reports, steps, strict=True):
        optimizer.zero_grad()
        loss = torch_loss(model, given)
        loss.backward()
        norm = torch.nn.utils.clip_grad_norm_(model.parameters(), 0.5).item()
        optimizer.step()
        assert (report.loss, report.gradient_norm) == pytest.approx((loss.item(), norm), rel=1e-4)
    for key, value in model.named_parameters():
        if value.grad is not None:
            assert (after[key] - value).abs().max().item() <= 1e-4 * value.abs().max().item(), key


@pytest.mark.parametrize("name", VARIANTS)
@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16], ids=["bf16", "f16"])
def test_half_precision_is_trained_and_saved_in_f32(
    runtime: Runtime, tmp_path: Path, name: str, dtype: torch.dtype
) -> None:
    """Read again by SeamKit, and by transformers in the type that config.json names, it gives the scores it had."""
    path = save(name, tmp_path / "model", dtype=dtype)
    backbone, given = runtime.open(path), tokens(2)
    first = backbone.session().forward(given.batch)
    trained(backbone, [given], tmp_path / "trained", backbone_learning_rate=0.05)
    scores = backbone.session().forward(given.batch)
    assert np.abs(scores - first).max() > 0.01
    again = runtime.open(tmp_path / "trained")
    assert np.array_equal(again.session().forward(given.batch), scores)
    assert logits_error(again, reference(tmp_path / "trained", "auto"), given) <= 2e-5


def test_sharded_weights_are_saved_as_one_file(runtime: Runtime, tmp_path: Path) -> None:
    path = save("marian", tmp_path / "model", max_shard_size="20KB")
    runtime.open(path).save(tmp_path / "saved")
    assert sorted(each.name for each in (tmp_path / "saved").glob("*safetensors*")) == ["model.safetensors"]
    assert logits_error(runtime.open(tmp_path / "saved"), reference(path), tokens(1)) <= 1e-5

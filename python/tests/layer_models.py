"""Models of every family with adapters inside their layers, natively and in PyTorch."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

import seamkit
import seamkit.torch as engine
from prefix_reference import DECODERS, ENCODER_DECODERS, FAMILIES, WINDOWED, texts

# Of the largest logit: both compute in f32, with sums in another order.
TOLERANCE = 1e-5


def opened(name: str, path: Path, **options: Any) -> Any:
    return type(FAMILIES[name]()).from_pretrained(path, dtype=torch.float32, **options).eval()


def inputs(name: str, seed: int = 1, labels: bool = True) -> tuple[seamkit.Batch, dict[str, torch.Tensor]]:
    padding = "none" if name in WINDOWED else "front" if name in DECODERS else "behind"
    given = texts(name, seed, 3, padding, labels)
    batch = seamkit.Batch(given.input_ids, given.attention_mask, given.labels, given.decoder_input_ids)
    names = ("input_ids", "attention_mask", "decoder_input_ids")
    found = {each: torch.from_numpy(getattr(given, each)).long() for each in names if getattr(given, each) is not None}
    if name in DECODERS and padding != "none":
        found["position_ids"] = (found["attention_mask"].cumsum(1) - 1).clamp(min=0)
    return batch, found


def disturb(adapters: list[engine.Adapter], seed: int = 3) -> None:
    generator = torch.Generator().manual_seed(seed)
    with torch.no_grad():
        for adapter in adapters:
            for each in adapter.parameters():
                each += 0.3 * torch.randn(each.shape, generator=generator)


def all_targets(model: Any) -> list[str]:
    return list(dict.fromkeys(each.name for each in engine.Site.of(model).points if each.name))


def assert_close(found: torch.Tensor, expected: np.ndarray[Any, Any], mask: Any = None) -> None:
    difference = np.abs(found.detach().numpy() - expected)
    if mask is not None:
        difference = difference[np.asarray(mask) == 1]
    assert difference.max() <= TOLERANCE * np.abs(expected).max()


def places(name: str, batch: seamkit.Batch) -> Any:
    """Where logits count: not at padding."""
    return None if name in ENCODER_DECODERS else batch.attention_mask


class Training:
    """The user's loop in PyTorch, 20 steps of AdamW. Its epsilon is large enough for the rounding noise of vanishing
    gradients not to be blown up to whole steps."""

    SETTINGS = {"learning_rate": 1e-2, "epsilon": 1e-4, "weight_decay": 0.01}

    def __init__(self, name: str, seed: int = 6):
        self.name = name
        self.batch, self.given = inputs(name, seed)
        self.labels = torch.from_numpy(self.batch.labels).long()

    def torch(self, model: Any) -> list[float]:
        """The losses of a model whose trained parameters are those that require a gradient."""
        trained = [each for each in model.parameters() if each.requires_grad]
        settings = self.SETTINGS
        optimizer = torch.optim.AdamW(
            trained, lr=settings["learning_rate"], eps=settings["epsilon"], weight_decay=settings["weight_decay"]
        )
        losses = []
        for _ in range(20):
            optimizer.zero_grad()
            logits = model(**self.given).logits
            mine, theirs = (logits[:, :-1], self.labels[:, 1:]) if self.name in DECODERS else (logits, self.labels)
            loss = torch.nn.functional.cross_entropy(mine.flatten(0, 1), theirs.flatten())
            loss.backward()
            optimizer.step()
            losses.append(loss.item())
        return losses

    def native(self, session: seamkit.Session) -> list[float]:
        session.begin_training(max_grad_norm=0, **self.SETTINGS)
        losses = [session.train_step(self.batch).loss for _ in range(20)]
        session.end_training()
        return losses

    def compare(
        self,
        runtime: seamkit.Runtime,
        folder: Path,
        tmp_path: Path,
        expected: tuple[list[float], torch.Tensor],
        id: str,
        options: dict[str, Any],
        values: dict[str, torch.Tensor] | None = None,
    ) -> tuple[engine.Adapter, seamkit.Session]:
        """Trains an adapter on both engines, from `values` or its own start, and expects the losses, and the logits
        behind them, of a reference. Gives the trained adapter in PyTorch, and a native session that has loaded it."""
        model = opened(self.name, folder)
        adapter = seamkit.attach(model, id, random_seed=3, **options)
        if values is not None:
            assert {each: tuple(value.shape) for each, value in values.items()} == {
                each: tuple(value.shape) for each, value in adapter.state_dict().items()
            }
            adapter.load_state_dict(values)
        adapter.save(tmp_path / "start")
        backbone = runtime.open(folder)
        native = backbone.load(tmp_path / "start")
        losses, logits = expected
        assert losses[-1] < losses[0]
        assert self.torch(model) == pytest.approx(losses, rel=1e-5)
        assert self.native(backbone.session(native)) == pytest.approx(losses, rel=1e-5)
        found = model(**self.given).logits
        # 20 steps apart.
        assert (found - logits).abs().max() <= 1e-4 * logits.abs().max()
        adapter.save(tmp_path / "trained")
        session = backbone.session()
        session.load(tmp_path / "trained")
        assert_close(found, session.forward(self.batch), places(self.name, self.batch))
        return adapter, session


def frozen(model: Any) -> Any:
    """The same model, of which nothing is trained."""
    for each in model.parameters():
        each.requires_grad_(False)
    return model


class Hooks(torch.nn.Module):
    """A method written as hooks on the modules at an adapter's points, each with parameters of its own by name."""

    def __init__(self, model: Any, points: Any, values: dict[str, torch.Tensor], method: Any):
        """method(what flows, the parameters of the point by name)"""
        super().__init__()
        model.reference = self
        self.values = torch.nn.ParameterDict({key.replace(".", "/"): value.clone() for key, value in values.items()})
        for place in engine.families.located_points(model):
            if place.point not in points:
                continue
            start = f"{place.point}.".replace(".", "/")
            own = {key[len(start) :]: value for key, value in self.values.items() if key.startswith(start)}
            assert own

            def changed(flows: Any, own: Any = own) -> Any:
                return (method(flows[0], own), *flows[1:]) if isinstance(flows, tuple) else method(flows, own)

            place.module.register_forward_hook(lambda _, __, found, changed=changed: changed(found))


def reference(
    training: Training, folder: Path, id: str, options: dict[str, Any], method: Any
) -> tuple[tuple[list[float], torch.Tensor], dict[str, torch.Tensor]]:
    """What 20 steps do where `method` stands at the points of the adapter `id`, as `Training.compare` expects it; and
    the values at the start, those of the adapter."""
    model = opened(training.name, folder)
    adapter = seamkit.attach(model, id, random_seed=3, **options)
    values, points = {key: value.clone() for key, value in adapter.state_dict().items()}, adapter.points
    seamkit.detach(model)
    Hooks(frozen(model), points, values, method)
    losses = training.torch(model)
    return (losses, model(**training.given).logits.detach()), values

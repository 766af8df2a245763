"""Control vectors: what `prepare` makes of pairs of texts, against NumPy and scikit-learn on the states of transformers, and
both engines against PyTorch."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from sklearn.decomposition import PCA

import seamkit
from layer_models import Training, opened, reference
from prefix_reference import save

PAIRS, LENGTH = 6, 7
LAYERS: dict[str, Any] = {
    "llama": lambda model: model.model.layers,
    "gpt2": lambda model: model.transformer.h,
    "bert": lambda model: model.bert.encoder.layer,
}
# Of a vector's length: states differ by 1e-5 of their largest, and directions by that over the distance of the first two
# eigenvalues.
TOLERANCE = 2e-4


def pairs() -> tuple[seamkit.Batch, np.ndarray[Any, Any]]:
    """Texts of the two classes in turn, and the places of their last tokens."""
    generator = np.random.default_rng(2)
    ids = generator.integers(4, 50, (2 * PAIRS, LENGTH)).astype(np.int32)
    lengths = generator.integers(3, LENGTH + 1, 2 * PAIRS)
    mask = (np.arange(LENGTH) < lengths[:, None]).astype(np.int32)
    classes = np.tile(np.array([1, 0], np.int32), PAIRS)
    return seamkit.Batch(ids, mask, classes=classes), lengths - 1


def states(name: str, folder: Path, batch: seamkit.Batch, last: np.ndarray[Any, Any]) -> np.ndarray[Any, Any]:
    """The states of the last tokens behind each layer of transformers' model, [layers, texts, width]."""
    model = opened(name, folder)
    found: list[Any] = []

    def note(_: Any, inputs: Any, output: Any) -> None:
        first = output[0] if isinstance(output, tuple) else output
        found.append(first.detach().numpy()[np.arange(len(last)), last].astype(np.float64))

    for layer in LAYERS[name](model):
        layer.register_forward_hook(note)
    with torch.no_grad():
        model(torch.from_numpy(batch.input_ids).long(), attention_mask=torch.from_numpy(batch.attention_mask).long())
    return np.stack(found)


def expected(method: str, h: np.ndarray[Any, Any]) -> np.ndarray[Any, Any]:
    """[layers, width]"""
    differences = h[:, ::2] - h[:, 1::2]
    mean = differences.mean(1)
    if method == "difference":
        return mean
    if method == "mean":
        return mean / np.linalg.norm(mean, axis=-1, keepdims=True)
    if method == "in-context":
        joined = np.concatenate(list(differences), -1)
        first = PCA(1, svd_solver="full").fit(joined).components_[0]
        if first @ joined.mean(0) < 0:
            first = -first
        return mean + first.reshape(mean.shape)
    axes = []
    for layer in differences:
        axis = PCA(1, svd_solver="full").fit(layer).components_[0]
        ahead = np.sum(np.sign(layer @ axis)) or layer.mean(0) @ axis
        axes.append(-axis if ahead < 0 else axis)
    return np.stack(axes)


@pytest.mark.parametrize("method", ["pca", "mean", "difference", "in-context"])
@pytest.mark.parametrize("name", list(LAYERS))
def test_vectors(runtime: seamkit.Runtime, tmp_path: Path, name: str, method: str) -> None:
    folder = save(name, tmp_path / "model")
    batch, last = pairs()
    session = runtime.open(folder).session()
    adapter = session.add("control-vector", {"method": method})
    session.prepare(adapter, batch)
    found = np.stack(list(adapter.parameters.values()))
    wanted = expected(method, states(name, folder, batch, last))
    assert found.shape == wanted.shape
    lengths = np.linalg.norm(wanted, axis=-1, keepdims=True)
    assert (np.abs(found - wanted) <= TOLERANCE * lengths).all()


def test_more_pairs_than_the_states_are_wide(runtime: seamkit.Runtime, tmp_path: Path) -> None:
    folder = save("gpt2", tmp_path / "model")
    backbone = runtime.open(folder)
    count = 2 * backbone.info.d_model
    ids = np.random.default_rng(5).integers(4, 50, (2 * count, 4)).astype(np.int32)
    batch = seamkit.Batch(ids, np.ones_like(ids), classes=np.tile(np.array([1, 0], np.int32), count))
    session = backbone.session()
    adapter = session.add("control-vector")
    session.prepare(adapter, batch)
    wanted = expected("pca", states("gpt2", folder, batch, np.full(2 * count, 3)))
    assert np.abs(np.stack(list(adapter.parameters.values())) - wanted).max() <= TOLERANCE


def test_a_vector_acts_while_it_is_attached(runtime: seamkit.Runtime, tmp_path: Path) -> None:
    folder = save("llama", tmp_path / "model")
    batch, _ = pairs()
    others = seamkit.Batch(batch.input_ids[1::2], batch.attention_mask[1::2])
    session = runtime.open(folder).session()
    plain = session.forward(others)
    adapter = session.add("control-vector", {"method": "difference", "layers": [1]})
    session.prepare(adapter, batch)
    assert np.abs(session.forward(others) - plain).max() > 1e-2 * np.abs(plain).max()
    session.detach(adapter)
    assert np.array_equal(session.forward(others), plain)


@pytest.mark.parametrize("name", ["bart", "bert", "gpt2"])
@pytest.mark.parametrize("keep_norm", [False, True])
def test_it_is_added(runtime: seamkit.Runtime, tmp_path: Path, name: str, keep_norm: bool) -> None:
    """Its formula in PyTorch, in 20 steps of training, which start from zeros here."""

    def method(h: torch.Tensor, own: dict[str, torch.Tensor]) -> torch.Tensor:
        moved = h + 2 * own["direction"]
        return moved * (h.norm(dim=-1, keepdim=True) / moved.norm(dim=-1, keepdim=True)) if keep_norm else moved

    folder, training = save(name, tmp_path / "model"), Training(name)
    options = {"strength": 2.0, "keep_norm": keep_norm}
    wanted, start = reference(training, folder, "control-vector", options, method)
    assert all((each == 0).all() for each in start.values())
    training.compare(runtime, folder, tmp_path, wanted, "control-vector", options)

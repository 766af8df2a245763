"""Sources that are features, with Tests/Fixtures/features-backbone: frames of 3 numbers, 2 frames a position. Its formula
is recomputed with NumPy in float64."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

import seamkit
from plugins_in_c import built
from seamkit import Batch

FRAMES = np.random.default_rng(4).normal(size=(2, 5, 3)).astype(np.float32)
MASK = [[1, 1, 1, 1, 1], [1, 1, 1, 0, 0]]
EXPECTED_MASK = np.array([[1, 1, 1], [1, 1, 0]])


def weights(count: int, phase: float) -> Any:
    return np.sin(phase + 1.7 * np.arange(count)).astype(np.float32).astype(np.float64)


PROJECTION, EMBEDDING = weights(48, 0.3).reshape(8, 6), weights(128, 1.1).reshape(16, 8)


def states(frames: Any) -> Any:
    shown = np.concatenate([frames * np.array(MASK)[..., None], np.zeros((2, 1, 3))], 1)
    return np.tanh(shown.reshape(2, 3, 6) @ PROJECTION.T)


def logits(ids: Any) -> Any:
    hidden, own = states(FRAMES), EMBEDDING[np.array(ids)]
    scores = np.where(EXPECTED_MASK[:, None] == 1, own @ hidden.transpose(0, 2, 1) / np.sqrt(8), -np.inf)
    weight = np.exp(scores - scores.max(-1, keepdims=True))
    return (own + weight / weight.sum(-1, keepdims=True) @ hidden) @ EMBEDDING.T


@pytest.fixture(scope="module")
def runtime(tmp_path_factory: pytest.TempPathFactory) -> seamkit.Runtime:
    library = built("features-backbone/features.c", tmp_path_factory.mktemp("features") / "libTinyFeatures.so")
    runtime = seamkit.Runtime()
    runtime.load_plugin(library)
    return runtime


def test_outputs_are_those_of_the_formula(runtime: seamkit.Runtime) -> None:
    backbone = runtime.open(id="tiny-features")
    assert (backbone.info.feature_width, backbone.info.feature_stride) == (3, 2)
    session = backbone.session()
    batch = Batch(attention_mask=MASK, decoder_input_ids=[[2, 7], [2, 9]], input_features=FRAMES)
    # Sums of a few products in float32.
    np.testing.assert_allclose(session.encode(batch), states(FRAMES), atol=1e-6)
    np.testing.assert_allclose(session.forward(batch), logits([[2, 7], [2, 9]]), atol=1e-5)
    alone = runtime.open(id="tiny-features", options={"architecture": "encoder-only"}).session()
    pooled = (states(FRAMES) * EXPECTED_MASK[..., None]).sum(1) / EXPECTED_MASK.sum(1)[:, None]
    np.testing.assert_allclose(alone.pool(Batch(attention_mask=MASK, input_features=FRAMES)), pooled, atol=1e-6)


def test_an_adapter_is_trained(runtime: seamkit.Runtime) -> None:
    session = runtime.open(id="tiny-features").session()
    session.add("repcali")
    batch = Batch(attention_mask=MASK, labels=[[5, 6], [7, -100]], input_features=FRAMES)
    session.begin_training(learning_rate=0.05)
    losses = [session.train_step(batch).loss for _ in range(20)]
    session.end_training()
    assert losses[-1] < losses[0]
    assert len(session.generate(Batch(attention_mask=MASK, input_features=FRAMES))) == 2


def test_wrong_sources(runtime: seamkit.Runtime) -> None:
    session = runtime.open(id="tiny-features").session()
    with pytest.raises(seamkit.InvalidArgumentError, match="sources of this backbone are features.*found input_ids"):
        session.encode(Batch([[3, 4]]))
    with pytest.raises(seamkit.InvalidArgumentError, match="found neither"):
        Batch()
    with pytest.raises(seamkit.InvalidArgumentError, match="found both"):
        Batch([[3]], input_features=FRAMES)
    with pytest.raises(seamkit.ShapeError, match=r"must be \[batch, frames, 3\] for this model, found \[2, 5, 4\]"):
        session.encode(Batch(input_features=np.zeros((2, 5, 4))))
    with pytest.raises(seamkit.ShapeError, match=r"input_features must be \[batch, frames, width\], found \[5, 3\]"):
        Batch(input_features=FRAMES[0])
    with pytest.raises(seamkit.ShapeError, match="rows of several lengths"):
        Batch(input_features=[[[1.0, 2.0]], [[1.0]]])
    with pytest.raises(seamkit.InvalidArgumentError, match="input_features must be numbers, found <U1"):
        Batch(input_features=[[["a"]]])
    with pytest.raises(seamkit.ShapeError, match="attention_mask must be"):
        Batch(attention_mask=[[1, 1]], input_features=FRAMES[:1])
    broken = FRAMES.copy()
    broken[1, 2, 0] = np.nan
    with pytest.raises(seamkit.NumericError, match="NaN or infinity in row 1, frame 2"):
        session.encode(Batch(input_features=broken))

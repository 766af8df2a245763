"""A prefix in every family against transformers with the same numbers as past_key_values: scores and hidden states."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from prefix_reference import DECODERS, ENCODER_DECODERS, ENCODERS, FAMILIES, Reference, save, session, texts
from seam_abi import Array
from seam_objects import Batch, Runtime

# Of the largest value. Both sides compute in f32 with sums in another order (as in test_backbones.py); a prefix at
# other positions, with a bias or a rotation too many, is a thousand times farther away.
TOLERANCE = 1e-5

largest: dict[str, float] = {}


@pytest.fixture(scope="module", params=FAMILIES)
def model(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory, runtime: Runtime) -> Any:
    path = save(request.param, tmp_path_factory.mktemp(request.param))
    return Reference(request.param, path), runtime.open(path)


@pytest.fixture(scope="module", autouse=True)
def report() -> Iterator[None]:
    yield
    for name, error in largest.items():
        print(f"\n{name}: with a prefix within {error:.1e} of the largest", end="")


def assert_close(name: str, found: Array, expected: torch.Tensor, given: Batch) -> None:
    """At the text's own places: what stands at padding is nobody's."""
    values = expected.numpy()
    assert found.shape == values.shape and np.isfinite(found).all()
    difference = np.abs(found - values)
    if name not in ENCODER_DECODERS and given.attention_mask is not None:
        difference = difference[given.attention_mask == 1]
    error = float(difference.max() / np.abs(values).max())
    largest[name] = max(largest.get(name, 0), error)
    assert error <= TOLERANCE


def attentions_of(name: str) -> list[tuple[str, ...]]:
    if name in ENCODER_DECODERS:
        return [("decoder",), ("encoder",), ("cross",), ("encoder", "decoder", "cross")]
    return [("encoder",)] if name in ENCODERS else [("decoder",)]


@torch.no_grad()
@pytest.mark.parametrize("padding", ["none", "behind", "front"])
@pytest.mark.parametrize("count", [1, 3])
@pytest.mark.parametrize("length", [1, 5, 40])
def test_scores(model: Any, length: int, count: int, padding: str) -> None:
    hugging_face, backbone = model
    name = hugging_face.name
    for seed, chosen in enumerate(attentions_of(name)):
        prefix = hugging_face.prefix(length, seed, *chosen)
        given = texts(name, seed, count, padding)
        logits, hidden = session(backbone, prefix).forward_with_hidden(given)
        assert_close(name, logits, hugging_face.logits(given, prefix), given)
        if name in ENCODERS:
            assert_close(name, hidden, hugging_face.states(given, prefix), given)
            assert_close(name, session(backbone, prefix).encode(given), hugging_face.states(given, prefix), given)


@torch.no_grad()
def test_a_prefix_matters(model: Any) -> None:
    """Each token of it, and in each attention: else the comparison above could not fail."""
    hugging_face, backbone = model
    given = texts(hugging_face.name, 1, 3, "behind")
    for chosen in attentions_of(hugging_face.name):
        prefix = hugging_face.prefix(3, 1, *chosen)
        expected = session(backbone, prefix).forward(given)
        for attention in chosen:
            for token in range(3):
                changed = {name: numbers.clone() for name, numbers in prefix.items()}
                changed[attention][:, :, :, token] += 1
                difference = np.abs(session(backbone, changed).forward(given) - expected).max()
                assert difference > 1e3 * TOLERANCE * np.abs(expected).max()


@torch.no_grad()
@pytest.mark.parametrize("name", DECODERS)
def test_a_longer_text_at_the_edge_of_the_positions(runtime: Runtime, tmp_path: Path, name: str) -> None:
    path = save(name, tmp_path / "model")
    hugging_face, backbone = Reference(name, path), runtime.open(path)
    limit = backbone.info.max_source_positions
    prefix = hugging_face.prefix(40, 2, "decoder")
    given = Batch(np.random.default_rng(0).integers(4, 50, (2, limit - 40)))
    assert_close(name, session(backbone, prefix).forward(given), hugging_face.logits(given, prefix), given)

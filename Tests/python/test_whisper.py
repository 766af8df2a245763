"""The native Whisper against transformers: states, scores, gradients of all weights, and features of any length."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from safetensors.torch import load_file, save_file
from transformers import DynamicCache, EncoderDecoderCache, WhisperForConditionalGeneration

from prefix_reference import PAST, cache, prefixes_beside_a_cache, session
from seam_abi import SeamError
from seam_objects import Batch, Runtime
from whisper_models import FRAMES, MELS, POSITIONS, VOCABULARY, features, inputs, labels, reference, save, shifted

# Of the largest value; see test_backbones.py.
TOLERANCE = 1e-5
VARIANTS: dict[str, dict[str, Any]] = {
    "multilingual": {},
    "turbo": {"encoder_layers": 4, "decoder_layers": 1, "num_mel_bins": 8, "scale_embedding": True},
    "separate head": {"tie_word_embeddings": False, "activation_function": "relu"},
}


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return save(tmp_path_factory.mktemp("whisper"))


def close(found: Any, expected: Any) -> None:
    assert found.shape == expected.shape
    assert np.abs(found - expected).max() <= TOLERANCE * np.abs(expected).max()


@pytest.mark.parametrize("name", VARIANTS)
def test_states_and_scores(runtime: Runtime, tmp_path: Path, name: str) -> None:
    path = save(tmp_path / "model", **VARIANTS[name])
    model, backbone = reference(path), runtime.open(path)
    width = backbone.info.feature_width
    assert (width, backbone.info.feature_stride) == (model.config.num_mel_bins, 2)
    assert backbone.info.max_source_positions == POSITIONS
    frames = np.random.default_rng(1).normal(size=(3, FRAMES, width)).astype(np.float32)
    target, session = labels(1), backbone.session()
    with torch.no_grad():
        found = model(**inputs(frames, target), output_hidden_states=True)
    close(session.encode(Batch(input_features=frames)), found.encoder_last_hidden_state.numpy())
    logits, hidden = session.forward_with_hidden(Batch(input_features=frames, labels=target))
    close(logits, found.logits.numpy())
    close(hidden, found.decoder_hidden_states[-1].numpy())


@pytest.mark.parametrize("frames", [1, 2, 7, 16])
def test_shorter_features(runtime: Runtime, folder: Path, tmp_path: Path, frames: int) -> None:
    """transformers takes one length alone: here that of a model whose table of positions is cut to it."""
    path = tmp_path / "model"
    path.mkdir()
    positions = (frames + 1) // 2
    config = json.loads((folder / "config.json").read_text()) | {"max_source_positions": positions}
    (path / "config.json").write_text(json.dumps(config))
    weights = load_file(folder / "model.safetensors")
    name = "model.encoder.embed_positions.weight"
    save_file(weights | {name: weights[name][:positions].clone()}, path / "model.safetensors", {"format": "pt"})
    model, given = reference_encoder(path), features(2, frames=frames)
    # A length that is odd is as one frame of silence more.
    with torch.no_grad():
        expected = model(torch.from_numpy(given).transpose(1, 2))
    close(runtime.open(folder).session().encode(Batch(input_features=given)), expected.numpy())


def reference_encoder(path: Path) -> Any:
    """The encoder of transformers without its test of the length, which refuses odd ones."""
    encoder = WhisperForConditionalGeneration.from_pretrained(path).eval().model.encoder

    def states(x: torch.Tensor) -> torch.Tensor:
        x = torch.nn.functional.gelu(encoder.conv2(torch.nn.functional.gelu(encoder.conv1(x)))).transpose(1, 2)
        x = x + encoder.embed_positions.weight
        for layer in encoder.layers:
            x = layer(x, None)
        return encoder.layer_norm(x)

    return states


def test_a_masked_row_is_as_alone(runtime: Runtime, folder: Path) -> None:
    """The mask hides frames from convolutions and attention, whatever they hold."""
    session, lengths, given = runtime.open(folder).session(), [FRAMES, 9, 4], features(3)
    mask = np.array([[int(frame < length) for frame in range(FRAMES)] for length in lengths], np.int32)
    target = labels(3)
    together = session.forward(Batch(input_features=given, attention_mask=mask, labels=target))
    states = session.encode(Batch(input_features=given, attention_mask=mask))
    for row, length in enumerate(lengths):
        own = Batch(input_features=given[row : row + 1, :length], labels=target[row : row + 1])
        close(together[row], session.forward(own)[0])
        close(states[row, : (length + 1) // 2], session.encode(Batch(input_features=own.input_features))[0])


def test_half_precision_files(runtime: Runtime, tmp_path: Path) -> None:
    path = save(tmp_path / "model", seed=2)
    model = reference(path).half()
    model.save_pretrained(path)
    given, target = features(4), labels(4)
    with torch.no_grad():
        expected = reference(path)(**inputs(given, target)).logits.numpy()
    close(runtime.open(path).session().forward(Batch(input_features=given, labels=target)), expected)


def test_gradients_of_all_weights(runtime: Runtime, tmp_path: Path) -> None:
    """With an epsilon far above every gradient g, the first step of Adam is (rate / epsilon) g."""
    path, epsilon, rate = save(tmp_path / "model"), 1e6, 1e8
    before, given, target = load_file(path / "model.safetensors"), features(5), labels(5)
    backbone = runtime.open(path)
    session = backbone.session()
    session.begin_training(
        train_backbone=1, backbone_learning_rate=rate, epsilon=epsilon, weight_decay=0, max_grad_norm=0
    )
    report = session.train_step(Batch(input_features=given, labels=target))
    session.end_training()
    backbone.save(tmp_path / "trained")
    after = load_file(tmp_path / "trained" / "model.safetensors")
    model = reference(path)
    logits = model(**inputs(given, target)).logits
    loss = torch.nn.functional.cross_entropy(logits.flatten(0, 1), torch.from_numpy(target).long().flatten())
    loss.backward()
    expected = {key: value.grad for key, value in model.named_parameters() if value.grad is not None}
    norm = torch.stack([each.norm() for each in expected.values()]).norm().item()
    assert report.loss == pytest.approx(loss.item(), rel=1e-5)
    for key, gradient in expected.items():
        found = (before[key] - after[key]) * (epsilon / rate)
        limit = 1e-4 * gradient.abs().max().item() + 1e-6 * norm
        assert (found - gradient).abs().max().item() <= limit, key
    untouched = before.keys() - expected.keys()
    assert untouched == {"model.encoder.embed_positions.weight"}
    assert all(torch.equal(before[key], after[key]) for key in untouched)


@torch.no_grad()
@pytest.mark.parametrize("chosen", [("encoder",), ("cross",), ("encoder", "decoder", "cross")], ids="-".join)
def test_prefixes(runtime: Runtime, folder: Path, chosen: tuple[str, ...]) -> None:
    """Of every attention, with the same numbers in the attention of transformers, which itself takes the decoder's."""
    model, backbone, generator = reference(folder, "joined"), runtime.open(folder), torch.Generator().manual_seed(4)
    layers = {"encoder": backbone.info.encoder_layers, "decoder": 3, "cross": 3}
    prefix = {each: torch.randn((layers[each], 2, 4, 5, 6), generator=generator) for each in chosen}
    frames, target = features(6), labels(6)
    past = EncoderDecoderCache(cache(prefix["decoder"], 3) if "decoder" in prefix else DynamicCache(), DynamicCache())
    with prefixes_beside_a_cache(model, prefix):
        expected = model(**inputs(frames, target), **{PAST: past}).logits.numpy()
    batch = Batch(input_features=frames, labels=target)
    found = session(backbone, prefix).forward(batch)
    close(found, expected)
    assert np.abs(found - backbone.session().forward(batch)).max() > 0.01 * np.abs(expected).max()


def test_what_does_not_fit(runtime: Runtime, folder: Path) -> None:
    session = runtime.open(folder).session()
    with pytest.raises(SeamError, match=f"the source has {POSITIONS + 1} positions, the backbone takes at most"):
        session.encode(Batch(input_features=features(1, frames=FRAMES + 1)))
    with pytest.raises(SeamError, match=rf"\[batch, frames, {MELS}\] for this model"):
        session.encode(Batch(input_features=np.zeros((1, 4, MELS + 1), np.float32)))
    with pytest.raises(SeamError, match="found input_ids"):
        session.encode(Batch([[3, 4]]))
    assert shifted(labels(1)).max() < VOCABULARY

"""Encoder-only backbones against transformers: states, scores of the vocabulary, pooled vectors, bad files."""

from __future__ import annotations

import json
import os
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
import transformers

from seam_abi import Array, SeamError, constant
from seam_objects import Batch, Runtime
from single_stack import ENCODERS, padded, reference, save

# Of the largest value: f32 on both sides, sums in another order (as in test_backbones.py).
TOLERANCE = 1e-5
# Positions from the row behind the padding's.
COUNTS_TOKENS = ("roberta", "xlm-roberta", "camembert", "mpnet")


@pytest.fixture(scope="module", params=ENCODERS)
def model(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory, runtime: Runtime) -> Any:
    path = save(request.param, tmp_path_factory.mktemp(request.param))
    return reference(request.param, path), runtime.open(path), path


def outputs(hugging_face: Any, **arrays: Array) -> Any:
    with torch.no_grad():
        return hugging_face(
            **{name: torch.from_numpy(each).long() for name, each in arrays.items()}, output_hidden_states=True
        )


def assert_close(found: Array, expected: Array, visible: Array | None = None) -> None:
    assert found.shape == expected.shape
    difference = np.abs(found - expected)
    assert (difference if visible is None else difference[visible]).max() <= TOLERANCE * np.abs(expected).max()


@pytest.mark.parametrize("front", [False, True], ids=["behind", "front"])
@pytest.mark.parametrize("types", [False, True], ids=["one text", "two texts"])
def test_states_and_scores(model: Any, front: bool, types: bool) -> None:
    hugging_face, backbone, _ = model
    pad = hugging_face.config.pad_token_id
    ids, mask = padded(1, front)
    ids[mask == 0] = pad
    given = {"input_ids": ids, "attention_mask": mask}
    kinds = getattr(hugging_face.config, "type_vocab_size", None)
    if types:
        if kinds is None:
            return
        second = np.arange(ids.shape[1]) > 5 if kinds > 1 else np.zeros(ids.shape[1])
        given["token_type_ids"] = np.broadcast_to(second, ids.shape).astype(np.int32)
    expected = outputs(hugging_face, **given)
    session, batch = backbone.session(), Batch(**given)
    assert_close(session.encode(batch), expected.hidden_states[-1].numpy(), mask == 1)
    if backbone.info.has_head:
        logits, hidden = session.forward_with_hidden(batch)
        assert_close(logits, expected.logits.numpy(), mask == 1)
        assert_close(hidden, expected.hidden_states[-1].numpy(), mask == 1)
    else:
        with pytest.raises(SeamError, match="no language-model head") as caught:
            session.forward(batch)
        assert caught.value.code == constant("SEAM_UNSUPPORTED")


def test_description(model: Any) -> None:
    hugging_face, backbone, _ = model
    info, config = backbone.info, hugging_face.config
    assert info.architecture == "encoder-only"
    assert info.has_head == hasattr(outputs(hugging_face, input_ids=np.array([[5]])), "logits")
    limit = config.max_position_embeddings
    if config.model_type in COUNTS_TOKENS:
        limit -= config.pad_token_id + 1
    if getattr(config, "position_biased_input", True) is False:
        limit = 0
    assert (info.max_source_positions, info.decoder_layers, info.encoder_layers) == (limit, 0, 3)
    assert (info.bos_token_id, info.pad_token_id) == (0, config.pad_token_id)
    assert info.eos_token_ids == (2,)
    assert info.mask_token_id is None
    seams = {"encoder.output", "layer.output", "projection", "attention.prefix", "prefix.tokens", "decoder.output"}
    # What is put before embedded tokens is as wide as the states.
    is_narrow = getattr(config, "embedding_size", config.hidden_size) != config.hidden_size
    assert set(info.seams) == seams | (set() if is_narrow else {"prompt.embedding"})
    whole = Batch(np.random.default_rng(0).integers(4, 50, (1, limit or 50)).astype(np.int32))
    assert_close(
        backbone.session().encode(whole), outputs(hugging_face, input_ids=whole.input_ids).hidden_states[-1].numpy()
    )
    if limit == 0:
        return
    with pytest.raises(SeamError, match=f"at most {limit} positions"):
        backbone.session().encode(Batch(np.full((1, limit + 1), 7)))


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16], ids=["bf16", "f16"])
@pytest.mark.parametrize("name", ENCODERS)
def test_half_precision_files(runtime: Runtime, tmp_path: Path, name: str, dtype: torch.dtype) -> None:
    path = save(name, tmp_path / "model", dtype=dtype)
    ids, mask = padded(2, False)
    expected = outputs(reference(name, path), input_ids=ids, attention_mask=mask)
    found = runtime.open(path).session()
    assert_close(found.encode(Batch(ids, mask)), expected.hidden_states[-1].numpy(), mask == 1)
    if hasattr(expected, "logits"):
        assert_close(found.forward(Batch(ids, mask)), expected.logits.numpy(), mask == 1)


def test_a_score_is_that_of_every_position(model: Any) -> None:
    hugging_face, backbone, _ = model
    if not backbone.info.has_head:
        return
    ids, mask = padded(4, False)
    labels = np.where((mask == 1) & (np.arange(ids.shape[1]) % 3 == 0), ids, -100).astype(np.int32)
    logs = torch.log_softmax(outputs(hugging_face, input_ids=ids, attention_mask=mask).logits.double(), -1).numpy()
    for row, score in enumerate(backbone.session().score(Batch(ids, mask, labels))):
        counts = labels[row] >= 0
        expected = np.take_along_axis(logs[row][counts], labels[row][counts][:, None], 1).sum()
        assert score.log_probability == pytest.approx(expected, rel=1e-5)
        assert score.token_count == counts.sum()


# ---- Pooling


def pooled(kind: str, states: Array, mask: Array) -> Array:
    """Each kind written out, text by text."""
    texts = [row[visible == 1] for row, visible in zip(states, mask, strict=True)]
    choose = {"mean": lambda x: x.mean(0), "cls": lambda x: x[0], "max": lambda x: x.max(0)}[kind]
    return np.stack([choose(text) for text in texts])


@pytest.mark.parametrize("front", [False, True], ids=["behind", "front"])
@pytest.mark.parametrize("kind", ["mean", "cls", "max"])
def test_pooling(runtime: Runtime, model: Any, kind: str, front: bool) -> None:
    hugging_face, _, path = model
    ids, mask = padded(6, front)
    ids[mask == 0] = hugging_face.config.pad_token_id
    states = outputs(hugging_face, input_ids=ids, attention_mask=mask).hidden_states[-1].numpy()
    found = runtime.open(path, options={"pooling": kind}).session().pool(Batch(ids, mask))
    assert_close(found, pooled(kind, states, mask))


@pytest.mark.parametrize("name", ["bert-no-head", "roberta-no-head"])
def test_the_models_own_pooler(runtime: Runtime, tmp_path: Path, name: str) -> None:
    path = save(name, tmp_path / "model")
    ids, mask = padded(7, False)
    expected = outputs(reference(name, path), input_ids=ids, attention_mask=mask).pooler_output.numpy()
    assert_close(runtime.open(path, options={"pooling": "pooler"}).session().pool(Batch(ids, mask)), expected)


def test_a_pooler_that_the_file_lacks(runtime: Runtime, tmp_path: Path) -> None:
    path = save("bert", tmp_path / "model")
    with pytest.raises(SeamError, match="'pooling' is 'pooler', but the model has no tensor 'pooler.dense.weight'"):
        runtime.open(path, options={"pooling": "pooler"})
    with pytest.raises(SeamError, match="pooling"):
        runtime.open(path, options={"pooling": "sum"})


# ---- Bad files and calls


def changed(path: Path, **changes: Any) -> Path:
    file = path / "config.json"
    file.write_text(json.dumps(json.loads(file.read_text()) | changes))
    return path


REFUSED = {
    "position_embedding_type": ("bert", "relative_key", "'position_embedding_type' is 'relative_key'; expected abs"),
    "is_decoder": ("bert", True, "'is_decoder' is true; expected false"),
    "is_encoder_decoder": ("bert", True, "'is_encoder_decoder' is true; expected false"),
    "num_attention_heads": ("bert", 5, "'hidden_size' is 24 and 'num_attention_heads' 5"),
    "hidden_act": ("bert", "mish", "'hidden_act' asks for the activation 'mish'"),
    "hidden_size": ("bert", 32, "'hidden_size' is 32, but the tensor"),
    "pad_token_id": ("roberta", 39, "'pad_token_id' is 39 and 'max_position_embeddings' 40"),
    "vocab_size": ("roberta", 62, "word_embeddings.weight"),
}


@pytest.mark.parametrize("key", REFUSED)
def test_a_bad_config_is_one_sentence(runtime: Runtime, tmp_path: Path, key: str) -> None:
    name, value, part = REFUSED[key]
    with pytest.raises(SeamError) as caught:
        runtime.open(changed(save(name, tmp_path / "model"), **{key: value}))
    assert part in caught.value.message


def test_an_encoder_neither_generates_nor_reads_targets(runtime: Runtime, tmp_path: Path) -> None:
    session = runtime.open(save("bert", tmp_path / "model")).session()
    ids, mask = padded(8, False)
    with pytest.raises(SeamError, match="no decoder to generate with"):
        session.generate(Batch(ids, mask))
    with pytest.raises(SeamError, match="decoder_input_ids are for encoder-decoder backbones"):
        session.forward(Batch(ids, mask, decoder_input_ids=ids))
    with pytest.raises(SeamError, match="embedding"):
        session.encode(Batch(ids, mask, token_type_ids=np.full_like(ids, 2)))


def test_real_sentence_encoder(runtime: Runtime) -> None:
    """MiniLM (BERT without a head): states and sentence vectors."""
    if not (folder := os.environ.get("SEAM_MINILM")):
        pytest.skip("SEAM_MINILM names no model folder: the published sentence encoder is not compared")
    hugging_face = transformers.AutoModel.from_pretrained(folder, dtype=torch.float32).eval()
    backbone = runtime.open(Path(folder))
    assert not backbone.info.has_head
    random = np.random.default_rng(0)
    ids = random.integers(1000, hugging_face.config.vocab_size, (8, 40)).astype(np.int32)
    mask = (np.arange(40) < random.integers(3, 41, (8, 1))).astype(np.int32)
    ids[mask == 0] = 0
    states = outputs(hugging_face, input_ids=ids, attention_mask=mask).last_hidden_state.numpy()
    assert_close(backbone.session().encode(Batch(ids, mask)), states, mask == 1)
    assert_close(backbone.session().pool(Batch(ids, mask)), pooled("mean", states, mask))

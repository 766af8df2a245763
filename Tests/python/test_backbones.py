"""Every family and variant of the Transformer backbone against transformers: scores, generation, gradients, files."""

from __future__ import annotations

import json
import os
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from transformers import PreTrainedModel

from seam_abi import Array, constant
from seam_objects import Backbone, Batch, Runtime
from tiny_models import END, PAD, VARIANTS, Tokens, reference, save, tokens, until

# Of the largest score. Both sides compute in f32 with sums in another order; through some ten layers that stays well
# below this, while any wrong constant (an epsilon, a scale, a bucket edge) is far above it.
TOLERANCE = 1e-5

largest: dict[str, float] = {}


@pytest.fixture(scope="module", params=VARIANTS)
def model(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory, runtime: Runtime) -> Any:
    path = save(request.param, tmp_path_factory.mktemp(request.param))
    return request.param, reference(path), runtime.open(path)


@pytest.fixture(scope="module", autouse=True)
def report() -> Iterator[None]:
    yield
    for name, error in largest.items():
        print(f"\n{name}: logits within {error:.1e} of the largest", end="")


def reference_logits(hugging_face: PreTrainedModel, given: Tokens) -> Array:
    with torch.no_grad():
        return hugging_face(**given.inputs).logits.numpy()


def logits_error(backbone: Backbone, hugging_face: PreTrainedModel, given: Tokens) -> float:
    expected = reference_logits(hugging_face, given)
    found = backbone.session().forward(given.batch)
    assert found.shape == expected.shape
    return float(np.abs(found - expected).max() / np.abs(expected).max())


def test_logits(model: Any) -> None:
    name, hugging_face, backbone = model
    error = max(logits_error(backbone, hugging_face, tokens(seed)) for seed in range(3))
    largest[name] = error
    assert error <= TOLERANCE


def test_encoder_output(model: Any) -> None:
    _, hugging_face, backbone = model
    given = tokens(5)
    with torch.no_grad():
        inputs = given.inputs
        expected = hugging_face.get_encoder()(inputs["input_ids"], inputs["attention_mask"]).last_hidden_state.numpy()
    found = backbone.session().encode(given.source)
    visible = given.attention_mask == 1
    assert np.abs(found - expected)[visible].max() <= TOLERANCE * np.abs(expected).max()


def test_score(model: Any) -> None:
    _, hugging_face, backbone = model
    given = tokens(6)
    logs = torch.log_softmax(torch.from_numpy(reference_logits(hugging_face, given)).double(), -1).numpy()
    for row, score in enumerate(backbone.session().score(given.batch)):
        counts = given.labels[row] >= 0
        labels, logs_of_row = given.labels[row][counts], logs[row][counts]
        assert score.token_count == counts.sum()
        assert score.correct_count == (logs_of_row.argmax(-1) == labels).sum()
        expected = np.take_along_axis(logs_of_row, labels[:, None], 1).sum()
        assert score.log_probability == pytest.approx(expected, rel=1e-5)


def test_labels_are_shifted_as_transformers_does(model: Any) -> None:
    name, hugging_face, _ = model
    if name in ("mbart", "plbart") or not hasattr(hugging_face, "prepare_decoder_input_ids_from_labels"):
        return  # mBART and PLBART take the last label for the start token: in their data sets that is the same token
    given = tokens(7)
    shifted = hugging_face.prepare_decoder_input_ids_from_labels(torch.from_numpy(given.labels).long())
    assert shifted.tolist() == given.decoder_input_ids.tolist()


# ---- Generation

SEARCHES: dict[str, tuple[dict[str, Any], dict[str, Any]]] = {
    "greedy": ({}, {}),
    "repetition": ({"repetition_penalty": 1.7}, {}),
    "ngrams": ({"no_repeat_ngram_size": 2, "min_new_tokens": 6}, {}),
    "beams": ({"num_beams": 4}, {}),
    "long beams": ({"num_beams": 4, "length_penalty": 2.0}, {"early_stopping": True}),
    "short beams": ({"num_beams": 3, "length_penalty": -0.5, "num_return_sequences": 3}, {"early_stopping": "never"}),
    "beams with rules": ({"num_beams": 4, "no_repeat_ngram_size": 3, "repetition_penalty": 1.3}, {}),
}
EARLY_STOPPING = {False: "HEURISTIC", True: "WHEN_FULL", "never": "NEVER"}


def expected_generation(
    hugging_face: PreTrainedModel, given: Tokens, end: int = END, **options: Any
) -> tuple[list[list[int]], Any]:
    """What transformers generates, without the start token and what follows the end token, and the beams' scores."""
    source = {name: given.inputs[name] for name in ("input_ids", "attention_mask")}
    with torch.no_grad():
        found = hugging_face.generate(**source, **options, return_dict_in_generate=True, output_scores=True)
    return [until(end, row[1:]) for row in found.sequences.tolist()], found.get("sequences_scores")


@pytest.mark.parametrize("search", SEARCHES)
def test_generation(model: Any, search: str) -> None:
    _, hugging_face, backbone = model
    common, stopping = SEARCHES[search]
    common = {"num_beams": 1, "max_new_tokens": 16} | common
    given = tokens(11, count=6)
    early = constant("SEAM_EARLY_STOPPING_" + EARLY_STOPPING[stopping.get("early_stopping", False)])
    options = backbone.generate_options(early_stopping=early, **common)
    found = [each for item in backbone.session().generate(given.source, options) for each in item]
    expected, scores = expected_generation(hugging_face, given, do_sample=False, **common, **stopping)
    assert [each.tokens for each in found] == expected
    if scores is not None:
        assert [each.score for each in found] == pytest.approx(scores.tolist(), rel=1e-4, abs=1e-5)


def test_generation_as_the_model_asks(runtime: Runtime, tmp_path: Path) -> None:
    """Without options the settings are those of generation_config.json."""
    path = save("marian", tmp_path / "model", seed=3)
    settings = {
        "num_beams": 3,
        "max_length": 10,
        "length_penalty": 0.7,
        "early_stopping": True,
        "bad_words_ids": [[PAD], [9]],
        "forced_bos_token_id": 7,
        "forced_eos_token_id": END,
        "no_repeat_ngram_size": 2,
    }
    file = path / "generation_config.json"
    file.write_text(json.dumps(json.loads(file.read_text()) | settings))
    given = tokens(13)
    found = [item[0].tokens for item in runtime.open(path).session().generate(given.source)]
    assert found == expected_generation(reference(path), given)[0]


def test_padding_does_not_matter(model: Any) -> None:
    """A source generates the same tokens alone as in a padded batch."""
    _, _, backbone = model
    given, session = tokens(12), backbone.session()
    options = backbone.generate_options(max_new_tokens=12, num_beams=1)
    together = [item[0].tokens for item in session.generate(given.source, options)]
    for row in range(1, len(together)):
        length = int(given.attention_mask[row].sum())
        alone = session.generate(Batch(given.input_ids[row : row + 1, :length]), options)
        assert alone[0][0].tokens == together[row]


# ---- Files


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16], ids=["bf16", "f16"])
@pytest.mark.parametrize("name", VARIANTS)
def test_half_precision_files(runtime: Runtime, tmp_path: Path, name: str, dtype: torch.dtype) -> None:
    """The rounded weights are the model; the computation is in f32 on both sides."""
    path = save(name, tmp_path / "model", dtype=dtype)
    assert logits_error(runtime.open(path), reference(path), tokens(1)) <= TOLERANCE


@pytest.mark.parametrize("name", ["t5-1.0", "marian"])
def test_sharded_files(runtime: Runtime, tmp_path: Path, name: str) -> None:
    path = save(name, tmp_path / "model", max_shard_size="20KB")
    assert len(list(path.glob("*.safetensors"))) > 2
    assert logits_error(runtime.open(path), reference(path), tokens(1)) <= TOLERANCE


def test_real_model(runtime: Runtime) -> None:
    """A published model: its logits, greedy and beam search on random sources."""
    if not (folder := os.environ.get("SEAM_REAL_MODEL")):
        pytest.skip("SEAM_REAL_MODEL names no model folder: the published model is not compared")
    hugging_face, backbone = reference(Path(folder)), runtime.open(Path(folder))
    config = hugging_face.config
    given = replace(
        tokens(3, vocabulary=config.vocab_size), start=config.decoder_start_token_id, pad=config.pad_token_id
    )
    assert logits_error(backbone, hugging_face, given) <= TOLERANCE
    for beams in (1, 4):
        options = backbone.generate_options(max_new_tokens=20, num_beams=beams)
        found = [item[0].tokens for item in backbone.session().generate(given.source, options)]
        assert (
            found
            == expected_generation(hugging_face, given, end=config.eos_token_id, max_new_tokens=20, num_beams=beams)[0]
        )

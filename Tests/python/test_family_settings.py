"""Settings of a family that its tiny models leave as they are: changed in config.json, they do what transformers makes of
them."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
import transformers

import single_stack
import tiny_models
from seam_abi import SeamError
from seam_objects import Batch, Runtime

# Of the largest score: f32 on both sides, sums in another order (as in test_backbones.py).
TOLERANCE = 1e-5
ABSENT = object()
WINDOWED = ["sliding_attention", "full_attention", "sliding_attention"]

# A model, and its members of config.json: each changes the scores of a text of 24 tokens.
CASES: dict[str, tuple[str, dict[str, Any]]] = {
    "layers with a window in a list alone": (
        "smollm3",
        {"use_sliding_window": False, "layer_types": WINDOWED, "sliding_window": 4},
    ),
    "the usual original length": (
        "phi3-longrope",
        {"original_max_position_embeddings": ABSENT, "rope_parameters": {"original_max_position_embeddings": ABSENT}},
    ),
    "an original length in the wrong place": (
        "phi3-longrope",
        {"original_max_position_embeddings": ABSENT, "rope_parameters": {"original_max_position_embeddings": 14}},
    ),
    "an activation beside the feed-forward's": ("umt5", {"dense_act_fn": "silu"}),
    "a scale that is null": ("umt5", {"scale_decoder_outputs": None}),
    "no bias of the scores": ("modernbert", {"decoder_bias": False}),
}


def merged(config: dict[str, Any], changes: dict[str, Any]) -> dict[str, Any]:
    result = dict(config)
    for key, value in changes.items():
        result[key] = merged(config[key], value) if isinstance(value, dict) else value
    return {key: value for key, value in result.items() if value is not ABSENT}


def scores(model: Any, ids: Any) -> Any:
    given = {"input_ids": torch.from_numpy(ids).long()}
    if model.config.is_encoder_decoder:
        given["labels"] = given["input_ids"][:, :7]
    with torch.no_grad():
        return model.eval()(**given).logits.numpy()


@pytest.mark.parametrize(
    ("changes", "sentence"),
    [
        ({"is_causal": False}, "'is_causal' is false"),
        ({"rope_scaling": {"rope_type": "linear", "factor": 2.0}}, "both 'rope_scaling' and 'rope_parameters'"),
    ],
)
def test_what_would_be_ignored_is_refused(
    runtime: Runtime, tmp_path: Path, changes: dict[str, Any], sentence: str
) -> None:
    path = single_stack.save("qwen3", tmp_path) / "config.json"
    path.write_text(json.dumps(json.loads(path.read_text()) | changes))
    with pytest.raises(SeamError, match=sentence):
        runtime.open(tmp_path)


@pytest.mark.parametrize("case", CASES)
def test_a_setting_is_that_of_transformers(runtime: Runtime, tmp_path: Path, case: str) -> None:
    name, changes = CASES[case]
    (tiny_models if name in tiny_models.VARIANTS else single_stack).save(name, tmp_path)
    path = tmp_path / "config.json"
    config = json.loads(path.read_text())
    kind = getattr(transformers, config["architectures"][0])
    ids = np.random.default_rng(3).integers(tiny_models.FIRST_WORD, 60, (1, 24)).astype(np.int32)
    before = scores(kind.from_pretrained(tmp_path, dtype=torch.float32, attn_implementation="eager"), ids)
    path.write_text(json.dumps(merged(config, changes)))
    expected = scores(kind.from_pretrained(tmp_path, dtype=torch.float32, attn_implementation="eager"), ids)
    batch = Batch(ids, labels=ids[:, :7]) if kind.config_class().is_encoder_decoder else Batch(ids)
    found = runtime.open(tmp_path).session().forward(batch)
    assert np.abs(expected - before).max() > 1e-3 * np.abs(expected).max()
    assert np.abs(found - expected).max() <= TOLERANCE * np.abs(expected).max()

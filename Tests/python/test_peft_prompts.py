"""Prompts exchanged with PEFT: what its prompt tuning and P-tuning save runs here, and the reverse, values equal."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from peft import PromptEncoderConfig, PromptTuningConfig, get_peft_model
from safetensors.numpy import load_file, save_file

from command_line import run
from seam_objects import Runtime
from test_peft import PAIR, Model, assert_same_scores, assert_same_texts, export, imported, make, peft_model

SIZES = {"token_dim": 24, "num_attention_heads": 4, "num_layers": 2}


@pytest.fixture(scope="module")
def runtime(plugin_folder: Path) -> Runtime:
    return Runtime([plugin_folder / f"lib{name}.so" for name in ("PromptTuning", "RepCali", "Transformer")])


@pytest.fixture(scope="module", params=["gpt2", "llama", "t5", "bart", "roberta"])
def model(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory, runtime: Runtime) -> Model:
    return make(request.param, tmp_path_factory.mktemp(request.param), runtime)


@pytest.fixture(scope="module")
def small(tmp_path_factory: pytest.TempPathFactory, runtime: Runtime) -> Model:
    return make("t5", tmp_path_factory.mktemp("small"), runtime)


def of_the_text(expected: Any) -> Any:
    """PEFT's scores of a decoder's text alone, without those of the vectors before it."""

    def scores(**inputs: torch.Tensor) -> list[torch.Tensor]:
        length = inputs.get("decoder_input_ids", inputs["input_ids"]).shape[1]
        return [expected(**inputs).logits[:, -length:]]

    return scores


CONFIGS: dict[str, Any] = {
    "plain": lambda task: PromptTuningConfig(task_type=task, num_virtual_tokens=5, **SIZES),
    "mlp": lambda task: PromptEncoderConfig(
        task_type=task, num_virtual_tokens=5, encoder_hidden_size=9, encoder_reparameterization_type="MLP", **SIZES
    ),
    "lstm": lambda task: PromptEncoderConfig(
        task_type=task, num_virtual_tokens=5, encoder_hidden_size=9, encoder_reparameterization_type="LSTM", **SIZES
    ),
}


@pytest.mark.parametrize("kind", CONFIGS)
def test_what_peft_saves_is_run(model: Model, tmp_path: Path, kind: str) -> None:
    torch.manual_seed(0)
    trained = get_peft_model(model.hugging_face(), CONFIGS[kind](model.family.task)).eval()
    with torch.no_grad():
        if kind != "plain":
            trained.prompt_encoder["default"].mlp_head[-1].weight.mul_(5)
    trained.save_pretrained(tmp_path / "peft")
    adapter = imported(model, tmp_path / "peft", tmp_path / "adapter")
    assert adapter.options["reparameterization"] == "none" and adapter.options["prompt_length"] == 5
    if model.family.task == "FEATURE_EXTRACTION":
        # PEFT leaves the scores of its vectors in; the values that come out of it have been compared.
        assert [each.shape for each in adapter.parameters.values()] == [(5, 24)]
    else:
        assert_same_scores(model, [adapter], of_the_text(trained), least_effect=0.02)
    stored = load_file(tmp_path / "peft" / "adapter_model.safetensors")["prompt_embeddings"]
    again = load_file(export(model, tmp_path / "again", tmp_path / "adapter") / "adapter_model.safetensors")
    assert list(again) == ["prompt_embeddings"]
    assert len(stored) == (10 if model.family.task == PAIR else 5)
    assert stored[:5].tobytes() == again["prompt_embeddings"].tobytes()


def test_peft_runs_what_is_exported(model: Model, tmp_path: Path) -> None:
    """Of two adapters, one of which has a network, as one prompt."""
    paths = []
    for index, options in enumerate([{"prompt_length": 3, "reparameterization": "mlp"}, {"prompt_length": 2}]):
        adapter = model.backbone.adapter("prompt-tuning", options, seed=index)
        adapter.save(tmp_path / str(index))
        paths.append(tmp_path / str(index))
    expected = peft_model(model, export(model, tmp_path / "peft", *paths))
    adapters = [model.backbone.load(path) for path in paths]
    vectors = load_file(tmp_path / "peft" / "adapter_model.safetensors")["prompt_embeddings"]
    assert vectors[3:].tobytes() == next(iter(adapters[1].parameters.values())).tobytes()
    if model.family.task == "FEATURE_EXTRACTION":
        return
    assert_same_scores(model, adapters, of_the_text(expected), least_effect=0.02)
    if model.name not in ("gpt2", "llama"):  # a decoder's padding is counted by PEFT: python/tests/test_prompts.py
        assert_same_texts(model, adapters, expected)


def refused(model: Model, folder: Path, output: Path, *words: str) -> None:
    done = run("import", "--model", model.path, "--format", "peft", "--input", folder, "--output", output)
    assert done.returncode == 1 and not output.exists()
    assert all(each in done.stderr for each in words), done.stderr


def test_what_does_not_fit_is_refused(small: Model, tmp_path: Path) -> None:
    folder = tmp_path / "peft"
    get_peft_model(small.hugging_face(), CONFIGS["plain"](PAIR)).save_pretrained(folder)
    config = json.loads((folder / "adapter_config.json").read_text())
    for changes, words in (
        ({"token_dim": 20}, ("token_dim must be 24", "found 20")),
        ({"task_type": "CAUSAL_LM"}, ("task_type must be SEQ_2_SEQ_LM", "found CAUSAL_LM")),
        ({"num_transformer_submodules": 3}, ("num_transformer_submodules must be 1 or 2",)),
        ({"num_virtual_tokens": 6}, ("must be [12, 24] as num_virtual_tokens", "found [10, 24]")),
        ({"peft_type": "VERA"}, ("one of PREFIX_TUNING, CARTRIDGE, PROMPT_TUNING, P_TUNING", "found VERA")),
        ({"mystery": 3}, ("mystery is no key of PEFT's prompt tuning",)),
    ):
        (folder / "adapter_config.json").write_text(json.dumps(config | changes))
        refused(small, folder, tmp_path / "adapter", *words)
    (folder / "adapter_config.json").write_text(json.dumps(config))
    values = np.full((10, 24), np.nan, np.float32)
    save_file({"prompt_embeddings": values}, folder / "adapter_model.safetensors")
    refused(small, folder, tmp_path / "adapter", "NaN or infinity at element 0")


def test_what_has_no_place_in_peft(small: Model, tmp_path: Path) -> None:
    for index, (id, options, words) in enumerate(
        (
            ("prompt-tuning", {"stack": "both"}, "vectors before the decoder's text"),
            ("repcali", {}, 'adapter "repcali" is on encoder.output: PEFT\'s prompt tuning holds prompts alone'),
        )
    ):
        small.backbone.adapter("prompt-tuning", {}).save(tmp_path / f"prompt-{index}")
        small.backbone.adapter(id, options).save(tmp_path / f"other-{index}")
        paths = [part for name in ("prompt", "other") for part in ("--adapter", tmp_path / f"{name}-{index}")]
        done = run("export", "--model", small.path, *paths, "--format", "peft", "--output", tmp_path / "peft")
        assert done.returncode == 1 and words in done.stderr, done.stderr

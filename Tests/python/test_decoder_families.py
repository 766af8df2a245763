"""Adapters inside the layers of decoder families: LoRA on every matrix against PEFT, vectors behind layers against hooks."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from peft import LoraConfig, get_peft_model

from command_line import seam
from seam_abi import Array
from seam_objects import Batch, Runtime
from single_stack import padded, places, reference, save

# Of the largest value, as in test_decoders.py.
TOLERANCE = 1e-5

LLAMA = ("q_proj", "k_proj", "v_proj", "o_proj", "gate_proj", "up_proj", "down_proj")
LLAMA_POINTS = ["q", "k", "v", "o", "gate", "up", "down"]
# The modules that PEFT is told of, and the points that they are here.
FAMILIES: dict[str, tuple[tuple[str, ...], list[str]]] = {
    "qwen3": (LLAMA, LLAMA_POINTS),
    "gemma2": (LLAMA, LLAMA_POINTS),
    "gemma3": (LLAMA, LLAMA_POINTS),
    "smollm3": (LLAMA, LLAMA_POINTS),
    "olmo2": (LLAMA, LLAMA_POINTS),
    "phi3": (("qkv_proj", "o_proj", "gate_up_proj", "down_proj"), ["qkv", "o", "gate_up", "down"]),
    "gpt-neox": (("query_key_value", "attention.dense", "dense_h_to_4h", "dense_4h_to_h"), ["qkv", "o", "up", "down"]),
    "opt-350m": (("q_proj", "k_proj", "v_proj", "out_proj", "fc1", "fc2"), ["q", "k", "v", "o", "up", "down"]),
}


@pytest.fixture(scope="module", params=FAMILIES)
def model(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory, runtime: Runtime) -> Any:
    path = save(request.param, tmp_path_factory.mktemp(request.param))
    return request.param, path, runtime.open(path)


def scores(hugging_face: Any, ids: Array, mask: Array) -> Array:
    given = {"input_ids": ids, "attention_mask": mask, "position_ids": places(mask)}
    with torch.no_grad():
        found = hugging_face(**{name: torch.from_numpy(each).long() for name, each in given.items()})
    return np.asarray(found.logits.numpy())


def assert_close(found: Array, expected: Array, visible: Array) -> None:
    assert np.abs(found - expected)[visible].max() <= TOLERANCE * np.abs(expected[visible]).max()


def test_lora_is_pefts(model: Any, tmp_path: Path) -> None:
    name, path, backbone = model
    modules, points = FAMILIES[name]
    torch.manual_seed(0)
    there = get_peft_model(reference(name, path), LoraConfig(r=3, lora_alpha=5, target_modules=list(modules))).eval()
    with torch.no_grad():
        for key, parameter in there.named_parameters():
            if "lora_" in key:
                parameter.normal_(0, 0.2)
    there.save_pretrained(tmp_path / "peft")
    seam("import", "--model", path, "--format", "peft", "--input", tmp_path / "peft", "--output", tmp_path / "adapter")
    adapter = backbone.load(tmp_path / "adapter")
    assert {each.split(".")[2] for each in adapter.parameters} == set(points)
    ids, mask = padded(1, True)
    expected = scores(there, ids, mask)
    found = backbone.session(adapter).forward(Batch(ids, mask))
    assert_close(found, expected, mask == 1)
    assert np.abs(backbone.session().forward(Batch(ids, mask)) - expected)[mask == 1].max() > 0.01
    # By default it takes the queries and values, or the matrix that they are part of.
    chosen = {each.split(".")[2] for each in backbone.adapter("lora").parameters}
    assert chosen == ({"q", "v"} & set(points) or {"qkv"})


def test_what_leaves_a_layer_is_that_of_transformers(model: Any) -> None:
    """A vector is added behind each of two layers, there by hooks."""
    name, path, backbone = model
    hugging_face = reference(name, path)
    adapter = backbone.adapter("control-vector", {"layers": "0,2"})
    random = np.random.default_rng(0)
    for values in adapter.parameters.values():
        values[...] = random.normal(size=values.shape)
    layers = next(each for key, each in hugging_face.named_modules() if key.endswith("layers") and len(list(each)) == 3)
    for layer, vector in zip((0, 2), adapter.parameters.values(), strict=True):
        own = torch.from_numpy(vector.copy())
        layers[layer].register_forward_hook(
            lambda module, inputs, output, own=own: (
                (output[0] + own, *output[1:]) if isinstance(output, tuple) else output + own
            )
        )
    ids, mask = padded(2, False)
    found = backbone.session(adapter).forward(Batch(ids, mask))
    assert_close(found, scores(hugging_face, ids, mask), mask == 1)


@pytest.mark.parametrize("name", ["mistral-window", "gemma2", "gemma3"])
def test_rows_that_join_others_are_as_they_are_alone(runtime: Runtime, tmp_path: Path, name: str) -> None:
    """Beyond the window, from prompts of several lengths, behind a prefix, behind vectors, and behind neither."""
    backbone = runtime.open(save(name, tmp_path / "model"))
    session = backbone.session()
    session.add("prefix-tuning", {"prefix_length": 4, "reparameterization": "none"}, route="prefix")
    session.add("prompt-tuning", {"prompt_length": 3}, route="prompt")
    random = np.random.default_rng(0)
    for route in ("prefix", "prompt"):
        for values in session.adapters_of(route)[0].parameters.values():
            values[...] = random.normal(size=values.shape)
    routes = (None, "prefix", "prompt")
    prompts = [(random.integers(4, 60, 2 + 5 * row % 12).tolist(), routes[row % 3]) for row in range(7)]
    options = backbone.generate_options(max_new_tokens=14, min_new_tokens=14, num_beams=1, repetition_penalty=2.0)
    generation = session.continuous_generation(40)
    # The first three read their prompts together.
    rows = generation.add_batch(
        Batch.padded([each for each, _ in prompts[:3]], pad_token_id=1, routes=[route for _, route in prompts[:3]]),
        options,
    )
    waiting, tokens = prompts[3:], dict[int, list[int]]()
    while len(generation) or waiting:
        for step in generation.step():
            tokens.setdefault(step.row, []).append(step.token)
        if waiting:
            prompt, route = waiting.pop(0)
            rows.append(generation.add(prompt, route=route, options=options))
    assert len({tuple(each) for each in tokens.values()}) == len(prompts)
    for row, (prompt, route) in zip(rows, prompts, strict=True):
        [[alone]] = session.generate(Batch.padded([prompt], pad_token_id=1, routes=[route]), options)
        assert tokens[row] == alone.tokens

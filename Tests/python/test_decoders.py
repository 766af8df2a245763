"""Decoder-only backbones against transformers: scores, states, generation from prompts of several lengths."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from safetensors.numpy import load_file, save_file

from seam_abi import Array, SeamError, constant
from seam_objects import Batch, Runtime
from single_stack import DECODERS, LLAMA3, LONGROPE, padded, places, reference, rope, save
from tiny_models import END, FIRST_WORD, PAD

# Of the largest value: f32 on both sides, sums in another order (as in test_backbones.py).
TOLERANCE = 1e-5


@pytest.fixture(scope="module", params=DECODERS)
def model(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory, runtime: Runtime) -> Any:
    path = save(request.param, tmp_path_factory.mktemp(request.param))
    return reference(request.param, path), runtime.open(path)


def outputs(hugging_face: Any, ids: Array, mask: Array) -> Any:
    given = {"input_ids": ids, "attention_mask": mask, "position_ids": places(mask)}
    with torch.no_grad():
        return hugging_face(
            **{name: torch.from_numpy(each).long() for name, each in given.items()}, output_hidden_states=True
        )


def assert_close(found: Array, expected: Array, visible: Array) -> None:
    assert found.shape == expected.shape and np.isfinite(found).all()
    assert np.abs(found - expected)[visible].max() <= TOLERANCE * np.abs(expected[visible]).max()


def assert_forward(runtime_backbone: Any, hugging_face: Any, ids: Array, mask: Array) -> None:
    expected = outputs(hugging_face, ids, mask)
    logits, hidden = runtime_backbone.session().forward_with_hidden(Batch(ids, mask))
    assert_close(logits, expected.logits.numpy(), mask == 1)
    # transformers calls what the head compares with the tokens' vectors the last state, also where a matrix comes before.
    narrowing = [each for name, each in hugging_face.named_parameters() if "project_out" in name]
    for weight in narrowing:
        hidden = hidden @ weight.numpy(force=True).T
    assert_close(hidden, expected.hidden_states[-1].numpy(), mask == 1)


@pytest.mark.parametrize("front", [False, True], ids=["behind", "front"])
def test_scores_and_states(model: Any, front: bool) -> None:
    hugging_face, backbone = model
    for seed in range(3):
        assert_forward(backbone, hugging_face, *padded(seed, front))


def test_a_hidden_token_inside(model: Any) -> None:
    hugging_face, backbone = model
    ids, mask = padded(3, False)
    mask[0, 4] = mask[0, 0] = 0
    assert_forward(backbone, hugging_face, ids, mask)


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16], ids=["bf16", "f16"])
@pytest.mark.parametrize("name", DECODERS)
def test_half_precision_files(runtime: Runtime, tmp_path: Path, name: str, dtype: torch.dtype) -> None:
    path = save(name, tmp_path / "model", dtype=dtype)
    backbone, hugging_face = runtime.open(path), reference(name, path)
    # More and fewer rows than the products for few rows take.
    for ids, mask in [padded(2, False), (np.array([[5, 6, 7]], np.int32), np.ones((1, 3), np.int32))]:
        assert_forward(backbone, hugging_face, ids, mask)


def test_description(model: Any) -> None:
    hugging_face, backbone = model
    info, config = backbone.info, hugging_face.config
    assert info.architecture == "decoder-only" and info.has_head
    limit = 60
    assert (info.max_source_positions, info.max_target_positions) == (limit, limit)
    assert (info.encoder_layers, info.decoder_layers) == (0, 3)
    groups = getattr(config, "num_key_value_heads", 4)
    width = getattr(config, "head_dim", None) or config.hidden_size // 4
    assert (info.heads, info.kv_heads, info.head_dim, info.d_model) == (4, groups, width, config.hidden_size)
    assert (info.bos_token_id, info.pad_token_id, info.mask_token_id) == (0, PAD, None)
    assert info.eos_token_ids == (END,)
    inside = {"prompt.embedding", "layer.output", "projection"}
    # What stands before a text is as wide as the states.
    inside -= {"prompt.embedding"} if getattr(config, "word_embed_proj_dim", 24) != 24 else set()
    assert set(info.seams) == inside | {"attention.prefix", "prefix.tokens", "decoder.output"}
    whole = np.full((1, limit), 7, np.int32)
    assert_forward(backbone, hugging_face, whole, np.ones_like(whole))
    with pytest.raises(SeamError, match=f"at most {limit} positions"):
        backbone.session().forward(Batch(np.full((1, limit + 1), 7)))


def test_a_score_is_that_of_the_next_token(model: Any) -> None:
    hugging_face, backbone = model
    ids, mask = padded(4, False)
    labels = np.where((mask == 1) & (np.arange(ids.shape[1]) > 1), ids, -100).astype(np.int32)
    logs = torch.log_softmax(outputs(hugging_face, ids, mask).logits.double(), -1).numpy()
    for row, score in enumerate(backbone.session().score(Batch(ids, mask, labels))):
        at = np.flatnonzero(labels[row] >= 0)
        assert score.token_count == len(at)
        expected = sum(logs[row, place - 1, labels[row, place]] for place in at)
        assert score.log_probability == pytest.approx(expected, rel=1e-5, abs=1e-6)


# ---- Generation

SEARCHES: dict[str, dict[str, Any]] = {
    "greedy": {"num_beams": 1},
    "greedy with a least length": {"num_beams": 1, "min_new_tokens": 6},
    "beams": {"num_beams": 4},
    "long beams": {"num_beams": 4, "length_penalty": 2.0},
    "several beams": {"num_beams": 3, "num_return_sequences": 3},
}


@pytest.mark.parametrize("front", [False, True], ids=["behind", "front"])
@pytest.mark.parametrize("search", SEARCHES)
def test_generation(model: Any, search: str, front: bool) -> None:
    """transformers wants the prompts padded in front; SeamKit takes them either way."""
    hugging_face, backbone = model
    common = {"max_new_tokens": 14} | SEARCHES[search]
    ids, mask = padded(11, front, count=5, length=12)
    options = backbone.generate_options(**common)
    found = [each for item in backbone.session().generate(Batch(ids, mask), options) for each in item]
    ids, mask = in_front(ids, mask)
    with torch.no_grad():
        expected = hugging_face.generate(
            torch.from_numpy(ids).long(),
            attention_mask=torch.from_numpy(mask).long(),
            do_sample=False,
            **common,
            return_dict_in_generate=True,
            output_scores=True,
        )
    assert [each.tokens for each in found] == [until_end(row[ids.shape[1] :]) for row in expected.sequences.tolist()]
    if (scores := expected.get("sequences_scores")) is not None:
        assert [each.score for each in found] == pytest.approx(scores.tolist(), rel=1e-4, abs=1e-5)


def in_front(ids: Array, mask: Array) -> tuple[Array, Array]:
    order = np.argsort(mask, 1, kind="stable")
    return np.take_along_axis(ids, order, 1), np.take_along_axis(mask, order, 1)


def until_end(row: list[int]) -> list[int]:
    return row[: row.index(END) + 1] if END in row else row


# Dynamic frequencies are those of the longest row's length, as in transformers.
@pytest.mark.parametrize("model", [each for each in DECODERS if each != "llama-dynamic"], indirect=True)
def test_padding_does_not_matter(model: Any) -> None:
    _, backbone = model
    (ids, mask), session = padded(12, False), backbone.session()
    options = backbone.generate_options(max_new_tokens=12, num_beams=1)
    together = [item[0].tokens for item in session.generate(Batch(ids, mask), options)]
    for row, tokens in enumerate(together):
        alone = session.generate(Batch(ids[row : row + 1, : mask[row].sum()]), options)
        assert alone[0][0].tokens == tokens


def test_the_limit_counts_the_prompt(model: Any) -> None:
    _, backbone = model
    limit = backbone.info.max_target_positions
    batch = Batch(np.full((1, limit - 5), FIRST_WORD))
    options = backbone.generate_options(max_new_tokens=5, min_new_tokens=5)
    assert len(backbone.session().generate(batch, options)[0][0].tokens) == 5
    options.max_new_tokens = 6
    with pytest.raises(SeamError, match="max_new_tokens must be at most 5"):
        backbone.session().generate(batch, options)


# ---- Training


TRAINED = ["gpt2", "llama-biases", "qwen3", "gemma2", "gemma3", "phi3", "smollm3", "olmo2", "gpt-neox", "opt-350m"]


@pytest.mark.parametrize("name", TRAINED)
def test_a_training_step_is_that_of_pytorch(runtime: Runtime, tmp_path: Path, name: str) -> None:
    """Losses of Adam steps on all weights: the gradient passes the rotation, grouped heads and fused projections."""
    path = save(name, tmp_path / "model")
    hugging_face, session = reference(name, path), runtime.open(path).session()
    ids, mask = padded(5, False)
    labels = np.where(mask == 1, ids, -100).astype(np.int32)
    rate = 1e-3
    session.begin_training(
        train_backbone=1,
        backbone_learning_rate=rate,
        optimizer=constant("SEAM_OPTIMIZER_ADAM"),
        weight_decay=0.0,
        max_grad_norm=0.0,
    )
    optimizer = torch.optim.Adam(hugging_face.parameters(), lr=rate)
    given = {"input_ids": ids, "attention_mask": mask, "labels": labels}
    for _ in range(4):
        loss = hugging_face(**{key: torch.from_numpy(each).long() for key, each in given.items()}).loss
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        # Adam divides by the gradient's own size, which magnifies rounding where a gradient is almost zero.
        assert session.train_step(Batch(ids, mask, labels)).loss == pytest.approx(loss.item(), rel=2e-5)
    session.end_training()


# ---- Bad files

REFUSED: dict[str, tuple[str, dict[str, Any], str]] = {
    "inverse layers": ("gpt2", {"scale_attn_by_inverse_layer_idx": True}, "'scale_attn_by_inverse_layer_idx' is true"),
    "cross-attention": ("gpt2", {"add_cross_attention": True}, "'add_cross_attention' is true; expected false"),
    "heads": ("gpt2", {"n_head": 5}, "'n_embd' is 24 and 'n_head' 5; expected a number that divides the width"),
    "groups": ("llama", {"num_key_value_heads": 3}, "'num_key_value_heads' 3; expected a number that divides it"),
    "odd heads": ("llama", {"head_dim": 5}, "an even head_dim"),
    "negative heads": ("llama", {"head_dim": -2}, "'head_dim' is -2; expected 1 to"),
    "a type of rope": (
        "llama",
        {"rope_parameters": rope("axial")},
        "of the type 'axial'; expected default, linear, llama3, dynamic, yarn or longrope",
    ),
    "older type": ("llama", {"rope_parameters": None, "rope_scaling": {"type": "mrope"}}, "of the type 'mrope'"),
    "factors": (
        "phi3-longrope",
        {"rope_parameters": LONGROPE | {"long_factor": [1.0]}},
        "'rope_parameters.long_factor' has 1 numbers; expected 3",
    ),
    "layers": ("gemma2", {"layer_types": ["full_attention"]}, "'layer_types' has 1 layers; expected the 3"),
    "a kind of layer": (
        "qwen3",
        {"layer_types": ["full_attention", "chunked_attention", "full_attention"]},
        "'layer_types.1' is 'chunked_attention'; expected full_attention or sliding_attention",
    ),
    "window": ("mistral-window", {"sliding_window": -1}, "'sliding_window' is -1; expected 1 to"),
    "cap": ("gemma2", {"final_logit_softcapping": -1}, "'final_logit_softcapping' is -1.0; expected a positive number"),
    "both ways": ("gemma3", {"use_bidirectional_attention": True}, "'use_bidirectional_attention' is true"),
    "norms": ("opt", {"layer_norm_elementwise_affine": False}, "'layer_norm_elementwise_affine' is false"),
    "no factor": ("llama", {"rope_parameters": rope("linear")}, "'rope_parameters.factor' is missing"),
    "no frequencies": (
        "llama",
        {"rope_parameters": LLAMA3 | {"high_freq_factor": 0.5}},
        "'rope_parameters.high_freq_factor' must be above 'rope_parameters.low_freq_factor'",
    ),
    "partial": ("llama", {"partial_rotary_factor": 0.5}, "no 'partial_rotary_factor'"),
    "base": ("llama", {"rope_parameters": rope("default") | {"rope_theta": -1}}, "'rope_theta' above 1"),
    "no head": ("llama-tied", {"tie_word_embeddings": False}, '"lm_head.weight"'),
    "biases": ("qwen2", {"model_type": "llama", "attention_bias": True}, "self_attn.o_proj.bias"),
    "width": ("gpt2", {"n_embd": 32}, "'n_embd' is 32, but the tensor 'h.0.ln_1.weight' is 24 wide"),
}


@pytest.mark.parametrize("case", REFUSED)
def test_a_bad_config_is_one_sentence(runtime: Runtime, tmp_path: Path, case: str) -> None:
    name, changes, part = REFUSED[case]
    file = save(name, tmp_path / "model") / "config.json"
    file.write_text(json.dumps(json.loads(file.read_text()) | changes))
    with pytest.raises(SeamError) as caught:
        runtime.open(tmp_path / "model")
    assert part in caught.value.message


OLDER_SCALING: dict[str, dict[str, Any] | None] = {
    "plain": None,
    "linear": {"type": "linear", "factor": 4.0},
    "llama3": {key: value for key, value in LLAMA3.items() if key != "rope_theta"},
}


@pytest.mark.parametrize("scaling", OLDER_SCALING.values(), ids=OLDER_SCALING)
def test_configs_of_transformers_4(runtime: Runtime, tmp_path: Path, scaling: dict[str, Any] | None) -> None:
    """rope_theta and rope_scaling at the top, as most published files have them."""
    path = save("llama", tmp_path / "model")
    config = json.loads((path / "config.json").read_text())
    del config["rope_parameters"]
    (path / "config.json").write_text(json.dumps(config | {"rope_theta": 500.0, "rope_scaling": scaling}))
    assert_forward(runtime.open(path), reference("llama", path), *padded(1, True))


OLDER: dict[str, dict[str, Any]] = {
    "gemma3": {
        "rope_theta": 500.0,
        "rope_scaling": {"rope_type": "linear", "factor": 4.0},
        "rope_local_base_freq": 50.0,
        "sliding_window_pattern": 2,
        "layer_types": None,
    },
    "phi3-longrope": {
        "rope_theta": 500.0,
        "partial_rotary_factor": 0.75,
        "rope_scaling": {"type": "longrope", "short_factor": [1.0, 1.2, 1.5], "long_factor": [1.5, 3.0, 5.0]},
    },
    "gpt-neox": {"rotary_pct": 0.67, "rotary_emb_base": 500},
}


@pytest.mark.parametrize("name", OLDER)
def test_families_in_configs_of_transformers_4(runtime: Runtime, tmp_path: Path, name: str) -> None:
    path = save(name, tmp_path / "model")
    config = json.loads((path / "config.json").read_text())
    del config["rope_parameters"]
    (path / "config.json").write_text(json.dumps(config | OLDER[name]))
    for count in (4, 1):
        assert_forward(runtime.open(path), reference(name, path), *padded(1, True, length=5 if count == 1 else 17))


def test_caps_that_are_null_are_none(runtime: Runtime, tmp_path: Path) -> None:
    path = save("gemma2", tmp_path / "model")
    config = json.loads((path / "config.json").read_text())
    changes = {"attn_logit_softcapping": None, "final_logit_softcapping": None}
    (path / "config.json").write_text(json.dumps(config | changes))
    assert_forward(runtime.open(path), reference("gemma2", path), *padded(1, True))


def test_the_older_name_of_gpt_neoxs_head(runtime: Runtime, tmp_path: Path) -> None:
    path = save("gpt-neox", tmp_path / "model")
    hugging_face = reference("gpt-neox", path)
    tensors = load_file(path / "model.safetensors")
    tensors["embed_out.weight"] = tensors.pop("lm_head.weight" if "lm_head.weight" in tensors else "embed_out.weight")
    save_file(tensors, path / "model.safetensors", {"format": "pt"})
    assert_forward(runtime.open(path), hugging_face, *padded(1, True))


@pytest.mark.parametrize("name", ["gpt2", "llama-tied"])
def test_files_without_the_heads_prefix(runtime: Runtime, tmp_path: Path, name: str) -> None:
    """Saved from the body alone, as the published GPT-2 is; the head is the embedding."""
    hugging_face = reference(name, save(name, tmp_path / "model"))
    hugging_face.base_model.save_pretrained(tmp_path / "body")
    assert_forward(runtime.open(tmp_path / "body"), hugging_face, *padded(1, True))


def test_what_decoders_do_not_offer(runtime: Runtime, tmp_path: Path) -> None:
    backbone = runtime.open(save("llama", tmp_path / "model"))
    session, batch = backbone.session(), Batch(*padded(1, False))
    with pytest.raises(SeamError, match="the backbone has no encoder"):
        session.encode(batch)
    with pytest.raises(SeamError, match="the backbone has no encoder"):
        session.pool(batch)
    with pytest.raises(SeamError, match="'pooling' is 'cls', but 'llama' is no encoder-only model"):
        runtime.open(tmp_path / "model", options={"pooling": "cls"})

"""Adapters inside the layers of transformers models, at layer.output and projection: against the native engine on the
same folder, and against PEFT's LoRA."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

import family_models
import seamkit
import seamkit.torch as engine
from layer_models import all_targets, assert_close, disturb, inputs, opened, places
from prefix_reference import DECODERS, ENCODER_DECODERS, ENCODERS, FAMILIES, save
from seamkit import locations
from seamkit.torch.point_hooks import hooks as point_hooks


@pytest.fixture(scope="module")
def runtime(low_rank: Path) -> seamkit.Runtime:
    return seamkit.Runtime(
        [locations.library(f"lib{each}.so") for each in ("Transformer", "PrefixTuning", "LoRA")] + [low_rank]
    )


@pytest.fixture(scope="module")
def folders(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    return {name: save(name, tmp_path_factory.mktemp(name)) for name in FAMILIES}


def attach_all(model: Any) -> list[engine.Adapter]:
    """Low-rank updates behind every matrix, factors before some of them, and a vector behind the layers."""
    names = all_targets(model)
    factors = [each for each in names if each in ("k", "v", "qkv", "cross_k", "down")]
    return [
        seamkit.attach(model, "low-rank", rank=3, scale=0.5, targets=names),
        seamkit.attach(model, "scale-input", targets=factors),
        seamkit.attach(model, "steer"),
    ]


@pytest.mark.parametrize("name", FAMILIES)
def test_points_are_those_of_the_native_engine(runtime: seamkit.Runtime, folders: dict[str, Path], name: str) -> None:
    expected = runtime.open(folders[name]).info.points
    site = engine.Site.of(opened(name, folders[name]))
    assert site.points == expected and expected
    assert set(site.seams) >= {"layer.output", "projection"}


@pytest.mark.parametrize("name", FAMILIES)
def test_from_torch_to_the_native_engine_and_back(
    runtime: seamkit.Runtime, folders: dict[str, Path], tmp_path: Path, name: str
) -> None:
    model, (batch, given) = opened(name, folders[name]), inputs(name)
    with torch.no_grad():
        plain = model(**given).logits
        adapters = attach_all(model)
        assert torch.equal(model(**given).logits, plain), "they start as the identity, to the last bit"
    disturb(adapters)
    logits = model(**given).logits
    assert (logits - plain).abs().max() > 1e-2
    seamkit.save(model, tmp_path / "torch")
    backbone = runtime.open(folders[name])
    session = backbone.session()
    session.load(tmp_path / "torch")
    assert_close(logits, session.forward(batch), places(name, batch))
    loaded = session.adapters
    for mine, theirs in zip(adapters, loaded, strict=True):
        assert theirs.describe()["points"] == [str(each) for each in mine.points]
        assert list(theirs.parameters) == list(mine.state_dict())
    session.save(tmp_path / "native")
    for each in ("1-low-rank", "2-scale-input", "3-steer"):
        for file in ("adapter_config.json", "README.md"):
            assert (tmp_path / "native" / each / file).read_text() == (tmp_path / "torch" / each / file).read_text()
    other = opened(name, folders[name])
    seamkit.load(tmp_path / "native", other)
    assert torch.equal(other(**given).logits, logits)
    seamkit.detach(model)
    with torch.no_grad():
        assert torch.equal(model(**given).logits, plain)
    assert not any(each._forward_hooks or each._forward_pre_hooks for each in model.modules())


@pytest.mark.parametrize("name", ["t5", "bart", "bert", "gpt2", "llama"])
def test_training_follows_the_native_engine(runtime: seamkit.Runtime, folders: dict[str, Path], name: str) -> None:
    """Ten steps of AdamW in the user's loop; losses within 1e-4, relative, and so the gradients."""
    batch, given = inputs(name, 6)
    model = opened(name, folders[name])
    options = {"rank": 2, "targets": all_targets(model)}
    adapters = [
        seamkit.attach(model, "low-rank", random_seed=1, **options),
        seamkit.attach(model, "scale-input"),
        seamkit.attach(model, "steer"),
    ]
    backbone = runtime.open(folders[name])
    session = backbone.session(
        backbone.adapter("low-rank", options, seed=1), backbone.adapter("scale-input"), backbone.adapter("steer")
    )
    # Epsilon is large enough for the rounding noise of vanishing gradients not to be blown up to whole steps.
    session.begin_training(learning_rate=1e-2, max_grad_norm=0, epsilon=1e-4, weight_decay=0.01)
    parameters = [each for adapter in adapters for each in adapter.parameters()]
    optimizer = torch.optim.AdamW(parameters, lr=1e-2, eps=1e-4, weight_decay=0.01)
    labels = torch.from_numpy(batch.labels).long()
    found, expected = [], []
    for _ in range(10):
        optimizer.zero_grad()
        logits = model(**given).logits
        mine, theirs = (logits[:, :-1], labels[:, 1:]) if name in DECODERS else (logits, labels)
        loss = torch.nn.functional.cross_entropy(mine.flatten(0, 1), theirs.flatten())
        loss.backward()
        optimizer.step()
        found.append(loss.item())
        expected.append(session.train_step(batch).loss)
    assert found == pytest.approx(expected, rel=1e-4) and found[-1] < found[0]
    session.end_training()
    for adapter, native in zip(adapters, session.adapters, strict=True):
        for key, value in native.parameters.items():
            assert np.allclose(adapter.state_dict()[key].numpy(), value, rtol=1e-3, atol=1e-3), key


@pytest.mark.parametrize("name", ["t5", "bart", "gpt2", "llama"])
@pytest.mark.parametrize("beams", [1, 3])
def test_generation_is_the_native_one(
    runtime: seamkit.Runtime, folders: dict[str, Path], tmp_path: Path, name: str, beams: int
) -> None:
    """Step by step with a cache, where a point sees only the newest token."""
    model, (batch, given) = opened(name, folders[name]), inputs(name, 4, labels=False)
    disturb(attach_all(model))
    seamkit.save(model, tmp_path / "adapters")
    found = model.generate(
        input_ids=given["input_ids"],
        attention_mask=given["attention_mask"],
        num_beams=beams,
        max_new_tokens=8,
        do_sample=False,
    )
    backbone = runtime.open(folders[name])
    session = backbone.session()
    session.load(tmp_path / "adapters")
    expected = session.generate(batch, backbone.generate_options(num_beams=beams, max_new_tokens=8))
    begun = 1 if name in ENCODER_DECODERS else given["input_ids"].shape[1]
    for mine, [theirs, *_] in zip(found[:, begun:].tolist(), expected, strict=True):
        assert mine[: len(theirs.tokens)] == theirs.tokens


@pytest.mark.parametrize("name", ["bert", "gpt2", "llama"])
def test_beside_a_prefix(runtime: seamkit.Runtime, folders: dict[str, Path], tmp_path: Path, name: str) -> None:
    model, (batch, given) = opened(name, folders[name]), inputs(name)
    attention = "encoder" if name in ENCODERS else "decoder"
    prefix = seamkit.attach(model, "prefix-tuning", prefix_length=3, attention=attention)
    disturb([prefix, *attach_all(model)])
    seamkit.save(model, tmp_path / "adapters")
    session = runtime.open(folders[name]).session()
    session.load(tmp_path / "adapters")
    assert_close(model(**given).logits, session.forward(batch), places(name, batch))


def test_gradient_checkpointing(low_rank: Path, folders: dict[str, Path]) -> None:
    """Layers that are run again in the backward pass see the same tokens."""
    gradients = []
    for checkpointing in (False, True):
        model, (_, given) = opened("llama", folders["llama"]), inputs("llama")
        adapters = attach_all(model)
        disturb(adapters)
        if checkpointing:
            model.gradient_checkpointing_enable({"use_reentrant": False})
        model.train()
        model(**given, use_cache=False).logits.square().mean().backward()
        gradients.append([each.grad for adapter in adapters for each in adapter.parameters()])
    for one, other in zip(*gradients, strict=True):
        torch.testing.assert_close(one, other)


def test_a_compiled_model_is_one_graph(low_rank: Path, folders: dict[str, Path]) -> None:
    """After two calls, which run the plugins and make their traces into modules."""
    model, (_, given) = opened("llama", folders["llama"]), inputs("llama")
    disturb(attach_all(model))
    for _ in range(2):
        expected = model(**given, use_cache=False).logits
    compiled: Any = torch.compile(model, backend="aot_eager", fullgraph=True)
    assert_close(compiled(**given, use_cache=False).logits, expected.detach().numpy())


def test_half_precision(low_rank: Path, folders: dict[str, Path]) -> None:
    """A model in bf16: adapters compute in f32 and give bf16; only the rounding of states, 2^-8, is left."""
    model, (_, given) = opened("llama", folders["llama"]), inputs("llama")
    disturb(attach_all(model))
    expected = model(**given).logits
    for each in model.children():
        if each is not model.seamkit:
            each.to(torch.bfloat16)
    found = model(**given).logits
    assert found.dtype == torch.bfloat16
    assert (found - expected).abs().max() <= 2**-4 * expected.abs().max()


# Families that the native engine does not know: the names of their matrices, "" for none.
OTHERS = {
    "distilbert": "q k v o up down",
    "camembert": "q k v o up down",
    "deberta-v2": "q k v o up down",
    "modernbert": "qkv o gate_up down",
    "gemma": "q k v o gate up down",
    "qwen3": "q k v o gate up down",
    "qwen3_moe": "q k v o",
    "opt": "q k v o up down",
    "gpt_bigcode": "qkv o up down",
    "gpt_neox": "qkv o up down",
    "phi": "q k v",
    "olmo": "q k v o gate up down",
    "m2m_100": "q k v o up down cross_q cross_k cross_v cross_o",
    "t5gemma": "q k v o gate up down",
    "whisper": "q k v o up down cross_q cross_k cross_v cross_o",
}


@torch.no_grad()
@pytest.mark.parametrize("name", OTHERS)
def test_families_that_nobody_described(low_rank: Path, name: str) -> None:
    """The update in the weights themselves gives the same."""
    model, given = family_models.made(name), family_models.inputs(name)
    assert " ".join(all_targets(model)) == OTHERS[name]
    assert "layer.output" in engine.Site.of(model).seams
    if not OTHERS[name]:
        return
    adapter = seamkit.attach(model, "low-rank", targets=all_targets(model))
    disturb([adapter])
    found, factors = model(**given)[0], adapter.state_dict()
    places = [each for each in engine.families.located_points(model) if each.point in adapter.points]
    seamkit.detach(model)
    for each in places:
        each.weight.add_(factors[f"{each.point}.b"] @ factors[f"{each.point}.a"])
    assert_close(found, model(**given)[0].numpy())


# ---- Wrong use


@pytest.mark.parametrize(
    "name, id, options",
    [
        ("llama", "low-rank", {"targets": ["qq", "v", "k_proj"], "layers": [0, 9]}),
        ("gpt2", "low-rank", {"targets": "q,v"}),
        ("gpt2", "steer", {"stack": "encoder"}),
        ("t5", "low-rank", {"layers": [2], "stack": "decoder", "targets": ["gate"]}),
        ("t5", "steer", {"layers": "2-4"}),
        ("bert", "low-rank", {"targets": []}),
        ("bert", "low-rank", {"targets": ["q", ""]}),
        ("bert", "low-rank", {"layers": [True]}),
        ("bert", "low-rank", {"layers": "1-0"}),
        ("bert", "low-rank", {"layers": -1}),
        ("bert", "low-rank", {"stack": "left"}),
        ("bert", "low-rank", {"stack": None}),
        ("bert", "low-rank", {"rnk": 2}),
    ],
)
def test_wrong_choices_get_the_native_sentence(
    runtime: seamkit.Runtime, folders: dict[str, Path], name: str, id: str, options: dict[str, Any]
) -> None:
    with pytest.raises(seamkit.SeamError) as native:
        runtime.open(folders[name]).adapter(id, options)
    model = opened(name, folders[name])
    with pytest.raises(seamkit.SeamError) as torches:
        seamkit.attach(model, id, **options)
    assert str(torches.value) == str(native.value) and torches.value.code == native.value.code
    assert engine.attached(model) == []


def test_a_matrix_that_is_gone_around(low_rank: Path, folders: dict[str, Path]) -> None:
    model, (_, given) = opened("llama", folders["llama"]), inputs("llama")
    model.model.layers[1].mlp.forward = lambda states: states
    seamkit.attach(model, "low-rank", targets=["up"])
    with pytest.raises(seamkit.UnsupportedError, match='does not call the module at the point "decoder.1.up"'):
        model(**given)


def test_an_adapter_of_another_model(low_rank: Path, folders: dict[str, Path], tmp_path: Path) -> None:
    model = opened("t5", folders["t5"])
    adapter = seamkit.attach(model, "low-rank", targets=["up"], layers=[0])
    adapter.save(tmp_path / "adapter")
    seamkit.detach(model)
    other = opened("bart", folders["bart"])
    with pytest.raises(seamkit.IncompatibleError):
        seamkit.load(tmp_path / "adapter", other)
    made = engine.Adapter("low-rank", engine.Site.of(model), {"targets": ["gate"]} | {"targets": "up"})
    assert point_hooks(other, type("None", (), {"adapters": []})()) == []
    with pytest.raises(seamkit.SeamError):
        seamkit.attach(other, made)
    with pytest.raises(seamkit.UnsupportedError, match='has no seam "projection"'):
        engine.Adapter("low-rank", engine.Site.of(model.config))

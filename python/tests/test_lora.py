"""LoRA on both engines, against PEFT."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import peft
import pytest
import torch

import seamkit
import seamkit.torch as engine
from layer_models import Training, assert_close, inputs, opened, places
from prefix_reference import save

# PEFT's target_modules, by what their paths end in, and the same matrices by our names.
LORA = {
    "t5": (["q", "v"], ["q", "v", "cross_q", "cross_v"]),
    "bart": (["k_proj", "fc1"], ["k", "cross_k", "up"]),
    "bert": (["query", "value"], ["q", "v"]),
    "roberta": (["key"], ["k"]),
    "gpt2": (["c_attn", "c_fc"], ["qkv", "up"]),
    "llama": (["q_proj", "up_proj", "down_proj"], ["q", "up", "down"]),
    "qwen2": (["o_proj"], ["o"]),
}


def theirs(name: str, folder: Path, **settings: Any) -> Any:
    """PEFT's model from its own start or, with init_lora_weights=False, from numbers that change what it computes."""
    targets, _ = LORA[name]
    config = peft.LoraConfig(
        r=3, lora_alpha=5, target_modules=targets, fan_in_fan_out=name == "gpt2", use_rslora=name == "bart", **settings
    )
    torch.manual_seed(0)
    return peft.get_peft_model(opened(name, folder), config).eval()


def options(name: str) -> dict[str, Any]:
    return {"r": 3, "lora_alpha": 5, "targets": LORA[name][1], "use_rslora": name == "bart"}


def pairs(name: str, folder: Path, expected: Any) -> dict[str, torch.Tensor]:
    """PEFT's parameters by the names of ours."""
    model, found = opened(name, folder), {}
    points = seamkit.attach(model, "lora", **options(name)).points
    modules = dict(expected.base_model.model.named_modules())
    for place in engine.families.located_points(model):
        if place.point in points:
            path = next(key for key, each in model.named_modules() if each is place.module)
            for part in ("lora_A", "lora_B"):
                found[f"{place.point}.{part}.weight"] = getattr(modules[path], part)["default"].weight
    trained = [key for key, each in expected.named_parameters() if each.requires_grad and "magnitude" not in key]
    assert len(trained) == len(found)
    return found


@pytest.mark.parametrize("name", LORA)
def test_values_and_gradients_are_those_of_peft(runtime: seamkit.Runtime, tmp_path: Path, name: str) -> None:
    """Apart and, natively, merged."""
    folder, (batch, given) = save(name, tmp_path / "model"), inputs(name)
    expected, model = theirs(name, folder, init_lora_weights=False), opened(name, folder)
    adapter, own = seamkit.attach(model, "lora", **options(name)), pairs(name, folder, expected)
    assert sorted(own) == sorted(adapter.state_dict())
    adapter.load_state_dict({name: each.detach() for name, each in own.items()})
    mine, wanted = model(**given).logits, expected(**given).logits
    assert_close(mine, wanted.detach().numpy())
    mine.square().mean().backward()
    wanted.square().mean().backward()
    for key, each in own.items():
        gradient = adapter.get_parameter(key).grad
        assert gradient is not None and each.grad is not None
        assert (gradient - each.grad).abs().max() <= 1e-4 * max(each.grad.abs().max(), 1e-6), key
    adapter.save(tmp_path / "adapter")
    backbone = runtime.open(folder)
    native = backbone.load(tmp_path / "adapter")
    session = backbone.session(native)
    assert_close(mine, session.forward(batch), places(name, batch))
    session.merge(native)
    assert_close(mine, session.forward(batch), places(name, batch))


@pytest.mark.parametrize("name", LORA)
def test_it_trains_like_peft(runtime: seamkit.Runtime, tmp_path: Path, name: str) -> None:
    """From PEFT's start: 20 losses and what they lead to, on both engines."""
    folder, training = save(name, tmp_path / "model"), Training(name)
    expected = theirs(name, folder)
    start = {key: each.detach().clone() for key, each in pairs(name, folder, expected).items()}
    losses = training.torch(expected)
    logits = expected(**training.given).logits.detach()
    training.compare(runtime, folder, tmp_path, (losses, logits), "lora", options(name), start)


@pytest.mark.parametrize("name", ["t5", "bart", "gpt2", "llama"])
def test_dora_is_that_of_peft(runtime: seamkit.Runtime, tmp_path: Path, name: str) -> None:
    """20 losses from PEFT's start, then the logits, and natively those of the merged model. Nothing decays: here the
    change of a length would, in PEFT the length."""
    folder, training = save(name, tmp_path / "model"), Training(name)
    training.SETTINGS = training.SETTINGS | {"weight_decay": 0.0}
    expected, chosen = theirs(name, folder, use_dora=True), options(name) | {"use_dora": True}
    modules = [each for each in expected.modules() if hasattr(each, "lora_magnitude_vector")]
    assert modules
    start = {key: each.detach().clone() for key, each in pairs(name, folder, expected).items()}
    for point in seamkit.attach(opened(name, folder), "lora", **chosen).points:
        start[f"{point}.lora_magnitude_change"] = torch.zeros(point.output_width)
    losses = training.torch(expected)
    logits = expected(**training.given).logits.detach()
    adapter, session = training.compare(runtime, folder, tmp_path, (losses, logits), "lora", chosen, start)
    changes = [value for key, value in adapter.state_dict().items() if key.endswith("change")]
    assert all(each.abs().max() > 1e-3 for each in changes)
    # Without them it is another model.
    with torch.no_grad():
        for each in changes:
            each.zero_()
    batch = training.batch
    apart = session.forward(batch)
    plain = runtime.open(folder).session()
    adapter.save(tmp_path / "without")
    plain.load(tmp_path / "without")
    assert np.abs(plain.forward(batch) - apart).max() > 1e-3 * np.abs(apart).max()
    [native] = session.adapters
    session.merge(native)
    assert_close(torch.from_numpy(apart), session.forward(batch), places(name, batch))


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16], ids=["f16", "bf16"])
def test_dora_on_half_precision(runtime: seamkit.Runtime, tmp_path: Path, dtype: torch.dtype) -> None:
    """On a model whose matrices and biases are stored in half precision, natively, as in PyTorch on the same in f32."""
    folder, (batch, given) = save("bart", tmp_path / "model"), inputs("bart")
    opened("bart", folder).to(dtype).save_pretrained(folder)
    model = opened("bart", folder)
    chosen = options("bart") | {"use_dora": True}
    adapter = seamkit.attach(model, "lora", **chosen)
    with torch.no_grad():
        for each in adapter.parameters():
            each.normal_(0, 0.1)
    adapter.save(tmp_path / "adapter")
    session = runtime.open(folder).session()
    session.load(tmp_path / "adapter")
    assert_close(model(**given).logits, session.forward(batch), places("bart", batch))


@pytest.mark.parametrize("use_dora", [False, True])
def test_dropout_is_that_of_peft(runtime: seamkit.Runtime, tmp_path: Path, use_dora: bool) -> None:
    """In PyTorch 5 losses from PEFT's start, where both draw from torch's generator in the same order; natively, whose
    numbers are others, that what is drawn follows from the seed and the step, and that only a training draws."""
    folder, (batch, given) = save("llama", tmp_path / "model"), inputs("llama")
    expected = theirs("llama", folder, lora_dropout=0.5, use_dora=use_dora)
    model, chosen = opened("llama", folder), options("llama") | {"lora_dropout": 0.5, "use_dora": use_dora}
    adapter, own = seamkit.attach(model, "lora", **chosen), pairs("llama", folder, expected)
    adapter.load_state_dict({name: each.detach() for name, each in own.items()}, strict=False)
    adapter.save(tmp_path / "adapter")

    def losses(model: Any) -> list[float]:
        optimizer = torch.optim.SGD([each for each in model.parameters() if each.requires_grad], lr=0.5)
        found = []
        for step in range(5):
            torch.manual_seed(step)
            optimizer.zero_grad()
            loss = model(**given).logits.square().mean()
            loss.backward()
            optimizer.step()
            found.append(loss.item())
        return found

    without = losses(expected.eval())
    expected = theirs("llama", folder, lora_dropout=0.5, use_dora=use_dora)
    found, wanted = losses(model.train()), losses(expected.train())
    assert found == pytest.approx(wanted, rel=1e-5) and found[1:] != pytest.approx(without[1:], rel=1e-3)

    def native(seed: int) -> list[float]:
        session = runtime.open(folder).session()
        session.load(tmp_path / "adapter")
        plain = session.forward(batch)
        session.begin_training(learning_rate=1e-2, seed=seed)
        losses = [session.train_step(batch).loss for _ in range(4)]
        session.end_training()
        assert np.abs(session.forward(batch) - plain).max() > 0
        return losses

    # The first loss is that of the start, whose update is zero.
    one, same, other = native(1), native(1), native(2)
    assert one == same and one[0] == other[0] and one[2:] != other[2:]


@pytest.mark.parametrize("name", ["t5", "llama"])
def test_the_start(runtime: seamkit.Runtime, tmp_path: Path, name: str) -> None:
    """A is drawn from PEFT's distribution, B is zeros, and both engines draw the same."""
    folder = save(name, tmp_path / "model")
    expected, chosen = theirs(name, folder), options(name) | {"r": 64, "layers": [1]}
    native = runtime.open(folder).adapter("lora", chosen, seed=7)
    adapter = seamkit.attach(opened(name, folder), "lora", random_seed=7, **chosen)
    assert list(native.parameters) == list(adapter.state_dict())
    for key, value in native.parameters.items():
        assert np.array_equal(adapter.state_dict()[key].numpy(), value), key
        own = pairs(name, folder, expected)[key]
        if key.endswith("lora_B.weight"):
            assert not value.any() and not own.any()
        else:
            # Both are uniform within the same bound, which 64 rows reach and 3 nearly.
            bound = 1 / np.sqrt(value.shape[1])
            assert 0.99 * bound < np.abs(value).max() <= bound and 0.8 * bound < own.abs().max() <= bound


def filled(session: seamkit.Session, id: str, options: dict[str, Any], seed: int) -> Any:
    adapter, random = session.add(id, options), np.random.default_rng(seed)
    for value in adapter.parameters.values():
        value[...] = random.normal(1 if id == "ia3" else 0, 0.2, value.shape)
    return adapter


@pytest.mark.parametrize("other", ["lora", "ia3"])
def test_dora_behind_another(runtime: seamkit.Runtime, tmp_path: Path, other: str) -> None:
    """Merged it would take the lengths of the changed matrix: refused, whichever of the two is merged, and before the
    other both ways are one."""
    backbone = runtime.open(save("llama", tmp_path / "model"))
    batch, where = seamkit.Batch([[5, 6, 7, 8]]), {"targets": ["q", "v"]}
    session = backbone.session()
    first = filled(session, other, where, 1)
    dora = filled(session, "lora", where | {"use_dora": True}, 2)
    logits = session.forward(batch)
    with pytest.raises(seamkit.UnsupportedError, match="runs behind a merged one at .* is not linear in it"):
        session.merge(first)
    assert np.array_equal(session.forward(batch), logits)
    session.move(dora, 0)
    logits = session.forward(batch)
    session.merge(dora)
    assert_close(torch.from_numpy(logits), session.forward(batch))
    session.merge(first)
    assert_close(torch.from_numpy(logits), session.forward(batch))


def test_a_row_of_zeros(runtime: seamkit.Runtime, tmp_path: Path) -> None:
    """It has no direction that a length could be given to."""
    model = opened("llama", save("llama", tmp_path / "first"))
    with torch.no_grad():
        model.model.layers[0].self_attn.q_proj.weight[0] = 0
    model.save_pretrained(tmp_path / "model")
    backbone = runtime.open(tmp_path / "model")
    batch = seamkit.Batch([[5, 6, 7, 8]])
    session = backbone.session(backbone.adapter("lora", {"use_dora": True}))
    assert_close(torch.from_numpy(backbone.session().forward(batch)), session.forward(batch))

"""Prefixes under gradient checkpointing: the losses, gradients and texts are those without it."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from transformers import DynamicCache
from transformers.modeling_layers import GradientCheckpointingLayer

import seamkit
from family_models import inputs, made
from prefix_reference import ENCODERS, FAMILIES, PAST, texts
from single_stack import gpt2
from test_attach import disturb

# A family of each way to hand on the past: by keyword or by place, as layer_past, with a bias or with rotations.
MODELS = [
    "t5",
    "bart",
    "bert",
    "gpt2",
    "mistral-window",
    "bloom",
    "gpt_neo",
    "t5gemma",
    "vision-encoder-decoder",
    "whisper",
]
REENTRANT = {"use_reentrant": True}


def opened(name: str) -> tuple[Any, dict[str, torch.Tensor]]:
    """In training, without dropout."""
    if name not in FAMILIES:
        model, given = made(name), inputs(name)
    else:
        torch.manual_seed(0)
        model, batch = FAMILIES[name](), texts(name, 1, 3, "behind")
        names = ("input_ids", "attention_mask", "decoder_input_ids")
        given = {
            each: torch.from_numpy(getattr(batch, each)).long() for each in names if getattr(batch, each) is not None
        }
    for module in model.modules():
        for each in ("dropout", "attention_dropout", "activation_dropout", "p"):
            if isinstance(getattr(module, each, None), float):
                setattr(module, each, 0.0)
    return model.train(), given


def prefixed(model: Any) -> seamkit.torch.Adapter:
    adapter = seamkit.attach(model, "prefix-tuning", prefix_length=4, mlp_hidden_size=7, random_seed=2)
    disturb(adapter)
    return adapter


def checkpointed(model: Any, **arguments: Any) -> None:
    # The newer name stands in no transformers before 5.24.
    enable = getattr(model, "activation_checkpointing_enable", model.gradient_checkpointing_enable)
    enable(*([arguments] if arguments else []))


@pytest.mark.parametrize("name", MODELS)
def test_gradients_and_texts(name: str) -> None:
    model, given = opened(name)
    adapter = prefixed(model)

    def step() -> list[torch.Tensor]:
        adapter.zero_grad()
        loss = model(**given).logits.square().mean()
        loss.backward()
        return [loss.detach(), *[each.grad.clone() for each in adapter.parameters()]]

    def generated(**options: Any) -> torch.Tensor:
        """In training, too: nothing is dropped out."""
        own = {key: each for key, each in given.items() if key not in ("position_ids", "decoder_input_ids")}
        model.generation_config.eos_token_id = None
        found: torch.Tensor = model.generate(**own, max_new_tokens=5, do_sample=False, **options)
        return found

    expected = step()
    texts = None if name in ENCODERS else generated()
    runs: list[None] = []
    layer = [each for each in model.modules() if isinstance(each, GradientCheckpointingLayer)][-1]
    # What runs again stops where nothing more is needed.
    first = next(each for each in layer.modules() if not list(each.children()))
    first.register_forward_hook(lambda *_: runs.append(None))
    checkpointed(model)
    for _ in range(2):
        for mine, theirs in zip(step(), expected, strict=True):
            assert (mine - theirs).abs().max() <= 1e-5 * theirs.abs().max() and theirs.abs().max() > 0
    assert len(runs) == 4, "each layer runs twice in a step"
    assert texts is None or torch.equal(generated(), texts) and torch.equal(generated(use_cache=False), texts)
    seamkit.detach(model)
    functions = {type(getattr(each, "_gradient_checkpointing_func", None)).__name__ for each in model.modules()}
    assert functions <= {"NoneType", "partial"}, "what was there before"


def test_every_second_layer() -> None:
    model, given = opened("llama")
    adapter = prefixed(model)
    model(**given).logits.square().mean().backward()
    expected = [each.grad.clone() for each in adapter.parameters()]
    adapter.zero_grad()
    model.activation_checkpointing_enable(every_n_layers=2)
    model(**given).logits.square().mean().backward()
    for mine, theirs in zip((each.grad for each in adapter.parameters()), expected, strict=True):
        assert (mine - theirs).abs().max() <= 1e-5 * theirs.abs().max()


def test_a_gate_trains_along() -> None:
    model, given = opened("t5")
    prefix = prefixed(model)
    gate = seamkit.attach(model, "gate", scope="token-layer")
    checkpointed(model)
    model(**given).logits.square().mean().backward()
    assert all(each.grad.abs().max() > 0 for each in [*prefix.parameters(), *gate.parameters()])


def test_refusals() -> None:
    model, ids = gpt2(n_positions=80).train(), torch.tensor([[5, 6, 7, 8]])
    prefixed(model)
    checkpointed(model, use_reentrant=True)
    with pytest.raises(seamkit.UnsupportedError, match="gets no gradient .* use_reentrant=True: turn it on with"):
        model(input_ids=ids)
    checkpointed(model)
    with pytest.raises(seamkit.UnsupportedError, match="nothing of a text is kept in .*: call the model without it"):
        model(input_ids=ids, **{PAST: DynamicCache()})

"""Prefixes in transformers models, in all attentions that they have, against the native engine on the same folder."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from transformers import DynamicCache

import seamkit
from prefix_reference import DECODERS, ENCODER_DECODERS, FAMILIES, PAST, WINDOWED, save, texts
from seamkit.torch import attached
from single_stack import places
from test_attach import assert_close, disturb, opened

METHODS: dict[str, dict[str, Any]] = {
    "prefix-tuning": {"prefix_length": 5},
    "residual-prefix": {"prefix_length": 4, "mlp_hidden_size": 9},
}


@pytest.fixture(scope="module")
def folders(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    return {name: save(name, tmp_path_factory.mktemp(name)) for name in FAMILIES}


def inputs(
    name: str, seed: int = 1, padding: str = "front", labels: bool = True
) -> tuple[seamkit.Batch, dict[str, torch.Tensor]]:
    """Where the native engine counts a row's own tokens, transformers leaves the positions to the caller."""
    given = texts(name, seed, 3, "none" if name in WINDOWED else padding, labels)
    names = ("input_ids", "attention_mask", "decoder_input_ids")
    arrays = {each: getattr(given, each) for each in names if getattr(given, each) is not None}
    if name in WINDOWED:
        # transformers would find padding in the ids.
        arrays["attention_mask"] = np.ones_like(given.input_ids)
    elif name in DECODERS and given.attention_mask is not None:
        arrays["position_ids"] = places(given.attention_mask)
    batch = seamkit.Batch(given.input_ids, given.attention_mask, given.labels, given.decoder_input_ids)
    return batch, {each: torch.from_numpy(np.asarray(value)).long() for each, value in arrays.items()}


@pytest.mark.parametrize("method", METHODS)
@pytest.mark.parametrize("name", FAMILIES)
def test_from_torch_to_the_native_engine_and_back(
    runtime: seamkit.Runtime, folders: dict[str, Path], tmp_path: Path, name: str, method: str
) -> None:
    """A prefix of each attention and a gate behind it."""
    model, (batch, given) = opened(name, folders[name]), inputs(name)
    with torch.no_grad():
        plain = model(**given).logits
    prefix = seamkit.attach(model, method, random_seed=4, **METHODS[method])
    gate = seamkit.attach(model, "gate", scope="token-layer")
    disturb(prefix)
    disturb(gate)
    logits = model(**given).logits
    seamkit.save(model, tmp_path / "adapters")
    session = runtime.open(folders[name]).session()
    session.load(tmp_path / "adapters")
    mask = None if name in ENCODER_DECODERS else batch.attention_mask
    assert_close(logits, session.forward(batch), mask)
    session.save(tmp_path / "native")
    other = opened(name, folders[name])
    loaded = seamkit.load(tmp_path / "native", other)
    assert isinstance(loaded, list) and [each.id for each in loaded] == [method, "gate"]
    assert torch.equal(other(**given).logits, logits)
    seamkit.detach(model)
    with torch.no_grad():
        assert torch.equal(model(**given).logits, plain)
    # The gate's folder knows the prefix that it is for.
    assert json.loads((tmp_path / "adapters/2-gate/adapter_config.json").read_text())["prefix_length"] == list(
        loaded[1].prefix_length
    )


@pytest.mark.parametrize("beams", [1, 3])
@pytest.mark.parametrize("name", [*DECODERS, "t5", "bart"])
def test_generation_is_the_native_one(
    runtime: seamkit.Runtime, folders: dict[str, Path], tmp_path: Path, name: str, beams: int
) -> None:
    model, (batch, given) = opened(name, folders[name]), inputs(name, 4, labels=False)
    adapter = seamkit.attach(model, "prefix-tuning", **METHODS["prefix-tuning"])
    disturb(adapter)
    adapter.save(tmp_path / "adapter")
    settings: dict[str, Any] = {"num_beams": beams, "max_new_tokens": 8}
    keys = ("input_ids", "attention_mask")
    found = model.generate(**{each: given[each] for each in keys if each in given}, do_sample=False, **settings)
    uncached = model.generate(
        **{each: given[each] for each in keys if each in given}, do_sample=False, use_cache=False, **settings
    )
    assert torch.equal(found, uncached)
    backbone = runtime.open(folders[name])
    expected = backbone.session(backbone.load(tmp_path / "adapter")).generate(
        batch, backbone.generate_options(**settings)
    )
    begun = 1 if name in ENCODER_DECODERS else given["input_ids"].shape[1]
    for mine, [theirs, *_] in zip(found[:, begun:].tolist(), expected, strict=True):
        assert mine[: len(theirs.tokens)] == theirs.tokens


@pytest.mark.parametrize("name", ["gpt2", "llama", "bert", "bart"])
def test_training_follows_the_native_engine(runtime: seamkit.Runtime, folders: dict[str, Path], name: str) -> None:
    """Ten steps of SGD-like AdamW in the user's loop; losses within 1e-4, relative."""
    batch, given = inputs(name, 6)
    model = opened(name, folders[name])
    prefix = seamkit.attach(model, "residual-prefix", random_seed=1, **METHODS["residual-prefix"])
    gate = seamkit.attach(model, "gate")
    session = runtime.open(folders[name]).session()
    session.add("residual-prefix", METHODS["residual-prefix"], seed=1)
    session.add("gate")
    # Epsilon is large enough for the rounding noise of vanishing gradients not to be blown up to whole steps.
    settings = {"weight_decay": 0.01}
    session.begin_training(learning_rate=1e-2, max_grad_norm=0, epsilon=1e-4, **settings)
    parameters = [*prefix.parameters(), *gate.parameters()]
    optimizer = torch.optim.AdamW(parameters, lr=1e-2, eps=1e-4, **settings)
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


@torch.no_grad()
@pytest.mark.parametrize("name", ["gpt2", "llama", "bert", "t5"])
def test_a_model_in_half_precision(folders: dict[str, Path], name: str) -> None:
    """In bf16 the adapter's own numbers stay f32. What is left is the model's rounding, 2^-8 in each of its layers."""
    model, (_, given) = opened(name, folders[name]), inputs(name)
    adapters = [seamkit.attach(model, "prefix-tuning", **METHODS["prefix-tuning"])]
    if name in ("bert", "t5"):
        adapters.append(seamkit.attach(model, "repcali"))
    for each in adapters:
        disturb(each)
    expected = model(**given).logits
    seamkit.detach(model)
    model.bfloat16()
    for each in adapters:
        seamkit.attach(model, each)
    found = model(**given).logits
    assert found.dtype == torch.bfloat16 and all(each.dtype == torch.float32 for each in adapters[0].parameters())
    assert (found - expected).abs().max() <= 0.06 * expected.abs().max()


@pytest.mark.parametrize("name", ["t5", "bart"])
def test_every_attention_function(folders: dict[str, Path], name: str) -> None:
    """Also one that is chosen later; its weights are those of the prefix, too."""
    model, (_, given) = opened(name, folders[name]), inputs(name)
    own = [each for each in model.modules() if hasattr(each, "config")]
    configs = [each.config for each in own]
    adapter = seamkit.attach(model, "prefix-tuning", prefix_length=5)
    disturb(adapter)
    expected = model(**given).logits
    model.set_attn_implementation("eager")
    found = model(**given, output_attentions=True)
    assert_close(found.logits, expected.detach().numpy())
    source, target = given["input_ids"].shape[1], given["decoder_input_ids"].shape[1]
    widths = [
        part[0].shape[-1] for part in (found.encoder_attentions, found.decoder_attentions, found.cross_attentions)
    ]
    assert widths == [source + 5, target + 5, source + 5]
    seamkit.detach(model)
    assert all(each.config is before for each, before in zip(own, configs, strict=True))


@torch.no_grad()
def test_what_the_encoder_gave_without_a_prefix(folders: dict[str, Path], caplog: pytest.LogCaptureFixture) -> None:
    model, (_, given) = opened("bart", folders["bart"]), inputs("bart")
    states = model.get_encoder()(given["input_ids"])
    disturb(seamkit.attach(model, "prefix-tuning", prefix_length=5))
    for _ in range(2):
        model(encoder_outputs=states, decoder_input_ids=given["decoder_input_ids"])
    assert caplog.text.count("the encoder has not run since a prefix was attached to it") == 1


def test_two_prefixes_one_after_the_other(runtime: seamkit.Runtime, folders: dict[str, Path], tmp_path: Path) -> None:
    model, (batch, given) = opened("llama", folders["llama"]), inputs("llama")
    disturb(seamkit.attach(model, "prefix-tuning", prefix_length=3))
    disturb(seamkit.attach(model, "prefix-tuning", prefix_length=4, reparameterization="none"))
    logits = model(**given).logits
    seamkit.save(model, tmp_path / "both")
    session = runtime.open(folders["llama"]).session()
    session.load(tmp_path / "both")
    assert_close(logits, session.forward(batch), batch.attention_mask)


@pytest.mark.parametrize("past", sorted({PAST, "past_key_values"}))
@pytest.mark.parametrize("part", ["model", "base_model"])
def test_a_cache_goes_on(folders: dict[str, Path], part: str, past: str) -> None:
    """The prefix enters once; later calls with the same cache go on behind it, under either name of transformers'."""
    model, (_, given) = opened("gpt2", folders["gpt2"]), inputs("gpt2", padding="none")
    disturb(seamkit.attach(model, "prefix-tuning", prefix_length=5))
    ids = given["input_ids"]
    called = model if part == "model" else model.base_model
    with torch.no_grad():
        whole = called(input_ids=ids)[0]
        cache = DynamicCache()
        first = called(input_ids=ids[:, :7], use_cache=True, **{past: cache})[0]
        second = called(input_ids=ids[:, 7:], use_cache=True, **{past: cache})[0]
    assert cache.get_seq_length() == ids.shape[1] + 5
    assert (torch.cat([first, second], 1) - whole).abs().max() <= 1e-5 * whole.abs().max()


def test_refusals(folders: dict[str, Path]) -> None:
    bart, gpt2, bert = (opened(name, folders[name]) for name in ("bart", "gpt2", "bert"))
    with pytest.raises(seamkit.InvalidArgumentError, match="weights the tokens of a prefix|there are none here"):
        seamkit.attach(gpt2, "gate")
    with pytest.raises(seamkit.InvalidArgumentError, match="at most 79"):
        seamkit.attach(gpt2, "prefix-tuning", prefix_length=80)
    with pytest.raises(seamkit.UnsupportedError, match='no seam "encoder.output"'):
        seamkit.attach(gpt2, "repcali")
    assert attached(bart) == attached(gpt2) == []
    prefix = seamkit.attach(gpt2, "prefix-tuning", prefix_length=5)
    gate = seamkit.attach(gpt2, "gate")
    with pytest.raises(seamkit.InvalidArgumentError, match="none is attached before it"):
        seamkit.detach(gpt2, prefix)
    with pytest.raises(seamkit.IncompatibleError, match="for a prefix of 5 tokens, the one attached has 10"):
        seamkit.attach(gpt2, "prefix-tuning", prefix_length=5)
    assert attached(gpt2) == [prefix, gate]
    ids = torch.ones(1, 4, dtype=torch.long)
    full = DynamicCache()
    full.update(torch.zeros(1, 4, 3, 6), torch.zeros(1, 4, 3, 6), 0)
    with pytest.raises(seamkit.UnsupportedError, match="an empty DynamicCache"):
        gpt2(input_ids=ids, **{PAST: full})
    with pytest.raises(seamkit.UnsupportedError, match="of the text alone"):
        gpt2(input_ids=ids, attention_mask=torch.ones(1, 1, 4, 4))
    bart.set_attn_implementation("flex_attention")
    seamkit.attach(bart, "prefix-tuning", attention="cross")
    with pytest.raises(seamkit.UnsupportedError, match='needs the attn_implementation "eager" or "sdpa"'):
        bart(input_ids=ids)
    seamkit.detach(bart)
    with pytest.raises(seamkit.IncompatibleError, match="head_dim"):
        seamkit.attach(
            bert,
            seamkit.torch.Adapter(
                "prefix-tuning", seamkit.torch.Site("bert", 24, 3, 0, 4, 4, 5, 80, 80, 61, (3, 0, 0), (79, 0, 0))
            ),
        )

"""LoReFT, NoReFT and DiReFT on both engines, against the formulas of pyreft in PyTorch."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch
from torch.nn import functional

import seamkit
import seamkit.torch as engine
from layer_models import Training, disturb, inputs, opened, reference
from prefix_reference import DECODERS, save

Own = dict[str, torch.Tensor]


def source(h: torch.Tensor, own: Own) -> torch.Tensor:
    return functional.linear(h, own["learned_source/weight"], own["learned_source/bias"])


def rotation(own: Own) -> torch.Tensor:
    """R [rank, width], of whole Householder matrices."""
    rows = own["rotate_layer/base"]
    for normal in own["rotate_layer/reflections"]:
        rows = rows @ (torch.eye(len(normal)) - 2 * torch.outer(normal, normal) / normal.dot(normal))
    return rows


def loreft(h: torch.Tensor, own: Own) -> torch.Tensor:
    rows = rotation(own)
    return h + (source(h, own) - h @ rows.T) @ rows


def noreft(h: torch.Tensor, own: Own) -> torch.Tensor:
    rows = own["proj_layer/weight"]
    return h + (source(h, own) - h @ rows.T) @ rows


def direft(h: torch.Tensor, own: Own) -> torch.Tensor:
    return h + source(h, own) @ own["proj_layer/weight"]


METHODS = {"loreft": loreft, "noreft": noreft, "direft": direft}


@pytest.mark.parametrize("name", ["t5", "bert", "llama"])
@pytest.mark.parametrize("id", METHODS)
def test_it_trains_like_torch(runtime: seamkit.Runtime, tmp_path: Path, name: str, id: str) -> None:
    """Everywhere in a text, from the adapter's own start."""
    folder, training = save(name, tmp_path / "model"), Training(name)
    base = "rotate_layer/base"

    def method(h: torch.Tensor, own: Own) -> torch.Tensor:
        # Not trained.
        own = own | {base: own[base].detach()} if base in own else own
        return METHODS[id](h, own)

    options = {"rank": 3}
    expected, start = reference(training, folder, id, options, method)
    training.compare(runtime, folder, tmp_path, expected, id, options, start)


def test_directions_stay_orthonormal(runtime: seamkit.Runtime, tmp_path: Path) -> None:
    """R before and behind 20 large steps, as it is saved; and with it, in pyreft's formula, the same states."""
    folder, training = save("bert", tmp_path / "model"), Training("bert")
    model = opened("bert", folder)
    adapter = seamkit.attach(model, "loreft", rank=5, random_seed=2)
    first = adapter.folded().state_dict()
    for each in adapter.parameters():
        each.data.mul_(3)
    training.torch(model)
    folded = adapter.folded()
    last = folded.state_dict()
    assert not any(key.endswith(("base", "reflections")) for key in last)
    for key in [key for key in last if key.endswith("rotate_layer.weight")]:
        for value in (first[key], last[key]):
            assert (value @ value.T - torch.eye(5)).abs().max() <= 1e-5
        assert (first[key] - last[key]).abs().max() > 0.05
    logits = model(**training.given).logits
    seamkit.detach(model)
    seamkit.attach(model, folded)
    assert (model(**training.given).logits - logits).abs().max() <= 1e-5 * logits.abs().max()
    session = runtime.open(folder).session()
    folded.save(tmp_path / "folded")
    session.load(tmp_path / "folded")
    found = torch.from_numpy(session.forward(training.batch))
    real = training.given["attention_mask"] == 1
    assert (found - logits)[real].abs().max() <= 1e-5 * logits.abs().max()


@pytest.mark.parametrize("name", ["t5", "bert", "roberta", "gpt2", "llama"])
@pytest.mark.parametrize("positions", ["all", "f2", "f1+l2", "l3", "f4+l9"])
def test_where_it_acts(runtime: seamkit.Runtime, tmp_path: Path, name: str, positions: str) -> None:
    """At the first tokens of a text and the last ones, whatever padding stands beside them; in the last layer alone,
    so that what changes is where it acted."""
    folder, (batch, given) = save(name, tmp_path / "model"), inputs(name)
    stack = "decoder" if name in DECODERS else "encoder"
    model, mask = opened(name, folder), given["attention_mask"]
    length = mask.shape[1]
    # The last tokens are those of a prompt, which ends where labels begin; a decoder's own here.
    prompt = mask
    if stack == "decoder":
        prompt = mask * (torch.arange(length) < length - 4)
        given["labels"] = given["input_ids"].masked_fill(prompt == mask, -100)
        batch = seamkit.Batch(batch.input_ids, batch.attention_mask, given["labels"].int().numpy())
    # Of an encoder, what leaves it: the last layer's output, normalised.
    read = (
        (lambda: model(**given).logits)
        if name != "t5"
        else (lambda: model.get_encoder()(given["input_ids"], given["attention_mask"]).last_hidden_state)
    )
    with torch.no_grad():
        plain = read()
    options = {"layers": [max(each.layer for each in engine.Site.of(model).points)], "stack": stack}
    adapter = seamkit.attach(model, "direft", positions=positions, **options)
    disturb([adapter])
    with torch.no_grad():
        found = read()
    # Of texts with a hole in their mask, too: places count from the first token to the last.
    seen = torch.arange(length) * prompt
    from_end = seen.amax(1, keepdim=True) - torch.arange(length) + 1
    from_front = torch.arange(length) - (length - (mask * (length - torch.arange(length))).amax(1, keepdim=True)) + 1
    counts = {part[0]: int(part[1:]) for part in positions.split("+")} if positions != "all" else {}
    chosen = (
        (from_front <= counts.get("f", 0)) | ((from_end <= counts.get("l", 0)) & (prompt == 1)) if counts else mask == 1
    )
    chosen &= mask == 1
    changed = (found - plain).abs().amax(-1) > 1e-6
    assert torch.equal(changed & (mask == 1), chosen)
    adapter.save(tmp_path / "adapter")
    session = runtime.open(folder).session()
    session.load(tmp_path / "adapter")
    native = torch.from_numpy(session.encode(batch) if name == "t5" else session.forward(batch))
    assert (native - found)[mask == 1].abs().max() <= 1e-5 * found.abs().max()


@pytest.mark.parametrize("positions", ["f3", "l2", "f1+l1"])
@pytest.mark.parametrize("name", ["gpt2", "llama"])
def test_generation(runtime: seamkit.Runtime, tmp_path: Path, name: str, positions: str) -> None:
    """At tokens of a prompt, with what follows step by step, and the same where every step reads the whole text."""
    folder, (batch, given) = save(name, tmp_path / "model"), inputs(name, 4, labels=False)
    model = opened(name, folder)
    settings: dict[str, Any] = {"max_new_tokens": 8, "do_sample": False}
    tokens = {key: given[key] for key in ("input_ids", "attention_mask")}
    plain = model.generate(**tokens, **settings)
    adapter = seamkit.attach(model, "loreft", rank=4, positions=positions)
    disturb([adapter])
    found = model.generate(**tokens, **settings)
    assert not torch.equal(found, plain)
    assert torch.equal(model.generate(**tokens, **settings, use_cache=False), found)
    adapter.save(tmp_path / "adapter")
    backbone = runtime.open(folder)
    session = backbone.session()
    session.load(tmp_path / "adapter")
    expected = session.generate(batch, backbone.generate_options(max_new_tokens=8))
    begun = given["input_ids"].shape[1]
    for mine, [theirs, *_] in zip(found[:, begun:].tolist(), expected, strict=True):
        assert mine[: len(theirs.tokens)] == theirs.tokens


@pytest.mark.parametrize("name", ["bart", "llama"])
def test_a_prompt_without_an_end(runtime: seamkit.Runtime, tmp_path: Path, name: str) -> None:
    """Neither generation nor labels tell where it ends."""
    folder, (batch, given) = save(name, tmp_path / "model"), inputs(name, labels=False)
    options = {"positions": "l1", "stack": "decoder"}
    if name == "bart":
        given["decoder_input_ids"] = torch.tensor([[2, 5, 6]] * 3)
        batch = seamkit.Batch(batch.input_ids, batch.attention_mask, decoder_input_ids=given["decoder_input_ids"])
    session = runtime.open(folder).session()
    session.add("loreft", options)
    with pytest.raises(seamkit.UnsupportedError, match="known in generation and from labels: this call has none"):
        session.forward(batch)
    model = opened(name, folder)
    seamkit.attach(model, "loreft", **options)
    with pytest.raises(seamkit.UnsupportedError, match="known in generation and from labels: this call has none"):
        model(**given)


@pytest.mark.parametrize(
    "options",
    [{"rank": 25}, *({"positions": each} for each in ("", "f", "f0", "x3", "f1+", "f1+f2", "l-1", "f1234567"))],
)
def test_what_is_refused(runtime: seamkit.Runtime, tmp_path: Path, options: dict[str, Any]) -> None:
    folder = save("bert", tmp_path / "model")
    for id in METHODS:
        with pytest.raises(seamkit.InvalidArgumentError, match=f"the option '{next(iter(options))}' must be") as native:
            runtime.open(folder).adapter(id, options)
        with pytest.raises(seamkit.InvalidArgumentError) as torches:
            seamkit.attach(opened("bert", folder), id, **options)
        assert str(torches.value) == str(native.value)
